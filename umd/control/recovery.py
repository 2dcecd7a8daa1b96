"""Takes up the calls from before a restart, and the legs that a backend carries already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from structlog.typing import FilteringBoundLogger

from umd.backend import BackendUnavailable, FoundLeg, KnownLeg
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, make_call_id
from umd.control.journal import CallJournal
from umd.control.leases import Leases
from umd.control.lifecycle import Lifecycle
from umd.control.links import BackendLink, Links, RecoveredCall
from umd.control.registry import Registry
from umd.control.teardowns import Teardowns
from umd.errors import UmdError

MAX_LEG_NAME: Final = 255
"""Characters in the name of a found leg."""
MAX_FOUND_NUMBER: Final = 1024
"""Characters in the number of a found leg; the rest is cut off."""
MAX_RESUMED_PER_TURN: Final = 256
"""How many calls that go on are recorded before the reactor serves requests again."""


class UnusableLeg(UmdError):
    """A leg that a backend carries and that cannot become a call."""


class Recovery:
    """
    Decides at a start which calls go on and which are lost.

    Args:
        links: the backends, by name.
        registry: gets the calls of the journal.
        lifecycle: begins and loses calls.
        teardowns: carry out the requests that were recorded but not finished before the restart.
        leases: count on for the calls that go on.
        journal: records that calls go on.
        wall: seconds since the epoch.
        log: for legs that are refused.
    """

    def __init__(
        self,
        links: Links,
        registry: Registry,
        lifecycle: Lifecycle,
        teardowns: Teardowns,
        leases: Leases,
        journal: CallJournal,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._links = links
        self._registry = registry
        self._lifecycle = lifecycle
        self._teardowns = teardowns
        self._leases = leases
        self._journal = journal
        self._wall = wall
        self._log = log
        self._leased: list[Call] = []
        """Recovered calls with limits, until all backends are started."""
        self._resumed: deque[Call] = deque()
        """Recovered calls that go on, until the journal has that."""

    # -- before the start

    def add(self, call: Call, leg_record: bytes | None, heard_at: float) -> None:
        """Take over a call of the journal, as `Control.recover` says."""
        self._registry.recover(call)
        link = self._links.get(call.backend)
        if call.ended or link is None:
            return
        link.recovered.append(RecoveredCall(call, leg_record, heard_at or call.began_at))
        if call.max_age or call.ring_time:
            self._leased.append(call)

    def restore_legs(self, link: BackendLink) -> None:
        """Let a backend restore its legs from the journal."""
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
        link.restores.restore(known, anew=not len(self._registry))

    # -- at the start, and whenever a backend is back

    def lose_orphans(self) -> None:
        """Lose the calls whose backend is no longer configured."""
        orphans = self._registry.orphans
        while orphans:
            call = orphans.pop()
            self._lifecycle.lose(call, _why_orphaned(call))

    def resume_leases(self) -> None:
        """Let the leases of recovered calls count on; called once."""
        leased, self._leased = self._leased, []
        self._leases.resume(leased)

    async def take_up(self, link: BackendLink) -> None:
        """Take up the legs that a backend carries; if it cannot be asked, at its `backend_up`."""
        try:
            found = self._usable(link, await link.backend.legs())
        except BackendUnavailable as error:
            link.backend_down(str(error))
            return
        recovered, link.recovered = link.recovered, []
        self._take_up_recovered(link, recovered, found)
        ended = {item.call.leg for item in recovered if item.call.ended}
        for leg in found:
            if leg.leg not in link.calls and leg.leg not in ended:
                try:
                    self._begin(link, leg)
                except UnusableLeg as error:
                    self._refuse(link, leg, error)

    async def take_up_later(self, link: BackendLink) -> None:
        """Do as `take_up`, and log what fails."""
        try:
            await self.take_up(link)
        except Exception:
            self._log.exception("backend.failed", backend=link.name)

    def _take_up_recovered(
        self, link: BackendLink, recovered: list[RecoveredCall], found: list[FoundLeg]
    ) -> None:
        """Resume the calls whose legs are found, and lose the others."""
        states = {leg.leg: leg.state for leg in found} if recovered else {}
        recording = bool(self._resumed)
        for call, _, _ in recovered:
            state = states.get(call.leg)
            if call.ended:
                continue
            if state is None:
                self._lifecycle.lose(call, f"backend {link.name} does not carry it any more")
            elif call.state is CallState.DISCONNECTING:
                self._resume(call, state)
            elif state in (call.state, CallState.DISCONNECTING):
                # A backend that is ending the leg by itself reports `Ended` later.
                self._resumed.append(call)
            else:
                self._resume(call, state)
        if self._resumed and not recording:
            self._record_resumed()

    def _resume(self, call: Call, state: CallState) -> None:
        """Record the state in which a leg was found, and go on with a teardown."""
        self._lifecycle.record(call, call.resume_as(state, self._wall()))
        if call.state is CallState.DISCONNECTING:
            self._teardowns.resume(call)

    def _record_resumed(self, _: None = None) -> None:
        """
        Record for some calls that they go on, and for the others once that is durable.

        Nothing waits for these records, and no request should wait behind a million of them.
        """
        calls, now = self._resumed, self._wall()
        for call in [calls.popleft() for _ in range(min(MAX_RESUMED_PER_TURN, len(calls)))]:
            if not call.ended:
                self._lifecycle.record(call, call.resume_as(call.state, now))
        if calls:
            self._journal.flush(self._record_resumed, None)

    # -- legs that umd did not place

    def _begin(self, link: BackendLink, found: FoundLeg) -> None:
        if found.state is CallState.DISCONNECTING:
            raise UnusableLeg("it is ending already")
        call = self._lifecycle.new_call(
            _call_id_of(found, link),
            link,
            found.leg,
            found.number[:MAX_FOUND_NUMBER],
            state=found.state,
        )
        if call.id in self._registry:
            self._log.error("backend.leg-refused", backend=link.name, leg=call.leg, call=call.id)
            return
        self._lifecycle.begin(link, call)
        self._lifecycle.record(call, call.resume(), self._lifecycle.leg_record(link, call))

    def _usable(self, link: BackendLink, found: Iterable[FoundLeg]) -> list[FoundLeg]:
        """Return the legs that can become calls, and log the others."""
        usable = []
        for leg in found:
            try:
                _check_found(leg)
            except UnusableLeg as error:
                self._refuse(link, leg, error)
            else:
                usable.append(leg)
        return usable

    def _refuse(self, link: BackendLink, leg: FoundLeg, why: UnusableLeg) -> None:
        name = getattr(leg, "leg", None)
        self._log.error("backend.leg-refused", backend=link.name, leg=name, why=str(why))


def _call_id_of(found: FoundLeg, link: BackendLink) -> CallId:
    """
    Return the CallId of a found leg: the one that its backend remembers, or a new one.

    Raises:
        UnusableLeg: the journal cannot record it, or no client could send it back.
    """
    if found.call_id is not None:
        if not (found.call_id.isascii() and found.call_id.isprintable()):
            raise UnusableLeg("its CallId is not printable ASCII")
        return found.call_id
    try:
        return make_call_id(found.leg, link.name)
    except UnicodeEncodeError:
        raise UnusableLeg("its name is not valid Unicode") from None


def _check_found(found: FoundLeg) -> None:
    """
    Check the types of a found leg: a backend may pass on what it got from elsewhere.

    Raises:
        UnusableLeg
    """
    if not isinstance(found, FoundLeg):
        raise UnusableLeg(f"{type(found).__name__} is not a FoundLeg")
    if not isinstance(found.leg, str) or not 0 < len(found.leg) <= MAX_LEG_NAME:
        raise UnusableLeg(f"its name is not a string of 1 to {MAX_LEG_NAME} characters")
    if not isinstance(found.state, CallState) or found.state is CallState.DISCONNECTED:
        raise UnusableLeg(f"{found.state!r} is not the state of a live leg")
    if not isinstance(found.number, str):
        raise UnusableLeg("its number is not a string")


def _why_orphaned(call: Call) -> str:
    if not call.backend:
        return "its backend is unknown: the record of its beginning is damaged"
    return f"the configuration has no backend {call.backend!r} any more"
