"""
The session of an INVITE sent: its responses, its forks, and its CANCEL.

A proxy may fork the INVITE to several phones. Each may ring, and each may answer: the first 2xx is
the call, and every other one gets an ACK and a BYE (§13.2.2.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from umd.sip import build, outgoing
from umd.sip.body import description_in
from umd.sip.credentials import Attempt, Login
from umd.sip.dialog import Dialog, SentInvite
from umd.sip.message import Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.session.established import NOT_OF_THE_FAR_END, EstablishedSession
from umd.sip.session.events import Answered, Progressed, Side
from umd.sip.session.headers import reason_headers, reasons_of
from umd.sip.session.session import Agent, Alarm
from umd.sip.session.states import (
    CALLING,
    CANCELLING,
    CONFIRMED,
    ENDED,
    FAILURE,
    GIVING_UP,
    PROCEEDING,
    PROVISIONAL,
    SUCCESS,
    TRANSITIONS,
    UNPROVEN,
    Input,
    State,
)
from umd.sip.transaction.hop import Hop
from umd.sip.transaction.transaction import ClientInvite, Transaction

MAX_FORKS: Final = 64
"""
Phones of one call that are kept apart: early dialogs, and 2xx that get an ACK.

A far end could invent new phones without end; each costs memory, and a BYE to any address it likes.
"""
CANCEL_ANSWERED_WITHIN: Final = 4
"""
How many T1 after the CANCEL a proxy's final response shows that every phone has answered it.

Kamailio gives a phone up after some seconds, 5 s in many a configuration (fr_timer).
"""

_ANSWERED: Final = Answered()
_PROGRESSED: Final = {status: Progressed(status) for status in range(101, 200)}


class CallerSession(EstablishedSession):
    """The session of an INVITE that umd sends, or of a call restored after a restart."""

    __slots__ = ("_early_dialogs", "_sent_acks", "_cancellation")

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
        super().__init__(agent, request, hop, local_tag, state=state, login=login, dialog=dialog)
        self._early_dialogs: dict[str, Dialog] | None = None
        """By the far end's tag (§13.2.2.1)."""
        self._sent_acks: list[SentAck] | None = None
        """Every ACK of a 2xx, to be sent again if that 2xx comes again."""
        self._cancellation: Cancellation | None = None

    def dial(self, now: float) -> None:
        """Send the INVITE that this session was made for."""
        assert self.request is not None
        self.local_body = self.request.body
        self._invite = self._agent.send_request(self.request, self._hop, now, self)
        if self._credentials is not None:
            assert isinstance(self.request, OwnRequest)
            self._credentials.sent(Attempt(self.request, None))

    def _hang_up_early(
        self, before: State, status: int, reasons: Sequence[str], now: float
    ) -> None:
        if before is PROCEEDING:
            assert self.request is not None
            self._send_cancel(self.request, now)
        # In state CALLING the CANCEL must wait for a provisional response (§9.1).

    # Responses

    def _on_other_response(self, response: Response, now: float) -> None:
        if response.cseq_method == "INVITE" and 200 <= response.status < 300:
            self._on_other_success(response, now)
        elif response.cseq_method == "CANCEL":
            self._on_cancel_response(response, now)

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        super().on_no_response(transaction, status, now)
        if transaction is self._invite and Input.NO_RESPONSE in TRANSITIONS[self.state]:
            self._advance(Input.NO_RESPONSE)
            self._end(status, (), "local", confirmed=False)

    def _on_invite_response(self, response: Response, now: float) -> None:
        status = response.status
        if status < 200:
            self._on_provisional(response, now)
        elif status < 300:
            self._on_success(response, now)
        else:
            self._on_failure(response, now)

    def _on_provisional(self, response: Response, now: float) -> None:
        before = self.state
        self._advance(PROVISIONAL)
        if before is GIVING_UP:
            assert self.request is not None
            self._send_cancel(self.request, now)
        if response.status == 100 or before is ENDED:
            return
        tag = response.to_tag
        if tag:
            self._take_early_dialog(tag, response)
        if before not in (CALLING, PROCEEDING):
            return
        if response.body:
            self.remote_body = description_in(response) or self.remote_body
        self._agent.emit(self, _PROGRESSED[response.status])

    def _on_success(self, response: Response, now: float) -> None:
        before = self.state
        self._advance(SUCCESS)
        if self._repeat_ack(response):
            return
        if self.dialog is not None and _is_of(self.dialog, response):
            self._send_ack(self.dialog, response)  # the same 2xx again, with another CSeq
            return
        dialog = self._dialog_of(response)
        self._send_ack(dialog, response)
        if self.dialog is None and before is not ENDED:
            self._confirm(dialog, response, now)
        else:
            if before is ENDED:
                self._stop_alarm()  # 64*T1 after CANCEL: there is a final response now
            self._clear_fork(dialog, now)

    def _on_other_success(self, response: Response, now: float) -> None:
        """Acknowledge a 2xx to a try that was challenged before: another server let it through."""
        if self._repeat_ack(response):
            return
        if self.dialog is not None and _is_of(self.dialog, response):
            self._send_ack(self.dialog, response)
            return
        dialog = self._dialog_of(response)
        self._send_ack(dialog, response)
        self._clear_fork(dialog, now)

    def on_stray_success(self, response: Response, now: float) -> None:
        """
        Acknowledge a 2xx whose INVITE has no transaction any more (§13.2.2.4).

        The INVITE was sent before a restart, and its ACK had not left or got lost. Or the 2xx is
        from another fork, or from a phone that rang on: then a BYE follows the ACK.
        """
        if response.from_tag != self.local_tag or self._repeat_ack(response):
            return
        dialog = self.dialog
        if dialog is not None and _is_of(dialog, response):
            if response.cseq_number <= dialog.local_cseq:
                self._send_ack(dialog, response)
        elif dialog is not None or self.state is ENDED:
            fork = self._dialog_of(response)
            self._send_ack(fork, response)
            self._clear_fork(fork, now)
        elif self.state is UNPROVEN:
            self._on_success(response, now)

    def _confirm(self, dialog: Dialog, response: Response, now: float) -> None:
        """Take the first 2xx: it is the call, or it crossed our CANCEL and gets a BYE."""
        self.dialog = dialog
        self._status = 200
        if not isinstance(response, outgoing.OwnResponse):  # within a process nothing is probed
            self.answers_options = any("OPTIONS" in value for value in response.all("Allow"))
        self._agent.register(dialog, self)
        self._settle()
        if response.body:
            self.remote_body = description_in(response) or self.remote_body
        self._agent.emit(self, _ANSWERED)
        if self.state is not CONFIRMED:
            self._send_bye(now)

    def _on_failure(self, response: Response, now: float) -> None:
        before = self.state
        if FAILURE not in TRANSITIONS[before]:
            return  # a late one, after a phone has answered
        may_ring_on = self._may_ring_on(response, now)
        status, reasons = response.status, reasons_of(response)
        if before is ENDED:
            self._stop_alarm()
        elif before in (CALLING, PROCEEDING):
            if self._early_dialogs:
                self._listen_on(now)
            self._advance(FAILURE)
            self._end(status, reasons, "remote", confirmed=True)
        elif may_ring_on:
            self._advance(Input.UNPROVEN_FAILURE)
            self._status = status
            if before is GIVING_UP:
                self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)
        else:
            self._advance(FAILURE)
            self._end(status, reasons, "local", confirmed=True)

    def _on_early_bye(self, before: State, bye: Request, now: float) -> None:
        """
        End the INVITE as well: the far end has ended an early dialog of it.

        The BYE ends its own phone only. Another phone that rang may ring on, and be answered.
        """
        invite, early = self.request, self._early_dialogs
        assert invite is not None
        alone = not early or early.keys() == {bye.from_tag or ""}
        if not alone:
            self._listen_on(now)
        by: Side = "remote" if before is PROCEEDING else "local"
        # Only a phone that has answered may send BYE (§15): its 200 got lost, so not 487.
        self._end(self._status, reasons_of(bye), by, confirmed=alone)
        if before is PROCEEDING:
            self._send_cancel(invite, now)
        else:
            self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)

    # Dialogs of the phones

    def _take_early_dialog(self, tag: str, response: Response) -> None:
        if self._early_dialogs is None:
            self._early_dialogs = {}
        dialog = self._early_dialogs.get(tag)
        if dialog is not None:
            dialog.refresh_target(response, self._agent)
        elif len(self._early_dialogs) < MAX_FORKS:
            self._early_dialogs[tag] = dialog = self._new_dialog(response)
            self._agent.register(dialog, self)

    def _forget_early_dialogs(self) -> None:
        if self._early_dialogs:
            for dialog in self._early_dialogs.values():
                self._agent.unregister(dialog)
        self._early_dialogs = None

    def _dialog_of(self, response: Response) -> Dialog:
        """Return the dialog of a 2xx: an early one, now confirmed, or a new one (§13.2.2.4)."""
        early = self._early_dialogs
        dialog = early.pop(response.to_tag or "", None) if early else None
        if dialog is None:
            dialog = self._new_dialog(response)
            dialog.early = False
        else:
            dialog.confirm(response, self._agent)
        return dialog

    def _new_dialog(self, response: Response) -> Dialog:
        """Make the dialog of the first response with its To tag."""
        request, known = self.request, self.dialog
        to = target = ""
        if request is not None:
            local, to, target = request.get("From"), request.get("To") or "", request.uri
        elif known is not None:
            local = known.local
        elif response.from_tag == self.local_tag:
            local = response.get("From")
        else:  # the INVITE is over, and its From is not kept anywhere else
            local = f"{self._agent.contact};tag={self.local_tag}"
        invite = SentInvite(self.call_id, self.local_tag, local or "", to, target)
        return Dialog.of_caller(response, self._hop, self._agent, invite)

    def _clear_fork(self, dialog: Dialog, now: float) -> None:
        """End with BYE the call of another fork, or of one that answered too late (§13.2.2.4)."""
        self._agent.unregister(dialog)  # it may have been early
        self._send_in_dialog(dialog, "BYE", now)

    # ACKs of 2xx

    def _send_ack(self, dialog: Dialog, response: Response) -> None:
        """Send the ACK of a 2xx, which is a request of its own in the dialog (§13.2.2.4)."""
        body = b""
        if response.body and not self.local_body:  # the 2xx made the offer: the ACK answers it
            offer = description_in(response)
            if offer:
                body = self.local_body = self._agent.answer_offer(self, offer) or b""
        number = response.cseq_number
        credentials = self._credentials
        headers = () if credentials is None else credentials.of_invite(number)
        ack = dialog.request("ACK", self._agent, cseq=number, headers=headers, body=body)
        sent = SentAck(dialog.id.remote_tag, number, ack, dialog.hop)
        if self._sent_acks is None:
            self._sent_acks = [sent]
        else:
            self._sent_acks.append(sent)
        self._agent.send(ack, dialog.hop)

    def _repeat_ack(self, response: Response) -> bool:
        """
        Send the ACK of a repeated 2xx again, and return False if this 2xx is new.

        After `MAX_FORKS` ACKs a new 2xx is ignored, as if it had got lost.
        """
        if self._sent_acks is None:
            return False
        tag, number = response.to_tag or "", response.cseq_number
        for sent in self._sent_acks:
            if sent.cseq == number and sent.tag == tag:
                self._agent.send(sent.request, sent.hop)
                return True
        return len(self._sent_acks) >= MAX_FORKS

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        # The far end's Contact cannot be reached. The ACK goes the way that the INVITE took. If
        # that was the way, the call is ended: without an ACK the far end gives it up soon.
        if self.dialog is None or self.state is ENDED:
            return
        if not self.dialog.fall_back():
            self.hang_up(now)
            return
        hop = self.dialog.hop
        if self._sent_acks is not None:
            self._sent_acks = [
                sent._replace(hop=hop) if sent.request is ack else sent for sent in self._sent_acks
            ]
        self._agent.send(ack, hop)

    def on_terminated(self, transaction: Transaction) -> None:
        if transaction is self._invite:
            self._invite = None
        if self._sent_acks is not None and isinstance(transaction, ClientInvite):
            # INVITEs of a dialog follow one another, and so do their ends.
            first = self._sent_acks[0].cseq
            self._sent_acks = [sent for sent in self._sent_acks if sent.cseq != first] or None

    # CANCEL

    def _send_cancel(self, invite: Request, now: float) -> None:
        """Cancel the INVITE, and wait for its final response, but at most 64*T1 (§9.1)."""
        cancel = build.cancel_for(invite)
        cancel.headers[-1:-1] = reason_headers(self._reasons)
        prompt_until = now + CANCEL_ANSWERED_WITHIN * self._agent.timing.t1
        self._cancellation = Cancellation(frozenset(self._early_dialogs or ()), prompt_until)
        self._agent.send_request(cancel, self._hop, now, self)
        self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)

    def _on_cancel_response(self, response: Response, now: float) -> None:
        """The far end has answered our CANCEL; the outcome is that of the INVITE (§9.1)."""
        if not 200 <= response.status < 300:
            return
        # The To tag tells whether a proxy accepts it. The proxy's final may have come before.
        cancellation, tag = self._cancellation, response.to_tag
        if cancellation is None or tag is None or tag in cancellation.phones:
            return
        cancellation.by_a_proxy = True
        if self.state is UNPROVEN and cancellation.one_is_down:
            self._advance(FAILURE)
            self._end(self._status, (), "local", confirmed=True)

    def _may_ring_on(self, response: Response, now: float) -> bool:
        """
        Return whether a phone may ring on although the INVITE has this final response.

        A phone's own final response has the To tag of its 180 (§12.1.1). A proxy that gives up a
        phone which does not answer its CANCEL makes a final response with a tag of its own. Some
        statuses only say that a phone could not be reached. If nothing but 100 came, there is
        nothing to tell these cases apart.

        Of several phones each has to send its own, unless a proxy answers for all: see
        `Cancellation`.
        """
        early, tag = self._early_dialogs, response.to_tag or ""
        from_a_phone = early is not None and tag in early
        if early is not None and from_a_phone:
            self._agent.unregister(early.pop(tag))
        if response.status in NOT_OF_THE_FAR_END:
            return True
        if not early:
            return False
        cancellation = self._cancellation
        if not from_a_phone or cancellation is None or now > cancellation.prompt_until:
            return True
        cancellation.one_is_down = True
        return not cancellation.by_a_proxy

    def _listen_on(self, now: float) -> None:
        """
        Take the answer of a phone that rings on, and end that call with ACK and BYE (§13.2.2.4).

        It lasts as long as a proxy lets a phone ring (timer C).
        """
        self._agent.listen_on(self)
        self._agent.start_timer(self._agent.timing.timer_c, self, Alarm.RANG_OUT, now)

    def on_alarm(self, alarm: Alarm, now: float) -> None:
        if alarm is Alarm.NO_FINAL:
            self._alarm = None
            self._on_no_final(now, confirmed=False)
        elif alarm is Alarm.RANG_OUT:
            self._agent.stop_listening(self)
        else:
            super().on_alarm(alarm, now)

    def _on_no_final(self, now: float, *, confirmed: bool) -> None:
        """Take the INVITE as cancelled: no final response has come 64*T1 after CANCEL (§9.1)."""
        before = self.state
        self._advance(Input.NO_FINAL)
        if self._invite is not None:
            self._agent.abandon(self._invite)
        if before is CANCELLING or before is UNPROVEN:
            if not confirmed:
                self._listen_on(now)
            status = self._status  # of the final response that proved nothing
            if before is CANCELLING:
                status = 481 if confirmed else 408
            self._end(status, (), "local", confirmed=confirmed)

    # Steps

    def _settle(self) -> None:
        self.request = None
        self._stop_alarm()
        self._forget_early_dialogs()

    def _replace(self, old: Transaction, new: Transaction, request: OwnRequest) -> None:
        if old is self._invite:
            self._advance(Input.CHALLENGE)
            self._forget_early_dialogs()
            self.request = request
            self._invite = new
        else:
            super()._replace(old, new, request)


class Cancellation:
    """
    What a CANCEL has shown about the phones that rang.

    A proxy answers the CANCEL itself, with a To tag of its own. It passes on one final response
    when each phone has sent its own (§16.7, §16.10). A phone that does not answer keeps it waiting,
    for 64*T1 or a timer of its own of some seconds, and then the one final response proves nothing
    of that phone. So it counts for all phones only if it comes promptly.
    """

    __slots__ = ("phones", "prompt_until", "by_a_proxy", "one_is_down")

    def __init__(self, phones: frozenset[str], prompt_until: float) -> None:
        self.phones = phones
        """The To tags of the phones that rang when the CANCEL left."""
        self.prompt_until = prompt_until
        """Until when the final response counts as prompt."""
        self.by_a_proxy = False
        """Whether a proxy has accepted the CANCEL."""
        self.one_is_down = False
        """Whether a phone's own final response has come promptly."""


class SentAck(NamedTuple):
    """The ACK of a 2xx, kept for repetitions of that 2xx."""

    tag: str
    """The To tag of the 2xx."""
    cseq: int
    request: Request
    hop: Hop


def _is_of(dialog: Dialog, response: Response) -> bool:
    """Return whether a 2xx is of this dialog of ours; an old far end has no tag (§12.1.2)."""
    return (response.to_tag or "") == dialog.id.remote_tag
