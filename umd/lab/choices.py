"""
Choices: the acts of a run with their places, and the fates of messages and commits.

A choice names its place by an event of the run, not by a number, so that it keeps its meaning when
another choice is dropped: `A disconnects after got < 180 INVITE 1`, `lose > BYE 1`. Messages are
counted by kind as they leave, retransmissions included; ">" leaves umd, "<" leaves the far end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from umd.errors import UmdError


class InvalidChoice(UmdError):
    """The text is not a choice."""


class Fate(StrEnum):
    """What can become of one message."""

    LOSE = "lose"
    DOUBLE = "double"
    """A second copy arrives right behind it."""
    ECHO = "echo"
    """A second copy arrives much later, but within the lifetime of a message (T4)."""
    DELAY = "delay"
    """It arrives after the messages of the next exchanges."""
    HOLD = "hold"
    """It arrives after its own retransmissions as well."""
    BREAK = "break"
    """It and everything after it in its direction is lost, for longer than SIP retransmits."""
    CUT = "cut"
    """It and everything after it in its direction is lost, for ever."""


DELAYS: Final[Mapping[Fate, tuple[float, ...]]] = {
    Fate.LOSE: (),
    Fate.DOUBLE: (0.0, 0.0),
    Fate.ECHO: (0.0, 4.5),
    Fate.DELAY: (0.05,),
    Fate.HOLD: (2.2,),
    Fate.BREAK: (),
    Fate.CUT: (),
}
"""How much later than usual each copy arrives, in seconds."""


class CommitFate(StrEnum):
    """What can become of one commit of the journal."""

    REFUSE = "refuse"
    """The disk refuses it; the next attempt, 0.5 s later, succeeds."""
    FILL = "fill"
    """The disk is full: it refuses this commit and all others for 33 s."""
    STALL = "stall"
    """The sync hangs for 8 s, longer than a Disconnect waits."""


class Verb(StrEnum):
    """What a client, the far end or umd does."""

    DISCONNECT = "disconnects"
    """A client asks for the end of the call."""
    INSIST = "insists"
    """The same; the client asks once more from within the callback of the answer."""
    LEAVE = "leaves"
    """A client closes its connection without waiting for the answer."""
    ANSWER = "answers"
    """The far end takes the call."""
    HANG_UP = "hangs up"
    """The far end ends the call, or declines it."""
    CRASH = "crashes"
    """umd is killed, and a new umd starts at once from what is durable."""
    STAY_DOWN = "stays down"
    """umd is killed, and a new umd starts only after the far end has given up retransmitting."""


FAR: Final = "far"
"""The name of the far end in a choice."""
UMD: Final = "umd"
"""The name of umd itself in a choice."""
VERBS_OF: Final[Mapping[str, frozenset[Verb]]] = {
    FAR: frozenset((Verb.ANSWER, Verb.HANG_UP)),
    UMD: frozenset((Verb.CRASH, Verb.STAY_DOWN)),
}
VERBS_OF_CLIENTS: Final = frozenset((Verb.DISCONNECT, Verb.INSIST, Verb.LEAVE))
FIRST_CALL: Final = "call"
"""The name of a call that the scenario does not name; the labels of its messages have no name."""
OUTAGE: Final = 33.0
"""Seconds for which a broken direction loses messages: a little more than 64*T1."""
REST: Final = "rest"
"""The place where nothing is under way any more, not even a lingering transaction."""

_VERBS: Final = "|".join(verb.value for verb in Verb)
_FATES: Final = "|".join(fate.value for fate in Fate)
_COMMIT_FATES: Final = "|".join(fate.value for fate in CommitFate)
_ACTS: Final = '"A disconnects", insists or leaves, "far answers" or hangs up, "umd crashes"'
_ACT: Final = re.compile(rf"([A-Za-z][\w-]*) ({_VERBS})(?: \(([\w-]+)\))?")
_MESSAGE: Final = r"(?:[\w-]+ )?[<>] (?:\d{3} )?[A-Z]+ \d+"
_FAULT: Final = re.compile(rf"({_FATES}) ({_MESSAGE})")
_COMMIT_FAULT: Final = re.compile(rf"({_COMMIT_FATES}) (commit \d+)")
_PLACE: Final = re.compile(
    rf"(?:sent|got) {_MESSAGE}|told (?:[\w-]+ )?[A-Z]\w+|answered [A-Za-z][\w-]*|{REST}"
    rf"|(?:commit|durable|refused|acted on) \d+|restarted|dialled [\w-]+|{_ACT.pattern}"
)


@dataclass(frozen=True, slots=True)
class Act:
    """A client, the far end or umd does something."""

    party: str
    """The name of a client, `far` or `umd`."""
    verb: Verb
    call: str = FIRST_CALL

    @classmethod
    def parse(cls, text: str) -> Act:
        """
        Read `A disconnects`, `far hangs up (second)`.

        Raises:
            InvalidChoice
        """
        match = _ACT.fullmatch(text)
        if match is None:
            raise InvalidChoice(_ACTS)
        party, verb = match[1], Verb(match[2])
        if verb not in VERBS_OF.get(party, VERBS_OF_CLIENTS):
            raise InvalidChoice(_ACTS)
        return cls(party, verb, match[3] or FIRST_CALL)

    def __str__(self) -> str:
        of = "" if self.call == FIRST_CALL else f" ({self.call})"
        return f"{self.party} {self.verb}{of}"


@dataclass(frozen=True, slots=True)
class ActAt:
    """An act, right after an event of the run."""

    act: Act
    after: str
    """The marker of the event, as the log of the run has it."""

    def __str__(self) -> str:
        return f"{self.act} after {self.after}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one message, or of one commit of the journal."""

    fate: Fate | CommitFate
    label: str
    """Of a message, `> INVITE 1` or `< 200 BYE 2`; of a commit, `commit 3`."""

    def __str__(self) -> str:
        return f"{self.fate} {self.label}"


Choice: TypeAlias = ActAt | Fault


def parse_choice(text: str) -> Choice:
    """
    Read a choice; the inverse of `str`.

    Raises:
        InvalidChoice
    """
    match = _FAULT.fullmatch(text)
    if match is not None:
        return Fault(Fate(match[1]), match[2])
    match = _COMMIT_FAULT.fullmatch(text)
    if match is not None:
        return Fault(CommitFate(match[1]), match[2])
    act, after, place = text.partition(" after ")
    if not after:
        raise InvalidChoice('"lose > BYE 1" or "A disconnects after got < 180 INVITE 1"')
    return ActAt(Act.parse(act), parse_place(place))


def parse_place(text: str) -> str:
    """
    See that a text names a place in a run.

    Raises:
        InvalidChoice
    """
    if _PLACE.fullmatch(text) is None:
        raise InvalidChoice(
            'a place such as "sent > INVITE 1", "got < 200 INVITE 1", "told Connected", "rest"'
        )
    return text
