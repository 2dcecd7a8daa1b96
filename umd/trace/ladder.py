"""Draws the SIP messages of a call as a ladder: a bar for each end, an arrow for each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

TIME_WIDTH: Final = 9
"""Columns for the seconds since the first message, such as "12345.678"."""
FIRST_BAR: Final = TIME_WIDTH + 6
"""The column of the first bar."""
NOTE_WIDTH: Final = 19
"""Columns to the right of the last bar, for notes such as "  retransmission 10"."""
MIN_GAP: Final = 11
"""Columns from one bar to the next, at least."""
MAX_GAP: Final = 38
"""Columns from one bar to the next, at most."""

# Colours and intensity of a terminal (ECMA-48, "select graphic rendition").
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
CYAN: Final = "36"
FAINT: Final = "2"
COLOUR_OF_STATUS_CLASS: Final = {1: YELLOW, 2: GREEN, 3: CYAN}
"""By the first digit of the status; every other class is red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One message of a call, as a ladder shows it."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """The sender as `host:port`; an IPv6 address is in brackets."""
    target: str
    """The receiver, in the same form."""
    transport: str
    """The transport of the sender's side: UDP, TCP or TLS."""
    sip_call_id: str
    start_line: str
    method: str | None
    """The method of a request; None for a response."""
    status: int | None
    """The status of a response; None for a request."""
    reason: str
    """The reason phrase of a response; empty for a request."""
    cseq: str
    """The value of the CSeq header, such as "1 INVITE"."""
    branch: str
    """The branch of the topmost Via; together with the CSeq it names the transaction."""
    sdp: bool
    """Whether the message has a session description (SDP)."""
    retransmission: int = 0
    """How many times the same message was sent before: 0 for the original."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as the control socket and `umd trace --json` write them."""
        at = datetime.fromtimestamp(self.at, timezone.utc)
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "at"}
        return {"at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"), **rest}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> LadderStep:
        """Return the step that `to_json` wrote; keys of a newer umd are ignored."""
        known = {name: fields[name] for name in cls.__slots__}
        return cls(**{**known, "at": datetime.fromisoformat(fields["at"]).timestamp()})


def draw(steps: Sequence[LadderStep], *, width: int = 80, colour: bool = False) -> list[str]:
    """
    Draw the ladder of one call.

    Args:
        steps: the messages, the oldest first; at least one.
        width: columns to use; a ladder with many ends is wider.
        colour: whether to add terminal colours for answers and retransmissions.

    Returns:
        The lines: the names of the ends, then one line for each message.
    """
    ends = list(dict.fromkeys(end for step in steps for end in (step.source, step.target)))
    gaps = max(1, len(ends) - 1)
    available = (width - FIRST_BAR - 1 - NOTE_WIDTH) // gaps
    gap = max(MIN_GAP, min(MAX_GAP, available))
    bars = {end: FIRST_BAR + index * gap for index, end in enumerate(ends)}
    first = steps[0].at
    return [*_heading(bars, gap), *(_message_line(step, first, bars, colour) for step in steps)]


def _heading(bars: Mapping[str, int], gap: int) -> list[str]:
    """Return the names of the ends above their bars; long names become letters with a legend."""
    names = {end: printable(end) for end in bars}
    letters = {end: chr(ord("A") + index % 26) for index, end in enumerate(bars)}
    legend = []
    max_name_length = min(gap - 2, 2 * FIRST_BAR - 4)
    if any(len(name) > max_name_length for name in names.values()):
        legend = [f"  {letters[end]} is {name}" for end, name in names.items()] + [""]
        names = letters
    line = ""
    for end, bar in bars.items():
        line = line.ljust(max(len(line), bar - len(names[end]) // 2)) + names[end]
    return [*legend, line]


def _message_line(step: LadderStep, first: float, bars: Mapping[str, int], colour: bool) -> str:
    low, high = sorted((bars[step.source], bars[step.target]))
    last = max(bars.values())
    cells = [" "] * (last + 1)
    for bar in bars.values():
        cells[bar] = "|"
    if low == high:  # an end that sends to itself
        label = f"<> {_label(step, MAX_GAP)}"
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
        note = "  " + (_styled(note, YELLOW) if colour else note)
    time = f"{step.at - first:{TIME_WIDTH}.3f}"
    return time + drawn[TIME_WIDTH:] + note


def _label(step: LadderStep, available: int) -> str:
    """Return the longest description of a message that fits into `available` columns."""
    if step.method is not None:
        name, short_name, details = step.method, step.method, []
    else:
        name, short_name = f"{step.status} {step.reason}".rstrip(), f"{step.status}"
        details = [step.cseq.rpartition(" ")[2]]
    if step.sdp:
        details.append("SDP")
    notes = [f" ({', '.join(details)})" if details else "", " (SDP)" if step.sdp else ""]
    labels = [
        name + notes[0], short_name + notes[0], name + notes[1], short_name + notes[1], short_name
    ]  # fmt: skip
    fitting = [label for label in map(printable, labels) if len(label) <= available]
    return fitting[0] if fitting else printable(short_name)[: available - 2] + ".."


def _paint(text: str, step: LadderStep, colour: bool) -> str:
    if not colour:
        return text
    colour_code = CYAN
    if step.status is not None:
        colour_code = COLOUR_OF_STATUS_CLASS.get(step.status // 100, RED)
    return _styled(text, colour_code, *([FAINT] if step.retransmission else []))


def _styled(text: str, *codes: str) -> str:
    # Written here, as click's `style` would load click wherever a message is captured.
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def printable(text: str) -> str:
    """Return text from the network for a terminal, with "?" for each control character."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
