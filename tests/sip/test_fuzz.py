"""Several thousand damaged messages; `python -m tests.sip.fuzz` for more."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.fuzz import GOOD, LIMIT, exercise, hostile, least, run, timed


class FuzzTests(SynchronousTestCase):
    def test_no_message_does_harm(self) -> None:
        """Every message is accepted, refused, answered or dropped, and never takes long."""
        figures = run(4000, seed=4475)
        outcomes = figures["outcomes"]
        self.assertEqual(sum(outcomes.values()), 4000)
        self.assertEqual(set(outcomes), {"good", "refused", "answered", "dropped", "keep-alive"})
        self.assertEqual(figures["over_5_ms"], 0, figures["worst_start"])

    def test_no_message_is_expensive(self) -> None:
        """
        A field with 60,000 octets of one difficult piece takes no longer.

        A fast machine stays near the limit, so a slow one is given twice the time. Work that grows
        with
        the square of the length would take a hundred times as long.
        """
        self.assertEqual(exercise(GOOD), "good")
        for name, data in hostile():
            if timed(data)[1] > LIMIT:
                self.assertLess(least(data), 2 * LIMIT, name)
