"""What the screens of the commands share."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.call.call import CallState
from umd.cli.screen import STATES, ago, clock, short_names, table


class ScreenTests(SynchronousTestCase):
    def test_a_table_is_aligned_and_has_no_blanks_at_the_end(self) -> None:
        self.assertEqual(table([("A", "B"), ("long", "")]), ["A      B", "long"])

    def test_time_as_people_say_it(self) -> None:
        self.assertEqual(
            [clock(s) for s in (0, 31.9, 3723, -1)], ["0:00", "0:31", "1:02:03", "0:00"]
        )
        self.assertEqual(
            [ago(s) for s in (0, 134, 7260, 90061)],
            ["0s ago", "2m 14s ago", "2h 1m ago", "1d 1h ago"],
        )

    def test_every_state_has_a_word(self) -> None:
        self.assertEqual(set(STATES), set(CallState))

    def test_names_are_as_long_as_it_takes_to_tell_them_apart(self) -> None:
        self.assertEqual(short_names(["0123456789", "abcdefghij"]), ["01234567", "abcdefgh"])
        self.assertEqual(
            short_names(["abcdefgh-12", "abcdefgh-13", "abc", "abc"]),
            ["abcdefgh-12", "abcdefgh-13", "abc", "abc"],
        )
