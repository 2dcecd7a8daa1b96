"""Probes: OPTIONS in the dialog finds calls that are gone at the far end."""

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
    """A PBX with a configurable Allow that can forget its calls and fall silent."""

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
        """Restart the PBX: it forgets all calls."""
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
        """Return a call that was answered."""
        self.pbx.allow = allow
        backend = await self.start(probe_interval=self.interval, **keys)
        self.addCleanup(backend.stop)
        leg = self.place(backend, "5550100")
        self.run_for(2)
        self.assertEqual(self.sink.of(leg)[-1], Answered(leg))
        self.record = backend.leg_record(leg)  # the journal gets it now, and never again
        return backend, leg

    async def test_call_goes_on(self) -> None:
        """A live call is probed at each interval, and goes on."""
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

    async def test_restarted_pbx(self) -> None:
        """A 481 ends the call as lost, once, and umd sends nothing more."""
        backend, leg = await self.up()
        self.pbx.forget()
        self.run_for(12)
        (gone,) = [event for event in self.sink.of(leg) if isinstance(event, Gone)]
        self.assertIn("481", gone.reason)
        self.run_for(60)
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK", "OPTIONS"])
        self.assertEqual((self.sink.ends(leg), list(await backend.legs())), ([], []))

    async def test_answers_that_do_not_end_the_call(self) -> None:
        """Any other answer to OPTIONS shows that the far end is alive."""
        for status in (404, 405, 500, 501, 603, 403):
            self.pbx.options = status
            backend, leg = await self.up()
            self.run_for(25)
            self.assertEqual(self.sink.of(leg)[-1], Answered(leg), status)
            backend.hang_up(leg, CLIENT)
            self.run_for(1)
            await backend.stop()

    async def test_dead_pbx(self) -> None:
        """After two unanswered probes umd sends a BYE, and the call ends unconfirmed."""
        _, leg = await self.up(t1="100ms")
        self.pbx.silent = True
        self.run_for(40)
        ended = self.ended(leg)
        self.assertEqual((ended.confirmed, ended.cause.by), (False, EndedBy.DAEMON))
        self.assertEqual((ended.cause.sip_status, ended.cause.q850), (408, 102))
        silent = [line for line in self.lines if line["event"] == "sip.far-end-silent"]
        self.assertEqual([line["leg"] for line in silent], [leg])
        self.assertIn("BYE", self.pbx.methods())

    async def test_proxy_without_far_end(self) -> None:
        """A 408 or 503 from a proxy counts as no answer; umd sends a BYE."""
        for status in (408, 503):
            self.pbx.options = status
            backend, leg = await self.up(t1="100ms")
            self.run_for(30)
            ended = self.ended(leg)
            self.assertEqual((ended.confirmed, ended.cause.by), (True, EndedBy.DAEMON))
            await backend.stop()

    async def test_short_outage(self) -> None:
        """One unanswered probe ends nothing."""
        _, leg = await self.up(t1="100ms")
        self.pbx.silent = True
        self.run_for(15)
        self.pbx.silent = False
        self.run_for(60)
        self.assertEqual(self.sink.ends(leg), [])

    async def test_silent_to_options(self) -> None:
        """If OPTIONS stays unanswered, umd uses UPDATE without an offer, as with Asterisk 22."""
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

    async def test_silent_to_options_without_update(self) -> None:
        """A refusal of UPDATE is an answer too."""
        self.pbx.options, self.pbx.probes = "nothing", ("OPTIONS",)
        _, leg = await self.up(t1="100ms")
        self.run_for(15)
        for status in (405, 501, 400, 491):
            self.pbx.options, self.pbx.probes = status, ("UPDATE",)
            self.run_for(30)
            self.assertEqual(self.sink.ends(leg), [], status)

    async def test_silent_to_options_and_restarted(self) -> None:
        """UPDATE also finds that the call is gone."""
        self.pbx.options, self.pbx.probes = "nothing", ("OPTIONS",)
        _, leg = await self.up(t1="100ms")
        self.run_for(25)
        self.pbx.forget()
        self.run_for(15)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)
        self.assertNotIn("BYE", self.pbx.methods())

    async def test_options_not_in_allow(self) -> None:
        """Without OPTIONS in Allow umd probes seldom, and silence ends no call."""
        self.pbx.options = "nothing"
        _, leg = await self.up(allow=None, t1="100ms")
        self.run_for(45)
        self.assertEqual(self.pbx.count("OPTIONS"), 0)
        self.run_for(200)
        self.assertGreater(self.pbx.count("OPTIONS"), 20)
        self.assertEqual(self.sink.ends(leg), [])

    async def test_options_not_in_allow_and_restarted(self) -> None:
        """Without OPTIONS in Allow a 481 still ends the call."""
        _, leg = await self.up(allow="INVITE, ACK, CANCEL, BYE")
        self.pbx.forget()
        self.run_for(55)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)

    async def test_hang_up_during_a_probe(self) -> None:
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

    async def test_probes_off(self) -> None:
        """With probe_interval = "none" umd sends no probe."""
        self.interval = "none"
        _, leg = await self.up()
        self.run_for(400)
        self.assertEqual(self.pbx.count("OPTIONS"), 0)

    async def restart(self, backend: SipBackend, leg: LegId, age: float = 60.0) -> SipBackend:
        """Let the next umd restore the leg from its record."""
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

    async def test_call_that_ended_while_umd_was_down(self) -> None:
        """After a restart umd probes at once."""
        backend, leg = await self.up()
        self.pbx.forget()
        await self.restart(backend, leg)
        self.run_for(1)
        self.assertIsInstance(self.sink.of(leg)[-1], Gone)

    async def test_restart_with_a_live_call(self) -> None:
        """The BYE has a higher CSeq than any OPTIONS of the previous umd."""
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

    async def test_restart_with_options_not_in_allow(self) -> None:
        """Without OPTIONS in Allow umd does not probe at once, since SIPp would drop the call."""
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

    def test_interval(self) -> None:
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

    def test_batches(self) -> None:
        """Many probes are sent in batches, one for each leg in a round."""
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

    def test_probe_that_raises(self) -> None:
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

    def test_stop(self) -> None:
        self.probes.add_restored(self.legs(3), 0.0)
        self.probes.stop()
        self.assertEqual((len(self.probes), self.clock.getDelayedCalls()), (0, []))

    def test_two_unanswered_probes(self) -> None:
        (leg,) = self.legs(1)
        self.probes.add(leg)
        for answered in (False, True, False):
            self.probes.note_outcome(leg, answered)
        self.assertEqual(self.given_up, [])
        self.probes.note_outcome(leg, False)
        self.assertEqual((self.given_up, len(self.probes)), ([leg], 0))
