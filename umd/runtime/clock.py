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
    Make the reactor's timers use the monotonic clock. Call this before any timer is started.

    Twisted uses `time.time`: when an administrator or NTP sets the wall clock, its timers fire at
    once or hours late.
    """
    reactor.seconds = time.monotonic


class Wakeup:
    """One reactor timer that moves to the earliest deadline, and calls `wake()` then."""

    def __init__(self, clock: IReactorTime, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._call: IDelayedCall | None = None
        self._due = 0.0

    def no_later_than(self, due: float | None) -> None:
        """Wake up at `due` or earlier, in the clock's seconds; None changes nothing."""
        if due is not None and (self._call is None or due < self._due):
            self.stop()
            self._due = due
            self._call = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._ring)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _ring(self) -> None:
        self._call = None
        self._wake()


class Alarms(Generic[T]):
    """Many timers on one reactor timer: calls `ring(item)` when the timer of an item is due."""

    def __init__(self, clock: IReactorTime, ring: Callable[[T], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timers: Timers[T] = Timers()
        self._wakeup = Wakeup(clock, self._ring_due)

    def start(self, interval: float, item: T, since: float | None = None) -> Timer[T]:
        """
        Ring `item` when `interval` seconds have passed.

        Timers of the same interval must be started in the order of their start times.

        Args:
            interval: seconds.
            item: given to `ring`.
            since: the start time in the clock's seconds; None for now.
        """
        timer = self._timers.start(
            interval, item, self._clock.seconds() if since is None else since
        )
        self._wakeup.no_later_than(timer.due)
        return timer

    def stop(self) -> None:
        """Cancel all timers."""
        self._timers = Timers()
        self._wakeup.stop()

    def _ring_due(self) -> None:
        timers = self._timers
        now = self._clock.seconds()
        try:
            while (item := timers.pop_due(now)) is not None:
                self._ring(item)
        finally:
            # If a ring raises, the other timers must go on.
            self._wakeup.no_later_than(self._timers.next_due())
