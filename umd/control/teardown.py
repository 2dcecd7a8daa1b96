"""The end of one call, from the request to its answer: a table of states, and who waits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from twisted.internet.defer import Deferred

from umd.call.call import Call
from umd.control.outcome import Outcome
from umd.errors import UmdError
from umd.timers import Timer


class TeardownState(StrEnum):
    """How far the end of a call has come."""

    REQUESTED = "requested"
    """The request is being recorded. Its backend must not be told before that."""
    RECORDED = "recorded"
    """The request is on record, and the backend has still to take it."""
    SENT = "sent"
    """The backend has taken the request; the far end has still to confirm."""
    EXPIRED = "expired"
    """As SENT, after the deadline: requests are answered as unconfirmed without a wait."""
    ENDED = "ended"
    """The leg is over, and the end of the call is being recorded."""
    SETTLED = "settled"
    """The end is on record, and every request is answered."""


class TeardownEvent(StrEnum):
    """What moves a teardown on."""

    REQUEST_RECORDED = "request recorded"
    SEND = "send"
    """The backend is about to be told."""
    NOT_TAKEN = "not taken"
    """The backend refused the request, failed, or went down before the far end confirmed."""
    DEADLINE = "deadline"
    LEG_ENDED = "leg ended"
    END_RECORDED = "end recorded"


_S, _E = TeardownState, TeardownEvent
TRANSITIONS: Final[Mapping[TeardownState, Mapping[TeardownEvent, TeardownState]]] = {
    _S.REQUESTED: {
        _E.REQUEST_RECORDED: _S.RECORDED,
        _E.DEADLINE: _S.REQUESTED,  # the journal is slow: the request is carried out all the same
        _E.LEG_ENDED: _S.ENDED,
    },
    _S.RECORDED: {
        _E.SEND: _S.SENT,
        _E.NOT_TAKEN: _S.RECORDED,  # the backend reported itself down, and then refused as well
        _E.LEG_ENDED: _S.ENDED,
    },
    _S.SENT: {
        _E.NOT_TAKEN: _S.RECORDED,
        _E.DEADLINE: _S.EXPIRED,
        _E.LEG_ENDED: _S.ENDED,
    },
    _S.EXPIRED: {
        _E.NOT_TAKEN: _S.RECORDED,
        _E.LEG_ENDED: _S.ENDED,
    },
    _S.ENDED: {
        _E.REQUEST_RECORDED: _S.ENDED,  # the far end hung up while the request was recorded
        _E.NOT_TAKEN: _S.ENDED,  # the backend reported the end, and then failed
        _E.DEADLINE: _S.ENDED,  # the journal is slow
        _E.END_RECORDED: _S.SETTLED,
    },
    _S.SETTLED: {
        _E.NOT_TAKEN: _S.SETTLED,  # as in ENDED, where nothing is recorded
    },
}
"""What is absent is a bug in umd: `Teardown.advance` raises and changes nothing."""


class IllegalTeardown(UmdError):
    """A teardown was moved on in a way that its state does not allow."""


class Teardown:
    """
    The end of one call. However many clients ask for it, there is one.

    Args:
        state: REQUESTED for a new request, ENDED where the leg ended without one, RECORDED where
            the request was recorded before umd restarted.
    """

    __slots__ = ("call", "state", "waiting", "deadline", "retry")

    def __init__(self, call: Call, state: TeardownState = TeardownState.REQUESTED) -> None:
        self.call = call
        self.state = state
        self.waiting: dict[Deferred[Outcome], None] = {}
        """The clients in the order they came; a dict, as thousands may leave at once."""
        self.deadline: Timer[Teardown] | None = None
        """When the clients that wait are answered in any case."""
        self.retry: Timer[Teardown] | None = None
        """When the backend is told again, after it failed."""

    def advance(self, event: TeardownEvent) -> TeardownState:
        """
        Let `event` happen.

        Returns:
            The state that it led to.

        Raises:
            IllegalTeardown: the table has no such transition.
        """
        try:
            after = self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTeardown(
                f"{event} in state {self.state} of call {self.call.id}"
            ) from None
        return after

    def settled(self) -> Deferred[Outcome]:
        """Return a Deferred that fires with the answer. A client that leaves cancels it."""
        slot: Deferred[Outcome] = Deferred(self._leave)
        self.waiting[slot] = None
        return slot

    def _leave(self, slot: Deferred[Outcome]) -> None:
        self.waiting.pop(slot, None)
