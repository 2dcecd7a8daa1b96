"""How many requests are let in while umd cannot keep up."""

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
        self.waiting = 0
        self.probed: Callable[[object], None] | None = None
        self.admission = Admission(self.clock, lambda: MAX_LATE, lambda: self.waiting)
        self.admission.start()

    def ask(self, number: int) -> int:
        """How many of so many are let in."""
        return sum(self.admission.admit() for _ in range(number))

    def turn(self, seconds: float) -> None:
        """One turn of the reactor, that takes so long."""
        self.clock.advance(seconds)

    def serve(self, asked: int, each: float, turns: int) -> list[int]:
        """
        Turns in which so many ask, and each that is let in takes so long.

        Returns:
            How many were let in, turn by turn.
        """
        let_in = []
        for _ in range(turns):
            let_in.append(self.ask(asked))
            self.turn(max(CHECK_INTERVAL, let_in[-1] * each))
        return let_in

    def test_as_many_as_come(self) -> None:
        """Nobody is put off while nothing is late, however many they are."""
        self.assertEqual(self.serve(10_000, 0.000_001, 50), [10_000] * 50)

    def test_one_pause(self) -> None:
        """One long pause puts nobody off: what has come meanwhile is served."""
        self.turn(5.0)
        self.assertEqual(self.ask(10_000), 10_000)
        self.assertEqual(self.admission.rejected, 0)
        self.assertAlmostEqual(self.admission.max_seen_late, 5.0 - CHECK_INTERVAL)
        self.assertEqual(self.admission.stalls, 1)

    def test_a_flood(self) -> None:
        """With many in work the rest of a turn that takes too long is put off, not served."""
        self.waiting = FLOOD_PENDING
        let_in = 0
        for _ in range(2_000):
            self.clock.rightNow += 0.0002  # what it takes to begin one
            let_in += self.admission.admit()
        served = let_in * 0.0002 - MAX_LATE - CHECK_INTERVAL
        self.assertLessEqual(abs(served), REQUESTS_PER_FLOOD_CHECK * 0.0002)
        self.turn(CHECK_INTERVAL)
        self.assertLess(self.ask(2_000), let_in)

    def test_three_times_the_load(self) -> None:
        """What is let in settles where a turn takes half of what is too late."""
        each = 0.0004
        let_in = self.serve(750, each, 200)
        settled = let_in[100:]
        turns = [number * each for number in settled]
        self.assertLess(max(turns), MAX_LATE)
        self.assertGreater(min(turns), MAX_LATE / 2 * 0.7)
        self.assertEqual(self.admission.rejected, 750 * 200 - sum(let_in))

    def test_as_before(self) -> None:
        """When the load has gone, nobody is put off any more."""
        self.serve(750, 0.0004, 50)
        before = self.admission.rejected
        self.assertGreater(before, 0)
        self.serve(10, 0.0004, int(CALM_TIME / CHECK_INTERVAL) + 1)
        self.assertEqual(self.ask(10_000), 10_000)
        self.assertEqual(self.admission.rejected, before)

    def test_who_asks_alone(self) -> None:
        """A few are let in however late it is: they are not what makes it so."""
        for _ in range(20):
            self.assertEqual(self.ask(MIN_ADMITTED), MIN_ADMITTED)
            self.turn(1.0)

    def test_it_becomes_slower(self) -> None:
        """Less is let in when each request takes longer than before."""
        self.serve(750, 0.0004, 50)
        let_in = self.serve(750, 0.002, 30)
        self.assertLess(let_in[-1] * 0.002, MAX_LATE)

    def on_record(self) -> None:
        """What was on its way to the journal is on record."""
        then, self.probed = self.probed, None
        assert then is not None
        then(None)

    def probe(self, then: Callable[[object], None]) -> None:
        self.assertIsNone(self.probed, "one at a time")
        self.probed = then

    def test_the_disk_is_slow(self) -> None:
        """While the reactor has nothing to do and all wait for the disk, most are put off."""
        self.admission.probe, self.waiting = self.probe, 1000
        for _ in range(int(MAX_LATE * JOURNAL_FACTOR / CHECK_INTERVAL) - 2):
            self.assertEqual(self.serve(50, 0.0, 1), [50], "a disk may pause for a moment")
        let_in = self.serve(50, 0.0, 100)
        self.assertLess(sum(let_in[-20:]), 20)
        self.waiting = MIN_ADMITTED - 1
        self.assertEqual(self.ask(50), MIN_ADMITTED, "few wait: they are not what makes it so")
        self.waiting = 1000
        self.on_record()
        for _ in range(300):
            self.serve(50, 0.0, 1)
            if self.probed is not None:
                self.on_record()
        self.assertEqual(self.serve(50, 0.0, 1), [50])

    def test_a_pause_with_a_disk_that_is_always_slow(self) -> None:
        """It puts nobody off before a pause, and so for ever after it neither."""
        takes = MAX_LATE * JOURNAL_FACTOR * 2 / 3

        def probe(then: Callable[[object], None]) -> None:
            self.clock.callLater(takes, then, None)

        self.admission.probe = probe
        self.waiting = FLOOD_PENDING  # for far ends that are silent
        self.assertEqual(self.serve(2, 0.0, 200), [2] * 200)
        self.turn(2.0)
        self.ask(2)
        self.turn(2.0)
        self.serve(2, 0.0, 100)
        self.assertEqual(self.serve(2, 0.0, 200), [2] * 200)

    def test_the_disk_is_quick(self) -> None:
        """Nobody is put off, however many wait."""
        self.admission.probe, self.waiting = self.probe, 1000
        for _ in range(100):
            self.assertEqual(self.serve(500, 0.0, 1), [500])
            if self.probed is not None:
                self.on_record()

    def test_nobody_waits(self) -> None:
        """The journal is left alone."""
        self.admission.probe = self.probe
        self.serve(50, 0.0, 100)
        self.assertIsNone(self.probed)

    def test_nobody_is_connected(self) -> None:
        """No timer is left, and who comes next is not put off."""
        self.serve(750, 0.0004, 50)
        self.admission.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.admission.start()
        self.assertEqual(self.ask(10_000), 10_000)
