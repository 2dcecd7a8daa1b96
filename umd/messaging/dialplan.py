"""The dial plan: maps a dialled number to a number and a backend, or refuses it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import re2

from umd.sip.number import (
    Dialled,
    Name,
    NotDialable,
    SipAddress,
    Telephone,
    check_dialable,
    read_number,
    require_dialable,
    with_params_of,
)

__all__ = [
    "Destination",
    "DialPlan",
    "NotDialable",
    "Rule",
]

_REFERENCE: Final = re.compile(r"\\([0-9])")


@dataclass(frozen=True, slots=True)
class Destination:
    """The number that a backend is to call; `backend` None: the first one."""

    number: str
    backend: str | None


class Rule:
    r"""
    One rule of the plan. The first rule whose pattern matches the whole number applies.

    Args:
        match: a regular expression of RE2, whose matching time is linear in the number's length.
            The configuration has checked it, as `to`.
        to: the number to call instead, with `\1` for the first group of the pattern; empty: the
            dialled number.
        backend: the name of the backend; None: the first.
        refuse: whether the rule refuses the number.
    """

    def __init__(
        self, match: str, to: str = "", backend: str | None = None, *, refuse: bool = False
    ) -> None:
        self.pattern = re2.compile(match)
        self.to = to
        self.backend = backend
        self.refuse = refuse

    def apply(self, number: str) -> Destination | None:
        """
        Return the destination of a number; None if the pattern does not match it.

        Raises:
            NotDialable: the rule refuses the number, or maps it to an empty one.
        """
        match = self.pattern.fullmatch(number)
        if match is None:
            return None
        if self.refuse:
            raise NotDialable(f"the dial plan refuses {number!r}")
        to = _REFERENCE.sub(lambda reference: match.group(int(reference[1])) or "", self.to)
        if self.to and not to:
            raise NotDialable(f"the dial plan maps {number!r} to an empty number")
        return Destination(to or number, self.backend)


class DialPlan:
    """
    Ordered rules.

    Args:
        rules: if there are none, telephone numbers are called as they are, and SIP URIs refused.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(rules)

    def find(self, dialled: str) -> Destination:
        """
        Return the destination of a dialled number.

        Args:
            dialled: a telephone number or a SIP URI, as `umd.sip.number` reads them. Rules see a
                number without separators and parameters, and a URI as it is. Parameters, such as
                an extension, are kept.

        Raises:
            NotDialable: it is neither, no rule matches, or a rule refuses it.
        """
        number = read_number(dialled)
        if isinstance(number, Name):
            raise NotDialable(f"{dialled!r} is not a telephone number")
        if isinstance(number, Telephone) and number.global_digits is not None:
            self._check_not_refused(number.global_digits)
        return self._checked(number, self._find(number))

    def _find(self, number: Telephone | SipAddress) -> Destination:
        if not self._rules and isinstance(number, Telephone):
            return Destination(number.rule_text, None)
        for rule in self._rules:
            destination = rule.apply(number.rule_text)
            if destination is not None:
                return destination
        check_dialable(number)  # if it is not dialable at all, that is the better reason
        text = number.rule_text
        raise NotDialable(f"no rule of the dial plan matches {text!r}; see [[dial.rule]]")

    def _check_not_refused(self, full_number: str) -> None:
        """Check the rules against the global number: a phone-context must not bypass a refusal."""
        for rule in self._rules:
            if rule.apply(full_number) is not None:
                return

    def _checked(self, dialled: Dialled, found: Destination) -> Destination:
        """Check that the plan's number is dialable; keep an extension that was dialled with it."""
        if found.number == dialled.rule_text:
            return Destination(str(check_dialable(dialled)), found.backend)
        try:
            number = with_params_of(require_dialable(found.number), dialled)
        except NotDialable as error:
            raise NotDialable(f"the dial plan maps {dialled.rule_text!r} to: {error}") from None
        return Destination(str(number), found.backend)
