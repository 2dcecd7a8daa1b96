"""The simulated far ends: what each number does, to the millisecond."""

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.backend import Answered, Ended, LegId, Progressed
from umd.backends.sim import FAR_ENDS, Seed, SimBackend, SimSection, far_end_of
from umd.call.call import CallState
from umd.call.call_id import make_call_id
from umd.call.cause import Cause, EndedBy
from umd.testing import RecordingSink

LEG = LegId("leg")
CLIENT = Cause(by=EndedBy.CLIENT)


class FarEndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.start(SimSection())

    def start(self, section: SimSection) -> None:
        self.sim = SimBackend("sim", section, self.clock)
        self.sink = RecordingSink()
        self.successResultOf(ensureDeferred(self.sim.start(self.sink)))

    def last(self) -> Ended:
        event = self.sink.events[-1]
        assert isinstance(event, Ended)
        return event

    def test_a_number_may_be_written_as_people_write_it(self) -> None:
        busy = FAR_ENDS["5550186"]
        for number in ("5550186", "+15550186", "+1 (555) 0186", "sip:+1-555-0186@example.com"):
            self.assertIs(far_end_of(number), busy, number)
        self.assertEqual(far_end_of("12").words, "answers, stays")

    def test_answers_and_stays(self) -> None:
        self.sim.place(LEG, "5550100")
        self.clock.advance(0.002)
        self.assertEqual(self.sink.events, [Progressed(LEG)])
        self.clock.advance(1.0)
        self.assertEqual(self.sink.events, [Progressed(LEG), Answered(LEG)])
        self.clock.advance(10_000.0)
        self.assertEqual(len(self.sink.events), 2)

    def test_busy_declined_and_unknown(self) -> None:
        for number, status, q850 in (
            ("5550186", 486, 17),
            ("5550103", 603, 21),
            ("5550104", 404, 1),
        ):
            self.sim.place(LEG, number)
            self.clock.pump([0.5, 2.0, 2.0])
            cause = self.last().cause
            self.assertEqual((cause.sip_status, cause.q850), (status, q850), number)

    def test_hangs_up_by_itself(self) -> None:
        self.sim.place(LEG, "5550120")
        self.clock.pump([0.002, 1.0, 19.9])
        self.assertEqual(self.sink.events[-1], Answered(LEG))
        self.clock.advance(0.2)
        self.assertEqual(self.last(), Ended(LEG, Cause(by=EndedBy.FAR_END)))

    def test_nobody_there_times_out(self) -> None:
        self.sim.place(LEG, "5550108")
        self.clock.advance(31.9)
        self.assertEqual(self.sink.events, [])
        self.clock.advance(0.1)
        self.assertEqual((self.last().cause.sip_status, self.last().confirmed), (408, False))

    def test_nobody_there_cannot_be_cancelled_either(self) -> None:
        """A CANCEL needs a provisional response first (RFC 3261 section 9.1)."""
        self.sim.place(LEG, "5550108")
        self.sim.hang_up(LEG, CLIENT)
        self.clock.advance(31.9)
        self.assertEqual(self.sink.events, [])
        self.clock.advance(0.1)
        self.assertEqual((self.last().cause.by, self.last().confirmed), (EndedBy.CLIENT, False))

    def test_silent_to_bye_but_not_to_cancel(self) -> None:
        self.sim.place(LEG, "5550199")
        self.clock.advance(0.002)
        self.sim.hang_up(LEG, CLIENT)
        self.clock.advance(0.002)
        self.assertEqual((self.last().cause.sip_status, self.last().confirmed), (487, True))
        self.sim.place(LEG, "5550199")
        self.clock.pump([0.002, 1.0])
        self.sim.hang_up(LEG, CLIENT)
        self.clock.advance(31.9)
        self.assertEqual(self.sink.events[-1], Answered(LEG))
        self.clock.advance(0.1)
        self.assertEqual((self.last().cause.sip_status, self.last().confirmed), (408, False))

    def test_seeds_are_there_from_the_start(self) -> None:
        call_id = make_call_id("given", "elsewhere")
        self.start(
            SimSection(seed=[Seed(call_id=call_id), Seed(number="5550120", state="alerting")])
        )
        given, other = self.successResultOf(ensureDeferred(self.sim.legs()))
        self.assertEqual((given.leg, given.call_id), ("given", call_id))
        self.assertEqual((given.state, other.state), (CallState.CONNECTED, CallState.ALERTING))
        self.clock.advance(1.0)
        self.assertEqual(self.sink.events, [Answered(other.leg)])

    def test_no_timer_is_left(self) -> None:
        self.sim.place(LEG, "5550100")
        self.clock.pump([0.002, 1.0])
        self.sim.hang_up(LEG, CLIENT)
        self.clock.pump([0.002, 1.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])
