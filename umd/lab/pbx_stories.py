"""
Stories of a call of a PBX that umd did not place, and the enumeration of all of them up to a bound.

A story is a scene and a sequence of acts with a pause after each. It is written as one line of
text, from which the run can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations, product
from typing import Final

from umd.backends.sim_pbx.messages import Lie
from umd.errors import UmdError

PAUSES: Final = (0.0, 0.006, 3.0)
"""
Seconds after an act: none; longer than a commit and shorter than an event; longer than all of them.
"""


class NoStory(UmdError):
    """A text tells no story."""


class Act(StrEnum):
    """Something that happens in a story."""

    APPEARS = "appears"
    DISCONNECT = "disconnect"
    """A client requests the end of the first leg by CallId."""
    DISCONNECT_BY_ALIAS = "disconnect-by-alias"
    """A client requests the end of the last leg by its SIP Call-ID."""
    HANGS_UP = "hangs-up"
    """The far end of the first leg hangs up."""
    EVENTS_LOST = "events-lost"
    """The PBX loses its events until all acts are done."""
    CONNECTION_LOST = "connection-lost"
    CONNECTION_BACK = "connection-back"
    LIST_STALE = "list-stale"
    """The list of the PBX is old until all acts are done."""
    KILLED = "killed"
    """umd is killed; another one starts from what is durable."""


class Calls(StrEnum):
    """What appears."""

    PAIR = "pair"
    """Two legs that are bridged."""
    SILENT_PAIR = "silent-pair"
    """Two legs that are bridged; the far end of the last one answers no BYE."""
    RINGING = "ringing"
    """One leg that rings."""


class View(StrEnum):
    """What umd sees of the PBX."""

    WITNESS = "witness"
    """The PBX mirrors the messages of its far ends."""
    LISTS = "lists"
    """The PBX mirrors nothing, and lists a channel until its far end is down."""
    WORD = "word"
    """There is only the word of the PBX, which shows no end."""


@dataclass(frozen=True, slots=True)
class Story:
    """A scene and its acts; each act has a pause after it, in seconds."""

    calls: Calls
    view: View
    lie: Lie | None
    acts: tuple[tuple[Act, float], ...]

    def __str__(self) -> str:
        acts = " ".join(f"{act}+{pause:g}" for act, pause in self.acts)
        return f"{self.calls} {self.view} {self.lie or 'no-lie'} {acts}"


def read_story(text: str) -> Story:
    """
    Return the story that a text tells.

    Raises:
        NoStory
    """
    try:
        calls, view, lie, *acts = text.split()
        return Story(
            Calls(calls),
            View(view),
            None if lie == "no-lie" else Lie(lie),
            tuple(_read_act(act) for act in acts),
        )
    except ValueError as error:
        raise NoStory(
            f"{text!r}: {error}; a story is CALLS VIEW LIE ACT+SECONDS..., for example "
            "'pair witness no-lie appears+3 disconnect+0'"
        ) from None


def _read_act(text: str) -> tuple[Act, float]:
    act, _, pause = text.partition("+")
    return Act(act), float(pause or 0.0)


def stories(bound: int) -> Iterator[Story]:
    """
    Yield every story with at most `bound` acts beside the call that appears.

    Each act occurs at most once, in each order that makes sense, with each pause between two.
    """
    timed = [
        tuple(zip(order, (*pauses, 0.0), strict=True))
        for length in range(bound + 1)
        for order in _orders(length)
        for pauses in product(PAUSES, repeat=length)
    ]
    for calls, view, lie in product(Calls, View, (None, *Lie)):
        for acts in timed:
            yield Story(calls, view, lie, acts)


def _orders(length: int) -> Iterator[tuple[Act, ...]]:
    others = [act for act in Act if act is not Act.APPEARS]
    for chosen in permutations(others, length):
        for place in range(length + 1):
            order = (*chosen[:place], Act.APPEARS, *chosen[place:])
            if _makes_sense(order):
                yield order


def _makes_sense(order: tuple[Act, ...]) -> bool:
    """Whether no act needs one that comes only later, or not at all."""
    first = order.index(Act.APPEARS)
    early = order[:first]
    if {Act.DISCONNECT, Act.DISCONNECT_BY_ALIAS, Act.HANGS_UP} & set(early):
        return False
    if Act.CONNECTION_BACK not in order:
        return True
    back = order.index(Act.CONNECTION_BACK)
    return Act.CONNECTION_LOST in order[:back]
