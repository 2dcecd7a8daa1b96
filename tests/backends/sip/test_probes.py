"""Far ends that are gone: OPTIONS in the dialog shows it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.backends.sip.test_sip import CLIENT, OURS, FarPbx, SipCase, section
from umd.backend import Answered, Gone, KnownLeg, LegId
from umd.backends.sip import SipBackend
from umd.backends.sip.probes import MAX_PROBES_PER_BATCH, Probes
from umd.call.call import CallState
from umd.call.cause import EndedBy
from umd.sip import build
from umd.sip.framing import read_datagram
from umd.sip.message import Request, Response
from umd.sip.transaction import Hop

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS"


class Pbx(FarPbx):
    """A PBX that says in its answer what it allows; it can forget its calls, and fall silent."""

    def __init__(self, allow: str | None = ALLOW) -> None:
        super().__init__()
        self.allow = allow
        self.options: str | int = "answers"
        """What becomes of `probes`: it "answers" or says "nothing", or answers with a status."""
        self.probes: tuple[str, ...] = ("OPTIONS", "UPDATE")
        self.silent = False

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        request = read_datagram(data)
        asked = isinstance(request, Request) and request.method in self.probes
        if not self.silent and not (asked and self.options != "answers"):
            super().receive_datagram(data, source, now)
        elif isinstance(request, Request):
            self.heard.append(request)
            if asked and isinstance(self.options, int):
                self.endpoint.send(build.response(request, self.options), source)

    def messages_to_send(self) -> list[Any]:
        sends = super().messages_to_send()
        for message, _ in sends:
            if isinstance(message, Response) and message.cseq.method == "INVITE" and self.allow:
                message.headers.append(("Allow", self.allow))
        return sends

    def forget(self) -> None:
        """It is restarted: nobody knows any call."""
        for session in list(self.endpoint.sessions()):
            session.abandon()

    def count(self, method: str) -> int:
        return self.methods().count(method)


class ProbeTests(SipCase):
    interval = "10s"

    def setUp(self) -> None:
        super().setUp()
        self.far.serve(self.replace(Pbx()))

    def replace(self, pbx: Pbx) -> Pbx:
        self.pbx: Pbx = pbx
        return pbx

    async def up(self, allow: str | None = ALLOW, **keys: Any) -> tuple[SipBackend, LegId]:
        """A call that was answered."""
        self.pbx.allow = allow
        backend = await self.start(probe_interval=self.interval, **keys)
        self.addCleanup(backend.stop)
        leg = self.place(backend, "5550100")
        self.run_for(2)
        self.assertEqual(self.sink.of(leg)[-1], Answered(leg))
        self.record = backend.leg_record(leg)  # the journal gets it now, and never again
        return backend, leg

    async def test_a_call_that_is_there(self) -> None:
        """It is asked for at each interval, and goes on."""
        backend, leg = await self.up()
        self.run_for(35)
        self.assertEqual(self.pbx.count("OPTIONS"), 3)
        options = self.pbx.last("OPTIONS")
        self.assertIsNotNone(options.to_tag)
        self.assertEqual(self.sink.ends(leg), [])
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        self.assertGreater(self.pbx.last("BYE").cseq.number, options.cseq.number)
        self.assertTrue(self.ended(leg).confirmed)
        self.run_for(30)
        self.assertEqual(self.pbx.count("OPTIONS"), 3)

    async def test_a_pbx_that_was_restarted(self) -> None:
        """481: the call is gone, once, and nothing more is sent to it."""
        backend, leg = await self.up()
        self.pbx.forget()
        self.run_for(12)
        (gone,) = [event for event in self.sink.of(leg) if isinstance(event, Gone)]
        self.assertIn("481", gone.reason)
        self.run_for(60)
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK", "OPTIONS"])
        self.assertEqual((self.sink.ends(leg), list(await backend.legs())), ([], []))

    async def test_answers_that_are_no_end(self) -> None:
        """Whatever else the far end says to OPTIONS, it is there."""
        for status in (404, 405, 500, 501, 603, 403):
            self.pbx.options = status
            backend, leg = await self.up()
            self.run_for(25)
            self.assertEqual(self.sink.of(leg)[-1], Answered(leg), status)
            backend.hang_up(leg, CLIENT)
            self.run_for(1)
            await backend.stop()

    async def test_a_pbx_that_has_died(self) -> None:
        """Two probes without any answer: a BYE is tried, and the call ends unconfirmed."""
        _, leg = await self.up(t1="100ms")
        self.pbx.silent = True
        self.run_for(40)
        ended = self.ended(leg)
        self.assertEqual((ended.confirmed, ended.cause.by), (False, EndedBy.DAEMON))
        self.assertEqual((ended.cause.sip_status, ended.cause.q850), (408, 102))
        silent = [line for line in self.lines if line["event"] == "sip.far-end-silent"]
        self.assertEqual([line["leg"] for line in silent], [leg])
        self.assertIn("BYE", self.pbx.methods())

    async def test_a_proxy_that_cannot_reach_the_far_end(self) -> None:
        """Its 408 or 503 is no answer of the far end; the BYE shows what is true."""
        for status in (408, 503):
            self.pbx.options = status
            backend, leg = await self.up(t1="100ms")
            self.run_for(30)
            ended = self.ended(leg)
            self.assertEqual((ended.confirmed, ended.cause.by), (True, EndedBy.DAEMON))
            await backend.stop()

    async def test_a_network_that_is_down_for_a_moment(self) -> None:
        """One probe without an answer ends nothing."""
        _, leg = await self.up(t1="100ms")
        self.pbx.silent = True
        self.run_for(15)
        self.pbx.silent = False
        self.run_for(60)
        self.assertEqual(self.sink.ends(leg), [])

    async def test_a_pbx_that_lists_options_and_is_silent_to_it(self) -> None:
        """Asterisk 22 is: it is asked by UPDATE from then on, without an offer, and stays up."""
        self.pbx.options, self.pbx.probes = "nothing", ("OPTIONS",)
        backend, leg = await self.up(t1="100ms")
        self.run_for(65)
        self.assertEqual(self.pbx.count("UPDATE"), 5)
        update = self.pbx.last("UPDATE")
        self.assertEqual((update.body, update.get("Contact")), (b"", f"<sip:{OURS.host}:5060>"))
        self.assertEqual(self.sink.ends(leg), [])
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        self.assertTrue(self.ended(leg).confirmed)

    async def test_a_silent_pbx_that_does_not_know_update(self) -> None:
        """That it says so is an answer too."""
        self.pbx.options, self.pbx.probes = "nothing", ("OPTIONS",)
        _, leg = await self.up(t1="100ms")
        self.run_for(15)
        for status in (405, 501, 400, 491):
            self.pbx.options, self.pbx.probes = status, ("UPDATE",)
            self.run_for(30)
            self.assertEqual(self.sink.ends(leg), [], status)

    async def test_a_pbx_that_is_silent_to_options_and_was_restarted(self) -> None:
        self.pbx.options, self.pbx.probes = "nothing", ("OPTIONS",)
        _, leg = await self.up(t1="100ms")
        self.run_for(25)
        self.pbx.forget()
        self.run_for(15)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)
        self.assertNotIn("BYE", self.pbx.methods())

    async def test_a_far_end_that_does_not_know_options(self) -> None:
        """It did not list them: it is asked seldom, and its silence costs no call."""
        self.pbx.options = "nothing"
        _, leg = await self.up(allow=None, t1="100ms")
        self.run_for(45)
        self.assertEqual(self.pbx.count("OPTIONS"), 0)
        self.run_for(200)
        self.assertGreater(self.pbx.count("OPTIONS"), 20)
        self.assertEqual(self.sink.ends(leg), [])

    async def test_a_far_end_that_did_not_list_options_and_was_restarted(self) -> None:
        """What it answers counts all the same."""
        _, leg = await self.up(allow="INVITE, ACK, CANCEL, BYE")
        self.pbx.forget()
        self.run_for(55)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)

    async def test_an_end_while_a_probe_is_unanswered(self) -> None:
        """OPTIONS is not sent again in a dialog that is being ended."""
        self.pbx.options = "nothing"
        backend, leg = await self.up()
        self.run_for(10)
        sent = self.pbx.count("OPTIONS")
        self.assertGreaterEqual(sent, 1)
        backend.hang_up(leg, CLIENT)
        self.run_for(40)
        self.assertTrue(self.ended(leg).confirmed)
        self.assertEqual(self.pbx.count("OPTIONS"), sent)

    async def test_nobody_is_asked_where_none_is_set(self) -> None:
        self.interval = "none"
        _, leg = await self.up()
        self.run_for(400)
        self.assertEqual(self.pbx.count("OPTIONS"), 0)

    async def restart(self, backend: SipBackend, leg: LegId, age: float = 60.0) -> SipBackend:
        """The next umd takes up the leg from its record."""
        state = CallState.CONNECTED
        known = KnownLeg(leg=leg, state=state, number="5550100", age=age, record=self.record)
        assert backend.port is not None
        self.clock.ports.pop((OURS.host, OURS.port))
        backend.port._end = None
        backend.port._wakeup.stop()
        backend.port, backend._probes = None, []
        return await self.begin(known)

    async def begin(self, known: KnownLeg) -> SipBackend:
        settings = section(probe_interval=self.interval)
        backend = SipBackend("pbx", settings, self.clock)
        backend.restore([known], anew=False)
        await backend.start(self.sink)
        self.addCleanup(backend.stop)
        return backend

    async def test_a_call_that_ended_while_no_umd_ran(self) -> None:
        """It is asked for at once after the restart."""
        backend, leg = await self.up()
        self.pbx.forget()
        await self.restart(backend, leg)
        self.run_for(1)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)

    async def test_a_restart_with_a_call_that_is_there(self) -> None:
        """The BYE has a higher CSeq than any OPTIONS of the umd before."""
        backend, leg = await self.up()
        self.run_for(50)
        before = self.pbx.last("OPTIONS").cseq.number
        backend = await self.restart(backend, leg)
        self.run_for(1)
        self.assertGreater(self.pbx.last("OPTIONS").cseq.number, before)
        backend.hang_up(leg, CLIENT)
        self.run_for(1)
        ended = self.ended(leg)
        self.assertEqual((ended.confirmed, ended.cause.sip_status), (True, 200))

    async def test_a_restart_with_a_far_end_that_did_not_list_options(self) -> None:
        """It is not asked at once: SIPp would drop the call."""
        backend, leg = await self.up(allow=None)
        await self.restart(backend, leg)
        self.run_for(45)
        self.assertEqual(self.pbx.count("OPTIONS"), 0)


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[LegId] = []
        self.given_up: list[LegId] = []
        self.probes = Probes(self.clock, 60.0, self.asked.append, self.given_up.append)

    def legs(self, count: int) -> list[LegId]:
        return [LegId(f"leg-{number}") for number in range(count)]

    def test_each_in_its_turn(self) -> None:
        one, other = self.legs(2)
        self.probes.add(one)
        self.clock.advance(30)
        self.probes.add(other)
        for _ in range(12):
            self.clock.advance(10)
        self.assertEqual(self.asked, [one, other, one, other])
        self.probes.discard(other)
        self.clock.advance(60)
        self.assertEqual(self.asked, [one, other, one, other, one])

    def test_many_at_once_let_others_have_their_turn(self) -> None:
        """A batch at a time, each leg once in a round."""
        legs = self.legs(10 * MAX_PROBES_PER_BATCH)
        for leg in legs:
            self.probes.add(leg)
        self.clock.advance(60)
        self.assertEqual(len(self.asked), MAX_PROBES_PER_BATCH)
        self.clock.pump([0.05] * 10)
        self.assertEqual(self.asked, legs)

    def test_restored_legs_are_spread(self) -> None:
        legs = self.legs(30_000)
        self.probes.add_restored(legs, 0.0)
        self.clock.pump([0.05] * 100)
        self.assertLess(len(self.asked), 2_500)
        self.clock.pump([0.05] * 1400)
        self.assertEqual(self.asked[:30_000], legs)

    def test_a_probe_that_raises_costs_no_other(self) -> None:
        one, other = self.legs(2)

        def ask(leg: LegId) -> None:
            self.asked.append(leg)
            if leg == one:
                raise ValueError("an odd call")

        probes = Probes(self.clock, 60.0, ask, self.given_up.append)
        probes.add(one)
        probes.add(other)
        with self.assertRaises(ValueError):
            self.clock.advance(60)
        self.clock.advance(1)
        self.assertEqual(self.asked, [one, other])

    def test_nothing_is_left_when_it_stops(self) -> None:
        self.probes.add_restored(self.legs(3), 0.0)
        self.probes.stop()
        self.assertEqual((len(self.probes), self.clock.getDelayedCalls()), (0, []))

    def test_given_up_after_two_in_a_row(self) -> None:
        (leg,) = self.legs(1)
        self.probes.add(leg)
        for answered in (False, True, False):
            self.probes.note_outcome(leg, answered)
        self.assertEqual(self.given_up, [])
        self.probes.note_outcome(leg, False)
        self.assertEqual((self.given_up, len(self.probes)), ([leg], 0))
