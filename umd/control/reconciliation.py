"""Compares the calls of a backend with the legs that it lists, and makes them agree."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    ensureDeferred,
    succeed,
)
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from umd.backend import BackendUnavailable, FoundLeg, LegId
from umd.call.call import Call
from umd.control.found_legs import FoundLegs
from umd.control.lifecycle import Lifecycle
from umd.control.links import BackendLink, Links
from umd.control.placements import Placements
from umd.control.recovery import Recovery
from umd.runtime.turns import in_turns

MAX_LEGS_PER_TURN: Final = 250
"""How many legs are compared before the reactor serves requests again."""
MAX_LOOK_UPS: Final = 16
"""How many calls are looked up at once."""


class Differences(NamedTuple):
    """What a comparison has found, in calls."""

    listed: int
    """Legs that the backend lists."""
    appeared: int
    """Listed legs that umd did not know."""
    changed: int
    """Calls of which the backend says something new."""
    lost: int
    """Calls that the backend no longer has."""


class Reconciliation:
    """
    Compares each backend's legs with its calls: at the start, when the backend is back, and at an
    interval if the backend follows a PBX.

    A leg that had an event since the list was requested is not compared, because its event is
    newer than the list. A call that the list lacks is looked up once more before it is lost.

    Args:
        links: the backends, by name.
        recovery: resumes the calls from before a restart.
        found_legs: begin the calls of legs that umd does not know.
        lifecycle: changes and loses calls.
        placements: the calls that their backend does not know yet.
        clock: for the interval and for pauses.
        log: gets the differences.
    """

    def __init__(
        self,
        links: Links,
        recovery: Recovery,
        found_legs: FoundLegs,
        lifecycle: Lifecycle,
        placements: Placements,
        clock: IReactorTime,
        log: FilteringBoundLogger,
    ) -> None:
        self._followed = [link for link in links.values() if link.follows is not None]
        self._recovery = recovery
        self._found_legs = found_legs
        self._lifecycle = lifecycle
        self._placements = placements
        self._clock = clock
        self._log = log
        self._interval: float | None = None
        self._timer: IDelayedCall | None = None
        self._running = False
        """Whether the interval counts: from the start to the stop."""

    # -- when to compare

    async def at_start(self, link: BackendLink) -> None:
        """
        Take up the legs of a backend that has just started; if it cannot be asked, when it is back.

        Raises:
            Exception: what `legs` of the backend raises.
        """
        await self._reconcile(link, at_start=True)

    def backend_is_back(self, link: BackendLink) -> None:
        """Compare the legs of a backend that could not be reached before."""
        _ = ensureDeferred(self._reconcile_later(link))

    def set_interval(self, interval: float | None) -> None:
        """Set the seconds between two comparisons; None: there are none at an interval."""
        self._interval = interval
        self._restart_timer()

    def begin(self) -> None:
        """Compare at the interval from now on."""
        self._running = True
        self._restart_timer()

    def stop(self) -> None:
        """Stop to compare at the interval."""
        self._running = False
        self._restart_timer()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running and self._interval is not None and self._followed:
            self._timer = self._clock.callLater(self._interval, self._interval_passed)

    def _interval_passed(self) -> None:
        self._timer = None
        self._restart_timer()
        for link in self._followed:
            if link.started and link.down is None:
                _ = ensureDeferred(self._reconcile_later(link))

    async def _reconcile_later(self, link: BackendLink) -> None:
        """Do as `_reconcile`, and log what fails."""
        try:
            await self._reconcile(link, at_start=False)
        except CancelledError:
            raise
        except Exception:
            self._log.exception("backend.failed", backend=link.name)

    # -- the comparison

    async def _reconcile(self, link: BackendLink, *, at_start: bool) -> None:
        """Compare the legs of a backend, and again if it was away meanwhile."""
        if link.heard is not None:
            link.compare_again = True
            return
        compare = True
        while compare and (at_start or link.started):
            link.heard, link.compare_again = set(), False
            try:
                await self._compare(link, at_start)
            except BackendUnavailable as error:
                link.backend_down(str(error))
            finally:
                link.heard = None
            compare = link.compare_again and link.down is None

    async def _compare(self, link: BackendLink, at_start: bool) -> None:
        known = [call for call in link.calls.values() if call.id not in self._placements]
        outages = link.outages
        legs = await link.backend.legs()
        if link.outages != outages:
            link.compare_again = True  # events were lost after the list was made
            return
        # Nothing else waits for the reactor at the start.
        per_turn = sys.maxsize if at_start else MAX_LEGS_PER_TURN
        listed: list[FoundLeg] = []
        refused: set[str] = set()
        async for legs_of_turn in in_turns(legs, self._pause, per_turn):
            listed += self._found_legs.usable(link, legs_of_turn, refused)
        link.refused, link.over = refused, set()
        unlisted = self._recovery.resume(link, listed)
        names: set[LegId] = set()
        appeared = changed = 0
        async for found_in_turn in in_turns(listed, self._pause, per_turn):
            names.update(found.leg for found in found_in_turn)
            new, different = self._take_over(link, found_in_turn, at_start)
            appeared, changed = appeared + new, changed + different
        link.forgotten &= names
        missing: list[Call] = []
        async for calls in in_turns(known, self._pause, per_turn):
            missing += [call for call in calls if call.leg not in names]
        missing = [call for call in missing if self._is_comparable(link, call)]
        lost = await self._look_again(link, missing, certain=() if link.follows else unlisted)
        self._report(link, Differences(len(listed), appeared, changed, lost), at_start)

    def _take_over(
        self, link: BackendLink, listed: Sequence[FoundLeg], at_start: bool
    ) -> tuple[int, int]:
        """Begin the calls that umd does not know; return how many, and how many others changed."""
        appeared = changed = 0
        for found in listed:
            if link.heard is None or found.leg in link.heard:
                continue
            call = link.calls.get(found.leg)
            if call is not None:
                changed += self._lifecycle.catch_up(link, call, found)
            else:
                appeared += self._found_legs.listed(link, found, at_start=at_start)
        return appeared, changed

    async def _look_again(
        self, link: BackendLink, missing: Sequence[Call], certain: Iterable[Call]
    ) -> int:
        """
        Look for calls that the list lacks once more, and lose those that are not there.

        Args:
            certain: the calls that are lost without a second look: the backend itself has said
                that it could not restore them.

        Returns:
            How many calls were lost.
        """
        gone = {call.id for call in certain}
        look_up = await self._second_look(link, [call for call in missing if call.id not in gone])
        outages, lost = link.outages, 0
        async for calls in in_turns(missing, self._pause, MAX_LOOK_UPS):
            looks: list[Deferred[FoundLeg | None]] = [
                succeed(None) if call.id in gone else look_up(call) for call in calls
            ]
            results = await DeferredList(looks, consumeErrors=True)
            if link.outages != outages:
                link.compare_again = True  # an answer from before the outage proves nothing
                break
            for call, (_, result) in zip(calls, results, strict=True):
                if isinstance(result, Failure):
                    self._look_failed(link, call, result)
                else:
                    lost += self._settle(link, call, result)
        return lost

    def _settle(self, link: BackendLink, call: Call, found: FoundLeg | None) -> bool:
        """Lose a call that the second look did not find; return whether it is lost."""
        if not self._is_comparable(link, call):
            return False
        if found is not None:
            for usable in self._found_legs.usable(link, [found], set()):
                self._lifecycle.catch_up(link, call, usable)
            return False
        self._lifecycle.lose(call, f"backend {link.name} does not carry it any more")
        return True

    def _look_failed(self, link: BackendLink, call: Call, failure: Failure) -> None:
        """A call that could not be looked up stays; the next comparison looks again."""
        if failure.check(BackendUnavailable):
            failure.raiseException()
        self._log.error(
            "backend.failed",
            backend=link.name,
            call=call.id,
            leg=call.leg,
            exc_info=(failure.type, failure.value, failure.getTracebackObject()),
        )

    async def _second_look(
        self, link: BackendLink, missing: Sequence[Call]
    ) -> Callable[[Call], Deferred[FoundLeg | None]]:
        """Return what looks for a leg once more: a request for it, or a second list."""
        follows = link.follows
        if follows is not None:
            return lambda call: ensureDeferred(follows.look_up(call.leg))
        listed: dict[LegId, FoundLeg] = {}
        if missing:
            async for legs in in_turns(
                await link.backend.legs(), self._pause, MAX_LEGS_PER_TURN
            ):
                usable = self._found_legs.usable(link, legs, set(link.refused))
                listed.update((found.leg, found) for found in usable)
        return lambda call: succeed(listed.get(call.leg))

    def _is_comparable(self, link: BackendLink, call: Call) -> bool:
        """Whether a call lives, and nothing was heard of it since the list was requested."""
        return not call.ended and (link.heard is None or call.leg not in link.heard)

    def _report(self, link: BackendLink, found: Differences, at_start: bool) -> None:
        if not at_start and (found.appeared or found.changed or found.lost):
            self._log.info("backend.reconciled", backend=link.name, **found._asdict())

    async def _pause(self) -> None:
        """Let the reactor do other work."""
        await deferLater(self._clock, 0)
