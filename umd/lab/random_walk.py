"""Random walks: many calls at once over a bad network, with random acts of all parties."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count
from random import Random
from typing import Final

from umd.backends.sim.directory import built_in_far_ends
from umd.control.errors import JournalUnavailable
from umd.lab.choices import CommitFate
from umd.lab.rules import Rule, Violation
from umd.lab.run import where
from umd.lab.scenario import Scenario
from umd.lab.testbed import RINGING, UP, LogLine, Testbed
from umd.sip.session import Session, State

CRASHES: Final = 0.05
"""How often a step is a crash, in percent. Crashes are rare, as a restart reads all records."""
COMMIT_FATES: Final = ((CommitFate.REFUSE, 0.01), (CommitFate.STALL, 0.001))
"""The probability that a commit is refused, and that it hangs."""
MAX_LOSS_FOR_AGREEMENT: Final = 0.1
"""Highest loss at which retransmissions get through in the end, so that both ends must agree."""


@dataclass(slots=True)
class WalkResult:
    """The result of a walk."""

    steps: int
    calls: int = 0
    disconnects: int = 0
    messages: int = 0
    lost: int = 0
    most_live: int = 0
    most_transactions: int = 0
    seconds: float = 0.0
    """Virtual time at the end."""
    crashes: int = 0
    commits: int = 0
    left: int = -1
    """Transactions left at both ends at the end of the walk; -1: not counted."""
    violation: Violation | None = None
    """The first violation; the walk ends with it."""
    run_log: list[LogLine] = field(default_factory=list)
    """The log of the walk, if it was kept."""


class RandomWalk:
    """
    One random walk.

    Args:
        scenario: Gives the network, the far ends and the journal; its steps are not used.
        seed: The seed of all random choices.
        calls: How many calls are live at once, at most.
        watch: Whether to keep the log of the run.
    """

    def __init__(self, scenario: Scenario, seed: int, calls: int, watch: bool = False) -> None:
        self.scenario = scenario
        self.random = Random(seed)
        section = scenario.sim_section().model_copy(update={"random_seed": seed})
        self.checker = scenario.make_checker()
        journal = scenario.journal
        self.testbed = Testbed(
            section,
            scenario.control_settings(),
            self.checker,
            keep=watch,
            commit_takes=None if journal is None else journal.commit,
            commit_fate_of=self._draw_commit_fate,
        )
        self.live: list[str] = []
        self.numbers = (*built_in_far_ends(), *scenario.far_end)
        self.max_live = calls
        self.result = WalkResult(0)
        self._clients = (f"c{number}" for number in count(1))
        self._acts: list[tuple[Callable[[], None], float]] = [
            (self._pass, 64),
            (self._place, 8),
            (self._disconnect, 12),
            (self._leave, 3),
            (self._answer, 7),
            (self._hang_up, 6),
        ]
        """The kinds of steps, and how often each is drawn, in percent."""
        if journal is not None:
            self._acts.append((self._crash, CRASHES))

    def go(
        self, steps: int, report_progress: Callable[[WalkResult], None] | None = None
    ) -> WalkResult:
        """Take `steps` steps, then end every call and check that nothing is left."""
        acts = [act for act, _ in self._acts]
        weights = list(accumulate(weight for _, weight in self._acts))
        result = self.result
        try:
            for result.steps in range(1, steps + 1):
                # One draw at a time: a shorter walk is the beginning of a longer one.
                (act,) = self.random.choices(acts, cum_weights=weights)
                act()
                if self.checker.violations:
                    break
                if result.steps % 1000 == 0:
                    self._measure()
                    if report_progress is not None:
                        report_progress(result)
            else:
                self._end_all()
        except Exception as error:
            text = f"{type(error).__name__}: {error} ({where(error)})"
            self.checker.report(Rule.RAISED, text, self.testbed.now)
        self._measure()
        testbed = self.testbed
        result.left = self._transactions()
        result.seconds, result.messages = testbed.now, testbed.messages
        result.calls, result.lost = len(testbed.calls), testbed.node.network.lost
        result.crashes, result.commits = testbed.crashes, testbed.disk.commits
        result.run_log = testbed.run_log
        if self.checker.violations:
            result.violation = self.checker.violations[0]
        return result

    def _measure(self) -> None:
        result = self.result
        result.most_live = max(result.most_live, len(self.live))
        result.most_transactions = max(result.most_transactions, self._transactions())

    def _transactions(self) -> int:
        here, there = self.testbed.node.endpoint, self.testbed.node.far_ends.endpoint
        return len(here.transactions) + len(there.transactions)

    # -- steps

    def _pass(self) -> None:
        if not self.testbed.step():
            self._place()

    def _draw_commit_fate(self, label: str) -> CommitFate | None:
        for fate, probability in COMMIT_FATES:
            if self.random.random() < probability:
                return fate
        return None

    def _crash(self) -> None:
        if self.testbed.can_crash:
            self.testbed.note("umd crashes")
            self.testbed.crash()

    def _place(self) -> None:
        if self.testbed.up and len(self.live) < self.max_live:
            name = f"n{len(self.testbed.calls) + 1}"
            number = self.random.choice(self.numbers)
            try:
                self.testbed.place(name, number)
            except JournalUnavailable:
                return
            self.live.append(name)

    def _disconnect(self) -> None:
        name = self._draw_call()
        if name is not None and self.testbed.up:
            self.result.disconnects += 1
            insist = self.random.random() < 0.1
            client, call = next(self._clients), self.testbed.calls[name]
            self.testbed.note(f"{client} disconnects ({name})", None, call.leg)
            self.testbed.disconnect(client, call, insist)

    def _leave(self) -> None:
        waiting = self.testbed.waiting
        if waiting:
            self.testbed.leave(self.random.choice(waiting))

    def _answer(self) -> None:
        name = self._draw_call()
        if name is not None and self._far(name, RINGING) is not None:
            self.testbed.note(f"far answers ({name})", None, self.testbed.calls[name].leg)
            self.testbed.answer(self.testbed.calls[name])

    def _hang_up(self) -> None:
        name = self._draw_call()
        if name is not None and self._far(name) is not None:
            self.testbed.note(f"far hangs up ({name})", None, self.testbed.calls[name].leg)
            self.testbed.hang_up(self.testbed.calls[name])

    def _far(self, name: str, states: Sequence[State] = UP) -> Session | None:
        return self.testbed.far_session(self.testbed.calls[name], states)

    def _draw_call(self) -> str | None:
        """Draw a call. A call that has ended is drawn once more, and then no longer."""
        if not self.live:
            return None
        index = self.random.randrange(len(self.live))
        name = self.live[index]
        if not self.testbed.is_live(self.testbed.calls[name]):
            self.live[index] = self.live[-1]
            self.live.pop()
        return name

    def _end_all(self) -> None:
        testbed, checker = self.testbed, self.checker
        connected = self.scenario.network.loss <= MAX_LOSS_FOR_AGREEMENT
        self._rest()
        checker.at_rest(testbed.now, connected)
        for call in testbed.calls.values():
            if testbed.is_live(call):
                testbed.disconnect(next(self._clients), call)
        self._rest()
        checker.at_rest(testbed.now, connected)
        for call in testbed.calls.values():
            if testbed.far_session(call) is not None:
                testbed.hang_up(call)
        self._rest()
        testbed.close()

    def _rest(self) -> None:
        while self.testbed.step():
            pass


def walk(
    scenario: Scenario,
    *,
    steps: int,
    seed: int,
    calls: int,
    watch: bool = False,
    report_progress: Callable[[WalkResult], None] | None = None,
) -> WalkResult:
    """Do a random walk; the same arguments give the same walk."""
    result = RandomWalk(scenario, seed, calls, watch).go(steps, report_progress)
    gc.collect()
    return result
