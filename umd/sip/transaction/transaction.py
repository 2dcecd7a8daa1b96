"""The four kinds of SIP transaction, their keys, and the interfaces of what they report to."""

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
    """The state of the transaction has no row for this event: an error in umd."""


class Transaction:
    """One request and its responses; only the `TransactionLayer` makes and changes it."""

    __slots__ = ("key", "state", "last", "hop", "user", "timer", "wait", "deadline")

    TRANSITIONS: ClassVar[Table]
    TIMERS: ClassVar[Mapping[State, tuple[Event, Event]]]
    """By state, the event of the timer while `wait` runs, and its event when `wait` is 0."""

    def __init__(self, key: Key, state: State, last: Message | None, hop: Hop) -> None:
        self.key = key
        """The values that all of its messages have in common (§17.1.3, §17.2.3)."""
        self.state = state
        self.last = last
        """
        The message to send again, or None.

        In an INVITE server transaction that has sent no response it is the INVITE, for its 100.
        """
        self.hop = hop
        """The hop that its messages go to."""
        self.user: TransactionUser | None = None
        """The session that is told of its messages, or None."""
        self.timer: Timer[Transaction] | None = None
        self.wait = 0.0
        """Seconds until `last` is sent again; 0 if the timer runs to the deadline."""
        self.deadline = 0.0
        """When to stop sending `last` again."""

    @property
    def terminated(self) -> bool:
        """Whether the layer has dropped it."""
        return self.state is TERMINATED

    def advance(self, event: Event) -> None:
        """
        Go to the next state.

        Raises:
            IllegalEvent: The state has no row for the event.
        """
        try:
            self.state = self.TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalEvent(
                f"{event.value} in {self.state.value} ({type(self).__name__} {self.key})"
            ) from None


class ClientInvite(Transaction):
    """The transaction of an INVITE that umd sent."""

    __slots__ = ()
    TRANSITIONS = CLIENT_INVITE
    TIMERS: ClassVar = {
        CALLING: (Event.TIMER_A, Event.TIMER_B),
        COMPLETED: (Event.TIMER_D, Event.TIMER_D),
        ACCEPTED: (Event.TIMER_M, Event.TIMER_M),
    }


class ClientNonInvite(Transaction):
    """The transaction of any other request that umd sent, except ACK."""

    __slots__ = ()
    TRANSITIONS = CLIENT_NON_INVITE
    TIMERS: ClassVar = {
        TRYING: (Event.TIMER_E, Event.TIMER_F),
        PROCEEDING: (Event.TIMER_E, Event.TIMER_F),
        COMPLETED: (Event.TIMER_K, Event.TIMER_K),
    }


class ServerInvite(Transaction):
    """The transaction of an INVITE that umd received."""

    __slots__ = ()
    TRANSITIONS = SERVER_INVITE
    TIMERS: ClassVar = {
        PROCEEDING: (Event.TRYING, Event.TRYING),
        COMPLETED: (Event.TIMER_G, Event.TIMER_H),
        CONFIRMED: (Event.TIMER_I, Event.TIMER_I),
        ACCEPTED: (Event.TIMER_L, Event.TIMER_L),
    }


class ServerNonInvite(Transaction):
    """The transaction of any other request that umd received, except ACK."""

    __slots__ = ()
    TRANSITIONS = SERVER_NON_INVITE
    TIMERS: ClassVar = {
        COMPLETED: (Event.TIMER_J, Event.TIMER_J),
    }


Key: TypeAlias = tuple[str | int, ...]


class TransactionUser(Protocol):
    """What a transaction reports to, the RFC's "transaction user" (TU): a session."""

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response has arrived that is no repetition, or a repeated 2xx to INVITE."""

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        """The request has timed out (`status` 408) or could not be sent (503)."""

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        """
        The ACK of our 300-699 has arrived.

        The RFC's figures do not pass it on. A session needs it as proof that the far end knows.
        """

    def on_no_ack(self, transaction: Transaction) -> None:
        """The ACK of our 300-699 has not arrived in time (timer H)."""

    def on_terminated(self, transaction: Transaction) -> None:
        """The transaction is over and reports nothing more."""


class Core(Protocol):
    """What the layer reports to if a message belongs to no transaction: the endpoint."""

    def on_request(
        self, transaction: ServerInvite | ServerNonInvite, request: Request, now: float
    ) -> None:
        """A request has opened this transaction and needs a response."""

    def on_ack(self, ack: Request, now: float) -> None:
        """An ACK without a transaction has arrived: that of a 2xx, or a stray."""

    def on_stray(self, response: Response, now: float) -> None:
        """A response without a transaction has arrived."""


def server_key(request: Request, method: str) -> Key:
    """
    Return the key of the server transaction of `method` that a request belongs to (§17.2.3).

    An ACK belongs to the transaction of its INVITE. A CANCEL has a transaction of its own, and
    refers to that of its INVITE.

    A branch without the magic cookie comes from an RFC 2543 peer and identifies nothing. Then the
    key consists of the fields that a repetition keeps. The To tag is not one of them, because an
    ACK has it and the INVITE has not.
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
