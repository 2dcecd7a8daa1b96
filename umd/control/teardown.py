"""
How the end of one call goes, from the first request to the answer.

`TRANSITIONS` is the state table. `umd.control.teardowns` acts on it.
"""

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
    """The journal writes the request. The backend is not told yet."""
    RECORDED = "recorded"
    """The request is on record. The backend has not accepted it yet, or not any more."""
    SENT = "sent"
    """The backend has accepted the request. The far end has not confirmed the end yet."""
    EXPIRED = "expired"
    """As SENT, after the deadline: each request is answered at once, as unconfirmed."""
    ENDED = "ended"
    """The leg is over. The journal writes the end of the call."""
    SETTLED = "settled"
    """The end is on record and every request is answered."""


class TeardownEvent(StrEnum):
    """An input of the state table."""

    REQUEST_RECORDED = "request recorded"
    SEND = "send"
    """umd is about to call `hang_up` of the backend."""
    NOT_TAKEN = "not taken"
    """`hang_up` raised, or the backend went down before the far end confirmed the end."""
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
        _E.NOT_TAKEN: _S.SETTLED,  # as in ENDED, with a journal that keeps nothing
    },
}
"""A transition that is absent would be a bug in umd: `Teardown.advance` raises."""


class IllegalTeardown(UmdError):
    """The table has no transition for this state and event."""


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
        """The clients that wait, in order. A dict, since thousands may leave at once."""
        self.deadline: Timer[Teardown] | None = None
        """When the clients that wait are answered at the latest."""
        self.retry: Timer[Teardown] | None = None
        """When umd calls `hang_up` again after it has failed."""

    def advance(self, event: TeardownEvent) -> TeardownState:
        """
        Move to the next state.

        Returns:
            The new state.

        Raises:
            IllegalTeardown: the table has no such transition; the state is as before.
        """
        try:
            after = self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalTeardown(
                f"{event} in state {self.state} of call {self.call.id}"
            ) from None
        return after

    def settled(self) -> Deferred[Outcome]:
        """Return a Deferred that fires with the outcome. Cancel it when the client leaves."""
        slot: Deferred[Outcome] = Deferred(self._leave)
        self.waiting[slot] = None
        return slot

    def _leave(self, slot: Deferred[Outcome]) -> None:
        self.waiting.pop(slot, None)
