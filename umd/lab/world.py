"""
The world of a run: umd, the far ends and the network between them, on a virtual clock.

Only the clock, the network and the journal's disk are made up. A run goes in steps: one delivery,
one timer, one commit or one act. Between two steps a client, the far end or a crash may act. Each
event is reported to the referee and kept in the run's log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.backend import LegEvent
from umd.backends.sim.network import Fate, Flight
from umd.backends.sim.section import SimSection
from umd.backends.sim.simulation import ANSWER, DEAD_HOP, REFUSING_HOP
from umd.call.call import Call
from umd.call.events import LifecycleEvent
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.journal.store import Stored
from umd.lab.case import Asked
from umd.lab.choices import CommitFate
from umd.lab.clock import VirtualClock
from umd.lab.node import Node, Setting, SimNode, SipNode, result_of
from umd.lab.referee import Referee
from umd.lab.rules import Rule
from umd.lab.virtual_journal import VirtualDisk
from umd.lab.virtual_udp import UdpNetwork
from umd.sip.message import Message, Request, Response
from umd.sip.session import Session, State

APART: Final = 1e-6
"""Seconds that two messages are apart, so that never two arrive at the same moment."""
RINGING: Final = (State.OFFERED,)
UP: Final = (State.OFFERED, State.ANSWERED, State.CONFIRMED)
RESTART_AFTER: Final = 0.001
"""Seconds from a crash until the next umd has started."""


class Line(NamedTuple):
    """One thing that happened."""

    at: float
    marker: str
    """What happened, in the words by which a choice can name it."""
    detail: Any = None
    """What there is to tell beyond that: an event, an outcome, the delays of the copies."""
    of: str = ""
    """The leg of the call that it is about."""


FateOf: TypeAlias = Callable[[str, Fate], Fate]
"""Given a message's label and what would become of it: what becomes of it."""


CommitFateOf: TypeAlias = Callable[[str], CommitFate | None]
"""Given the label of a commit: what becomes of it."""


class World:
    """
    One umd, or several in turn after crashes, and any number of calls.

    Args:
        section: The simulator's configuration.
        settings: The settings of control.
        referee: Observes everything.
        fate_of: Decides what becomes of each message; without it the section's conditions do.
        commit_fate_of: Decides what becomes of each commit; without it each is durable in time.
        keep: Whether to keep the log of the run; a walk of a million steps does without.
        commit_takes: Seconds that a commit of the journal takes; None: umd keeps no journal.
    """

    def __init__(
        self,
        section: SimSection,
        settings: ControlSettings,
        referee: Referee,
        fate_of: FateOf | None = None,
        keep: bool = True,
        commit_takes: float | None = None,
        commit_fate_of: CommitFateOf | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.referee = referee
        self.story: list[Line] = []
        self.calls: dict[str, Call] = {}
        """By the name that the scenario gave."""
        self.messages = 0
        self.crashes = 0
        self._fate_of = fate_of
        self._commit_fate_of = commit_fate_of
        self._keep = keep
        self._labels: dict[int, _Labelled] = {}
        self._sent: dict[str, int] = {}
        self._prefixes: dict[str, str] = {}
        """By SIP Call-ID, the beginning of its labels: empty for the first call."""
        self._pending: dict[str, tuple[Deferred[Outcome], Asked]] = {}
        self._invites: list[Request] = []
        leg_names = (f"leg-{number}" for number in count(1))
        self._setting = Setting(self.clock, section, settings, self, lambda: next(leg_names))
        self.disk = VirtualDisk()
        self._commit_takes = commit_takes
        self._udp = UdpNetwork(section, self.clock) if commit_takes is not None else None
        self.illegal_events = 0
        """Reports of what cannot happen, to the umds that have crashed."""
        self.up = True
        """Whether a umd runs."""
        self.node = self._make_node()
        network = self.node.network
        network.tap = self._on_sent
        network.arrival_tap = self._on_landed
        network.fate = self._decide
        if referee.durability is not None:
            referee.durability.in_trouble = self._in_trouble
        result_of(self.control.start())

    def _make_node(self) -> Node:
        if self._udp is None or self._commit_takes is None:
            return SimNode(self._setting)
        return SipNode(self._setting, self._udp, self.disk, self._commit_takes)

    @property
    def control(self) -> Control:
        """Control of the umd that runs, or that ran last."""
        return self.node.control

    def _in_trouble(self) -> bool:
        return isinstance(self.node, SipNode) and self.node.store.overdue

    # -- acts

    def place(self, name: str, number: str) -> Call:
        """Dial a number, and know the call by a name."""
        leg = f"leg-{len(self.calls) + 1}"
        behaviour = self.node.directory.find(number)
        self.referee.begin(leg, self.now, behaviour)
        self._prefixes[leg] = f"{name} " if self.calls else ""
        # Known by its leg before the call exists: the record of its placing comes first.
        try:
            call = self.control.place(PRINCIPAL, number)
        except JournalUnavailable:
            del self.referee.cases[leg]
            raise
        assert call.leg == leg
        self.calls[name] = call
        if self.referee.durability is not None:
            self._await_dialled(name, call)
        self._step_done()
        return call

    def _await_dialled(self, name: str, call: Call) -> None:
        """Let the client that places the call wait until it may be told its CallId."""
        durability = self.referee.durability
        assert durability is not None
        case = self.referee.cases[call.leg]

        def dialled(result: object) -> None:
            if not isinstance(result, Failure):
                self.note(f"dialled {name}", None, call.leg)
                durability.placed(case, self.now)
            elif not (result.check(JournalUnavailable) and durability.in_trouble()):
                said = f"its client got {result.value!r}"
                self.referee.wrong(Rule.ANSWERED_ONCE, said, self.now, case)

        _ = Deferred.fromCoroutine(self.control.dialled(call)).addBoth(dialled)

    def crash(self, down_for: float = RESTART_AFTER) -> None:
        """Kill umd, and let a new one start from what is durable after `down_for` seconds."""
        assert isinstance(self.node, SipNode)
        self.node.crash()
        self.crashes += 1
        self.up = False
        self.illegal_events += self.control.counts().refused_events
        self._pending.clear()
        self.referee.crash(self.now)
        self.clock.callLater(down_for, self._restart)

    def _restart(self) -> None:
        self.up = True
        self.note("restarted")
        self.node = self._make_node()
        result_of(self.control.start())
        for name, call in self.calls.items():
            try:
                self.calls[name] = self.control.find(call.id)
            except NoSuchCall:
                pass  # the referee judges whether it may be unknown
        durability = self.referee.durability
        assert durability is not None
        durability.restarted(self.control, self.now)

    @property
    def can_crash(self) -> bool:
        """Whether a umd runs that keeps a journal."""
        return self.up and isinstance(self.node, SipNode)

    def is_live(self, call: Call) -> bool:
        """Whether a call exists and has not ended."""
        return not call.ended and not self.referee.cases[call.leg].forgotten

    def disconnect(self, client: str, call: Call, insist: bool = False) -> None:
        """
        Let a client ask for the end of a call; nobody asks twice at once.

        Args:
            insist: ask again from within the answer.
        """
        self._ask(client, call, insist)
        self._step_done()

    def leave(self, client: str) -> None:
        """Let a client close its connection before it is answered."""
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
        self.node.far_ends.release(session)
        session.answer(self.now, body=ANSWER)
        self._pump()

    def hang_up(self, call: Call) -> None:
        """Let the far end decline the call, or end it."""
        session = self.far_session(call, UP)
        assert session is not None
        self.node.far_ends.release(session)
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
        """Check that nothing is left after every call has ended."""
        node, referee = self.node, self.referee
        ends = {"umd": node.endpoint, "the far end": node.far_ends.endpoint}
        illegal = self.illegal_events + self.control.counts().refused_events
        referee.all_over(self.control, ends, node.legs, illegal, self.now)
        if referee.durability is not None:
            referee.durability.all_over(self.disk.by_call(), self.now)
        drained = Deferred.fromCoroutine(self.control.drain())
        if not drained.called:
            referee.wrong(Rule.NOTHING_LEFT, "a teardown is left", self.now)

    def note(self, marker: str, detail: Any = None, of: str = "") -> None:
        """Keep a line of the story."""
        if self._keep:
            self.story.append(Line(self.now, marker, detail, of))

    def _pump(self) -> None:
        self.node.pump()
        self._step_done()

    def _step_done(self) -> None:
        for invite in self._invites:
            found = self.node.far_ends.endpoint.transactions.invite_of(invite)
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

    def recorded(self, call: Call, event: LifecycleEvent) -> None:
        """Control writes a lifecycle event down."""
        if self._keep:
            prefix = self._prefixes[call.leg]
            self.note(f"told {prefix}{type(event).__name__}", event, call.leg)
        self.referee.lifecycle(call, event, self.now)

    def leg_reported(self, event: LegEvent) -> None:
        """The backend reports an event of a leg."""
        self.referee.leg_event(event, self.now)

    def commit_begins(self, number: int) -> CommitFate | None:
        """A commit of the journal begins."""
        label = f"commit {number}"
        fate = None if self._commit_fate_of is None else self._commit_fate_of(label)
        self.note(label, fate)
        if fate is not None and self.referee.durability is not None:
            self.referee.durability.trouble_seen = True
        return fate

    def commit_durable(self, number: int, records: Sequence[Stored]) -> None:
        """The records of a commit are durable; umd does not know yet."""
        self.note(f"durable {number}", len(records))
        assert self.referee.durability is not None
        self.referee.durability.records_durable(records, self.now)

    def commit_refused(self, number: int) -> None:
        """The disk has refused a commit."""
        self.note(f"refused {number}")

    def commit_acted_on(self, number: int, records: Sequence[Stored]) -> None:
        """umd has been told that the records of a commit are durable."""
        self.note(f"acted on {number}")
        assert self.referee.durability is not None
        self.referee.durability.records_acted_on(records)

    def _on_sent(self, now: float, flight: Flight) -> None:
        self.messages += 1
        message = flight.message
        if self._keep:
            side = ">" if flight.source.host == self.node.umd_host else "<"
            kind = f"{self._prefixes.get(message.call_id, '? ')}{side} {kind_of(message)}"
            nth = self._sent[kind] = self._sent.get(kind, 0) + 1
            label = f"{kind} {nth}"
            if flight.target.host == REFUSING_HOP.host:
                self.note(f"sent {label}", "refused", message.call_id)
            else:
                self._labels[id(flight)] = _Labelled(flight, label)
        self.referee.wire.sent(flight, now)

    def _decide(self, flight: Flight) -> Fate:
        fate = self.node.network.draw_fate(flight)
        labelled = self._labels[id(flight)] if self._keep else None
        if flight.target.host == DEAD_HOP.host or self._is_unreachable(flight):
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

    def _is_unreachable(self, flight: Flight) -> bool:
        """Whether the far end of a call over UDP does not exist."""
        if self._udp is None:
            return False
        case = self.referee.cases.get(flight.message.call_id)
        return case is not None and case.behaviour.reachable != "yes"

    def _on_landed(self, now: float, flight: Flight) -> None:
        if self._keep:
            labelled = self._labels[id(flight)]
            missed = not self.up and flight.target.host == self.node.umd_host
            what = "missed" if missed else "got"
            self.note(f"{what} {labelled.label}", None, flight.message.call_id)
            labelled.copies -= 1
            if not labelled.copies:
                del self._labels[id(flight)]
        if not self.up and flight.target.host == self.node.umd_host:
            return
        message = flight.message
        if isinstance(message, Request) and message.method == "INVITE":
            self._invites.append(message)
        self.referee.wire.landed(flight, now)


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
