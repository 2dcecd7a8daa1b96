"""
Enumerates the ways in which a scenario can go, up to a bound, and judges each.

Theory of operation. A run without choices is the root of a tree. What happened in a run, step by
step, says where it could have gone another way: after each step somebody could have acted, and of
each message something else could have become. Each of these is a child: the same run with one more
choice, which is never earlier than its parent's last one, so that no set of choices comes up twice.
Everything is replayed from the start, so a list of choices is all that a finding has to remember.

Runs in which the same things happen in the same order are one interleaving, whatever moment each
happened at; such a run is counted once and its children are not looked at again.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from multiprocessing import get_context
from multiprocessing.pool import Pool
from typing import Final

from umd.lab.choices import REST, Act, ActAt, Choice, Fate, Fault, Verb
from umd.lab.plans import A, Plan, Shape
from umd.lab.rules import Violation
from umd.lab.run import Result, Turn, run
from umd.lab.scenario import Scenario
from umd.runtime.signals import exit_on

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Unit:
    """One piece of the work: everything that begins with this choice."""

    plan: str
    scenario: Scenario
    shape: Shape
    choices: tuple[Choice, ...] = ()
    start: tuple[int, int] = (0, 0)


@dataclass
class Finding:
    """A run in which a rule was broken."""

    scenario: Scenario
    choices: tuple[Choice, ...]
    violation: Violation


@dataclass
class Tally:
    """What came of some units."""

    runs: int = 0
    orders: set[bytes] = field(default_factory=set)
    """One for each interleaving."""
    findings: list[Finding] = field(default_factory=list)
    violated: int = 0
    """Runs in which a rule was broken."""
    longest: float = 0.0
    """Virtual seconds of the longest run."""

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.orders |= other.orders
        self.findings += other.findings[: max(0, KEPT - len(self.findings))]
        self.violated += other.violated
        self.longest = max(self.longest, other.longest)


KEPT: Final = 100
"""How many findings are kept; the others are counted."""


# -- units


def units_of(plans: Iterable[Plan]) -> Iterator[Unit]:
    """The work, in the order in which it is counted."""
    for plan in plans:
        for scenario in plan.scenarios:
            for shape in plan.shapes:
                root = Unit(plan.name, scenario, shape)
                yield replace(root, start=ROOT_ONLY)
                result = run(scenario, (), turns=True)
                for choices, start in children(root, result.turns):
                    yield replace(root, choices=choices, start=start)


ROOT_ONLY: Final = (1 << 30, 0)
"""Where the children of a root that were made units of their own begin: nowhere."""


def explore_unit(unit: Unit) -> Tally:
    """Explore everything that begins with a unit's choices."""
    tally = Tally()
    stack = [unit]
    while stack:
        here = stack.pop()
        result = run(here.scenario, here.choices, turns=True)
        tally.runs += 1
        if tally.runs % 256 == 0:
            gc.collect()  # each world is full of cycles
        tally.longest = max(tally.longest, result.seconds)
        if result.violations:
            tally.violated += 1
            if len(tally.findings) < KEPT:
                found = Finding(here.scenario, here.choices, result.violations[0])
                tally.findings.append(found)
            continue
        order = digest(unit, result)
        if order in tally.orders:
            continue
        tally.orders.add(order)
        below = [
            replace(here, choices=choices, start=start)
            for choices, start in children(here, result.turns)
        ]
        stack += reversed(below)
    return tally


def digest(unit: Unit, result: Result) -> bytes:
    """What tells one interleaving from another."""
    place = f"{unit.plan} {unit.scenario.step[0].number} {unit.scenario.title}"
    journal = "" if unit.scenario.journal is None else " journal"
    return blake2b(f"{place}{journal}\n{result.order}".encode(), digest_size=12).digest()


def children(
    unit: Unit, turns: Sequence[Turn]
) -> Iterator[tuple[tuple[Choice, ...], tuple[int, int]]]:
    """The runs with one choice more, and where the choices after it may begin."""
    shape, choices = unit.shape, unit.choices
    acts = [choice for choice in choices if isinstance(choice, ActAt)]
    faults = [choice for choice in choices if isinstance(choice, Fault)]
    cut = {choice.label[0] for choice in faults if choice.fate is Fate.CUT}
    more_acts, more_faults = len(acts) < shape.acts, len(faults) < shape.faults
    first_turn, first_message = unit.start
    seen: set[str] = set()
    messages = 0
    for index, turn in enumerate(turns):
        begin = first_message if index == first_turn else 0
        if index >= first_turn and more_faults:
            for number, label in enumerate(turn.sent):
                if number < begin or messages + number >= shape.messages or label[0] in cut:
                    continue
                of_commit = label.startswith("commit ")
                for fate in shape.commit_fates if of_commit else shape.fates:
                    yield (*choices, Fault(fate, label)), (index, number + 1)
        messages += len(turn.sent)
        marker = turn.marker
        if index >= first_turn and more_acts and marker not in seen:
            for act in _possible(shape, turn, acts):
                yield (*choices, ActAt(act, marker)), (index + 1, 0)
        seen.add(marker)


def _possible(shape: Shape, turn: Turn, done: Sequence[ActAt]) -> Iterator[Act]:
    """What somebody could do after a step."""
    asked = {each.act.who for each in done if each.act.verb in (Verb.DISCONNECT, Verb.INSIST)}
    for who, verb in shape.who_does:
        match verb:
            case Verb.DISCONNECT | Verb.INSIST:
                # Clients are alike: the second asks after the first. Of an ended call all
                # answers are the same: one look is enough.
                in_turn = who not in asked and (who == A or A in asked)
                possible = in_turn and (turn.live or turn.ended or turn.marker == REST)
            case Verb.LEAVE:
                possible = who in turn.waiting
            case Verb.ANSWER:
                possible = turn.rings
            case Verb.HANG_UP:
                possible = turn.up
            case Verb.CRASH | Verb.STAY_DOWN:
                possible = turn.runs
        if possible:
            yield Act(who, verb)


def explore(units: Sequence[Unit], jobs: int = 1) -> Iterator[Tally]:
    """What came of each unit, in order, whichever process did it."""
    if jobs <= 1:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield from map(explore_unit, units)
        finally:
            if was_enabled:
                gc.enable()
        return
    with _ends_with_its_workers(jobs) as pool:
        yield from pool.imap(explore_unit, units, chunksize=4)
        pool.close()
        pool.join()


@contextmanager
def _ends_with_its_workers(jobs: int) -> Iterator[Pool]:
    """
    A pool of workers that are gone when a signal ends this process: they would wait for ever.

    The signals are held back while workers are made, as they are only then ready to be ended.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # else our caller looks after signals
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with get_context("fork").Pool(jobs, _begin_work) as pool:
        for number in _STOP_SIGNALS if ours else ():
            exit_on(number, 128 + number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        yield pool
    for number in _STOP_SIGNALS if ours else ():
        signal.signal(number, signal.SIG_DFL)


def _begin_work() -> None:
    """Begin a worker: it must die when it is told to, whatever its parent does with signals."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    gc.disable()


# -- making a finding small


def shrink(finding: Finding) -> Finding:
    """Drop choices one at a time while the same rule is still broken."""
    found = finding
    index = 0
    while index < len(found.choices):
        fewer = found.choices[:index] + found.choices[index + 1 :]
        violation = _same_violation(found, fewer)
        if violation is None:
            index += 1
        else:
            found = Finding(found.scenario, fewer, violation)
            index = 0
    return found


def _same_violation(finding: Finding, choices: tuple[Choice, ...]) -> Violation | None:
    result = run(finding.scenario, choices)
    for violation in result.violations:
        if violation.rule is finding.violation.rule:
            return violation
    return None
