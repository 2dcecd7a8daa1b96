"""Long loops in slices, so that the reactor serves requests between two of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar

T = TypeVar("T")
Pause: TypeAlias = Callable[[], Awaitable[object]]
"""Lets the reactor do other work; the awaitable ends when it has."""

MAX_ITEMS_PER_TURN: Final = 2000
"""Items between two pauses of a loop that only looks at each: a millisecond or less."""


async def in_turns(
    items: Sequence[T], pause: Pause, per_turn: int | None = None
) -> AsyncGenerator[Sequence[T], None]:
    """
    Yield the items in slices, with a pause for other work between two of them.

    Args:
        per_turn: items of a slice; None: `MAX_ITEMS_PER_TURN`.
    """
    per_turn = MAX_ITEMS_PER_TURN if per_turn is None else per_turn
    for start in range(0, len(items), per_turn):
        if start:
            await pause()
        yield items[start : start + per_turn]
