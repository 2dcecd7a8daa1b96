"""One run: a scenario and a list of choices, from the first step to the last timer, judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from umd.backends.sim.network import Fate as Delays
from umd.call.call import Call
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent
from umd.control.outcome import Outcome
from umd.lab.choices import (
    DELAYS,
    OUTAGE,
    REST,
    Act,
    ActAt,
    Choice,
    CommitFate,
    Fate,
    Fault,
    Verb,
)
from umd.lab.rules import Rule, Violation
from umd.lab.scenario import Expectation, Scenario, Step
from umd.lab.world import RINGING, Line, World

LAST_CLIENT: Final = "last"
"""Who ends what is left when a run is over."""
TOO_MANY: Final = 20_000
"""Steps after which a run will never come to rest; a long one has a few hundred."""


@dataclass(slots=True)
class Turn:
    """One step of a run, for whoever looks for other ways it could have gone."""

    marker: str
    """What happened first in it."""
    sent: list[str] = field(default_factory=list)
    """The labels of the messages that left and were not lost, and of the commits that began."""
    live: bool = True
    """The call is live afterwards."""
    ended: bool = False
    """The call ended in it."""
    rings: bool = False
    """The far end could answer."""
    up: bool = False
    """The far end could hang up."""
    waiting: tuple[str, ...] = ()
    """The clients who could leave."""
    runs: bool = True
    """umd runs, and could crash."""


@dataclass(slots=True)
class Result:
    """What came of a run."""

    violations: list[Violation]
    story: list[Line]
    turns: list[Turn]
    """Up to when everything had come to rest; what the lab itself ended after that is not here."""
    unmet: list[str]
    """The expectations that were not met."""
    not_done: list[Choice]
    """The choices whose place was never come to."""
    seconds: float
    """How late it was on the virtual clock when nothing was left."""

    @property
    def order(self) -> str:
        """What happened in which order, whenever it was: runs that are alike in it are one."""
        return "\n".join(line.marker for line in self.story)


class Run:
    """A run that is going on; `run` is what most callers want."""

    def __init__(self, scenario: Scenario, choices: Iterable[Choice] = (), turns: bool = False):
        self.scenario = scenario
        self.referee = scenario.make_referee()
        self._faults: dict[str, Fate | CommitFate] = {}
        self._acts: defaultdict[str, list[ActAt]] = defaultdict(list)
        self._timed: list[Step] = []
        self._not_done: dict[int, Choice] = {}
        self._dead_until: dict[str, float] = {}
        """By direction: until when everything in it is lost."""
        self._take(scenario, choices)
        self._keep_turns = turns
        self._turns: list[Turn] = []
        self._turn_begins = 0
        self._seen = 0
        """How much of the story was looked at for places that acts wait for."""
        self._missed_messages = False
        """umd was down for longer than the far end retransmits."""
        journal = scenario.journal
        self.world = World(
            scenario.sim_section(),
            scenario.control_settings(),
            self.referee,
            self._fate_of,
            commit_takes=None if journal is None else journal.commit,
            commit_fate_of=self._commit_fate_of,
        )

    def _take(self, scenario: Scenario, choices: Iterable[Choice]) -> None:
        for step in scenario.step:
            if step.after is None:
                self._timed.append(step)
            elif step.do is not None:
                self._wait_for(ActAt(step.do, step.after))
        self._timed.sort(key=lambda step: step.at or 0.0)
        for choice in (*scenario.choices, *choices):
            if isinstance(choice, Fault):
                self._faults[choice.label] = choice.fate
                self._not_done[id(choice)] = choice
            else:
                self._wait_for(choice)

    def _wait_for(self, choice: ActAt) -> None:
        self._acts[choice.after].append(choice)
        self._not_done[id(choice)] = choice

    def finish(self) -> Result:
        """Run it to its end."""
        unmet: list[str] = []
        try:
            self._to_rest()
            unmet = [
                f"{expect.call}: {words}"
                for expect in self.scenario.expect
                for words in unmet_of(self.world, expect, self.world.story)
            ]
            self._over()
        except Exception as error:  # whatever it is, it is a finding
            said = f"{type(error).__name__}: {error} ({where(error)})"
            self.referee.wrong(Rule.RAISED, said, self.world.now)
        return Result(
            self.referee.violations,
            self.world.story,
            self._turns,
            unmet,
            list(self._not_done.values()),
            self.world.now,
        )

    def _to_rest(self) -> None:
        """Let everything happen that does without anybody ending what is left."""
        rested = False
        for _ in range(TOO_MANY):
            if self._act_where_due():
                continue
            due = self.world.clock.next_due()
            if self._timed and (due is None or (self._timed[0].at or 0.0) <= due):
                self._do_step(self._timed.pop(0))
            elif due is None:
                if rested:
                    break
                rested = True
                self.world.note(REST)
            else:
                self.world.step()
            self._turn_done()
        else:
            self.referee.wrong(Rule.NOTHING_LEFT, "it never comes to rest", self.world.now)
        self.referee.at_rest(self.world.now, self._connected)

    @property
    def _connected(self) -> bool:
        """Whether both ends have heard of each other in the end, so that they must agree."""
        filled = CommitFate.FILL in self._faults.values()
        lost_in_crash = bool(self.world.crashes) and filled
        return not self._dead_until and not self._missed_messages and not lost_in_crash

    def _over(self) -> None:
        """End what is left, first here, then at the far end; then nothing may be left."""
        world = self.world
        for call in list(world.calls.values()):
            if world.is_live(call):
                world.disconnect(LAST_CLIENT, call)
                self._rest_again()
        self.referee.at_rest(world.now, self._connected)
        for call in world.calls.values():
            if world.far_session(call) is not None:
                world.hang_up(call)
        self._rest_again()
        world.close()

    def _rest_again(self) -> None:
        for _ in range(TOO_MANY):
            if not self.world.step():
                return
        self.referee.wrong(Rule.NOTHING_LEFT, "it never comes to rest", self.world.now)

    # -- steps and choices

    def _do_step(self, step: Step) -> None:
        world = self.world
        world.clock.go_to(step.at or 0.0)
        if step.do is None:
            assert step.number is not None
            world.place(step.name, step.number)
        else:
            self._do(step.do)

    def _act_where_due(self) -> bool:
        """Do one act whose place has been come to, if there is one."""
        story = self.world.story
        while self._seen < len(story):
            marker = story[self._seen].marker
            waiting = self._acts.get(marker)
            if waiting:
                choice = waiting.pop(0)
                self._not_done.pop(id(choice))
                self._do(choice.act)
                self._turn_done()
                return True
            self._seen += 1
        return False

    def _do(self, act: Act) -> None:
        world = self.world
        call = world.calls.get(act.call)
        if call is None:
            return
        match act.verb:
            case Verb.DISCONNECT | Verb.INSIST if world.up and not world.waits(act.who):
                world.note(str(act))
                world.disconnect(act.who, call, insist=act.verb is Verb.INSIST)
            case Verb.LEAVE if world.waits(act.who):
                world.note(str(act))
                world.leave(act.who)
            case Verb.ANSWER if world.far_session(call, RINGING):
                world.note(str(act))
                world.answer(call)
            case Verb.HANG_UP if world.far_session(call):
                world.note(str(act))
                world.hang_up(call)
            case Verb.CRASH if world.can_crash:
                world.note(str(act))
                world.crash()
            case Verb.STAY_DOWN if world.can_crash:
                world.note(str(act))
                self._missed_messages = True
                world.crash(OUTAGE)
            case _:
                world.note(f"in vain: {act}")

    def _commit_fate_of(self, label: str) -> CommitFate | None:
        fate = self._chosen_fate(label)
        return fate if isinstance(fate, CommitFate) else None

    def _chosen_fate(self, label: str) -> Fate | CommitFate | None:
        fate = self._faults.get(label)
        if fate is not None:
            for choice in list(self._not_done.values()):
                if isinstance(choice, Fault) and choice.label == label:
                    del self._not_done[id(choice)]
        return fate

    def _fate_of(self, label: str, usual: Delays) -> Delays:
        side = ">" if ">" in label else "<"
        fate = self._chosen_fate(label)
        if fate is not None:
            if fate is Fate.CUT:
                self._dead_until[side] = inf
            elif fate is Fate.BREAK:
                self._dead_until.setdefault(side, self.world.now + OUTAGE)
        if self.world.now < self._dead_until.get(side, 0.0):
            return ()
        if not isinstance(fate, Fate) or not usual:
            return usual
        return tuple(usual[0] + later for later in DELAYS[fate])

    # -- turns, for the explorer

    def _turn_done(self) -> bool:
        """Keep what could happen next; False when nothing has happened."""
        if not self._keep_turns:
            return False
        story = self.world.story
        begun = self._turn_begins
        if len(story) == begun or not self.world.calls:
            return False
        self._turn_begins = len(story)
        world = self.world
        call = next(iter(world.calls.values()))
        lines = story[begun:]
        self._turns.append(
            Turn(
                lines[0].marker,
                [label for line in lines if (label := _label_of(line)) is not None],
                live=world.up and world.is_live(call),
                ended=any(line.marker.endswith("Disconnected") for line in lines),
                rings=world.far_session(call, RINGING) is not None,
                up=world.far_session(call) is not None,
                waiting=world.waiting,
                runs=world.can_crash,
            )
        )
        return True


def _label_of(line: Line) -> str | None:
    """The label of a message or of a commit that has a fate; None for any other line."""
    if line.marker.startswith("sent "):
        return line.marker[5:] if line.detail and isinstance(line.detail, tuple) else None
    return line.marker if line.marker.startswith("commit ") else None


def run(scenario: Scenario, choices: Iterable[Choice] = (), *, turns: bool = False) -> Result:
    """
    Run a scenario.

    Args:
        scenario: where it all begins, with the steps and choices of its own.
        choices: further ones.
        turns: whether to keep what could have happened otherwise.
    """
    return Run(scenario, choices, turns).finish()


def where(error: BaseException) -> str:
    """The innermost line of umd's own code."""
    trace, found = error.__traceback__, "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/umd/" in code.co_filename:
            name = code.co_filename.rpartition("/umd/")[2]
            found = f"umd/{name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return found


# -- expectations


def unmet_of(world: World, expect: Expectation, story: Sequence[Line]) -> list[str]:
    """What of an expectation is not so, in words."""
    call = world.calls.get(expect.call)
    if call is None:
        return ["was never placed"]
    events: list[tuple[float, LifecycleEvent]] = [
        (line.at, line.detail)
        for line in story
        if line.marker.startswith("told ") and line.detail.call == call.id
    ]
    found: list[str] = []

    def same(what: str, expected: object, is_: object) -> None:
        if expected is not None and expected != is_:
            found.append(f"expected {what} {_say(expected)}, found {_say(is_)}")

    on_record = world.referee.cases[call.leg].events
    same("events", expect.events, [type(event).__name__ for event in on_record])
    for client, outcome in expect.answers.items():
        same(f"the answer to {client}", outcome.value, _last_answer(story, client))
    cause = call.cause if call.ended else None
    same("by", expect.by and expect.by.value, cause and cause.by.value)
    same("confirmed", expect.confirmed, call.confirmed if call.ended else None)
    same("q850", expect.q850, cause and cause.q850)
    same("sip_status", expect.sip_status, cause and cause.sip_status)
    found += _late(call, expect, events, story)
    return found


def _late(
    call: Call,
    expect: Expectation,
    events: list[tuple[float, LifecycleEvent]],
    story: Sequence[Line],
) -> list[str]:
    found = []
    begun = next((at for at, e in events if isinstance(e, DisconnectRequested)), events[0][0])
    end = next((at for at, event in events if isinstance(event, Disconnected)), None)
    if expect.within is not None and (end is None or end - begun > expect.within):
        took = "never ended" if end is None else f"ended after {end - begun:.3f} s"
        found.append(f"expected the end within {expect.within:g} s: {took}")
    if expect.answered_within is not None:
        asked: dict[str, float] = {}
        for line in story:
            who, _, verb = line.marker.partition(" ")
            if verb.split(" (")[0] in (Verb.DISCONNECT, Verb.INSIST):
                asked[who] = line.at
            elif who == "answered" and verb in asked:
                took_s = line.at - asked.pop(verb)
                if took_s > expect.answered_within + 1e-6:
                    found.append(f"{verb} was answered after {took_s:.3f} s")
        found += [f"{who} was never answered" for who in asked]
    return found


def _last_answer(story: Sequence[Line], client: str) -> str | None:
    answers = [line.detail for line in story if line.marker == f"answered {client}"]
    last = answers[-1] if answers else None
    return last.value if isinstance(last, Outcome) else last and repr(last)


def _say(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
