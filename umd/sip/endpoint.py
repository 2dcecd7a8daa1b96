"""
The user agent: transactions, dialogs and sessions of one address, without I/O.

Messages and the time go in through `receive_datagram` or `receive_message`, and `handle_timer`.
Events, messages to send and the next deadline come out of `next_event`, `messages_to_send` and
`next_due`. The driver with a socket and a clock calls these methods. Another endpoint in the same
process can do so too, with message objects that are never written as octets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from umd.sip import build, outgoing
from umd.sip.body import UnsupportedBody, offer_in
from umd.sip.credentials import Login
from umd.sip.dialog import Dialog
from umd.sip.fields import MAGIC_COOKIE
from umd.sip.framing import read_datagram
from umd.sip.message import HeaderError, Message, MessageError, Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.session.callee import CalleeSession
from umd.sip.session.caller import CallerSession
from umd.sip.session.events import Event
from umd.sip.session.headers import ALLOW, CAPABILITIES, KNOWN_METHODS, Headers
from umd.sip.session.rejoined import RejoinedSession
from umd.sip.session.session import Alarm, Session
from umd.sip.session.states import State
from umd.sip.targets import Target, read_target
from umd.sip.timing import Timing
from umd.sip.transaction.hop import Hop, Send, response_hop
from umd.sip.transaction.layer import TransactionLayer
from umd.sip.transaction.transaction import Transaction
from umd.sip.validate import Rejection, check_request, check_response, rejection_for
from umd.timers import Timer, Timers

METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE")
MAX_TARGETS: Final = 4096
"""Parsed Contacts in the cache; a full cache is emptied."""


class Endpoint:
    """
    One user agent.

    Args:
        host: The host in our Via and Contact.
        port: The port in our Via and Contact.
        new_id: Returns a new, unpredictable token at every call, for tags, branches and Call-IDs.
        timing: T1, T2 and T4.
        contact: Our Contact as a raw value; by default `<sip:host:port>`.
        answer_offer: Returns our answer to a changed offer (`b""`: our offer), or None to refuse
            it. By default a session repeats its last description.
    """

    def __init__(
        self,
        host: str,
        port: int,
        new_id: Callable[[], str],
        *,
        timing: Timing | None = None,
        contact: str | None = None,
        answer_offer: Callable[[Session, bytes], bytes | None] | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self.contact = contact or f"<sip:{host}:{port}>"
        self.new_id = new_id
        self.sent_by = f"{host}:{port}"
        self._host = host
        self._answer_offer = answer_offer
        self._layer = TransactionLayer(self, self.timing)
        self._dialogs: dict[tuple[str, str, str], Dialog] = {}
        self._alarms: Timers[tuple[Session, Alarm]] = Timers()
        self._events: deque[tuple[Session, Event]] = deque()
        self._targets: dict[tuple[str, Hop], Target] = {}
        self._listening: dict[str, Session] = {}
        """By Call-ID, the sessions whose INVITE is given up and may still get a 2xx."""
        self.restored: Callable[[str], Session | None] = _no_session
        """Called for a message in an unknown dialog: restores the session of its Call-ID."""
        self.heard: Callable[[Message, Hop], None] | None = None
        """Called with each well-formed message received and its source."""
        self.flawed: Callable[[Message, Hop], None] | None = None
        """Called with each message received whose flaws were tolerated, and its source."""

    # Counts

    @property
    def transactions(self) -> TransactionLayer:
        """All transactions."""
        return self._layer

    @property
    def dialogs(self) -> int:
        """The number of dialogs, early and confirmed."""
        return len(self._dialogs)

    def sessions(self) -> Iterator[Session]:
        """Return each session that has not ended and has a dialog or a transaction."""
        seen = {}
        owners = (dialog.owner for dialog in self._dialogs.values())
        for session in (*owners, *(transaction.user for transaction in self._layer)):
            if isinstance(session, Session):
                seen[id(session)] = session
        return (each for each in seen.values() if each.state is not State.ENDED)

    # The user's verbs, besides those of the sessions

    def place(
        self,
        uri: str,
        hop: Hop,
        now: float,
        *,
        from_: str,
        to: str | None = None,
        call_id: str | None = None,
        body: bytes = b"",
        headers: Headers = (),
        routes: Sequence[str] = (),
        login: Login | None = None,
        tag: str | None = None,
        branch: str | None = None,
        sent_before: bool = False,
        again: bool = False,
    ) -> Session:
        """
        Send an INVITE.

        Args:
            uri: The Request-URI, and the To unless `to` is given.
            hop: The next hop.
            now: The time.
            from_: Our address as a URI.
            to: The To as a raw value without tag.
            call_id: A unique Call-ID; by default a new one.
            body: Our offer. Without one the 2xx makes the offer, and the ACK answers it.
            headers: Further header fields.
            routes: Raw Route values, for an outbound proxy.
            login: Credentials for challenges to the INVITE and to later requests.
            tag: Our From tag; by default a new one.
            branch: The branch of the Via; by default a new one. With the tag and branch of an
                INVITE from before a restart, the far end takes this one for a retransmission.
            sent_before: The INVITE was sent before a restart. Only expect its responses.
            again: The INVITE may have been sent before a restart. Send it again.
        """
        tag = tag or self.new_id()
        request = OwnRequest(
            "INVITE",
            uri,
            self.sent_by,
            branch or self.new_branch(),
            f"<{from_}>;tag={tag}",
            tag,
            to or f"<{uri}>",
            None,
            call_id or f"{self.new_id()}@{self._host}",
            1,
            hop.transport,
            tuple(routes),
            self.contact,
            (*headers, *ALLOW) if headers else ALLOW,
            body,
        )
        session: CallerSession
        if sent_before or again:
            rejoined = RejoinedSession(self, request, hop, tag, state=State.CALLING, login=login)
            if sent_before:
                rejoined.rejoin()
                return rejoined
            session = rejoined
        else:
            session = CallerSession(self, request, hop, tag, state=State.CALLING, login=login)
        session.dial(now)
        return session

    def restore(self, dialog: Dialog, *, body: bytes = b"", login: Login | None = None) -> Session:
        """Return a session for a call answered before a restart; `body` is our description."""
        session = CallerSession(
            self,
            None,
            dialog.invite_hop,
            dialog.id.local_tag,
            state=State.CONFIRMED,
            login=login,
            dialog=dialog,
        )
        session.local_body = body
        self.register(dialog, session)
        return session

    # The network's side

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """Take a datagram, or one framed message of a connection."""
        try:
            message = read_datagram(data)
        except MessageError as error:
            if error.request is not None:
                _stamp(error.request, source)
                self._refuse(error.request, rejection_for(error), source)
            return
        if message is not None:
            self.receive_parsed(message, source, now)

    def receive_parsed(self, message: Message, source: Hop, now: float) -> None:
        """Take a parsed message, and refuse or drop it if it is not valid."""
        if isinstance(message, Response):
            if check_response(message) is not None:
                return
        else:
            assert isinstance(message, Request)
            _stamp(message, source)
            rejection = check_request(message, methods=METHODS)
            if rejection is not None:
                self._refuse(message, rejection, source)
                return
        self.receive_message(message, source, now)
        if message.flaws and self.flawed is not None:
            self.flawed(message, source)

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        """Take a message that is known to be valid: of another endpoint, or already checked."""
        if self.heard is not None:
            self.heard(message, source)
        self._layer.receive(message, source, now)

    def send_failed(self, message: Message, now: float) -> None:
        """Note that a message from `messages_to_send` could not be sent."""
        self._layer.transport_error(message, now)
        if isinstance(message, OwnRequest) and message.method == "ACK":  # of a 2xx
            name = (message.call_id, message.from_tag or "", message.to_tag or "")
            dialog = self._dialogs.get(name)
            if dialog is not None and dialog.owner is not None:
                dialog.owner.on_ack_unsent(message, now)

    def hop_failed(self, hop: Hop, now: float) -> None:
        """Fail every transaction that sends to `hop`; takes time for all transactions."""
        self._layer.hop_failed(hop, now)

    def messages_to_send(self) -> list[Send]:
        """Return the messages to send since the last call, in order, and forget them."""
        layer = self._layer
        outgoing, layer.outgoing = layer.outgoing, []
        return outgoing

    @property
    def has_to_send(self) -> bool:
        """Whether there are messages to send."""
        return bool(self._layer.outgoing)

    # Time and events

    def next_due(self) -> float | None:
        """Return when to call `handle_timer` next; None if no timer runs."""
        alarm, transaction = self._alarms.next_due(), self._layer.next_due()
        if alarm is None or transaction is None:
            return transaction if alarm is None else alarm
        return min(alarm, transaction)

    def handle_timer(self, now: float) -> None:
        """Run the timers due at `now`; sessions' before transactions' of the same moment."""
        while (due := self.next_due()) is not None and due <= now:
            if self._alarms.next_due() == due:
                item = self._alarms.pop_due(now)
                if item is not None:
                    session, alarm = item
                    session.on_alarm(alarm, now)
            else:
                self._layer.handle_timer(now)

    def next_event(self) -> tuple[Session, Event] | None:
        """Take the oldest event with its session; None if there is none."""
        return self._events.popleft() if self._events else None

    def _refuse(self, request: Request, rejection: Rejection, source: Hop) -> None:
        """Answer without a transaction, so that a repetition gets the same answer (§8.2.7)."""
        if request.method == "ACK":
            return
        response = build.response(
            request, rejection.status, rejection.reason, to_tag="-", headers=rejection.headers
        )
        try:
            hop = response_hop(request, source)
        except MessageError:
            hop = source  # no Via that could be read
        self._layer.outgoing.append(Send(response, hop))

    # What the transaction layer calls (the protocol Core)

    def on_stray(self, response: Response, now: float) -> None:
        """Pass a 2xx without a transaction to its session: from before a restart, or given up."""
        if response.cseq_method == "INVITE" and 200 <= response.status < 300:
            call_id = response.get("Call-ID") or ""
            session = self._listening.get(call_id) or self.restored(call_id)
            if isinstance(session, CallerSession):
                session.on_stray_success(response, now)

    def on_ack(self, ack: Request, now: float) -> None:
        """Pass the ACK of a 2xx to the session of its dialog."""
        dialog = self._dialog_of(ack)
        if dialog is not None and dialog.owner is not None:
            dialog.owner.on_ack(ack, now)

    def on_request(self, transaction: Transaction, request: Request, now: float) -> None:
        """Pass a request that has opened a transaction to its session, or answer it."""
        method = request.method
        if method == "CANCEL":
            self._on_cancel(transaction, request, now)
        elif request.to_tag is not None:
            dialog = self._dialog_of(request)
            if dialog is None or dialog.owner is None:
                self._reply(transaction, request, 481, now)
            else:
                dialog.owner.on_request(dialog, transaction, request, now)
        elif method == "INVITE":
            self._on_invite(transaction, request, now)
        elif method == "OPTIONS":
            self._reply(transaction, request, 200, now, CAPABILITIES)
        elif method == "BYE" or method == "UPDATE":
            self._reply(transaction, request, 481, now)
        else:
            self._reply(transaction, request, 405 if method in KNOWN_METHODS else 501, now, ALLOW)

    def _dialog_of(self, request: Request) -> Dialog | None:
        """Return the dialog of a request of the far end (§12.2.2): our tag is in its To."""
        name = (request.call_id, request.to_tag or "", request.from_tag or "")
        dialog = self._dialogs.get(name)
        if dialog is None and self.restored(request.call_id) is not None:
            dialog = self._dialogs.get(name)
        return dialog

    def _on_invite(self, transaction: Transaction, request: Request, now: float) -> None:
        try:
            offer_in(request)
        except UnsupportedBody as error:  # §8.2.3
            self._reply(transaction, request, 415, now, error.headers)
            return
        session = CalleeSession(self, request, transaction.hop, self.new_id(), state=State.OFFERED)
        transaction.user = session
        session.on_invite(transaction)

    def _on_cancel(self, transaction: Transaction, request: Request, now: float) -> None:
        invite = self._layer.invite_of(request)
        if invite is None:
            self._reply(transaction, request, 481, now)
            return
        session = invite.user if isinstance(invite.user, CalleeSession) else None
        tag = session.local_tag if session is not None else self.new_id()  # §9.2
        self.respond(transaction, outgoing.response(request, 200, to_tag=tag), now)
        if session is not None:
            session.on_cancel(request, now)

    def _reply(
        self,
        transaction: Transaction,
        request: Request,
        status: int,
        now: float,
        headers: Headers = (),
    ) -> None:
        tag = self.new_id() if request.to_tag is None else None
        response = outgoing.response(request, status, to_tag=tag, headers=headers)
        self.respond(transaction, response, now)

    # What sessions and dialogs call (the protocols Agent and DialogAgent)

    def new_branch(self) -> str:
        """Return a new branch."""
        return MAGIC_COOKIE + self.new_id()

    def target_of(self, message: Message, invite_hop: Hop) -> Target | None:
        """See `read_target`. The results are cached, since peers repeat their Contact."""
        raw = message.get("Contact")
        if raw is None:
            return None
        target = self._targets.get((raw, invite_hop))
        if target is None:
            target = read_target(message, invite_hop)
            if target is not None and not message.flaws:
                if len(self._targets) >= MAX_TARGETS:
                    self._targets.clear()
                self._targets[raw, invite_hop] = target
        return target

    def send_request(self, request: Request, hop: Hop, now: float, session: Session) -> Transaction:
        return self._layer.send_request(request, hop, now, session)

    def expect(self, invite: Request, hop: Hop, session: Session) -> Transaction:
        return self._layer.expect(invite, hop, session)

    def send(self, message: Message, hop: Hop) -> None:
        """Send a message without a transaction: the ACK of a 2xx."""
        self._layer.outgoing.append(Send(message, hop))

    def respond(self, transaction: Transaction, response: Response, now: float) -> None:
        self._layer.send_response(transaction, response, now)

    def abandon(self, transaction: Transaction) -> None:
        self._layer.abandon(transaction)

    def listen_on(self, session: Session) -> None:
        self._listening[session.call_id] = session

    def stop_listening(self, session: Session) -> None:
        self._listening.pop(session.call_id, None)

    def start_timer(
        self, interval: float, session: Session, alarm: Alarm, now: float
    ) -> Timer[tuple[Session, Alarm]]:
        return self._alarms.start(interval, (session, alarm), now)

    def emit(self, session: Session, event: Event) -> None:
        self._events.append((session, event))

    def register(self, dialog: Dialog, session: Session) -> None:
        dialog.owner = session
        self._dialogs[dialog.id] = dialog

    def unregister(self, dialog: Dialog) -> None:
        dialog.owner = None  # it would hold its session, which holds it
        self._dialogs.pop(dialog.id, None)

    def answer_offer(self, session: Session, offer: bytes) -> bytes | None:
        if self._answer_offer is None:
            return session.local_body
        return self._answer_offer(session, offer)


def _no_session(call_id: str) -> Session | None:
    return None


def _stamp(request: Request, source: Hop) -> None:
    """Note in the Via where a request came from; over a connection that is known."""
    if not source.reliable:
        try:
            request.note_source(source.host, source.port)
        except HeaderError:
            pass  # without a readable Via it is refused
