"""The dial plan: what a client dials, to what is called on which backend, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import re2

from umd.errors import UmdError

LONGEST: Final = 128
"""Characters in what is dialled."""
# RFC 3966: digits, and the visual separators that people write between them.
_NUMBER: Final = re.compile(r"\+?[0-9*#]+")
_SEPARATORS: Final = str.maketrans("", "", " .-()")
_URI: Final = re.compile(r"sips?:[!-~]+", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"\\([0-9])")
_TEMPLATE: Final = re.compile(r"(?:[^\\]|\\[0-9])*")


class NotDialable(UmdError):
    """What was dialled is no number, or the dial plan refuses it; nothing was called."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Whom a backend is to call."""

    number: str
    backend: str | None


class InvalidRule(UmdError):
    """A rule that can never be carried out; the text says what was expected instead."""


class Rule:
    r"""
    One line of the plan; the first whose pattern is the whole number counts.

    Args:
        match: a regular expression as RE2 has them: whatever is dialled, it takes no longer than
            the number is long.
        to: what is called instead, with `\1` for the first group of the pattern; empty: the same.
        backend: which backend calls it; None: the first.
        refuse: nothing is called.

    Raises:
        InvalidRule
    """

    def __init__(
        self, match: str, to: str = "", backend: str | None = None, *, refuse: bool = False
    ) -> None:
        self.pattern = compile_pattern(match)
        self.to = check_template(to, self.pattern.groups)
        self.backend = backend
        self.refuse = refuse

    def apply(self, number: str) -> Destination | None:
        """
        Where this rule leads; None where it does not fit.

        Raises:
            NotDialable: nowhere.
        """
        match = self.pattern.fullmatch(number)
        if match is None:
            return None
        if self.refuse:
            raise NotDialable(f"the dial plan refuses {number!r}")
        to = _REFERENCE.sub(lambda one: match.group(int(one[1])) or "", self.to)
        if self.to and not to:
            raise NotDialable(f"the dial plan makes an empty number of {number!r}")
        return Destination(to or number, self.backend)


def compile_pattern(match: str) -> Any:
    """
    A regular expression of RE2.

    Raises:
        InvalidRule
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(match, options)
    except re2.error as error:
        why = error.args[0]
        said = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise InvalidRule(f"a regular expression: {said}") from None


def check_template(to: str, groups: int) -> str:
    r"""
    See that a template refers to groups that there are.

    Raises:
        InvalidRule
    """
    if not _TEMPLATE.fullmatch(to):
        raise InvalidRule(r"a number in which only \0 to \9 follow a backslash")
    if any(int(one) > groups for one in _REFERENCE.findall(to)):
        raise InvalidRule(f"a number that refers to no more groups than the {groups} of match")
    return to


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
            destination = rule.apply(number)
            if destination is not None:
                return destination
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
