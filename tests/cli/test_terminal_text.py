"""Tables, durations and names as the commands print them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import CallState
from umd.cli.terminal_text import (
    STATE_LABELS,
    align_columns,
    distinct_prefixes,
    format_age,
    format_duration,
    shorten_name,
)


class TerminalTextTests(SynchronousTestCase):
    def test_a_table_is_aligned_and_has_no_blanks_at_the_end(self) -> None:
        self.assertEqual(align_columns([("A", "B"), ("long", "")]), ["A      B", "long"])

    def test_durations_and_ages(self) -> None:
        self.assertEqual(
            [format_duration(s) for s in (0, 31.9, 3723, -1)], ["0:00", "0:31", "1:02:03", "0:00"]
        )
        self.assertEqual(
            [format_age(s) for s in (0, 134, 7260, 90061)],
            ["0s ago", "2m 14s ago", "2h 1m ago", "1d 1h ago"],
        )

    def test_every_state_has_a_label(self) -> None:
        self.assertEqual(set(STATE_LABELS), set(CallState))

    def test_names_are_shortened(self) -> None:
        """The ids of a PBX often begin alike, so short ones are not cut."""
        self.assertEqual(shorten_name("77e0f3d1-71a9-4a35-8f0b-6b6bbd3d2d3c"), "77e0f3d1")
        self.assertEqual(shorten_name("1795873783.12"), "1795873783.12")
        self.assertEqual(shorten_name("x" * 100), "x" * 8)

    def test_names_are_cut_to_distinct_prefixes(self) -> None:
        self.assertEqual(distinct_prefixes(["0123456789", "abcdefghij"]), ["01234567", "abcdefgh"])
        self.assertEqual(
            distinct_prefixes(["abcdefgh-12", "abcdefgh-13", "abc", "abc"]),
            ["abcdefgh-12", "abcdefgh-13", "abc", "abc"],
        )
