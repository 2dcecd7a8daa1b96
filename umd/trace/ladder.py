"""A call's SIP messages as a ladder: one column for each end, one arrow for each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

import click

TIME_WIDTH: Final = 9
"""Of the seconds since the first message: "12345.678"."""
FIRST_BAR: Final = TIME_WIDTH + 6
NOTE_WIDTH: Final = 19
"""What stands to the right of the last bar: "  retransmission 10"."""
LEAST_GAP: Final = 11
LARGEST_GAP: Final = 38


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message that crossed, in the words of a ladder."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """`host:port`, as is `target`; an IPv6 address stands in brackets."""
    target: str
    transport: str
    sip_call_id: str
    start_line: str
    method: str | None
    """Of a request; None for a response."""
    status: int | None
    """Of a response; None for a request."""
    reason: str
    """Of a response."""
    cseq: str
    """As it stands in the message: "1 INVITE"."""
    branch: str
    """Of the topmost Via; with the CSeq it names the transaction."""
    sdp: bool
    """Whether it carries a session description."""
    retransmission: int = 0
    """How often the same message was there before: 0 for the first, 1 for the next."""

    def to_json(self) -> dict[str, Any]:
        """As it goes over the control socket, and out of `umd trace --json`."""
        at = datetime.fromtimestamp(self.at, timezone.utc)
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "at"}
        return {"at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"), **rest}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Step:
        """The inverse of `to_json`; what it does not know it leaves out."""
        known = {name: fields[name] for name in cls.__slots__}
        return cls(**{**known, "at": datetime.fromisoformat(fields["at"]).timestamp()})


def draw(steps: Sequence[Step], *, width: int = 80, colour: bool = False) -> list[str]:
    """
    Draw the ladder of one call.

    Args:
        steps: in the order they crossed, at least one.
        width: columns to keep to; many ends need more.
        colour: whether to mark answers and retransmissions by colour too.

    Returns:
        Lines: the ends, then one for each message.
    """
    ends = list(dict.fromkeys(end for step in steps for end in (step.source, step.target)))
    gaps = max(1, len(ends) - 1)
    room = (width - FIRST_BAR - 1 - NOTE_WIDTH) // gaps
    gap = max(LEAST_GAP, min(LARGEST_GAP, room))
    bars = {end: FIRST_BAR + index * gap for index, end in enumerate(ends)}
    first = steps[0].at
    return [*_head(bars, gap), *(_line(step, first, bars, colour) for step in steps)]


def _head(bars: Mapping[str, int], gap: int) -> list[str]:
    """The names of the ends above their bars, or letters and what they stand for."""
    names = {end: printable(end) for end in bars}
    letters = {end: chr(ord("A") + index % 26) for index, end in enumerate(bars)}
    lines = []
    longest = min(gap - 2, 2 * FIRST_BAR - 4)
    if any(len(name) > longest for name in names.values()):
        lines = [f"  {letters[end]} is {name}" for end, name in names.items()] + [""]
        names = letters
    line = ""
    for end, bar in bars.items():
        line = line.ljust(max(len(line), bar - len(names[end]) // 2)) + names[end]
    return [*lines, line]


def _line(step: Step, first: float, bars: Mapping[str, int], colour: bool) -> str:
    low, high = sorted((bars[step.source], bars[step.target]))
    last = max(bars.values())
    cells = [" "] * (last + 1)
    for bar in bars.values():
        cells[bar] = "|"
    if low == high:  # an end that talks to itself
        label = f"<> {_label(step, LARGEST_GAP)}"
        drawn = f"{''.join(cells[:low])}| {_paint(label, step, colour)}"
    else:
        inner = high - low - 1
        label = f" {_label(step, inner - 4)} "
        dashes = inner - 1 - len(label)
        left, right = "-" * (dashes // 2), "-" * (dashes - dashes // 2)
        label = _paint(label, step, colour)
        to_right = bars[step.target] == high
        arrow = f"{left}{label}{right}>" if to_right else f"<{left}{label}{right}"
        drawn = "".join(cells[: low + 1]) + arrow + "".join(cells[high:])
    note = ""
    if step.retransmission:
        note = f"retransmission {step.retransmission}"
        note = "  " + (click.style(note, fg="yellow") if colour else note)
    time = f"{step.at - first:{TIME_WIDTH}.3f}"
    return time + drawn[TIME_WIDTH:] + note


def _label(step: Step, room: int) -> str:
    """As much of what a message is as there is room for."""
    if step.method is not None:
        what, short, about = step.method, step.method, []
    else:
        what, short = f"{step.status} {step.reason}".rstrip(), f"{step.status}"
        about = [step.cseq.rpartition(" ")[2]]
    if step.sdp:
        about.append("SDP")
    asides = [f" ({', '.join(about)})" if about else "", " (SDP)" if step.sdp else ""]
    forms = [what + asides[0], short + asides[0], what + asides[1], short + asides[1], short]
    fitting = [form for form in map(printable, forms) if len(form) <= room]
    return fitting[0] if fitting else printable(short)[: room - 2] + ".."


def _paint(text: str, step: Step, colour: bool) -> str:
    if not colour:
        return text
    if step.status is None:
        return click.style(text, fg="cyan", dim=bool(step.retransmission))
    painted = {1: "yellow", 2: "green", 3: "cyan"}.get(step.status // 100, "red")
    return click.style(text, fg=painted, dim=bool(step.retransmission))


def printable(text: str) -> str:
    """A stranger's text for a terminal, which it must not drive."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
