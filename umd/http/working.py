"""Drives the coroutine that serves a request, without a Deferred for one that need not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.http.exchange import Reply


class Working:
    """
    A reply being made.

    `Deferred.fromCoroutine` does the same and costs 6 us more, which every request would pay.

    Args:
        awaited: makes the reply.
        answered: called once with the reply, or with what was raised.
    """

    __slots__ = ("_coroutine", "_answered", "_waits_for")

    def __init__(
        self, awaited: Awaitable[Reply], answered: Callable[[Reply | BaseException], None]
    ) -> None:
        self._coroutine: Coroutine[Any, Any, Reply]
        self._coroutine = awaited if iscoroutine(awaited) else _as_coroutine(awaited)
        self._answered = answered
        self._waits_for: Deferred[Any] | None = None

    def begin(self) -> None:
        """Run until it waits for something, or is done."""
        self._step(self._coroutine.send, None)

    def cancel(self) -> None:
        """Let what it waits for fail by `CancelledError`."""
        if self._waits_for is not None:
            self._waits_for.cancel()

    def _step(self, go_on: Callable[[Any], Any], value: Any) -> None:
        try:
            waits_for = go_on(value)
        except StopIteration as stop:
            self._answered(stop.value)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            self._answered(error)
        else:
            self._waits_for = waits_for
            waits_for.addBoth(self._resume)

    def _resume(self, result: Any) -> None:
        self._waits_for = None
        if isinstance(result, Failure):
            self._step(result.throwExceptionIntoGenerator, self._coroutine)
        else:
            self._step(self._coroutine.send, result)


async def _as_coroutine(awaited: Awaitable[Reply]) -> Reply:
    return await awaited
