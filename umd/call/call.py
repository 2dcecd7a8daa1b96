"""The state machine of a call: which event is legal in which state, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from umd.call.alias import NO_ALIASES, Aliases
from umd.call.call_id import CallId
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.call.events import (
    Alerting,
    Changed,
    Connected,
    Disconnected,
    DisconnectRequested,
    Forgotten,
    Found,
    LeaseRenewed,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.leg import Answered, Direction, Ended, LegId, Progressed, Proof
from umd.errors import UmdError


class CallState(StrEnum):
    """The states of a call. The UM web service calls the first two `Connecting`."""

    CONNECTING = "connecting"
    ALERTING = "alerting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"
    DISCONNECTED = "disconnected"


@dataclass(slots=True)
class HangUp:
    """A request to end the call. Treat it as immutable."""

    cause: Cause
    principal: str
    """Name of the principal who made the request."""
    request_id: str
    """The id of the request, as in the log."""
    limit: str | None = None
    """The setting whose limit the call exceeded, if umd itself ends it."""
    caused_by: CallId | None = None
    """The partner whose end was requested, if the request does not name this call."""


CallInput = Progressed | Answered | HangUp | Ended
"""What drives a call: reports of its leg, and requests to end it."""

_S = CallState
TRANSITIONS: Final[Mapping[CallState, Mapping[type[CallInput], CallState]]] = {
    _S.CONNECTING: {
        Progressed: _S.ALERTING,
        Answered: _S.CONNECTED,
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.ALERTING: {
        Progressed: _S.ALERTING,  # another 18x response, or another fork rings
        Answered: _S.CONNECTED,
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.CONNECTED: {
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.DISCONNECTING: {
        Progressed: _S.DISCONNECTING,  # it crossed the CANCEL or BYE
        Answered: _S.DISCONNECTING,  # a 200 crossed the CANCEL; recorded, as a BYE follows
        HangUp: _S.DISCONNECTING,  # joins the teardown in progress
        Ended: _S.DISCONNECTED,
    },
    _S.DISCONNECTED: {
        HangUp: _S.DISCONNECTED,  # answered like the first request
    },
}
"""
The next state for each legal event in each state.

An event without an entry is a bug in a backend: `Call.apply` raises `IllegalEvent`.
"""


class IllegalEvent(UmdError):
    """A backend reported an event that cannot happen in the state of the call."""


_Beginning = TypeVar("_Beginning", Resumed, Found)


class Call:
    """
    A call and its leg.

    `place` or `resume` begin a call, `apply` drives it. Each returns the lifecycle event to record.
    The caller records the event before it acts on it.
    """

    __slots__ = (
        "id", "leg", "backend", "number", "owner", "state", "seq",
        "began_at", "connected_at", "asked_at", "ended_at", "cause", "confirmed",
        "max_age", "ring_time", "aliases", "labels", "partners", "direction", "shown_by",
        "caused_by", "forgotten", "lease", "leased_at", "begun",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: CallId,
        leg: LegId,
        backend: str,
        number: str,
        owner: str,
        at: float,
        state: CallState = CallState.CONNECTING,
        max_age: float | None = None,
        ring_time: float | None = None,
        aliases: Aliases = NO_ALIASES,
        labels: tuple[str, ...] = (),
        direction: Direction | None = None,
        lease: float | None = None,
    ) -> None:
        self.id = id
        self.leg = leg
        self.backend = backend
        self.number = number
        self.owner = owner
        """
        Name of the principal who placed the call. Of a found call, the principal that the backend
        and `call.owners` name; empty: none.
        """
        self.state = state
        self.seq = 0
        self.began_at = at
        """When the call began; all times are wall time, in seconds since the epoch."""
        self.connected_at = at if state is CallState.CONNECTED else 0.0
        """When the far end answered; 0.0: it has not."""
        self.asked_at = 0.0
        """When the end of the call was first requested; 0.0: it was not."""
        self.ended_at = 0.0
        """When the call ended; 0.0: it has not."""
        self.cause: Cause | None = None
        """Why the call ends: the cause of the first request to end it, else that of its end."""
        self.confirmed = False
        """Whether the far end confirmed the end."""
        self.max_age = max_age
        """Seconds after its beginning when umd ends the call; None: never."""
        self.ring_time = ring_time
        """Seconds after its beginning when umd ends the call unless it is answered; None: never."""
        self.aliases = aliases
        """The ids that the call has on its PBX and on the wire, by their kind."""
        self.labels = labels
        """The texts by which clients and the PBX group calls."""
        self.partners: tuple[CallId, ...] = ()
        """The calls with which it is bridged on the PBX."""
        self.direction = direction
        """Which side called; None: umd placed the call, or it is not known."""
        self.shown_by: Proof | None = None
        """What shows that the call has ended; None: it has not, or is lost."""
        self.caused_by: CallId | None = None
        """The partner whose end, or request to end, brought the end of this call about."""
        self.forgotten = False
        """Whether an operator gave up the call."""
        self.lease = lease
        """Seconds after `leased_at` when umd ends the call unless it is renewed; None: never."""
        self.leased_at = 0.0 if lease is None else at
        """When the lease was granted or last renewed; 0.0: there is none."""
        self.begun = 0
        """The position of its first record in the journal; 0: the journal has no record of it."""

    @property
    def ended(self) -> bool:
        return self.state is CallState.DISCONNECTED

    def place(self, request_id: str) -> Placed:
        """Return the first event of a call that umd dials."""
        return Placed(
            call=self.id,
            seq=self._next_seq(),
            at=self.began_at,
            leg=self.leg,
            backend=self.backend,
            number=self.number,
            owner=self.owner,
            request_id=request_id,
            max_age=self.max_age,
            ring_time=self.ring_time,
            labels=self.labels,
            lease=self.lease,
        )

    def resume(self) -> Resumed:
        """Return the first event of a call whose leg was there when umd started."""
        return self._begin(Resumed)

    def find(self) -> Found:
        """Return the first event of a call whose leg appeared while umd runs."""
        return self._begin(Found)

    def _begin(self, event: type[_Beginning]) -> _Beginning:
        return event(
            call=self.id,
            seq=self._next_seq(),
            at=self.began_at,
            leg=self.leg,
            backend=self.backend,
            number=self.number,
            owner=self.owner,
            state=self.state,
            max_age=self.max_age,
            ring_time=self.ring_time,
            aliases=self.aliases,
            labels=self.labels,
            direction=self.direction,
        )

    def resume_as(self, found: CallState, at: float) -> Resumed:
        """
        Resume a call of the journal whose leg is still there after a restart.

        A call whose end was requested before stays in that state.

        Args:
            found: the state that the backend reports.
            at: wall time, seconds since the epoch.

        Returns:
            The event to record.
        """
        if self.state is not CallState.DISCONNECTING:
            self.state = found
            if found is CallState.CONNECTED and not self.connected_at:
                self.connected_at = at
        return Resumed(
            call=self.id,
            seq=self._next_seq(),
            at=at,
            leg=self.leg,
            backend=self.backend,
            number=self.number,
            owner=self.owner,
            state=self.state,
        )

    def lose(self, reason: str, at: float) -> Lost:
        """
        End a call whose leg cannot be found any more, so that its real end is unknown.

        Args:
            reason: why the call counts as lost, for people to read.
            at: wall time, seconds since the epoch.

        Returns:
            The event to record.

        Raises:
            IllegalEvent: the call has ended already; nothing has changed.
        """
        if self.ended:
            raise IllegalEvent(f"Lost in state {self.state} of call {self.id}")
        if self.cause is None:
            self.cause = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
        self.state = CallState.DISCONNECTED
        self.ended_at = at
        return Lost(call=self.id, seq=self._next_seq(), at=at, cause=self.cause, reason=reason)

    def forget(self, principal: str, request_id: str, reason: str, at: float) -> Forgotten:
        """
        End the record of a call that umd cannot end. Its backend is not told.

        Args:
            principal: name of the principal who gives the call up.
            request_id: the id of the request, as in the log.
            reason: why, in the words of the principal.
            at: wall time, seconds since the epoch.

        Raises:
            IllegalEvent: the call has ended already; nothing has changed.
        """
        if self.ended:
            raise IllegalEvent(f"Forgotten in state {self.state} of call {self.id}")
        if self.cause is None:
            self.cause = Cause(by=EndedBy.OPERATOR, q850=RECOVERY_ON_TIMER_EXPIRY)
        self.state = CallState.DISCONNECTED
        self.ended_at = at
        self.shown_by = Proof.NONE
        self.forgotten = True
        return Forgotten(
            call=self.id,
            seq=self._next_seq(),
            at=at,
            cause=self.cause,
            principal=principal,
            request_id=request_id,
            reason=reason,
        )

    def change(
        self,
        at: float,
        *,
        aliases: Aliases | None = None,
        partners: tuple[CallId, ...] | None = None,
        labels: tuple[str, ...] | None = None,
        number: str | None = None,
    ) -> Changed | None:
        """
        Take over what has changed of a live call; None leaves a value as it is.

        Returns:
            The event to record, with the values that differ; None: no value does.
        """
        changed = Changed(call=self.id, seq=0, at=at)
        if aliases is not None and aliases != self.aliases:
            changed.aliases = self.aliases = aliases
        if partners is not None and partners != self.partners:
            changed.partners = self.partners = partners
        if labels is not None and labels != self.labels:
            changed.labels = self.labels = labels
        if number is not None and number != self.number:
            changed.number = self.number = number
        if (
            changed.aliases is None
            and changed.partners is None
            and changed.labels is None
            and changed.number is None
        ):
            return None
        changed.seq = self._next_seq()
        return changed

    def renew(self, lease: float, principal: str, request_id: str, at: float) -> LeaseRenewed:
        """
        Let the lease of a live call count from now on.

        Args:
            lease: seconds until umd ends the call unless the lease is renewed again.
            principal: name of the principal who renews it.
            request_id: the id of the request, as in the log.
            at: wall time, seconds since the epoch.
        """
        self.lease, self.leased_at = lease, at
        return LeaseRenewed(
            call=self.id,
            seq=self._next_seq(),
            at=at,
            lease=lease,
            principal=principal,
            request_id=request_id,
        )

    def apply(self, event: CallInput, at: float) -> LifecycleEvent | None:
        """
        Apply an event to the call.

        Args:
            event: the report of a leg, or a request to end the call.
            at: wall time of the event, seconds since the epoch.

        Returns:
            The lifecycle event to record; None: nothing changed that is worth a record.

        Raises:
            IllegalEvent: the event is not legal in this state; nothing has changed.
        """
        before = self.state
        after = TRANSITIONS[before].get(type(event))
        if after is None:
            raise IllegalEvent(f"{type(event).__name__} in state {before} of call {self.id}")
        self.state = after
        if after is before and (type(event) is not Answered or self.connected_at):
            return None
        match event:
            case Progressed():
                return Alerting(call=self.id, seq=self._next_seq(), at=at)
            case Answered():
                self.connected_at = at
                return Connected(call=self.id, seq=self._next_seq(), at=at)
            case HangUp():
                self.asked_at = at
                self.cause = event.cause
                self.caused_by = event.caused_by
                return DisconnectRequested(
                    call=self.id,
                    seq=self._next_seq(),
                    at=at,
                    cause=event.cause,
                    principal=event.principal,
                    request_id=event.request_id,
                    limit=event.limit,
                    caused_by=event.caused_by,
                )
            case Ended():
                return self._end(event, at)

    def _end(self, event: Ended, at: float) -> Disconnected:
        first, last = self.cause, event.cause
        superseded = None
        if first is None:
            self.cause = last
        elif last.by is EndedBy.FAR_END:
            superseded = last
        else:
            self.cause = Cause(
                by=first.by, q850=last.q850, sip_status=last.sip_status, reasons=last.reasons
            )
        self.ended_at = at
        self.confirmed = event.confirmed
        shown_by = self.shown_by = event.shown_by
        assert self.cause is not None and shown_by is not None
        return Disconnected(
            call=self.id,
            seq=self._next_seq(),
            at=at,
            cause=self.cause,
            superseded=superseded,
            confirmed=event.confirmed,
            shown_by=shown_by,
            caused_by=self.caused_by,
            media=event.media,
        )

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq
