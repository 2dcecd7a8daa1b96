"""
Simulated call legs, the embedded default: a far end for every number, by state and timer.

A stand-in for SIP sessions: it answers as a SIP far end would in the end, but exchanges no
messages. Nothing leaves the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal
from uuid import uuid4

from pydantic import AfterValidator, BaseModel, Field
from twisted.internet.interfaces import IReactorTime

from umd.backend import Answered, Ended, FoundLeg, LegBackend, LegId, LegSink, NoSuchLeg, Progressed
from umd.call.call import CallState
from umd.call.call_id import CallId, InvalidCallId, split_call_id
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy, rejection
from umd.clock import Alarms
from umd.config import Duration, Section
from umd.timers import Timer

TRANSACTION_TIMEOUT: Final = 32.0  # seconds, 64*T1: timers B and F of RFC 3261 section 17


@dataclass(frozen=True, slots=True)
class FarEnd:
    """How the party behind a number behaves; None where it never does a thing."""

    words: str
    rings: bool = True
    answers_after: float | None = None
    """Seconds from the start."""
    rejects_with: int | None = None
    """SIP status, at the time it would answer."""
    talks_for: float | None = None
    """Seconds from the answer until it hangs up by itself."""
    silent_to_bye: bool = False


ANSWERS: Final = FarEnd("answers, stays", answers_after=1.0)

FAR_ENDS: Final[Mapping[str, FarEnd]] = {
    "5550100": ANSWERS,
    "5550108": FarEnd("is not there", rings=False),
    "5550120": FarEnd("answers, hangs up after 20 s", answers_after=1.0, talks_for=20.0),
    "5550180": FarEnd("rings for ever"),
    "5550186": FarEnd("is busy", rings=False, answers_after=0.5, rejects_with=486),
    "5550103": FarEnd("rings, then declines", answers_after=2.0, rejects_with=603),
    "5550104": FarEnd("does not exist", rings=False, answers_after=0.5, rejects_with=404),
    "5550199": FarEnd("answers, never answers BYE", answers_after=1.0, silent_to_bye=True),
}
"""By the last seven digits of a number; every other number is like 555 0100."""


def far_end_of(number: str) -> FarEnd:
    """Who is behind a number, whatever else than digits it is written with."""
    digits = "".join(filter(str.isdigit, number))
    return FAR_ENDS.get(digits[-7:], ANSWERS)


def _check_call_id(value: str) -> str:
    try:
        split_call_id(value)
    except InvalidCallId as error:
        raise ValueError(f"base64 of <name>@<node> ({error})") from None
    return value


class Seed(Section):
    """A leg that is there when umd starts."""

    number: Annotated[str, Field(min_length=1)] = "+15550100"
    state: Literal["connecting", "alerting", "connected"] = "connected"
    call_id: Annotated[str, AfterValidator(_check_call_id)] | None = None


class SimSection(Section):
    """`[backend.sim]`."""

    delay: Duration = 0.002
    seed: list[Seed] = []


class _Leg:
    __slots__ = ("id", "number", "far_end", "state", "call_id", "ending", "timer")

    def __init__(self, id: LegId, number: str, call_id: CallId | None = None) -> None:
        self.id = id
        self.number = number
        self.far_end = far_end_of(number)
        self.state = CallState.CONNECTING
        self.call_id = call_id
        self.ending: Cause | None = None
        """The cause it was asked to end with."""
        self.timer: Timer[Callable[[], None]] | None = None
        """The one thing it waits for."""


class SimBackend(LegBackend):
    """Simulated legs on the reactor's clock."""

    Settings = SimSection

    def __init__(self, name: str, settings: BaseModel, clock: IReactorTime) -> None:
        assert isinstance(settings, SimSection)
        self._delay = settings.delay
        """Seconds until the far end's answer to a CANCEL or BYE is there."""
        self._alarms: Alarms[Callable[[], None]] = Alarms(clock, lambda act: act())
        self._legs: dict[LegId, _Leg] = {}
        self._sink: LegSink | None = None
        for seed in settings.seed:
            self._sow(seed)

    async def start(self, sink: LegSink) -> None:
        self._sink = sink

    async def stop(self) -> None:
        self._sink = None
        self._alarms.stop()
        for leg in self._legs.values():
            leg.timer = None

    async def legs(self) -> Sequence[FoundLeg]:
        for leg in self._legs.values():
            # What a leg waited for ended with `stop`; a seed has waited for nothing yet.
            self._go_on(leg)
        return [
            FoundLeg(leg=leg.id, state=leg.state, number=leg.number, call_id=leg.call_id)
            for leg in self._legs.values()
        ]

    def place(self, leg: LegId, number: str) -> None:
        placed = self._legs[leg] = _Leg(leg, number)
        self._go_on(placed)

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        ending = self._legs.get(leg)
        if ending is None:
            raise NoSuchLeg(f"there is no simulated leg {leg}")
        if ending.ending is None:
            ending.ending = cause
            self._go_on(ending)

    def _sow(self, seed: Seed) -> None:
        call_id = None if seed.call_id is None else CallId(seed.call_id)
        name = str(uuid4()) if call_id is None else split_call_id(call_id)[0]
        leg = self._legs[LegId(name)] = _Leg(LegId(name), seed.number, call_id)
        leg.state = CallState(seed.state)

    def _go_on(self, leg: _Leg) -> None:
        """Let the leg wait for what comes next in its state, and for nothing else."""
        if leg.timer is not None:
            leg.timer.cancel()
            leg.timer = None
        after, act = self._next(leg)
        if after is not None:
            leg.timer = self._alarms.start(after, partial(act, leg))

    def _next(self, leg: _Leg) -> tuple[float | None, Callable[[_Leg], None]]:
        far_end = leg.far_end
        if leg.ending is not None:
            unheard = far_end.silent_to_bye and leg.state is CallState.CONNECTED
            if unheard or not (far_end.rings or far_end.answers_after):
                return TRANSACTION_TIMEOUT, self._give_up
            return self._delay, self._confirm
        if leg.state is CallState.CONNECTED:
            return far_end.talks_for, self._far_end_hangs_up
        if leg.state is CallState.CONNECTING and far_end.rings:
            return self._delay, self._ring
        if far_end.rejects_with is not None:
            return far_end.answers_after, self._reject
        if far_end.answers_after is None and not far_end.rings:
            return TRANSACTION_TIMEOUT, self._give_up
        return far_end.answers_after, self._answer

    # What happens to a leg, each the end of one wait.

    def _ring(self, leg: _Leg) -> None:
        leg.state = CallState.ALERTING
        self._report(Progressed(leg.id))
        self._go_on(leg)

    def _answer(self, leg: _Leg) -> None:
        leg.state = CallState.CONNECTED
        self._report(Answered(leg.id))
        self._go_on(leg)

    def _reject(self, leg: _Leg) -> None:
        assert leg.far_end.rejects_with is not None
        self._end(leg, rejection(leg.far_end.rejects_with))

    def _far_end_hangs_up(self, leg: _Leg) -> None:
        self._end(leg, Cause(by=EndedBy.FAR_END))

    def _confirm(self, leg: _Leg) -> None:
        """200 to the BYE of what talks, 487 to the INVITE of what rings."""
        assert leg.ending is not None
        status = 200 if leg.state is CallState.CONNECTED else 487
        self._end(leg, Cause(by=leg.ending.by, q850=leg.ending.q850, sip_status=status))

    def _give_up(self, leg: _Leg) -> None:
        by = EndedBy.DAEMON if leg.ending is None else leg.ending.by
        cause = Cause(by=by, q850=RECOVERY_ON_TIMER_EXPIRY, sip_status=408)
        self._end(leg, cause, confirmed=False)

    def _end(self, leg: _Leg, cause: Cause, confirmed: bool = True) -> None:
        del self._legs[leg.id]
        self._report(Ended(leg.id, cause, confirmed))

    def _report(self, event: Progressed | Answered | Ended) -> None:
        assert self._sink is not None
        self._sink.leg_event(event)
