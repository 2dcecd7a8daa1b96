"""
The INVITE session: its state, its verbs, and the requests that it sends in its dialog.

Theory of operation. `Session` is the class that the code which uses sessions, and the endpoint,
know. `EstablishedSession` derives from it and has what both sides do once there is a dialog. From
that derive `CallerSession`, which has sent the INVITE, and `CalleeSession`, which has received it.
`TRANSITIONS` in `umd.sip.session.states` says which input is legal in which state.

A session ends once: it returns one event `Ended` (the session is over) or `Gone` (the far end no
longer knows the dialog), and its state then stays ENDED. A caller's session may live on after that:
its INVITE transaction hands it every late 2xx, which needs ACK and BYE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from umd.sip import outgoing
from umd.sip.credentials import CHALLENGES, Attempt, CredentialCache, Login
from umd.sip.dialog import Dialog, DialogAgent
from umd.sip.message import Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.session.events import Event
from umd.sip.session.headers import Headers
from umd.sip.session.states import (
    CALLING,
    CLEARING,
    CONFIRMED,
    PROCEEDING,
    TRANSITIONS,
    IllegalInput,
    Input,
    State,
)
from umd.sip.timing import Timing
from umd.sip.transaction.hop import Hop
from umd.sip.transaction.transaction import Transaction
from umd.timers import Timer


class Alarm(StrEnum):
    """What the timer of a session is for."""

    REPEAT_SUCCESS = "send the 2xx again"
    NO_FINAL = "64*T1 after CANCEL"
    CANCEL_NEXT_TRY = "no final after the CANCEL of an INVITE sent before a restart"
    RANG_OUT = "no phone rings any longer"


class Agent(DialogAgent, Protocol):
    """What a session needs from its endpoint."""

    timing: Timing
    contact: str
    """Our Contact, a raw value."""
    new_id: Callable[[], str]
    """Returns an unpredictable token at every call."""

    def send_request(self, request: Request, hop: Hop, now: float, session: Session) -> Transaction:
        """Open a client transaction whose responses are for `session`."""

    def expect(self, invite: Request, hop: Hop, session: Session) -> Transaction:
        """Open the transaction of an INVITE that was sent before a restart."""

    def send(self, ack: Request, hop: Hop) -> None:
        """Send the ACK of a 2xx: it opens no transaction."""

    def respond(self, transaction: Transaction, response: Response, now: float) -> None:
        """Send a response in a server transaction."""

    def abandon(self, transaction: Transaction) -> None:
        """Drop a transaction without sending anything."""

    def listen_on(self, session: Session) -> None:
        """Pass each 2xx to the INVITE of `session` to it, even without a transaction."""

    def stop_listening(self, session: Session) -> None:
        """Undo `listen_on`."""

    def start_timer(
        self, interval: float, session: Session, alarm: Alarm, now: float
    ) -> Timer[tuple[Session, Alarm]]:
        """Call `session.on_alarm` after `interval` seconds."""

    def emit(self, session: Session, event: Event) -> None:
        """Report an event to the user."""

    def register(self, dialog: Dialog, session: Session) -> None:
        """Pass requests in `dialog` to `session` from now on."""

    def unregister(self, dialog: Dialog) -> None:
        """Undo `register`."""

    def answer_offer(self, session: Session, offer: bytes) -> bytes | None:
        """Return our answer to an offer (`b""`: our offer); None if nothing fits (488)."""


class Session:
    """
    One INVITE session; the endpoint makes it.

    The public attributes are for reading. The user calls the verbs, and the endpoint calls the
    methods named `on_...`.
    """

    __slots__ = (
        "state",
        "call_id",
        "local_tag",
        "request",
        "dialog",
        "local_body",
        "remote_body",
        "user",
        "answers_options",
        "_agent",
        "_hop",
        "_invite",
        "_pending_ack",
        "_probe_transaction",
        "_options_unanswered",
        "_bye_transaction",
        "_alarm",
        "_credentials",
        "_status",
        "_reasons",
    )

    def __init__(
        self,
        agent: Agent,
        request: Request | None,
        hop: Hop,
        local_tag: str,
        *,
        state: State,
        login: Login | None = None,
        dialog: Dialog | None = None,
    ) -> None:
        self.state = state
        self.call_id = ""
        if request is not None:
            self.call_id = request.call_id
        elif dialog is not None:
            self.call_id = dialog.id.call_id
        self.local_tag = local_tag
        self.request = request
        """The INVITE until it has its final response and ACK; the last try if challenged."""
        self.dialog = dialog
        """A callee's from the start; a caller's from the first 2xx."""
        self.local_body = b""
        """Our last session description."""
        self.remote_body = b""
        """The far end's last session description."""
        self.user: object = None
        """Free for the user of the session."""
        self.answers_options = False
        """Whether the far end lists OPTIONS in Allow or has answered a probe."""
        self._agent = agent
        self._hop = hop
        """The hop that the INVITE went to or came from."""
        self._invite: Transaction | None = None
        """The transaction of the INVITE; that of the last try if it was challenged."""
        self._pending_ack: PendingAck | None = None
        """Our 2xx whose ACK has not come."""
        self._probe_transaction: Transaction | None = None
        self._options_unanswered = False
        """The far end lists OPTIONS in Allow and does not answer it."""
        self._bye_transaction: Transaction | None = None
        self._alarm: Timer[tuple[Session, Alarm]] | None = None
        self._credentials = None if login is None else CredentialCache(login, agent.new_id)
        self._status = 200
        """The status that `Ended` will report."""
        self._reasons: tuple[str, ...] = ()
        """The Reason values for the CANCEL or BYE."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.call_id} {self.state.value}>"

    @property
    def invite(self) -> Transaction | None:
        """The transaction of the INVITE, as long as messages of it may come."""
        return self._invite

    # The user's verbs

    def progress(self, status: int, now: float, *, body: bytes = b"") -> None:
        """
        Send a provisional response, 100 to 199, to the INVITE received.

        Raises:
            IllegalInput: the state is not OFFERED.
        """
        self._advance(Input.PROGRESS)

    def answer(self, now: float, *, body: bytes = b"") -> None:
        """
        Accept the INVITE received, with our session description.

        Raises:
            IllegalInput: the state is not OFFERED.
        """
        self._advance(Input.ANSWER)

    def reject(self, status: int, now: float, *, headers: Headers = ()) -> None:
        """
        Refuse the INVITE received, with 300 to 699.

        Raises:
            IllegalInput: the state is not OFFERED.
        """
        self._advance(Input.REJECT)

    def hang_up(self, now: float, *, status: int = 480, reasons: Sequence[str] = ()) -> None:
        """
        End the session, in any state; harmless if it is ending or has ended.

        The state decides what is sent: CANCEL at once or after the first provisional response, ACK
        then BYE, BYE, or a rejection.

        Args:
            now: The time.
            status: The response to an INVITE that has none yet, 300 to 699.
            reasons: Values for Reason headers (RFC 3326) in the message that ends the session.
        """
        raise NotImplementedError

    def probe(self, now: float) -> bool:
        """
        Ask the far end with OPTIONS or UPDATE in the dialog whether it still has the call (§11).

        The outcome is a `Probed`, or a `Gone` after 481 (§12.2.1.2).

        Returns:
            Whether a request was sent. None is sent while another is open or the call is not up.
        """
        raise NotImplementedError

    def abandon(self) -> None:
        """End the session without a message or an event, as if this process had died."""
        raise NotImplementedError

    # What the endpoint calls

    def on_request(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """A request has arrived in a dialog of this session; not ACK or CANCEL."""
        raise NotImplementedError

    def on_ack(self, request: Request, now: float) -> None:
        """An ACK of a 2xx has arrived: a first one, or a repeated one."""
        raise NotImplementedError

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        """Our ACK of a 2xx could not be sent."""
        raise NotImplementedError

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response has arrived in a client transaction of this session."""
        raise NotImplementedError

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        """A client transaction of this session has timed out (408) or could not send (503)."""
        raise NotImplementedError

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        """The ACK of our 300 to 699 has arrived."""

    def on_no_ack(self, transaction: Transaction) -> None:
        """The ACK of our 300 to 699 has not come (timer H)."""

    def on_terminated(self, transaction: Transaction) -> None:
        """A transaction of this session is gone: no message of it can come."""
        if transaction is self._invite:
            self._invite = None

    def on_alarm(self, alarm: Alarm, now: float) -> None:
        """A timer of this session has expired."""
        raise NotImplementedError

    # Steps

    def _advance(self, event: Input) -> None:
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalInput(f"{event.value} in state {self.state.value}") from None

    def _start_alarm(self, alarm: Alarm, interval: float, now: float) -> None:
        self._stop_alarm()
        self._alarm = self._agent.start_timer(interval, self, alarm, now)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _reply(
        self,
        transaction: Transaction,
        request: Request,
        status: int,
        now: float,
        *,
        headers: Headers = (),
        contact: str | None = None,
        body: bytes = b"",
    ) -> Response:
        """Answer a request in a dialog."""
        response = outgoing.response(request, status, headers=headers, contact=contact, body=body)
        self._agent.respond(transaction, response, now)
        return response

    # Requests of ours, with credentials

    def _send_in_dialog(
        self,
        dialog: Dialog,
        method: str,
        now: float,
        *,
        contact: str | None = None,
        headers: Headers = (),
        body: bytes = b"",
    ) -> Transaction:
        """Send a request in a dialog, with the credentials that this call's servers asked for."""
        if self._credentials is not None:
            headers = (*self._credentials.headers(method, dialog.request_uri, body), *headers)
        request = dialog.request(method, self._agent, contact=contact, headers=headers, body=body)
        transaction = self._agent.send_request(request, dialog.hop, now, self)
        if self._credentials is not None:
            self._credentials.sent(Attempt(request, dialog))
        return transaction

    def _answer_challenge(
        self, credentials: CredentialCache, transaction: Transaction, response: Response, now: float
    ) -> bool:
        """Send a challenged request again with credentials; return False if nothing was sent."""
        attempt = credentials.settled(transaction.key)
        if attempt is None:
            return False
        if response.status < 300:
            credentials.take_next_nonce(response)
        if (
            response.status not in CHALLENGES
            or not self._is_still_needed(transaction, attempt)
            or not credentials.take_challenges(response, attempt)
        ):
            return False
        request, dialog = attempt.request, attempt.dialog
        if dialog is None:
            cseq = request.cseq_number + 1
            # After a restart, umd can derive this branch again from that of the first try.
            branch = f"{request.branch}a"
        else:
            cseq, branch = dialog.next_cseq(), self._agent.new_branch()
        headers = credentials.headers(request.method, request.uri, request.body)
        attempt.request = request.again(branch, cseq, headers)
        credentials.sent(attempt)
        retry = self._agent.send_request(attempt.request, transaction.hop, now, self)
        self._replace(transaction, retry, attempt.request)
        return True

    def _is_still_needed(self, transaction: Transaction, attempt: Attempt) -> bool:
        """Return whether a challenged request still serves a purpose."""
        if transaction is self._invite:
            return self.state in (CALLING, PROCEEDING)
        if transaction is self._bye_transaction:
            return self.state is CLEARING
        # The BYE to an unwanted fork has to arrive, whatever the state of the session is.
        return attempt.request.method == "BYE" or self.state is CONFIRMED

    def _replace(self, old: Transaction, new: Transaction, request: OwnRequest) -> None:
        """A request was sent again: expect in `new` the responses that were expected in `old`."""
        if old is self._bye_transaction:
            self._advance(Input.CHALLENGE)
            self._bye_transaction = new
        elif old is self._probe_transaction:
            self._probe_transaction = new


class PendingAck:
    """A 2xx of ours that is repeated until its ACK comes."""

    __slots__ = ("transaction", "response", "cseq", "wait", "deadline")

    def __init__(
        self, transaction: Transaction, response: Response, wait: float, deadline: float
    ) -> None:
        self.transaction = transaction
        self.response = response
        self.cseq = response.cseq_number
        self.wait = wait
        """Seconds until the next repetition; 0 if the next timeout is the deadline."""
        self.deadline = deadline
        """When to give up waiting for the ACK."""
