"""Deadlines without I/O, the time a number."""

from twisted.trial.unittest import SynchronousTestCase

from umd.timers import LONGEST_UNSWEPT_QUEUE, Timers


class TimersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.timers: Timers[str] = Timers()

    def due(self, now: float) -> list[str]:
        items = []
        while (item := self.timers.pop_due(now)) is not None:
            items.append(item)
        return items

    def test_nothing_runs(self) -> None:
        self.assertIsNone(self.timers.next_due())
        self.assertEqual(self.due(1e9), [])

    def test_not_before_its_time(self) -> None:
        self.timers.start(0.5, "a", 10.0)
        self.assertEqual(self.timers.next_due(), 10.5)
        self.assertEqual(self.due(10.499), [])
        self.assertEqual(self.due(10.5), ["a"])
        self.assertIsNone(self.timers.next_due())

    def test_intervals_interleave_by_time(self) -> None:
        self.timers.start(5.0, "slow", 0.0)
        self.timers.start(1.0, "fast", 0.0)
        self.timers.start(1.0, "fast too", 3.0)
        self.timers.start(5.0, "slow too", 0.5)
        self.assertEqual(self.due(100.0), ["fast", "fast too", "slow", "slow too"])

    def test_a_cancelled_timer_never_fires(self) -> None:
        first = self.timers.start(1.0, "a", 0.0)
        self.timers.start(1.0, "b", 0.0)
        first.cancel()
        first.cancel()
        self.assertEqual(self.due(2.0), ["b"])

    def test_cancelled_timers_are_not_waited_for(self) -> None:
        only = self.timers.start(1.0, "a", 0.0)
        later = self.timers.start(9.0, "b", 0.0)
        only.cancel()
        self.assertEqual(self.timers.next_due(), 9.0)
        later.cancel()
        self.assertIsNone(self.timers.next_due())

    def test_one_item_can_cancel_the_next_that_is_due_with_it(self) -> None:
        self.timers.start(1.0, "a", 0.0)
        second = self.timers.start(1.0, "b", 0.0)
        self.assertEqual(self.timers.pop_due(1.0), "a")
        second.cancel()
        self.assertIsNone(self.timers.pop_due(1.0))

    def test_an_item_can_start_anew_while_others_are_due(self) -> None:
        self.timers.start(1.0, "a", 0.0)
        self.timers.start(1.0, "b", 0.0)
        self.assertEqual(self.timers.pop_due(1.0), "a")
        self.timers.start(1.0, "a", 1.0)
        self.assertEqual(self.due(1.0), ["b"])
        self.assertEqual(self.timers.next_due(), 2.0)

    def test_cancelled_timers_of_a_long_interval_do_not_pile_up(self) -> None:
        """A call has a day at most, and lives a minute: its timer must not live for the day."""
        day = 86400.0
        running = [self.timers.start(day, "stays", 0.0) for _ in range(10)]
        for number in range(10 * LONGEST_UNSWEPT_QUEUE):
            self.timers.start(day, "goes", float(number)).cancel()
            self.assertLessEqual(len(self.timers._queues[day]), LONGEST_UNSWEPT_QUEUE + 1)
        running[0].cancel()
        self.assertEqual(self.due(day), ["stays"] * 9)
        self.timers.start(day, "last", 1e6)
        self.assertEqual(self.timers.next_due(), 1e6 + day)
        self.assertEqual(self.due(1e7), ["last"])
        self.assertEqual(self.timers._sweep_at, {})
