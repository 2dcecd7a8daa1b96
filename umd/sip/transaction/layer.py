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

What a transaction has to say goes straight to its `user`, the session that opened or answers it;
what opens or concerns none goes to the `core`, the endpoint. Whatever the layer does itself is done
before it tells them, so that they may use it again at once. What is to be sent gathers in
`outgoing`, in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import ClassVar, Final, NamedTuple, Protocol, TypeAlias

from umd.errors import UmdError
from umd.sip import build, outgoing
from umd.sip.fields import MAGIC_COOKIE, is_ip_address
from umd.sip.message import Message, Request, Response
from umd.sip.timing import TRYING_AFTER, Timing
from umd.timers import Timer, Timers


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
    FAILURE,  # no status begins with 0
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
        self.user: User | None = None
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


class Send(NamedTuple):
    """Put this message on the wire."""

    message: Message
    hop: Hop


class User(Protocol):
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


def response_hop(request: Request, source: Hop) -> Hop:
    """
    Where the responses to a request go (§18.2.2, RFC 3581 §4).

    Over a connection: back through it. Over UDP: to the address the request came from, at the port
    it came from when the Via asks for that (rport), else at the port of the Via. A `maddr` that is
    an address goes before both.
    """
    if source.reliable:
        return source
    if request.made_of_values:  # asks for rport
        return source
    via = request.via
    port = via.port or 5060
    maddr = via.maddr
    if maddr and is_ip_address(maddr):
        return Hop(maddr.strip("[]"), port, source.transport, source.flow)
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
        core: is told of what belongs to no transaction yet.
        timing: T1, T2 and T4.
    """

    def __init__(self, core: Core, timing: Timing | None = None) -> None:
        timing = timing or Timing()
        self._core = core
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
        self.outgoing: list[Send] = []
        """What is to be sent; for whoever sends it to take away."""
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._client) + len(self._server)

    def __iter__(self) -> Iterator[Transaction]:
        yield from self._client.values()
        yield from self._server.values()

    # The user's side

    def send_request(
        self, request: Request, hop: Hop, now: float, user: User | None = None
    ) -> ClientInvite | ClientNonInvite:
        """Open a client transaction for a request with a branch of its own (not for ACK)."""
        method = request.method
        key = (request.branch, method)
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
        self.outgoing.append(Send(request, hop))
        self._start_repeating(transaction, now)
        return transaction

    def expect(self, invite: Request, hop: Hop, user: User) -> ClientInvite:
        """Open the client transaction of an INVITE that was sent before a restart."""
        key = (invite.branch, "INVITE")
        if key in self._client:
            raise IllegalEvent(f"there is a client transaction with key {key}")
        transaction = ClientInvite(key, PROCEEDING, invite, hop)
        transaction.user = user
        self._client[key] = transaction
        self.counts.created += 1
        return transaction

    def send_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """
        Send a response in a server transaction.

        Raises:
            IllegalEvent: the transaction is past that, or gone.
        """
        before = transaction.state
        transaction.advance(_OF_CLASS[response.status // 100])
        if before is COMPLETED:
            return
        self.outgoing.append(Send(response, transaction.hop))
        after = transaction.state
        if after is ACCEPTED:
            transaction.last = None  # the session repeats its 2xx itself (§13.3.1.4)
            if before is PROCEEDING:
                self._start_linger(transaction, Event.TIMER_L, now)
            return
        transaction.last = response
        if after is PROCEEDING:
            self._stop_timer(transaction)  # the 100 is not needed any more
        elif isinstance(transaction, ServerInvite):
            self._start_repeating(transaction, now)
        else:
            self._start_linger(transaction, Event.TIMER_J, now)

    def abandon(self, transaction: Transaction) -> None:
        """Forget a transaction without a word: of a cancelled INVITE nothing came (§9.1)."""
        if not transaction.terminated:
            transaction.state = TERMINATED
            transaction.user = None
            self._remove(transaction)

    # The network's side

    def receive(self, message: Message, source: Hop, now: float) -> None:
        """Give a message to the transaction that it belongs to, or open one for it."""
        if isinstance(message, Response):
            self._receive_response(message, now)
        else:
            assert isinstance(message, Request)
            self._receive_request(message, source, now)

    def transport_error(self, message: Message, now: float) -> None:
        """A message that was to be sent could not be (§17.1.4, §17.2.4, RFC 6026 §7)."""
        if isinstance(message, Request):
            method = "INVITE" if message.method == "ACK" else message.method
            found: Transaction | None = self._client.get((message.branch, method))
        else:
            assert isinstance(message, Response)
            key = (message.branch, message.sent_by, message.cseq_method)
            found = self._server.get(key)
        if found is not None:
            self._transport_failed(found, now)

    def hop_failed(self, hop: Hop, now: float) -> None:
        """Nothing can be sent to this hop any more: its connection or its host is gone."""
        for transaction in [each for each in self if each.hop == hop]:
            self._transport_failed(transaction, now)

    def invite_of(self, cancel: Request) -> Transaction | None:
        """The INVITE that a CANCEL means (§9.2)."""
        return self._server.get(server_key(cancel, "INVITE"))

    # Time

    def next_due(self) -> float | None:
        """When to call `handle_timer` next, or None while nothing runs."""
        return self._timers.next_due()

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        while (transaction := self._timers.pop_due(now)) is not None:
            transaction.timer = None
            again, end = transaction.TIMERS[transaction.state]
            late = transaction.wait == 0.0 or now >= transaction.deadline
            self._fire(transaction, end if late else again, now)

    def _fire(self, transaction: Transaction, event: Event, now: float) -> None:
        transaction.advance(event)
        if event in self._linger:
            self._finish(transaction)
            return
        match event:
            case Event.TIMER_A:
                self._repeat(transaction)
                self._wait(transaction, 2 * transaction.wait, now)
            case Event.TIMER_E if transaction.state is PROCEEDING:
                self._repeat(transaction)
                self._wait(transaction, self._t2, now)
            case Event.TIMER_E | Event.TIMER_G:
                self._repeat(transaction)
                self._wait(transaction, min(2 * transaction.wait, self._t2), now)
            case Event.TRYING:
                self._send_trying(transaction)
            case Event.TIMER_B | Event.TIMER_F | Event.TIMER_H:
                self.counts.timed_out += 1
                self._fail(transaction, 408, now)
            case _:
                raise IllegalEvent(f"{event.value} is no timer")

    # Responses

    def _receive_response(self, response: Response, now: float) -> None:
        transaction = self._client.get((response.branch, response.cseq_method))
        if transaction is None:
            self.counts.unmatched += 1
            self._core.on_stray(response, now)
            return
        event = _OF_CLASS[response.status // 100]
        before = transaction.state
        transaction.advance(event)
        if before is COMPLETED or before is ACCEPTED:
            self._response_again(transaction, event, response, now)
            return
        user = transaction.user
        if event is PROVISIONAL:
            if before is CALLING:
                self._stop_timer(transaction)  # no timer A, nor B: it may ring for ever
        elif not isinstance(transaction, ClientInvite):
            transaction.last = None
            transaction.user = None  # nothing more will be for it
            self._start_linger(transaction, Event.TIMER_K, now)
        elif event is SUCCESS:
            transaction.last = None
            self._start_linger(transaction, Event.TIMER_M, now)
        else:
            self._fail_invite(transaction, response, now)
            return
        if user is not None:
            user.on_response(transaction, response, now)

    def _fail_invite(self, transaction: ClientInvite, failure: Response, now: float) -> None:
        """Acknowledge and tell a failure, before timer D, which may be zero."""
        invite = transaction.last
        assert isinstance(invite, Request)
        transaction.last = build.ack_for(invite, failure)
        self.outgoing.append(Send(transaction.last, transaction.hop))
        try:
            if transaction.user is not None:
                transaction.user.on_response(transaction, failure, now)
        finally:
            self._start_linger(transaction, Event.TIMER_D, now)

    def _response_again(
        self, transaction: Transaction, event: Event, response: Response, now: float
    ) -> None:
        """
        Acknowledge a repeated failure, pass on what is no repetition, absorb the rest.

        No repetition is every 2xx to INVITE, and a failure with another To tag: where phones were
        forked to without a proxy that chooses, each sends its own.
        """
        if isinstance(transaction, ClientInvite):
            if event is SUCCESS:
                if transaction.user is not None:
                    transaction.user.on_response(transaction, response, now)
                return
            if event is FAILURE and transaction.state is COMPLETED:
                ack = transaction.last
                assert isinstance(ack, Request)
                if response.to_tag == ack.to_tag:
                    self._repeat(transaction)
                    return
                transaction.last = build.ack_for(ack, response)
                self.outgoing.append(Send(transaction.last, transaction.hop))
                if transaction.user is not None:
                    transaction.user.on_response(transaction, response, now)
                return
        self.counts.absorbed += 1

    # Requests

    def _receive_request(self, request: Request, source: Hop, now: float) -> None:
        method = request.method
        if method == "ACK":
            self._receive_ack(request, now)
            return
        key = server_key(request, method)
        transaction = self._server.get(key)
        if transaction is None:
            self._create(key, request, source, now)
            return
        transaction.advance(REQUEST)
        if isinstance(transaction.last, Response):
            self._repeat(transaction)
        else:
            self.counts.absorbed += 1

    def _create(self, key: Key, request: Request, source: Hop, now: float) -> None:
        hop = response_hop(request, source)
        transaction: ServerInvite | ServerNonInvite
        if request.method == "INVITE":
            transaction = ServerInvite(key, PROCEEDING, request, hop)
            transaction.timer = self._timers.start(TRYING_AFTER, transaction, now)
        else:
            transaction = ServerNonInvite(key, TRYING, None, hop)
        self._server[key] = transaction
        self.counts.created += 1
        self._core.on_request(transaction, request, now)

    def _receive_ack(self, ack: Request, now: float) -> None:
        transaction = self._server.get(server_key(ack, "INVITE"))
        if transaction is None or ACK not in transaction.TRANSITIONS[transaction.state]:
            self.counts.unmatched += 1
            self._core.on_ack(ack, now)
            return
        before = transaction.state
        transaction.advance(ACK)
        if before is ACCEPTED:
            self._core.on_ack(ack, now)  # only from a peer of RFC 2543
        elif before is COMPLETED:
            transaction.last = None
            try:
                if transaction.user is not None:
                    transaction.user.on_failure_acknowledged(transaction)
            finally:
                self._start_linger(transaction, Event.TIMER_I, now)
        else:
            self.counts.absorbed += 1

    # Steps that several machines share

    def _repeat(self, transaction: Transaction) -> None:
        assert transaction.last is not None
        self.counts.repeated += 1
        self.outgoing.append(Send(transaction.last, transaction.hop))

    def _send_trying(self, transaction: Transaction) -> None:
        request = transaction.last
        assert isinstance(request, Request)
        transaction.last = outgoing.response(request, 100)
        self.outgoing.append(Send(transaction.last, transaction.hop))

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

    def _start_linger(self, transaction: Transaction, event: Event, now: float) -> None:
        """Stay to absorb what comes late; L and M always, the others where messages get lost."""
        if transaction.timer is not None:
            transaction.timer.cancel()
        transaction.wait = 0.0
        if transaction.hop.reliable and event not in _ON_ANY_TRANSPORT:
            transaction.advance(event)
            self._finish(transaction)
        else:
            transaction.timer = self._timers.start(self._linger[event], transaction, now)

    def _transport_failed(self, transaction: Transaction, now: float) -> None:
        """The RFC lets a server INVITE transaction live on; only who ends tells its user."""
        if Event.TRANSPORT_ERROR not in transaction.TRANSITIONS[transaction.state]:
            return  # nothing of it is on the way
        transaction.advance(Event.TRANSPORT_ERROR)
        self.counts.transport_errors += 1
        if transaction.terminated:
            self._fail(transaction, 503, now)

    def _fail(self, transaction: Transaction, status: int, now: float) -> None:
        """The peer has not said what it had to, or cannot be reached."""
        self._remove(transaction)
        user = transaction.user
        if user is not None:
            if isinstance(transaction, (ClientInvite, ClientNonInvite)):
                user.on_no_response(transaction, status, now)
            else:
                user.on_no_ack(transaction)
        self._tell_terminated(transaction)

    def _finish(self, transaction: Transaction) -> None:
        self._remove(transaction)
        self._tell_terminated(transaction)

    def _remove(self, transaction: Transaction) -> None:
        self._stop_timer(transaction)
        transaction.last = None
        if isinstance(transaction, (ClientInvite, ClientNonInvite)):
            del self._client[transaction.key]
        else:
            del self._server[transaction.key]

    def _tell_terminated(self, transaction: Transaction) -> None:
        user = transaction.user
        if user is not None:
            transaction.user = None
            user.on_terminated(transaction)

    def _stop_timer(self, transaction: Transaction) -> None:
        if transaction.timer is not None:
            transaction.timer.cancel()
            transaction.timer = None
