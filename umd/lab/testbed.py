"""
The test bed of a run: umd, the far ends and the network between them, on a virtual clock.

Only the clock, the network and the journal's disk are simulated. A run goes in steps: a step is one
delivery, one timer, one commit or one act. Between two steps a client or the far end may act, and
umd may crash. The test bed gives each event to the checker and keeps it in the log of the run.
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
from umd.lab.checker import InvariantChecker
from umd.lab.choices import CommitFate
from umd.lab.clock import VirtualClock
from umd.lab.node import Node, Setting, SimNode, SipNode, result_of
from umd.lab.observed import ObservedRequest
from umd.lab.rules import Rule
from umd.lab.virtual_journal import VirtualDisk
from umd.lab.virtual_udp import UdpNetwork
from umd.sip.message import Message, Request, Response
from umd.sip.session import Session, State

MESSAGE_SPACING: Final = 1e-6
"""Seconds between two messages, so that no two arrive at the same moment."""
RINGING: Final = (State.OFFERED,)
"""The states of a far end's session that can still answer."""
UP: Final = (State.OFFERED, State.ANSWERED, State.CONFIRMED)
"""The states of a far end's session that can hang up."""
RESTART_AFTER: Final = 0.001
"""Seconds from a crash until the next umd has started."""


class LogLine(NamedTuple):
    """One event of a run."""

    at: float
    """Seconds on the virtual clock."""
    marker: str
    """The event, in the words by which a choice names it."""
    detail: Any = None
    """More about it: a lifecycle event, an outcome, or the delay of each copy of a message."""
    leg: str = ""
    """The leg of the call that it belongs to; empty where it belongs to no call."""


FateOf: TypeAlias = Callable[[str, Fate], Fate]
"""Called with the label of a message and the fate it would have; returns the fate it gets."""
CommitFateOf: TypeAlias = Callable[[str], CommitFate | None]
"""Called with the label of a commit; returns its fate, None: it becomes durable in time."""


class Testbed:
    """
    One umd at a time, a new one after each crash, and any number of calls.

    Args:
        section: The simulator's configuration.
        settings: The settings of control.
        checker: Is given each event.
        fate_of: Decides the fate of each message; without it the section's conditions do.
        keep: Whether to keep the log of the run. A walk of a million steps does without.
        commit_takes: Seconds that a commit of the journal takes; None: umd keeps no journal.
        commit_fate_of: Decides the fate of each commit; without it each is durable in time.
    """

    def __init__(
        self,
        section: SimSection,
        settings: ControlSettings,
        checker: InvariantChecker,
        fate_of: FateOf | None = None,
        keep: bool = True,
        commit_takes: float | None = None,
        commit_fate_of: CommitFateOf | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.checker = checker
        self.run_log: list[LogLine] = []
        self.calls: dict[str, Call] = {}
        """By the name that the scenario gave."""
        self.messages = 0
        """Messages that have left umd and the far ends."""
        self.crashes = 0
        self._fate_of = fate_of
        self._commit_fate_of = commit_fate_of
        self._keep = keep
        self._labels: dict[int, _LabelledFlight] = {}
        self._sent: dict[str, int] = {}
        self._prefixes: dict[str, str] = {}
        """By SIP Call-ID, the beginning of its labels: empty for the first call."""
        self._pending: dict[str, tuple[Deferred[Outcome], ObservedRequest]] = {}
        self._invites: list[Request] = []
        leg_names = (f"leg-{number}" for number in count(1))
        self._setting = Setting(self.clock, section, settings, self, lambda: next(leg_names))
        self.disk = VirtualDisk()
        self._commit_takes = commit_takes
        self._udp = UdpNetwork(section, self.clock) if commit_takes is not None else None
        self.illegal_events = 0
        """Events of backends that control has refused as impossible, before the last crash."""
        self.up = True
        """Whether a umd runs."""
        self.node = self._make_node()
        network = self.node.network
        network.tap = self._on_sent
        network.arrival_tap = self._on_arrived
        network.fate = self._decide
        if checker.journal is not None:
            checker.journal.in_trouble = self._in_trouble
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
        """
        Place a call.

        Args:
            name: The name of the call in choices and labels.
            number: The number of the far end.

        Raises:
            JournalUnavailable: The journal refuses records at the moment; nothing was dialled.
        """
        leg = f"leg-{len(self.calls) + 1}"
        behaviour = self.node.directory.find(number)
        self.checker.begin(leg, self.now, behaviour)
        self._prefixes[leg] = f"{name} " if self.calls else ""
        # The checker must know the leg first: control records the placing before `place` returns.
        try:
            call = self.control.place(PRINCIPAL, number)
        except JournalUnavailable:
            del self.checker.calls[leg]
            raise
        assert call.leg == leg
        self.calls[name] = call
        if self.checker.journal is not None:
            self._await_dialled(name, call)
        self._step_done()
        return call

    def _await_dialled(self, name: str, call: Call) -> None:
        """Let the client that places the call wait until it may have the CallId."""
        rules = self.checker.journal
        assert rules is not None
        observed = self.checker.calls[call.leg]

        def dialled(result: object) -> None:
            if not isinstance(result, Failure):
                self.note(f"dialled {name}", None, call.leg)
                rules.placed(observed, self.now)
            elif not (result.check(JournalUnavailable) and rules.in_trouble()):
                text = f"the client that placed it got {result.value!r}"
                self.checker.report(Rule.ANSWERED_ONCE, text, self.now, observed)

        _ = Deferred.fromCoroutine(self.control.dialled(call)).addBoth(dialled)

    def crash(self, down_for: float = RESTART_AFTER) -> None:
        """Kill umd; `down_for` seconds later a new one starts from the durable records."""
        assert isinstance(self.node, SipNode)
        self.node.crash()
        self.crashes += 1
        self.up = False
        self.illegal_events += self.control.counts().refused_events
        self._pending.clear()
        self.checker.crash(self.now)
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
                pass  # the checker judges whether it may be unknown
        rules = self.checker.journal
        assert rules is not None
        rules.restarted(self.control, self.now)

    @property
    def can_crash(self) -> bool:
        """Whether a umd runs that keeps a journal."""
        return self.up and isinstance(self.node, SipNode)

    def is_live(self, call: Call) -> bool:
        """Whether a call exists and has not ended."""
        return not call.ended and not self.checker.calls[call.leg].forgotten

    def disconnect(self, client: str, call: Call, insist: bool = False) -> None:
        """
        Let a client ask for the end of a call. A client has one request at a time.

        Args:
            insist: Whether it asks again from within the callback of the answer.
        """
        self._ask(client, call, insist)
        self._step_done()

    def leave(self, client: str) -> None:
        """Let a client close its connection before it is answered."""
        deferred, request = self._pending.pop(client)
        request.gone = True
        deferred.cancel()
        self._step_done()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The clients that wait for an answer."""
        return tuple(self._pending)

    def waits(self, client: str) -> bool:
        """Whether a client waits for an answer."""
        return client in self._pending

    def answer(self, call: Call) -> None:
        """Let the far end answer the call."""
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
        """Return the far end's session of a call if it is in one of these states."""
        for session in self.checker.calls[call.leg].sessions:
            if session.state in states:
                return session
        return None

    # -- time

    @property
    def now(self) -> float:
        return self.clock.seconds()

    def step(self) -> bool:
        """Run the next step; return False if nothing is under way any more."""
        if not self.clock.calls:
            return False
        self.clock.do_next()
        self._step_done()
        return True

    def close(self) -> None:
        """Check that nothing is left after every call has ended."""
        node, checker = self.node, self.checker
        ends = {"umd": node.endpoint, "the far end": node.far_ends.endpoint}
        illegal = self.illegal_events + self.control.counts().refused_events
        checker.all_over(self.control, ends, node.legs, illegal, self.now)
        if checker.journal is not None:
            checker.journal.all_over(self.disk.by_call(), self.now)
        drained = Deferred.fromCoroutine(self.control.drain())
        if not drained.called:
            checker.report(Rule.NOTHING_LEFT, "a teardown is left", self.now)

    def note(self, marker: str, detail: Any = None, leg: str = "") -> None:
        """Keep a line of the log."""
        if self._keep:
            self.run_log.append(LogLine(self.now, marker, detail, leg))

    def _pump(self) -> None:
        self.node.pump()
        self._step_done()

    def _step_done(self) -> None:
        for invite in self._invites:
            found = self.node.far_ends.endpoint.transactions.invite_of(invite)
            if found is not None and isinstance(found.user, Session):
                self.checker.far_session(found.user)
        self._invites.clear()
        self.checker.step_done(self.now)

    # -- clients

    def _ask(self, client: str, call: Call, insist: bool) -> None:
        request = self.checker.ask(client, call.leg, self.now)
        deferred = Deferred.fromCoroutine(
            self.control.disconnect(Principal(client, "lab"), call.id, f"r-{client}")
        )
        if not deferred.called:
            self._pending[client] = (deferred, request)
        # Both callbacks report to the checker, so that the Deferred itself is not waited for.
        _ = deferred.addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(client, call, request, insist),
            errbackArgs=(client, request),
        )

    def _answered(
        self, outcome: Outcome, client: str, call: Call, request: ObservedRequest, insist: bool
    ) -> None:
        self._pending.pop(client, None)
        self.note(f"answered {client}", outcome, call.leg)
        self.checker.answered(request, outcome, self.now)
        if insist:
            self._ask(client, call, False)

    def _failed(self, failure: Failure, client: str, request: ObservedRequest) -> None:
        self._pending.pop(client, None)
        error = failure.value
        assert error is not None
        if not request.gone:
            self.note(f"answered {client}", error, request.call.leg)
            self.checker.refused(request, error, self.now)

    # -- what is observed

    def recorded(self, call: Call, event: LifecycleEvent) -> None:
        """Observe a lifecycle event that control writes down."""
        if self._keep:
            prefix = self._prefixes[call.leg]
            self.note(f"told {prefix}{type(event).__name__}", event, call.leg)
        self.checker.lifecycle(call, event, self.now)

    def leg_reported(self, event: LegEvent) -> None:
        """Observe an event that the backend reports."""
        self.checker.leg_event(event, self.now)

    def commit_begins(self, number: int) -> CommitFate | None:
        """Observe that a commit begins, and return its fate."""
        label = f"commit {number}"
        fate = None if self._commit_fate_of is None else self._commit_fate_of(label)
        self.note(label, fate)
        if fate is not None and self.checker.journal is not None:
            self.checker.journal.trouble_seen = True
        return fate

    def commit_durable(self, number: int, records: Sequence[Stored]) -> None:
        """Observe that the records of a commit are durable; umd does not know yet."""
        self.note(f"durable {number}", len(records))
        assert self.checker.journal is not None
        self.checker.journal.records_durable(records, self.now)

    def commit_refused(self, number: int) -> None:
        """Observe that the disk has refused a commit."""
        self.note(f"refused {number}")

    def commit_acted_on(self, number: int, records: Sequence[Stored]) -> None:
        """Observe that umd has acted on a commit."""
        self.note(f"acted on {number}")
        assert self.checker.journal is not None
        self.checker.journal.records_acted_on(records)

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
                self._labels[id(flight)] = _LabelledFlight(flight, label)
        self.checker.wire.sent(flight, now)

    def _decide(self, flight: Flight) -> Fate:
        fate = self.node.network.draw_fate(flight)
        labelled_flight = self._labels[id(flight)] if self._keep else None
        if flight.target.host == DEAD_HOP.host or self._is_unreachable(flight):
            fate = ()
        elif labelled_flight is not None and self._fate_of is not None:
            fate = self._fate_of(labelled_flight.label, fate)
        offset = self.messages % 10_000 * MESSAGE_SPACING
        fate = tuple(delay + offset + copy * MESSAGE_SPACING / 2 for copy, delay in enumerate(fate))
        if labelled_flight is not None:
            self.note(f"sent {labelled_flight.label}", fate, flight.message.call_id)
            labelled_flight.copies = len(fate)
            if not fate:
                del self._labels[id(flight)]
        return fate

    def _is_unreachable(self, flight: Flight) -> bool:
        """Whether a message over UDP goes to or comes from a far end that does not exist."""
        if self._udp is None:
            return False
        call = self.checker.calls.get(flight.message.call_id)
        return call is not None and call.behaviour.reachable != "yes"

    def _on_arrived(self, now: float, flight: Flight) -> None:
        if self._keep:
            labelled_flight = self._labels[id(flight)]
            missed = not self.up and flight.target.host == self.node.umd_host
            verb = "missed" if missed else "got"
            self.note(f"{verb} {labelled_flight.label}", None, flight.message.call_id)
            labelled_flight.copies -= 1
            if not labelled_flight.copies:
                del self._labels[id(flight)]
        if not self.up and flight.target.host == self.node.umd_host:
            return
        message = flight.message
        if isinstance(message, Request) and message.method == "INVITE":
            self._invites.append(message)
        self.checker.wire.arrived(flight, now)


class _LabelledFlight:
    """A message under way, its label, and how many copies of it have still to arrive."""

    __slots__ = ("flight", "label", "copies")

    def __init__(self, flight: Flight, label: str) -> None:
        self.flight = flight
        self.label = label
        self.copies = 0


PRINCIPAL: Final = Principal("lab", "lab")


def kind_of(message: Message) -> str:
    """Return the kind of a message as labels have it: `INVITE`, `200 BYE`."""
    if isinstance(message, Response):
        return f"{message.status} {message.cseq.method}"
    assert isinstance(message, Request)
    return message.method
