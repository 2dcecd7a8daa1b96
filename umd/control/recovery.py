"""Resumes the calls from before a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from umd.backend import FoundLeg, KnownLeg
from umd.call.call import Call, CallState
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
        if not self._registry.recover(call):
            return
        link = self._links.get(call.backend)
        if call.ended or link is None:
            return
        link.recovered.append(RecoveredCall(call, leg_record, heard_at or call.began_at))
        if call.max_age or call.ring_time or call.lease:
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

    # -- at the start

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

    def resume(self, link: BackendLink, listed: Sequence[FoundLeg]) -> list[Call]:
        """
        Resume the calls from before the restart whose legs are listed.

        Returns:
            The live calls from before the restart that are not listed.
        """
        recovered, link.recovered = link.recovered, []
        states = {leg.leg: leg.state for leg in listed} if recovered else {}
        recording = bool(self._resumed)
        unlisted = []
        for call, _, _ in recovered:
            state = states.get(call.leg)
            if call.ended:
                continue
            if state is None:
                unlisted.append(call)
            elif call.state is CallState.DISCONNECTING:
                self._resume(call, state)
            elif state in (call.state, CallState.DISCONNECTING):
                # A backend that is ending the leg by itself reports `Ended` later.
                self._resumed.append(call)
            else:
                self._resume(call, state)
        if self._resumed and not recording:
            self._record_resumed()
        return unlisted

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
