"""Some thousands of damaged requests; `python -m tests.http.fuzz` for more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http.fuzz import run


class FuzzTests(SynchronousTestCase):
    def test_no_request_does_harm(self) -> None:
        """Each is answered, or its connection closed; no call is touched, nothing is raised."""
        figures = run(4000, seed=5)
        self.assertLess({"200", "400", "401", "500"}, set(figures["first_status"]))
        self.assertEqual({"anonymous", "alice", "bob"}, set(figures["served"]))
