"""One reactor timer for any number of deadlines, on a clock that never jumps."""

import time
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.runtime.clock import Alarms, make_monotonic


class AlarmsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.due: list[str] = []
        self.alarms: Alarms[str] = Alarms(self.clock, self.due.append)

    def test_a_thousand_deadlines_cost_one_reactor_timer(self) -> None:
        for number in range(1000):
            self.alarms.start(5.0, str(number))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(5.0)
        self.assertEqual(len(self.due), 1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_earlier_deadline_moves_the_reactor_timer(self) -> None:
        self.alarms.start(5.0, "slow")
        self.alarms.start(1.0, "fast")
        self.clock.advance(1.0)
        self.assertEqual(self.due, ["fast"])
        self.clock.advance(4.0)
        self.assertEqual(self.due, ["fast", "slow"])

    def test_a_due_timer_can_start_another(self) -> None:
        def ring(item: str) -> None:
            self.due.append(item)
            if item == "first":
                alarms.start(1.0, "second")

        alarms = Alarms(self.clock, ring)
        alarms.start(1.0, "first")
        self.clock.pump([1.0, 0.5, 0.5])
        self.assertEqual(self.due, ["first", "second"])

    def test_an_exception_does_not_stop_the_other_timers(self) -> None:
        def ring(item: str) -> None:
            if item == "bad":
                raise RuntimeError(item)
            self.due.append(item)

        alarms = Alarms(self.clock, ring)
        alarms.start(1.0, "bad")
        alarms.start(2.0, "good")
        with self.assertRaises(RuntimeError):
            self.clock.advance(1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.due, ["good"])

    def test_stop_cancels_every_timer(self) -> None:
        self.alarms.start(1.0, "a")
        self.alarms.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(2.0)
        self.assertEqual(self.due, [])


class MonotonicTests(SynchronousTestCase):
    def test_a_step_of_the_wall_clock_does_not_reach_the_reactor(self) -> None:
        reactor = SimpleNamespace(seconds=time.time)
        make_monotonic(reactor)
        self.patch(time, "time", lambda: 0.0)
        before = time.monotonic()
        self.assertGreaterEqual(reactor.seconds(), before)
