"""The reactor's clock: made monotonic, and one reactor timer for any number of deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from umd.timers import Timer, Timers

T = TypeVar("T")


def make_monotonic(reactor: Any) -> None:
    """
    Take the reactor's timers off the wall clock; to be called before the first timer is set.

    Twisted counts with time.time, so that a step of the clock fires timers at once or holds them
    back for hours (reference hardening, finding 1).
    """
    reactor.seconds = time.monotonic


class Alarms(Generic[T]):
    """Timers on a Twisted clock: calls `ring(item)` when an item is due."""

    def __init__(self, clock: IReactorTime, ring: Callable[[T], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timers: Timers[T] = Timers()
        self._call: IDelayedCall | None = None
        self._call_at = 0.0

    def start(self, interval: float, item: T) -> Timer[T]:
        """Let `item` ring `interval` seconds from now."""
        timer = self._timers.start(interval, item, self._clock.seconds())
        if self._call is None or timer.due < self._call_at:
            self._wake_at(timer.due)
        return timer

    def stop(self) -> None:
        """Ring no more; what runs is forgotten."""
        self._timers = Timers()
        self._disarm()

    def _wake_at(self, due: float) -> None:
        self._disarm()
        self._call_at = due
        self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._wake)

    def _disarm(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wake(self) -> None:
        self._call = None
        timers = self._timers
        now = self._clock.seconds()
        try:
            while (item := timers.pop_due(now)) is not None:
                self._ring(item)
        finally:
            # Also when a ring raises: the other deadlines must not die with it.
            due = self._timers.next_due()
            if due is not None and (self._call is None or due < self._call_at):
                self._wake_at(due)
