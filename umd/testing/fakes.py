"""Stand-ins for a backend and for a sink, which record what happens in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import get_ident
from types import NoneType
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock

from umd.backend import (
    Answered,
    BackendUnavailable,
    Changed,
    Ended,
    FoundLeg,
    Gone,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    NoSuchLeg,
    Progressed,
    RestoresLegs,
)
from umd.call.alias import InvalidAlias, check_aliases, check_labels
from umd.call.call import CallState
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy, rejection
from umd.config import Section


class RecordingSink(LegSink):
    """
    A sink that keeps what a backend reports.

    Args:
        backend: the backend that reports, to keep its leg records; None: none are kept.
    """

    def __init__(self, backend: LegBackend | None = None) -> None:
        self.events: list[LegEvent] = []
        """The events of legs, in the order they were reported."""
        self.reports: list[FoundLeg | LegEvent] = []
        """Found legs, also repeated ones, and the events of legs, in the order of the reports."""
        self.on_event: Callable[[LegEvent], None] | None = None
        """Called with each event from within its report, as umd may call the backend there."""
        self.health: list[str] = []
        """"up", or "down: REASON", in the order it was reported."""
        self.wrong: list[str] = []
        """Reports that break a rule of the door, in words."""
        self.leg_records: dict[LegId, bytes | None] = {}
        """What `leg_record` of the backend returned when the leg was answered."""
        self.found: list[FoundLeg] = []
        """The legs that were reported as found, also repeatedly, in the order of the reports."""
        self.holds = False
        """Whether calls of `when_recorded` wait for `release`, as if the journal were slow."""
        self.held: list[tuple[Callable[[Any], None], Any]] = []
        """The calls of `when_recorded` that wait."""
        self._restores = backend if isinstance(backend, RestoresLegs) else None
        self._thread = get_ident()

    def leg_found(self, found: FoundLeg) -> None:
        self._check(found)
        self.reports.append(found)
        self.found.append(found)

    def leg_event(self, event: LegEvent) -> None:
        self._check(event)
        self.reports.append(event)
        self.events.append(event)
        if isinstance(event, Answered) and self._restores is not None:
            self.leg_records[event.leg] = self._restores.leg_record(event.leg)
        if self.on_event is not None:
            self.on_event(event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        if self.holds:
            self.held.append((then, argument))
        else:
            then(argument)

    def release(self) -> None:
        """Let the calls of `when_recorded` come, those that wait and all later ones."""
        self.holds = False
        held, self.held = self.held, []
        for then, argument in held:
            then(argument)

    def backend_down(self, reason: str) -> None:
        self.health.append(f"down: {reason}")

    def backend_up(self) -> None:
        self.health.append("up")

    def of(self, leg: LegId) -> list[LegEvent]:
        """Return the events of one leg."""
        return [event for event in self.events if event.leg == leg]

    def all_of(self, leg: LegId) -> list[FoundLeg | LegEvent]:
        """Return what was reported of one leg: that it was found, and its events."""
        return [report for report in self.reports if report.leg == leg]

    def ends(self, leg: LegId) -> list[Ended]:
        """Return the end events of one leg; two break a rule."""
        return [event for event in self.of(leg) if isinstance(event, Ended)]

    def has_found(self, leg: LegId) -> bool:
        """Return whether a leg was reported as found."""
        return any(found.leg == leg for found in self.found)

    def view(self, leg: LegId) -> FoundLeg:
        """Return a live leg with the values that its reports add up to."""
        first = (found for found in self.found if found.leg == leg)
        view = next(first, FoundLeg(leg=leg, state=CallState.CONNECTING, number=""))
        for event in self.of(leg):
            match event:
                case Progressed():
                    view = replace(view, state=CallState.ALERTING)
                case Answered():
                    view = replace(view, state=CallState.CONNECTED)
                case Changed():
                    fields = ("aliases", "partners", "labels", "number")
                    values = {name: getattr(event, name) for name in fields}
                    view = replace(
                        view, **{name: new for name, new in values.items() if new is not None}
                    )
                case Ended() | Gone():
                    pass
        return view

    def faults_of(self, report: FoundLeg | LegEvent) -> list[str]:
        """Return which values of a report umd cannot take, in words."""
        if isinstance(report, (FoundLeg, Changed)):
            return list(_faults_of_values(report))
        if isinstance(report, Ended):
            proof = report.shown_by
            if report.confirmed != Ended(report.leg, report.cause, shown_by=proof).confirmed:
                return [f"confirmed={report.confirmed} although the end is shown by {proof}"]
        return []

    def _check(self, report: FoundLeg | LegEvent) -> None:
        if get_ident() != self._thread:
            self.wrong.append(f"{report} was reported from another thread")
        if self._is_after_the_end(report):
            self.wrong.append(f"{report} was reported after the end of its leg")
        self.wrong += [f"{report}: {fault}" for fault in self.faults_of(report)]

    def _is_after_the_end(self, report: FoundLeg | LegEvent) -> bool:
        """
        Return whether a leg has ended before this report of it.

        A leg whose end was not confirmed may be found again: then the PBX still has it.
        """
        for earlier in reversed(self.reports):
            if earlier.leg == report.leg:
                if isinstance(earlier, Ended) and isinstance(report, FoundLeg):
                    return earlier.confirmed
                return isinstance(earlier, (Ended, Gone))
        return False


def _faults_of_values(report: FoundLeg | Changed) -> Iterator[str]:
    try:
        check_aliases(report.aliases or {})
        check_labels(report.labels or ())
    except InvalidAlias as error:
        yield str(error)
    if not isinstance(report.partners, (tuple, NoneType)):
        yield f"partners are a tuple, not {type(report.partners).__name__}"
    elif report.leg in (report.partners or ()):
        yield "a leg is no partner of itself"


class FakeBackend(LegBackend):
    """
    A backend without a network: its far ends do at once what the number says, or what a test says.

    The number is "answers", "rings", "rejects", "hangs up" (answers, then ends) or "silent"
    (answers, and never confirms its end). With any other number the test calls `ring`, `answer` and
    `end`. While `reachable` is False, every command raises `BackendUnavailable`.
    """

    Settings = Section

    GIVES_UP_AFTER: Final = 32.0
    """Seconds that it waits for a silent far end."""

    def __init__(
        self, name: str = "fake", settings: Any = None, clock: IReactorTime | None = None
    ) -> None:
        self.commands: list[tuple[str, LegId]] = []
        """`("place" or "hang_up", leg)` for each command, in the order they came."""
        self.reachable = True
        self.confirms = True
        """Whether a far end confirms its end at once; if not, the test calls `end`."""
        self.found: list[FoundLeg] = []
        """Legs that `legs` returns before the placed ones."""
        self._clock = clock or Clock()
        self._numbers: dict[LegId, str] = {}
        self._states: dict[LegId, CallState] = {}
        self._causes: dict[LegId, Cause] = {}
        self._deadlines: list[IDelayedCall] = []
        self.sink: LegSink | None = None

    async def start(self, sink: LegSink) -> None:
        self.sink = sink
        for leg in self.found:
            self._numbers.setdefault(leg.leg, leg.number)
            self._states.setdefault(leg.leg, leg.state)

    async def stop(self) -> None:
        self.sink = None
        deadlines, self._deadlines = self._deadlines, []
        for deadline in deadlines:
            if deadline.active():
                deadline.cancel()

    async def legs(self) -> Sequence[FoundLeg]:
        known = {leg.leg: leg for leg in self.found}
        return [
            known.get(leg, FoundLeg(leg=leg, state=state, number=self._numbers[leg]))
            for leg, state in self._states.items()
        ]

    def place(self, leg: LegId, number: str) -> None:
        self._check_reachable()
        self.commands.append(("place", leg))
        self._numbers[leg] = number
        self._states[leg] = CallState.CONNECTING
        if number == "rejects":
            self.end(leg, rejection(486))
        elif number in ("answers", "rings", "hangs up", "silent"):
            self.ring(leg)
            if number != "rings":
                self.answer(leg)
            if number == "hangs up" and leg in self._states:
                self.end(leg, Cause(by=EndedBy.FAR_END))

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self._check_reachable()
        self.commands.append(("hang_up", leg))
        if leg not in self._states:
            raise NoSuchLeg(f"the fake has no leg {leg}")
        if leg in self._causes:
            return
        self._causes[leg] = cause
        if self._numbers[leg] == "silent":
            deadline = self._clock.callLater(self.GIVES_UP_AFTER, self._give_up, leg)
            self._deadlines.append(deadline)
        elif self.confirms:
            self.end(leg)

    # What a test lets the far end do.

    def appear(self, found: FoundLeg) -> None:
        """Report a leg that umd did not place."""
        self.found = [other for other in self.found if other.leg != found.leg] + [found]
        self._numbers[found.leg], self._states[found.leg] = found.number, found.state
        assert self.sink is not None, "a leg appeared before start or after stop"
        self.sink.leg_found(found)

    def ring(self, leg: LegId) -> None:
        self._states[leg] = CallState.ALERTING
        self._report(Progressed(leg))

    def answer(self, leg: LegId) -> None:
        self._states[leg] = CallState.CONNECTED
        self._report(Answered(leg))

    def end(self, leg: LegId, cause: Cause | None = None, *, confirmed: bool = True) -> None:
        """End a leg; without a cause, with that of `hang_up`."""
        state = self._states.pop(leg)
        requested = self._causes.pop(leg, None)
        if cause is None:
            assert requested is not None, "hang_up was not called for this leg: pass a cause"
            status = 200 if state is CallState.CONNECTED else 487
            cause = Cause(by=requested.by, q850=requested.q850, sip_status=status)
        self._report(Ended(leg, cause, confirmed))

    def lose(self, leg: LegId) -> None:
        """Forget a leg without an event, as a PBX that was restarted does."""
        del self._states[leg]

    def _give_up(self, leg: LegId) -> None:
        if leg in self._states and self.sink is not None:
            by = self._causes[leg].by
            cause = Cause(by=by, q850=RECOVERY_ON_TIMER_EXPIRY, sip_status=408)
            self.end(leg, cause, confirmed=False)

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise BackendUnavailable("the test has made it unreachable")

    def _report(self, event: LegEvent) -> None:
        assert self.sink is not None, "an event before start or after stop"
        self.sink.leg_event(event)
