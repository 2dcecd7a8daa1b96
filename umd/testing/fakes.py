"""Stand-ins for a backend and for a sink, which record what happens in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from umd.backend import (
    Answered,
    BackendUnavailable,
    Ended,
    FoundLeg,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    NoSuchLeg,
    Progressed,
    RestoresLegs,
)
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
        self.health: list[str] = []
        """"up", or "down: REASON", in the order it was reported."""
        self.wrong: list[str] = []
        """Reports that break a rule of the door, in words."""
        self.leg_records: dict[LegId, bytes | None] = {}
        """What `leg_record` of the backend returned when the leg was answered."""
        self.found: list[FoundLeg] = []
        """The legs that were reported as found, in the order they were reported."""
        self.holds = False
        """Whether calls of `when_recorded` wait for `release`, as if the journal were slow."""
        self.held: list[tuple[Callable[[Any], None], Any]] = []
        """The calls of `when_recorded` that wait."""
        self._restores = backend if isinstance(backend, RestoresLegs) else None
        self._thread = get_ident()

    def leg_found(self, found: FoundLeg) -> None:
        if get_ident() != self._thread:
            self.wrong.append(f"{found} was reported from another thread")
        if self.of(found.leg) and all(found.leg != earlier.leg for earlier in self.found):
            self.wrong.append(f"{found} was reported after an event of its leg")
        self.found.append(found)

    def leg_event(self, event: LegEvent) -> None:
        if get_ident() != self._thread:
            self.wrong.append(f"{event} was reported from another thread")
        if self.ends(event.leg):
            self.wrong.append(f"{event} was reported after the end of its leg")
        self.events.append(event)
        if isinstance(event, Answered) and self._restores is not None:
            self.leg_records[event.leg] = self._restores.leg_record(event.leg)

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

    def ends(self, leg: LegId) -> list[Ended]:
        """Return the end events of one leg; two break a rule."""
        return [event for event in self.of(leg) if isinstance(event, Ended)]


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
        self.sink: LegSink | None = None

    async def start(self, sink: LegSink) -> None:
        self.sink = sink
        for leg in self.found:
            self._numbers.setdefault(leg.leg, leg.number)
            self._states.setdefault(leg.leg, leg.state)

    async def stop(self) -> None:
        self.sink = None

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
            if number == "hangs up":
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
            self._clock.callLater(self.GIVES_UP_AFTER, self._give_up, leg)
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
