"""The SIP backend against far ends on a network in memory, on virtual time."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.backends.sip.memory import MemoryUdp, captured_log
from tests.helpers import capturing_log
from tests.sip import digest_server
from tests.sip.helpers import Reinvite
from umd.backend import (
    Answered,
    BackendUnavailable,
    CarriesMedia,
    Ended,
    FollowsPbx,
    LegId,
    Progressed,
)
from umd.backends.sim.directory import Directory
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sim.section import Behaviour
from umd.backends.sip import CannotStart, SipBackend, SipSection
from umd.backends.sip.section import (
    NoPassword,
    parse_address,
    read_login,
)
from umd.backends.sip.silence import Silence
from umd.backends.sip.udp import UdpPort
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.sip import build, sdp
from umd.sip.endpoint import Endpoint
from umd.sip.fields import Credentials, NameAddr
from umd.sip.framing import read_datagram
from umd.sip.message import Request
from umd.sip.session import Ended as SessionEnded
from umd.sip.session import Session
from umd.sip.transaction import Hop
from umd.testing import LegBackendContract, RecordingSink

OURS = Hop("127.0.0.1", 5060)
FAR = Hop("127.0.0.1", 5070)
CLIENT = Cause(by=EndedBy.CLIENT)
ANSWER = sdp.offer(address="127.0.0.1", port=4000, session_id=2).encode()
PASSWORD = "correct horse battery staple"


def section(**keys: Any) -> SipSection:
    """Return a section with these keys."""
    return SipSection.model_validate({"peer": "udp:127.0.0.1:5070", **keys})


def tokens() -> Any:
    return iter(f"f{number}" for number in range(1_000_000)).__next__


class FarPbx(FarEnds):
    """The simulator's far ends at another port; keeps the requests that arrived."""

    def __init__(self, **behaviours: Behaviour) -> None:
        directory = Directory({key.strip("n"): how for key, how in behaviours.items()})
        super().__init__(FAR, tokens(), Random(1), directory, ANSWER)
        self.heard: list[Request] = []

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        message = read_datagram(data)
        if isinstance(message, Request):
            self.heard.append(message)
        super().receive_datagram(data, source, now)

    def methods(self) -> list[str]:
        return [request.method for request in self.heard]

    def last(self, method: str) -> Request:
        return [request for request in self.heard if request.method == method][-1]


class SipBackendContractTests(LegBackendContract, TestCase):
    backend_type = "sip"
    section = {"peer": "udp:127.0.0.1:5070"}
    number_that_answers = "+1 555 0100"
    number_that_rings = "+1 555 0180"
    number_that_rejects = "+1 555 0186"
    number_that_hangs_up = "+1 555 0120"
    number_silent_to_bye = "+1 555 0199"
    has_clock_alone = False  # the PBX and the wire are on it too
    not_offered = (CarriesMedia, FollowsPbx)

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        captured_log(self)
        self.clock = MemoryUdp()
        far = UdpPort(self.clock, capturing_log()[0])
        far.listen(*FAR[:2])
        far.serve(FarPbx())
        await super().setUp()


class SipCase(TestCase):
    """A started backend, and a far PBX."""

    def setUp(self) -> None:
        self.lines = captured_log(self)
        self.clock = MemoryUdp()
        self.sink = RecordingSink()
        self.pbx = FarPbx()
        self.far = self.listen(FAR, self.pbx)

    def listen(self, hop: Hop, end: Any) -> UdpPort:
        port = UdpPort(self.clock, capturing_log()[0])
        port.listen(hop.host, hop.port)
        port.serve(end)
        return port

    async def start(self, **keys: Any) -> SipBackend:
        backend = SipBackend("pbx", section(**keys), self.clock)
        await backend.start(self.sink)
        return backend

    def place(self, backend: SipBackend, number: str) -> LegId:
        leg = LegId(str(uuid4()))
        backend.place(leg, number)
        return leg

    def run_for(self, seconds: float) -> None:
        """Advance in steps, so that each timer and each datagram has its own time."""
        self.clock.pump([0.01] * round(seconds * 100))

    def ended(self, leg: LegId) -> Ended:
        (ended,) = self.sink.ends(leg)
        return ended


class CallTests(SipCase):
    async def test_a_call_from_invite_to_bye(self) -> None:
        """The SIP Call-ID is the name of the leg, and the BYE has a Reason."""
        backend = await self.start()
        leg = self.place(backend, "+1 555 0100")
        self.run_for(2)
        self.assertEqual(self.sink.of(leg), [Progressed(leg), Answered(leg)])
        (found,) = await backend.legs()
        self.assertEqual((found.leg, found.state), (leg, CallState.CONNECTED))
        self.assertEqual(found.number, "+15550100")
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        ended = self.ended(leg)
        self.assertEqual((ended.confirmed, ended.cause.sip_status), (True, 200))
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK", "BYE"])
        invite, bye = self.pbx.heard[0], self.pbx.last("BYE")
        self.assertEqual((invite.call_id, invite.uri), (leg, "sip:+15550100@127.0.0.1:5070"))
        self.assertEqual(invite.get("Contact"), "<sip:127.0.0.1:5060>")
        self.assertEqual(NameAddr.parse(invite.get("From") or "").uri, "sip:umd@127.0.0.1")
        self.assertEqual(bye.get("Reason"), "Q.850;cause=16")

    async def test_configured_header_fields(self) -> None:
        backend = await self.start(
            **{
                "listen": "udp:127.0.0.1:0",
                "advertise": "umd.example.com",
                "uri": "sip:{number}@pbx.example.com;user=phone",
                "from": "sip:desk@example.com",
                "routes": ["<sip:127.0.0.1:5070;lr>"],
            }
        )
        self.place(backend, "100")
        self.run_for(0.1)
        invite = self.pbx.heard[0]
        (listening,) = [port for host, port in self.clock.ports if port != FAR.port]
        self.assertEqual(invite.uri, "sip:100@pbx.example.com;user=phone")
        self.assertEqual(invite.via.sent_by, f"umd.example.com:{listening}")
        self.assertEqual(invite.get("Contact"), f"<sip:umd.example.com:{listening}>")
        self.assertEqual(invite.get("Route"), "<sip:127.0.0.1:5070;lr>")
        self.assertTrue((invite.get("From") or "").startswith("<sip:desk@example.com>;tag="))

    async def test_ipv6(self) -> None:
        self.listen(Hop("::1", 5070), self.pbx)
        self.pbx.endpoint.contact = "<sip:[::1]:5070>"
        backend = await self.start(listen="udp:[::1]:5060", peer="udp:[::1]:5070")
        leg = self.place(backend, "5550100")
        self.run_for(2)
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        self.assertTrue(self.ended(leg).confirmed)
        self.assertEqual(self.pbx.heard[0].uri, "sip:5550100@[::1]:5070")
        self.assertEqual(self.pbx.heard[0].via.sent_by, "[::1]:5060")

    async def test_a_short_t1_shortens_every_wait(self) -> None:
        backend = await self.start(t1="20ms")
        leg = self.place(backend, "5550199")
        self.run_for(1.5)
        backend.hang_up(leg, CLIENT)
        self.run_for(1.5)
        ended = self.ended(leg)
        self.assertEqual((ended.confirmed, ended.cause.sip_status), (False, 408))
        self.assertEqual(self.pbx.methods().count("BYE"), 7)

    async def test_a_number_that_cannot_be_dialled(self) -> None:
        """The call ends at once by umd, with the matching cause, and nothing is sent."""
        backend = await self.start()
        leg = self.place(backend, " ")
        ended = self.ended(leg)
        self.assertEqual((ended.cause.by, ended.cause.q850), (EndedBy.DAEMON, 28))
        self.assertEqual(self.clock.carried, [])

    async def test_unsendable_call_ends_at_once(self) -> None:
        backend = await self.start()
        self.clock.ports[OURS[:2]].error = PermissionError(1, "Operation not permitted")
        leg = self.place(backend, "5550100")
        ended = self.ended(leg)
        self.assertEqual((ended.cause.by, ended.cause.sip_status), (EndedBy.DAEMON, 503))
        self.clock.ports[OURS[:2]].error = None
        self.place(backend, "5550100")
        self.run_for(2)
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK"])

    async def test_contact_with_a_host_name(self) -> None:
        self.pbx.endpoint.contact = "<sip:pbx.example.com>"
        backend = await self.start()
        leg = self.place(backend, "5550100")
        self.run_for(2)
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        self.assertTrue(self.ended(leg).confirmed)
        self.assertEqual(self.pbx.last("BYE").uri, "sip:pbx.example.com")

    async def test_inactive_offer(self) -> None:
        backend = await self.start()
        self.place(backend, "5550100")
        self.place(backend, "5550100")
        self.run_for(0.1)
        one, other = (sdp.parse(request.body) for request in self.pbx.heard)
        self.assertEqual(one.streams[0].direction, sdp.Direction.INACTIVE)
        self.assertEqual((one.address, one.streams[0].port), ("127.0.0.1", 9))
        self.assertNotEqual(one.session_id, other.session_id)

    async def test_changed_offer(self) -> None:
        backend = await self.start()
        self.place(backend, "5550100")
        self.run_for(2)
        session = next(self.pbx.endpoint.sessions())
        offer = sdp.offer(address="127.0.0.1", port=4002, session_id=2, version=2)
        reinvite = Reinvite(self.pbx.endpoint, session, offer.encode(), self.clock.seconds())
        self.far.pump()
        self.run_for(1)
        answered = sdp.parse(reinvite.answer)
        self.assertEqual((answered.version, len(answered.streams)), (2, 1))
        self.assertEqual(answered.streams[0].direction, sdp.Direction.INACTIVE)


class StopTests(SipCase):
    async def test_stop_ends_calls(self) -> None:
        """Without a journal a stop sends BYE or CANCEL, reports nothing and waits for nothing."""
        backend = await self.start()
        self.place(backend, "5550100")
        self.place(backend, "5550180")
        self.run_for(2)
        told = len(self.sink.events)
        await backend.stop()
        self.run_for(1)
        self.assertEqual(sorted(self.pbx.methods()), ["ACK", "BYE", "CANCEL", "INVITE", "INVITE"])
        self.assertEqual(len(self.sink.events), told)
        self.assertNotIn(OURS[:2], self.clock.ports)

    async def test_not_started(self) -> None:
        backend = SipBackend("pbx", section(), self.clock)
        with self.assertRaises(BackendUnavailable):
            self.place(backend, "100")
        with self.assertRaises(BackendUnavailable):
            backend.hang_up(LegId("x"), CLIENT)
        self.assertEqual(await backend.legs(), [])
        await backend.stop()

    async def test_address_in_use(self) -> None:
        def taken(*arguments: object, **keywords: object) -> None:
            raise CannotListenError("127.0.0.1", 5060, OSError("Address already in use"))

        self.clock.listenUDP = taken  # type: ignore[assignment, method-assign]
        with self.assertRaisesRegex(
            CannotStart, "backend.pbx: listen = udp:127.0.0.1:5060: Address already in use"
        ):
            await self.start()


class Caller:
    """A user agent that calls umd."""

    def __init__(self) -> None:
        self.endpoint = Endpoint("127.0.0.1", 5072, tokens())
        self.ended: list[int] = []

    def report(self) -> None:
        while (happened := self.endpoint.next_event()) is not None:
            if isinstance(happened[1], SessionEnded):
                self.ended.append(happened[1].status)


class IncomingTests(SipCase):
    async def test_incoming_call_is_refused(self) -> None:
        await self.start()
        caller = Caller()
        port = UdpPort(self.clock, capturing_log()[0])
        port.listen("127.0.0.1", 5072)
        port.serve(caller.endpoint, caller.report)
        caller.endpoint.place("sip:umd@127.0.0.1", OURS, 0.0, from_="sip:a@127.0.0.1")
        port.pump()
        self.run_for(1)
        self.assertEqual(caller.ended, [480])
        (line,) = [line for line in self.lines if line["event"] == "sip.call-refused"]
        self.assertEqual((line["status"], line["to"]), (480, "sip:umd@127.0.0.1"))
        self.assertEqual(self.sink.events, [])


class Doorman(FarPbx):
    """Challenges INVITE and BYE."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._asked, self._shown = {
            "401": ("WWW-Authenticate", "Authorization"),
            "407": ("Proxy-Authenticate", "Proxy-Authorization"),
        }[method]
        self._status = int(method)
        self.accepted: list[bool] = []

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        request = read_datagram(data)
        if isinstance(request, Request) and request.method in ("INVITE", "BYE"):
            shown = request.get(self._shown)
            if shown is None:
                ask = ((self._asked, str(digest_server.challenge("pbx", "nonce"))),)
                refusal = build.response(request, self._status, to_tag="d", headers=ask)
                self.endpoint.send(refusal, source)
                return
            self.accepted.append(
                digest_server.is_right(
                    Credentials.parse(shown),
                    PASSWORD,
                    realm="pbx",
                    nonce="nonce",
                    method=request.method,
                    uri=request.uri,
                )
            )
        super().receive_datagram(data, source, now)


class LoginTests(SipCase):
    def password_file(self, text: str = PASSWORD + "\n") -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    async def test_challenges(self) -> None:
        """umd answers 401 and 407 to INVITE and BYE; the password is not logged or sent."""
        for status in ("401", "407"):
            self.clock = MemoryUdp()
            self.sink = RecordingSink()
            doorman = Doorman(status)
            self.listen(FAR, doorman)
            backend = await self.start(username="umd", password_file=self.password_file())
            leg = self.place(backend, "5550100")
            self.run_for(2)
            backend.hang_up(leg, CLIENT)
            self.run_for(1)
            self.assertTrue(self.ended(leg).confirmed)
            self.assertEqual(doorman.accepted, [True] * 2)
            written = b"".join(self.clock.carried).decode() + repr(self.lines) + repr(vars(backend))
            self.assertNotIn(PASSWORD, written)

    async def test_challenge_without_a_login(self) -> None:
        self.clock = MemoryUdp()
        self.listen(FAR, Doorman("407"))
        backend = await self.start()
        leg = self.place(backend, "5550100")
        self.run_for(1)
        cause = self.ended(leg).cause
        self.assertEqual((cause.by, cause.sip_status), (EndedBy.FAR_END, 407))

    def test_password_file(self) -> None:
        for text in (PASSWORD, PASSWORD + "\n", PASSWORD + "\r\n# of the lab\n"):
            file = self.password_file(text)
            login = read_login(section(username="umd", password_file=file))
            assert login is not None
            self.assertEqual((login.username, login.password), ("umd", PASSWORD))
        self.assertIsNone(read_login(section()))

    async def test_unusable_password_file(self) -> None:
        for file, why in (
            (self.password_file("\n"), "its first line is empty"),
            (self.mktemp(), "No such file"),
        ):
            with self.assertRaisesRegex(NoPassword, why):
                read_login(section(username="umd", password_file=file))
        with self.assertRaisesRegex(CannotStart, "backend.pbx: password_file = .*No such file"):
            await self.start(username="umd", password_file=self.mktemp())


class SectionTests(SynchronousTestCase):
    def wrong(self, **keys: Any) -> str:
        with self.assertRaises(ValidationError) as caught:
            section(**keys)
        return str(caught.exception)

    def test_addresses(self) -> None:
        self.assertEqual(parse_address("udp:127.0.0.1:5060"), OURS)
        self.assertEqual(parse_address("udp:[::1]:0"), Hop("::1", 0))
        for value in (
            5060,
            "5060",
            "127.0.0.1:5060",
            "tcp:127.0.0.1:5060",
            "udp:127.0.0.1",
            "udp:127.0.0.1:65536",
            "udp:pbx.example.com:5060",
            "udp::5060",
            "udp:::1:5060",
            "udp:[127.0.0.1]:5060",
        ):
            with self.assertRaisesRegex(ValueError, "such as"):
                parse_address(value)

    def test_mistakes(self) -> None:
        with self.assertRaisesRegex(ValidationError, "peer\n  Field required"):
            SipSection.model_validate({})
        self.assertIn("a peer can listen", self.wrong(peer="udp:0.0.0.0:5060"))
        self.assertIn("a peer can listen", self.wrong(peer="udp:127.0.0.1:0"))
        self.assertIn("advertise as well", self.wrong(listen="udp:0.0.0.0:5060"))
        self.assertIn("both of IPv4", self.wrong(listen="udp:[::1]:5060"))
        self.assertIn("both or neither", self.wrong(username="umd"))
        self.assertIn("both or neither", self.wrong(password_file="x"))
        for name in ("umd\nVia: x", "umd\x00", "umd\r"):
            self.assertIn("control characters", self.wrong(username=name, password_file="x"))
        self.assertIn("{number}", self.wrong(uri="sip:100@pbx"))
        self.assertIn("{number}", self.wrong(uri="sips:{number}@pbx"))
        self.assertIn("{number}", self.wrong(uri="sip:{number}@pbx?Route=x"))
        self.assertIn("SIP URI", self.wrong(**{"from": "umd"}))
        self.assertIn("loose route", self.wrong(routes=["sip:127.0.0.1"]))
        self.assertIn("without a port", self.wrong(advertise="umd.example.com:5060"))
        self.assertIn("greater than", self.wrong(t1="1ms"))


class SilenceTests(SynchronousTestCase):
    def session(self, local_body: bytes) -> Session:
        request = read_datagram(
            b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\n"
            b"From: <sip:c>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n"
        )
        assert isinstance(request, Request)
        endpoint = Endpoint("127.0.0.1", 5060, tokens())
        endpoint.receive_message(request, FAR, 0.0)
        happened = endpoint.next_event()
        assert happened is not None
        happened[0].local_body = local_body
        return happened[0]

    def test_answers(self) -> None:
        silence = Silence("[::1]")
        first = silence.offer("1")
        self.assertIn(b"c=IN IP6 ::1\r\n", first)
        self.assertEqual(silence.answer(self.session(first), b""), first)
        answer = silence.answer(self.session(b""), ANSWER)
        assert answer is not None
        self.assertEqual(sdp.parse(answer).streams[0].direction, sdp.Direction.INACTIVE)
        for nothing in (b"no description", ANSWER.replace(b"audio", b"video")):
            self.assertIsNone(silence.answer(self.session(first), nothing))
