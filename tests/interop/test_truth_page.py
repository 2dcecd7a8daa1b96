"""The page that tells what is true: see `tests.interop.truth`."""

from __future__ import annotations

import unittest

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import test_truth
from tests.interop.truth import (
    BEHAVIOURS,
    NOT_HERE,
    PAGE,
    PEERS,
    Outcome,
    page,
    read_outcomes,
    rows_of,
)


def tests_of(case: str) -> list[str]:
    return list(unittest.TestLoader().getTestCaseNames(getattr(test_truth, case)))


class PageTests(SynchronousTestCase):
    def test_every_row_is_shown_or_cannot_be(self) -> None:
        """Each behaviour has a test with some peer, or a reason why it has none."""
        tests = [(peer, name) for case, peer in PEERS.items() for name in tests_of(case)]
        shown = {row for peer, name in tests for row in rows_of(peer, name)}
        self.assertEqual(shown | set(NOT_HERE), set(BEHAVIOURS))
        self.assertEqual(shown & set(NOT_HERE), set())

    def test_every_test_shows_a_row(self) -> None:
        for case, peer in PEERS.items():
            for name in tests_of(case):
                self.assertTrue(rows_of(peer, name), name)

    def test_a_row_that_a_peer_cannot_have(self) -> None:
        """A test that several peers share shows it with the others only."""
        self.assertEqual(rows_of("Kamailio", "test_25_39_mute"), (25, 39))
        self.assertEqual(rows_of("SIPp", "test_25_39_mute"), (25,))

    def test_the_worst_result_is_shown(self) -> None:
        """A behaviour holds with a peer if all its tests passed."""
        outcomes = [
            Outcome("SIPp", (3, 4), "test_03_04_one", "holds"),
            Outcome("SIPp", (4,), "test_04_other", "FAILS"),
            Outcome("Asterisk", (3,), "test_03_one", "not run"),
        ]
        lines = page(outcomes, "Last run: today.").splitlines()
        (three,) = [line for line in lines if line.startswith("| 3 |")]
        (four,) = [line for line in lines if line.startswith("| 4 |")]
        self.assertEqual(three.split(" | ")[2:], ["holds", "-", "not run |"])
        self.assertEqual(four.split(" | ")[2:], ["FAILS", "-", "- |"])
        self.assertIn("| SIPp | 3, 4 | `test_03_04_one` | holds |", lines)
        self.assertEqual(read_outcomes("\n".join(lines)), outcomes)

    def test_page_has_all_tests(self) -> None:
        """Whoever adds a test runs `python -m tests.interop.truth` and commits the page."""
        text = PAGE.read_text()
        for case, peer in PEERS.items():
            for name in tests_of(case):
                self.assertRegex(text, rf"\| {peer} \| [\d, ]+ \| `{name}` \| holds \|")
