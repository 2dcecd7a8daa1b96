"""
What can be chosen in a run: what somebody does and when, and what becomes of a message.

A choice names its place by what has happened, not by a number, so that it keeps its meaning when
another choice is dropped: `A disconnects after got < 180 1`, `lose > BYE 1`. Messages are counted
by kind as they leave; ">" leaves umd, "<" leaves the far end. A repetition is a message of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from umd.errors import UmdError


class InvalidChoice(UmdError):
    """The text names no choice."""


class Fate(StrEnum):
    """What can become of one message."""

    LOSE = "lose"
    DOUBLE = "double"
    """A second copy comes right behind it."""
    ECHO = "echo"
    """A second copy comes much later, but within the lifetime of a message (T4)."""
    DELAY = "delay"
    """It is overtaken by what follows in the next exchanges."""
    HOLD = "hold"
    """It is overtaken by its own repetitions as well."""
    BREAK = "break"
    """It and everything after it in its direction is lost, for longer than anybody repeats."""
    CUT = "cut"
    """It and everything after it in its direction is lost: for ever."""


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


class Verb(StrEnum):
    """What somebody does."""

    DISCONNECT = "disconnects"
    """A client asks for the end of the call."""
    INSIST = "insists"
    """The same, and asks once more the moment it is answered, before anybody else has a turn."""
    LEAVE = "leaves"
    """A client goes away without waiting for its answer."""
    ANSWER = "answers"
    """The far end takes the call."""
    HANG_UP = "hangs up"
    """The far end ends the call, or declines it."""


OF_FAR_END: Final = frozenset((Verb.ANSWER, Verb.HANG_UP))
FAR: Final = "far"
"""Who the far end is, in a choice."""
FIRST_CALL: Final = "call"
"""The name of a call that has been given none; its messages are written without a name."""
OUTAGE: Final = 33.0
"""How long a direction stays broken, in seconds: 64*T1 and a little."""
REST: Final = "rest"
"""The place where nothing is under way any more, not even a lingering transaction."""

_VERBS: Final = "|".join(verb.value for verb in Verb)
_FATES: Final = "|".join(fate.value for fate in Fate)
_ACTS: Final = '"A disconnects", insists or leaves, "far answers" or hangs up'
_ACT: Final = re.compile(rf"([A-Za-z][\w-]*) ({_VERBS})(?: \(([\w-]+)\))?")
_MESSAGE: Final = r"(?:[\w-]+ )?[<>] (?:\d{3} )?[A-Z]+ \d+"
_FAULT: Final = re.compile(rf"({_FATES}) ({_MESSAGE})")
_PLACE: Final = re.compile(
    rf"(?:sent|got) {_MESSAGE}|told (?:[\w-]+ )?[A-Z]\w+|answered [A-Za-z][\w-]*|{REST}"
    rf"|{_ACT.pattern}"
)


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody does something."""

    who: str
    """A client's name, or `far`."""
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
        who, verb = match[1], Verb(match[2])
        if (who == FAR) != (verb in OF_FAR_END):
            raise InvalidChoice(_ACTS)
        return cls(who, verb, match[3] or FIRST_CALL)

    def __str__(self) -> str:
        of = "" if self.call == FIRST_CALL else f" ({self.call})"
        return f"{self.who} {self.verb}{of}"


@dataclass(frozen=True, slots=True)
class ActAt:
    """Somebody does something right after something else has happened."""

    act: Act
    after: str
    """A marker of the run, as it stands in its story."""

    def __str__(self) -> str:
        return f"{self.act} after {self.after}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one message."""

    fate: Fate
    message: str
    """Its label: `> INVITE 1`, `< 200 BYE 2`."""

    def __str__(self) -> str:
        return f"{self.fate} {self.message}"


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
