"""An example backend: its far ends are simulated with a dict and timers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel
from twisted.internet.interfaces import IReactorTime

from umd.backend import (
    Answered,
    Ended,
    FoundLeg,
    LegBackend,
    LegId,
    LegSink,
    NoSuchLeg,
    Progressed,
)
from umd.call.call import CallState
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy, rejection
from umd.config import Duration, Section
from umd.runtime.clock import Alarms

GIVE_UP_AFTER = 32.0
"""Seconds after which an unconfirmed hang-up ends the leg, as in SIP (64 T1)."""


class LoopbackSection(Section):
    """`[backend.NAME]` with `type = "loopback"`."""

    answer_after: Duration = 0.1
    """Seconds until a far end answers, and until it confirms a hang-up."""
    calls: int = 0
    """Number of calls that exist at the start, named "loop-1", "loop-2" and so on."""


class LoopbackBackend(LegBackend):
    """
    A backend whose far ends behave by their number.

    "busy" rejects, "ringing" rings for ever, "short" answers and hangs up, "mute" answers and never
    confirms a hang-up. All others answer and stay connected.
    """

    Settings = LoopbackSection

    def __init__(self, name: str, settings: BaseModel, clock: IReactorTime) -> None:
        assert isinstance(settings, LoopbackSection)
        self._delay = settings.answer_after
        self._alarms: Alarms[Callable[[], None]] = Alarms(clock, lambda act: act())
        self._legs: dict[LegId, FoundLeg] = {}
        self._sink: LegSink | None = None
        for number in range(1, settings.calls + 1):
            self._set(LegId(f"loop-{number}"), str(number), CallState.CONNECTED)

    async def start(self, sink: LegSink) -> None:
        self._sink = sink

    async def stop(self) -> None:
        self._sink = None
        self._alarms.stop()

    async def legs(self) -> Sequence[FoundLeg]:
        return list(self._legs.values())

    def place(self, leg: LegId, number: str) -> None:
        self._set(leg, number, CallState.CONNECTING)
        self._alarms.start(self._delay, lambda: self._far_end_decides(leg, number))

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        if leg not in self._legs:
            raise NoSuchLeg(f"no leg {leg}")
        if self._legs[leg].number == "mute":
            unconfirmed = Cause(by=cause.by, q850=RECOVERY_ON_TIMER_EXPIRY, sip_status=408)
            self._alarms.start(GIVE_UP_AFTER, lambda: self._end(leg, unconfirmed, confirmed=False))
        else:
            confirmed = Cause(by=cause.by, q850=cause.q850, sip_status=200)
            self._alarms.start(self._delay, lambda: self._end(leg, confirmed))

    def _far_end_decides(self, leg: LegId, number: str) -> None:
        if number == "busy":
            self._end(leg, rejection(486))
            return
        self._report(leg, Progressed(leg), CallState.ALERTING)
        if number == "ringing":
            return
        self._report(leg, Answered(leg), CallState.CONNECTED)
        if number == "short":
            far_end = Cause(by=EndedBy.FAR_END)
            self._alarms.start(self._delay, lambda: self._end(leg, far_end))

    def _report(self, leg: LegId, event: Progressed | Answered, state: CallState) -> None:
        # The leg may have ended meanwhile. No event may follow the end of a leg.
        if leg in self._legs and self._sink is not None:
            self._set(leg, self._legs[leg].number, state)
            self._sink.leg_event(event)

    def _end(self, leg: LegId, cause: Cause, confirmed: bool = True) -> None:
        if self._legs.pop(leg, None) is not None and self._sink is not None:
            self._sink.leg_event(Ended(leg, cause, confirmed))

    def _set(self, leg: LegId, number: str, state: CallState) -> None:
        self._legs[leg] = FoundLeg(leg=leg, state=state, number=number)
