"""
The INVITE session: one leg of a call, from the first INVITE to the last BYE (RFC 3261 §13 to §15).

Theory of operation. `TRANSITIONS[state][input] -> state` says what is legal; `Session` says what to
do. The user has four verbs, `progress`, `answer`, `reject` and `hang_up`; `hang_up` is legal in
every state and picks what the state needs: CANCEL, a deferred CANCEL, ACK then BYE, BYE, a
rejection, or nothing.

A session has ended, for its user, exactly once: `_end` is the only place that says `Ended`, and
nothing leads out of the state of that name. It may stay for a while after that, since a client
INVITE transaction hands every 2xx to its session: each gets an ACK, and a BYE when nobody wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from umd.errors import UmdError
from umd.sip import build, outgoing
from umd.sip.body import UnsupportedBody, description_in, offer_in
from umd.sip.credentials import CHALLENGES, MAX_TRIES, Attempt, CredentialCache, Login
from umd.sip.dialog import Caller, Dialog, Surroundings
from umd.sip.fields import MAX_VALUES, FieldError, split_list
from umd.sip.message import Message, Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.timing import Timing
from umd.sip.transaction import ClientInvite, Hop, ServerInvite, Transaction
from umd.timers import Timer

Side: TypeAlias = Literal["local", "remote"]
Headers: TypeAlias = tuple[tuple[str, str], ...]


class State(StrEnum):
    """Where a session stands. The first five are the caller's, the next four the callee's."""

    CALLING = "calling"
    """INVITE sent, nothing heard."""
    GIVING_UP = "giving up"
    """The same, and the user has hung up: CANCEL must wait for a provisional (§9.1)."""
    PROCEEDING = "proceeding"
    """INVITE sent, a provisional heard."""
    CANCELLING = "cancelling"
    """CANCEL sent; what the INVITE came to is not known yet."""
    UNPROVEN = "unproven"
    """Given up, and the INVITE is over; but nothing shows that every phone has stopped ringing."""
    OFFERED = "offered"
    """INVITE received, not answered."""
    REJECTING = "rejecting"
    """A failure sent, its ACK awaited."""
    ANSWERED = "answered"
    """A 2xx sent, its ACK awaited."""
    LEAVING = "leaving"
    """The same, and the user has hung up: BYE must wait for the ACK (§15)."""
    CONFIRMED = "confirmed"
    """2xx and ACK exchanged."""
    CLEARING = "clearing"
    """BYE sent."""
    ENDED = "ended"


class Input(StrEnum):
    """What can happen to a session."""

    PROGRESS = "user: progress"
    ANSWER = "user: answer"
    REJECT = "user: reject"
    HANG_UP = "user: hang up"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    UNPROVEN_FAILURE = "300-699 that leaves a phone that may ring on"
    CHALLENGE = "401 or 407 that another try follows"
    NO_RESPONSE = "INVITE unanswered or unsendable"
    NO_FINAL = "64*T1 after CANCEL"
    CANCEL = "CANCEL"
    ACK = "ACK of a 2xx"
    ACK_OF_FAILURE = "ACK of a failure"
    NO_ACK = "64*T1 without ACK"
    BYE = "BYE"
    BYE_DONE = "BYE answered or given up"
    UNKNOWN_THERE = "481 to our probe"


TRANSITIONS: Final[Mapping[State, Mapping[Input, State]]] = {
    State.CALLING: {
        Input.PROVISIONAL: State.PROCEEDING,
        Input.SUCCESS: State.CONFIRMED,
        Input.FAILURE: State.ENDED,
        Input.CHALLENGE: State.CALLING,
        Input.NO_RESPONSE: State.ENDED,
        Input.HANG_UP: State.GIVING_UP,
    },
    State.GIVING_UP: {
        Input.PROVISIONAL: State.CANCELLING,
        Input.SUCCESS: State.CLEARING,
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.CHALLENGE: State.CANCELLING,  # another try of before a restart may ring
        Input.NO_RESPONSE: State.ENDED,
        Input.HANG_UP: State.GIVING_UP,
    },
    State.PROCEEDING: {
        Input.PROVISIONAL: State.PROCEEDING,
        Input.SUCCESS: State.CONFIRMED,
        Input.FAILURE: State.ENDED,
        Input.CHALLENGE: State.CALLING,
        Input.BYE: State.ENDED,  # every 2xx was lost, and the callee gave up waiting for our ACK
        Input.HANG_UP: State.CANCELLING,
    },
    State.CANCELLING: {
        Input.PROVISIONAL: State.CANCELLING,
        Input.SUCCESS: State.CLEARING,  # it crossed our CANCEL
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.CHALLENGE: State.CANCELLING,  # as above
        Input.NO_FINAL: State.ENDED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.CANCELLING,
    },
    State.UNPROVEN: {
        Input.SUCCESS: State.CLEARING,  # a phone rang on, and was answered
        Input.FAILURE: State.ENDED,
        Input.UNPROVEN_FAILURE: State.UNPROVEN,
        Input.NO_FINAL: State.ENDED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.UNPROVEN,
    },
    State.OFFERED: {
        Input.PROGRESS: State.OFFERED,
        Input.ANSWER: State.ANSWERED,
        Input.REJECT: State.REJECTING,
        Input.HANG_UP: State.REJECTING,
        Input.CANCEL: State.ENDED,
        Input.BYE: State.ENDED,  # the caller may end an early dialog so (§15)
    },
    State.REJECTING: {
        Input.ACK_OF_FAILURE: State.ENDED,
        Input.NO_ACK: State.ENDED,
        Input.CANCEL: State.REJECTING,
        Input.HANG_UP: State.REJECTING,
    },
    State.ANSWERED: {
        Input.ACK: State.CONFIRMED,
        Input.NO_ACK: State.CLEARING,
        Input.CANCEL: State.ANSWERED,  # too late (§9.2)
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.LEAVING,
    },
    State.LEAVING: {
        Input.ACK: State.CLEARING,
        Input.NO_ACK: State.CLEARING,
        Input.CANCEL: State.LEAVING,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.LEAVING,
    },
    State.CONFIRMED: {
        Input.SUCCESS: State.CONFIRMED,  # again, or of another fork
        Input.ACK: State.CONFIRMED,
        Input.NO_ACK: State.CLEARING,  # of the answer to a re-INVITE (§14.2)
        Input.CANCEL: State.CONFIRMED,
        Input.BYE: State.ENDED,
        Input.HANG_UP: State.CLEARING,
        Input.UNKNOWN_THERE: State.ENDED,
    },
    State.CLEARING: {
        Input.SUCCESS: State.CLEARING,
        Input.CHALLENGE: State.CLEARING,  # of our BYE
        Input.ACK: State.CLEARING,
        Input.CANCEL: State.CLEARING,
        Input.BYE: State.ENDED,  # both hung up at once
        Input.BYE_DONE: State.ENDED,
        Input.HANG_UP: State.CLEARING,
    },
    State.ENDED: {  # what was still on the way
        Input.PROVISIONAL: State.ENDED,
        Input.SUCCESS: State.ENDED,
        Input.FAILURE: State.ENDED,
        Input.NO_RESPONSE: State.ENDED,
        Input.NO_FINAL: State.ENDED,
        Input.CANCEL: State.ENDED,
        Input.ACK: State.ENDED,
        Input.ACK_OF_FAILURE: State.ENDED,
        Input.NO_ACK: State.ENDED,
        Input.BYE_DONE: State.ENDED,
        Input.HANG_UP: State.ENDED,
    },
}


class IllegalInput(UmdError):
    """A verb that the session's state does not have."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call comes in; the session is in state offered."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end rings, or says something else before the answer."""

    status: int
    """101 to 199; a mere 100 says nothing of the far end and is not reported."""


@dataclass(frozen=True, slots=True)
class Answered:
    """
    2xx and ACK: the caller learns it with the 2xx, the callee with the ACK.

    The caller also when it has hung up meanwhile: there is a dialog now, which takes a BYE to end.
    """


@dataclass(frozen=True, slots=True)
class Probed:
    """What `Session.probe` came to, while the leg is up."""

    answered: bool
    """Whether the far end answered; its proxy's word that it could not be asked is no answer."""


@dataclass(frozen=True, slots=True)
class Gone:
    """
    The far end knows the call no more; the last event of its session.

    It has ended there, and nobody heard how: the far end was restarted, or its BYE got lost.
    """


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is over; the last event of its session, unless that is `Gone`."""

    status: int
    """
    What the INVITE came to: a failure's status, 487 cancelled, 408 nothing heard (also of the ACK),
    503 not to be sent, 200 when it was answered and ended by BYE; the failure that answered our
    BYE, if one did.
    """
    reasons: tuple[str, ...]
    """The values of the Reason headers (RFC 3326) of the message that ended it, as received."""
    by: Side
    """Who ended it. Both at once: local, since our user asked first."""
    confirmed: bool
    """
    Whether the far end has shown that the leg is down there: by its own final, CANCEL or BYE, by
    the ACK of our rejection, by 2xx or 481 to our BYE. False after silence, after any other answer
    to BYE (a 408 comes from a proxy), and after a final to a cancelled INVITE that is not the
    phone's (see `Session._may_ring_on`).
    """


Event: TypeAlias = Incoming | Progressed | Answered | Probed | Gone | Ended


class Alarm(StrEnum):
    """What a session waits for by the clock."""

    REPEAT = "send the 2xx again"
    NO_FINAL = "64*T1 after CANCEL"
    ASK_AGAIN = "no final after the CANCEL of an INVITE sent before a restart"
    RANG_OUT = "no phone rings any longer"


class Agent(Surroundings, Protocol):
    """What a session needs around it; the endpoint is one."""

    timing: Timing
    contact: str
    """Our Contact, a raw value."""
    new_id: Callable[[], str]
    """Gives an unpredictable token at every call."""

    def send_request(self, request: Request, hop: Hop, now: float, session: Session) -> Transaction:
        """Open a client transaction whose responses are for `session`."""

    def expect(self, invite: Request, hop: Hop, session: Session) -> Transaction:
        """Open the transaction of an INVITE that was sent before a restart."""

    def send(self, ack: Request, hop: Hop) -> None:
        """Send the ACK of a 2xx: it opens no transaction."""

    def respond(self, transaction: Transaction, response: Response, now: float) -> None:
        """Send a response in a server transaction."""

    def abandon(self, transaction: Transaction) -> None:
        """Forget a transaction."""

    def listen_on(self, session: Session) -> None:
        """Give `session` each 2xx to its INVITE, also when the transaction of that is gone."""

    def stop_listening(self, session: Session) -> None:
        """End that."""

    def start_timer(
        self, interval: float, session: Session, alarm: Alarm, now: float
    ) -> Timer[tuple[Session, Alarm]]:
        """Have `session.on_alarm` called after `interval` seconds."""

    def emit(self, session: Session, event: Event) -> None:
        """Tell the user."""

    def register(self, dialog: Dialog, session: Session) -> None:
        """From now on requests in `dialog` are for `session`."""

    def unregister(self, dialog: Dialog) -> None:
        """They are not any more."""

    def answer_offer(self, session: Session, offer: bytes) -> bytes | None:
        """Our description in reply to an offer, or to none; None when nothing fits (488)."""


# As plain names: the enums' own attributes cost several times as much up to Python 3.11.
CALLING, GIVING_UP, PROCEEDING, CANCELLING, UNPROVEN = list(State)[:5]
OFFERED, REJECTING, ANSWERED, LEAVING, CONFIRMED, CLEARING, ENDED = list(State)[5:]
_PROVISIONAL, _SUCCESS, _FAILURE = Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE
_PROGRESS, _ANSWER, _HANG_UP = Input.PROGRESS, Input.ANSWER, Input.HANG_UP
_ACK, _BYE, _BYE_DONE = Input.ACK, Input.BYE, Input.BYE_DONE


class Session:
    """
    One INVITE session, caller or callee; made by the endpoint.

    The attributes are for reading; the verbs are `progress`, `answer`, `reject`, `hang_up` and
    `probe`. The methods named `on_...` are the endpoint's.
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
        "_early",
        "_acks",
        "_pending",
        "_probe",
        "_options_silent",
        "_bye",
        "_alarm",
        "_cancellation",
        "_credentials",
        "_status",
        "_reasons",
        "_earlier",
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
        """The INVITE, as long as it is not settled; a caller's is replaced when challenged."""
        self.dialog = dialog
        """The callee's from the start; the caller's from the first 2xx."""
        self.local_body = b""
        """Our last session description."""
        self.remote_body = b""
        """The far end's last session description."""
        self.user: object = None
        """Free for whoever drives the session."""
        self.answers_options = False
        """Whether the far end has said, in Allow, or shown that it answers OPTIONS."""
        self._agent = agent
        self._hop = hop
        self._invite: Transaction | None = None
        """The transaction of the first INVITE (of the last try, when it was challenged)."""
        self._early: dict[str, Dialog] | None = None
        """The caller's early dialogs by the far end's tag (§13.2.2.1)."""
        self._acks: list[Ack] | None = None
        """Every ACK of a 2xx that we sent, to be sent again when that 2xx comes again."""
        self._pending: PendingAck | None = None
        """Our 2xx whose ACK has not come."""
        self._probe: Transaction | None = None
        self._options_silent = False
        """The far end said that it answers OPTIONS, and did not."""
        self._bye: Transaction | None = None
        self._alarm: Timer[tuple[Session, Alarm]] | None = None
        self._cancellation: Cancellation | None = None
        self._credentials = None if login is None else CredentialCache(login, agent.new_id)
        self._status = 200
        self._reasons: tuple[str, ...] = ()
        self._earlier: EarlierTries | None = None
        """Of an INVITE sent before a restart."""

    def __repr__(self) -> str:
        return f"<Session {self.call_id} {self.state.value}>"

    # The user's verbs

    def progress(self, status: int, now: float, *, body: bytes = b"") -> None:
        """Callee: send a provisional, 100 to 199."""
        self._advance(_PROGRESS)
        self._respond_invite(status, now, body)

    def answer(self, now: float, *, body: bytes = b"") -> None:
        """Callee: accept, with our session description."""
        self._advance(_ANSWER)
        assert self.request is not None and self._invite is not None and self.dialog is not None
        response = self._respond_invite(200, now, body)
        self.dialog.early = False
        self._await_ack(self._invite, response, now)

    def reject(self, status: int, now: float, *, headers: Headers = ()) -> None:
        """Callee: refuse, 300 to 699."""
        self._advance(Input.REJECT)
        self._refuse(status, now, headers)

    def hang_up(self, now: float, *, status: int = 480, reasons: Sequence[str] = ()) -> None:
        """
        End it, whatever state it is in; harmless when it is ending or has ended.

        Args:
            now: The time.
            status: The answer to an INVITE that has none yet, 300 to 699.
            reasons: Values for Reason headers (RFC 3326) in the message that ends it.
        """
        before = self.state
        self._advance(_HANG_UP)
        if before in (CALLING, PROCEEDING, ANSWERED, CONFIRMED):
            self._reasons = tuple(reasons)
        if before is CONFIRMED:
            self._send_bye(now)
        elif before is OFFERED:
            self._refuse(status, now, _reason_headers(reasons))
        elif before is PROCEEDING and self._earlier is not None and self._earlier.requests:
            self._cancel_next_try(self._earlier, now)
        elif before is PROCEEDING:
            assert self.request is not None
            self._send_cancel(self.request, now)
        # Else what was asked is under way, or must wait for the far end.

    def abandon(self) -> None:
        """Forget it without a word to the far end or the user, as if this end had died."""
        if self.state is not State.ENDED:
            self.state = State.ENDED
            self._clear()

    @property
    def invite(self) -> Transaction | None:
        """The transaction of the first INVITE, while there is something to do with it."""
        return self._invite

    def probe(self, now: float) -> bool:
        """
        Ask the far end by OPTIONS in the dialog whether it still knows the call (§11, §12.2.1).

        Asterisk 22 lists OPTIONS in Allow and is silent to it in a dialog. Such a far end is asked
        by UPDATE from then on. Without an offer an UPDATE changes nothing (RFC 3311 §5.1), and a
        far end that does not know it answers 405 or 501.

        The outcome is a `Probed` or, for 481, the end of the session (§12.2.1.2).

        Returns:
            Whether it was asked: only while the call is up, and nobody is asking.
        """
        if self.state is not CONFIRMED or self._probe is not None:
            return False
        assert self.dialog is not None
        if self._options_silent:
            contact = self._agent.contact
            self._probe = self._request(self.dialog, "UPDATE", now, contact=contact)
        else:
            self._probe = self._request(self.dialog, "OPTIONS", now, headers=ACCEPT)
        return True

    # Responses, from the endpoint

    def on_response(self, transaction: Transaction, response: Response, now: float) -> None:
        """A response in a client transaction of ours."""
        if self._credentials is not None and response.status >= 200:
            if self._try_again(self._credentials, transaction, response, now):
                return
        earlier = self._earlier
        if earlier is not None and transaction in earlier.requests:
            if not self._is_the_last_try(earlier, transaction, response, now):
                return
        if transaction is self._invite:
            self._on_invite_response(response, now)
        elif transaction is self._bye:
            self._on_bye_response(response, now)
        elif transaction is self._probe:
            if response.cseq_method == "UPDATE" and self.dialog and 200 <= response.status < 300:
                self.dialog.refresh_target(response, self._agent)  # RFC 3311 §5.1
            self._on_probe_response(response.status)
        elif response.cseq_method == "INVITE" and 200 <= response.status < 300:
            self._on_other_success(response, now)
        elif response.cseq_method == "CANCEL":
            self._on_cancel_response(response, now)
        # What an old try came to changes nothing.

    def on_no_response(self, transaction: Transaction, status: int, now: float) -> None:
        """A client transaction of ours has timed out (408) or could not be sent (503)."""
        if self._credentials is not None:
            self._credentials.settled(transaction.key)
        if transaction is self._invite:
            if Input.NO_RESPONSE in TRANSITIONS[self.state]:
                self._advance(Input.NO_RESPONSE)
                self._end(status, (), "local", confirmed=False)
        elif transaction is self._bye:
            self._bye = None
            self._bye_done(confirmed=False)
        elif transaction is self._probe:
            self._on_probe_response(status)

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
        self._advance(_PROVISIONAL)
        if before is GIVING_UP:
            assert self.request is not None
            self._send_cancel(self.request, now)
        if response.status == 100 or before is ENDED:
            return
        tag = response.to_tag
        if tag:
            self._early_dialog(tag, response)
        if before not in (CALLING, PROCEEDING):
            return
        if response.body:
            self.remote_body = description_in(response) or self.remote_body
        self._agent.emit(self, _PROGRESSED[response.status])

    def _early_dialog(self, tag: str, response: Response) -> None:
        if self._early is None:
            self._early = {}
        dialog = self._early.get(tag)
        if dialog is not None:
            dialog.refresh_target(response, self._agent)
        elif len(self._early) < MAX_FORKS:
            self._early[tag] = dialog = self._new_dialog(response)
            self._agent.register(dialog, self)

    def _on_success(self, response: Response, now: float) -> None:
        before = self.state
        self._advance(_SUCCESS)
        if self._ack_again(response):
            return
        if self.dialog is not None and self._is_of(self.dialog, response):
            self._send_ack(self.dialog, response)  # it comes again, with another CSeq
            return
        dialog = self._dialog_of(response)
        self._send_ack(dialog, response)
        if self.dialog is None and before is not ENDED:
            self._confirm(dialog, response, now)
        else:
            if before is ENDED:
                self._stop_alarm()  # 64*T1 after CANCEL: there is a final now
            self._clear_fork(dialog, now)

    @staticmethod
    def _is_of(dialog: Dialog, response: Response) -> bool:
        """Whether a 2xx is of this dialog of ours; an old far end has no tag (§12.1.2)."""
        return (response.to_tag or "") == dialog.id.remote_tag

    def _dialog_of(self, response: Response) -> Dialog:
        """The dialog of a 2xx: an early one, confirmed, or a new one (§13.2.2.4)."""
        dialog = self._early.pop(response.to_tag or "", None) if self._early else None
        if dialog is None:
            dialog = self._new_dialog(response)
            dialog.early = False
        else:
            dialog.confirm(response, self._agent)
        return dialog

    def _new_dialog(self, response: Response) -> Dialog:
        """The dialog of a response that is the first with its To tag."""
        request, known = self.request, self.dialog
        to = target = ""
        if request is not None:
            local, to, target = request.get("From"), request.get("To") or "", request.uri
        elif known is not None:
            local = known.local
        elif response.from_tag == self.local_tag:
            local = response.get("From")
        else:  # of an INVITE that is over, and nothing else has kept its From
            local = f"{self._agent.contact};tag={self.local_tag}"
        invite = Caller(self.call_id, self.local_tag, local or "", to, target)
        return Dialog.of_caller(response, self._hop, self._agent, invite)

    def _confirm(self, dialog: Dialog, response: Response, now: float) -> None:
        """The first 2xx: ours, or to be cleared at once when it crossed our CANCEL."""
        self.dialog = dialog
        self._status = 200
        if not isinstance(response, outgoing.OwnResponse):  # nobody probes within a process
            self.answers_options = any("OPTIONS" in value for value in response.all("Allow"))
        self._agent.register(dialog, self)
        self._settle()
        if response.body:
            self.remote_body = description_in(response) or self.remote_body
        self._agent.emit(self, _ANSWERED_EVENT)
        if self.state is not CONFIRMED:
            self._send_bye(now)

    def _clear_fork(self, dialog: Dialog, now: float) -> None:
        """Another fork answered as well, or one answered too late: nobody wants it (§13.2.2.4)."""
        self._agent.unregister(dialog)  # it may have been early
        self._request(dialog, "BYE", now)

    def _on_failure(self, response: Response, now: float) -> None:
        before = self.state
        if _FAILURE not in TRANSITIONS[before]:
            return  # a late one, after a phone has answered
        if before in (GIVING_UP, CANCELLING) and self._may_have_gone_further(response, now):
            return
        may_ring_on = self._may_ring_on(response, now)
        status, reasons = response.status, reasons_of(response)
        if before is ENDED:
            self._stop_alarm()
        elif before in (CALLING, PROCEEDING):
            if self._early:
                self._listen_on(now)
            self._advance(_FAILURE)
            self._end(status, reasons, "remote", confirmed=True)
        elif may_ring_on:
            self._advance(Input.UNPROVEN_FAILURE)
            self._status = status
            if before is GIVING_UP:
                self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)
        else:
            self._advance(_FAILURE)
            self._end(status, reasons, "local", confirmed=True)

    def _may_have_gone_further(self, response: Response, now: float) -> bool:
        """
        Whether another try of the INVITE may ring, sent before a restart: cancel that, then.

        It is so if the INVITE that we sent once more is challenged after the user has hung up.
        """
        earlier, request = self._earlier, self.request
        if response.status not in CHALLENGES or earlier is None or self._credentials is None:
            return False
        assert isinstance(request, OwnRequest)
        if earlier.known or request.cseq_number >= LAST_INVITE_CSEQ:
            return False  # the others were cancelled before
        self._advance(Input.CHALLENGE)
        following = request.again(f"{request.branch}a", request.cseq_number + 1, ())
        self._expect_tries(earlier, following)
        self._cancel_next_try(earlier, now)
        return True

    def _may_ring_on(self, response: Response, now: float) -> bool:
        """
        Whether a phone may ring on although the INVITE has this final.

        A phone's own final has the To tag of its 180 (§12.1.1). A proxy that gives up a phone which
        does not answer its CANCEL makes a final with a tag of its own; and some statuses only tell
        that a phone could not be asked. Where nothing but 100 came, nothing tells them apart.

        Of several phones each has to say it, unless a proxy answers for all (see `Cancellation`).
        """
        early, tag = self._early, response.to_tag or ""
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
        Take the answer of a phone that rings on, however late: with ACK and BYE (§13.2.2.4).

        For as long as a proxy lets a phone ring (timer C).
        """
        self._agent.listen_on(self)
        self._agent.start_timer(self._agent.timing.timer_c, self, Alarm.RANG_OUT, now)

    def _on_bye_response(self, response: Response, now: float) -> None:
        if response.status < 200:
            return
        # §15.1.1: whatever the answer, the session is over; 2xx and 481 say that it is so there.
        self._bye = None
        if response.status >= 300 and self._status == 200:
            self._status = response.status
        self._bye_done(confirmed=response.status < 300 or response.status == 481)

    def _bye_done(self, *, confirmed: bool) -> None:
        before = self.state
        self._advance(_BYE_DONE)
        if before is CLEARING:
            self._end(self._status, (), "local", confirmed=confirmed)

    def _on_probe_response(self, status: int) -> None:
        """A final response to a probe, 408 when none came, 503 when it could not be sent."""
        if status < 200:
            return
        self._probe = None
        if self.state is not CONFIRMED:
            return  # its end is under way, and tells more
        if status == 481:
            self._advance(Input.UNKNOWN_THERE)
            self._clear()
            self._agent.emit(self, Gone())
            return
        answered = status not in NOT_OF_THE_FAR_END
        if answered:
            self.answers_options = True
        else:
            self._options_silent = self.answers_options
        self._agent.emit(self, Probed(answered))

    def _on_other_success(self, response: Response, now: float) -> None:
        """A 2xx to an INVITE that was challenged before: another server asked for nothing."""
        if self._ack_again(response):
            return
        if self.dialog is not None and self._is_of(self.dialog, response):
            self._send_ack(self.dialog, response)
            return
        dialog = self._dialog_of(response)
        self._send_ack(dialog, response)
        self._clear_fork(dialog, now)

    def on_stray_success(self, response: Response, now: float) -> None:
        """
        A 2xx whose INVITE has no transaction any more: it wants its ACK (§13.2.2.4).

        The INVITE was sent before a restart, and the ACK had not left, or got lost; or the 2xx is
        that of another fork, or of a phone that rang on, which nobody wants.
        """
        if response.from_tag != self.local_tag or self._ack_again(response):
            return
        dialog = self.dialog
        if dialog is not None and self._is_of(dialog, response):
            if response.cseq_number <= dialog.local_cseq:
                self._send_ack(dialog, response)
        elif dialog is not None or self.state is ENDED:
            other = self._dialog_of(response)
            self._send_ack(other, response)
            self._clear_fork(other, now)
        elif self.state is UNPROVEN:
            self._on_success(response, now)

    # Requests, from the endpoint

    def dial(self, now: float) -> None:
        """Send the INVITE that this session was made for."""
        assert self.request is not None
        self.local_body = self.request.body
        self._invite = self._agent.send_request(self.request, self._hop, now, self)
        if self._credentials is not None:
            assert isinstance(self.request, OwnRequest)
            self._credentials.sent(Attempt(self.request, None))

    def rejoin(self) -> None:
        """
        The INVITE that this session was made for was sent before a restart: expect its responses.

        Nobody knows what was heard of it; a CANCEL need not wait, since it overtakes nothing.
        """
        assert isinstance(self.request, OwnRequest)
        self.state = PROCEEDING
        self.local_body = self.request.body
        self._earlier = EarlierTries()
        self._expect_tries(self._earlier, self.request)

    def dial_again(self, now: float) -> None:
        """The same, but for a call that goes on: send the INVITE once more."""
        self._earlier = EarlierTries()
        self.dial(now)

    def _expect_tries(self, earlier: EarlierTries, first: OwnRequest) -> None:
        """
        Expect the responses to an INVITE of before a restart, and to its tries with credentials.

        How many there were is on no record, but each of them has the branch and CSeq that
        `_try_again` gave it. The credentials are not needed to cancel it.
        """
        tries = 1 if self._credentials is None else LAST_INVITE_CSEQ + 1 - first.cseq_number
        for number in range(tries):
            request = first.again(first.branch + number * "a", first.cseq_number + number, ())
            earlier.requests[self._agent.expect(request, self._hop, self)] = request
        self._invite, self.request = next(iter(earlier.requests.items()))

    def on_invite(self, transaction: Transaction) -> None:
        """The INVITE that this session was made for has come."""
        assert self.request is not None
        self._invite = transaction
        self.remote_body = description_in(self.request)
        self.dialog = Dialog.of_callee(self.request, self.local_tag, self._hop, self._agent)
        self._agent.register(self.dialog, self)
        self._agent.emit(self, _INCOMING_EVENT)

    def on_request(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """A request in one of our dialogs: anything but ACK and CANCEL."""
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

    def on_cancel(self, request: Request, now: float) -> None:
        """A CANCEL for our INVITE; the endpoint has answered it (§9.2)."""
        before = self.state
        self._advance(Input.CANCEL)
        if before is OFFERED:
            self._respond_invite(487, now)
            self._end(487, reasons_of(request), "remote", confirmed=True)

    def on_ack(self, request: Request, now: float) -> None:
        """An ACK in our dialog: of the 2xx that we wait for, or of one acknowledged before."""
        pending = self._pending
        if pending is None or pending.cseq != request.cseq_number:
            return
        self._pending = None
        self._stop_alarm()
        before = self.state
        self._advance(_ACK)
        self.remote_body = description_in(request) or self.remote_body
        if before is ANSWERED:
            self._settle()
            self._agent.emit(self, _ANSWERED_EVENT)
        elif before is LEAVING:
            self._settle()
            self._send_bye(now)

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        """
        The ACK of a 2xx could not be sent to where the far end wants it.

        It is sent the way that the INVITE took. Without an ACK the far end would soon give up, and
        the call must not look as if it were up: it is ended then.
        """
        if self.dialog is None or self.state is ENDED:
            return
        if not self.dialog.fall_back():
            self.hang_up(now)
            return
        hop = self.dialog.hop
        if self._acks is not None:
            self._acks = [
                sent._replace(hop=hop) if sent.request is ack else sent for sent in self._acks
            ]
        self._agent.send(ack, hop)

    def on_terminated(self, transaction: Transaction) -> None:
        """Nothing of this INVITE can come again: forget what was kept for that."""
        if transaction is self._invite:
            self._invite = None
        if self._acks is not None and isinstance(transaction, ClientInvite):
            # INVITEs of a dialog follow one another, and so do their ends.
            first = self._acks[0].cseq
            self._acks = [sent for sent in self._acks if sent.cseq != first] or None

    def on_failure_acknowledged(self, transaction: Transaction) -> None:
        """The ACK of our failure has come."""
        self._refused(transaction, Input.ACK_OF_FAILURE)

    def on_no_ack(self, transaction: Transaction) -> None:
        """The ACK of our failure has not come (timer H)."""
        self._refused(transaction, Input.NO_ACK)

    def _refused(self, transaction: Transaction, what: Input) -> None:
        if transaction is not self._invite or self.state not in (REJECTING, ENDED):
            return  # of a re-INVITE
        before = self.state
        self._advance(what)
        if before is REJECTING:
            confirmed = what is Input.ACK_OF_FAILURE
            self._end(self._status, (), "local", confirmed=confirmed)

    def _on_bye(self, transaction: Transaction, request: Request, now: float) -> None:
        before = self.state
        if _BYE not in TRANSITIONS[before]:
            self._reply(transaction, request, 481, now)
            return
        self._advance(_BYE)
        self._reply(transaction, request, 200, now)
        reasons = reasons_of(request)
        if before is OFFERED:
            self._respond_invite(487, now)
            self._end(487, reasons, "remote", confirmed=True)
        elif before in (PROCEEDING, CANCELLING, UNPROVEN):
            self._bye_before_answer(before, request, now)
        elif before is CLEARING:
            self._end(self._status, reasons, "local", confirmed=True)
        else:
            by: Side = "local" if before is LEAVING else "remote"
            self._end(200, reasons, by, confirmed=True)

    def _bye_before_answer(self, before: State, bye: Request, now: float) -> None:
        """
        The far end has ended an early dialog of ours; the INVITE has to end as well.

        It speaks for its own phone only: another that rang may ring on, and be answered.
        """
        invite = self.request
        assert invite is not None
        alone = not self._early or self._early.keys() == {bye.from_tag or ""}
        if not alone:
            self._listen_on(now)
        by: Side = "remote" if before is PROCEEDING else "local"
        # Only who has answered may send it (§15): 200, lost on the way, and nobody said 487.
        self._end(self._status, reasons_of(bye), by, confirmed=alone)
        if before is PROCEEDING:
            self._send_cancel(invite, now)
        else:
            self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)

    def _on_change(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """A re-INVITE or an UPDATE; one with a body that is no description is told so (§8.2.3)."""
        try:
            offer = offer_in(request)
        except UnsupportedBody as error:
            self._reply(transaction, request, 415, now, headers=error.headers)
            return
        if request.method == "INVITE":
            self._on_reinvite(dialog, transaction, request, offer, now)
        else:
            self._on_update(dialog, transaction, request, offer, now)

    def _on_reinvite(
        self, dialog: Dialog, transaction: Transaction, request: Request, offer: bytes, now: float
    ) -> None:
        """Answer a changed offer at once (§14.2)."""
        if self.state is not CONFIRMED and self.state is not ANSWERED:
            self._reply(transaction, request, 481 if self._bye else 500, now, headers=RETRY_AFTER)
        elif self._pending is not None:
            self._reply(transaction, request, 500, now, headers=RETRY_AFTER)
        else:
            response = self._accept_change(dialog, transaction, request, offer, now)
            if response is not None:
                self._await_ack(transaction, response, now)

    def _on_update(
        self, dialog: Dialog, transaction: Transaction, request: Request, offer: bytes, now: float
    ) -> None:
        """The same for UPDATE (RFC 3311 §5.2), which has no ACK and may come early."""
        if offer and (dialog.early or self._pending is not None):
            self._reply(transaction, request, 500, now, headers=RETRY_AFTER)
        else:
            self._accept_change(dialog, transaction, request, offer, now)

    def _accept_change(
        self, dialog: Dialog, transaction: Transaction, request: Request, offer: bytes, now: float
    ) -> Response | None:
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

    # Time

    def on_alarm(self, alarm: Alarm, now: float) -> None:
        """What `start_timer` was asked for."""
        match alarm:
            case Alarm.REPEAT:
                self._alarm = None
                self._repeat(now)
            case Alarm.NO_FINAL:
                self._alarm = None
                self._on_no_final(now)
            case Alarm.ASK_AGAIN:
                self._alarm = None
                assert self._earlier is not None
                self._cancel_next_try(self._earlier, now)
            case Alarm.RANG_OUT:
                self._agent.stop_listening(self)

    def _on_cancel_response(self, response: Response, now: float) -> None:
        """
        The far end has answered our CANCEL; what the INVITE comes to counts (§9.1).

        After a restart the answer itself tells something. 481: the far end knows no such INVITE,
        which never came there, or has come to something. To what is known soon: a final that has
        had no ACK is repeated every T2 (§13.3.1.4, §17.2.1). 2xx: it knows the INVITE, so that the
        same INVITE once more is a repetition to it; which is for peers that do not repeat a final
        that went to the umd before.
        """
        if 200 <= response.status < 300:
            self._on_cancel_accepted(response)
        earlier = self._earlier
        if self.state is not CANCELLING or response.status < 200 or not earlier or not self._invite:
            return
        if self._invite not in earlier.requests or self._invite in earlier.known:
            return
        earlier.known[self._invite] = response.status != 481
        if response.status == 481:
            self._cancel_next_try(earlier, now)
        else:
            self._start_alarm(Alarm.ASK_AGAIN, self._agent.timing.t1, now)

    def _cancel_next_try(self, earlier: EarlierTries, now: float) -> None:
        """
        Cancel the next try of an INVITE of before a restart; after the last, ask what became of it.

        One after the other, since the far end may accept the CANCEL of a try that it has challenged
        a moment ago, and that means nothing for the next.
        """
        timing = self._agent.timing
        following = earlier.next_try()
        if following is not None:
            self._invite, self.request = following
            self._send_cancel(self.request, now)
        elif earlier.unknown_there:
            self._start_alarm(Alarm.NO_FINAL, timing.t1 + timing.t2, now)
        else:
            for transaction, request in earlier.requests.items():
                if earlier.known[transaction]:
                    self._agent.send(request, self._hop)
            self._start_alarm(Alarm.NO_FINAL, timing.timeout, now)

    def _is_the_last_try(
        self, earlier: EarlierTries, transaction: Transaction, response: Response, now: float
    ) -> bool:
        """
        Whether this response to a try of before a restart tells what the INVITE has come to.

        Not if it is a challenge: there may have been another try.
        """
        if response.status in CHALLENGES and len(earlier.requests) > 1:
            waiting = transaction is self._invite and transaction not in earlier.known
            earlier.known[transaction] = False
            if waiting and self.state is CANCELLING:
                self._cancel_next_try(earlier, now)
            return False
        cancelled = transaction is self._invite or transaction in earlier.known
        self._invite, self.request = transaction, earlier.requests.pop(transaction)
        self._forget_tries()
        if response.status < 200 and self.state is CANCELLING and not cancelled:
            self._send_cancel(self.request, now)
        return True

    def _forget_tries(self) -> None:
        """Expect nothing more of the tries of before a restart, but for the one that counts."""
        if self._earlier is not None:
            for transaction in self._earlier.requests:
                if transaction is not self._invite:
                    self._agent.abandon(transaction)
            self._earlier.requests.clear()

    def _on_cancel_accepted(self, response: Response) -> None:
        """Learn from the To tag whether a proxy has said so; its one final may have come before."""
        cancellation, tag = self._cancellation, response.to_tag
        if cancellation is None or tag is None or tag in cancellation.phones:
            return
        cancellation.by_a_proxy = True
        if self.state is UNPROVEN and cancellation.one_is_down:
            self._advance(_FAILURE)
            self._end(self._status, (), "local", confirmed=True)

    def _on_no_final(self, now: float) -> None:
        """64*T1 after CANCEL the INVITE is considered cancelled (§9.1)."""
        before = self.state
        unknown_there = self._earlier is not None and self._earlier.unknown_there
        self._advance(Input.NO_FINAL)
        if self._invite is not None:
            self._agent.abandon(self._invite)
        if before is CANCELLING or before is UNPROVEN:
            confirmed = unknown_there
            if not confirmed:
                self._listen_on(now)
            status = self._status  # of the final that proved nothing
            if before is CANCELLING:
                status = 487 if confirmed else 408
            self._end(status, (), "local", confirmed=confirmed)

    def _await_ack(self, transaction: Transaction, response: Response, now: float) -> None:
        """Repeat a 2xx until its ACK comes, over every transport (§13.3.1.4)."""
        timing = self._agent.timing
        self._pending = PendingAck(transaction, response, timing.t1, now + timing.timeout)
        self._start_alarm(Alarm.REPEAT, timing.t1, now)

    def _repeat(self, now: float) -> None:
        pending = self._pending
        assert pending is not None
        left = pending.deadline - now
        if pending.wait == 0.0 or left <= 0.0:
            self._pending = None
            self._status = 408
            self._settle()
            self._advance(Input.NO_ACK)
            self._send_bye(now)
            return
        if not pending.transaction.terminated:
            self._agent.respond(pending.transaction, pending.response, now)
        wait = min(2 * pending.wait, self._agent.timing.t2)
        pending.wait = wait if wait < left else 0.0
        self._alarm = self._agent.start_timer(min(wait, left), self, Alarm.REPEAT, now)

    # Steps

    def _advance(self, what: Input) -> None:
        try:
            self.state = TRANSITIONS[self.state][what]
        except KeyError:
            raise IllegalInput(f"{what.value} in state {self.state.value}") from None

    def _end(self, status: int, reasons: tuple[str, ...], by: Side, *, confirmed: bool) -> None:
        """Tell the user, once; keep only what late 2xx need."""
        if self.state is not ENDED:
            raise IllegalInput(f"an end in state {self.state.value}")
        self._clear()
        self._agent.emit(self, Ended(status, reasons, by, confirmed))

    def _clear(self) -> None:
        self._settle()
        self._pending = None
        if self.dialog is not None:
            self._agent.unregister(self.dialog)
        self._stop_probe()
        if isinstance(self._invite, ServerInvite):  # no late 2xx can come: let it linger alone
            self._invite.user = None
            self._invite = None

    def _settle(self) -> None:
        """The INVITE has come to something: forget what only it needed."""
        self._forget_tries()
        self.request = None
        self._stop_alarm()
        self._forget_early()

    def _forget_early(self) -> None:
        if self._early:
            for dialog in self._early.values():
                self._agent.unregister(dialog)
        self._early = None

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _start_alarm(self, alarm: Alarm, interval: float, now: float) -> None:
        self._stop_alarm()
        self._alarm = self._agent.start_timer(interval, self, alarm, now)

    def _stop_probe(self) -> None:
        """Send OPTIONS no more: the dialog is over, or about to be."""
        if self._probe is not None:
            if self._credentials is not None:
                self._credentials.settled(self._probe.key)
            self._agent.abandon(self._probe)
            self._probe = None

    # What a session sends

    def _respond_invite(self, status: int, now: float, body: bytes = b"") -> Response:
        """Answer the INVITE that made this session."""
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

    def _send_ack(self, dialog: Dialog, response: Response) -> None:
        """The ACK of a 2xx is a request of its own, in the dialog (§13.2.2.4)."""
        body = b""
        if response.body and not self.local_body:  # the 2xx made the offer: the ACK answers it
            offer = description_in(response)
            if offer:
                body = self.local_body = self._agent.answer_offer(self, offer) or b""
        number = response.cseq_number
        credentials = self._credentials
        headers = () if credentials is None else credentials.of_invite(number)
        ack = dialog.request("ACK", self._agent, cseq=number, headers=headers, body=body)
        sent = Ack(dialog.id.remote_tag, number, ack, dialog.hop)
        if self._acks is None:
            self._acks = [sent]
        else:
            self._acks.append(sent)
        self._agent.send(ack, dialog.hop)

    def _ack_again(self, response: Response) -> bool:
        """
        Send the ACK of a repeated 2xx once more; False when this 2xx is new.

        With `MAX_FORKS` of them a new one is passed over, as if it had got lost.
        """
        if self._acks is None:
            return False
        tag, number = response.to_tag or "", response.cseq_number
        for sent in self._acks:
            if sent.cseq == number and sent.tag == tag:
                self._agent.send(sent.request, sent.hop)
                return True
        return len(self._acks) >= MAX_FORKS

    def _send_cancel(self, invite: Request, now: float) -> None:
        """CANCEL the INVITE, and wait for what it comes to, but not for ever (§9.1)."""
        cancel = build.cancel_for(invite)
        cancel.headers[-1:-1] = _reason_headers(self._reasons)
        prompt_until = now + PROMPTLY * self._agent.timing.t1
        self._cancellation = Cancellation(frozenset(self._early or ()), prompt_until)
        self._agent.send_request(cancel, self._hop, now, self)
        self._start_alarm(Alarm.NO_FINAL, self._agent.timing.timeout, now)

    def _send_bye(self, now: float) -> None:
        assert self.dialog is not None
        if self._pending is not None:
            self._pending = None
            self._stop_alarm()
        self._stop_probe()
        headers = _reason_headers(self._reasons) if self._reasons else ()
        self._bye = self._request(self.dialog, "BYE", now, headers=headers)

    def _request(
        self,
        dialog: Dialog,
        method: str,
        now: float,
        *,
        contact: str | None = None,
        headers: Headers = (),
        body: bytes = b"",
    ) -> Transaction:
        """Send a request in a dialog, with the credentials that servers of this call asked for."""
        if self._credentials is not None:
            headers = (*self._credentials.headers(method, dialog.request_uri, body), *headers)
        request = dialog.request(method, self._agent, contact=contact, headers=headers, body=body)
        transaction = self._agent.send_request(request, dialog.hop, now, self)
        if self._credentials is not None:
            self._credentials.sent(Attempt(request, dialog))
        return transaction

    def _try_again(
        self, credentials: CredentialCache, transaction: Transaction, response: Response, now: float
    ) -> bool:
        """Answer a challenge to any request of ours; False when there is none to answer."""
        attempt = credentials.settled(transaction.key)
        if attempt is None:
            return False
        if response.status < 300:
            credentials.take_next_nonce(response)
        if (
            response.status not in CHALLENGES
            or not self._is_wanted(transaction, attempt)
            or not credentials.take_challenges(response, attempt)
        ):
            return False
        request, dialog = attempt.request, attempt.dialog
        if dialog is None:
            cseq = request.cseq_number + 1
            # Whoever can name the first branch again after a restart can so name this one.
            branch = f"{request.branch}a"
        else:
            cseq, branch = dialog.take_next_cseq(), self._agent.new_branch()
        headers = credentials.headers(request.method, request.uri, request.body)
        attempt.request = request.again(branch, cseq, headers)
        credentials.sent(attempt)
        again = self._agent.send_request(attempt.request, transaction.hop, now, self)
        self._replace(transaction, again, attempt.request)
        return True

    def _is_wanted(self, transaction: Transaction, attempt: Attempt) -> bool:
        """Whether a request that was challenged still serves a purpose."""
        if transaction is self._invite:
            return self.state in (CALLING, PROCEEDING)
        if transaction is self._bye:
            return self.state is CLEARING
        # A BYE to a fork that nobody wants has to get there, whatever has become of the session.
        return attempt.request.method == "BYE" or self.state is CONFIRMED

    def _replace(self, old: Transaction, new: Transaction, request: OwnRequest) -> None:
        """A request has been sent again: expect in `new` what was expected in `old`."""
        if old is self._invite:
            self._advance(Input.CHALLENGE)
            self._forget_early()
            self.request = request
            self._invite = new
        elif old is self._bye:
            self._advance(Input.CHALLENGE)
            self._bye = new
        elif old is self._probe:
            self._probe = new


class Cancellation:
    """
    What is known of our CANCEL, for forks.

    A proxy answers the CANCEL itself, with a To tag of its own, and passes on one final when each
    phone has sent its own (§16.7, §16.10). A phone that does not answer keeps it waiting, for 64*T1
    or a timer of its own of some seconds, and then the one final proves nothing of that phone. So
    it speaks for all phones only where it comes promptly.
    """

    __slots__ = ("phones", "prompt_until", "by_a_proxy", "one_is_down")

    def __init__(self, phones: frozenset[str], prompt_until: float) -> None:
        self.phones = phones
        """The To tags of the phones that rang when it left."""
        self.prompt_until = prompt_until
        self.by_a_proxy = False
        """Whether it was a proxy that accepted it."""
        self.one_is_down = False
        """Whether a phone's own final came promptly."""


class EarlierTries:
    """What is known of an INVITE of before a restart, and of its tries with credentials."""

    __slots__ = ("requests", "known")

    def __init__(self) -> None:
        self.requests: dict[Transaction, OwnRequest] = {}
        """The tries that there may have been, in order."""
        self.known: dict[Transaction, bool] = {}
        """Whether the far end knows a try that waits for its end, as far as it has said so."""

    def next_try(self) -> tuple[Transaction, OwnRequest] | None:
        """The first that the far end has said nothing of."""
        for item in self.requests.items():
            if item[0] not in self.known:
                return item
        return None

    @property
    def unknown_there(self) -> bool:
        """Whether the far end says that it knows none of them."""
        return bool(self.requests) and not any(self.known.get(each, True) for each in self.requests)


class Ack(NamedTuple):
    """The ACK of a 2xx, for its repetitions."""

    tag: str
    cseq: int
    request: Request
    hop: Hop


class PendingAck:
    """Our 2xx that is repeated until its ACK comes."""

    __slots__ = ("transaction", "response", "cseq", "wait", "deadline")

    def __init__(
        self, transaction: Transaction, response: Response, wait: float, deadline: float
    ) -> None:
        self.transaction = transaction
        self.response = response
        self.cseq = response.cseq_number
        self.wait = wait
        """Seconds until it goes out once more; 0 when the deadline is what we wait for."""
        self.deadline = deadline


MAX_FORKS: Final = 64
"""
How many phones of one call are kept apart: early dialogs, and answers that get an ACK.

A far end could name ever new ones, each of which costs memory and a BYE to wherever it likes.
"""
PROMPTLY: Final = 4
"""
How many T1 after the CANCEL a proxy's final still shows that every phone has answered it.

Kamailio gives a phone up after some seconds, 5 s in many a configuration (fr_timer).
"""
NOT_OF_THE_FAR_END: Final = frozenset((408, 481, 502, 503, 504))
"""Finals by which a proxy says that it could not ask the far end, or that it knows no call."""

_INCOMING_EVENT: Final = Incoming()
_ANSWERED_EVENT: Final = Answered()
_PROGRESSED: Final = {status: Progressed(status) for status in range(101, 200)}

LAST_INVITE_CSEQ: Final = 1 + MAX_TRIES
"""The CSeq of the last try of a session's first INVITE; that of its first is 1."""
KNOWN_METHODS: Final = frozenset(
    "ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE "
    "UPDATE".split()
)
ALLOW: Final[Headers] = (("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE"),)
ACCEPT: Final[Headers] = (("Accept", "application/sdp"),)
CAPABILITIES: Final[Headers] = (*ALLOW, *ACCEPT)
RETRY_AFTER: Final[Headers] = (("Retry-After", "2"),)


def reasons_of(message: Message) -> tuple[str, ...]:
    """The raw Reason values of a message (RFC 3326); a broken one does not spoil the others."""
    if message.get("Reason") is None:
        return ()
    reasons: list[str] = []
    for line in message.all("Reason"):
        try:
            values = split_list(line)
        except FieldError as error:
            message.note_flaw(f"Reason: {error}")
            values = [value.strip(" \t") for value in line.split(",", MAX_VALUES)]
        reasons += [value for value in values if value]
    return tuple(reasons[:MAX_VALUES])


def _reason_headers(reasons: Sequence[str]) -> Headers:
    return tuple(("Reason", value) for value in reasons)
