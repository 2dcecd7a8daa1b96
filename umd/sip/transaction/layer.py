"""
The SIP transactions of one endpoint: finds that of a message, and sends and retransmits messages.

A transaction has one timer at a time. While it repeats its message, the waits of timer A, E or G
count down to the deadline of timer B, F or H. Later the one timer is D, I, J, K, L or M. So a
finished call leaves no cancelled 32 s timer behind. A lingering transaction holds its key and, if
it may have to repeat it, its last message.

The layer calls the `user` of a transaction, which is the session that opened or answers it. For a
message that opens or concerns no transaction it calls the `core`, which is the endpoint. The layer
finishes its own work before such a call, so that the user and the core may call back into it.
Messages to send gather in `outgoing`, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from umd.sip import build, outgoing
from umd.sip.message import Message, Request, Response
from umd.sip.timing import TRYING_AFTER, Timing
from umd.sip.transaction.hop import Hop, Send, response_hop
from umd.sip.transaction.states import (
    ACCEPTED,
    ACK,
    CALLING,
    COMPLETED,
    FAILURE,
    PROCEEDING,
    PROVISIONAL,
    REQUEST,
    SUCCESS,
    TERMINATED,
    TRYING,
    Event,
)
from umd.sip.transaction.transaction import (
    ClientInvite,
    ClientNonInvite,
    Core,
    IllegalEvent,
    Key,
    ServerInvite,
    ServerNonInvite,
    Transaction,
    TransactionUser,
    server_key,
)
from umd.timers import Timers

_EVENT_OF_STATUS_CLASS: Final = (
    FAILURE,  # no status begins with 0
    PROVISIONAL,
    SUCCESS,
    FAILURE,
    FAILURE,
    FAILURE,
    FAILURE,
)
"""Indexed by the first digit of a status."""
_LINGERS_ON_ANY_TRANSPORT: Final = frozenset((Event.TIMER_L, Event.TIMER_M))


class TransactionLayer:
    """
    All transactions of one endpoint.

    Args:
        core: Gets the messages that open or belong to no transaction.
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
        """The messages to send; the sender takes them away."""
        self.retransmissions = 0
        """Messages sent again since the start, for load tests."""

    def __len__(self) -> int:
        return len(self._client) + len(self._server)

    def __iter__(self) -> Iterator[Transaction]:
        yield from self._client.values()
        yield from self._server.values()

    # The user's side

    def send_request(
        self, request: Request, hop: Hop, now: float, user: TransactionUser | None = None
    ) -> ClientInvite | ClientNonInvite:
        """Send a request, except ACK, in a new client transaction; its branch must be new."""
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
        self.outgoing.append(Send(request, hop))
        self._start_repeating(transaction, now)
        return transaction

    def expect(self, invite: Request, hop: Hop, user: TransactionUser) -> ClientInvite:
        """Open the client transaction of an INVITE from before a restart; send nothing."""
        key = (invite.branch, "INVITE")
        if key in self._client:
            raise IllegalEvent(f"there is a client transaction with key {key}")
        transaction = ClientInvite(key, PROCEEDING, invite, hop)
        transaction.user = user
        self._client[key] = transaction
        return transaction

    def send_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """
        Send a response in a server transaction.

        Raises:
            IllegalEvent: The transaction has a later response, or is over.
        """
        before = transaction.state
        transaction.advance(_EVENT_OF_STATUS_CLASS[response.status // 100])
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
            self._stop_timer(transaction)  # no 100 is needed any more
        elif isinstance(transaction, ServerInvite):
            self._start_repeating(transaction, now)
        else:
            self._start_linger(transaction, Event.TIMER_J, now)

    def abandon(self, transaction: Transaction) -> None:
        """Drop a transaction without a report: a cancelled INVITE got no response (§9.1)."""
        if not transaction.terminated:
            transaction.state = TERMINATED
            transaction.user = None
            self._remove(transaction)

    # The network's side

    def receive(self, message: Message, source: Hop, now: float) -> None:
        """Pass a message to its transaction, or open one for it."""
        if isinstance(message, Response):
            self._receive_response(message, now)
        else:
            assert isinstance(message, Request)
            self._receive_request(message, source, now)

    def transport_error(self, message: Message, now: float) -> None:
        """Note that a message could not be sent (§17.1.4, §17.2.4, RFC 6026 §7)."""
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
        """Fail all transactions of a hop whose connection or host is gone."""
        for transaction in [each for each in self if each.hop == hop]:
            self._transport_failed(transaction, now)

    def invite_of(self, cancel: Request) -> Transaction | None:
        """Return the transaction of the INVITE that a CANCEL refers to (§9.2), or None."""
        return self._server.get(server_key(cancel, "INVITE"))

    # Time

    def next_due(self) -> float | None:
        """Return when to call `handle_timer` next; None if no timer runs."""
        return self._timers.next_due()

    def handle_timer(self, now: float) -> None:
        """Run the timers that are due at `now`."""
        while (transaction := self._timers.pop_due(now)) is not None:
            transaction.timer = None
            repeat_event, deadline_event = transaction.TIMERS[transaction.state]
            late = transaction.wait == 0.0 or now >= transaction.deadline
            self._fire(transaction, deadline_event if late else repeat_event, now)

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
                self._fail(transaction, 408, now)
            case _:
                raise IllegalEvent(f"{event.value} is not a timer")

    # Responses

    def _receive_response(self, response: Response, now: float) -> None:
        transaction = self._client.get((response.branch, response.cseq_method))
        if transaction is None:
            self._core.on_stray(response, now)
            return
        event = _EVENT_OF_STATUS_CLASS[response.status // 100]
        before = transaction.state
        transaction.advance(event)
        if before is COMPLETED or before is ACCEPTED:
            self._response_again(transaction, event, response, now)
            return
        user = transaction.user
        if event is PROVISIONAL:
            if before is CALLING:
                self._stop_timer(transaction)  # timers A and B end: it may ring without limit
        elif not isinstance(transaction, ClientInvite):
            transaction.last = None
            transaction.user = None  # it gets no further report
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
        """Acknowledge and report a 300-699, before timer D, which may be zero."""
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
        Acknowledge a repeated 300-699, report a new response, absorb any other.

        Every 2xx to INVITE is reported. So is a 300-699 with another To tag: if an INVITE is forked
        without a proxy that chooses among the responses, each phone sends its own.
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

    def _create(self, key: Key, request: Request, source: Hop, now: float) -> None:
        hop = response_hop(request, source)
        transaction: ServerInvite | ServerNonInvite
        if request.method == "INVITE":
            transaction = ServerInvite(key, PROCEEDING, request, hop)
            transaction.timer = self._timers.start(TRYING_AFTER, transaction, now)
        else:
            transaction = ServerNonInvite(key, TRYING, None, hop)
        self._server[key] = transaction
        self._core.on_request(transaction, request, now)

    def _receive_ack(self, ack: Request, now: float) -> None:
        transaction = self._server.get(server_key(ack, "INVITE"))
        if transaction is None or ACK not in transaction.TRANSITIONS[transaction.state]:
            self._core.on_ack(ack, now)
            return
        before = transaction.state
        transaction.advance(ACK)
        if before is ACCEPTED:
            self._core.on_ack(ack, now)  # only an RFC 2543 peer uses the INVITE's branch
        elif before is COMPLETED:
            transaction.last = None
            try:
                if transaction.user is not None:
                    transaction.user.on_failure_acknowledged(transaction)
            finally:
                self._start_linger(transaction, Event.TIMER_I, now)

    # Steps that several machines share

    def _repeat(self, transaction: Transaction) -> None:
        assert transaction.last is not None
        self.retransmissions += 1
        self.outgoing.append(Send(transaction.last, transaction.hop))

    def _send_trying(self, transaction: Transaction) -> None:
        request = transaction.last
        assert isinstance(request, Request)
        transaction.last = outgoing.response(request, 100)
        self.outgoing.append(Send(transaction.last, transaction.hop))

    def _start_repeating(self, transaction: Transaction, now: float) -> None:
        """Start timers A and B, E and F or G and H; only B, F or H over a reliable transport."""
        self._stop_timer(transaction)
        transaction.deadline = now + self._timeout
        transaction.wait = wait = 0.0 if transaction.hop.reliable else self._t1
        transaction.timer = self._timers.start(wait or self._timeout, transaction, now)

    def _wait(self, transaction: Transaction, wait: float, now: float) -> None:
        """Start the timer for the next repetition, or for the deadline if that comes first."""
        left = transaction.deadline - now
        transaction.wait = wait if wait < left else 0.0
        transaction.timer = self._timers.start(min(wait, max(left, 0.0)), transaction, now)

    def _start_linger(self, transaction: Transaction, event: Event, now: float) -> None:
        """Keep the transaction for late messages; D, I, J and K only on unreliable transports."""
        if transaction.timer is not None:
            transaction.timer.cancel()
        transaction.wait = 0.0
        if transaction.hop.reliable and event not in _LINGERS_ON_ANY_TRANSPORT:
            transaction.advance(event)
            self._finish(transaction)
        else:
            transaction.timer = self._timers.start(self._linger[event], transaction, now)

    def _transport_failed(self, transaction: Transaction, now: float) -> None:
        """Take a transport error, which a server INVITE transaction survives (RFC 6026 §7.1)."""
        if Event.TRANSPORT_ERROR not in transaction.TRANSITIONS[transaction.state]:
            return  # it has no message on the way
        transaction.advance(Event.TRANSPORT_ERROR)
        if transaction.terminated:
            self._fail(transaction, 503, now)

    def _fail(self, transaction: Transaction, status: int, now: float) -> None:
        """Drop a transaction whose peer did not answer or is unreachable, and report it."""
        self._remove(transaction)
        user = transaction.user
        if user is not None:
            if isinstance(transaction, (ClientInvite, ClientNonInvite)):
                user.on_no_response(transaction, status, now)
            else:
                user.on_no_ack(transaction)
        self._report_terminated(transaction)

    def _finish(self, transaction: Transaction) -> None:
        self._remove(transaction)
        self._report_terminated(transaction)

    def _remove(self, transaction: Transaction) -> None:
        self._stop_timer(transaction)
        transaction.last = None
        if isinstance(transaction, (ClientInvite, ClientNonInvite)):
            del self._client[transaction.key]
        else:
            del self._server[transaction.key]

    def _report_terminated(self, transaction: Transaction) -> None:
        user = transaction.user
        if user is not None:
            transaction.user = None
            user.on_terminated(transaction)

    def _stop_timer(self, transaction: Transaction) -> None:
        if transaction.timer is not None:
            transaction.timer.cancel()
            transaction.timer = None
