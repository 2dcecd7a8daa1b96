"""Takes up the calls from before a restart, and the legs that a backend carries already."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from umd.backend import BackendUnavailable, FoundLeg, KnownLeg
from umd.call.call import Call, CallState
from umd.control.found_legs import FoundLegs
from umd.control.journal import CallJournal
from umd.control.leases import Leases
from umd.control.lifecycle import Lifecycle
from umd.control.links import BackendLink, Links, RecoveredCall
from umd.control.registry import Registry
from umd.control.teardowns import Teardowns

MAX_RESUMED_PER_TURN: Final = 256
"""How many calls that go on are recorded before the reactor serves requests again."""


class Recovery:
    """
    Decides at a start which calls go on and which are lost.

    Args:
        links: the backends, by name.
        registry: gets the calls of the journal.
        lifecycle: loses calls.
        found_legs: begin the calls of legs that umd does not know.
        teardowns: carry out the requests that were recorded but not finished before the restart.
        leases: count on for the calls that go on.
        journal: records that calls go on.
        wall: seconds since the epoch.
        log: for what backends do wrong.
    """

    def __init__(
        self,
        links: Links,
        registry: Registry,
        lifecycle: Lifecycle,
        found_legs: FoundLegs,
        teardowns: Teardowns,
        leases: Leases,
        journal: CallJournal,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._links = links
        self._registry = registry
        self._lifecycle = lifecycle
        self._found_legs = found_legs
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
        if not self._registry.recover(call):
            return
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

    async def take_up(self, link: BackendLink, *, at_start: bool = True) -> None:
        """Take up the legs that a backend carries; if it cannot be asked, at its `backend_up`."""
        try:
            found = self._found_legs.usable(link, await link.backend.legs())
        except BackendUnavailable as error:
            link.backend_down(str(error))
            return
        recovered, link.recovered = link.recovered, []
        self._take_up_recovered(link, recovered, found)
        ended = {item.call.leg for item in recovered if item.call.ended}
        for leg in found:
            if leg.leg not in link.calls and leg.leg not in ended:
                self._found_legs.listed(link, leg, at_start=at_start)

    async def take_up_later(self, link: BackendLink) -> None:
        """Do as `take_up`, and log what fails."""
        try:
            await self.take_up(link, at_start=False)
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


def _why_orphaned(call: Call) -> str:
    if not call.backend:
        return "its backend is unknown: the record of its beginning is damaged"
    return f"the configuration has no backend {call.backend!r} any more"
