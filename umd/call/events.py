"""
Lifecycle events: what happens to a call, as it is logged and kept in the journal.

Treat them as immutable. They are not frozen, because creating a frozen one takes twice the time.
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
    """The number of the event among those of its call, from 1."""
    at: float
    """Wall time, seconds since the epoch, UTC."""


@dataclass(slots=True, kw_only=True)
class Placed(_CallEvent):
    """umd is about to dial; nothing was sent yet."""

    leg: LegId
    backend: str
    """Name of the backend that carries the leg."""
    number: str
    """The number that is dialled."""
    owner: str
    """Name of the principal who placed the call."""
    request_id: str
    """The id of the request, as in the log."""
    max_age: float | None = None
    """Seconds after which umd ends the call; None: never."""
    ring_time: float | None = None
    """Seconds after which umd ends the call unless it is answered; None: never."""


@dataclass(slots=True, kw_only=True)
class Resumed(_CallEvent):
    """
    umd has taken over a leg that was there before it started.

    It is the first event of a call whose leg was found on a backend, and a later event of a call
    that the journal knew before the restart.
    """

    leg: LegId
    backend: str
    number: str
    owner: str
    state: str
    max_age: float | None = None
    """As in `Placed`; None in a later event, since the first event of the call has it."""
    ring_time: float | None = None
    """As `max_age`."""


@dataclass(slots=True, kw_only=True)
class Alerting(_CallEvent):
    """The far end rings."""


@dataclass(slots=True, kw_only=True)
class Connected(_CallEvent):
    """The far end answered. The state of a call that is being ended does not change."""


@dataclass(slots=True, kw_only=True)
class DisconnectRequested(_CallEvent):
    """The first request to end the call; later requests join it and make no event."""

    cause: Cause
    principal: str
    """Name of the principal who made the request."""
    request_id: str
    """The id of the request, as in the log."""
    limit: str | None = None
    """The setting whose limit the call exceeded, if umd itself ended it."""


@dataclass(slots=True, kw_only=True)
class Disconnected(_CallEvent):
    """The call has ended. A call has exactly one end event, this one or `Lost`."""

    cause: Cause
    superseded: Cause | None
    """The cause that the far end gave although another side had ended the call first."""
    confirmed: bool
    """Whether the far end confirmed the end."""
    media: MediaCount | None = None
    """The RTP packets of a call that was placed with media."""


@dataclass(slots=True, kw_only=True)
class Lost(_CallEvent):
    """The call cannot be found any more, so how it ended is unknown; the other end event."""

    cause: Cause
    reason: str
    """For people to read: where umd looked for the call, and what it found."""


LifecycleEvent = (
    Placed | Resumed | Alerting | Connected | DisconnectRequested | Disconnected | Lost
)
