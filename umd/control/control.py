"""The use cases: place a call, end a call; the only writer of lifecycle events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime

from umd.backend import (
    BackendUnavailable,
    CarriesMedia,
    FoundLeg,
    Gone,
    KnownLeg,
    LegBackend,
    LegEvent,
    LegId,
    Media,
    NoSuchLeg,
    RestoresLegs,
)
from umd.call.call import Call, CallInput, CallState, HangUp, IllegalEvent
from umd.call.call_id import CallId, make_call_id
from umd.call.cause import (
    NETWORK_OUT_OF_ORDER,
    NO_ANSWER,
    NO_USER_RESPONDING,
    RECOVERY_ON_TIMER_EXPIRY,
    Cause,
    EndedBy,
)
from umd.call.events import Connected, Disconnected, LifecycleEvent, Lost
from umd.call.leg import Ended
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.errors import (
    BackendFailed,
    JournalUnavailable,
    NoSuchBackend,
    NoSuchCall,
    Stopping,
)
from umd.control.journal import CallJournal
from umd.control.leases import Leases, Limit
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.errors import UmdError
from umd.runtime.clock import Alarms
from umd.timers import Timer
from umd.trace.summary import CallSummaries

HANG_UP_AGAIN: Final = 5.0
"""Seconds after which a backend that failed to end a call is told again."""
LEASE_AGAIN: Final = 5.0
"""Seconds after which a call is ended that could not be when its lease was over."""
OURSELVES: Final = Principal("", "")
"""Who asks for the end of a call whose lease is over."""
LONGEST_LEG_NAME: Final = 255
LONGEST_FOUND_NUMBER: Final = 1024
TOLD_AT_ONCE: Final = 256
"""Calls found again after a restart of which that is put on record in one turn."""


class UnusableLeg(UmdError):
    """A leg that a backend carries and that cannot be a call; the others can."""


class Counts(NamedTuple):
    """Calls, counted; `begun` is `ended` and `live` together, at every moment."""

    begun: int
    """Placed, found or recovered."""
    ended: int
    live: int
    refused_events: int
    """Reports of backends of what cannot be, a second end of a call for example."""
    miscounts: int
    """How often the sum was wrong when a call had ended: a mistake of umd's own."""

    @property
    def right(self) -> bool:
        return self.begun == self.ended + self.live and not self.miscounts


class Teardown:
    """The end of one call under way, and who waits for it."""

    __slots__ = ("call", "waiting", "deadline", "recorded", "reached_backend", "again", "expired")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.waiting: dict[Deferred[Outcome], None] = {}
        """In the order they came; a dict, as thousands may leave at once."""
        self.deadline: Timer[Teardown] | None = None
        self.recorded = False
        """That it was asked for is on record; before that nothing is done about it."""
        self.reached_backend = False
        """The backend took the command; until then the intent is kept for it."""
        self.again: Timer[Teardown] | None = None
        """When a backend that has failed is told again."""
        self.expired = False
        """The deadline has passed: whoever asks now is told at once that it is unconfirmed."""

    def settled(self) -> Deferred[Outcome]:
        """Fires when it is known what became of it; who does not wait any more cancels it."""
        slot: Deferred[Outcome] = Deferred(self._leave)
        self.waiting[slot] = None
        return slot

    def _leave(self, slot: Deferred[Outcome]) -> None:
        self.waiting.pop(slot, None)


class Placement:
    """A call that is to be dialled, and the request that waits for it."""

    __slots__ = ("call", "media", "withdrawn", "refused", "_waiting")

    def __init__(self, call: Call, media: Media | None) -> None:
        self.call = call
        self.media = media
        self.withdrawn = False
        """Its client was told that it could not be recorded: it must not be dialled any more."""
        self.refused: BackendUnavailable | None = None
        """Why its backend did not dial it."""
        self._waiting: Deferred[None] | None = None

    async def dialled(self) -> None:
        """Return when its backend was told to dial it, or raise why not."""
        if self.refused is None:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self.refused is not None:
            raise self.refused

    def settle(self) -> None:
        """It was dialled, or refused, or never will be: answer its client."""
        if self._waiting is not None:
            self._waiting.callback(None)

    def withdraw(self, error: JournalUnavailable) -> None:
        """Answer its client, if one waits, that it cannot be recorded, and never dial it."""
        if self._waiting is not None:
            self.withdrawn = True
            self._waiting.errback(error)


class BackendLink:
    """What control knows of one backend, and the sink the backend reports to."""

    def __init__(self, name: str, backend: LegBackend, control: Control) -> None:
        self.name = name
        self.backend = backend
        self.carries_media = backend if isinstance(backend, CarriesMedia) else None
        self.down: str | None = None
        """Why it cannot be reached; None while it can."""
        self.calls: dict[LegId, Call] = {}
        """Its live calls."""
        self.recovered: list[tuple[Call, bytes | None, float]] = []
        """
        Those that the journal knew, until the backend has been asked for its legs: with the last
        record of the leg, and when it was last heard of.
        """
        self.restores: RestoresLegs | None = None
        if control.journal.durable and isinstance(backend, RestoresLegs):
            self.restores = backend
        self.started = False
        self._control = control

    def leg_event(self, event: LegEvent) -> None:
        self._control.leg_event(self, event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        self._control.when_recorded(then, argument)

    def backend_down(self, reason: str) -> None:
        self._control.backend_down(self, reason)

    def backend_up(self) -> None:
        self._control.backend_up(self)


class Control:
    """
    One `Call` per id, one teardown per call, one end event per call.

    Args:
        backends: by the name of their section, the one that places calls by default first.
        node: the name of this daemon in the ids it issues.
        clock: for deadlines; monotonic.
        wall: the time written into events, seconds since the epoch.
        journal: makes each lifecycle event durable before it is acted on; `NullJournal` where
            nothing is kept.
        log: for what backends do wrong.
        make_leg_name: names the legs of calls that umd places.
        wire: notes the messages of each live call, which go on record with its end.
    """

    def __init__(
        self,
        *,
        backends: Mapping[str, LegBackend],
        node: str,
        clock: IReactorTime,
        wall: Callable[[], float],
        journal: CallJournal,
        log: FilteringBoundLogger,
        settings: ControlSettings | None = None,
        make_leg_name: Callable[[], str] = lambda: str(uuid4()),
        wire: CallSummaries | None = None,
    ) -> None:
        self.settings = settings or ControlSettings()
        """May be replaced while running."""
        self.node = node
        self.journal = journal
        self.links = {name: BackendLink(name, backend, self) for name, backend in backends.items()}
        self.illegal_events = 0
        """How often a backend reported what cannot be, a second end of a call for example."""
        self.begun = 0
        """Calls that were placed, found or recovered, since umd started."""
        self.over = 0
        """Those of them that have ended."""
        self.miscounts = 0
        """How often `begun` was not `over` and the live calls together: a mistake of ours."""
        self.wire = wire
        self._leases = Leases(clock, wall, self._lease_over)
        self._leased: list[Call] = []
        """Calls of before the restart that have leases, until those count on."""
        self._clock = clock
        self._wall = wall
        self._log = log
        self._authorisation = Authorisation(log)
        self._make_leg_name = make_leg_name
        self._calls: dict[CallId, Call] = {}
        self._teardowns: dict[CallId, Teardown] = {}
        self._ended: deque[tuple[float, CallId]] = deque()
        """`(when by the clock, call)` in the order they ended."""
        self._deadlines: Alarms[Teardown] = Alarms(clock, self._deadline_passed)
        self._failed: Alarms[Teardown] = Alarms(clock, self._hang_up_again)
        """Teardowns that a backend has failed to carry out."""
        self._placements: dict[CallId, Placement] = {}
        """Calls that are not dialled yet, or could not be, until `dialled` was told why."""
        self._homeless: list[Call] = []
        """Recovered calls whose backend is not configured any more."""
        self._found_again: deque[Call] = deque()
        """Calls of before the restart that go on; it is not on record yet that they do."""
        self._accepting = True
        self._drained: Deferred[None] | None = None

    # -- the use cases

    async def start(self) -> None:
        """
        Start every backend and take up the legs that are there.

        Raises:
            BackendFailed: one cannot be started; those before it run, until `stop`.
        """
        while self._homeless:
            call = self._homeless.pop()
            self._lose(call, _why_homeless(call))
        for link in self.links.values():
            try:
                self._restore(link)
                await link.backend.start(link)
                link.started = True
                await self._take_up(link)
            except CancelledError:
                raise
            except UmdError as error:
                raise BackendFailed(f"backend {link.name}: {error}") from error
            except Exception as error:
                self._log.exception("backend.failed", backend=link.name)
                raise BackendFailed(f"backend {link.name} failed: {error!r}") from error
        leased, self._leased = self._leased, []
        self._leases.resume(leased)

    async def stop(self) -> None:
        """Stop every backend that was started, the last one first, whatever one of them does."""
        self._deadlines.stop()
        self._failed.stop()
        self._leases.stop()
        for link in reversed(self.links.values()):
            if not link.started:
                continue
            link.started = False
            try:
                await link.backend.stop()
            except CancelledError:
                raise
            except Exception:
                self._log.exception("backend.failed", backend=link.name)

    def place(
        self,
        principal: Principal,
        number: str,
        *,
        backend: str | None = None,
        media: Media | None = None,
        request_id: str = "",
    ) -> Call:
        """
        Dial `number` on a backend, the first one by default.

        Args:
            media: what is to be heard once it is answered, where the backend carries media.

        Returns:
            The call, connecting. It is dialled once its record is durable; await `dialled` next.

        Raises:
            MayNotPlace, Stopping, NoSuchBackend, JournalUnavailable: nothing was dialled.
        """
        self._authorisation.require_place(principal, request_id)
        if not self._accepting:
            raise Stopping("umd is stopping and places no more calls")
        self._must_be_recordable()
        link = self._link(backend)
        leg = LegId(self._make_leg_name())
        call = Call(
            id=make_call_id(leg, self.node),
            leg=leg,
            backend=link.name,
            number=number,
            owner=principal.name,
            at=self._wall(),
            max_age=self.settings.max_age,
            ring_time=self.settings.ring_time,
        )
        placed = call.place(request_id)
        self._take(link, call)
        if self.wire is not None:  # of a call that is found not before its end is asked for
            self.wire.begin(call.leg)
        placement = self._placements[call.id] = Placement(call, media)
        self.journal.append(call, placed, None, self._dial_recorded, placement)
        return call

    async def dialled(self, call: Call) -> None:
        """
        Return when a call that `place` gave is on record and its backend was told to dial it.

        Whoever is told the CallId must not be told before.

        Raises:
            BackendUnavailable: it could not be dialled, and has ended.
            JournalUnavailable: it cannot be put on record at the moment. It is never dialled.
        """
        placement = self._placements.get(call.id)
        if placement is not None:
            try:
                await placement.dialled()
            finally:
                self._placements.pop(call.id, None)

    async def disconnect(
        self,
        principal: Principal,
        call_id: CallId,
        request_id: str = "",
        by: EndedBy = EndedBy.CLIENT,
    ) -> Outcome:
        """
        End a call in whatever state it is, and say so when it is true.

        However many ask, there is one teardown, and each gets the same answer.

        Returns:
            Once the far end confirmed, or the deadline has passed.

        Raises:
            NoSuchCall: umd does not know the id, or the call is not theirs; nothing was done.
            BackendUnavailable: what carries it cannot be reached. The intent is kept, and carried
                out when it is back.
            JournalUnavailable: the intent cannot be put on record. If that is known before, nothing
                was done; else it is carried out once it is on record.
        """
        call = self.find(call_id)
        self._authorisation.require_end(principal, call, request_id)
        if call.ended:
            return await self._ended_before(call)
        teardown = self._teardown(call, principal, request_id, by)
        if call.ended and call.id not in self._teardowns:
            return _outcome(call)
        if teardown.recorded and not teardown.reached_backend:
            raise _unavailable(self.links[call.backend])
        if teardown.expired:
            return Outcome.ENDED_UNCONFIRMED
        return await teardown.settled()

    def inform(self, principal: Principal, call_id: CallId) -> Call:
        """
        The record of a call, live or ended and still remembered, for who may see it.

        Raises:
            NoSuchCall: there is none, or it is not theirs.
        """
        call = self.find(call_id)
        self._authorisation.require_read(principal, call)
        return call

    def find(self, call_id: CallId) -> Call:
        """
        The call of this id, live or ended and still remembered.

        Raises:
            NoSuchCall: there is none.
        """
        call = self._calls.get(call_id)
        if call is not None and call.ended:
            self._forget_old()
            call = self._calls.get(call_id)
        if call is None:
            raise NoSuchCall(f"no call {call_id!r}")
        return call

    def live_calls(self) -> Iterator[Call]:
        """The calls that have not ended, in the order they were taken."""
        for link in self.links.values():
            yield from link.calls.values()

    @property
    def known(self) -> int:
        """How many calls are kept, live and ended."""
        return len(self._calls)

    @property
    def live(self) -> int:
        """How many calls have not ended."""
        live = len(self._homeless)
        for link in self.links.values():
            live += len(link.calls)
        return live

    def counts(self) -> Counts:
        """What has been counted since umd started."""
        return Counts(self.begun, self.over, self.live, self.illegal_events, self.miscounts)

    def known_calls(self) -> list[Call]:
        """The calls that `find` finds: the live ones, and those that ended and are remembered."""
        self._forget_old()
        return list(self._calls.values())

    async def drain(self) -> None:
        """Take no new calls, and return when no teardown is under way."""
        self._accepting = False
        if self._teardowns:
            self._drained = Deferred()
            await self._drained

    def dismiss(self) -> None:
        """Answer whoever still waits that it is not known: umd is about to stop."""
        for teardown in list(self._teardowns.values()):
            self._answer(teardown, None)

    # -- what the journal tells

    def recover(self, call: Call, leg_record: bytes | None, heard_at: float = 0.0) -> None:
        """
        Take over a call that the journal knows, live or ended, before `start`.

        The live ones are looked for by `start`, and end as `Lost` where they are not to be found.

        Args:
            leg_record: the last that its backend gave to be kept of the leg.
            heard_at: when something was last heard of a live one, by the wall clock; 0.0: when it
                began.
        """
        self._calls[call.id] = call
        if call.ended:
            self._ended.append((self._clock.seconds() - (self._wall() - call.ended_at), call.id))
            return
        self.begun += 1
        link = self.links.get(call.backend)
        if link is None:
            self._homeless.append(call)
            return
        link.calls[call.leg] = call
        link.recovered.append((call, leg_record, heard_at or call.began_at))
        if call.max_age or call.ring_time:
            self._leased.append(call)

    def journal_failed(self, why: str) -> None:
        """Nothing can be put on record: whoever waits for that is told so."""
        for teardown in list(self._teardowns.values()):
            if not teardown.recorded or teardown.call.ended:
                self._answer(teardown, None)
        for placement in list(self._placements.values()):
            placement.withdraw(JournalUnavailable(why))

    # -- what backends report

    def leg_event(self, link: BackendLink, event: LegEvent) -> None:
        """A backend reported something; what cannot be is logged and changes nothing."""
        call = link.calls.get(event.leg)
        if call is None:
            self._illegal(link, event, "no live call has this leg")
        elif isinstance(event, Gone):
            self._lose(call, event.reason)
        else:
            self._apply(link, call, event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        """Call `then(argument)` once everything so far is durable; at once without a journal."""
        self.journal.flush(then, argument)

    def backend_down(self, link: BackendLink, reason: str) -> None:
        """Whoever waits for this backend is told so; what they asked for is kept."""
        if link.down is not None:
            return
        link.down = reason
        self._log.warning("backend.down", backend=link.name, reason=reason)
        for teardown in self._teardowns_of(link):
            self._not_reached(teardown)

    def backend_up(self, link: BackendLink) -> None:
        """What was asked for while it was away is carried out."""
        if link.down is None:
            return
        link.down = None
        pending = [t for t in self._teardowns_of(link) if not t.reached_backend]
        self._log.info("backend.up", backend=link.name, teardowns=len(pending))
        for teardown in pending:
            # What one of them brings about may end another, or the link.
            goes_on = self._teardowns.get(teardown.call.id) is teardown
            if goes_on and link.down is None and not teardown.reached_backend:
                self._hang_up(link, teardown)
        if link.started:
            _ = ensureDeferred(self._take_up_later(link))

    # -- one call

    async def _take_up(self, link: BackendLink) -> None:
        """Take up the legs a backend carries; while it cannot be asked, at its `backend_up`."""
        try:
            found = self._usable(link, await link.backend.legs())
        except BackendUnavailable as error:
            self.backend_down(link, str(error))
            return
        recovered, link.recovered = link.recovered, []
        states = {leg.leg: leg.state for leg in found} if recovered else {}
        tell = not self._found_again
        for call, _, _ in recovered:
            state = states.get(call.leg)
            if call.ended:
                continue
            if state is None:
                self._lose(call, f"backend {link.name} does not carry it any more")
            elif state is call.state:
                self._found_again.append(call)
            else:
                self._resume_known(link, call, state)
        known = {call.leg for call, _, _ in recovered if call.ended}
        for leg in found:
            if leg.leg not in link.calls and leg.leg not in known:
                try:
                    self._resume(link, leg)
                except UnusableLeg as error:
                    self._refuse_leg(link, leg, error)
        if tell and self._found_again:
            self._tell_found_again()

    def _usable(self, link: BackendLink, found: Iterable[FoundLeg]) -> list[FoundLeg]:
        """Without the legs that can be no calls."""
        usable = []
        for leg in found:
            try:
                _check_found(leg)
            except UnusableLeg as error:
                self._refuse_leg(link, leg, error)
            else:
                usable.append(leg)
        return usable

    def _refuse_leg(self, link: BackendLink, leg: FoundLeg, why: UnusableLeg) -> None:
        name = getattr(leg, "leg", None)
        self._log.error("backend.leg-refused", backend=link.name, leg=name, why=str(why))

    def _restore(self, link: BackendLink) -> None:
        """Give a backend what the journal has of its legs."""
        if link.restores is None:
            return
        now = self._wall()
        known = (
            KnownLeg(
                leg=call.leg,
                state=call.state,
                number=call.number,
                age=max(0.0, now - call.began_at),
                record=leg_record,
                quiet_for=max(0.0, now - heard_at),
            )
            for call, leg_record, heard_at in link.recovered
        )
        link.restores.restore(known, anew=not self._calls)

    def _resume_known(self, link: BackendLink, call: Call, state: CallState) -> None:
        """A call of before the restart goes on; what was asked for and not done is done now."""
        self._write(call, call.resume_as(state, self._wall()))
        if call.state is CallState.DISCONNECTING:
            teardown = self._teardowns[call.id] = Teardown(call)
            teardown.recorded = True
            self._hang_up(link, teardown)

    def _tell_found_again(self, nothing: None = None) -> None:
        """
        Put on record of some calls that they go on as they were; of the others when that is done.

        Nothing waits for it, and what somebody asks for meanwhile is not to wait behind it.
        """
        calls, now = self._found_again, self._wall()
        for call in [calls.popleft() for _ in range(min(TOLD_AT_ONCE, len(calls)))]:
            if not call.ended:
                self._write(call, call.resume_as(call.state, now))
        if calls:
            self.when_recorded(self._tell_found_again, None)

    def _lose(self, call: Call, reason: str) -> None:
        lost = call.lose(reason, self._wall())
        link = self.links.get(call.backend)
        if link is not None:
            del link.calls[call.leg]
        self._end(call, lost)

    async def _take_up_later(self, link: BackendLink) -> None:
        try:
            await self._take_up(link)
        except Exception:
            self._log.exception("backend.failed", backend=link.name)

    def _resume(self, link: BackendLink, found: FoundLeg) -> None:
        call = Call(
            id=_call_id_of(found, link),
            leg=found.leg,
            backend=link.name,
            number=found.number[:LONGEST_FOUND_NUMBER],
            owner="",
            at=self._wall(),
            state=found.state,
            max_age=self.settings.max_age,
            ring_time=self.settings.ring_time,
        )
        if call.id in self._calls:
            self._log.error("backend.leg-refused", backend=link.name, leg=call.leg, call=call.id)
            return
        self._take(link, call)
        self._write(call, call.resume(), self._leg_record(link, call))

    def _take(self, link: BackendLink, call: Call) -> None:
        self.begun += 1
        self._calls[call.id] = call
        link.calls[call.leg] = call
        if call.max_age or call.ring_time:
            self._leases.grant(call)

    def _dial_recorded(self, placement: Placement) -> None:
        """The record of its placing is durable: the call may leave."""
        call = placement.call
        link = self.links[call.backend]
        if placement.withdrawn or call.state is not CallState.CONNECTING:
            # Nothing of it has left: its client got a fault, or somebody has asked for its end.
            if not call.ended:
                cause = call.cause or Cause(by=EndedBy.DAEMON, q850=NETWORK_OUT_OF_ORDER)
                self.leg_event(link, Ended(call.leg, cause, confirmed=True))
        else:
            placement.refused = self._dial(link, placement)
        if placement.refused is None:
            self._placements.pop(call.id, None)
        placement.settle()

    def _dial(self, link: BackendLink, placement: Placement) -> BackendUnavailable | None:
        """Hand a call to its backend; gives back why it was not dialled."""
        call, media = placement.call, placement.media
        try:
            if media is not None and link.carries_media is not None:
                link.carries_media.place_with_media(call.leg, call.number, media)
            else:
                link.backend.place(call.leg, call.number)
            return None
        except BackendUnavailable as error:
            refused = error
        except Exception:
            self._log.exception("backend.failed", backend=link.name, call=call.id)
            refused = BackendUnavailable(f"backend {link.name} has failed")
        # It is on record that it was tried: so is that it came to nothing.
        if not call.ended:
            failed = Cause(by=EndedBy.DAEMON, q850=NETWORK_OUT_OF_ORDER)
            self.leg_event(link, Ended(call.leg, failed, confirmed=True))
        return refused

    def _teardown(
        self,
        call: Call,
        principal: Principal,
        request_id: str,
        by: EndedBy,
        limit: Limit | None = None,
    ) -> Teardown:
        """Join the teardown of a live call, or begin it."""
        teardown = self._teardowns.get(call.id)
        if teardown is not None:
            if teardown.recorded and not teardown.reached_backend:
                self._hang_up(self.links[call.backend], teardown)
            return teardown
        self._must_be_recordable()
        teardown = self._teardowns[call.id] = Teardown(call)
        if self.wire is not None:
            self.wire.begin(call.leg)
        cause = Cause(by=by) if limit is None else _cause_of(limit, call)
        requested = call.apply(HangUp(cause, principal.name, request_id, limit), self._wall())
        assert requested is not None
        teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        self.journal.append(call, requested, None, self._carry_out, teardown)
        return teardown

    def _carry_out(self, teardown: Teardown) -> None:
        """The record of the request is durable: it may be carried out."""
        teardown.recorded = True
        if not teardown.call.ended:
            self._hang_up(self.links[teardown.call.backend], teardown)

    def _hang_up(self, link: BackendLink, teardown: Teardown) -> None:
        """Hand the command to the backend, or keep the intent while it cannot be reached."""
        call = teardown.call
        assert call.cause is not None
        was_down = link.down is not None
        teardown.reached_backend = True
        if not teardown.expired and teardown.deadline is None:
            teardown.deadline = self._deadlines.start(self.settings.deadline, teardown)
        try:
            link.backend.hang_up(call.leg, call.cause)
            if was_down:
                self.backend_up(link)
        except NoSuchLeg:
            # Nobody saw it end: it is over, and nothing confirms it.
            self._log.error("backend.leg-lost", backend=link.name, call=call.id, leg=call.leg)
            lost = Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
            self.leg_event(link, Ended(call.leg, lost, confirmed=False))
        except BackendUnavailable as error:
            self._not_reached(teardown)
            self.backend_down(link, str(error))
        except Exception:
            # A mistake of the backend's: nobody knows what it has done, so nothing is believed.
            self._log.exception("backend.failed", backend=link.name, call=call.id, leg=call.leg)
            if teardown.again is None:
                teardown.again = self._failed.start(HANG_UP_AGAIN, teardown)
            self._not_reached(teardown)

    def _hang_up_again(self, teardown: Teardown) -> None:
        """A backend that failed is told once more; one that is down is told when it is back."""
        teardown.again = None
        call = teardown.call
        link = self.links[call.backend]
        if not call.ended and not teardown.reached_backend and link.down is None:
            self._hang_up(link, teardown)

    def _not_reached(self, teardown: Teardown) -> None:
        teardown.reached_backend = False
        self._answer(teardown, None)

    def _apply(self, link: BackendLink, call: Call, event: CallInput) -> None:
        try:
            happened = call.apply(event, self._wall())
        except IllegalEvent as error:
            self._illegal(link, event, str(error))
            return
        if happened is None:
            return
        if isinstance(happened, Disconnected):
            del link.calls[call.leg]
            self._end(call, happened)
        elif isinstance(happened, Connected):
            if call.ring_time:
                self._leases.answered(call)
            self._write(call, happened, self._leg_record(link, call))
        else:
            self._write(call, happened)

    def _lease_over(self, call: Call, limit: Limit) -> None:
        """A call has lasted, or rung, as long as it may."""
        if call.ended or call.state is CallState.DISCONNECTING:
            return
        if self.links[call.backend].recovered:
            # Its backend cannot be asked yet, and so not told either.
            self._leases.again(call, limit, LEASE_AGAIN)
            return
        try:
            self._teardown(call, OURSELVES, "", EndedBy.DAEMON, limit)
        except JournalUnavailable:
            self._leases.again(call, limit, LEASE_AGAIN)

    def _end(self, call: Call, event: Disconnected | Lost) -> None:
        if call.max_age or call.ring_time:
            self._leases.end(call)
        self._retain(call)
        # Whoever asks before it is on record waits for that.
        if call.id not in self._teardowns:
            self._teardowns[call.id] = Teardown(call)
        crossed = None if self.wire is None else self.wire.take(call.leg)
        self.journal.append(call, event, crossed, self._finish_teardown, call)

    def _write(self, call: Call, event: LifecycleEvent, leg_record: bytes | None = None) -> None:
        """Write down what nothing waits for."""
        self.journal.append(call, event, leg_record, None, None)

    def _leg_record(self, link: BackendLink, call: Call) -> bytes | None:
        """
        What its backend needs to restore the leg.

        Where it cannot be had the call goes on: it can be ended as long as this umd runs.
        """
        if link.restores is None:
            return None
        try:
            record = link.restores.leg_record(call.leg)
            if record is None or isinstance(record, bytes):
                return record
            raise TypeError(f"a record is octets, not {type(record).__name__}")
        except Exception:
            self._log.exception(
                "leg.record-failed", backend=link.name, call=call.id, leg=call.leg
            )
            return None

    def _must_be_recordable(self) -> None:
        refusing = self.journal.refusing
        if refusing is not None:
            raise JournalUnavailable(refusing)

    def _illegal(self, link: BackendLink, event: LegEvent | HangUp, why: str) -> None:
        self.illegal_events += 1
        self._log.error(
            "backend.illegal-event", backend=link.name, leg_event=type(event).__name__, why=why
        )

    def _retain(self, call: Call) -> None:
        self.over += 1
        live = self.live
        if self.begun != self.over + live:
            self.miscounts += 1
            if self.miscounts == 1:
                self._log.error("control.miscount", begun=self.begun, over=self.over, live=live)
        self._ended.append((self._clock.seconds(), call.id))
        self._forget_old()

    def _forget_old(self) -> None:
        ended = self._ended
        horizon = self._clock.seconds() - self.settings.retention
        while ended and (ended[0][0] <= horizon or len(ended) > self.settings.retained_calls):
            del self._calls[ended.popleft()[1]]

    # -- who waits for a teardown

    async def _ended_before(self, call: Call) -> Outcome:
        """What somebody is told who asks for the end of a call that has ended."""
        teardown = self._teardowns.get(call.id)
        if teardown is not None:  # its end is not on record yet
            outcome = await teardown.settled()
            if call.asked_at:
                return outcome
        if self.settings.ended_is_success:
            return Outcome.ALREADY_ENDED
        raise NoSuchCall(f"call {call.id} has ended")

    def _finish_teardown(self, call: Call) -> None:
        teardown = self._teardowns.pop(call.id, None)
        if teardown is not None:
            self._answer(teardown, _outcome(call))
        if self._drained is not None and not self._teardowns:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _deadline_passed(self, teardown: Teardown) -> None:
        teardown.deadline = None
        if not teardown.recorded or teardown.call.ended:
            # Not even on record: the disk does not answer.
            self._answer(teardown, None)
            return
        teardown.expired = True
        self._log.warning(
            "call.disconnect-unconfirmed",
            call=teardown.call.id,
            leg=teardown.call.leg,
            backend=teardown.call.backend,
            deadline_s=self.settings.deadline,
        )
        self._answer(teardown, Outcome.ENDED_UNCONFIRMED)

    def _answer(self, teardown: Teardown, outcome: Outcome | None) -> None:
        """Answer everybody who waits; None: it could not be carried out, or put on record."""
        if teardown.deadline is not None:
            teardown.deadline.cancel()
            teardown.deadline = None
        while teardown.waiting:
            # One at a time: an answer can make another client leave.
            slot = next(iter(teardown.waiting))
            del teardown.waiting[slot]
            if outcome is not None:
                slot.callback(outcome)
            elif not teardown.recorded or teardown.call.ended:
                slot.errback(_unrecorded(self.journal))
            else:
                slot.errback(_unavailable(self.links[teardown.call.backend]))

    # -- backends

    def _link(self, name: str | None) -> BackendLink:
        if name is None:
            return next(iter(self.links.values()))
        link = self.links.get(name)
        if link is None:
            raise NoSuchBackend(f"no backend {name!r}; there is: {', '.join(self.links)}")
        return link

    def _teardowns_of(self, link: BackendLink) -> list[Teardown]:
        return [t for t in self._teardowns.values() if t.call.backend == link.name]


def _call_id_of(found: FoundLeg, link: BackendLink) -> CallId:
    """
    The id of a call that is found.

    Raises:
        UnusableLeg: it could be put on no record, or no client could give it back.
    """
    if found.call_id is not None:
        if not (found.call_id.isascii() and found.call_id.isprintable()):
            raise UnusableLeg("its CallId is no printable ASCII")
        return found.call_id
    try:
        return make_call_id(found.leg, link.name)
    except UnicodeEncodeError:
        raise UnusableLeg("its name is neither Unicode nor octets of a wire") from None


def _check_found(found: FoundLeg) -> None:
    """
    See that a backend keeps the types of the door: of what it found elsewhere it may not know.

    Raises:
        UnusableLeg
    """
    if not isinstance(found, FoundLeg):
        raise UnusableLeg(f"{type(found).__name__} is no FoundLeg")
    if not isinstance(found.leg, str) or not 0 < len(found.leg) <= LONGEST_LEG_NAME:
        raise UnusableLeg(f"its name is no text of 1 to {LONGEST_LEG_NAME} characters")
    if not isinstance(found.state, CallState) or found.state is CallState.DISCONNECTED:
        raise UnusableLeg(f"{found.state!r} is no state of a live leg")
    if not isinstance(found.number, str):
        raise UnusableLeg("its number is no text")


def _cause_of(limit: Limit, call: Call) -> Cause:
    """Why a call ends that umd ends by itself."""
    if limit is Limit.MAX_AGE:
        return Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
    alerted = call.state is CallState.ALERTING
    return Cause(by=EndedBy.DAEMON, q850=NO_ANSWER if alerted else NO_USER_RESPONDING)


def _why_homeless(call: Call) -> str:
    if not call.backend:
        return "the journal cannot tell what carried it: the record of its beginning is damaged"
    return f"there is no backend {call.backend!r} in the configuration any more"


def _outcome(call: Call) -> Outcome:
    return Outcome.ENDED if call.confirmed else Outcome.ENDED_UNCONFIRMED


def _unavailable(link: BackendLink) -> BackendUnavailable:
    why = link.down or "it has failed, as the log tells"
    return BackendUnavailable(f"backend {link.name} cannot be reached: {why}")


def _unrecorded(journal: CallJournal) -> JournalUnavailable:
    return JournalUnavailable(journal.refusing or "the journal does not answer in time")
