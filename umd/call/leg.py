"""The events of a leg, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from umd.call.cause import Cause

LegId = NewType("LegId", str)
"""The name of a leg, unique within its backend; at most 255 printable characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What to play and to record on a leg once it is answered."""

    prompt: str
    """Path of a WAV file: 8 kHz, mono, 16 bits."""
    prompt_s: float
    """Length of the prompt, in seconds."""
    record_to: str | None = None
    """
    Path of the WAV file to which the far end is recorded after the prompt.

    Empty: the far end is heard, but nothing is kept. None: nothing is recorded.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCount:
    """How many RTP packets of 20 ms a leg sent and received."""

    sent: int
    received: int
    """Only packets that were to be recorded are counted."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end rings."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Answered:
    """The far end answered."""

    leg: LegId


@dataclass(slots=True)
class Ended:
    """The leg has ended: its last event, reported exactly once. Treat it as immutable."""

    leg: LegId
    cause: Cause
    confirmed: bool = True
    """Whether the far end confirmed the end; False: the backend gave up waiting for it."""
    media: MediaCount | None = None
    """The RTP packets of a leg that was placed with media."""


@dataclass(frozen=True, slots=True)
class Gone:
    """
    The PBX or the peer no longer knows the leg, and its end was not reported.

    It is the last event of a leg, in place of `Ended`. The call ends as `Lost`.
    """

    leg: LegId
    reason: str
    """For people to read: which system was queried, and what it answered."""


LegEvent = Progressed | Answered | Ended | Gone
"""What a backend reports of a leg."""
