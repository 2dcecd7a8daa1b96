"""One call: a table that says which event is legal in which state, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from umd.call.call_id import CallId
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.call.events import (
    Alerting,
    Connected,
    Disconnected,
    DisconnectRequested,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.leg import Answered, Ended, LegId, Progressed
from umd.errors import UmdError


class CallState(StrEnum):
    """The states of a call; on the UM wire the first two are both `Connecting`."""

    CONNECTING = "connecting"
    ALERTING = "alerting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"
    DISCONNECTED = "disconnected"


@dataclass(slots=True)
class HangUp:
    """Somebody asks for the end of the call; nobody changes it."""

    cause: Cause
    principal: str
    request_id: str
    limit: str | None = None
    """The setting by which umd asks for it itself."""


CallInput = Progressed | Answered | HangUp | Ended

_S = CallState
TRANSITIONS: Final[Mapping[CallState, Mapping[type[CallInput], CallState]]] = {
    _S.CONNECTING: {
        Progressed: _S.ALERTING,
        Answered: _S.CONNECTED,
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.ALERTING: {
        Progressed: _S.ALERTING,  # rings on: a further 18x, another fork
        Answered: _S.CONNECTED,
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.CONNECTED: {
        HangUp: _S.DISCONNECTING,
        Ended: _S.DISCONNECTED,
    },
    _S.DISCONNECTING: {
        Progressed: _S.DISCONNECTING,  # crossed our request to end it
        Answered: _S.DISCONNECTING,  # the 200 that crosses a CANCEL; told, as it wants a BYE
        HangUp: _S.DISCONNECTING,  # joins the teardown under way
        Ended: _S.DISCONNECTED,
    },
    _S.DISCONNECTED: {
        HangUp: _S.DISCONNECTED,  # ended is ended: the same answer as the first time
    },
}
"""What is absent is a mistake of a backend: `Call.apply` raises and changes nothing."""


class IllegalEvent(UmdError):
    """A backend reported what cannot happen in this state."""


class Call:
    """
    A call and the leg that carries it.

    Made by `place` or `resume`; driven by `apply` only. Each gives back the lifecycle event to be
    recorded, which the caller writes down before it acts on it.
    """

    __slots__ = (
        "id", "leg", "backend", "number", "owner", "state", "seq",
        "began_at", "connected_at", "asked_at", "ended_at", "cause", "confirmed",
        "max_age", "ring_time",
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
    ) -> None:
        self.id = id
        self.leg = leg
        self.backend = backend
        self.number = number
        self.owner = owner
        """Name of the principal who placed it; empty for a leg that was found."""
        self.state = state
        self.seq = 0
        self.began_at = at
        """Wall times, seconds since the epoch; 0.0 while it has not happened."""
        self.connected_at = at if state is CallState.CONNECTED else 0.0
        self.asked_at = 0.0
        self.ended_at = 0.0
        self.cause: Cause | None = None
        """Why it ends, from the first request to end it on; the first cause wins."""
        self.confirmed = False
        self.max_age = max_age
        """Seconds since it began after which umd ends it; None: never."""
        self.ring_time = ring_time
        """The same, while it has not been answered."""

    @property
    def ended(self) -> bool:
        return self.state is CallState.DISCONNECTED

    def place(self, request_id: str) -> Placed:
        """The event of its birth, when umd dials."""
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
        )

    def resume(self) -> Resumed:
        """The event of its birth, when the leg was there before."""
        return Resumed(
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
        )

    def resume_as(self, found: CallState, at: float) -> Resumed:
        """
        It was known from before umd started, and its leg is there: `found` is how it stands.

        Who asked for its end is not forgotten by that.
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
        It is not to be found any more: over, as far as anybody knows.

        Raises:
            IllegalEvent: it has ended before; nothing has changed.
        """
        if self.ended:
            raise IllegalEvent(f"Lost in state {self.state} of call {self.id}")
        if self.cause is None:
            self.cause = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
        self.state = CallState.DISCONNECTED
        self.ended_at = at
        return Lost(call=self.id, seq=self._next_seq(), at=at, cause=self.cause, reason=reason)

    def apply(self, event: CallInput, at: float) -> LifecycleEvent | None:
        """
        Let `event` happen at wall time `at`.

        Returns:
            The lifecycle event to record, or None where nothing new is to be told.

        Raises:
            IllegalEvent: and nothing has changed.
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
                return DisconnectRequested(
                    call=self.id,
                    seq=self._next_seq(),
                    at=at,
                    cause=event.cause,
                    principal=event.principal,
                    request_id=event.request_id,
                    limit=event.limit,
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
        assert self.cause is not None
        return Disconnected(
            call=self.id,
            seq=self._next_seq(),
            at=at,
            cause=self.cause,
            superseded=superseded,
            confirmed=event.confirmed,
            media=event.media,
        )

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq
