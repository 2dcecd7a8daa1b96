"""One SIP transaction of each kind, its key, and the two parties it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, TypeAlias

from umd.errors import UmdError
from umd.sip.fields import MAGIC_COOKIE
from umd.sip.message import Message, Request, Response
from umd.sip.transaction.hop import Hop
from umd.sip.transaction.states import (
    ACCEPTED,
    CALLING,
    CLIENT_INVITE,
    CLIENT_NON_INVITE,
    COMPLETED,
    CONFIRMED,
    PROCEEDING,
    SERVER_INVITE,
    SERVER_NON_INVITE,
    TERMINATED,
    TRYING,
    Event,
    State,
    Table,
)
from umd.timers import Timer


class IllegalEvent(UmdError):
    """We asked a transaction for something its state has no row for: a mistake of ours."""


class Transaction:
    """One request and its responses; made and moved by the layer only."""

    __slots__ = ("key", "state", "last", "hop", "user", "timer", "wait", "deadline")

    TRANSITIONS: ClassVar[Table]
    TIMERS: ClassVar[Mapping[State, tuple[Event, Event]]]
    """What the one timer means in a state: while `wait` runs, and when `wait` is 0."""

    def __init__(self, key: Key, state: State, last: Message | None, hop: Hop) -> None:
        self.key = key
        """What its messages have in common (§17.1.3, §17.2.3)."""
        self.state = state
        self.last = last
        """
        The message to send again; None once nothing has to be repeated.

        In an INVITE server transaction that has sent nothing yet it is the request, for its 100.
        """
        self.hop = hop
        """Where `last` goes."""
        self.user: TransactionUser | None = None
        """Whom its messages are for."""
        self.timer: Timer[Transaction] | None = None
        self.wait = 0.0
        """Seconds until `last` goes out once more; 0 when the running timer is the deadline."""
        self.deadline = 0.0
        """When to give up repeating `last`."""

    @property
    def terminated(self) -> bool:
        """Whether it is gone from the layer."""
        return self.state is TERMINATED

    def advance(self, event: Event) -> None:
        """Take the table's step. Raises `IllegalEvent` when there is none."""
        try:
            self.state = self.TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalEvent(
                f"{event.value} in {self.state.value} ({type(self).__name__} {self.key})"
            ) from None


class ClientInvite(Transaction):
    """An INVITE we sent."""

    __slots__ = ()
    TRANSITIONS = CLIENT_INVITE
    TIMERS: ClassVar = {
        CALLING: (Event.TIMER_A, Event.TIMER_B),
        COMPLETED: (Event.TIMER_D, Event.TIMER_D),
        ACCEPTED: (Event.TIMER_M, Event.TIMER_M),
    }


class ClientNonInvite(Transaction):
    """Any other request we sent, but ACK."""

    __slots__ = ()
    TRANSITIONS = CLIENT_NON_INVITE
    TIMERS: ClassVar = {
        TRYING: (Event.TIMER_E, Event.TIMER_F),
        PROCEEDING: (Event.TIMER_E, Event.TIMER_F),
        COMPLETED: (Event.TIMER_K, Event.TIMER_K),
    }


class ServerInvite(Transaction):
    """An INVITE we received."""

    __slots__ = ()
    TRANSITIONS = SERVER_INVITE
    TIMERS: ClassVar = {
        PROCEEDING: (Event.TRYING, Event.TRYING),
        COMPLETED: (Event.TIMER_G, Event.TIMER_H),
        CONFIRMED: (Event.TIMER_I, Event.TIMER_I),
        ACCEPTED: (Event.TIMER_L, Event.TIMER_L),
    }


class ServerNonInvite(Transaction):
    """Any other request we received, but ACK."""

    __slots__ = ()
    TRANSITIONS = SERVER_NON_INVITE
    TIMERS: ClassVar = {
        COMPLETED: (Event.TIMER_J, Event.TIMER_J),
    }


Key: TypeAlias = tuple[str | int, ...]


class TransactionUser(Protocol):
    """Whom a transaction serves (the RFC's TU): a session."""

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response that was not here before, or a 2xx to INVITE once more."""

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        """Our request has timed out (408) or could not be sent (503)."""

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        """
        The ACK of our non-2xx final has come.

        The figures keep this from the user; ours wants to know that the far end has heard.
        """

    def on_no_ack(self, transaction: Transaction) -> None:
        """It has not come (timer H)."""

    def on_terminated(self, transaction: Transaction) -> None:
        """The transaction is gone; nothing more comes from it."""


class Core(Protocol):
    """Whose the layer is: the user agent."""

    def on_request(
        self, transaction: ServerInvite | ServerNonInvite, request: Request, now: float
    ) -> None:
        """A request has opened this transaction: answer it."""

    def on_ack(self, ack: Request, now: float) -> None:
        """The ACK of a 2xx, or of nothing: it belongs to no transaction."""

    def on_stray(self, response: Response, now: float) -> None:
        """A response of no transaction."""


def server_key(request: Request, method: str) -> Key:
    """
    The key of the server transaction of `method` that a request belongs to (§17.2.3).

    For an ACK that is its INVITE's, and for a CANCEL there is one of its own and the INVITE's.

    A branch without the magic cookie is one of RFC 2543 and says nothing: then the fields that a
    repetition keeps are compared. The To tag is not among them, since ACK has one and INVITE not.
    """
    branch = request.branch
    if branch.startswith(MAGIC_COOKIE):
        return (branch, request.sent_by, method)
    return (
        request.uri,
        request.from_tag or "",
        request.call_id,
        request.cseq.number,
        str(request.via),
        method,
    )
