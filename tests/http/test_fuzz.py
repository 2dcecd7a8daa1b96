"""Send 4,000 damaged requests; `python -m tests.http.fuzz` sends more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http.fuzz import run


class FuzzTests(SynchronousTestCase):
    def test_no_request_does_harm(self) -> None:
        """Each gets a response or a closed connection, ends no call and raises no error."""
        figures = run(4000, seed=5)
        self.assertLess({"200", "400", "401", "500"}, set(figures["first_status"]))
        self.assertEqual({"anonymous", "alice", "bob"}, set(figures["served"]))
