"""The timers of RFC 3261 table 4, and the moments of retransmissions."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.schedules import invite_schedule, request_schedule
from umd.sip.timing import Timing

TABLE_4 = {  # RFC 3261 appendix A, unreliable transport; L and M: RFC 6026 section 8
    "timeout": 32.0,  # B, F and H
    "timer_d": 32.0,
    "timer_i": 5.0,
    "timer_j": 32.0,
    "timer_k": 5.0,
    "timer_l": 32.0,
    "timer_m": 32.0,
}


class TimingTests(SynchronousTestCase):
    def test_defaults_are_the_rfcs(self) -> None:
        """Without configuration every timer has the value the RFC prints."""
        timing = Timing()
        self.assertEqual({name: getattr(timing, name) for name in TABLE_4}, TABLE_4)

    def test_timer_c_is_longer_than_three_minutes(self) -> None:
        """A proxy lets an INVITE ring for more than three minutes."""
        self.assertGreater(Timing().timer_c, 180)

    def test_a_slow_network_stretches_what_depends_on_t1(self) -> None:
        """With T1 of a second the peer has 64 seconds to answer."""
        timing = Timing(t1=1.0)
        self.assertEqual(
            [timing.timeout, timing.timer_j, timing.timer_d, timing.timer_l, timing.timer_m],
            [64.0] * 5,
        )
        self.assertEqual((timing.timer_i, timing.timer_k), (5.0, 5.0))

    def test_d_is_at_least_32_seconds(self) -> None:
        """The peer's timer H is not known: D never falls below 32 s, however short our T1."""
        self.assertEqual(Timing(t1=0.01).timer_d, 32.0)


class ScheduleTests(SynchronousTestCase):
    def test_invite_doubles_without_limit(self) -> None:
        """An unanswered INVITE goes out seven times in all, RFC 3261 section 17.1.1.2."""
        self.assertEqual(invite_schedule(Timing()), (0.5, 1.5, 3.5, 7.5, 15.5, 31.5))

    def test_request_doubles_up_to_t2(self) -> None:
        """An unanswered BYE goes out eleven times in all, RFC 3261 section 17.1.2.2."""
        self.assertEqual(
            request_schedule(Timing()),
            (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5),
        )
