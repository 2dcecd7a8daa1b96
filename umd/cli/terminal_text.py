"""Formats tables, durations and names for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

SHORT_NAME_CHARACTERS: Final = 8
PBX_NAME_CHARACTERS: Final = 24
_RANDOM_NAME: Final = re.compile(r"[0-9a-f]{8}-")

STATE_LABELS: Final[Mapping[str, str]] = {
    "connecting": "connecting",
    "alerting": "ringing",
    "connected": "connected",
    "disconnecting": "ending",
    "disconnected": "ended",
}
"""The states of a call for people. Programs get the values of `CallState`."""


def align_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line per row, with the columns aligned."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def format_duration(seconds: float) -> str:
    """Format a duration as a clock shows it: "0:31", "1:02:03"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_age(seconds: float) -> str:
    """Format how long ago something was, in its two largest units: "2m 14s ago"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h ago"
    if hours:
        return f"{hours}h {minutes}m ago"
    return f"{minutes}m {rest}s ago" if minutes else f"{rest}s ago"


def shorten_name(leg: str) -> str:
    """
    Return the beginning of a leg's name, usually enough to recognise it.

    The names that umd makes are random from the first character. Those of a PBX often begin alike,
    so short ones are not cut.
    """
    if len(leg) <= PBX_NAME_CHARACTERS and not _RANDOM_NAME.match(leg):
        return leg
    return leg[:SHORT_NAME_CHARACTERS]


def distinct_prefixes(legs: Sequence[str]) -> list[str]:
    """Return for each name a prefix that no other name has, at least eight characters long."""
    ordered = sorted(set(legs))
    shared = {leg: 0 for leg in ordered}
    for leg, following in zip(ordered, ordered[1:]):
        common = _common_prefix_length(leg, following)
        shared[leg] = max(shared[leg], common)
        shared[following] = max(shared[following], common)
    return [leg[: max(SHORT_NAME_CHARACTERS, shared[leg] + 1)] for leg in legs]


def _common_prefix_length(first: str, second: str) -> int:
    for index, (a, b) in enumerate(zip(first, second)):
        if a != b:
            return index
    return min(len(first), len(second))
