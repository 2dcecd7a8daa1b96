"""A leg as every backend reports it: neutral events, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from umd.call.cause import Cause

LegId = NewType("LegId", str)
"""Unique within its backend; at most 255 printable characters."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end is being alerted: it rings."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Answered:
    """The far end took the call."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is over; the last event of a leg, and reported once."""

    leg: LegId
    cause: Cause
    confirmed: bool = True
    """False when the far end never said so and the backend stopped waiting for it."""


LegEvent = Progressed | Answered | Ended
