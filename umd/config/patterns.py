"""Checks the regular expressions of the dial plan, and the numbers that are made with them."""

from __future__ import annotations

import re
from typing import Final

import re2

_GROUP_REFERENCE: Final = re.compile(r"\\([0-9])")
_REPLACEMENT: Final = re.compile(r"(?:[^\\]|\\[0-9])*")


def count_groups(pattern: str) -> int:
    """
    Compile a regular expression and return how many groups it has.

    RE2 matches in time linear to the length of the number, whatever the expression is. Python's
    own `re` can take exponential time.

    Raises:
        ValueError: RE2 does not accept it.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        groups: int = re2.compile(pattern, options).groups
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"a regular expression: {text}") from None
    return groups


def check_replacement(replacement: str, groups: int) -> None:
    r"""
    Check a number that is dialled instead, which may refer to groups as `\1`.

    Args:
        groups: how many groups the regular expression has.

    Raises:
        ValueError: a backslash precedes something else than the number of a group.
    """
    if not _REPLACEMENT.fullmatch(replacement):
        raise ValueError(r"a number in which only \0 to \9 follow a backslash")
    if any(int(number) > groups for number in _GROUP_REFERENCE.findall(replacement)):
        raise ValueError(f"a number that refers to no more groups than the {groups} of match")
