"""Deadlines without I/O: many timers of few distinct intervals, the time handed in as a number."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LONG: Final = 64.0
"""Seconds, twice the longest interval of SIP: what is cancelled of those is gone soon anyway."""
FEW: Final = 4096
"""Timers among which nobody looks for cancelled ones."""


class Timer(Generic[T]):
    """One running timer; made by `Timers.start`."""

    __slots__ = ("due", "_item")

    def __init__(self, due: float, item: T) -> None:
        self.due = due
        """When it fires, in seconds on the clock that `now` is read from."""
        self._item: T | None = item

    def cancel(self) -> None:
        """Make it never fire; harmless when it has fired or was cancelled before."""
        self._item = None


class Timers(Generic[T]):
    """
    Timers in one FIFO queue per interval.

    The intervals of a protocol are few constants, so each queue is sorted by itself and a timer
    costs an append (sofia-sip keeps its transactions the same way). A heap holds the head of each
    queue only; with ever new intervals it is an ordinary timer heap. A cancelled timer stays in its
    queue until it comes to the head; in one of a long interval no more stay than run.

    `now` must never go back. Items must not be None.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[Timer[T]]] = {}
        self._heads: list[tuple[float, float]] = []
        """`(due, interval)` of the first timer in each queue, as a heap."""
        self._sweep_at: dict[float, int] = {}
        """At which length the cancelled ones of a long interval go, where it is not `FEW`."""

    def start(self, interval: float, item: T, now: float) -> Timer[T]:
        """Let `item` become due `interval` seconds after `now`."""
        timer = Timer(now + interval, item)
        queue = self._queues.get(interval)
        if queue is None:
            self._queues[interval] = deque((timer,))
            heappush(self._heads, (timer.due, interval))
        else:
            queue.append(timer)
            if interval > LONG and len(queue) > FEW:
                self._sweep(interval, queue)
        return timer

    def next_due(self) -> float | None:
        """When to call `pop_due` next, or None while nothing runs."""
        while self._heads:
            due, interval = self._heads[0]
            if self._queues[interval][0]._item is not None:
                return due
            self._drop_head()
        return None

    def pop_due(self, now: float) -> T | None:
        """
        The item that has been due longest, or None when nothing (more) is due at `now`.

        One at a time, so that what one item does can still cancel the next.
        """
        while self._heads and self._heads[0][0] <= now:
            item = self._drop_head()._item
            if item is not None:
                return item
        return None

    def _sweep(self, interval: float, queue: deque[Timer[T]]) -> None:
        """Let go of the cancelled ones whenever there may be as many of them as of the others."""
        if len(queue) <= self._sweep_at.get(interval, FEW):
            return
        first = queue.popleft()  # as the heap has it
        running = [timer for timer in queue if timer._item is not None]
        queue.clear()
        queue.append(first)
        queue.extend(running)
        self._sweep_at[interval] = max(FEW, 2 * len(queue))

    def _drop_head(self) -> Timer[T]:
        """Take the first timer, and with it the cancelled ones behind it."""
        interval = self._heads[0][1]
        queue = self._queues[interval]
        timer = queue.popleft()
        while queue and queue[0]._item is None:
            queue.popleft()
        if queue:
            heapreplace(self._heads, (queue[0].due, interval))
        else:
            heappop(self._heads)
            del self._queues[interval]
            self._sweep_at.pop(interval, None)
        return timer
