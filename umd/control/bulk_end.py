"""
Ends many calls: chooses them, checks how many they are, and ends each once at a given rate.

The calls that a selection chooses change all the time. So the client first asks how many there are,
and then says that number: if it no longer holds, umd ends none. A run of ten thousand calls takes
a while; umd looks at each call again just before it ends it. A client that leaves, or Ctrl-C, stops
the run: teardowns that have begun finish, no other begins, and the same request goes on with what
is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from umd.backend import BackendUnavailable
from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.cause import EndedBy
from umd.call.principal import Principal
from umd.control.authorisation import Authorisation
from umd.control.call_end import CallEnd
from umd.control.errors import JournalUnavailable, NoSuchCall, Stopping
from umd.control.outcome import Outcome
from umd.control.registry import Registry
from umd.control.selection import Selection, is_protected
from umd.control.settings import ControlSettings
from umd.control.teardowns import outcome_of
from umd.errors import UmdError
from umd.runtime.turns import in_turns

BEGINS_PER_TURN: Final = 20
"""Teardowns that begin before the reactor does other work."""
MAX_IN_FLIGHT: Final = 500
"""Teardowns of one run that are under way at once."""
MAX_LAG: Final = 0.1
"""Seconds that a run with a rate makes up for when it is late."""

PROTECTED: Final = "protected"
"""The outcome of a call that was left out because of its label, or of its partner's."""
CHANGED: Final = "changed"
"""The outcome of a call that was left out because it is no longer as it was selected."""
INTERNAL_ERROR: Final = "internal-error"
_FAILURES: Final[tuple[tuple[type[UmdError], str], ...]] = (
    (BackendUnavailable, "backend-unavailable"),
    (JournalUnavailable, "journal-unavailable"),
    (NoSuchCall, "unknown"),
)
"""The outcome for each error with which a request to end one call is refused."""


class TooMany(UmdError):
    """More calls are selected than the client allows; none was ended."""


class CountChanged(UmdError):
    """The number of selected calls is not the one that the client was shown; none was ended."""


@dataclass(slots=True)
class Target:
    """A selected call, and its partner if it is one of two bridged legs: both end together."""

    calls: tuple[Call, ...]
    """Those that the principal may end: the selected one first."""
    partner: Call | None
    """The partner of the first, whether the principal may end it by itself or not."""

    def has(self, call: Call) -> bool:
        return call is self.partner or call in self.calls


@dataclass(slots=True)
class Choice:
    """The live calls that a selection chooses for one principal."""

    selection: Selection
    targets: list[Target] = field(default_factory=list)
    protected: list[Call] = field(default_factory=list)
    """Selected calls that are left out, because they or their partners have a protected label."""
    count: int = 0
    """Calls that would end: the selected ones and their partners, without the protected ones."""
    begun: int = 0
    """Calls of `count` whose end has begun."""

    def calls(self) -> Iterator[Call]:
        """Yield the calls that would end."""
        for target in self.targets:
            yield from target.calls

    def require(self, maximum: int, expected: int) -> None:
        """
        Raises:
            TooMany: there are more than `maximum`.
            CountChanged: there are not as many as the client was shown.
        """
        if self.count > maximum:
            raise TooMany(
                f"{self.count} calls are selected, more than the maximum of {maximum}; none was "
                "ended. Select fewer, or raise the maximum"
            )
        if self.count != expected:
            raise CountChanged(
                f"{self.count} calls are selected now, not {expected} as expected; none was ended. "
                "Look at them again (dry run), and give the new number"
            )


@dataclass(slots=True)
class EndResult:
    """What became of one of the calls. Treat it as immutable."""

    call: Call
    outcome: str
    """A value of `Outcome`; or why the call was not ended, as the web service says it."""
    why: str = ""
    """For people: why the call was not ended."""


class BulkEnd:
    """
    The use case.

    Args:
        registry: has the calls.
        authorisation: decides which calls a principal can select.
        matches: returns whether a selection selects a call now.
        call_end: ends one call and its partner.
        clock: for the rate; monotonic.
        log: for faults of umd.
    """

    def __init__(
        self,
        registry: Registry,
        authorisation: Authorisation,
        matches: Callable[[Selection, Call], bool],
        call_end: CallEnd,
        clock: IReactorTime,
        log: FilteringBoundLogger,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `protected_labels`. Replaced on reload."""
        self.stopping = False
        """Whether umd is stopping: then no more teardowns begin."""
        self._registry = registry
        self._authorisation = authorisation
        self._matches = matches
        self._call_end = call_end
        self._clock = clock
        self._log = log

    async def choose(self, principal: Principal, selection: Selection) -> Choice:
        """
        Return the live calls that a selection chooses, of those that the principal may end.

        Raises:
            InvalidSelection: no selector is given.
        """
        selection.require_some()
        choice = Choice(selection)
        seen: set[CallId] = set()
        async for calls in in_turns(list(self._registry.live_calls()), self._pause):
            for call in calls:
                if (
                    call.id not in seen
                    and self._matches(selection, call)
                    and self._authorisation.may_end(principal, call)
                ):
                    self._add(choice, seen, principal, call)
        return choice

    def _add(
        self, choice: Choice, seen: set[CallId], principal: Principal, call: Call
    ) -> None:
        """Add a selected call to a choice, with its partner."""
        partner = self._registry.partner_of(call)
        if self._is_protected(call, partner):
            choice.protected.append(call)
            return
        calls: tuple[Call, ...] = (call,)
        if partner is not None and self._authorisation.may_end(principal, partner):
            calls = (call, partner)
        choice.targets.append(Target(calls, partner))
        choice.count += len(calls)
        seen.update(each.id for each in calls)

    async def end(
        self,
        principal: Principal,
        choice: Choice,
        *,
        rate: float | None = None,
        request_id: str = "",
        by: EndedBy = EndedBy.CLIENT,
    ) -> AsyncGenerator[EndResult, None]:
        """
        End the calls of a choice, and yield what became of each as soon as it is known.

        Close the generator, or cancel what awaits it, to begin no more teardowns.

        Args:
            rate: calls whose end begins in a second; None: as fast as umd can.
            by: who ends the calls, for their cause.

        Raises:
            Stopping: umd stops; calls are left.
        """
        for call in choice.protected:
            yield EndResult(call, PROTECTED, _PROTECTED_WHY)
        waiting = deque(choice.targets)
        ends = _Ends(self._clock)
        due = self._clock.seconds()
        begun_in_turn = 0
        while waiting or ends.in_flight or ends.results:
            while ends.results:
                yield ends.results.popleft()
            if self.stopping:
                waiting.clear()
            if not waiting or ends.in_flight >= MAX_IN_FLIGHT:
                if ends.in_flight:
                    await ends.more()
                continue
            now = self._clock.seconds()
            if rate is not None and due > now:
                await ends.more(due - now)
                continue
            target = waiting.popleft()
            choice.begun += len(target.calls)
            if rate is not None:
                due = max(due, now - MAX_LAG) + len(target.calls) / rate
            ends.add(self._end_target(principal, choice, target, request_id, by))
            begun_in_turn += 1
            if begun_in_turn == BEGINS_PER_TURN:
                begun_in_turn = 0
                await self._pause()
        if choice.begun < choice.count:
            raise Stopping(f"umd is stopping; {choice.count - choice.begun} calls are left")

    async def _end_target(
        self, principal: Principal, choice: Choice, target: Target, request_id: str, by: EndedBy
    ) -> list[EndResult]:
        """End one call and its partner; return what became of each."""
        live = [call for call in target.calls if not call.ended]
        refused: dict[CallId, EndResult] = {}
        for call in live:
            obstacle = self._obstacle(choice.selection, target, call)
            if obstacle is not None:
                refused[call.id] = obstacle
                continue
            try:
                await self._call_end.end(principal, call, request_id, by)
            except UmdError as error:
                refused[call.id] = EndResult(call, _outcome_of_error(error), str(error))
            except Exception as error:
                self._log.exception("control.end-failed", call=call.id)
                why = f"a fault in umd: {error!r:.200}"
                refused[call.id] = EndResult(call, INTERNAL_ERROR, why)
        return [
            _end_of(call, refused) if call in live else EndResult(call, Outcome.ALREADY_ENDED)
            for call in target.calls
        ]

    def _obstacle(self, selection: Selection, target: Target, call: Call) -> EndResult | None:
        """Return why a chosen call is not to be ended any more; None: it is."""
        if call.ended:  # with its partner, just now
            return EndResult(call, Outcome.ALREADY_ENDED)
        partner = self._registry.partner_of(call)
        if partner is not None and not target.has(partner):
            return EndResult(call, CHANGED, "it is bridged with another call now")
        if self._is_protected(call, partner):
            return EndResult(call, PROTECTED, _PROTECTED_WHY)
        # One that is ending already, as its partner is or by another request, is waited for.
        if call.state is not CallState.DISCONNECTING and not self._matches(selection, call):
            return EndResult(call, CHANGED, "the selectors do not fit any more")
        return None

    def _is_protected(self, call: Call, partner: Call | None) -> bool:
        patterns = self.settings.protected_labels
        if not patterns:
            return False
        return is_protected(call, patterns) or (
            partner is not None and is_protected(partner, patterns)
        )

    def _pause(self) -> Deferred[Any]:
        """Let the reactor do other work."""
        return deferLater(self._clock, 0)


_PROTECTED_WHY: Final = "it or its partner has a label of call.protected_labels"


class _Ends:
    """
    The teardowns of one run that are under way, and the results that were not taken yet.

    Args:
        clock: monotonic.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.in_flight = 0
        """Targets whose teardown is under way."""
        self.results: deque[EndResult] = deque()
        self._clock = clock
        self._wake: Deferred[None] | None = None

    def add(self, ends: Any) -> None:
        """Run a coroutine that returns a list of `EndResult`. It goes on if the run is stopped."""
        self.in_flight += 1
        _ = Deferred.fromCoroutine(ends).addCallback(self._ended)

    def _ended(self, results: list[EndResult]) -> None:
        self.in_flight -= 1
        self.results.extend(results)
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake.callback(None)

    async def more(self, seconds: float | None = None) -> None:
        """Return when there are more results, or after so many seconds."""
        if self.results:
            return
        wake = self._wake = Deferred()
        timer = None
        if seconds is not None:
            timer = self._clock.callLater(seconds, self._time_passed, wake)
        try:
            await wake
        finally:
            self._wake = None
            if timer is not None and timer.active():
                timer.cancel()

    def _time_passed(self, wake: Deferred[None]) -> None:
        if self._wake is wake:
            self._wake = None
            wake.callback(None)


def _outcome_of_error(error: UmdError) -> str:
    for kind, outcome in _FAILURES:
        if isinstance(error, kind):
            return outcome
    return INTERNAL_ERROR


def _end_of(call: Call, refused: Mapping[CallId, EndResult]) -> EndResult:
    """Return what became of a call that was live; it may have ended although it was refused."""
    if call.ended:
        return EndResult(call, outcome_of(call))
    return refused.get(call.id) or EndResult(call, Outcome.ENDED_UNCONFIRMED)
