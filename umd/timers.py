"""Timers without I/O, for many timers of few distinct intervals; the caller supplies the time."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LONGEST_UNSWEPT_INTERVAL: Final = 64.0
"""
Seconds, twice the longest interval of SIP.

Cancelled timers of shorter intervals leave their queue soon without a sweep.
"""
LONGEST_UNSWEPT_QUEUE: Final = 4096
"""Timers in a queue; a shorter queue may keep its cancelled timers."""


class Timer(Generic[T]):
    """One running timer; made by `Timers.start`."""

    __slots__ = ("due", "_item")

    def __init__(self, due: float, item: T) -> None:
        self.due = due
        """When it fires, in seconds of the caller's clock."""
        self._item: T | None = item

    def cancel(self) -> None:
        """Keep it from firing; harmless if it has fired or was cancelled before."""
        self._item = None


class Timers(Generic[T]):
    """
    Timers in one FIFO queue per interval.

    The intervals of a protocol are a few constants. So each queue is sorted by construction, and
    starting a timer is an append (sofia-sip keeps its transactions in the same way). A heap holds
    the head of each queue; if all intervals differ, it is an ordinary timer heap. A cancelled timer
    stays in its queue until it reaches the head. In a queue of a long interval, a sweep removes the
    cancelled timers before they outnumber the running ones.

    `now` must never decrease. Items must not be None.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[Timer[T]]] = {}
        self._heads: list[tuple[float, float]] = []
        """`(due, interval)` of the first timer in each queue, as a heap."""
        self._sweep_at: dict[float, int] = {}
        """By interval, the queue length of the next sweep, if not `LONGEST_UNSWEPT_QUEUE`."""

    def start(self, interval: float, item: T, now: float) -> Timer[T]:
        """Let `item` become due `interval` seconds after `now`."""
        timer = Timer(now + interval, item)
        queue = self._queues.get(interval)
        if queue is None:
            self._queues[interval] = deque((timer,))
            heappush(self._heads, (timer.due, interval))
        else:
            queue.append(timer)
            if interval > LONGEST_UNSWEPT_INTERVAL and len(queue) > LONGEST_UNSWEPT_QUEUE:
                self._sweep(interval, queue)
        return timer

    def next_due(self) -> float | None:
        """Return when to call `pop_due` next; None if no timer runs."""
        while self._heads:
            due, interval = self._heads[0]
            if self._queues[interval][0]._item is not None:
                return due
            self._drop_head()
        return None

    def pop_due(self, now: float) -> T | None:
        """
        Return the item that has been due longest; None if no item is due at `now`.

        It returns one at a time, so that the caller's action for one item can cancel the next.
        """
        while self._heads and self._heads[0][0] <= now:
            item = self._drop_head()._item
            if item is not None:
                return item
        return None

    def _sweep(self, interval: float, queue: deque[Timer[T]]) -> None:
        """Remove the cancelled timers once they may be as many as the running ones."""
        if len(queue) <= self._sweep_at.get(interval, LONGEST_UNSWEPT_QUEUE):
            return
        first = queue.popleft()  # the heap holds the head
        running = [timer for timer in queue if timer._item is not None]
        queue.clear()
        queue.append(first)
        queue.extend(running)
        self._sweep_at[interval] = max(LONGEST_UNSWEPT_QUEUE, 2 * len(queue))

    def _drop_head(self) -> Timer[T]:
        """Remove and return the first timer, and remove the cancelled ones behind it."""
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
