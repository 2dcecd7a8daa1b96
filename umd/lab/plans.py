"""What is explored: the default set of scenarios, and the bound to which each is explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from umd.backends.sim.directory import built_in_far_ends
from umd.lab.choices import FAR, UMD, CommitFate, Fate, Verb
from umd.lab.scenario import Scenario, one_call

A, B = "A", "B"
ALL_FATES: Final = tuple(Fate)
CLIENT_ACTS: Final = (
    (A, Verb.DISCONNECT),
    (A, Verb.INSIST),
    (A, Verb.LEAVE),
    (B, Verb.DISCONNECT),
)
FAR_ACTS: Final = ((FAR, Verb.ANSWER), (FAR, Verb.HANG_UP))
UMD_ACTS: Final = ((UMD, Verb.CRASH), (UMD, Verb.STAY_DOWN))


class Bound(NamedTuple):
    """The bound of an exploration: what may be chosen in one run, and how often."""

    max_acts: int
    """Acts in one run, at most."""
    max_faults: int
    """Messages and commits with a fate in one run, at most."""
    fates: tuple[Fate, ...] = ALL_FATES
    """What can become of a message."""
    allowed_acts: tuple[tuple[str, Verb], ...] = ((A, Verb.DISCONNECT),)
    """The acts to choose from."""
    messages: int = 40
    """Only the first so many messages and commits of a run can have a fate."""
    commit_fates: tuple[CommitFate, ...] = ()
    """What can become of a commit of the journal."""


@dataclass(frozen=True)
class Plan:
    """Scenarios, and the bounds to which each is explored."""

    name: str
    scenarios: tuple[Scenario, ...]
    bounds: tuple[Bound, ...]


ONLY_RINGS: Final = "5550180"
"""The far end that only rings."""
SENSITIVE_TO_DEADLINE: Final = ("5550100", "5550108", "5550199")
"""The far ends for which a deadline beyond 64*T1 makes a difference."""
SLOW_LINE: Final = 0.6
"""Seconds from end to end: more than T1, so that every message crosses its retransmissions."""
ALL_PARTIES: Final = CLIENT_ACTS + FAR_ACTS
CLIENT_AND_CRASH: Final = ((A, Verb.DISCONNECT), *UMD_ACTS)
FAST_COMMIT: Final = 0.005
"""Seconds: shorter than the way of a message."""
SLOW_COMMIT: Final = 0.06
"""Seconds: longer than the way of a message and back, so that answers overtake commits."""
CRASHING: Final = ("5550100", "5550121", "5550130", "5550180", "5550187", "5550190")
"""The far ends whose calls are explored with two acts and crashes; each ends in another way."""
TWO_CLIENTS: Final = ((A, Verb.DISCONNECT), (B, Verb.DISCONNECT), (A, Verb.LEAVE))


JOURNAL_PLAN: Final = "with a journal"
LATE_DEADLINE: Final = 40.0
"""Seconds: more than 64*T1."""
LOSE: Final = (Fate.LOSE,)


def default_plans(numbers: Sequence[str] | None = None, *, short: bool = False) -> list[Plan]:
    """
    Return the default set of `umd lab explore`.

    Args:
        numbers: Only the calls to these far ends.
        short: A sample that a unit test has time for.
    """
    chosen = tuple(built_in_far_ends()) if numbers is None else tuple(numbers)
    if short:
        plans = _short_plans(chosen)
    else:
        plans = [*_plans_without_journal(chosen), *_plans_with_journal(chosen)]
    return [plan for plan in plans if plan.scenarios]


def _calls(
    numbers: Sequence[str], among: Sequence[str] | None = None, **options: Any
) -> tuple[Scenario, ...]:
    """Return a scenario for each number, or for those that are among others."""
    return tuple(
        one_call(number, **options) for number in numbers if among is None or number in among
    )


def _short_plans(numbers: Sequence[str]) -> list[Plan]:
    free = _calls(numbers, (ONLY_RINGS,))
    late = _calls(numbers, SENSITIVE_TO_DEADLINE, deadline=LATE_DEADLINE)
    journalled = _calls(numbers, commit=FAST_COMMIT)
    return [
        Plan("every far end", _calls(numbers), (Bound(1, 1, LOSE, messages=8),)),
        Plan("all parties act", free, (Bound(2, 0, allowed_acts=ALL_PARTIES),)),
        Plan("a long deadline", late, (Bound(1, 0),)),
        Plan("every message as octets", _calls(numbers, octets=True), (Bound(0, 0),)),
        Plan(JOURNAL_PLAN, journalled, (Bound(1, 0, allowed_acts=CLIENT_AND_CRASH),)),
    ]


def _plans_without_journal(numbers: Sequence[str]) -> list[Plan]:
    free = _calls(numbers, (ONLY_RINGS,))
    free_slow = _calls(numbers, (ONLY_RINGS,), delay=SLOW_LINE)
    slow = _calls(numbers, delay=SLOW_LINE)
    late = _calls(numbers, SENSITIVE_TO_DEADLINE, deadline=LATE_DEADLINE)
    all_parties = (
        Bound(2, 1, allowed_acts=ALL_PARTIES, messages=16),
        Bound(2, 2, LOSE, ALL_PARTIES, messages=12),
        Bound(3, 0, allowed_acts=ALL_PARTIES),
    )
    two_clients = (Bound(2, 0, allowed_acts=TWO_CLIENTS), Bound(1, 1, (Fate.BREAK, Fate.CUT)))
    return [
        Plan("every far end", _calls(numbers), (Bound(1, 1), Bound(1, 2, LOSE, messages=16))),
        Plan("a slow line", slow, (Bound(1, 1, (Fate.LOSE, Fate.DELAY)),)),
        Plan("every message as octets", _calls(numbers, octets=True), (Bound(1, 0),)),
        Plan("all parties act", free, all_parties),
        Plan("all parties act, slow line", free_slow, (Bound(2, 0, allowed_acts=ALL_PARTIES),)),
        Plan("a long deadline", late, two_clients),
    ]


def _plans_with_journal(numbers: Sequence[str]) -> list[Plan]:
    each = _calls(numbers, commit=FAST_COMMIT)
    crashing = _calls(numbers, CRASHING, commit=FAST_COMMIT)
    crashing_slow = _calls(numbers, CRASHING, commit=SLOW_COMMIT)
    free = _calls(numbers, (ONLY_RINGS,), commit=FAST_COMMIT)
    failing = (CommitFate.REFUSE, CommitFate.STALL)
    crash = (UMD, Verb.CRASH)
    one_act = (
        Bound(1, 0, allowed_acts=CLIENT_AND_CRASH),
        Bound(1, 1, (), messages=24, commit_fates=failing),
    )
    two_acts = (
        Bound(2, 0, allowed_acts=CLIENT_AND_CRASH),
        Bound(1, 1, LOSE, (crash,), 12, (CommitFate.REFUSE,)),
    )
    all_parties = (
        Bound(2, 0, allowed_acts=(*ALL_PARTIES, *UMD_ACTS)),
        Bound(1, 1, (), ALL_PARTIES, commit_fates=tuple(CommitFate)),
    )
    slow = (Bound(2, 0, allowed_acts=((A, Verb.DISCONNECT), crash)),)
    return [
        Plan(JOURNAL_PLAN, each, one_act),
        Plan(f"{JOURNAL_PLAN}, crashes", crashing, two_acts),
        Plan(f"{JOURNAL_PLAN}, slow commits", crashing_slow, slow),
        Plan(f"{JOURNAL_PLAN}, all parties act", free, all_parties),
    ]
