"""
Calls over SIP: umd is a user agent of its own, over UDP, that places calls by way of one peer.

The peer is a PBX, a proxy or a gateway; what it says is what is reported. There is no media yet:
umd offers a stream that nobody sends on. See docs/sip.md.
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
from umd.backends.sip.probes import UNANSWERED_LIMIT, Probes
from umd.backends.sip.section import (
    MIN_PROBE_INTERVAL,
    NoPassword,
    SipSection,
    read_login,
    read_password,
    uri_host,
    uri_to,
)
from umd.backends.sip.silence import Silence
from umd.backends.sip.udp import UdpPort
from umd.backends.sip_legs import SipLegs, UnreadableRecord, read_record
from umd.call.call import CallState
from umd.call.cause import INVALID_NUMBER_FORMAT, RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.errors import UmdError
from umd.sip.credentials import Login
from umd.sip.endpoint import Endpoint
from umd.sip.message import Message
from umd.sip.number import NotDialable
from umd.sip.session import Session
from umd.sip.timing import Timing
from umd.sip.transaction import Hop

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SipBackend", "SipSection"]

UNLISTED_FACTOR: Final = 5
"""
A far end that did not list OPTIONS in Allow is asked after this many times `probe_interval`.

SIPp without `-aa` is such a one: OPTIONS makes it drop the call.
"""
EARLY_FOR: Final = 180.0
"""
Seconds since a call that nobody answered was last heard of, for which it may still be waited for
after a restart: timer C, with which a proxy gives up, and which begins anew with each 18x
(RFC 3261 §16.6, §16.7). One that is quiet for longer is cancelled, in case it rings all the same.
"""
UNAVAILABLE: Final = 480
"""
The answer to every call that comes in: umd takes none.

Not 486: a caller who hears busy tries again, or asks to be called back.
"""


class CannotStart(UmdError):
    """Its address cannot be had, or its password not be read."""


class SipBackend(LegBackend, ShowsMessages, RestoresLegs, ChecksFiles):
    """One SIP user agent."""

    Settings = SipSection

    def __init__(self, name: str, settings: BaseModel, clock: IReactorTime) -> None:
        assert isinstance(settings, SipSection)
        self.settings = settings
        self.port: UdpPort | None = None
        """Where it is reached, while it is started."""
        self.endpoint: Endpoint | None = None
        """What speaks there; for counting."""
        self._name = name
        self._clock = clock
        self._log = structlog.get_logger().bind(backend=name)
        self._sink: LegSink | None = None
        self._legs: SipLegs | None = None
        self._silence = Silence("")
        self._from = ""
        self._login: Login | None = None
        self._known: list[KnownLeg] = []
        """Legs of before a restart, until they are taken up."""
        self._kept = False
        """Whether legs are taken up again after a restart."""
        self._unrecorded: set[LegId] = set()
        """Answered legs of which no record could be made: no later umd can end them."""
        self._tap: MessageTap | None = None
        self._probes: list[Probes] = []
        """While it is started: of far ends that answer OPTIONS, and of those that may not."""

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
            tap, here = self._tap, Hop(host, listening.port)
            endpoint.heard = lambda message, source: tap(source, here, message)
            port.said = lambda message, target: tap(here, target, message)
        endpoint.flawed = self._on_flaws
        self.port = port
        self._sink = sink
        self._legs = legs = SipLegs(
            endpoint, self._report, self._refuse, self._when_recorded, self._restore, self._probed
        )
        if settings.probe_interval is not None:
            often = settings.probe_interval
            self._probes = [
                Probes(self._clock, interval, self._probe, self._give_up)
                for interval in (often, UNLISTED_FACTOR * often)
            ]
        port.serve(endpoint, legs.report_events, legs.messages_to_send)
        known, self._known = self._known, []
        for leg in known:
            try:
                self._take_up(leg)
            except Exception as error:
                # It is lost; the others go on.
                self._log.exception("sip.leg-not-restored", leg=leg.leg, why=repr(error))
        self._probe_restored(known)
        port.pump()

    async def stop(self) -> None:
        """
        Close the port.

        What no later umd can end gets one BYE or CANCEL, and it is not waited for what that comes
        to: every call where no journal is kept, else those of which no record could be made.
        """
        port, self.port = self.port, None
        legs, self._legs = self._legs, None
        self._sink = None
        for probes in self._probes:
            probes.stop()
        self._probes = []
        if port is None or legs is None:
            return
        ending = self._unrecorded if self._kept else [leg for leg, _, _ in legs.states()]
        for leg in list(ending):
            self._end_at_stop(legs, leg)
        self._unrecorded.clear()
        await port.close()

    def _end_at_stop(self, legs: SipLegs, leg: LegId) -> None:
        try:
            legs.hang_up(leg, Cause(by=EndedBy.DAEMON), self._clock.seconds())
        except Exception:
            # Of this call: the others are ended all the same.
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
        self._kept = True
        self._known = list(known)

    def _take_up(self, leg: KnownLeg) -> None:
        """Go on with a leg, where that can be; else it is lost."""
        assert self._legs is not None
        if leg.record is not None:
            try:
                read_record(leg.record)
            except UnreadableRecord as error:
                self._not_restored(leg, str(error))
            else:
                self._legs.add_dormant(leg)
        elif leg.state is CallState.CONNECTED:
            # To dial it again would be another call to a far end that has answered.
            self._not_restored(leg, "it was answered, and no record of that could be made")
        else:
            self._take_up_early(leg)

    def _not_restored(self, leg: KnownLeg, why: str) -> None:
        self._log.error("sip.leg-not-restored", leg=leg.leg, why=why)

    def _restore(self, leg: KnownLeg) -> None:
        """Somebody touches a leg of before a restart."""
        assert self._legs is not None and leg.record is not None
        try:
            requests_since = self._requests_since(leg)
            self._legs.restore(leg.leg, leg.record, self._login, requests_since=requests_since)
        except UnreadableRecord as error:
            self._not_restored(leg, str(error))

    def _requests_since(self, leg: KnownLeg) -> int:
        """How many requests may have left in the dialog of a leg since it was answered, at most."""
        bye = leg.state is CallState.DISCONNECTING
        probes = int(leg.age / MIN_PROBE_INTERVAL) + 1
        return probes + bye

    def _take_up_early(self, leg: KnownLeg) -> None:
        """Go on with a leg that was not answered, as far as anybody knows."""
        if leg.state is CallState.DISCONNECTING:
            # No INVITE any more: a far end that is done with it would take it for another call.
            self._place(leg.leg, leg.number, sent_before=True)
        elif leg.quiet_for < EARLY_FOR:
            # To a far end that has heard of it this is the same INVITE once more.
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
            repeatable=self._kept,
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
        """A far end's flaws that cost nothing: for who wants to mend the far end."""
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
        often, seldom = self._probes
        return often if self._legs is not None and self._legs.answers_options(leg) else seldom

    def _probe_restored(self, known: Sequence[KnownLeg]) -> None:
        """What has become of calls while no umd ran is asked at once where the far end answers."""
        if not self._probes or self._legs is None:
            return
        often, seldom = self._probes
        up = [leg for leg in known if leg.state is CallState.CONNECTED and leg.leg in self._legs]
        listed = {leg.leg for leg in up if leg.record and read_record(leg.record).answers_options}
        often.add_restored([leg.leg for leg in up if leg.leg in listed], 0.0)
        seldom.add_restored([leg.leg for leg in up if leg.leg not in listed], seldom.interval)

    def _probed(self, leg: LegId, answered: bool) -> None:
        """
        What a probe came to.

        No call is given up for the silence of a far end that may not know OPTIONS at all.
        """
        if self._probes and (answered or (self._legs and self._legs.answers_options(leg))):
            self._probes_for(leg).came_to(leg, answered)

    def _give_up(self, leg: LegId) -> None:
        """
        A far end has not answered: for this end the dialog is over (RFC 3261 §12.2.1.2).

        A BYE tells a far end that does hear, and shows whether it does.
        """
        legs, _ = self._running()
        self._log.warning("sip.far-end-silent", leg=leg, unanswered=UNANSWERED_LIMIT)
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
        """A call has come in."""
        assert session.request is not None
        self._log.info(
            "sip.call-refused",
            status=UNAVAILABLE,
            to=session.request.uri,
            sip_call_id=session.call_id,
        )
        session.reject(UNAVAILABLE, self._clock.seconds())


def _new_id() -> str:
    """For tags and branches: nobody may guess them (RFC 3261 §19.3)."""
    return secrets.token_hex(8)
