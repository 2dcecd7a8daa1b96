"""Drives the coroutine that serves a request, without a Deferred for one that need not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.http.exchange import Reply


def begin(
    awaited: Awaitable[Reply], answered: Callable[[Reply | BaseException], None]
) -> Reply | Working:
    """
    Work on a reply until it waits for something.

    What is raised until then is raised here, and `answered` is not called.

    Args:
        awaited: makes the reply.
        answered: called once with the reply, or with what was raised, after it has waited.

    Returns:
        The reply, if it is made without waiting.
    """
    coroutine: Coroutine[Any, Any, Reply]
    coroutine = awaited if type(awaited) is CoroutineType else _as_coroutine(awaited)
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        return cast(Reply, stop.value)
    return Working(coroutine, waits_for, answered)


class Working:
    """
    A reply being made, made by `begin`.

    `Deferred.fromCoroutine` does the same and costs 6 us more, which every request would pay.
    """

    __slots__ = ("_coroutine", "_answered", "_waits_for")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Reply],
        waits_for: Deferred[Any],
        answered: Callable[[Reply | BaseException], None],
    ) -> None:
        self._coroutine = coroutine
        self._answered = answered
        self._waits_for: Deferred[Any] | None = None
        self._wait_for(waits_for)

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
            self._wait_for(waits_for)

    def _wait_for(self, deferred: Deferred[Any]) -> None:
        self._waits_for = deferred
        _ = deferred.addBoth(self._resume)

    def _resume(self, result: Any) -> None:
        self._waits_for = None
        if isinstance(result, Failure):
            self._step(result.throwExceptionIntoGenerator, self._coroutine)
        else:
            self._step(self._coroutine.send, result)


async def _as_coroutine(awaited: Awaitable[Reply]) -> Reply:
    return await awaited
