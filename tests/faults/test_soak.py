"""The short form of `tests.faults.soak`, and the verdict on its figures."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.soak import nothing_grows, nothing_lost, run, slope, umds_own_stalls


class SoakTests(SynchronousTestCase):
    def test_a_soak_of_some_seconds(self) -> None:
        """Calls are placed and ended at a low rate, and the journal has each end once."""
        found = run(seconds=4.0, warm_up=1.0, rate=20.0)
        self.assertTrue(nothing_lost(found), found)
        self.assertGreaterEqual(found["placed"], 90)

    def test_the_verdict(self) -> None:
        """Each kind of bad figure is found."""
        good = {
            "placed": 9, "ended": 9, "ends_on_record": 9, "failed": 0, "log_errors": [],
            "log_lines_lost": 0, "live_at_the_end": 0, "exit_status": 0,
            "descriptors": [40, 41], "resident_mb_per_hour": 0.3,
            "stalls_over_20_ms": 3, "of_them_while_others_had_the_core": 3,
        }  # fmt: skip
        self.assertTrue(nothing_lost(good) and nothing_grows(good, 1.0))
        self.assertEqual(umds_own_stalls(good), 0)
        for wrong in (
            {"ends_on_record": 8},
            {"ends_on_record": 10},
            {"ended": 8},
            {"failed": 1},
            {"log_errors": ["x"]},
            {"live_at_the_end": 1},
            {"exit_status": 1},
        ):
            self.assertFalse(nothing_lost({**good, **wrong}), wrong)
        self.assertFalse(nothing_grows({**good, "descriptors": [40, 44]}, 1.0))
        self.assertFalse(nothing_grows({**good, "resident_mb_per_hour": 1.1}, 1.0))
        self.assertEqual(umds_own_stalls({**good, "stalls_over_20_ms": 4}), 1)

    def test_the_slope(self) -> None:
        self.assertAlmostEqual(slope([(0.0, 1.0), (10.0, 3.0), (20.0, 5.0)]), 0.2)
