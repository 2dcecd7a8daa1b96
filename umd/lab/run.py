"""One run of a scenario with a list of choices, from the first step to the last timer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from umd.backends.sim.network import Fate as Delays
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
from umd.lab.expectations import unmet_of
from umd.lab.rules import Rule, Violation
from umd.lab.scenario import Scenario, Step
from umd.lab.testbed import RINGING, LogLine, Testbed

LAST_CLIENT: Final = "last"
"""The name of the client that ends the calls that are live when a run has come to rest."""
MAX_STEPS: Final = 20_000
"""Steps after which a run counts as one that never comes to rest; a long run has some hundred."""


@dataclass(slots=True)
class BranchPoint:
    """A step of a run after which it could have gone another way; for the explorer."""

    marker: str
    """The marker of the first event in the step."""
    sent: list[str] = field(default_factory=list)
    """The labels of the messages that left and were not lost, and of the commits that began."""
    live: bool = True
    """The call is live after the step."""
    ended: bool = False
    """The call ended in the step."""
    rings: bool = False
    """The far end could answer."""
    up: bool = False
    """The far end could hang up."""
    waiting: tuple[str, ...] = ()
    """The clients that could leave."""
    runs: bool = True
    """umd runs, and could crash."""


@dataclass(slots=True)
class Result:
    """The result of a run."""

    violations: list[Violation]
    run_log: list[LogLine]
    branch_points: list[BranchPoint]
    """Until the run came to rest, without the steps in which the lab ends the calls itself."""
    unmet: list[str]
    """The expectations that were not met."""
    not_done: list[Choice]
    """The choices whose place was never reached."""
    seconds: float
    """The virtual time at the end of the run."""

    @property
    def order(self) -> str:
        """The markers of all events in order: runs with the same order are one interleaving."""
        return "\n".join(line.marker for line in self.run_log)


class Run:
    """A run that is going on; most callers use `run`."""

    def __init__(
        self, scenario: Scenario, choices: Iterable[Choice] = (), branch_points: bool = False
    ) -> None:
        self.scenario = scenario
        self.checker = scenario.make_checker()
        self._faults: dict[str, Fate | CommitFate] = {}
        self._acts: defaultdict[str, list[ActAt]] = defaultdict(list)
        self._timed: list[Step] = []
        self._not_done: dict[int, Choice] = {}
        self._dead_until: dict[str, float] = {}
        """By direction, the time until which every message in it is lost."""
        self._take(scenario, choices)
        self._keeps_branch_points = branch_points
        self._branch_points: list[BranchPoint] = []
        self._point_begins = 0
        self._seen = 0
        """How many lines of the log were searched for the places at which acts are due."""
        self._missed_messages = False
        """umd was down for longer than the far end retransmits."""
        journal = scenario.journal
        self.testbed = Testbed(
            scenario.sim_section(),
            scenario.control_settings(),
            self.checker,
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
        """Run to the end."""
        unmet: list[str] = []
        try:
            self._to_rest()
            unmet = [
                f"{expect.call}: {problem}"
                for expect in self.scenario.expect
                for problem in unmet_of(self.testbed, expect, self.testbed.run_log)
            ]
            self._over()
        except Exception as error:  # any exception is a finding
            text = f"{type(error).__name__}: {error} ({where(error)})"
            self.checker.report(Rule.RAISED, text, self.testbed.now)
        return Result(
            self.checker.violations,
            self.testbed.run_log,
            self._branch_points,
            unmet,
            list(self._not_done.values()),
            self.testbed.now,
        )

    def _to_rest(self) -> None:
        """Run until nothing is under way any more; calls may be live then."""
        rested = False
        for _ in range(MAX_STEPS):
            if self._act_where_due():
                continue
            due = self.testbed.clock.next_due()
            if self._timed and (due is None or (self._timed[0].at or 0.0) <= due):
                self._do_step(self._timed.pop(0))
            elif due is None:
                if rested:
                    break
                rested = True
                self.testbed.note(REST)
            else:
                self.testbed.step()
            self._note_branch_point()
        else:
            self.checker.report(Rule.NOTHING_LEFT, "it never comes to rest", self.testbed.now)
        self.checker.at_rest(self.testbed.now, self._connected)

    @property
    def _connected(self) -> bool:
        """Whether messages got through in the end, so that both ends must agree."""
        filled = CommitFate.FILL in self._faults.values()
        lost_in_crash = bool(self.testbed.crashes) and filled
        return not self._dead_until and not self._missed_messages and not lost_in_crash

    def _over(self) -> None:
        """End the live calls, first at umd, then at the far end; check that nothing is left."""
        testbed = self.testbed
        for call in list(testbed.calls.values()):
            if testbed.is_live(call):
                testbed.disconnect(LAST_CLIENT, call)
                self._rest_again()
        self.checker.at_rest(testbed.now, self._connected)
        for call in testbed.calls.values():
            if testbed.far_session(call) is not None:
                testbed.hang_up(call)
        self._rest_again()
        testbed.close()

    def _rest_again(self) -> None:
        for _ in range(MAX_STEPS):
            if not self.testbed.step():
                return
        self.checker.report(Rule.NOTHING_LEFT, "it never comes to rest", self.testbed.now)

    # -- steps and choices

    def _do_step(self, step: Step) -> None:
        testbed = self.testbed
        testbed.clock.go_to(step.at or 0.0)
        if step.do is None:
            assert step.number is not None
            testbed.place(step.name, step.number)
        else:
            self._do(step.do)

    def _act_where_due(self) -> bool:
        """Do one act whose place has been reached; return whether there was one."""
        run_log = self.testbed.run_log
        while self._seen < len(run_log):
            marker = run_log[self._seen].marker
            waiting = self._acts.get(marker)
            if waiting:
                choice = waiting.pop(0)
                self._not_done.pop(id(choice))
                self._do(choice.act)
                self._note_branch_point()
                return True
            self._seen += 1
        return False

    def _do(self, act: Act) -> None:
        testbed = self.testbed
        call = testbed.calls.get(act.call)
        if call is None:
            return
        match act.verb:
            case Verb.DISCONNECT | Verb.INSIST if testbed.up and not testbed.waits(act.party):
                testbed.note(str(act))
                testbed.disconnect(act.party, call, insist=act.verb is Verb.INSIST)
            case Verb.LEAVE if testbed.waits(act.party):
                testbed.note(str(act))
                testbed.leave(act.party)
            case Verb.ANSWER if testbed.far_session(call, RINGING):
                testbed.note(str(act))
                testbed.answer(call)
            case Verb.HANG_UP if testbed.far_session(call):
                testbed.note(str(act))
                testbed.hang_up(call)
            case Verb.CRASH if testbed.can_crash:
                testbed.note(str(act))
                testbed.crash()
            case Verb.STAY_DOWN if testbed.can_crash:
                testbed.note(str(act))
                self._missed_messages = True
                testbed.crash(OUTAGE)
            case _:
                testbed.note(f"in vain: {act}")

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
                self._dead_until.setdefault(side, self.testbed.now + OUTAGE)
        if self.testbed.now < self._dead_until.get(side, 0.0):
            return ()
        if not isinstance(fate, Fate) or not usual:
            return usual
        return tuple(usual[0] + later for later in DELAYS[fate])

    # -- branch_points, for the explorer

    def _note_branch_point(self) -> bool:
        """Keep the step as a branch point; return False if nothing has happened in it."""
        if not self._keeps_branch_points:
            return False
        run_log = self.testbed.run_log
        begun = self._point_begins
        if len(run_log) == begun or not self.testbed.calls:
            return False
        self._point_begins = len(run_log)
        testbed = self.testbed
        call = next(iter(testbed.calls.values()))
        lines = run_log[begun:]
        self._branch_points.append(
            BranchPoint(
                lines[0].marker,
                [label for line in lines if (label := _label_of(line)) is not None],
                live=testbed.up and testbed.is_live(call),
                ended=any(line.marker.endswith("Disconnected") for line in lines),
                rings=testbed.far_session(call, RINGING) is not None,
                up=testbed.far_session(call) is not None,
                waiting=testbed.waiting,
                runs=testbed.can_crash,
            )
        )
        return True


def _label_of(line: LogLine) -> str | None:
    """Return the label of the message or commit of a line; None for any other line."""
    if line.marker.startswith("sent "):
        return line.marker[5:] if line.detail and isinstance(line.detail, tuple) else None
    return line.marker if line.marker.startswith("commit ") else None


def run(
    scenario: Scenario, choices: Iterable[Choice] = (), *, branch_points: bool = False
) -> Result:
    """
    Run a scenario.

    Args:
        scenario: The scenario, with its own steps and choices.
        choices: More choices.
        branch_points: Whether to keep the points at which the run could have gone another way.
    """
    return Run(scenario, choices, branch_points).finish()


def where(error: BaseException) -> str:
    """Return the innermost line of umd's own code in a traceback."""
    trace, found = error.__traceback__, "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/umd/" in code.co_filename:
            name = code.co_filename.rpartition("/umd/")[2]
            found = f"umd/{name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return found
