"""
Lifecycle events: what has happened to a call, as it is logged and journalled.

Nobody changes one; they are not frozen, as to make one of those takes twice the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from umd.call.call_id import CallId
from umd.call.cause import Cause
from umd.call.leg import LegId, MediaCount


@dataclass(slots=True, kw_only=True)
class _CallEvent:
    call: CallId
    seq: int
    """Counts the events of this call from 1."""
    at: float
    """Wall time, seconds since the epoch, UTC."""


@dataclass(slots=True, kw_only=True)
class Placed(_CallEvent):
    """umd was asked to dial; nothing has left yet."""

    leg: LegId
    backend: str
    number: str
    owner: str
    request_id: str
    max_age: float | None = None
    """Seconds after which umd ends it; None: it may last."""
    ring_time: float | None = None
    """Seconds after which umd ends it unless it was answered."""


@dataclass(slots=True, kw_only=True)
class Resumed(_CallEvent):
    """
    A leg that was there before umd started was taken up.

    The first event of a leg that was found; a later one of a call that the journal knew.
    """

    leg: LegId
    backend: str
    number: str
    owner: str
    state: str
    max_age: float | None = None
    """As in `Placed`, of a leg that was found; a later event does not say it again."""
    ring_time: float | None = None


@dataclass(slots=True, kw_only=True)
class Alerting(_CallEvent):
    """The far end rings."""


@dataclass(slots=True, kw_only=True)
class Connected(_CallEvent):
    """The far end answered; when the call is being ended already, this changes no state."""


@dataclass(slots=True, kw_only=True)
class DisconnectRequested(_CallEvent):
    """The first request to end the call; later ones join it and make no event."""

    cause: Cause
    principal: str
    request_id: str
    limit: str | None = None
    """The setting by which umd asked for it itself."""


@dataclass(slots=True, kw_only=True)
class Disconnected(_CallEvent):
    """The call is over: the one end event of a call, unless that is `Lost`."""

    cause: Cause
    superseded: Cause | None
    """What the far end said when somebody else had ended the call first."""
    confirmed: bool
    """False when the far end never confirmed it."""
    media: MediaCount | None = None
    """What crossed, of a call that was placed with media."""


@dataclass(slots=True, kw_only=True)
class Lost(_CallEvent):
    """Nobody can say what became of the call: the other end event, of what cannot be found."""

    cause: Cause
    reason: str
    """For people to read: where it was looked for, and why it is not there."""


LifecycleEvent = (
    Placed | Resumed | Alerting | Connected | DisconnectRequested | Disconnected | Lost
)
