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


class Wakeup:
    """One reactor timer, moved to wherever the next thing is due: calls `wake()` then."""

    def __init__(self, clock: IReactorTime, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._call: IDelayedCall | None = None
        self._due = 0.0

    def no_later_than(self, due: float | None) -> None:
        """Wake up at `due`, or before it; None asks for nothing."""
        if due is not None and (self._call is None or due < self._due):
            self.stop()
            self._due = due
            self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._ring)

    def stop(self) -> None:
        """Do not wake up."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _ring(self) -> None:
        self._call = None
        self._wake()


class Alarms(Generic[T]):
    """Timers on a Twisted clock: calls `ring(item)` when an item is due."""

    def __init__(self, clock: IReactorTime, ring: Callable[[T], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timers: Timers[T] = Timers()
        self._wakeup = Wakeup(clock, self._ring_due)

    def start(self, interval: float, item: T, since: float | None = None) -> Timer[T]:
        """
        Let `item` ring `interval` seconds from now, or from `since`.

        Those of one interval must be started in the order of the times they count from.
        """
        timer = self._timers.start(
            interval, item, self._clock.seconds() if since is None else since
        )
        self._wakeup.no_later_than(timer.due)
        return timer

    def stop(self) -> None:
        """Ring no more; what runs is forgotten."""
        self._timers = Timers()
        self._wakeup.stop()

    def _ring_due(self) -> None:
        timers = self._timers
        now = self._clock.seconds()
        try:
            while (item := timers.pop_due(now)) is not None:
                self._ring(item)
        finally:
            # Also when a ring raises: the other deadlines must not die with it.
            self._wakeup.no_later_than(self._timers.next_due())
