"""
The world under test: control, the simulator's backend and both ends' SIP core, on a virtual clock.

Nothing here is a stand-in but the clock. The world goes on in steps: one delivery, or what one
timer does, or one act of somebody outside; between two steps anybody may act. Everything that
happens is told to a referee, and kept as a line of the story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

import structlog
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from umd.backend import FoundLeg, LegBackend, LegEvent, LegId, LegSink
from umd.backends.sim import SimBackend
from umd.backends.sim.network import Fate, Flight
from umd.backends.sim.section import SimSection
from umd.backends.sim.simulation import ANSWER, DEAD_HOP, REFUSING_HOP, UMD_HOP
from umd.call.call import Call
from umd.call.cause import Cause
from umd.call.events import LifecycleEvent
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.lab.referee import Asked, Referee, Rule
from umd.sip.message import Message, Request, Response
from umd.sip.session import Session, State

WALL: Final = 1_767_225_600.0  # 2026-01-01, the wall time at which every run begins
APART: Final = 1e-6
"""Seconds that two messages are apart, so that never two arrive at the same moment."""
RINGING: Final = (State.OFFERED,)
UP: Final = (State.OFFERED, State.ANSWERED, State.CONFIRMED)
SILENT_LOG: Final = structlog.wrap_logger(
    None, wrapper_class=structlog.make_filtering_bound_logger(50)
)


class Line(NamedTuple):
    """One thing that happened."""

    at: float
    marker: str
    """What happened, in the words by which a choice can name it."""
    detail: Any = None
    """What there is to tell beyond that: an event, an outcome, the delays of the copies."""
    of: str = ""
    """The leg of the call that it is about."""


class VirtualClock(Clock):
    """A Clock that is moved to a moment, and does one thing at a time."""

    def next_due(self) -> float | None:
        """When the next call is due."""
        return self.calls[0].getTime() if self.calls else None

    def go_to(self, moment: float) -> None:
        """Let it be that late; calls due by then wait for `do_next`."""
        self.rightNow = max(self.rightNow, moment)

    def do_next(self) -> None:
        """Go to where the next call is due, and do it."""
        call = self.calls.pop(0)
        self.go_to(call.getTime())
        call.called = 1
        call.func(*call.args, **call.kw)


class Overheard(LegBackend):
    """The door between control and a backend, with somebody listening at it."""

    Settings = SimSection

    def __init__(self, inner: SimBackend, hear: Callable[[LegEvent], None]) -> None:
        self._inner = inner
        self._hear = hear

    async def start(self, sink: LegSink) -> None:
        await self._inner.start(_OverheardSink(sink, self._hear))

    async def stop(self) -> None:
        await self._inner.stop()

    async def legs(self) -> Sequence[FoundLeg]:
        return await self._inner.legs()

    def place(self, leg: LegId, number: str) -> None:
        self._inner.place(leg, number)

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self._inner.hang_up(leg, cause)


class _OverheardSink(LegSink):
    def __init__(self, sink: LegSink, hear: Callable[[LegEvent], None]) -> None:
        self._sink = sink
        self._hear = hear

    def leg_event(self, event: LegEvent) -> None:
        self._hear(event)
        self._sink.leg_event(event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        self._sink.when_recorded(then, argument)

    def backend_down(self, reason: str) -> None:
        self._sink.backend_down(reason)

    def backend_up(self) -> None:
        self._sink.backend_up()


FateOf: TypeAlias = Callable[[str, Fate], Fate]
"""Given a message's label and what would become of it: what becomes of it."""


class World:
    """
    A world with one control, one backend and any number of calls.

    Args:
        section: the simulator's configuration.
        settings: control's.
        referee: is told everything.
        fate_of: decides what becomes of each message; without, the section's conditions do.
        keep: whether to keep the story; a walk of a million steps does without.
    """

    def __init__(
        self,
        section: SimSection,
        settings: ControlSettings,
        referee: Referee,
        fate_of: FateOf | None = None,
        keep: bool = True,
    ) -> None:
        self.clock = VirtualClock()
        self.referee = referee
        self.story: list[Line] = []
        self.calls: dict[str, Call] = {}
        """By the name that the scenario gave."""
        self.messages = 0
        self._fate_of = fate_of
        self._keep = keep
        self._labels: dict[int, _Labelled] = {}
        self._sent: dict[str, int] = {}
        self._prefixes: dict[str, str] = {}
        """By SIP Call-ID, what its labels begin with: nothing for the first call."""
        self._pending: dict[str, tuple[Deferred[Outcome], Asked]] = {}
        self._invites: list[Request] = []
        self._leg_names = (f"leg-{number}" for number in count(1))
        self._backend = SimBackend("sim", section, self.clock)
        self.simulation = self._backend.simulation
        network = self.simulation.network
        network.tap = self._on_sent
        network.arrival_tap = self._on_landed
        network.fate = self._decide
        self.control = Control(
            backends={"sim": Overheard(self._backend, self._on_leg_event)},
            node="lab",
            clock=self.clock,
            wall=lambda: WALL + self.clock.seconds(),
            journal=NullJournal(self._on_lifecycle),
            log=SILENT_LOG,
            settings=settings,
            make_leg_name=lambda: next(self._leg_names),
        )
        _done(self.control.start())

    # -- what somebody outside does

    def place(self, name: str, number: str) -> Call:
        """Dial a number, and know the call by a name."""
        leg = f"leg-{len(self.calls) + 1}"
        behaviour = self.simulation.directory.find(number)
        self.referee.begin(leg, self.now, behaviour)
        self._prefixes[leg] = f"{name} " if self.calls else ""
        # Known by its leg before the call exists: the record of its placing comes first.
        call = self.control.place(PRINCIPAL, number)
        assert call.leg == leg
        self.calls[name] = call
        self._step_done()
        return call

    def disconnect(self, client: str, call: Call, insist: bool = False) -> None:
        """
        Let a client ask for the end of a call; nobody asks twice at once.

        Args:
            insist: ask again from within the answer.
        """
        self._ask(client, call, insist)
        self._step_done()

    def leave(self, client: str) -> None:
        """Let a client go away without its answer."""
        deferred, asked = self._pending.pop(client)
        asked.left = True
        deferred.cancel()
        self._step_done()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The clients who were not answered yet."""
        return tuple(self._pending)

    def waits(self, client: str) -> bool:
        """Whether a client has not been answered."""
        return client in self._pending

    def answer(self, call: Call) -> None:
        """Let the far end take the call now."""
        session = self.far_session(call, RINGING)
        assert session is not None
        self.simulation.far_ends.release(session)
        session.answer(self.now, body=ANSWER)
        self._pump()

    def hang_up(self, call: Call) -> None:
        """Let the far end decline the call, or end it."""
        session = self.far_session(call, UP)
        assert session is not None
        self.simulation.far_ends.release(session)
        session.hang_up(self.now)
        self._pump()

    def far_session(self, call: Call, states: Sequence[State] = UP) -> Session | None:
        """The call at its far end, while it is in one of these states."""
        for session in self.referee.cases[call.leg].far:
            if session.state in states:
                return session
        return None

    # -- time

    @property
    def now(self) -> float:
        return self.clock.seconds()

    def step(self) -> bool:
        """Let the next thing happen; False when everything has come to rest."""
        if not self.clock.calls:
            return False
        self.clock.do_next()
        self._step_done()
        return True

    def close(self) -> None:
        """Everything was ended: see that nothing is left, anywhere."""
        ends = {"umd": self.simulation.endpoint, "the far end": self.simulation.far_ends.endpoint}
        self.referee.all_over(self.control, ends, len(self.simulation.legs), self.now)
        drained = Deferred.fromCoroutine(self.control.drain())
        if not drained.called:
            self.referee.wrong(Rule.NOTHING_LEFT, "a teardown is left", self.now)

    def note(self, marker: str, detail: Any = None, of: str = "") -> None:
        """Keep a line of the story."""
        if self._keep:
            self.story.append(Line(self.now, marker, detail, of))

    def _pump(self) -> None:
        self._backend.go_on()
        self._step_done()

    def _step_done(self) -> None:
        for invite in self._invites:
            found = self.simulation.far_ends.endpoint.transactions.invite_of(invite)
            if found is not None and isinstance(found.user, Session):
                self.referee.far_session(found.user)
        self._invites.clear()
        self.referee.step_done(self.now)

    # -- clients

    def _ask(self, client: str, call: Call, insist: bool) -> None:
        asked = self.referee.ask(client, call, self.now)
        deferred = Deferred.fromCoroutine(
            self.control.disconnect(Principal(client, "lab"), call.id, f"r-{client}")
        )
        if not deferred.called:
            self._pending[client] = (deferred, asked)
        # Both ends of it are told to the referee; nobody waits for the chain itself.
        _ = deferred.addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(client, call, asked, insist),
            errbackArgs=(client, asked),
        )

    def _answered(
        self, outcome: Outcome, client: str, call: Call, asked: Asked, insist: bool
    ) -> None:
        self._pending.pop(client, None)
        self.note(f"answered {client}", outcome, call.leg)
        self.referee.answered(asked, outcome, self.now)
        if insist:
            self._ask(client, call, False)

    def _failed(self, failure: Failure, client: str, asked: Asked) -> None:
        self._pending.pop(client, None)
        error = failure.value
        assert error is not None
        if not asked.left:
            self.note(f"answered {client}", error, asked.case.leg)
            self.referee.refused(asked, error, self.now)

    # -- what is heard

    def _on_lifecycle(self, call: Call, event: LifecycleEvent) -> None:
        if self._keep:
            prefix = self._prefixes[call.leg]
            self.note(f"told {prefix}{type(event).__name__}", event, call.leg)
        self.referee.lifecycle(call, event, self.now)

    def _on_leg_event(self, event: LegEvent) -> None:
        self.referee.leg_event(event, self.now)

    def _on_sent(self, now: float, flight: Flight) -> None:
        self.messages += 1
        message = flight.message
        if self._keep:
            side = ">" if flight.source.host == UMD_HOP.host else "<"
            kind = f"{self._prefixes.get(message.call_id, '? ')}{side} {kind_of(message)}"
            nth = self._sent[kind] = self._sent.get(kind, 0) + 1
            label = f"{kind} {nth}"
            if flight.target.host == REFUSING_HOP.host:
                self.note(f"sent {label}", "refused", message.call_id)
            else:
                self._labels[id(flight)] = _Labelled(flight, label)
        self.referee.sent(flight, now)

    def _decide(self, flight: Flight) -> Fate:
        fate = self.simulation.network.draw_fate(flight)
        labelled = self._labels[id(flight)] if self._keep else None
        if flight.target.host == DEAD_HOP.host:
            fate = ()
        elif labelled is not None and self._fate_of is not None:
            fate = self._fate_of(labelled.label, fate)
        offset = self.messages % 10_000 * APART
        fate = tuple(delay + offset + copy * APART / 2 for copy, delay in enumerate(fate))
        if labelled is not None:
            self.note(f"sent {labelled.label}", fate, flight.message.call_id)
            labelled.copies = len(fate)
            if not fate:
                del self._labels[id(flight)]
        return fate

    def _on_landed(self, now: float, flight: Flight) -> None:
        if self._keep:
            labelled = self._labels[id(flight)]
            self.note(f"got {labelled.label}", None, flight.message.call_id)
            labelled.copies -= 1
            if not labelled.copies:
                del self._labels[id(flight)]
        message = flight.message
        if isinstance(message, Request) and message.method == "INVITE":
            self._invites.append(message)
        self.referee.landed(flight, now)


class _Labelled:
    """A flight that is on its way, and its label."""

    __slots__ = ("flight", "label", "copies")

    def __init__(self, flight: Flight, label: str) -> None:
        self.flight = flight
        self.label = label
        self.copies = 0


PRINCIPAL: Final = Principal("lab", "lab")


def kind_of(message: Message) -> str:
    """`INVITE`, `200 BYE`."""
    if isinstance(message, Response):
        return f"{message.status} {message.cseq.method}"
    assert isinstance(message, Request)
    return message.method


def _done(coroutine: Any) -> Any:
    """What a coroutine that waits for nothing gives back."""
    results: list[Any] = []
    _ = Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
