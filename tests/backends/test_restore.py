"""A backend crashes and another one restores its legs, while the far end runs on."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.backends.sip.memory import MemoryUdp, captured_log
from tests.backends.sip.test_sip import FAR, OURS, PASSWORD, Doorman, FarPbx, section
from tests.helpers import capturing_log
from umd.backend import Answered, Ended, KnownLeg, LegId, Progressed
from umd.backends.sim import SimBackend
from umd.backends.sim.section import Seed, SimSection
from umd.backends.sip import SipBackend
from umd.backends.sip.udp import UdpPort
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.sip import build
from umd.sip.credentials import MAX_RETRIES
from umd.testing import RecordingSink

LEG = LegId("leg-1")
CLIENT = Cause(by=EndedBy.CLIENT)


def known(
    number: str, state: CallState, record: bytes | None, age: float = 1.0, quiet_for: float = 1.0
) -> KnownLeg:
    return KnownLeg(
        leg=LEG, state=state, number=number, age=age, record=record, quiet_for=quiet_for
    )


class SipRestoreCase(TestCase):
    login: dict[str, str] = {}

    def far_end(self) -> FarPbx:
        return FarPbx()

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        captured_log(self)
        self.clock = MemoryUdp()
        self.pbx = self.far_end()
        log, _ = capturing_log()
        port = UdpPort(self.clock, log)
        port.listen(FAR.host, FAR.port)
        port.serve(self.pbx)
        await self.begin([])

    async def begin(self, legs: list[KnownLeg]) -> None:
        self.sink = RecordingSink()
        self.backend = SipBackend("pbx", section(**self.login), self.clock)
        self.backend.restore(legs, anew=not legs)
        await self.backend.start(self.sink)
        self.addCleanup(self.backend.stop)

    async def die(self, *legs: KnownLeg) -> None:
        """Crash: the socket is gone, nothing is sent, and another backend restores the legs."""
        assert self.backend.port is not None
        self.clock.ports.pop((self.backend.port.address.host, self.backend.port.address.port))
        self.backend.port._end = None
        self.backend.port._wakeup.stop()
        self.backend.port = None
        await self.begin(list(legs))


class SipRestoreTests(SipRestoreCase):
    async def test_an_answered_call_is_ended_by_the_next_umd(self) -> None:
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.sink.events[-1], Answered(LEG))
        record = self.backend.leg_record(LEG)
        await self.die(known("5550100", CallState.CONNECTED, record))
        (found,) = await self.backend.legs()
        self.assertEqual((found.leg, found.state), (LEG, CallState.CONNECTED))
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.sip_status), (True, 200))
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK", "BYE"])
        self.assertGreater(self.pbx.last("BYE").cseq.number, 2)

    async def test_a_bye_has_a_higher_cseq_than_one_that_was_sent_before(self) -> None:
        """A far end rejects a CSeq lower than the last one it saw (RFC 3261 section 12.2.2)."""
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        await self.die(known("5550100", CallState.DISCONNECTING, record))
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        self.assertTrue(self.sink.ends(LEG)[0].confirmed)
        self.assertGreater(self.pbx.last("BYE").cseq.number, 3)

    async def test_the_far_end_of_a_restored_call_hangs_up(self) -> None:
        self.backend.place(LEG, "5550120")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        await self.die(known("5550120", CallState.CONNECTED, record))
        self.clock.pump([1.0] * 30)
        (end,) = self.sink.ends(LEG)
        self.assertEqual(end.cause.by, EndedBy.FAR_END)

    async def test_a_restored_call_has_no_session_until_it_is_used(self) -> None:
        """A BYE with its Call-ID and wrong tags gets 481 and does not end it."""
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        await self.die(known("5550100", CallState.CONNECTED, record))
        assert self.backend.endpoint is not None
        self.assertEqual(self.backend.endpoint.dialogs, 0)
        self.assertEqual(self.backend.leg_record(LEG), record)
        stranger = build.request(
            "BYE", "sip:umd@127.0.0.1", sent_by="127.0.0.9:5060", branch="z9hG4bK9",
            from_="<sip:x@y>;tag=1", to="<sip:umd@127.0.0.1>;tag=2", call_id=LEG, cseq=2,
        )  # fmt: skip
        self.clock.deliver(stranger.octets(), ("127.0.0.9", 5060), (OURS.host, OURS.port))
        self.assertTrue(self.clock.starts()[-1].startswith("SIP/2.0 481"))
        self.assertEqual(self.sink.events, [])
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        self.assertTrue(self.sink.ends(LEG)[0].confirmed)
        self.assertEqual(list(await self.backend.legs()), [])

    async def test_a_restored_far_end_rings_on_on_and_is_cancelled(self) -> None:
        """umd sends the same INVITE again; to the far end that is a retransmission."""
        self.backend.place(LEG, "5550180")
        self.clock.pump([0.1] * 20)
        self.assertIsNone(self.backend.leg_record(LEG))
        await self.die(known("5550180", CallState.ALERTING, None))
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.sink.events, [Progressed(LEG)])
        self.assertEqual(len(list(self.pbx.endpoint.sessions())), 1)
        first, *_, again = [request for request in self.pbx.heard if request.method == "INVITE"]
        self.assertEqual(first.octets(), again.octets())
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.sip_status), (True, 487))

    async def test_a_call_placed_too_long_ago_is_not_dialled_again(self) -> None:
        long_ago = known("5550100", CallState.CONNECTING, None, age=3600.0, quiet_for=3600.0)
        await self.die(long_ago)
        self.clock.pump([0.1] * 48)
        self.assertEqual(self.pbx.methods(), ["CANCEL"])
        (end,) = self.sink.ends(LEG)  # the far end has no such call
        self.assertEqual((end.confirmed, end.cause.by), (True, EndedBy.DAEMON))

    async def test_a_call_whose_far_end_is_gone(self) -> None:
        await self.die(known("5550100", CallState.DISCONNECTING, None))
        del self.clock.ports[FAR.host, FAR.port]
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 400)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.by), (False, EndedBy.CLIENT))

    async def test_a_call_that_rang_long_ago_is_cancelled(self) -> None:
        self.backend.place(LEG, "5550180")
        self.clock.pump([0.1] * 20)
        long_ago = known("5550180", CallState.ALERTING, None, age=3600.0, quiet_for=3600.0)
        await self.die(long_ago)
        self.clock.pump([0.1] * 10)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.sip_status), (True, 487))
        self.assertEqual(self.pbx.methods(), ["INVITE", "CANCEL", "ACK"])

    async def test_a_call_that_has_rung_for_long_and_rang_just_now_rings_on(self) -> None:
        """It was lost once after 180 s, while its far end rang on."""
        await self.die(known("5550180", CallState.ALERTING, None, age=3600.0, quiet_for=30.0))
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.sink.events, [Progressed(LEG)])
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.pbx.methods(), ["INVITE", "CANCEL", "ACK"])

    async def test_a_record_that_cannot_be_read_loses_its_leg(self) -> None:
        await self.die(known("5550100", CallState.CONNECTED, b"[1, 2]"))
        self.assertEqual(list(await self.backend.legs()), [])

    async def test_a_stop_leaves_the_calls_to_the_next_umd(self) -> None:
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        await self.backend.stop()
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.pbx.methods(), ["INVITE", "ACK"])
        await self.begin([known("5550100", CallState.CONNECTED, record)])
        self.assertEqual(len(await self.backend.legs()), 1)


class SipRestoreWithLoginTests(SipRestoreCase):
    """The far end challenges the requests of both backends with digest authentication."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        path = Path(self.mktemp())
        path.write_text(PASSWORD)
        self.login = {"username": "umd", "password_file": str(path)}
        await super().setUp()

    def far_end(self) -> FarPbx:
        return Doorman("407")

    async def test_an_answered_call_is_ended_by_the_next_umd(self) -> None:
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        assert record is not None
        self.assertNotIn(b"nonce", record)
        await self.die(known("5550100", CallState.CONNECTED, record))
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 10)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.sip_status), (True, 200))

    async def test_a_bye_that_may_have_been_challenged_leaves_a_gap(self) -> None:
        """Each challenge used a CSeq number, and the backend does not know how many there were."""
        self.backend.place(LEG, "5550100")
        self.clock.pump([0.1] * 50)
        record = self.backend.leg_record(LEG)
        numbers = []
        for state in (CallState.CONNECTED, CallState.DISCONNECTING):
            await self.die(known("5550100", state, record))
            self.backend.hang_up(LEG, CLIENT)
            self.clock.pump([0.1] * 10)
            numbers.append(self.pbx.last("BYE").cseq.number)
        self.assertEqual(numbers[1] - numbers[0], 1 + MAX_RETRIES)

    async def test_a_ringing_call_is_cancelled_by_the_next_umd(self) -> None:
        """It is cancelled at once, or after the far end says that it still rings."""
        ringing, ending = CallState.ALERTING, CallState.DISCONNECTING
        for state, wait in ((ringing, 0), (ringing, 10), (ending, 0)):
            await self.setUp()
            self.backend.place(LEG, "5550180")
            self.clock.pump([0.1] * 20)
            await self.die(known("5550180", state, None))
            self.clock.pump([0.1] * wait)
            self.backend.hang_up(LEG, CLIENT)
            self.clock.pump([0.1] * 60)
            (end,) = self.sink.ends(LEG)
            self.assertEqual((end.confirmed, end.cause.sip_status), (True, 487))
            self.assertEqual(list(self.pbx.endpoint.sessions()), [])


class SimRestoreTests(TestCase):
    async def restarted(self, number: str, state: CallState, placed: bool) -> None:
        """Start a simulator on one known leg; if `placed`, an earlier one has dialled that leg."""
        self.clock = Clock()
        record = None
        if placed:
            first = SimBackend("sim", SimSection(random_seed=1), self.clock)
            await first.start(RecordingSink())
            first.place(LEG, number)
            self.clock.pump([0.1] * 50)
            record = first.leg_record(LEG)
            await first.stop()
        self.sink = RecordingSink()
        self.backend = SimBackend("sim", SimSection(random_seed=1, seed=[Seed()]), self.clock)
        self.backend.restore([known(number, state, record)], anew=False)
        await self.backend.start(self.sink)
        self.addCleanup(self.backend.stop)

    async def test_both_ends_of_a_call_are_restored(self) -> None:
        await self.restarted("5550100", CallState.CONNECTED, True)
        (found,) = await self.backend.legs()  # the configured calls (seed) are not created again
        self.assertEqual((found.leg, found.state), (LEG, CallState.CONNECTED))
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 5)
        (end,) = self.sink.ends(LEG)
        self.assertEqual((end.confirmed, end.cause.sip_status), (True, 200))

    async def test_a_restored_far_end_hangs_up_when_its_time_comes(self) -> None:
        await self.restarted("5550120", CallState.CONNECTED, True)
        self.clock.pump([1.0] * 25)
        (end,) = self.sink.ends(LEG)
        self.assertEqual(end.cause.by, EndedBy.FAR_END)

    async def test_a_far_end_that_answers_no_bye(self) -> None:
        await self.restarted("5550199", CallState.CONNECTED, True)
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([1.0] * 40)
        (end,) = self.sink.ends(LEG)
        self.assertFalse(end.confirmed)

    async def test_a_restored_far_end_rings_on(self) -> None:
        await self.restarted("5550180", CallState.ALERTING, False)
        (found,) = await self.backend.legs()
        self.assertEqual(found.state, CallState.ALERTING)
        self.backend.hang_up(LEG, CLIENT)
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.sink.ends(LEG)[0].cause.sip_status, 487)

    async def test_a_call_that_was_being_dialled_is_dialled(self) -> None:
        await self.restarted("5550101", CallState.CONNECTING, False)
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.sink.events[-1], Answered(LEG))
        self.assertEqual([e for e in self.sink.events if isinstance(e, Ended)], [])

    async def test_a_damaged_record_loses_its_leg_and_no_other(self) -> None:
        await self.restarted("5550100", CallState.CONNECTED, True)
        first = self.backend.leg_record(LEG)
        lines = captured_log(self)
        backend = SimBackend("sim", SimSection(random_seed=1), self.clock)
        damages = [b"", b"[]", b"[1,2,3,4]", b'["a","b",-1,0]', b'["a","b",2147483647,0]',
                   b'["a","b",1,"x"]', None]  # fmt: skip
        legs = [
            KnownLeg(
                leg=LegId(f"leg-{number}"), state=CallState.CONNECTED, number="5550100", age=1.0,
                record=record, quiet_for=1.0,
            )
            for number, record in enumerate([*damages, first])
        ]  # fmt: skip
        backend.restore(legs, anew=False)
        await backend.start(self.sink)
        self.addCleanup(backend.stop)
        self.assertEqual([found.leg for found in await backend.legs()], [legs[-1].leg])
        lost = [line["leg"] for line in lines if line["event"] == "sim.leg-not-restored"]
        self.assertEqual(lost, [leg.leg for leg in legs[:-1]])
