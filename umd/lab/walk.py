"""Random walks: many calls at once over a bad network, anybody doing anything at any time."""

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
from umd.lab.world import RINGING, UP, Line, World
from umd.sip.session import Session, State

CRASHES: Final = 0.05
"""Percent of the steps in which umd crashes: each restart reads the whole journal."""
COMMIT_FATES: Final = ((CommitFate.REFUSE, 0.01), (CommitFate.STALL, 0.001))
"""How often a commit is refused, and hangs: probabilities."""
BEARABLE: Final = 0.1
"""Up to this loss every repetition gets through in the end, so that both ends must agree."""


@dataclass(slots=True)
class Walked:
    """What came of a walk."""

    steps: int
    calls: int = 0
    disconnects: int = 0
    messages: int = 0
    lost: int = 0
    most_live: int = 0
    most_transactions: int = 0
    seconds: float = 0.0
    """Virtual."""
    crashes: int = 0
    commits: int = 0
    left: int = -1
    """Transactions at both ends when all was over."""
    violation: Violation | None = None
    """The first one; the walk ends there."""
    story: list[Line] = field(default_factory=list)
    """Of a walk that is watched."""


class Walk:
    """
    One walk.

    Args:
        scenario: its network and its far ends; what else it has is not looked at.
        seed: of every random choice.
        calls: how many are live at once, at most.
        watch: keep the story.
    """

    def __init__(self, scenario: Scenario, seed: int, calls: int, watch: bool = False) -> None:
        self.scenario = scenario
        self.random = Random(seed)
        section = scenario.sim_section().model_copy(update={"random_seed": seed})
        self.referee = scenario.make_referee()
        journal = scenario.journal
        self.world = World(
            section,
            scenario.control_settings(),
            self.referee,
            keep=watch,
            commit_takes=None if journal is None else journal.commit,
            commit_fate_of=self._draw_commit_fate,
        )
        self.live: list[str] = []
        self.numbers = (*built_in_far_ends(), *scenario.far_end)
        self.most = calls
        self.walked = Walked(0)
        self._clients = (f"c{number}" for number in count(1))
        self._acts: list[tuple[Callable[[], None], float]] = [
            (self._pass, 64),
            (self._place, 8),
            (self._disconnect, 12),
            (self._leave, 3),
            (self._answer, 7),
            (self._hang_up, 6),
        ]
        """What can happen in a step, and how often it does, in percent."""
        if journal is not None:
            self._acts.append((self._crash, CRASHES))

    def go(self, steps: int, tell: Callable[[Walked], None] | None = None) -> Walked:
        """Take so many steps, then end everything and see that nothing is left."""
        acts = [act for act, _ in self._acts]
        weights = list(accumulate(weight for _, weight in self._acts))
        walked = self.walked
        try:
            for walked.steps in range(1, steps + 1):
                # One draw at a time: a shorter walk is the beginning of a longer one.
                (act,) = self.random.choices(acts, cum_weights=weights)
                act()
                if self.referee.violations:
                    break
                if walked.steps % 1000 == 0:
                    self._measure()
                    if tell is not None:
                        tell(walked)
            else:
                self._end_all()
        except Exception as error:
            said = f"{type(error).__name__}: {error} ({where(error)})"
            self.referee.wrong(Rule.RAISED, said, self.world.now)
        self._measure()
        world = self.world
        walked.left = self._transactions()
        walked.seconds, walked.messages = world.now, world.messages
        walked.calls, walked.lost = len(world.calls), world.node.network.lost
        walked.crashes, walked.commits = world.crashes, world.disk.commits
        walked.story = world.story
        if self.referee.violations:
            walked.violation = self.referee.violations[0]
        return walked

    def _measure(self) -> None:
        walked = self.walked
        walked.most_live = max(walked.most_live, len(self.live))
        walked.most_transactions = max(walked.most_transactions, self._transactions())

    def _transactions(self) -> int:
        here, there = self.world.node.endpoint, self.world.node.far_ends.endpoint
        return len(here.transactions) + len(there.transactions)

    # -- steps

    def _pass(self) -> None:
        if not self.world.step():
            self._place()

    def _draw_commit_fate(self, label: str) -> CommitFate | None:
        for fate, probability in COMMIT_FATES:
            if self.random.random() < probability:
                return fate
        return None

    def _crash(self) -> None:
        if self.world.can_crash:
            self.world.note("umd crashes")
            self.world.crash()

    def _place(self) -> None:
        if self.world.up and len(self.live) < self.most:
            name = f"n{len(self.world.calls) + 1}"
            number = self.random.choice(self.numbers)
            try:
                self.world.place(name, number)
            except JournalUnavailable:
                return
            self.live.append(name)

    def _disconnect(self) -> None:
        name = self._one_live()
        if name is not None and self.world.up:
            self.walked.disconnects += 1
            insist = self.random.random() < 0.1
            client, call = next(self._clients), self.world.calls[name]
            self.world.note(f"{client} disconnects ({name})", None, call.leg)
            self.world.disconnect(client, call, insist)

    def _leave(self) -> None:
        waiting = self.world.waiting
        if waiting:
            self.world.leave(self.random.choice(waiting))

    def _answer(self) -> None:
        name = self._one_live()
        if name is not None and self._far(name, RINGING) is not None:
            self.world.note(f"far answers ({name})", None, self.world.calls[name].leg)
            self.world.answer(self.world.calls[name])

    def _hang_up(self) -> None:
        name = self._one_live()
        if name is not None and self._far(name) is not None:
            self.world.note(f"far hangs up ({name})", None, self.world.calls[name].leg)
            self.world.hang_up(self.world.calls[name])

    def _far(self, name: str, states: Sequence[State] = UP) -> Session | None:
        return self.world.far_session(self.world.calls[name], states)

    def _one_live(self) -> str | None:
        """Some call: one that ended meanwhile is taken once more, then forgotten."""
        if not self.live:
            return None
        index = self.random.randrange(len(self.live))
        name = self.live[index]
        if not self.world.is_live(self.world.calls[name]):
            self.live[index] = self.live[-1]
            self.live.pop()
        return name

    def _end_all(self) -> None:
        world, referee = self.world, self.referee
        connected = self.scenario.network.loss <= BEARABLE
        self._rest()
        referee.at_rest(world.now, connected)
        for call in world.calls.values():
            if world.is_live(call):
                world.disconnect(next(self._clients), call)
        self._rest()
        referee.at_rest(world.now, connected)
        for call in world.calls.values():
            if world.far_session(call) is not None:
                world.hang_up(call)
        self._rest()
        world.close()

    def _rest(self) -> None:
        while self.world.step():
            pass


def walk(
    scenario: Scenario,
    *,
    steps: int,
    seed: int,
    calls: int,
    watch: bool = False,
    tell: Callable[[Walked], None] | None = None,
) -> Walked:
    """Walk; with the same arguments it is the same walk."""
    walked = Walk(scenario, seed, calls, watch).go(steps, tell)
    gc.collect()
    return walked
