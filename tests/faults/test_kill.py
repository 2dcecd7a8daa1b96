"""The short form of `tests.faults.kill`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.kill import is_good, run


class KillTests(SynchronousTestCase):
    def test_killed_four_times_under_load(self) -> None:
        found = run(4, clients=4)
        self.assertTrue(is_good(found), found)
        self.assertGreater(found["ended_acknowledged"], 0)
