"""The legs of one SIP endpoint: leg verbs become session verbs, session events leg events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from umd.backend import (
    Answered,
    Ended,
    Gone,
    KnownLeg,
    LegEvent,
    LegId,
    LegInUse,
    NoSuchLeg,
    Progressed,
)
from umd.backends.sip_legs.cause import cause_of
from umd.backends.sip_legs.record import UnreadableRecord, read_record, write_record
from umd.call.call import CallState
from umd.call.cause import Cause
from umd.sip import session as sip
from umd.sip.credentials import MAX_RETRIES, Login
from umd.sip.dialog import Dialog, DialogId
from umd.sip.endpoint import Endpoint
from umd.sip.fields import MAGIC_COOKIE, FieldError, NameAddr, Uri
from umd.sip.message import MessageError
from umd.sip.session import Session, State
from umd.sip.transaction import Hop, Send

UNKNOWN_THERE: Final = "the far end answered 481 to a probe: it does not have the call any more"

_STATES: Final = {
    State.CONFIRMED: CallState.CONNECTED,
    State.CLEARING: CallState.CONNECTED,
}


class SipLegs:
    """
    The legs of one endpoint.

    The driver of the endpoint calls `report_events` after each step, and sends what
    `messages_to_send` returns.

    With `when_recorded`, nothing leaves for an answered leg until the answer is recorded. umd may
    die at any moment, and the far end repeats its 2xx until it gets the ACK (RFC 3261 §13.3.1.4).
    If umd dies before the record, it gets the 2xx again for the INVITE that it repeats after the
    restart. If umd dies after the record, it knows the dialog. Had the ACK left before the record,
    the far end would no longer answer the INVITE, and umd would not know the dialog. The last
    messages of a leg, for example the ACK of a 487, wait for the record of its end in the same way.

    Args:
        endpoint: The endpoint of the sessions.
        report: Called with each event of a leg.
        incoming: Called with the session of each call received; without it such a call gets no
            final response.
        when_recorded: Called with a leg after an event was reported; has to call `release` for that
            leg once the event is recorded. Without it nothing is recorded, and nothing waits.
        restore: Called with a leg given to `add_dormant` when its session is needed; has to restore
            the session with `restore` or `adopt`, or to leave the leg.
        probed: Called with a leg, and whether its far end answered, after `probe`.
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
        """By Call-ID, the messages that wait until an event is recorded."""
        self._released: list[Send] = []
        """The messages that waited and may leave."""
        endpoint.restored = self._session_of
        self._dormant: dict[LegId, KnownLeg] = {}
        """Legs from before a restart that have no session yet."""
        self._restore = restore
        self._probed = probed
        self._sessions: dict[LegId, Session] = {}
        self._alerting: set[LegId] = set()
        self._hang_up_causes: dict[LegId, Cause] = {}
        """The cause given for each leg that is being hung up."""

    def __len__(self) -> int:
        return len(self._sessions) + len(self._dormant)

    def __contains__(self, leg: object) -> bool:
        return leg in self._sessions or leg in self._dormant

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
        Send an INVITE with the leg's name as its Call-ID.

        The arguments that are not listed here are those of `Endpoint.place`.

        Args:
            repeatable: Derive tag and branch from the name of the leg, so that the same INVITE can
                be sent again after a restart. They are as hard to guess as the name.
            sent_before: The INVITE was sent before a restart. Only expect its responses.
            again: The INVITE may have been sent before a restart. Send it again.

        Raises:
            LegInUse: The Call-ID of a live leg. The far end of that leg would not be hung up.
        """
        if leg in self._sessions or leg in self._dormant:
            raise LegInUse(f"there is a SIP session for leg {leg} already")
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
        End a leg with CANCEL or BYE, and the cause in a Reason header (RFC 3326).

        Raises:
            NoSuchLeg: There is no session for the leg.
        """
        session = self._session_of(leg)
        if session is None:
            raise NoSuchLeg(f"there is no SIP session for leg {leg}")
        if leg not in self._hang_up_causes:
            self._hang_up_causes[leg] = cause
            session.hang_up(now, reasons=(f"Q.850;cause={cause.q850}",))

    def answers_options(self, leg: LegId) -> bool:
        """Return whether the far end lists OPTIONS in Allow, or has answered a probe."""
        session = self._session_of(leg)
        return session is not None and session.answers_options

    def probe(self, leg: LegId, now: float) -> None:
        """Ask the far end of a connected leg whether it still has the call."""
        session = self._session_of(leg)
        if session is not None:
            session.probe(now)

    def record(self, leg: LegId) -> bytes | None:
        """Return the record from which `restore` restores a leg; None until it is answered."""
        if leg in self._dormant:
            return self._dormant[leg].record
        session = self._sessions.get(leg)
        if session is None or session.dialog is None:
            return None
        answers_options = session.answers_options
        return write_record(session.dialog, session.local_body, answers_options=answers_options)

    def restore(
        self, leg: LegId, record: bytes, login: Login | None = None, *, requests_since: int = 0
    ) -> None:
        """
        Restore a leg that was answered before a restart.

        Args:
            leg: The leg.
            record: Its record, as the method `record` returned it.
            login: Credentials for challenges to requests of the leg.
            requests_since: The most requests that may have left in its dialog since the record was
                made. The next one gets a higher CSeq than all of them (RFC 3261 §12.2.1.1).

        Raises:
            UnreadableRecord: The record is malformed, or no request can be sent by it.
        """
        fields = read_record(record)
        try:
            dialog = Dialog.restored(
                DialogId(leg, fields.local_tag, fields.remote_tag),
                fields.local,
                fields.remote,
                fields.invite_hop,
                target=fields.target,
                routes=fields.routes,
                local_cseq=fields.local_cseq + requests_since * _numbers_used(login),
                remote_cseq=fields.remote_cseq,
            )
        except (FieldError, MessageError) as error:
            raise UnreadableRecord(f"no request can be sent: {error}") from error
        session = self.endpoint.restore(dialog, body=fields.body, login=login)
        session.answers_options = fields.answers_options
        self.adopt(leg, session)

    def add_dormant(self, leg: KnownLeg) -> None:
        """
        Add a leg that was answered before a restart, without a session.

        It costs the memory of its record. It is restored when it is hung up or probed, or when the
        far end sends a request in its dialog.
        """
        self._dormant[leg.leg] = leg

    def adopt(self, leg: LegId, session: Session) -> None:
        """Use a session of the endpoint for a leg."""
        session.user = leg
        self._sessions[leg] = session

    def dialog_of(self, leg: LegId) -> Dialog | None:
        """Return the dialog of an answered leg, or None."""
        session = self._session_of(leg)
        return None if session is None else session.dialog

    def states(self) -> Iterator[tuple[LegId, CallState, str]]:
        """Yield `(leg, state, user part of the remote address)` for each live leg."""
        for leg, session in self._sessions.items():
            early = CallState.ALERTING if leg in self._alerting else CallState.CONNECTING
            yield leg, _STATES.get(session.state, early), _remote_user(session)
        for leg, known in self._dormant.items():
            yield leg, CallState.CONNECTED, known.number

    def messages_to_send(self) -> list[Send]:
        """Return the endpoint's messages that may leave now, in order, and forget them."""
        sends = self.endpoint.messages_to_send()
        if self._held:
            sends = [send for send in sends if not self._hold(send)]
        if self._released:
            sends = self._released + sends
            self._released = []
        return sends

    def release(self, leg: LegId) -> None:
        """Let the next `messages_to_send` return what waited: the event of the leg is recorded."""
        self._released += self._held.pop(leg, ())

    def _hold(self, send: Send) -> bool:
        try:
            held = self._held.get(send.message.call_id)
        except MessageError:
            return False  # a refusal of a request without a Call-ID
        if held is None:
            return False
        if all(waiting.message is not send.message for waiting in held):  # a repetition waits once
            held.append(send)
        return True

    def _session_of(self, call_id: str) -> Session | None:
        """Return the session of a leg, whose name is its Call-ID; restore a dormant one."""
        if self._dormant:
            known = self._dormant.pop(LegId(call_id), None)
            if known is not None and self._restore is not None:
                self._restore(known)
        return self._sessions.get(LegId(call_id))

    def report_events(self) -> None:
        """
        Report the events since the last call.

        An exception of a callee is raised after all events are reported, so that it does not cost
        the other legs theirs.
        """
        first_error: Exception | None = None
        while (session_and_event := self.endpoint.next_event()) is not None:
            try:
                self._report_event(*session_and_event)
            except Exception as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error

    def _report_event(self, session: Session, event: sip.Event) -> None:
        leg = session.user
        if leg is None:  # a call received
            if isinstance(event, sip.Incoming) and self.incoming is not None:
                self.incoming(session)
            return
        assert isinstance(leg, str)
        self._report_leg_event(LegId(leg), event)

    def _report_leg_event(self, leg: LegId, event: sip.Event) -> None:
        match event:
            case sip.Progressed():
                if leg not in self._alerting:
                    self._alerting.add(leg)
                    self.report(Progressed(leg))
            case sip.Answered():
                self._alerting.discard(leg)
                self._report_and_hold(Answered(leg))
            case sip.Ended():
                del self._sessions[leg]
                self._alerting.discard(leg)
                cause = cause_of(event, self._hang_up_causes.pop(leg, None))
                if self.endpoint.has_to_send:
                    self._report_and_hold(Ended(leg, cause, event.confirmed))
                else:
                    self.report(Ended(leg, cause, event.confirmed))
            case sip.Probed():
                if self._probed is not None:
                    self._probed(leg, event.answered)
            case sip.Gone():
                del self._sessions[leg]
                self._hang_up_causes.pop(leg, None)
                self.report(Gone(leg, UNKNOWN_THERE))
            case sip.Incoming():
                pass

    def _report_and_hold(self, event: Answered | Ended) -> None:
        """Report an event, and hold the messages of its leg until the event is recorded."""
        if self.when_recorded is None:
            self.report(event)
            return
        self._held.setdefault(event.leg, [])
        try:
            self.report(event)
        finally:  # even if the record fails, the far end gets its ACK and its BYE
            self._release_when_recorded(event.leg, self.when_recorded)

    def _release_when_recorded(self, leg: LegId, when_recorded: Callable[[LegId], None]) -> None:
        try:
            when_recorded(leg)
        except Exception:
            self.release(leg)
            raise


def _numbers_used(login: Login | None) -> int:
    """Return how many CSeq numbers a request may have used: one, and one per challenge."""
    return 1 if login is None else 1 + MAX_RETRIES


def _derived(purpose: str, leg: LegId) -> str:
    """Return a token for one purpose that always follows from the name of the leg."""
    octets = leg.encode("utf-8", "surrogateescape")
    return blake2b(octets, digest_size=8, person=purpose.encode()).hexdigest()


def _remote_user(session: Session) -> str:
    """Return the user part of the remote URI, or `""`; a far end may send any To."""
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
