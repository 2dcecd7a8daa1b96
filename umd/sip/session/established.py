"""What both ends of a session do once there is a dialog: BYE, re-INVITE, UPDATE and OPTIONS."""

from __future__ import annotations

from collections.abc import Sequence

from umd.sip.body import UnsupportedBody, description_in, offer_in
from umd.sip.dialog import Dialog
from umd.sip.message import Request, Response
from umd.sip.session.events import Ended, Gone, Probed, Side
from umd.sip.session.headers import (
    ACCEPT,
    ALLOW,
    CAPABILITIES,
    KNOWN_METHODS,
    RETRY_AFTER,
    Headers,
    reason_headers,
    reasons_of,
)
from umd.sip.session.session import Alarm, PendingAck, Session
from umd.sip.session.states import (
    ACK,
    ANSWERED,
    BYE,
    BYE_DONE,
    CALLING,
    CLEARING,
    CONFIRMED,
    ENDED,
    HANG_UP,
    LEAVING,
    PROCEEDING,
    TRANSITIONS,
    IllegalInput,
    Input,
    State,
)
from umd.sip.transaction.transaction import ServerInvite, Transaction

NOT_OF_THE_FAR_END = frozenset((408, 481, 502, 503, 504))
"""Final statuses with which a proxy says that it could not reach the far end or knows no call."""


def shows_far_end_down(status: int) -> bool:
    """
    Return whether this final status of a BYE shows that the session has ended at the far end.

    Any final status ends the session for the sender of the BYE; only 2xx and 481 show that it has
    ended at the other side as well (RFC 3261 §15.1.1).
    """
    return 200 <= status < 300 or status == 481


class EstablishedSession(Session):
    """A session as it is after the INVITE; the callers' and the callees' classes add the INVITE."""

    __slots__ = ()

    # The user's verbs

    def hang_up(self, now: float, *, status: int = 480, reasons: Sequence[str] = ()) -> None:
        before = self.state
        self._advance(HANG_UP)
        if before in (CALLING, PROCEEDING, ANSWERED, CONFIRMED):
            self._reasons = tuple(reasons)
        if before is CONFIRMED:
            self._send_bye(now)
        else:
            self._hang_up_early(before, status, reasons, now)

    def _hang_up_early(
        self, before: State, status: int, reasons: Sequence[str], now: float
    ) -> None:
        """Hang up in a state before CONFIRMED, or again while the session is ending."""

    def abandon(self) -> None:
        if self.state is not ENDED:
            self.state = ENDED
            self._clear()

    def probe(self, now: float) -> bool:
        # Asterisk 22 lists OPTIONS in Allow and does not answer it in a dialog. Such a far end is
        # asked by UPDATE from then on. An UPDATE without an offer changes nothing (RFC 3311 §5.1),
        # and a far end that does not support it answers 405 or 501.
        if self.state is not CONFIRMED or self._probe_transaction is not None:
            return False
        assert self.dialog is not None
        if self._options_unanswered:
            contact = self._agent.contact
            self._probe_transaction = self._send_in_dialog(
                self.dialog, "UPDATE", now, contact=contact
            )
        else:
            self._probe_transaction = self._send_in_dialog(
                self.dialog, "OPTIONS", now, headers=ACCEPT
            )
        return True

    # Responses

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        if self._credentials is not None and response.status >= 200:
            if self._answer_challenge(self._credentials, transaction, response, now):
                return
        if transaction is self._invite:
            self._on_invite_response(response, now)
        elif transaction is self._bye_transaction:
            self._on_bye_response(response)
        elif transaction is self._probe_transaction:
            if response.cseq_method == "UPDATE" and self.dialog and 200 <= response.status < 300:
                self.dialog.refresh_target(response, self._agent)  # RFC 3311 §5.1
            self._on_probe_response(response.status)
        else:
            self._on_other_response(response, now)

    def _on_invite_response(self, response: Response, now: float) -> None:
        """Take a response to our INVITE, which only a caller has sent."""

    def _on_other_response(self, response: Response, now: float) -> None:
        """Take a response to a CANCEL, to an earlier try, or one that no longer counts."""

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        if self._credentials is not None:
            self._credentials.settled(transaction.key)
        if transaction is self._bye_transaction:
            self._bye_transaction = None
            self._finish_bye(confirmed=False)
        elif transaction is self._probe_transaction:
            self._on_probe_response(status)

    def _on_bye_response(self, response: Response) -> None:
        if response.status < 200:
            return
        self._bye_transaction = None
        if response.status >= 300 and self._status == 200:
            self._status = response.status
        self._finish_bye(confirmed=shows_far_end_down(response.status))

    def _finish_bye(self, *, confirmed: bool) -> None:
        before = self.state
        self._advance(BYE_DONE)
        if before is CLEARING:
            self._end(self._status, (), "local", confirmed=confirmed)

    def _on_probe_response(self, status: int) -> None:
        """Take a response to a probe; 408 if none came, 503 if the probe could not be sent."""
        if status < 200:
            return
        self._probe_transaction = None
        if self.state is not CONFIRMED:
            return  # the session is ending, and its end reports more
        if status == 481:
            self._advance(Input.UNKNOWN_THERE)
            self._clear()
            self._agent.emit(self, Gone())
            return
        answered = status not in NOT_OF_THE_FAR_END
        if answered:
            self.answers_options = True
        else:
            self._options_unanswered = self.answers_options
        self._agent.emit(self, Probed(answered))

    # Requests of the far end

    def on_request(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        if not dialog.take_cseq(request.cseq_number):
            self._reply(transaction, request, 500, now)  # §12.2.2
            return
        match request.method:
            case "BYE":
                self._on_bye(transaction, request, now)
            case "INVITE" | "UPDATE":
                self._on_change(dialog, transaction, request, now)
            case "OPTIONS":
                self._reply(transaction, request, 200, now, headers=CAPABILITIES)
            case method:
                status = 405 if method in KNOWN_METHODS else 501
                self._reply(transaction, request, status, now, headers=ALLOW)

    def _on_bye(self, transaction: Transaction, request: Request, now: float) -> None:
        before = self.state
        if BYE not in TRANSITIONS[before]:
            self._reply(transaction, request, 481, now)
            return
        self._advance(BYE)
        self._reply(transaction, request, 200, now)
        if before is CONFIRMED or before is ANSWERED:
            self._end(200, reasons_of(request), "remote", confirmed=True)
        elif before is LEAVING:
            self._end(200, reasons_of(request), "local", confirmed=True)
        elif before is CLEARING:
            self._end(self._status, reasons_of(request), "local", confirmed=True)
        else:
            self._on_early_bye(before, request, now)

    def _on_early_bye(self, before: State, bye: Request, now: float) -> None:
        """The far end has ended an early dialog with BYE (§15)."""

    def _on_change(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """Answer a re-INVITE or an UPDATE; with 415 if its body is no session description."""
        try:
            offer = offer_in(request)
        except UnsupportedBody as error:  # §8.2.3
            self._reply(transaction, request, 415, now, headers=error.headers)
            return
        if request.method == "INVITE":
            self._on_reinvite(dialog, transaction, request, offer, now)
        elif offer and (dialog.early or self._pending_ack is not None):  # RFC 3311 §5.2
            self._reply(transaction, request, 500, now, headers=RETRY_AFTER)
        else:
            self._accept_change(dialog, transaction, request, offer, now)

    def _on_reinvite(
        self, dialog: Dialog, transaction: Transaction, request: Request, offer: bytes, now: float
    ) -> None:
        """Answer a changed offer at once (§14.2)."""
        if self.state is not CONFIRMED and self.state is not ANSWERED:
            status = 481 if self._bye_transaction else 500
            self._reply(transaction, request, status, now, headers=RETRY_AFTER)
        elif self._pending_ack is not None:
            self._reply(transaction, request, 500, now, headers=RETRY_AFTER)
        else:
            response = self._accept_change(dialog, transaction, request, offer, now)
            if response is not None:
                self._await_ack(transaction, response, now)

    def _accept_change(
        self, dialog: Dialog, transaction: Transaction, request: Request, offer: bytes, now: float
    ) -> Response | None:
        """Send 200 with our answer, or 488 and return None."""
        body = b""
        if offer or request.method == "INVITE":
            answer = self._agent.answer_offer(self, offer)
            if answer is None:
                self._reply(transaction, request, 488, now)
                return None
            body = self.local_body = answer
            self.remote_body = offer or self.remote_body
        dialog.refresh_target(request, self._agent)
        return self._reply(
            transaction, request, 200, now, contact=self._agent.contact, body=body
        )

    # Our 2xx to an INVITE, until its ACK

    def _await_ack(self, transaction: Transaction, response: Response, now: float) -> None:
        """Repeat a 2xx until its ACK comes, over every transport (§13.3.1.4)."""
        timing = self._agent.timing
        self._pending_ack = PendingAck(transaction, response, timing.t1, now + timing.timeout)
        self._start_alarm(Alarm.REPEAT_SUCCESS, timing.t1, now)

    def on_ack(self, request: Request, now: float) -> None:
        self._take_ack(request)

    def _take_ack(self, request: Request) -> bool:
        """Return whether this is the ACK of the 2xx that is being repeated."""
        pending = self._pending_ack
        if pending is None or pending.cseq != request.cseq_number:
            return False
        self._pending_ack = None
        self._stop_alarm()
        self._advance(ACK)
        self.remote_body = description_in(request) or self.remote_body
        return True

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        self.hang_up(now)

    def on_alarm(self, alarm: Alarm, now: float) -> None:
        if alarm is Alarm.REPEAT_SUCCESS:
            self._alarm = None
            self._repeat_success(now)

    def _repeat_success(self, now: float) -> None:
        pending = self._pending_ack
        assert pending is not None
        left = pending.deadline - now
        if pending.wait == 0.0 or left <= 0.0:
            self._pending_ack = None
            self._status = 408
            self._settle()
            self._advance(Input.NO_ACK)
            self._send_bye(now)
            return
        if not pending.transaction.terminated:
            self._agent.respond(pending.transaction, pending.response, now)
        wait = min(2 * pending.wait, self._agent.timing.t2)
        pending.wait = wait if wait < left else 0.0
        self._start_alarm(Alarm.REPEAT_SUCCESS, min(wait, left), now)

    # The end

    def _send_bye(self, now: float) -> None:
        assert self.dialog is not None
        if self._pending_ack is not None:
            self._pending_ack = None
            self._stop_alarm()
        self._stop_probe()
        headers: Headers = reason_headers(self._reasons) if self._reasons else ()
        self._bye_transaction = self._send_in_dialog(self.dialog, "BYE", now, headers=headers)

    def _stop_probe(self) -> None:
        if self._probe_transaction is not None:
            if self._credentials is not None:
                self._credentials.settled(self._probe_transaction.key)
            self._agent.abandon(self._probe_transaction)
            self._probe_transaction = None

    def _end(self, status: int, reasons: tuple[str, ...], by: Side, *, confirmed: bool) -> None:
        """Report the end, once, and keep only what late 2xx need."""
        if self.state is not ENDED:
            raise IllegalInput(f"an end in state {self.state.value}")
        self._clear()
        self._agent.emit(self, Ended(status, reasons, by, confirmed))

    def _clear(self) -> None:
        """Drop what only a live session needs."""
        self._settle()
        self._pending_ack = None
        if self.dialog is not None:
            self._agent.unregister(self.dialog)
        self._stop_probe()
        if isinstance(self._invite, ServerInvite):  # it lingers alone
            self._invite.user = None
            self._invite = None

    def _settle(self) -> None:
        """Drop what only an INVITE without a final outcome needs."""
        self.request = None
        self._stop_alarm()
