"""The far ends of a simulated PBX: who holds a dialog. They are the truth, not what it says."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_NUMBER: Final = "5550100"
"""The number whose far end also answers every number that has no far end of its own."""
LOG_LENGTH: Final = 10_000


class ByeAnswer(StrEnum):
    """What a far end does with a BYE or a CANCEL."""

    ANSWERS = "answers"
    SILENT = "silent"
    """It stays in its call, and sends nothing."""
    NO_DIALOG = "481"
    """It says that it has no such call, and has none from then on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a far end does; times in seconds."""

    ring_after: float | None = None
    """None: it does not ring."""
    answer_after: float | None = 0.0
    """None: it never answers by itself."""
    reject_with: int | None = None
    """The SIP status with which it rejects a call, in place of an answer."""
    hang_up_after: float | None = None
    bye: ByeAnswer = ByeAnswer.ANSWERS
    bye_after: float = 0.0
    """How long it takes to answer a BYE or a CANCEL."""


BUILT_IN: Final[Mapping[str, Behaviour]] = {
    DEFAULT_NUMBER: Behaviour(),
    "5550120": Behaviour(hang_up_after=0.5),
    "5550180": Behaviour(ring_after=0.0, answer_after=None),
    "5550186": Behaviour(reject_with=486),
    "5550181": Behaviour(bye=ByeAnswer.NO_DIALOG),
    "5550199": Behaviour(bye=ByeAnswer.SILENT),
}
"""The far ends by the last seven digits of their numbers, as those of the backend `sim`."""


class FarEnd:
    """One far end, and whether it is in a dialog."""

    __slots__ = ("call_id", "behaviour", "number", "channel", "holds")

    def __init__(self, call_id: str, number: str, behaviour: Behaviour) -> None:
        self.call_id = call_id
        """The SIP Call-ID of its dialog."""
        self.number = number
        self.behaviour = behaviour
        self.channel = ""
        """The channel that it is on."""
        self.holds = True
        """Whether it is in its call: until it has answered a BYE or a CANCEL, or hung up."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Something that a far end did."""

    at: float
    """Seconds on the clock of the PBX."""
    call_id: str
    did: str
    """In words."""


class FarEnds:
    """
    The far ends by the channel that they are on, and a log of what they did.

    Args:
        configured: behaviours by the last digits of a number; they replace built-in ones.
    """

    def __init__(self, configured: Mapping[str, Behaviour] | None = None) -> None:
        self._behaviours = {**BUILT_IN, **(configured or {})}
        self._on: dict[str, FarEnd] = {}
        self.log: deque[LogEntry] = deque(maxlen=LOG_LENGTH)
        """What far ends did, newest last; only the last `LOG_LENGTH` entries."""

    def behaviour_of(self, number: str) -> Behaviour:
        """Return what the far end of a number does."""
        digits = "".join(filter(str.isdecimal, number.partition("@")[0].partition(";")[0]))
        return self._behaviours.get(digits[-7:]) or self._behaviours[DEFAULT_NUMBER]

    def join(self, channel: str, far_end: FarEnd, now: float) -> None:
        """Let a far end begin its dialog on a channel."""
        self._put(channel, far_end)
        self.log.append(LogEntry(now, far_end.call_id, "is in a call"))

    def on(self, channel: str) -> FarEnd | None:
        """Return the far end on a channel that is in its call; None: it is down."""
        return self._on.get(channel)

    def swap(self, channel: str, other: str) -> None:
        """Exchange the far ends of two channels."""
        first, second = self._on.pop(channel, None), self._on.pop(other, None)
        if second is not None:
            self._put(channel, second)
        if first is not None:
            self._put(other, first)

    def leave(self, far_end: FarEnd, did: str, now: float) -> None:
        """Let a far end leave its call."""
        far_end.holds = False
        if self._on.get(far_end.channel) is far_end:
            del self._on[far_end.channel]
        self.log.append(LogEntry(now, far_end.call_id, did))

    def holding(self) -> dict[str, str]:
        """Return the Call-IDs of the dialogs that far ends hold, by channel."""
        return {channel: far_end.call_id for channel, far_end in self._on.items()}

    def _put(self, channel: str, far_end: FarEnd) -> None:
        self._on[channel] = far_end
        far_end.channel = channel
