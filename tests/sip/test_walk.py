"""Short random walks; `python -m tests.sip.walk` goes further."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.walk import walk


class WalkTests(SynchronousTestCase):
    def test_bad_network(self) -> None:
        """With loss, duplication and reordering, each session ends once and nothing is left."""
        for seed in range(8):
            self.assertEqual(walk(2000, seed).failures, [], f"seed {seed}")

    def test_terrible_network(self) -> None:
        """The same with half of all messages lost."""
        for seed in range(4):
            self.assertEqual(walk(2000, seed, loss=0.5).failures, [], f"seed {seed}")

    def test_reliable_transport(self) -> None:
        """The same over reliable transports, where only the users act at random."""
        for seed in range(4):
            self.assertEqual(walk(2000, seed, reliable=True).failures, [], f"seed {seed}")
