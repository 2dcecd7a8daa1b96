"""What is explored: the default set of scenarios, and the bound to which each is explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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

    acts: int
    """Acts in one run, at most."""
    faults: int
    """Messages and commits with a fate in one run, at most."""
    fates: tuple[Fate, ...] = ALL_FATES
    """What can become of a message."""
    acts_of: tuple[tuple[str, Verb], ...] = ((A, Verb.DISCONNECT),)
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
"""The far ends of which two acts and a crash are explored: each takes another way to its end."""
TWO_CLIENTS: Final = ((A, Verb.DISCONNECT), (B, Verb.DISCONNECT), (A, Verb.LEAVE))


def default_plans(numbers: Sequence[str] | None = None, *, short: bool = False) -> list[Plan]:
    """
    Return the default set of `umd lab explore`.

    Args:
        numbers: Only the calls to these far ends.
        short: A sample that a unit test has time for.
    """
    chosen = tuple(built_in_far_ends()) if numbers is None else tuple(numbers)
    free = tuple(number for number in chosen if number == ONLY_RINGS)
    patient = tuple(number for number in chosen if number in SENSITIVE_TO_DEADLINE)
    each = tuple(map(one_call, chosen))
    slow = tuple(one_call(number, delay=SLOW_LINE) for number in chosen)
    octets = tuple(one_call(number, octets=True) for number in chosen)
    freely = tuple(map(one_call, free))
    freely_slow = tuple(one_call(number, delay=SLOW_LINE) for number in free)
    late = tuple(one_call(number, deadline=40.0) for number in patient)
    lose = (Fate.LOSE,)
    journalled = tuple(one_call(number, commit=FAST_COMMIT) for number in chosen)
    crashing = tuple(
        one_call(number, commit=FAST_COMMIT) for number in chosen if number in CRASHING
    )
    crashing_slow = tuple(
        one_call(number, commit=SLOW_COMMIT) for number in chosen if number in CRASHING
    )
    freely_journalled = tuple(one_call(number, commit=FAST_COMMIT) for number in free)
    if short:
        plans = [
            Plan("every far end", each, (Bound(1, 1, lose, messages=8),)),
            Plan("all parties act", freely, (Bound(2, 0, acts_of=ALL_PARTIES),)),
            Plan("a long deadline", late, (Bound(1, 0),)),
            Plan("every message as octets", octets, (Bound(0, 0),)),
            Plan(JOURNAL_SUITE, journalled, (Bound(1, 0, acts_of=CLIENT_AND_CRASH),)),
        ]
    else:
        crowd = (
            Bound(2, 1, acts_of=ALL_PARTIES, messages=16),
            Bound(2, 2, lose, ALL_PARTIES, messages=12),
            Bound(3, 0, acts_of=ALL_PARTIES),
        )
        plans = [
            Plan("every far end", each, (Bound(1, 1), Bound(1, 2, lose, messages=16))),
            Plan("a slow line", slow, (Bound(1, 1, (Fate.LOSE, Fate.DELAY)),)),
            Plan("every message as octets", octets, (Bound(1, 0),)),
            Plan("all parties act", freely, crowd),
            Plan("all parties act, slow line", freely_slow, (Bound(2, 0, acts_of=ALL_PARTIES),)),
            Plan(
                "a long deadline",
                late,
                (Bound(2, 0, acts_of=TWO_CLIENTS), Bound(1, 1, (Fate.BREAK, Fate.CUT))),
            ),
            *_journal_plans(journalled, crashing, crashing_slow, freely_journalled),
        ]
    return [plan for plan in plans if plan.scenarios]


JOURNAL_SUITE: Final = "with a journal"


def _journal_plans(
    each: tuple[Scenario, ...],
    crashing: tuple[Scenario, ...],
    crashing_slow: tuple[Scenario, ...],
    free: tuple[Scenario, ...],
) -> list[Plan]:
    """Return the part of the default set in which umd keeps a journal and can crash."""
    crash_only = ((A, Verb.DISCONNECT), (UMD, Verb.CRASH))
    failing = (CommitFate.REFUSE, CommitFate.STALL)
    return [
        Plan(
            JOURNAL_SUITE,
            each,
            (
                Bound(1, 0, acts_of=CLIENT_AND_CRASH),
                Bound(1, 1, (), messages=24, commit_fates=failing),
            ),
        ),
        Plan(
            f"{JOURNAL_SUITE}, crashes",
            crashing,
            (
                Bound(2, 0, acts_of=CLIENT_AND_CRASH),
                Bound(1, 1, (Fate.LOSE,), ((UMD, Verb.CRASH),), 12, (CommitFate.REFUSE,)),
            ),
        ),
        Plan(f"{JOURNAL_SUITE}, slow commits", crashing_slow, (Bound(2, 0, acts_of=crash_only),)),
        Plan(
            f"{JOURNAL_SUITE}, all parties act",
            free,
            (
                Bound(2, 0, acts_of=(*ALL_PARTIES, *UMD_ACTS)),
                Bound(1, 1, (), ALL_PARTIES, commit_fates=tuple(CommitFate)),
            ),
        ),
    ]
