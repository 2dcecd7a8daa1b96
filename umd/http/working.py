"""Drives the coroutine that serves a request, without a Deferred for one that need not wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from inspect import iscoroutine
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.http.exchange import Reply


class Working:
    """
    A reply being made.

    `Deferred.fromCoroutine` does the same and costs 6 us more, which every request would pay.

    Args:
        awaited: makes the reply.
        answered: called once with the reply, or with what was raised, after it has waited.
    """

    __slots__ = ("_coroutine", "_answered", "_waits_for")

    def __init__(
        self, awaited: Awaitable[Reply], answered: Callable[[Reply | BaseException], None]
    ) -> None:
        self._coroutine: Coroutine[Any, Any, Reply]
        self._coroutine = awaited if iscoroutine(awaited) else _as_coroutine(awaited)
        self._answered = answered
        self._waits_for: Deferred[Any] | None = None

    def begin(self) -> Reply | None:
        """
        Run until it waits for something; gives back the reply if it is made without waiting.

        What is raised until then is raised here, and `answered` is not called.
        """
        try:
            self._wait_for(self._coroutine.send(None))
        except StopIteration as stop:
            return cast(Reply, stop.value)
        return None

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
