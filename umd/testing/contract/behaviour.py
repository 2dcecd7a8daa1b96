"""What a behaviour of the contract is: a test with a stable id and a rule of one sentence."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeAlias

from twisted.trial.unittest import SkipTest

Test: TypeAlias = Callable[[Any], Coroutine[Any, Any, None]]

GROUPS: Final = (
    *("place", "end", "proof", "list", "start", "stop", "messages", "media", "files", "restore"),
    *("follow", "change", "look-up", "down", "up", "snapshot"),
)
"""The order of the behaviours: by the first part of their ids."""
OWN_PREFIX: Final = "own."
"""Begins the id of a test that a plugin adds to its contract without an id."""


class NotOffered(SkipTest):
    """
    The backend does not offer what a behaviour is about, or its contract cannot bring it about.

    Args:
        why: for people.
        on_purpose: whether `not_offered` of the contract says so. Then the test passes; else it is
            skipped.
    """

    def __init__(self, why: str, *, on_purpose: bool = False) -> None:
        super().__init__(why)
        self.on_purpose = on_purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One behaviour of the contract."""

    id: str
    """Stable: later versions of umd keep it."""
    rule: str
    """What a backend must do, in one sentence."""
    test: str
    """The name of the method that tests it."""


def behaviour(id: str) -> Callable[[Test], Test]:
    """Give a test of the contract its id. The first line of its docstring is the rule."""

    def with_id(test: Test) -> Test:
        @wraps(test)
        async def run(self: Any) -> None:
            self.left_out = None
            try:
                await test(self)
            except NotOffered as error:
                if not error.on_purpose:
                    raise
                self.left_out = str(error)

        run.behaviour_id = id  # type: ignore[attr-defined]  # functions take attributes
        return run

    return with_id


def behaviours(contract: type) -> list[Behaviour]:
    """Return the behaviours of a contract class: those of umd first, then its own tests."""
    rank = {group: number for number, group in enumerate(GROUPS)}
    return sorted(
        _behaviours(contract), key=lambda found: rank.get(found.id.split(".")[0], len(rank))
    )


def _behaviours(contract: type) -> Iterator[Behaviour]:
    # From the innermost class outward: the definition of umd gives id and rule, even where a plugin
    # overrides the test.
    defined: dict[str, Any] = {}
    for base in reversed(contract.__mro__):
        for name, value in vars(base).items():
            if name.startswith("test") and callable(value):
                defined.setdefault(name, value)
    for name, test in defined.items():
        words = name.removeprefix("test_")
        id = getattr(test, "behaviour_id", OWN_PREFIX + words.replace("_", "-"))
        yield Behaviour(id=id, rule=_summary(test) or words.replace("_", " "), test=name)


def _summary(test: Any) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((test.__doc__ or "").strip().partition("\n\n")[0].split())
