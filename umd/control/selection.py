"""Selects calls by what they have in common, for a list of calls and for the end of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Final, TypeAlias

from umd.call.call import Call, CallState
from umd.errors import UmdError

IsSuspect: TypeAlias = Callable[[Call], object]
"""Returns why a live call is suspect; a false value: it is not."""

MAX_TEXT_LENGTH: Final = 1024
"""Characters in the value of a selector."""


class InvalidSelection(UmdError):
    """A selector has a value that no call can have, or none is given where one is required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """
    What a call must be to be selected; None: any. All selectors that are given must fit.

    Raises:
        InvalidSelection: the text names the selector, and says which values it takes.
    """

    backend: str | None = None
    """The name of the backend that carries the call."""
    state: str | None = None
    """A value of `CallState`."""
    owner: str | None = None
    """The principal who owns the call; empty: no principal does."""
    label: str | None = None
    """One of the labels of the call."""
    number: str | None = None
    """A pattern of the number (fnmatch), such as `+1555*`."""
    older_than: float | None = None
    """Seconds since the beginning of the call."""
    suspect: bool | None = None
    """Whether the call is suspect."""
    id: str | None = None
    """The CallId, the name of the leg, or an alias."""

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in _LIVE_STATES:
            raise InvalidSelection(
                f"state: {self.state!r:.60} is not the state of a live call; there is: "
                f"{', '.join(_LIVE_STATES)}"
            )
        age = self.older_than
        if age is not None and not (age >= 0 and math.isfinite(age)):
            raise InvalidSelection(f"older_than: {age:g} is not a number of seconds, 0 or more")
        for name in _TEXTS:
            text = getattr(self, name)
            if text is not None and len(text) > MAX_TEXT_LENGTH:
                raise InvalidSelection(f"{name}: longer than {MAX_TEXT_LENGTH} characters")
            if text == "" and name != "owner":
                raise InvalidSelection(f"{name}: the text is empty; leave it out to select any")

    @property
    def is_empty(self) -> bool:
        """Whether every call matches."""
        return all(getattr(self, selector.name) is None for selector in fields(self))

    def require_some(self) -> None:
        """
        Raises:
            InvalidSelection: no selector is given, so that every call would be selected.
        """
        if self.is_empty:
            raise InvalidSelection(
                "no selector is given, and umd does not end all calls at once; give one of: "
                + ", ".join(selector.name for selector in fields(self))
            )

    def matches(self, call: Call, now: float, is_suspect: IsSuspect | None = None) -> bool:
        """
        Return whether a live call is selected.

        Args:
            now: wall time, seconds since the epoch.
            is_suspect: tells which calls are suspect; without it, none is.
        """
        return (
            not call.ended
            and (self.label is None or self.label in call.labels)
            and (self.backend is None or call.backend == self.backend)
            and (self.state is None or call.state == self.state)
            and (self.owner is None or call.owner == self.owner)
            and (self.number is None or fnmatchcase(call.number, self.number))
            and (self.older_than is None or now - call.began_at > self.older_than)
            and (self.id is None or self._has_id(call))
            and (
                self.suspect is None
                or self.suspect is bool(is_suspect is not None and is_suspect(call))
            )
        )

    def _has_id(self, call: Call) -> bool:
        return self.id in (call.id, call.leg) or self.id in call.aliases.values()

    def describe(self) -> Mapping[str, Any]:
        """Return the selectors that are given, by their name."""
        values = {selector.name: getattr(self, selector.name) for selector in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def is_protected(call: Call, patterns: tuple[str, ...]) -> bool:
    """Return whether a label of a call fits one of the patterns (fnmatch) of protected labels."""
    return any(
        fnmatchcase(label, pattern) for label in call.labels for pattern in patterns
    )


_LIVE_STATES: Final = tuple(
    state.value for state in CallState if state is not CallState.DISCONNECTED
)
_TEXTS: Final = ("backend", "owner", "label", "number", "id")
