"""What the screens of the commands share: tables, ages, words, names as short as they can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

SHORT_NAME: Final = 8

STATES: Final[Mapping[str, str]] = {
    "connecting": "connecting",
    "alerting": "ringing",
    "connected": "connected",
    "disconnecting": "ending",
    "disconnected": "ended",
}
"""The states of a call as people say them; programs get the words of `CallState`."""


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the columns aligned."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def clock(seconds: float) -> str:
    """How long something lasts, as a clock shows it: "0:31", "1:02:03"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def ago(seconds: float) -> str:
    """How long ago something was, as people say it: "2m 14s ago"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h ago"
    if hours:
        return f"{hours}h {minutes}m ago"
    return f"{minutes}m {rest}s ago" if minutes else f"{rest}s ago"


def short_name(leg: str) -> str:
    """As much of a leg's name as a person needs to tell it from a few others."""
    return leg[:SHORT_NAME]


def short_names(legs: Sequence[str]) -> list[str]:
    """The beginning of each name that no other one has, of eight characters or more."""
    ordered = sorted(set(legs))
    shared = {leg: 0 for leg in ordered}
    for one, other in zip(ordered, ordered[1:]):
        common = _common(one, other)
        shared[one] = max(shared[one], common)
        shared[other] = max(shared[other], common)
    return [leg[: max(SHORT_NAME, shared[leg] + 1)] for leg in legs]


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    for index, (a, b) in enumerate(zip(one, other)):
        if a != b:
            return index
    return min(len(one), len(other))
