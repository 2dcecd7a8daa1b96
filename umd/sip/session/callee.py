"""The session of an INVITE received: ring, answer, reject, and the caller's CANCEL."""

from __future__ import annotations

from collections.abc import Sequence

from umd.sip import outgoing
from umd.sip.body import description_in
from umd.sip.dialog import Dialog
from umd.sip.message import Request, Response
from umd.sip.session.established import EstablishedSession
from umd.sip.session.events import Answered, Incoming
from umd.sip.session.headers import Headers, reason_headers, reasons_of
from umd.sip.session.states import (
    ANSWER,
    ANSWERED,
    ENDED,
    LEAVING,
    OFFERED,
    PROGRESS,
    REJECTING,
    Input,
    State,
)
from umd.sip.transaction.transaction import Transaction

_INCOMING = Incoming()
_ANSWERED = Answered()


class CalleeSession(EstablishedSession):
    """The session of an INVITE that the far end has sent."""

    __slots__ = ()

    def on_invite(self, transaction: Transaction) -> None:
        """Begin the session: its INVITE has arrived in `transaction`."""
        assert self.request is not None
        self._invite = transaction
        self.remote_body = description_in(self.request)
        self.dialog = Dialog.of_callee(self.request, self.local_tag, self._hop, self._agent)
        self._agent.register(self.dialog, self)
        self._agent.emit(self, _INCOMING)

    # The user's verbs

    def progress(self, status: int, now: float, *, body: bytes = b"") -> None:
        self._advance(PROGRESS)
        self._respond(status, now, body)

    def answer(self, now: float, *, body: bytes = b"") -> None:
        self._advance(ANSWER)
        assert self._invite is not None and self.dialog is not None
        response = self._respond(200, now, body)
        self.dialog.early = False
        self._await_ack(self._invite, response, now)

    def reject(self, status: int, now: float, *, headers: Headers = ()) -> None:
        self._advance(Input.REJECT)
        self._refuse(status, now, headers)

    def _hang_up_early(
        self, before: State, status: int, reasons: Sequence[str], now: float
    ) -> None:
        if before is OFFERED:
            self._refuse(status, now, reason_headers(reasons))
        # In state ANSWERED the BYE must wait for the ACK (§15).

    # Messages of the caller

    def on_cancel(self, request: Request, now: float) -> None:
        """Handle a CANCEL of the INVITE. The endpoint has answered the CANCEL (RFC 3261 §9.2)."""
        before = self.state
        self._advance(Input.CANCEL)
        if before is OFFERED:
            self._respond(487, now)
            self._end(487, reasons_of(request), "remote", confirmed=True)

    def on_ack(self, request: Request, now: float) -> None:
        before = self.state
        if not self._take_ack(request):
            return
        if before is ANSWERED:
            self._settle()
            self._agent.emit(self, _ANSWERED)
        elif before is LEAVING:
            self._settle()
            self._send_bye(now)

    def _on_early_bye(self, before: State, bye: Request, now: float) -> None:
        self._respond(487, now)
        self._end(487, reasons_of(bye), "remote", confirmed=True)

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        self._on_refused(transaction, Input.ACK_OF_FAILURE)

    def on_no_ack(self, transaction: Transaction) -> None:
        self._on_refused(transaction, Input.NO_ACK)

    def _on_refused(self, transaction: Transaction, event: Input) -> None:
        if transaction is not self._invite or self.state not in (REJECTING, ENDED):
            return
        before = self.state
        self._advance(event)
        if before is REJECTING:
            confirmed = event is Input.ACK_OF_FAILURE
            self._end(self._status, (), "local", confirmed=confirmed)

    # Responses to the INVITE

    def _respond(self, status: int, now: float, body: bytes = b"") -> Response:
        assert self.request is not None and self._invite is not None
        if body:
            self.local_body = body
        response = outgoing.response(
            self.request,
            status,
            to_tag=self.local_tag if status > 100 else None,
            contact=self._agent.contact if 100 < status < 300 else None,
            body=body,
        )
        self._agent.respond(self._invite, response, now)
        return response

    def _refuse(self, status: int, now: float, headers: Headers) -> None:
        assert self.request is not None and self._invite is not None and self.dialog is not None
        self._status = status
        response = outgoing.response(self.request, status, to_tag=self.local_tag, headers=headers)
        self._agent.unregister(self.dialog)  # a failure ends the early dialog (§12.3)
        self._agent.respond(self._invite, response, now)
