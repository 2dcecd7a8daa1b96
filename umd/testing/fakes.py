"""Stand-ins for both sides of the backend door, which say in what order they were called."""

from __future__ import annotations

from collections.abc import Sequence
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
)
from umd.call.call import CallState
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy, rejection
from umd.config import Section


class RecordingSink(LegSink):
    """
    Keeps what a backend reports, in `events`, and in `health` whether it can be reached.

    What no sink should ever be told is kept in `wrong`, in words.
    """

    def __init__(self) -> None:
        self.events: list[LegEvent] = []
        self.health: list[str] = []
        self.wrong: list[str] = []
        self._thread = get_ident()

    def leg_event(self, event: LegEvent) -> None:
        if get_ident() != self._thread:
            self.wrong.append(f"{event} was reported from another thread")
        if self.ends(event.leg):
            self.wrong.append(f"{event} was reported after the end of its leg")
        self.events.append(event)

    def backend_down(self, reason: str) -> None:
        self.health.append(f"down: {reason}")

    def backend_up(self) -> None:
        self.health.append("up")

    def of(self, leg: LegId) -> list[LegEvent]:
        """What was reported of one leg."""
        return [event for event in self.events if event.leg == leg]

    def ends(self, leg: LegId) -> list[Ended]:
        """The end events of one leg; there should never be two."""
        return [event for event in self.of(leg) if isinstance(event, Ended)]


class FakeBackend(LegBackend):
    """
    A backend whose far ends do what the number says, at once, or what the test tells them.

    The numbers are words: "answers", "rings", "rejects", "hangs up", "silent" (answers, then is
    mute to the end of the call), and anything else waits for the test to call `ring`, `answer` and
    `end`. `reachable = False` makes every command raise `BackendUnavailable`.
    """

    Settings = Section

    GIVES_UP_AFTER: Final = 32.0
    """Seconds it waits for a silent far end."""

    def __init__(
        self, name: str = "fake", settings: Any = None, clock: IReactorTime | None = None
    ) -> None:
        self.commands: list[tuple[str, LegId]] = []
        """`("place" or "hang_up", leg)`, in the order they came."""
        self.reachable = True
        self.confirms = True
        """Whether a far end confirms its end at once; else the test calls `end`."""
        self.found: list[FoundLeg] = []
        """What `legs` gives, before the placed ones."""
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
        self._reach()
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
        self._reach()
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

    # What the far end does, when the test says so.

    def ring(self, leg: LegId) -> None:
        self._states[leg] = CallState.ALERTING
        self._report(Progressed(leg))

    def answer(self, leg: LegId) -> None:
        self._states[leg] = CallState.CONNECTED
        self._report(Answered(leg))

    def end(self, leg: LegId, cause: Cause | None = None, *, confirmed: bool = True) -> None:
        """End a leg; without a cause for the one it was asked to end with."""
        state = self._states.pop(leg)
        asked = self._causes.pop(leg, None)
        if cause is None:
            assert asked is not None, "nobody asked for the end of this leg: give a cause"
            status = 200 if state is CallState.CONNECTED else 487
            cause = Cause(by=asked.by, q850=asked.q850, sip_status=status)
        self._report(Ended(leg, cause, confirmed))

    def lose(self, leg: LegId) -> None:
        """Forget a leg without a word, as a PBX does that was restarted."""
        del self._states[leg]

    def _give_up(self, leg: LegId) -> None:
        if leg in self._states and self.sink is not None:
            by = self._causes[leg].by
            cause = Cause(by=by, q850=RECOVERY_ON_TIMER_EXPIRY, sip_status=408)
            self.end(leg, cause, confirmed=False)

    def _reach(self) -> None:
        if not self.reachable:
            raise BackendUnavailable("the test has made it unreachable")

    def _report(self, event: LegEvent) -> None:
        assert self.sink is not None, "an event before start or after stop"
        self.sink.leg_event(event)
