"""
SIP transactions: who answers whom, who repeats what, and for how long (RFC 3261 §17, RFC 6026).

Theory of operation. Four machines, each a table `TRANSITIONS[state][event] -> state` that can be
read against its figure: 5 (INVITE client) and 7 (INVITE server), both as RFC 6026 redraws them with
the state Accepted, 6 and 8 (all other methods). What is not in a table is an error: of ours if we
sent it (`IllegalEvent`), of the peer if it came from the network (an `Unmatched` action; never an
exception). The rows that keep a state absorb or repeat something.

A transaction has one timer at a time. While it repeats its message the waits of timer A, E or G
count down to the deadline of B, F or H; later the one timer is D, I, J, K, L or M. So a finished
call leaves no cancelled 32 s timer behind, and a lingering transaction holds its key, its last
message where it may have to repeat it, and nothing else.

Every public method of `TransactionLayer` takes `now` and returns actions in the order in which to
carry them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from umd.errors import UmdError
from umd.sip import build, outgoing
from umd.sip.message import Message, Request, Response
from umd.sip.outgoing import Own, branch_of
from umd.sip.timing import TRYING_AFTER, Timing
from umd.timers import Timer, Timers

MAGIC_COOKIE: Final = "z9hG4bK"  # RFC 3261 §8.1.1.7


class Hop(NamedTuple):
    """Where a message goes to or came from: the next hop, as the transport sees it."""

    host: str
    port: int
    transport: str = "UDP"
    flow: int = 0
    """The driver's number of the connection; 0 where there is none (UDP)."""

    @property
    def reliable(self) -> bool:
        """Whether the transport itself repeats what was lost (§17)."""
        return self.transport != "UDP"


class State(StrEnum):
    """Where a transaction stands; the words of figures 5 to 8."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Event(StrEnum):
    """What can happen to a transaction. A client receives responses, a server sends them."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    TRYING = "100 after 200 ms"
    TIMER_A = "A"
    TIMER_B = "B"
    TIMER_D = "D"
    TIMER_E = "E"
    TIMER_F = "F"
    TIMER_G = "G"
    TIMER_H = "H"
    TIMER_I = "I"
    TIMER_J = "J"
    TIMER_K = "K"
    TIMER_L = "L"
    TIMER_M = "M"
    TRANSPORT_ERROR = "transport error"


# As plain names: the enums' own attributes cost several times as much up to Python 3.11.
CALLING, TRYING, PROCEEDING, COMPLETED, ACCEPTED, CONFIRMED, TERMINATED = State
PROVISIONAL, SUCCESS, FAILURE = Event.PROVISIONAL, Event.SUCCESS, Event.FAILURE
REQUEST, ACK = Event.REQUEST, Event.ACK

Table: TypeAlias = Mapping[State, Mapping[Event, State]]

CLIENT_INVITE: Final[Table] = {  # figure 5 with RFC 6026 §7.2
    CALLING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
        Event.TIMER_A: CALLING,
        Event.TIMER_B: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    PROCEEDING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
    },
    COMPLETED: {
        PROVISIONAL: COMPLETED,  # overtaken on the way
        SUCCESS: COMPLETED,  # a fork answered too (§16.7 step 5): the user hears of it
        FAILURE: COMPLETED,
        Event.TIMER_D: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    ACCEPTED: {
        PROVISIONAL: ACCEPTED,  # overtaken on the way, or another fork still ringing
        SUCCESS: ACCEPTED,
        FAILURE: ACCEPTED,
        Event.TIMER_M: TERMINATED,
    },
    TERMINATED: {},
}

CLIENT_NON_INVITE: Final[Table] = {  # figure 6
    TRYING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_E: TRYING,
        Event.TIMER_F: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    PROCEEDING: {
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_E: PROCEEDING,
        Event.TIMER_F: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    COMPLETED: {
        PROVISIONAL: COMPLETED,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TIMER_K: TERMINATED,
    },
    TERMINATED: {},
}

SERVER_INVITE: Final[Table] = {  # figure 7 with RFC 6026 §7.1: a transport error ends nothing
    PROCEEDING: {
        REQUEST: PROCEEDING,
        Event.TRYING: PROCEEDING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: ACCEPTED,
        FAILURE: COMPLETED,
        Event.TRANSPORT_ERROR: PROCEEDING,
    },
    COMPLETED: {
        REQUEST: COMPLETED,
        ACK: CONFIRMED,
        Event.TIMER_G: COMPLETED,
        Event.TIMER_H: TERMINATED,
        Event.TRANSPORT_ERROR: COMPLETED,
    },
    CONFIRMED: {
        REQUEST: CONFIRMED,  # overtaken by its own ACK
        ACK: CONFIRMED,
        Event.TIMER_I: TERMINATED,
    },
    ACCEPTED: {
        REQUEST: ACCEPTED,
        ACK: ACCEPTED,
        SUCCESS: ACCEPTED,
        Event.TIMER_L: TERMINATED,
        Event.TRANSPORT_ERROR: ACCEPTED,
    },
    TERMINATED: {},
}

SERVER_NON_INVITE: Final[Table] = {  # figure 8
    TRYING: {
        REQUEST: TRYING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
    },
    PROCEEDING: {
        REQUEST: PROCEEDING,
        PROVISIONAL: PROCEEDING,
        SUCCESS: COMPLETED,
        FAILURE: COMPLETED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    COMPLETED: {
        REQUEST: COMPLETED,
        SUCCESS: COMPLETED,  # a second final is discarded, not sent (§17.2.2)
        FAILURE: COMPLETED,
        Event.TIMER_J: TERMINATED,
        Event.TRANSPORT_ERROR: TERMINATED,
    },
    TERMINATED: {},
}

_OF_CLASS: Final = (
    None,
    PROVISIONAL,
    SUCCESS,
    FAILURE,
    FAILURE,
    FAILURE,
    FAILURE,
)
"""The event of a response, by the first digit of its status."""


_ON_ANY_TRANSPORT: Final = frozenset((Event.TIMER_L, Event.TIMER_M))


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
        self.user: Any = None
        """Whom its messages are for; the layer never looks at it."""
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


class Send(NamedTuple):
    """Put this message on the wire."""

    message: Message
    hop: Hop


class Created(NamedTuple):
    """A request has opened this server transaction: answer it."""

    transaction: ServerInvite | ServerNonInvite
    request: Request


class Deliver(NamedTuple):
    """A message of a known transaction that its user must hear of."""

    transaction: Transaction
    message: Message


class Unmatched(NamedTuple):
    """A message of no transaction, or one that its transaction has no row for."""

    message: Message
    hop: Hop


class Acknowledged(NamedTuple):
    """
    The ACK of a non-2xx final has come.

    The figures keep this from the user; ours wants to know that the far end has heard.
    """

    transaction: Transaction


class TimedOut(NamedTuple):
    """Timer B, F or H: the peer has not said what it had to."""

    transaction: Transaction


class TransportFailed(NamedTuple):
    """The last message could not be sent."""

    transaction: Transaction


class Terminated(NamedTuple):
    """The transaction is gone; nothing more comes from it."""

    transaction: Transaction


Action: TypeAlias = (
    Send | Created | Deliver | Unmatched | Acknowledged | TimedOut | TransportFailed | Terminated
)


def server_key(request: Request, method: str) -> Key:
    """
    The key of the server transaction of `method` that a request belongs to (§17.2.3).

    For an ACK that is its INVITE's, and for a CANCEL there is one of its own and the INVITE's.

    A branch without the magic cookie is one of RFC 2543 and says nothing: then the fields that a
    repetition keeps are compared. The To tag is not among them, since ACK has one and INVITE not.
    """
    if isinstance(request, Own):
        return (request.branch, request.sent_by, method)
    via = request.via
    branch = via.branch
    if branch is not None and branch.startswith(MAGIC_COOKIE):
        return (branch, via.sent_by, method)
    return (
        request.uri,
        request.from_.tag or "",
        request.call_id,
        request.cseq.number,
        str(via),
        method,
    )


def response_hop(request: Request, source: Hop) -> Hop:
    """
    Where the responses to a request go (§18.2.2, RFC 3581 §4).

    Over a connection: back through it. Over UDP: to the address the request came from, at the port
    it came from when the Via asks for that (rport), else at the port of the Via.
    """
    if source.reliable:
        return source
    if isinstance(request, Own):  # asks for rport
        return source
    via = request.via
    port = via.port or 5060
    if port == source.port or via.rport is not None:
        return source
    return Hop(source.host, port, source.transport, source.flow)


class Counts:
    """What a layer has seen since it was made."""

    __slots__ = ("absorbed", "created", "repeated", "timed_out", "transport_errors", "unmatched")

    def __init__(self) -> None:
        self.created = 0
        """Transactions, of all four kinds."""
        self.repeated = 0
        """Messages sent once more, by a timer or because the peer repeated itself."""
        self.absorbed = 0
        """Messages received once more that nobody had to hear of."""
        self.unmatched = 0
        """Messages of no transaction: every ACK of a 2xx, late responses."""
        self.timed_out = 0
        self.transport_errors = 0


class TransactionLayer:
    """
    All transactions of one endpoint, found by key, driven by messages and by time.

    Args:
        timing: T1, T2 and T4.
    """

    def __init__(self, timing: Timing | None = None) -> None:
        timing = timing or Timing()
        self._t1 = timing.t1
        self._t2 = timing.t2
        self._timeout = timing.timeout
        self._linger: dict[Event, float] = {
            Event.TIMER_D: timing.timer_d,
            Event.TIMER_I: timing.timer_i,
            Event.TIMER_J: timing.timer_j,
            Event.TIMER_K: timing.timer_k,
            Event.TIMER_L: timing.timer_l,
            Event.TIMER_M: timing.timer_m,
        }
        self._client: dict[Key, ClientInvite | ClientNonInvite] = {}
        self._server: dict[Key, ServerInvite | ServerNonInvite] = {}
        self._timers: Timers[Transaction] = Timers()
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._client) + len(self._server)

    def __iter__(self) -> Iterator[Transaction]:
        yield from self._client.values()
        yield from self._server.values()

    # The user's side

    def send_request(
        self, request: Request, hop: Hop, now: float, user: Any = None
    ) -> tuple[ClientInvite | ClientNonInvite, Send]:
        """Open a client transaction for a request with a branch of its own (not for ACK)."""
        method = request.method
        key = (branch_of(request), method)
        if key in self._client or method == "ACK":
            raise IllegalEvent(f"{method} opens no client transaction with key {key}")
        transaction: ClientInvite | ClientNonInvite
        if method == "INVITE":
            transaction = ClientInvite(key, CALLING, request, hop)
        else:
            transaction = ClientNonInvite(key, TRYING, request, hop)
        transaction.user = user
        self._client[key] = transaction
        self.counts.created += 1
        self._start_repeating(transaction, now)
        return transaction, Send(request, hop)

    def send_response(
        self, transaction: Transaction, response: Response, now: float
    ) -> list[Action]:
        """
        Send a response in a server transaction.

        Raises:
            IllegalEvent: the transaction is past that, or gone.
        """
        before = transaction.state
        event = _OF_CLASS[response.status // 100]
        assert event is not None
        transaction.advance(event)
        if before is COMPLETED:
            return []
        transaction.last = response
        actions: list[Action] = [Send(response, transaction.hop)]
        if transaction.state is COMPLETED:
            if isinstance(transaction, ServerInvite):
                self._start_repeating(transaction, now)
            else:
                self._start_linger(transaction, Event.TIMER_J, now, actions)
        elif transaction.state is ACCEPTED:
            transaction.last = None  # the session repeats its 2xx itself (§13.3.1.4)
            if before is PROCEEDING:
                self._start_linger(transaction, Event.TIMER_L, now, actions)
        else:
            self._stop_timer(transaction)  # the 100 is not needed any more
        return actions

    def abandon(self, transaction: Transaction) -> None:
        """Forget a transaction without a word: of a cancelled INVITE nothing came (§9.1)."""
        if not transaction.terminated:
            transaction.state = TERMINATED
            self._remove(transaction)

    # The network's side

    def receive(self, message: Message, source: Hop, now: float) -> list[Action]:
        """Give a message to the transaction that it belongs to, or open one for it."""
        actions: list[Action] = []
        if isinstance(message, Response):
            self._receive_response(message, source, now, actions)
        else:
            assert isinstance(message, Request)
            self._receive_request(message, source, now, actions)
        return actions

    def transport_error(self, message: Message, now: float) -> list[Action]:
        """A message given out in a `Send` could not be sent (§17.1.4, §17.2.4, RFC 6026 §7)."""
        if isinstance(message, Request):
            found: Transaction | None = self._client.get((message.via.branch or "", message.method))
            if message.method == "ACK":
                found = self._client.get((message.via.branch or "", "INVITE"))
        else:
            via = message.via
            found = self._server.get((via.branch or "", via.sent_by, message.cseq.method))
        actions: list[Action] = []
        if found is not None:
            self._transport_failed(found, actions)
        return actions

    def hop_failed(self, hop: Hop, now: float) -> list[Action]:
        """Nothing can be sent to this hop any more: its connection or its host is gone."""
        actions: list[Action] = []
        for transaction in [each for each in self if each.hop == hop]:
            self._transport_failed(transaction, actions)
        return actions

    def invite_of(self, cancel: Request) -> Transaction | None:
        """The INVITE that a CANCEL means (§9.2)."""
        return self._server.get(server_key(cancel, "INVITE"))

    # Time

    def next_due(self) -> float | None:
        """When to call `handle_timer` next, or None while nothing runs."""
        return self._timers.next_due()

    def handle_timer(self, now: float) -> list[Action]:
        """Do what is due at `now`."""
        actions: list[Action] = []
        while (transaction := self._timers.pop_due(now)) is not None:
            transaction.timer = None
            again, end = transaction.TIMERS[transaction.state]
            late = transaction.wait == 0.0 or now >= transaction.deadline
            self._fire(transaction, end if late else again, now, actions)
        return actions

    def _fire(
        self, transaction: Transaction, event: Event, now: float, actions: list[Action]
    ) -> None:
        transaction.advance(event)
        if event in self._linger:
            self._finish(transaction, actions)
            return
        match event:
            case Event.TIMER_A:
                self._repeat(transaction, actions)
                self._wait(transaction, 2 * transaction.wait, now)
            case Event.TIMER_E if transaction.state is PROCEEDING:
                self._repeat(transaction, actions)
                self._wait(transaction, self._t2, now)
            case Event.TIMER_E | Event.TIMER_G:
                self._repeat(transaction, actions)
                self._wait(transaction, min(2 * transaction.wait, self._t2), now)
            case Event.TRYING:
                self._send_trying(transaction, actions)
            case Event.TIMER_B | Event.TIMER_F | Event.TIMER_H:
                self.counts.timed_out += 1
                actions.append(TimedOut(transaction))
                self._finish(transaction, actions)
            case _:
                raise IllegalEvent(f"{event.value} is no timer")

    # Responses

    def _receive_response(
        self, response: Response, source: Hop, now: float, actions: list[Action]
    ) -> None:
        if isinstance(response, Own):
            key: Key = (response.branch, response.method)
        else:
            key = (response.via.branch or "", response.cseq.method)
        transaction = self._client.get(key)
        event = _OF_CLASS[response.status // 100]
        if transaction is None or event is None:
            self.counts.unmatched += 1
            actions.append(Unmatched(response, source))
            return
        before = transaction.state
        transaction.advance(event)
        if before is COMPLETED or before is ACCEPTED:
            self._response_again(transaction, event, response, actions)
        elif event is PROVISIONAL:
            if before is CALLING:
                self._stop_timer(transaction)  # no timer A, nor B: it may ring for ever
            actions.append(Deliver(transaction, response))
        elif isinstance(transaction, ClientInvite):
            self._invite_final(transaction, response, now, actions)
        else:
            transaction.last = None
            actions.append(Deliver(transaction, response))
            self._start_linger(transaction, Event.TIMER_K, now, actions)

    def _invite_final(
        self, transaction: ClientInvite, response: Response, now: float, actions: list[Action]
    ) -> None:
        if transaction.state is ACCEPTED:
            transaction.last = None
            actions.append(Deliver(transaction, response))
            self._start_linger(transaction, Event.TIMER_M, now, actions)
            return
        invite = transaction.last
        assert isinstance(invite, Request)
        transaction.last = build.ack_for(invite, response)
        actions.append(Send(transaction.last, transaction.hop))
        actions.append(Deliver(transaction, response))
        self._start_linger(transaction, Event.TIMER_D, now, actions)

    def _response_again(
        self, transaction: Transaction, event: Event, response: Response, actions: list[Action]
    ) -> None:
        """Acknowledge a repeated failure, pass on every 2xx to INVITE, absorb the rest."""
        if not isinstance(transaction, ClientInvite):
            self.counts.absorbed += 1
        elif event is SUCCESS:
            actions.append(Deliver(transaction, response))
        elif event is FAILURE and transaction.state is COMPLETED:
            self._repeat(transaction, actions)
        else:
            self.counts.absorbed += 1

    # Requests

    def _receive_request(
        self, request: Request, source: Hop, now: float, actions: list[Action]
    ) -> None:
        is_ack = request.method == "ACK"
        key = server_key(request, "INVITE" if is_ack else request.method)
        transaction = self._server.get(key)
        if transaction is not None:
            event = ACK if is_ack else REQUEST
            if event in transaction.TRANSITIONS[transaction.state]:
                self._request_again(transaction, event, request, now, actions)
                return
        elif not is_ack:
            self._create(key, request, source, now, actions)
            return
        self.counts.unmatched += 1
        actions.append(Unmatched(request, source))

    def _create(
        self, key: Key, request: Request, source: Hop, now: float, actions: list[Action]
    ) -> None:
        hop = response_hop(request, source)
        transaction: ServerInvite | ServerNonInvite
        if request.method == "INVITE":
            transaction = ServerInvite(key, PROCEEDING, request, hop)
            transaction.timer = self._timers.start(TRYING_AFTER, transaction, now)
        else:
            transaction = ServerNonInvite(key, TRYING, None, hop)
        self._server[key] = transaction
        self.counts.created += 1
        actions.append(Created(transaction, request))

    def _request_again(
        self,
        transaction: Transaction,
        event: Event,
        request: Request,
        now: float,
        actions: list[Action],
    ) -> None:
        before = transaction.state
        transaction.advance(event)
        if event is REQUEST:
            if isinstance(transaction.last, Response):
                self._repeat(transaction, actions)
            else:
                self.counts.absorbed += 1
        elif before is ACCEPTED:
            actions.append(Deliver(transaction, request))  # only from a peer of RFC 2543
        elif before is COMPLETED:
            transaction.last = None
            actions.append(Acknowledged(transaction))
            self._start_linger(transaction, Event.TIMER_I, now, actions)
        else:
            self.counts.absorbed += 1

    # Steps that several machines share

    def _repeat(self, transaction: Transaction, actions: list[Action]) -> None:
        assert transaction.last is not None
        self.counts.repeated += 1
        actions.append(Send(transaction.last, transaction.hop))

    def _send_trying(self, transaction: Transaction, actions: list[Action]) -> None:
        request = transaction.last
        assert isinstance(request, Request)
        transaction.last = outgoing.response(request, 100)
        actions.append(Send(transaction.last, transaction.hop))

    def _start_repeating(self, transaction: Transaction, now: float) -> None:
        """Timers A and B, E and F, G and H; over a reliable transport only the second of them."""
        self._stop_timer(transaction)
        transaction.deadline = now + self._timeout
        transaction.wait = wait = 0.0 if transaction.hop.reliable else self._t1
        transaction.timer = self._timers.start(wait or self._timeout, transaction, now)

    def _wait(self, transaction: Transaction, wait: float, now: float) -> None:
        """Run the next wait, or what is left to the deadline when that is shorter."""
        left = transaction.deadline - now
        transaction.wait = wait if wait < left else 0.0
        transaction.timer = self._timers.start(min(wait, max(left, 0.0)), transaction, now)

    def _start_linger(
        self, transaction: Transaction, event: Event, now: float, actions: list[Action]
    ) -> None:
        """Stay to absorb what comes late; L and M always, the others where messages get lost."""
        if transaction.timer is not None:
            transaction.timer.cancel()
        transaction.wait = 0.0
        if transaction.hop.reliable and event not in _ON_ANY_TRANSPORT:
            transaction.advance(event)
            self._finish(transaction, actions)
        else:
            transaction.timer = self._timers.start(self._linger[event], transaction, now)

    def _transport_failed(self, transaction: Transaction, actions: list[Action]) -> None:
        if Event.TRANSPORT_ERROR not in transaction.TRANSITIONS[transaction.state]:
            return  # nothing of it is on the way
        transaction.advance(Event.TRANSPORT_ERROR)
        self.counts.transport_errors += 1
        actions.append(TransportFailed(transaction))
        if transaction.terminated:
            self._finish(transaction, actions)

    def _finish(self, transaction: Transaction, actions: list[Action]) -> None:
        self._remove(transaction)
        actions.append(Terminated(transaction))

    def _remove(self, transaction: Transaction) -> None:
        self._stop_timer(transaction)
        transaction.last = None
        if isinstance(transaction, (ClientInvite, ClientNonInvite)):
            del self._client[transaction.key]
        else:
            del self._server[transaction.key]

    def _stop_timer(self, transaction: Transaction) -> None:
        if transaction.timer is not None:
            transaction.timer.cancel()
            transaction.timer = None
