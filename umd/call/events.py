"""
Lifecycle events: what happens to a call, as it is logged and kept in the journal.

Treat them as immutable. They are not frozen, because creating a frozen one takes twice the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from umd.call.alias import Aliases, no_aliases
from umd.call.call_id import CallId
from umd.call.cause import Cause
from umd.call.leg import Direction, LegId, MediaCount, Proof


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
    labels: tuple[str, ...] = ()
    """The labels that the client gave the call."""
    lease: float | None = None
    """Seconds after which umd ends the call unless its lease is renewed; None: never."""


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
    aliases: Aliases = field(default_factory=no_aliases)
    """The ids that the leg has on its PBX; in the first event only, like all that follow."""
    labels: tuple[str, ...] = ()
    direction: Direction | None = None
    """Which side called; None: not known."""


@dataclass(slots=True, kw_only=True)
class Found(Resumed):
    """A call that umd did not place has appeared on a backend while umd runs; its first event."""


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
    caused_by: CallId | None = None
    """The partner whose end was requested, if the request did not name this call."""


@dataclass(slots=True, kw_only=True)
class Changed(_CallEvent):
    """What is known of the call has changed; each field has the full new value, None: unchanged."""

    aliases: Aliases | None = None
    partners: tuple[CallId, ...] | None = None
    """The calls with which it is bridged."""
    labels: tuple[str, ...] | None = None
    number: str | None = None


@dataclass(slots=True, kw_only=True)
class LeaseRenewed(_CallEvent):
    """The owner renewed the lease of the call, which counts from now on again."""

    lease: float
    """Seconds after which umd ends the call unless its lease is renewed."""
    principal: str
    """Name of the principal who renewed it."""
    request_id: str


@dataclass(slots=True, kw_only=True)
class Disconnected(_CallEvent):
    """The call has ended. A call has exactly one end event: this one, `Lost` or `Forgotten`."""

    cause: Cause
    superseded: Cause | None
    """The cause that the far end gave although another side had ended the call first."""
    confirmed: bool
    """Whether the far end confirmed the end."""
    shown_by: Proof
    """What shows that the far end is down."""
    caused_by: CallId | None = None
    """The partner whose end brought this one about."""
    media: MediaCount | None = None
    """The RTP packets of a call that was placed with media."""


@dataclass(slots=True, kw_only=True)
class Lost(_CallEvent):
    """The call cannot be found any more, so how it ended is unknown; an end event."""

    cause: Cause
    reason: str
    """For people to read: where umd looked for the call, and what it found."""


@dataclass(slots=True, kw_only=True)
class Forgotten(_CallEvent):
    """An operator gave up a call that umd cannot end; an end event. The PBX was not told."""

    cause: Cause
    principal: str
    """Name of the principal who gave it up."""
    request_id: str
    reason: str
    """Why, in the operator's words."""


EndEvent = Disconnected | Lost | Forgotten
"""The events that end a call; it has exactly one of them."""

LifecycleEvent = (
    Placed
    | Resumed
    | Found
    | Alerting
    | Connected
    | Changed
    | LeaseRenewed
    | DisconnectRequested
    | Disconnected
    | Lost
    | Forgotten
)
