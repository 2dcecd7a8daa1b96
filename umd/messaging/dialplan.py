"""The dial plan: what a client dials, to what is called on which backend, or refused."""

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
    """Whom a backend is to call."""

    number: str
    backend: str | None


class Rule:
    r"""
    One line of the plan; the first whose pattern is the whole number counts.

    Args:
        match: a regular expression as RE2 has them: whatever is dialled, it takes no longer than
            the number is long.
        to: what is called instead, with `\1` for the first group of the pattern; empty: the same.
        backend: which backend calls it; None: the first.
        refuse: nothing is called.

    The configuration has checked `match` and `to`.
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
            dialled: what `umd.sip.number` reads, but for a name. Rules see a number without
                separators and parameters, a URI as it is; parameters go along with the number.

        Raises:
            NotDialable
        """
        number = read_number(dialled)
        if isinstance(number, Name):
            raise NotDialable(f"{dialled!r} is no telephone number")
        if isinstance(number, Telephone) and number.full is not None:
            self._check_not_refused(number.full)
        return self._checked(number, self._find(number))

    def _find(self, number: Telephone | SipAddress) -> Destination:
        if not self._rules and isinstance(number, Telephone):
            return Destination(number.plain, None)
        for rule in self._rules:
            destination = rule.apply(number.plain)
            if destination is not None:
                return destination
        check_dialable(number)  # the better reason, where that is one
        raise NotDialable(f"no rule of the dial plan fits {number.plain!r}; see [[dial.rule]]")

    def _check_not_refused(self, full_number: str) -> None:
        """A number must not be had by way of a phone-context that is refused as a whole."""
        for rule in self._rules:
            if rule.apply(full_number) is not None:
                return

    def _checked(self, dialled: Dialled, found: Destination) -> Destination:
        """What the plan has made can be dialled; an extension dialled with it is kept."""
        if found.number == dialled.plain:
            return Destination(str(check_dialable(dialled)), found.backend)
        try:
            made = with_params_of(require_dialable(found.number), dialled)
        except NotDialable as error:
            raise NotDialable(f"the dial plan makes of {dialled.plain!r}: {error}") from None
        return Destination(str(made), found.backend)
