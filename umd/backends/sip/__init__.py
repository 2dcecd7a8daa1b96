"""
The backend `sip`: umd is a SIP user agent that places calls through one peer, over UDP.

The peer is a PBX, a proxy or a gateway. There is no media yet: umd offers an inactive stream. See
docs/sip.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import structlog
from twisted.internet.interfaces import IReactorTime

from umd.backend import (
    Answered,
    BackendUnavailable,
    ChecksFiles,
    Ended,
    FileTrouble,
    FoundLeg,
    Gone,
    KnownLeg,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    MessageTap,
    RestoresLegs,
    ShowsMessages,
)
from umd.backends.sip.probes import MAX_UNANSWERED_PROBES, Probes
from umd.backends.sip.section import (
    NoPassword,
    SipSection,
    read_login,
    read_password,
    uri_to,
)
from umd.backends.sip.silence import Silence
from umd.backends.sip.udp import UdpPort
from umd.backends.sip_legs import SipLegs, UnreadableRecord, read_record
from umd.call.call import CallState
from umd.call.cause import INVALID_NUMBER_FORMAT, RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.config.values import MIN_INTERVAL
from umd.errors import UmdError
from umd.sip.credentials import Login
from umd.sip.endpoint import Endpoint
from umd.sip.fields import uri_host
from umd.sip.message import Message
from umd.sip.number import NotDialable
from umd.sip.session import Session
from umd.sip.timing import Timing
from umd.sip.transaction import Hop

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SipBackend", "SipSection"]

SELDOM_FACTOR: Final = 5
"""
Probe intervals, in units of `probe_interval`, for a far end that does not list OPTIONS in Allow.

SIPp without `-aa` is such a far end: OPTIONS makes it drop the call.
"""
MAX_EARLY_SILENCE: Final = 180.0
"""
Seconds without a message from the far end after which an unanswered call is cancelled at a restart.

This is timer C, with which a proxy gives up; it restarts with each 18x (RFC 3261 §16.6, §16.7).
"""
UNAVAILABLE: Final = 480
"""
The answer to every incoming call, since umd accepts none.

486 is not suitable: a caller who hears busy tries again, or asks to be called back.
"""


class CannotStart(UmdError):
    """The backend cannot open its UDP port or read its password file."""


class SipBackend(LegBackend, ShowsMessages, RestoresLegs, ChecksFiles):
    """One SIP user agent, with one UDP port."""

    Settings = SipSection

    def __init__(self, name: str, settings: BaseModel, clock: IReactorTime) -> None:
        assert isinstance(settings, SipSection)
        self.settings = settings
        self.port: UdpPort | None = None
        """The UDP port; None unless the backend is started."""
        self.endpoint: Endpoint | None = None
        """The SIP core on that port, which tests and benchmarks count by."""
        self._name = name
        self._clock = clock
        self._log = structlog.get_logger().bind(backend=name)
        self._sink: LegSink | None = None
        self._legs: SipLegs | None = None
        self._silence = Silence("")
        self._from = ""
        self._login: Login | None = None
        self._known: list[KnownLeg] = []
        """Legs of before a restart, until `start` restores them."""
        self._has_journal = False
        """Whether the next start of umd can restore the legs of this one."""
        self._unrecorded: set[LegId] = set()
        """Answered legs whose leg record could not be written: no later umd can end them."""
        self._tap: MessageTap | None = None
        self._probes: list[Probes] = []
        """Two queues: legs whose far end lists OPTIONS in Allow, and all others."""

    @classmethod
    def check_files(cls, settings: BaseModel) -> Iterator[FileTrouble]:
        assert isinstance(settings, SipSection)
        file = settings.password_file
        if file is not None:
            try:
                read_password(file)
            except NoPassword as error:
                yield "password_file", file, str(error)

    def capture_to(self, tap: MessageTap) -> None:
        self._tap = tap

    async def start(self, sink: LegSink) -> None:
        settings = self.settings
        port = UdpPort(self._clock, self._log, fallback=settings.peer)
        try:
            self._login = read_login(settings)
            listening = port.listen(settings.listen.host, settings.listen.port)
        except UmdError as error:
            raise CannotStart(f"backend.{self._name}: {error}") from error
        host = settings.advertise or uri_host(listening.host)
        self._from = settings.from_ or f"sip:umd@{host}"
        self._silence = Silence(host)
        self.endpoint = endpoint = Endpoint(
            host,
            listening.port,
            _new_id,
            timing=Timing(t1=settings.t1),
            answer_offer=self._silence.answer,
        )
        if self._tap is not None:
            tap, local = self._tap, Hop(host, listening.port)
            endpoint.heard = lambda message, source: tap(source, local, message)
            port.on_sent = lambda message, target: tap(local, target, message)
        endpoint.flawed = self._on_flaws
        self.port = port
        self._sink = sink
        self._legs = legs = SipLegs(
            endpoint, self._report, self._refuse, self._when_recorded, self._restore, self._probed
        )
        if settings.probe_interval is not None:
            interval = settings.probe_interval
            self._probes = [
                Probes(self._clock, factor * interval, self._probe, self._give_up)
                for factor in (1, SELDOM_FACTOR)
            ]
        port.serve(endpoint, legs.report_events, legs.messages_to_send)
        known, self._known = self._known, []
        for leg in known:
            try:
                self._restore_at_start(leg)
            except Exception as error:
                # This leg is lost. The others must still be restored.
                self._log.exception("sip.leg-not-restored", leg=leg.leg, why=repr(error))
        self._probe_restored(known)
        port.pump()

    async def stop(self) -> None:
        """
        Close the port.

        A leg that no later umd can end gets one BYE or CANCEL; its answer is not awaited. Without a
        journal these are all legs, otherwise the answered legs without a leg record.
        """
        port, self.port = self.port, None
        legs, self._legs = self._legs, None
        self._sink = None
        for probes in self._probes:
            probes.stop()
        self._probes = []
        if port is None or legs is None:
            return
        ending = self._unrecorded if self._has_journal else [leg for leg, _, _ in legs.states()]
        for leg in list(ending):
            self._end_at_stop(legs, leg)
        self._unrecorded.clear()
        await port.close()

    def _end_at_stop(self, legs: SipLegs, leg: LegId) -> None:
        try:
            legs.hang_up(leg, Cause(by=EndedBy.DAEMON), self._clock.seconds())
        except Exception:
            # A bug in the code for this leg. The others must still be ended.
            self._log.exception("sip.leg-not-ended", leg=leg)
        legs.release(leg)

    async def legs(self) -> Sequence[FoundLeg]:
        if self._legs is None:
            return []
        return [
            FoundLeg(leg=leg, state=state, number=number)
            for leg, state, number in self._legs.states()
        ]

    def leg_record(self, leg: LegId) -> bytes | None:
        if self._legs is None:
            return None
        try:
            return self._legs.record(leg)
        except Exception:
            self._unrecorded.add(leg)
            raise

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        self._has_journal = True
        self._known = list(known)

    def _restore_at_start(self, leg: KnownLeg) -> None:
        """Restore a leg of before a restart if possible; otherwise it is lost."""
        assert self._legs is not None
        if leg.record is not None:
            try:
                read_record(leg.record)
            except UnreadableRecord as error:
                self._not_restored(leg, str(error))
            else:
                self._legs.add_dormant(leg)
        elif leg.state is CallState.CONNECTED:
            # A new INVITE would be another call to a far end that has answered.
            self._not_restored(leg, "it was answered, but its leg record could not be written")
        else:
            self._restore_early(leg)

    def _not_restored(self, leg: KnownLeg, why: str) -> None:
        self._log.error("sip.leg-not-restored", leg=leg.leg, why=why)

    def _restore(self, leg: KnownLeg) -> None:
        """Create the session of a restored leg, which is needed now."""
        assert self._legs is not None and leg.record is not None
        try:
            requests_since = self._requests_since(leg)
            self._legs.restore(leg.leg, leg.record, self._login, requests_since=requests_since)
        except UnreadableRecord as error:
            self._not_restored(leg, str(error))

    def _requests_since(self, leg: KnownLeg) -> int:
        """Return an upper bound of the requests sent in the dialog since the leg was answered."""
        bye = leg.state is CallState.DISCONNECTING
        probes = int(leg.age / MIN_INTERVAL) + 1
        return probes + bye

    def _restore_early(self, leg: KnownLeg) -> None:
        """Restore a leg that was not answered as far as the journal says."""
        if leg.state is CallState.DISCONNECTING:
            # Not with an INVITE: a far end that has ended the call would take it for a new one.
            self._place(leg.leg, leg.number, sent_before=True)
        elif leg.quiet_for < MAX_EARLY_SILENCE:
            # To a far end that has the INVITE this is a retransmission.
            self._place(leg.leg, leg.number, again=True)
        else:
            self._place(leg.leg, leg.number, sent_before=True)
            cause = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
            assert self._legs is not None
            if leg.leg in self._legs:
                self._legs.hang_up(leg.leg, cause, self._clock.seconds())

    def place(self, leg: LegId, number: str) -> None:
        self._place(leg, number)

    def _place(
        self, leg: LegId, number: str, *, sent_before: bool = False, again: bool = False
    ) -> None:
        legs, port = self._running()
        try:
            uri = uri_to(number, self.settings.template)
        except NotDialable as error:
            self._log.warning("sip.not-diallable", leg=leg, why=str(error))
            cause = Cause(by=EndedBy.DAEMON, q850=INVALID_NUMBER_FORMAT)
            self._report(Ended(leg, cause, confirmed=True))
            return
        legs.place(
            leg,
            uri,
            self.settings.peer,
            self._clock.seconds(),
            from_=self._from,
            body=self._silence.offer(leg),
            routes=self.settings.routes,
            login=self._login,
            repeatable=self._has_journal,
            sent_before=sent_before,
            again=again,
        )
        port.pump()

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        legs, port = self._running()
        legs.hang_up(leg, cause, self._clock.seconds())
        port.pump()

    def _running(self) -> tuple[SipLegs, UdpPort]:
        if self._legs is None or self.port is None:
            raise BackendUnavailable(f"{self._name} is not started")
        return self._legs, self.port

    def _report(self, event: LegEvent) -> None:
        if isinstance(event, (Ended, Gone)):
            self._unrecorded.discard(event.leg)
            for probes in self._probes:
                probes.discard(event.leg)
        elif self._probes and isinstance(event, Answered):
            self._probes_for(event.leg).add(event.leg)
        if self._sink is not None:
            self._sink.leg_event(event)

    def _on_flaws(self, message: Message, source: Hop) -> None:
        """Log the ignored faults of a message, for the maintainer of the far end."""
        self._log.debug(
            "sip.flaw-ignored",
            flaws=list(message.flaws),
            message=message.start_line[:200],
            sip_call_id=message.get("Call-ID"),
            peer=f"{uri_host(source.host)}:{source.port}",
        )

    def _probe(self, leg: LegId) -> None:
        legs, port = self._running()
        legs.probe(leg, self._clock.seconds())
        port.pump()

    def _probes_for(self, leg: LegId) -> Probes:
        listed, unlisted = self._probes
        return listed if self._legs is not None and self._legs.answers_options(leg) else unlisted

    def _probe_restored(self, known: Sequence[KnownLeg]) -> None:
        """Schedule probes of restored legs: at once if the far end lists OPTIONS in Allow."""
        if not self._probes or self._legs is None:
            return
        listed, unlisted = self._probes
        answered = [
            leg for leg in known if leg.state is CallState.CONNECTED and leg.leg in self._legs
        ]
        list_options = {
            leg.leg for leg in answered if leg.record and read_record(leg.record).answers_options
        }
        listed.add_restored([leg.leg for leg in answered if leg.leg in list_options], 0.0)
        unlisted.add_restored(
            [leg.leg for leg in answered if leg.leg not in list_options], unlisted.interval
        )

    def _probed(self, leg: LegId, answered: bool) -> None:
        """
        Note the outcome of a probe.

        Silence is ignored for a far end that does not list OPTIONS in Allow: it may not support it.
        """
        if self._probes and (answered or (self._legs and self._legs.answers_options(leg))):
            self._probes_for(leg).note_outcome(leg, answered)

    def _give_up(self, leg: LegId) -> None:
        """
        Hang up a leg whose far end answers no probe (RFC 3261 §12.2.1.2).

        The BYE informs a far end that still receives, and its answer proves that it does.
        """
        legs, _ = self._running()
        self._log.warning("sip.far-end-silent", leg=leg, unanswered=MAX_UNANSWERED_PROBES)
        cause = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
        legs.hang_up(leg, cause, self._clock.seconds())

    def _when_recorded(self, leg: LegId) -> None:
        if self._sink is not None:
            self._sink.when_recorded(self._let_go, leg)

    def _let_go(self, leg: LegId) -> None:
        if self._legs is not None and self.port is not None:
            self._legs.release(leg)
            self.port.pump()

    def _refuse(self, session: Session) -> None:
        """Refuse an incoming call."""
        assert session.request is not None
        self._log.info(
            "sip.call-refused",
            status=UNAVAILABLE,
            to=session.request.uri,
            sip_call_id=session.call_id,
        )
        session.reject(UNAVAILABLE, self._clock.seconds())


def _new_id() -> str:
    """Return a random token for tags and branches, which must not be guessable (RFC 3261 §19.3)."""
    return secrets.token_hex(8)
