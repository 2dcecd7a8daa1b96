"""Legs carried by SIP sessions: the backend door's words to the session's verbs, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from umd.backend import Answered, Ended, Gone, KnownLeg, LegEvent, LegId, NoSuchLeg, Progressed
from umd.call.call import CallState
from umd.call.cause import (
    INTERWORKING,
    NORMAL_CLEARING,
    Q850_OF_STATUS,
    RECOVERY_ON_TIMER_EXPIRY,
    Cause,
    EndedBy,
)
from umd.errors import UmdError
from umd.sip import session as sip
from umd.sip.credentials import MAX_TRIES, Login
from umd.sip.dialog import Dialog, DialogId
from umd.sip.endpoint import Endpoint
from umd.sip.fields import (
    MAGIC_COOKIE,
    MAX_CSEQ,
    FieldError,
    NameAddr,
    Uri,
    find_reason,
)
from umd.sip.message import MessageError
from umd.sip.session import Session, State
from umd.sip.transaction import Hop, Send
from umd.text import dump_json, load_json

REQUEST_TIMEOUT: Final = 408
REQUEST_TERMINATED: Final = 487

UNKNOWN_THERE: Final = "asked about the call, the far end answered 481: it knows it no more"

_STATES: Final = {
    State.CONFIRMED: CallState.CONNECTED,
    State.CLEARING: CallState.CONNECTED,
}


class UnreadableRecord(UmdError):
    """What is on record of a leg cannot be gone on with."""


class SipLegs:
    """
    The legs of one endpoint.

    Whoever drives the endpoint calls `report_events` after each step, and sends what
    `messages_to_send` gives.

    Once a leg is answered nothing of it leaves until that is on record. The far end repeats its 2xx
    until it has the ACK (RFC 3261 §13.3.1.4), so that umd can die at any moment: before, the next
    one gets the 2xx for the INVITE that it sends again; after, it knows the dialog. An ACK that
    went out before would leave a far end that answers the INVITE no more, and a dialog nobody
    knows. So it is with the last that a leg sends, the ACK of a 487 for example.

    Args:
        endpoint: carries them.
        report: is told what becomes of them.
        incoming: is given each call that comes in and that nobody asked for; without it such a call
            is left alone.
        when_recorded: sees to it that `let_go` is called for a leg when what was reported of it is
            on record; without it nothing is put on record.
        restore: gives a leg that `rest` was told of its session, by `adopt`, or leaves it.
        probed: is told what `probe` came to, and whether the far end answered.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        report: Callable[[LegEvent], None],
        incoming: Callable[[Session], None] | None = None,
        when_recorded: Callable[[LegId], None] | None = None,
        restore: Callable[[KnownLeg], object] | None = None,
        probed: Callable[[LegId, bool], object] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.report = report
        self.incoming = incoming
        self.when_recorded = when_recorded
        self._held: dict[str, list[Send]] = {}
        """By Call-ID, what waits until the answer to it is on record."""
        self._let_go: list[Send] = []
        endpoint.restored = self._session_of
        self._resting: dict[LegId, KnownLeg] = {}
        """Legs of before a restart that nobody has touched since: they have no session yet."""
        self._restore = restore
        self._probed = probed
        self._sessions: dict[LegId, Session] = {}
        self._alerting: set[LegId] = set()
        self._asked: dict[LegId, Cause] = {}
        """Why each leg that is being hung up was asked to end."""

    def __len__(self) -> int:
        return len(self._sessions) + len(self._resting)

    def __contains__(self, leg: object) -> bool:
        return leg in self._sessions or leg in self._resting

    def place(
        self,
        leg: LegId,
        uri: str,
        hop: Hop,
        now: float,
        *,
        from_: str,
        body: bytes = b"",
        routes: Sequence[str] = (),
        login: Login | None = None,
        repeatable: bool = False,
        sent_before: bool = False,
        again: bool = False,
    ) -> None:
        """
        Send an INVITE whose Call-ID is the leg's name; the rest as `Endpoint.place` has it.

        Args:
            repeatable: let tag and branch follow from the name of the leg, so that the same INVITE
                can be sent again after a restart. They are as hard to guess as that is.
            sent_before: it was sent before a restart: expect what it comes to, and send nothing.
            again: it may have been sent before a restart.
        """
        session = self.endpoint.place(
            uri,
            hop,
            now,
            from_=from_,
            call_id=leg,
            body=body,
            routes=routes,
            login=login,
            tag=_derived("tag", leg) if repeatable else None,
            branch=MAGIC_COOKIE + _derived("branch", leg) if repeatable else None,
            sent_before=sent_before,
            again=again,
        )
        session.user = leg
        self._sessions[leg] = session

    def hang_up(self, leg: LegId, cause: Cause, now: float) -> None:
        """
        End a leg; the session picks CANCEL or BYE, with the cause in a Reason header (RFC 3326).

        Raises:
            NoSuchLeg
        """
        session = self._session_of(leg)
        if session is None:
            raise NoSuchLeg(f"there is no SIP session for leg {leg}")
        if leg not in self._asked:
            self._asked[leg] = cause
            session.hang_up(now, reasons=(f"Q.850;cause={cause.q850}",))

    def answers_options(self, leg: LegId) -> bool:
        """Whether the far end of a leg that is up has said or shown that it answers OPTIONS."""
        session = self._session_of(leg)
        return session is not None and session.answers_options

    def probe(self, leg: LegId, now: float) -> None:
        """Ask the far end whether it still knows a leg that is up."""
        session = self._session_of(leg)
        if session is not None:
            session.probe(now)

    def record(self, leg: LegId) -> bytes | None:
        """What `restore` needs of a leg that was answered; None before that."""
        if leg in self._resting:
            return self._resting[leg].record
        session = self._sessions.get(leg)
        dialog = None if session is None else session.dialog
        if session is None or dialog is None:
            return None
        name = dialog.id
        return dump_json(
            [
                name.local_tag,
                name.remote_tag,
                dialog.local,
                dialog.remote,
                list(dialog.last),
                dialog.target,
                dialog.routes,
                dialog.local_cseq,
                dialog.remote_cseq,
                session.local_body.decode("latin-1"),
                session.answers_options,
            ]
        )

    def restore(
        self, leg: LegId, record: bytes, login: Login | None = None, *, requests_since: int = 0
    ) -> None:
        """
        Go on with a leg that was answered before a restart.

        Args:
            requests_since: how many requests may have left in its dialog since the record was made,
                at most. The next one has a higher CSeq than all of them (RFC 3261 §12.2.1.1).

        Raises:
            UnreadableRecord: `record` is not what `record` gave.
        """
        read = read_record(record)
        try:
            dialog = Dialog.restored(
                DialogId(leg, read.local_tag, read.remote_tag),
                read.local,
                read.remote,
                read.last,
                self.endpoint,
                target=read.target,
                routes=read.routes,
                local_cseq=read.local_cseq + requests_since * _numbers_used(login),
                remote_cseq=read.remote_cseq,
            )
        except (FieldError, MessageError) as error:
            raise UnreadableRecord(f"no request can be sent by it: {error}") from error
        session = self.endpoint.restore(dialog, body=read.body, login=login)
        session.answers_options = read.answers_options
        self.adopt(leg, session)

    def rest(self, leg: KnownLeg) -> None:
        """
        Know a leg that was answered before a restart.

        It takes a record's memory and no time until somebody hangs it up or the far end asks for
        something in its dialog: then it is restored.
        """
        self._resting[leg.leg] = leg

    def adopt(self, leg: LegId, session: Session) -> None:
        """Let a session of the endpoint carry a leg."""
        session.user = leg
        self._sessions[leg] = session

    def dialog_of(self, leg: LegId) -> Dialog | None:
        """The dialog of a leg that was answered."""
        session = self._session_of(leg)
        return None if session is None else session.dialog

    def states(self) -> Iterator[tuple[LegId, CallState, str]]:
        """Every live leg: its name, its state, and the user part of its address."""
        for leg, session in self._sessions.items():
            early = CallState.ALERTING if leg in self._alerting else CallState.CONNECTING
            yield leg, _STATES.get(session.state, early), _remote_user(session)
        for leg, known in self._resting.items():
            yield leg, CallState.CONNECTED, known.number

    def messages_to_send(self) -> list[Send]:
        """What the endpoint has to send and may leave, in order."""
        sends = self.endpoint.messages_to_send()
        if self._held:
            sends = [send for send in sends if not self._hold(send)]
        if self._let_go:
            sends = self._let_go + sends
            self._let_go = []
        return sends

    def let_go(self, leg: LegId) -> None:
        """The answer is on record: what was held may leave, by the next `messages_to_send`."""
        self._let_go += self._held.pop(leg, ())

    def _hold(self, send: Send) -> bool:
        try:
            held = self._held.get(send.message.call_id)
        except MessageError:
            return False  # a refusal of something that has none
        if held is None:
            return False
        if all(one.message is not send.message for one in held):  # a repetition waits once
            held.append(send)
        return True

    def _session_of(self, call_id: str) -> Session | None:
        """The session of a leg, whose Call-ID is its name; restored now, if that is to be done."""
        if self._resting:
            known = self._resting.pop(LegId(call_id), None)
            if known is not None and self._restore is not None:
                self._restore(known)
        return self._sessions.get(LegId(call_id))

    def report_events(self) -> None:
        """
        Tell what has happened since the last call.

        What somebody raises who is told is raised when everything is told: the other legs must not
        pay for it.
        """
        failed: Exception | None = None
        while (happened := self.endpoint.next_event()) is not None:
            try:
                self._report_event(*happened)
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _report_event(self, session: Session, event: sip.Event) -> None:
        leg = session.user
        if leg is None:  # a call that came in
            if isinstance(event, sip.Incoming) and self.incoming is not None:
                self.incoming(session)
            return
        assert isinstance(leg, str)
        self._report_one(LegId(leg), event)

    def _report_one(self, leg: LegId, event: sip.Event) -> None:
        match event:
            case sip.Progressed():
                if leg not in self._alerting:
                    self._alerting.add(leg)
                    self.report(Progressed(leg))
            case sip.Answered():
                self._alerting.discard(leg)
                self._until_recorded(Answered(leg))
            case sip.Ended():
                del self._sessions[leg]
                self._alerting.discard(leg)
                cause = cause_of(event, self._asked.pop(leg, None))
                if self.endpoint.has_to_send:
                    self._until_recorded(Ended(leg, cause, event.confirmed))
                else:
                    self.report(Ended(leg, cause, event.confirmed))
            case sip.Probed():
                if self._probed is not None:
                    self._probed(leg, event.answered)
            case sip.Gone():
                del self._sessions[leg]
                self._asked.pop(leg, None)
                self.report(Gone(leg, UNKNOWN_THERE))
            case sip.Incoming():
                pass

    def _until_recorded(self, event: Answered | Ended) -> None:
        """Report it, and let nothing of this leg leave until it is on record."""
        if self.when_recorded is None:
            self.report(event)
            return
        self._held.setdefault(event.leg, [])
        try:
            self.report(event)
        finally:  # whatever comes of the record, the far end gets its ACK and its BYE
            self._let_go_when_recorded(event.leg, self.when_recorded)

    def _let_go_when_recorded(self, leg: LegId, when_recorded: Callable[[LegId], None]) -> None:
        try:
            when_recorded(leg)
        except Exception:
            self.let_go(leg)
            raise


class LegRecord(NamedTuple):
    """What is on record of a leg that was answered, in the order it is written."""

    local_tag: str
    remote_tag: str
    local: str
    """The From of our requests, as it left; `remote` is the To, as it came."""
    remote: str
    last: Hop
    target: str
    routes: tuple[str, ...]
    local_cseq: int
    remote_cseq: int
    body: bytes
    answers_options: bool = False
    """Not in a record that an older umd has made."""


def read_record(record: bytes) -> LegRecord:
    """
    Read what `SipLegs.record` gave.

    Raises:
        UnreadableRecord
    """
    try:
        fields = load_json(record)
        local_tag, remote_tag, local, remote, last, target, routes, ours, theirs, body = fields[:10]
        answers_options = fields[10] is True if len(fields) > 10 else False
        texts = (local_tag, remote_tag, local, remote, target, body, *routes)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a text that is none")
        if not (_is_cseq(ours, 0) and _is_cseq(theirs, -1)):
            raise ValueError("a CSeq that is out of range")
        return LegRecord(
            local_tag, remote_tag, local, remote, _read_hop(*last), target, tuple(routes),
            ours, theirs, body.encode("latin-1"), answers_options,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise UnreadableRecord(f"its record cannot be read: {error}") from None


def _is_cseq(number: Any, least: int) -> bool:
    # One less than can be: the request that ends the call needs a number too.
    return isinstance(number, int) and least <= number < MAX_CSEQ


def _read_hop(host: Any, port: Any, transport: Any = "UDP", flow: Any = 0) -> Hop:
    numbers = isinstance(port, int) and 0 < port < 65536 and isinstance(flow, int)
    if not (numbers and isinstance(host, str) and isinstance(transport, str)):
        raise ValueError("a next hop that is none")
    return Hop(host, port, transport, flow)


def _numbers_used(login: Login | None) -> int:
    """How many CSeq numbers a request may have used: one, and one more for each challenge."""
    return 1 if login is None else 1 + MAX_TRIES


def _derived(what: str, leg: LegId) -> str:
    octets = leg.encode("utf-8", "surrogateescape")
    return blake2b(octets, digest_size=8, person=what.encode()).hexdigest()


def _remote_user(session: Session) -> str:
    """Whom a session was placed to, as far as its URI tells; a far end may call itself anything."""
    try:
        if session.request is not None:
            uri = session.request.uri
        elif session.dialog is not None:
            uri = NameAddr.parse(session.dialog.remote).uri
        else:
            return ""
        return Uri.parse(uri).user or ""
    except FieldError:
        return ""


def cause_of(ended: sip.Ended, asked: Cause | None) -> Cause:
    """
    Say why a session ended.

    Args:
        ended: what the session said last.
        asked: the cause it was asked to end with, if it was.
    """
    failed = ended.status if ended.status >= 300 else None
    if ended.by == "remote":
        q850 = _q850_of(ended.reasons)
        if q850 is None:
            q850 = NORMAL_CLEARING if failed is None else Q850_OF_STATUS.get(failed, INTERWORKING)
        return Cause(by=EndedBy.FAR_END, q850=q850, sip_status=failed, reasons=ended.reasons)
    by = EndedBy.DAEMON if asked is None else asked.by
    if not ended.confirmed:
        status = failed or REQUEST_TIMEOUT
        q850 = RECOVERY_ON_TIMER_EXPIRY  # of a 487 too, which a proxy has made
        if status != REQUEST_TERMINATED:
            q850 = Q850_OF_STATUS.get(status, q850)
        return Cause(by=by, q850=q850, sip_status=status, reasons=ended.reasons)
    if asked is None:
        q850 = Q850_OF_STATUS.get(ended.status, NORMAL_CLEARING)
    else:
        q850 = asked.q850
    return Cause(by=by, q850=q850, sip_status=ended.status, reasons=ended.reasons)


def _q850_of(reasons: Sequence[str]) -> int | None:
    """The Q.850 cause that a far end gave in a Reason header, or that its SIP status stands for."""
    found = [reason for reason in map(find_reason, reasons) if reason is not None]
    for reason in found:
        if reason.protocol.upper() == "Q.850" and reason.cause in range(1, 128):
            return reason.cause
    for reason in found:
        if reason.protocol.upper() == "SIP" and reason.cause is not None:
            if reason.cause in Q850_OF_STATUS:
                return Q850_OF_STATUS[reason.cause]
    return None
