"""A leg as every backend reports it: neutral events, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from umd.call.cause import Cause

LegId = NewType("LegId", str)
"""Unique within its backend; at most 255 printable characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What is to be heard on a leg once it is answered."""

    prompt: str
    """Path of a WAV file: 8 kHz, mono, 16 bits."""
    prompt_s: float
    """How long it takes, in seconds."""
    record_to: str | None = None
    """
    Path of the WAV file to which the far end is recorded after the prompt; empty: nothing is kept
    of it; None: not at all.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCount:
    """What crossed of a leg's media, in RTP packets of 20 ms."""

    sent: int
    received: int
    """Of what was to be recorded."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end is being alerted: it rings."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Answered:
    """The far end took the call."""

    leg: LegId


@dataclass(slots=True)
class Ended:
    """The leg is over; the last event of a leg, and reported once. Nobody changes it."""

    leg: LegId
    cause: Cause
    confirmed: bool = True
    """False when the far end never said so and the backend stopped waiting for it."""
    media: MediaCount | None = None
    """What crossed, of a leg that was placed with media."""


@dataclass(frozen=True, slots=True)
class Gone:
    """
    What carried the leg knows it no more, and nobody heard how it ended.

    The last event of a leg, in place of `Ended`. The call ends as `Lost`.
    """

    leg: LegId
    reason: str
    """For people to read: who was asked, and what was answered."""


LegEvent = Progressed | Answered | Ended | Gone
