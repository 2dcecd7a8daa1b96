"""How many requests umd serves while it is late."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.http.admission import (
    CALM_TIME,
    CHECK_INTERVAL,
    FLOOD_PENDING,
    JOURNAL_FACTOR,
    MIN_ADMITTED,
    REQUESTS_PER_FLOOD_CHECK,
    Admission,
)

MAX_LATE = 0.1


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pending = 0
        self.probed: Callable[[object], None] | None = None
        self.admission = Admission(self.clock, lambda: MAX_LATE, lambda: self.pending)
        self.admission.start()

    def ask(self, number: int) -> int:
        """Let this many requests arrive; return how many are admitted."""
        return sum(self.admission.admit() for _ in range(number))

    def turn(self, seconds: float) -> None:
        """Let one turn of the reactor take this long."""
        self.clock.advance(seconds)

    def serve(self, arriving: int, each: float, turns: int) -> list[int]:
        """
        Turns in which so many requests arrive, and each admitted request takes so long.

        Returns:
            How many were admitted, turn by turn.
        """
        admitted = []
        for _ in range(turns):
            admitted.append(self.ask(arriving))
            self.turn(max(CHECK_INTERVAL, admitted[-1] * each))
        return admitted

    def test_no_limit_without_lateness(self) -> None:
        """Without lateness, every request is admitted."""
        self.assertEqual(self.serve(10_000, 0.000_001, 50), [10_000] * 50)

    def test_one_pause_rejects_nothing(self) -> None:
        """A single pause rejects nothing: the requests that arrived meanwhile are served."""
        self.turn(5.0)
        self.assertEqual(self.ask(10_000), 10_000)
        self.assertEqual(self.admission.rejected, 0)
        self.assertAlmostEqual(self.admission.max_seen_late, 5.0 - CHECK_INTERVAL)
        self.assertEqual(self.admission.stalls, 1)

    def test_a_flood_is_cut_within_a_turn(self) -> None:
        """With many pending requests, the rest of a turn that takes too long is rejected."""
        self.pending = FLOOD_PENDING
        admitted = 0
        for _ in range(2_000):
            self.clock.rightNow += 0.0002  # what it takes to begin one
            admitted += self.admission.admit()
        served = admitted * 0.0002 - MAX_LATE - CHECK_INTERVAL
        self.assertLessEqual(abs(served), REQUESTS_PER_FLOOD_CHECK * 0.0002)
        self.turn(CHECK_INTERVAL)
        self.assertLess(self.ask(2_000), admitted)

    def test_three_times_the_load_settles(self) -> None:
        """The number of admitted requests settles where a turn takes half of the allowed time."""
        each = 0.0004
        admitted = self.serve(750, each, 200)
        settled = admitted[100:]
        turns = [number * each for number in settled]
        self.assertLess(max(turns), MAX_LATE)
        self.assertGreater(min(turns), MAX_LATE / 2 * 0.7)
        self.assertEqual(self.admission.rejected, 750 * 200 - sum(admitted))

    def test_the_limit_is_lifted_after_the_load(self) -> None:
        """After the overload, every request is admitted again."""
        self.serve(750, 0.0004, 50)
        before = self.admission.rejected
        self.assertGreater(before, 0)
        self.serve(10, 0.0004, int(CALM_TIME / CHECK_INTERVAL) + 1)
        self.assertEqual(self.ask(10_000), 10_000)
        self.assertEqual(self.admission.rejected, before)

    def test_few_requests_are_always_admitted(self) -> None:
        """A few requests are always admitted: they are not the cause of the lateness."""
        for _ in range(20):
            self.assertEqual(self.ask(MIN_ADMITTED), MIN_ADMITTED)
            self.turn(1.0)

    def test_slower_requests_lower_the_limit(self) -> None:
        """Fewer requests are admitted when each takes longer than before."""
        self.serve(750, 0.0004, 50)
        admitted = self.serve(750, 0.002, 30)
        self.assertLess(admitted[-1] * 0.002, MAX_LATE)

    def return_probe(self) -> None:
        """Let the probe return: everything before it is durable."""
        then, self.probed = self.probed, None
        assert then is not None
        then(None)

    def probe(self, then: Callable[[object], None]) -> None:
        self.assertIsNone(self.probed, "one at a time")
        self.probed = then

    def test_a_slow_disk_limits_requests(self) -> None:
        """If the disk is late, most requests are rejected even though the reactor is idle."""
        self.admission.probe, self.pending = self.probe, 1000
        for _ in range(int(MAX_LATE * JOURNAL_FACTOR / CHECK_INTERVAL) - 2):
            self.assertEqual(self.serve(50, 0.0, 1), [50], "a disk may pause for a moment")
        admitted = self.serve(50, 0.0, 100)
        self.assertLess(sum(admitted[-20:]), 20)
        self.pending = MIN_ADMITTED - 1
        self.assertEqual(self.ask(50), MIN_ADMITTED, "few pending requests are not the cause")
        self.pending = 1000
        self.return_probe()
        for _ in range(300):
            self.serve(50, 0.0, 1)
            if self.probed is not None:
                self.return_probe()
        self.assertEqual(self.serve(50, 0.0, 1), [50])

    def test_a_pause_with_a_disk_that_is_always_slow(self) -> None:
        """A pause of the reactor does not start rejections that the slow disk then keeps up."""
        takes = MAX_LATE * JOURNAL_FACTOR * 2 / 3

        def probe(then: Callable[[object], None]) -> None:
            self.clock.callLater(takes, then, None)

        self.admission.probe = probe
        self.pending = FLOOD_PENDING  # for far ends that are silent
        self.assertEqual(self.serve(2, 0.0, 200), [2] * 200)
        self.turn(2.0)
        self.ask(2)
        self.turn(2.0)
        self.serve(2, 0.0, 100)
        self.assertEqual(self.serve(2, 0.0, 200), [2] * 200)

    def test_a_fast_disk_does_not_limit(self) -> None:
        """With a fast disk, every request is admitted, however many are pending."""
        self.admission.probe, self.pending = self.probe, 1000
        for _ in range(100):
            self.assertEqual(self.serve(500, 0.0, 1), [500])
            if self.probed is not None:
                self.return_probe()

    def test_no_probe_without_pending_requests(self) -> None:
        """Without pending requests, no probe is sent to the journal."""
        self.admission.probe = self.probe
        self.serve(50, 0.0, 100)
        self.assertIsNone(self.probed)

    def test_no_timer_without_connections(self) -> None:
        """The last connection stops the timer and lifts the limit."""
        self.serve(750, 0.0004, 50)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.admission.start()
        self.assertEqual(self.ask(10_000), 10_000)
