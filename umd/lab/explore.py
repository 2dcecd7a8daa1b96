"""
Enumerates the ways in which a scenario can go, up to a bound, and checks each.

Theory of operation. A run without choices is the root of a tree. Its log says where the run could
have gone another way: after each step a party could have acted, and each message and each commit
could have had another fate. Each of these is a child: the same run with one more choice, which is
never earlier than its parent's last one, so that no set of choices comes up twice. Every run starts
from the beginning, so that a list of choices is all that a finding has to keep.

Runs in which the same events happen in the same order are one interleaving, at whatever times they
happen. Such a run is counted once, and its children are not explored again.
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
from umd.lab.plans import A, Bound, Plan
from umd.lab.rules import Violation
from umd.lab.run import BranchPoint, Result, run
from umd.lab.scenario import Scenario
from umd.runtime.signals import exit_on

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class WorkUnit:
    """A part of an exploration: all runs that begin with these choices."""

    plan: str
    scenario: Scenario
    bound: Bound
    choices: tuple[Choice, ...] = ()
    start: tuple[int, int] = (0, 0)


@dataclass
class Finding:
    """A run in which an invariant was violated."""

    scenario: Scenario
    choices: tuple[Choice, ...]
    violation: Violation


@dataclass
class Tally:
    """The results of some work units."""

    runs: int = 0
    orders: set[bytes] = field(default_factory=set)
    """A digest of each interleaving."""
    findings: list[Finding] = field(default_factory=list)
    violated: int = 0
    """Runs in which an invariant was violated."""
    longest: float = 0.0
    """The longest run, in virtual seconds."""

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.orders |= other.orders
        self.findings += other.findings[: max(0, MAX_FINDINGS - len(self.findings))]
        self.violated += other.violated
        self.longest = max(self.longest, other.longest)


MAX_FINDINGS: Final = 100
"""Findings that a tally keeps; it only counts the others."""


# -- units


def units_of(plans: Iterable[Plan]) -> Iterator[WorkUnit]:
    """Yield the work units of some plans."""
    for plan in plans:
        for scenario in plan.scenarios:
            for bound in plan.bounds:
                root = WorkUnit(plan.name, scenario, bound)
                yield replace(root, start=ROOT_ONLY)
                result = run(scenario, (), branch_points=True)
                for choices, start in children(root, result.branch_points):
                    yield replace(root, choices=choices, start=start)


ROOT_ONLY: Final = (1 << 30, 0)
"""The start of a root whose children are work units of their own: it has none."""


def explore_unit(unit: WorkUnit) -> Tally:
    """Explore all runs that begin with the choices of a work unit."""
    tally = Tally()
    stack = [unit]
    while stack:
        here = stack.pop()
        result = run(here.scenario, here.choices, branch_points=True)
        tally.runs += 1
        if tally.runs % 256 == 0:
            gc.collect()  # a test bed has many reference cycles
        tally.longest = max(tally.longest, result.seconds)
        if result.violations:
            tally.violated += 1
            if len(tally.findings) < MAX_FINDINGS:
                found = Finding(here.scenario, here.choices, result.violations[0])
                tally.findings.append(found)
            continue
        order = digest(unit, result)
        if order in tally.orders:
            continue
        tally.orders.add(order)
        below = [
            replace(here, choices=choices, start=start)
            for choices, start in children(here, result.branch_points)
        ]
        stack += reversed(below)
    return tally


def digest(unit: WorkUnit, result: Result) -> bytes:
    """Return a digest of an interleaving."""
    place = f"{unit.plan} {unit.scenario.step[0].number} {unit.scenario.title}"
    journal = "" if unit.scenario.journal is None else " journal"
    return blake2b(f"{place}{journal}\n{result.order}".encode(), digest_size=12).digest()


def children(
    unit: WorkUnit, branch_points: Sequence[BranchPoint]
) -> Iterator[tuple[tuple[Choice, ...], tuple[int, int]]]:
    """Yield the choices of each run with one choice more, and where further ones may begin."""
    bound, choices = unit.bound, unit.choices
    acts = [choice for choice in choices if isinstance(choice, ActAt)]
    faults = [choice for choice in choices if isinstance(choice, Fault)]
    cut = {choice.label[0] for choice in faults if choice.fate is Fate.CUT}
    more_acts, more_faults = len(acts) < bound.max_acts, len(faults) < bound.max_faults
    first_point, first_message = unit.start
    seen: set[str] = set()
    messages = 0
    for index, point in enumerate(branch_points):
        begin = first_message if index == first_point else 0
        if index >= first_point and more_faults:
            for number, label in enumerate(point.sent):
                if number < begin or messages + number >= bound.messages or label[0] in cut:
                    continue
                of_commit = label.startswith("commit ")
                for fate in bound.commit_fates if of_commit else bound.fates:
                    yield (*choices, Fault(fate, label)), (index, number + 1)
        messages += len(point.sent)
        marker = point.marker
        if index >= first_point and more_acts and marker not in seen:
            for act in _possible(bound, point, acts):
                yield (*choices, ActAt(act, marker)), (index + 1, 0)
        seen.add(marker)


def _possible(bound: Bound, point: BranchPoint, done: Sequence[ActAt]) -> Iterator[Act]:
    """Yield the acts that are possible after a step."""
    asking = {
        choice.act.party
        for choice in done
        if choice.act.verb in (Verb.DISCONNECT, Verb.INSIST)
    }
    for party, verb in bound.allowed_acts:
        match verb:
            case Verb.DISCONNECT | Verb.INSIST:
                # Clients are alike, so the second asks after the first. An ended call gives
                # the same answer at any time, so one request is enough.
                in_turn = party not in asking and (party == A or A in asking)
                possible = in_turn and (point.live or point.ended or point.marker == REST)
            case Verb.LEAVE:
                possible = party in point.waiting
            case Verb.ANSWER:
                possible = point.rings
            case Verb.HANG_UP:
                possible = point.up
            case Verb.CRASH | Verb.STAY_DOWN:
                possible = point.runs
        if possible:
            yield Act(party, verb)


def explore(units: Sequence[WorkUnit], jobs: int = 1) -> Iterator[Tally]:
    """Yield the result of each work unit, in order."""
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
    A pool of workers that end when a signal ends this process; else they would wait for ever.

    Signals are blocked while the workers start, since a worker cannot handle one before that.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # else our caller handles signals
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    with get_context("fork").Pool(jobs, _begin_work) as pool:
        for number in _STOP_SIGNALS if ours else ():
            exit_on(number, 128 + number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        yield pool
    for number in _STOP_SIGNALS if ours else ():
        signal.signal(number, signal.SIG_DFL)


def _begin_work() -> None:
    """Start a worker. SIGTERM ends it, whatever its parent does with signals."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    gc.disable()


# -- making a finding small


def shrink(finding: Finding) -> Finding:
    """Drop choices one at a time as long as the same invariant is violated."""
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
