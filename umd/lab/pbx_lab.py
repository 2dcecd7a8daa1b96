"""
The race lab over a simulated PBX: runs a story, and checks what must hold after it.

The far ends of the PBX are the truth; neither the PBX nor umd is believed. The PBX lives on while
umd is killed, and a new umd starts from the durable records of a virtual journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from umd.backend import FoundLeg, LegEvent, LegId
from umd.backends.sim_pbx import SimPbxBackend
from umd.backends.sim_pbx.messages import Lie
from umd.backends.sim_pbx.pbx import Pbx
from umd.backends.sim_pbx.section import SimPbxSection
from umd.call.alias import SIP_CALL_ID
from umd.call.call import Call
from umd.call.call_id import CallId, make_call_id
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent, Lost, Resumed
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.errors import UmdError
from umd.journal.ledger import CallLog, Ledger
from umd.journal.replay import ended_calls, live_calls
from umd.journal.store import Step, Stored
from umd.lab.choices import CommitFate
from umd.lab.clock import ProcessReactor, VirtualClock
from umd.lab.node import (
    NODE_NAME,
    SILENT_LOG,
    WALL_TIME_AT_START,
    ObservedJournal,
    Observer,
)
from umd.lab.pbx_stories import Act, Calls, Story, View
from umd.lab.rules import Rule, Violation
from umd.lab.virtual_journal import VirtualDisk, VirtualStore

COMMIT_TAKES: Final = 0.004
"""Seconds; shorter than an event of the PBX."""
LIST_TAKES: Final = 0.015
"""Seconds from a list of the PBX until umd has it; longer than an event."""
ACTS_ARE_OVER_AFTER: Final = 3.0
"""Seconds from the last act until nothing is lost, stale or broken any more."""
SETTLES_IN: Final = 200.0
"""
Seconds until everything has settled: 64 T1 for the far ends, twice that until an end that was not
confirmed is forgotten, and several reconciliations.
"""
RECONCILE_INTERVAL: Final = 15.0
BACKEND: Final = "pbx"
CLIENT: Final = Principal("client", "")
ANSWERS, IS_SILENT, RINGS = "5550100", "5550199", "5550180"


class SlowListBackend(SimPbxBackend):
    """Follows the PBX; its list takes a while, so that it is older than some events."""

    async def legs(self) -> Sequence[FoundLeg]:
        listed = await super().legs()
        await deferLater(self._clock, LIST_TAKES)
        return listed


class PbxNode:
    """
    One umd that follows the PBX, from its start to the end of the story or until it is killed.

    Args:
        run: the run of a story that it belongs to.
    """

    def __init__(self, run: PbxRun) -> None:
        self._pbx = run.pbx
        self._reactor = ProcessReactor(run.clock, _NO_UDP)
        self.ended: Counter[CallId] = Counter()
        """How often each call has ended in this process."""
        log = structlog.wrap_logger(None, processors=[run.take_log_line])
        store = VirtualStore(run.disk, self._reactor, COMMIT_TAKES, run, lambda trouble: None)
        backend = SlowListBackend(BACKEND, run.section, self._reactor, run.pbx)
        backend._log = log
        self.control = Control(
            backends={BACKEND: backend},
            node=NODE_NAME,
            clock=self._reactor,
            wall=lambda: WALL_TIME_AT_START + run.clock.seconds(),
            log=log,
            settings=ControlSettings(reconcile=RECONCILE_INTERVAL),
            journal=ObservedJournal(Ledger(store, CallLog(SILENT_LOG), True), run),
        )
        store.open()
        for ended in ended_calls(store, 0.0, 1000, _raise_unreadable):
            self.control.recover(ended, None)
        for live, leg_record, heard_at in live_calls(store, _raise_unreadable):
            self.control.recover(live, leg_record, heard_at)

    def start(self) -> Deferred[None]:
        """Start umd; it has started when the Deferred fires."""
        return ensureDeferred(self.control.start())

    def kill(self) -> None:
        """End the process: its timers and its records that are not durable are gone."""
        self._reactor.crash()
        self._pbx.on_work = _no_work
        self._pbx.mirror_to(None)
        self._pbx.disconnect()


class Request:
    """
    The request of a client to end a call.

    Args:
        ends: the calls that it ends, the call itself first.
    """

    def __init__(self, name: str, ends: Sequence[Call], node: PbxNode) -> None:
        self.name = name
        self.ends = ends
        self.node = node
        self.answers = 0


class PbxRun(Observer):
    """
    The run of one story.

    Args:
        story: is run by `play`.
    """

    def __init__(self, story: Story) -> None:
        self.story = story
        self.violations: list[Violation] = []
        self.clock = VirtualClock()
        self.disk = VirtualDisk()
        self.section = SimPbxSection(
            witness=story.view is View.WITNESS,
            lists_until_answered=story.view is View.LISTS,
        )
        self.pbx = Pbx(
            self.clock.seconds,
            lies=() if story.lie is None else (story.lie,),
            lists_until_answered=self.section.lists_until_answered,
            mirrors=self.section.witness,
            delay=self.section.delay,
            stale_for=self.section.stale_for,
            wall=lambda: WALL_TIME_AT_START + self.clock.seconds(),
        )
        self._dialogs: dict[str, str] = {}
        """The SIP Call-ID of each channel that was there."""
        self._requests: list[Request] = []
        self._to_end: dict[CallId, tuple[CallId, ...]] = {}
        """The calls whose end was requested, with their partners that were calls then."""
        self._confirmed: set[LegId] = set()
        """The legs whose end was confirmed."""
        self._calls: dict[LegId, CallId] = {}
        """The latest call of each leg."""
        self._durable_requests: set[CallId] = set()
        self._node = PbxNode(self)

    def play(self) -> list[Violation]:
        """Run the story until everything has settled; return what was violated."""
        self._start()
        for act, pause in self.story.acts:
            _PERFORM[act](self)
            self._run_until(self.clock.seconds() + pause)
        self._run_until(self.clock.seconds() + ACTS_ARE_OVER_AFTER)
        self.pbx.loses_events = False
        if self.story.lie is not Lie.STALE_LIST:
            self.pbx.lies.discard(Lie.STALE_LIST)
        self.pbx.allow_connection()
        self._run_until(self.clock.seconds() + SETTLES_IN)
        self._check_answers()
        self._check_ends()
        self._check_live_calls()
        return self.violations

    # -- the acts

    def appear(self) -> None:
        """Let the calls of the story appear."""
        pbx, calls = self.pbx, self.story.calls
        if calls is Calls.RINGING:
            self._dialogs = dict.fromkeys([pbx.ring(RINGS)], "")
        else:
            last = IS_SILENT if calls is Calls.SILENT_PAIR else ANSWERS
            legs = [pbx.new_call(ANSWERS), pbx.new_call(last)]
            pbx.bridge(*legs)
            self._dialogs = dict.fromkeys(legs, "")
        for leg in self._dialogs:
            self._dialogs[leg] = pbx.channels[leg].call_id

    def disconnect(self) -> None:
        """Let a client request the end of the first leg, by CallId."""
        self._request(make_call_id(next(iter(self._dialogs)), BACKEND), accept_alias=False)

    def disconnect_by_alias(self) -> None:
        """Let a client request the end of the last leg, by its SIP Call-ID."""
        self._request(CallId(list(self._dialogs.values())[-1]), accept_alias=True)

    def hang_up(self) -> None:
        """Let the far end of the first leg hang up."""
        self.pbx.far_end_hangs_up(next(iter(self._dialogs)))

    def lose_events(self) -> None:
        """Lose the events of the PBX."""
        self.pbx.loses_events = True

    def make_list_stale(self) -> None:
        """Let the list of the PBX be old."""
        self.pbx.lies.add(Lie.STALE_LIST)

    def kill(self) -> None:
        """Kill umd, and start another."""
        self._node.kill()
        self._node = PbxNode(self)
        self._start()

    def _start(self) -> None:
        """Start umd, which serves no client until that is done."""
        started = self._node.start()
        _ = started.addErrback(lambda failure: self._report(Rule.RAISED, f"{failure.value!r}"))
        while not started.called and self._do_next(self.clock.seconds() + LIST_TAKES):
            pass
        if not started.called:
            self._report(Rule.RAISED, "umd does not start")

    def _request(self, name: CallId, *, accept_alias: bool) -> None:
        control = self._node.control
        try:
            call = control.find(name, accept_alias=accept_alias)
        except NoSuchCall:
            return  # umd has not heard of it yet
        live = [] if call.ended else [call]
        live += [other for other in control.live_calls() if live and other.id in call.partners]
        request = Request(name, live, self._node)
        self._requests.append(request)
        answer = ensureDeferred(control.disconnect(CLIENT, name, accept_alias=accept_alias))
        _ = answer.addBoth(partial(self._answered, request))

    def _answered(self, request: Request, answer: Outcome | Failure) -> None:
        request.answers += 1
        if isinstance(answer, Failure):
            if answer.check(UmdError) is None:
                self._report(Rule.RAISED, f"{request.name}: {answer.value!r}")
        elif answer is Outcome.ENDED:
            for call in request.ends:
                self._check_down(call, f"the request to end {request.name} was answered")

    # -- the time

    def _run_until(self, moment: float) -> None:
        """Let umd and the PBX do all that is due by then."""
        while self._do_next(moment):
            pass
        self.clock.go_to(moment)

    def _do_next(self, until: float) -> bool:
        """Let umd or the PBX do what is due next; return whether anything is, until a moment."""
        clock, pbx = self.clock, self.pbx
        umd_due, pbx_due = clock.next_due(), pbx.next_due()
        if pbx_due is not None and pbx_due <= until and (umd_due is None or pbx_due <= umd_due):
            clock.go_to(pbx_due)
            pbx.run(clock.seconds())
            return True
        if umd_due is not None and umd_due <= until:
            clock.do_next()
            return True
        return False

    # -- what happens inside umd

    def take_log_line(self, log: Any, method: str, fields: Any) -> str:
        """Take a line of the log: no exception may be logged."""
        if fields.get("exc_info") or method in ("exception", "critical"):
            self._report(Rule.RAISED, f"{fields.get('event')}: {fields}")
        raise structlog.DropEvent

    def leg_reported(self, event: LegEvent) -> None:
        pass

    def recorded(self, call: Call, event: LifecycleEvent) -> None:
        if isinstance(event, DisconnectRequested):
            # A leg of which umd has not heard is no call, though another one names it.
            live = {other.id for other in self._node.control.live_calls()}
            self._to_end[call.id] = tuple(live.intersection(call.partners))
        if isinstance(event, Resumed):
            self._check_new_life(call)
        if not isinstance(event, (Disconnected, Lost)):
            return
        self._node.ended[call.id] += 1
        if self._node.ended[call.id] > 1:
            self._report(Rule.ONE_END, f"call {call.id} ended twice")
        if isinstance(event, Disconnected) and event.confirmed:
            self._confirmed.add(call.leg)
            self._check_down(call, f"its end was confirmed ({event.shown_by})")

    def commit_begins(self, number: int) -> CommitFate | None:
        return None

    def commit_durable(self, number: int, records: Sequence[Stored]) -> None:
        requested = b'"call.disconnect-requested"'
        self._durable_requests |= {
            CallId(stored.call) for stored in records if requested in stored.record
        }

    def commit_refused(self, number: int) -> None:
        pass

    def commit_acted_on(self, number: int, records: Sequence[Stored]) -> None:
        pass

    # -- what must hold

    def _report(self, rule: Rule, text: str) -> None:
        self.violations.append(Violation(rule, text, self.clock.seconds()))

    def _check_down(self, call: Call, why: str) -> None:
        """The far end of a call that is reported as ended and confirmed has left its dialog."""
        if self._dialogs.get(call.leg, "?") in self.pbx.far_ends.holding().values():
            self._report(Rule.TRUTHFUL, f"{why}, and the far end of {call.id} is in its call")

    def _check_new_life(self, call: Call) -> None:
        """A leg that has ended is a call again only if the PBX still has it, and said otherwise."""
        before = self._calls.setdefault(call.leg, call.id)
        self._calls[call.leg] = call.id
        if before == call.id:
            return
        if call.leg in self._confirmed:
            self._report(Rule.ONE_END, f"the leg of {before} is a call again, {call.id}")
        elif call.leg not in self.pbx.channels and Lie.STALE_LIST not in self.pbx.lies:
            self._report(Rule.HEARD, f"the leg of {before} is a call again, and is gone")

    def _check_answers(self) -> None:
        for request in self._requests:
            if request.answers > 1 or (not request.answers and request.node is self._node):
                answered = f"was answered {request.answers} times"
                self._report(Rule.ANSWERED_ONCE, f"the request to end {request.name} {answered}")

    def _check_ends(self) -> None:
        """Each call has one durable end or lives, and each requested end was carried out."""
        live = {call.id for call in self._node.control.live_calls()}
        ended = set()
        for name, records in self.disk.by_call().items():
            steps = [step for _, step in records]
            ends = steps.count(Step.ENDS)
            if ends > 1 or (ends and steps[-1] != Step.ENDS):
                self._report(Rule.ONE_END, f"call {name} has {ends} ends on record, or goes on")
            if bool(ends) == (CallId(name) in live):
                self._report(Rule.ONE_END, f"call {name} has {ends} ends on record, and lives?")
            if ends:
                ended.add(CallId(name))
        for call in self._durable_requests:
            for to_end in (call, *self._to_end[call]):
                if to_end not in ended:
                    self._report(Rule.RECOVERED, f"{to_end} was to end by request, and did not")
        if self._node.control.counts().refused_events:
            self._report(Rule.LEGAL, "the backend has reported what cannot happen")

    def _check_live_calls(self) -> None:
        """The live calls are the live channels, and every id leads to its call."""
        control = self._node.control
        legs = [call.leg for call in control.live_calls()]
        if sorted(legs) != sorted(self.pbx.channels):
            text = f"umd has the legs {sorted(legs)}, the PBX has {sorted(self.pbx.channels)}"
            self._report(Rule.HEARD, text)
        for call in control.live_calls():
            channel = self.pbx.channels.get(call.leg)
            if channel is None:
                continue
            names = {call.id, channel.id, channel.name, channel.call_id, *call.aliases.values()}
            if call.aliases.get(SIP_CALL_ID) != self._dialogs.get(call.leg):
                self._report(Rule.HEARD, f"call {call.id} has not the SIP Call-ID of its leg")
            for name in sorted(names):
                self._check_name(name, call)

    def _check_name(self, name: str, call: Call) -> None:
        try:
            named = self._node.control.resolve(name)
        except UmdError as error:
            self._report(Rule.HEARD, f"{name!r} does not lead to call {call.id}: {error}")
            return
        if named is not call and not (name == call.leg and named.leg == call.leg):
            self._report(Rule.HEARD, f"{name!r} leads to {named.id} and not to {call.id}")


_PERFORM: Final[dict[Act, Callable[[PbxRun], object]]] = {
    Act.APPEARS: PbxRun.appear,
    Act.DISCONNECT: PbxRun.disconnect,
    Act.DISCONNECT_BY_ALIAS: PbxRun.disconnect_by_alias,
    Act.HANGS_UP: PbxRun.hang_up,
    Act.EVENTS_LOST: PbxRun.lose_events,
    Act.CONNECTION_LOST: lambda run: run.pbx.break_connection(),
    Act.CONNECTION_BACK: lambda run: run.pbx.allow_connection(),
    Act.LIST_STALE: PbxRun.make_list_stale,
    Act.KILLED: PbxRun.kill,
}


class PbxTally:
    """What the runs of some stories have shown."""

    def __init__(self) -> None:
        self.runs = 0
        self.violated = 0
        """Runs in which something was violated."""
        self.findings: list[tuple[Story, Violation]] = []
        """The first violation of each run, of the first `MAX_FINDINGS` runs with one."""

    def add(self, story: Story, violations: Sequence[Violation]) -> None:
        """Count a run."""
        self.runs += 1
        if violations:
            self.violated += 1
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append((story, violations[0]))


MAX_FINDINGS: Final = 20


def explore_pbx(stories: Iterable[Story]) -> PbxTally:
    """Run stories, and return what they have shown."""
    tally = PbxTally()
    for story in stories:
        tally.add(story, PbxRun(story).play())
    return tally


class _NoUdp:
    def listenUDP(self, *arguments: Any, **keywords: Any) -> Any:
        raise NotImplementedError


_NO_UDP: Final = _NoUdp()


def _no_work() -> None:
    pass


def _raise_unreadable(stored: Stored, error: Exception) -> None:
    raise error
