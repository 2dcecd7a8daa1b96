"""The use cases: place a call, end a call, and what happens at start and stop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from umd.backend import FoundLeg, LegBackend, LegEvent, LegId, Media
from umd.call.call import Call, CallState, HangUp
from umd.call.call_id import CallId, make_call_id
from umd.call.cause import EndedBy
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.bulk_end import BulkEnd
from umd.control.call_end import CallEnd
from umd.control.errors import (
    BackendFailed,
    JournalUnavailable,
    NoSuchBackend,
    NoSuchCall,
    Stopping,
)
from umd.control.forgetting import Forgetting
from umd.control.found_legs import FoundLegs
from umd.control.held_ends import HeldEnds, WireWitness
from umd.control.journal import CallJournal, MessageSummaries, require_recordable
from umd.control.lease_renewal import LeaseRenewal
from umd.control.leases import Leases, Limit, cause_of
from umd.control.lifecycle import Lifecycle
from umd.control.links import BackendLink
from umd.control.outcome import Outcome
from umd.control.pairs import Pairs
from umd.control.placements import Placements
from umd.control.reconciliation import Reconciliation
from umd.control.recovery import Recovery
from umd.control.registry import Counts, Registry
from umd.control.selection import Selection
from umd.control.settings import ControlSettings
from umd.control.suspicion import Suspicion, suspicion_of
from umd.control.teardowns import Teardowns
from umd.errors import UmdError

LEASE_RETRY_INTERVAL: Final = 5.0
"""Seconds after which umd tries again to end a call that has reached a limit."""


class Control:
    """
    One `Call` per CallId, one teardown per call, one end event per call.

    Args:
        backends: by the name of their section; the first places calls by default.
        node: the name of this daemon in the CallIds that it issues.
        clock: for deadlines; monotonic.
        wall: the time written into events, seconds since the epoch.
        journal: records each lifecycle event before control acts on it; `NullJournal` where
            nothing is kept.
        log: for what backends do wrong.
        settings: the limits of calls and requests.
        make_leg_name: names the legs of calls that umd places.
        summaries: summarise the messages of each live call for the record of its end.
        witness: sees what far ends answer to a PBX; None: the word of the PBX must do.
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
        summaries: MessageSummaries | None = None,
        witness: WireWitness | None = None,
    ) -> None:
        self.node = node
        self.summaries = summaries
        self.links = {
            name: BackendLink(name, backend, self, journal.durable)
            for name, backend in backends.items()
        }
        self._journal = journal
        self._log = log
        self._make_leg_name = make_leg_name
        self._accepting = True
        self._authorisation = Authorisation(log)
        self._leases = Leases(clock, wall, self._limit_reached)
        self._registry = Registry(node, self.links, clock, wall, log)
        self._held_ends = HeldEnds(witness, clock, wall)
        self._teardowns = Teardowns(
            self.links, journal, clock, wall, log, summaries, self._held_ends
        )
        self._pairs = Pairs(self._registry, self._teardowns)
        self._lifecycle = Lifecycle(
            self._registry, self._leases, self._teardowns, journal, wall, log, self._held_ends
        )
        self._found_legs = FoundLegs(self._registry, self._lifecycle, wall, log)
        self._wall = wall
        self._call_end = CallEnd(self._authorisation, self._teardowns, self._pairs)
        self.forgetting = Forgetting(self._authorisation, self._lifecycle, journal)
        """Gives up calls that umd cannot end."""
        self.bulk_end = BulkEnd(
            self._registry, self._authorisation, self.is_selected, self._call_end, clock, log
        )
        """Ends many calls."""
        self.lease_renewal = LeaseRenewal(
            self._registry, self._authorisation, self._lifecycle, self._leases, journal, clock, wall
        )
        """Renews the leases of calls."""
        self._placements = Placements(self.links, journal, log)
        self._recovery = Recovery(
            self.links, self._registry, self._lifecycle, self._teardowns, self._leases, journal,
            wall, log,
        )  # fmt: skip
        self._reconciliation = Reconciliation(
            self.links, self._recovery, self._found_legs, self._lifecycle, self._placements, clock,
            log,
        )  # fmt: skip
        self.settings = settings or ControlSettings()

    @property
    def settings(self) -> ControlSettings:
        """The limits in force; may be replaced while umd runs."""
        return self._settings

    @settings.setter
    def settings(self, settings: ControlSettings) -> None:
        self._settings = settings
        self._registry.settings = settings
        self._teardowns.settings = settings
        self._lifecycle.settings = settings
        self._found_legs.settings = settings
        self._call_end.settings = settings
        self._reconciliation.set_interval(settings.reconcile)
        self.bulk_end.settings = settings
        self.lease_renewal.settings = settings

    # -- start and stop

    def recover(self, call: Call, leg_record: bytes | None, heard_at: float = 0.0) -> None:
        """
        Take over a call of the journal, live or ended, before `start`.

        `start` looks for the legs of the live ones. Where there is none, the call ends as `Lost`.

        Args:
            leg_record: what the backend gave last to restore the leg.
            heard_at: when something was last heard of a live call, wall time in seconds since the
                epoch; 0.0: when it began.
        """
        self._recovery.add(call, leg_record, heard_at)

    async def start(self) -> None:
        """
        Start every backend and take up the legs that are there.

        Raises:
            BackendFailed: one cannot be started; those before it run until `stop`.
        """
        self._recovery.lose_orphans()
        for link in self.links.values():
            try:
                self._recovery.restore_legs(link)
                await link.backend.start(link)
                link.started = True
                await self._reconciliation.at_start(link)
            except CancelledError:
                raise
            except UmdError as error:
                raise BackendFailed(f"backend {link.name}: {error}") from error
            except Exception as error:
                self._log.exception("backend.failed", backend=link.name)
                raise BackendFailed(f"backend {link.name} failed: {error!r}") from error
        self._recovery.resume_leases()
        self._reconciliation.begin()

    async def drain(self) -> None:
        """Take no new calls, and return when no teardown is under way."""
        self._accepting = False
        self.bulk_end.stopping = True
        await self._teardowns.drained()

    def dismiss(self) -> None:
        """Answer every client that still waits with an error: umd is about to stop."""
        self._teardowns.dismiss()

    async def stop(self) -> None:
        """Stop all backends that were started, in reverse order, even if one of them fails."""
        self._reconciliation.stop()
        self._held_ends.release_all()
        self._teardowns.stop()
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

    # -- place a call

    def place(
        self,
        principal: Principal,
        number: str,
        *,
        backend: str | None = None,
        media: Media | None = None,
        request_id: str = "",
        labels: Sequence[str] = (),
        lease: float | None = None,
    ) -> Call:
        """
        Record that a call is placed, then dial it.

        Args:
            backend: the name of its section; None: the first one.
            media: what the far end hears after it answers, where the backend carries media.
            labels: texts by which clients group calls.
            lease: seconds after which umd ends the call unless its lease is renewed; None: never.

        Returns:
            The call, connecting. Await `dialled` before a client learns its CallId.

        Raises:
            MayNotPlace, Stopping, NoSuchBackend, JournalUnavailable, InvalidAlias: nothing was
                dialled.
        """
        self._authorisation.require_place(principal, request_id)
        if not self._accepting:
            raise Stopping("umd is stopping and places no more calls")
        require_recordable(self._journal)
        link = self._link(backend)
        leg = LegId(self._make_leg_name())
        call_id = make_call_id(leg, self.node)
        call = self._lifecycle.new_call(
            call_id, link, leg, number, principal.name, labels=labels, lease=lease
        )
        placed = call.place(request_id)
        self._lifecycle.begin(link, call)
        if self.summaries is not None:  # those of a found call begin when its end is requested
            self.summaries.begin(leg)
        self._placements.add(call, placed, media)
        return call

    async def dialled(self, call: Call) -> None:
        """
        Return when a call is on record and its backend has dialled it.

        Raises:
            BackendUnavailable, CannotPlace: the backend did not dial it; the call has ended.
            JournalUnavailable: it cannot be recorded at the moment. It is never dialled.
        """
        await self._placements.dialled(call)

    def _link(self, name: str | None) -> BackendLink:
        if name is None:
            return next(iter(self.links.values()))
        link = self.links.get(name)
        if link is None:
            raise NoSuchBackend(f"no backend {name!r}; there is: {', '.join(self.links)}")
        return link

    # -- end a call

    async def disconnect(
        self,
        principal: Principal,
        call_id: CallId,
        request_id: str = "",
        by: EndedBy = EndedBy.CLIENT,
        *,
        accept_alias: bool = False,
    ) -> Outcome:
        """
        End a call in whatever state it is, and its partner if it is one of two bridged legs.

        Requests for one call share one teardown, and get the same answer.

        Args:
            accept_alias: whether `call_id` may also be a leg name, an alias or a label that only
                one live call has.

        Returns:
            The outcome, once each far end has confirmed the end or the deadline has passed.

        Raises:
            NoSuchCall: the CallId is unknown or names several calls, or the principal may not end
                this call. Nothing was done.
            BackendUnavailable: the backend cannot be reached. It is told to end the call as soon
                as it can be.
            JournalUnavailable: the request cannot be recorded. If that is known at once, nothing
                was done; if not, the request is carried out once it is on record.
        """
        call = self.find(call_id, accept_alias=accept_alias, principal=principal)
        return await self._call_end.end(principal, call, request_id, by)

    def end(
        self, principal: Principal, call: Call, request_id: str = "", by: EndedBy = EndedBy.CLIENT
    ) -> Coroutine[Deferred[Any], Any, Outcome]:
        """End a call that `find` has returned just now; see `disconnect`."""
        return self._call_end.end(principal, call, request_id, by)

    def _limit_reached(self, call: Call, limit: Limit) -> None:
        """End a call that has lasted, or rung, as long as it may."""
        if call.ended or call.state is CallState.DISCONNECTING:
            return
        if self.links[call.backend].recovered:
            # The backend could not be asked for its legs yet, so that it cannot end one.
            self._leases.retry(call, limit, LEASE_RETRY_INTERVAL)
            return
        hang_up = HangUp(cause_of(limit, call), "", "", limit)
        try:
            self._pairs.request(call, hang_up)
        except JournalUnavailable:
            self._leases.retry(call, limit, LEASE_RETRY_INTERVAL)

    # -- look up calls

    def inform(
        self, principal: Principal, call_id: CallId, *, accept_alias: bool = False
    ) -> Call:
        """
        Return a call that the principal may read, live or ended and still remembered.

        Args:
            accept_alias: as for `disconnect`.

        Raises:
            NoSuchCall: the CallId is unknown, or the principal may not read this call.
        """
        call = self.find(call_id, accept_alias=accept_alias, principal=principal)
        self._authorisation.require_read(principal, call)
        return call

    def find(
        self, call_id: CallId, *, accept_alias: bool = False, principal: Principal | None = None
    ) -> Call:
        """
        Return a call, live or ended and still remembered, without authorisation.

        Args:
            accept_alias: as for `disconnect`.
            principal: of several calls with an alias, those that it may read come first.

        Raises:
            NoSuchCall: the CallId is unknown.
        """
        try:
            return self._registry.find(call_id)
        except NoSuchCall:
            if not accept_alias:
                raise
        return self._registry.resolve(call_id, self._authorisation.reader(principal))

    def resolve(self, text: str) -> Call:
        """
        Return the call that a text names exactly: by CallId, leg name, alias or label.

        Raises:
            NoSuchCall: no call has this name.
            AmbiguousId: several live calls have it.
        """
        return self._registry.resolve(text)

    def carries(self, name: str) -> bool:
        """Return whether a call has this alias, or this leg on a backend that shows no messages."""
        return self._registry.carries(name)

    def live_calls(self) -> Iterator[Call]:
        """Yield the calls that have not ended, in the order in which they began."""
        return self._registry.live_calls()

    def is_selected(self, selection: Selection, call: Call) -> bool:
        """Return whether a selection selects a live call now."""
        return selection.matches(call, self._wall(), self.suspicion_of)

    def suspicion_of(self, call: Call) -> Suspicion | None:
        """Return why a live call is suspect; None: it is not."""
        return suspicion_of(call, self._wall(), self._settings)

    def known_calls(self) -> list[Call]:
        """Return the calls that `find` finds."""
        return self._registry.known_calls()

    @property
    def known(self) -> int:
        """How many calls are kept, live and ended."""
        return len(self._registry)

    def counts(self) -> Counts:
        """Return what was counted since umd started."""
        registry = self._registry
        return Counts(
            begun=registry.begun,
            ended=registry.ended,
            live=registry.live,
            refused_events=self._lifecycle.refused_events,
            miscounts=registry.miscounts,
        )

    # -- what the journal and the backends report

    def journal_failed(self, why: str) -> None:
        """The journal cannot write: answer the clients that wait for a record."""
        self._teardowns.journal_failed()
        self._placements.journal_failed(why)

    def leg_found(self, link: BackendLink, found: FoundLeg) -> None:
        """A backend reports a leg that umd did not place."""
        self._found_legs.appeared(link, found)

    def leg_event(self, link: BackendLink, event: LegEvent) -> None:
        """A backend reports what happened to a leg."""
        self._lifecycle.leg_event(link, event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        """Call `then(argument)` once everything so far is on record."""
        self._journal.flush(then, argument)

    def backend_down(self, link: BackendLink, reason: str) -> None:
        """A backend cannot be reached: answer the clients that wait for it."""
        if link.down is None:
            link.down = reason
            link.outages += 1
            self._log.warning("backend.down", backend=link.name, reason=reason)
            self._teardowns.backend_down(link)

    def backend_up(self, link: BackendLink) -> None:
        """A backend is back: carry out what was requested meanwhile, and look for new legs."""
        if link.down is None:
            return
        link.down = None
        kept = self._teardowns.kept_for(link)
        self._log.info("backend.up", backend=link.name, teardowns=len(kept))
        self._teardowns.send_kept(link, kept)
        if link.started:
            self._reconciliation.backend_is_back(link)
