"""The dial plan: what a client dials, to what is called on which backend, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from umd.errors import UmdError

LONGEST: Final = 128
"""Characters in what is dialled; a pattern of the operator's never sees more."""
# RFC 3966: digits, and the visual separators that people write between them.
_NUMBER: Final = re.compile(r"\+?[0-9*#]+")
_SEPARATORS: Final = str.maketrans("", "", " .-()")
_URI: Final = re.compile(r"sips?:[!-~]+", re.IGNORECASE)


class NotDialable(UmdError):
    """What was dialled is no number, or the dial plan refuses it; nothing was called."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the plan; the first whose pattern is the whole number counts."""

    pattern: re.Pattern[str]
    to: str
    r"""What is called instead, with `\1` for the first group of the pattern; empty: the same."""
    backend: str | None = None
    """Which backend calls it; None: the first."""
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom a backend is to call."""

    number: str
    backend: str | None


class DialPlan:
    """
    Ordered rules.

    Args:
        rules: without any, every number is called as it is, and no SIP URI.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def find(self, dialled: str) -> Destination:
        """
        Where to call.

        Args:
            dialled: a number with or without visual separators, a `tel:` URI (RFC 3966) or a SIP
                URI.

        Raises:
            NotDialable
        """
        number = normalise(dialled)
        if not self._rules and number[0] not in "sS":
            return Destination(number, None)
        for rule in self._rules:
            match = rule.pattern.fullmatch(number)
            if match is not None:
                return _destination(rule, match, number)
        raise NotDialable(f"no rule of the dial plan fits {number!r}; see [[dial.rule]]")


def normalise(dialled: str) -> str:
    """
    The number without its separators, or the SIP URI as it is.

    Raises:
        NotDialable: it is neither.
    """
    dialled = dialled.strip()
    if len(dialled) > LONGEST:
        raise NotDialable(f"{len(dialled)} characters are no number")
    if _URI.fullmatch(dialled):
        return dialled
    if dialled[:4].lower() == "tel:":
        dialled = dialled[4:].partition(";")[0]
    number = dialled.translate(_SEPARATORS)
    if not _NUMBER.fullmatch(number):
        raise NotDialable(f"{dialled!r} is no telephone number")
    return number


def _destination(rule: Rule, match: re.Match[str], number: str) -> Destination:
    if rule.refuse:
        raise NotDialable(f"the dial plan refuses {number!r}")
    return Destination(match.expand(rule.to) if rule.to else number, rule.backend)
