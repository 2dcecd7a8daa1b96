"""Deadlines of many connections with one reactor timer: a queue for each kind of deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from umd.runtime.clock import Wakeup

K = TypeVar("K")
T = TypeVar("T")


class Deadlines(Generic[K, T]):
    """
    Deadlines that each request sets again and that hardly ever pass.

    All deadlines of one kind have the same interval, so a dict is their queue: to set a deadline
    moves its owner to the end. A cancelled deadline leaves nothing behind. In `umd.timers` it stays
    until it is due, which is too much for one per request.

    Args:
        clock: monotonic.
        intervals: seconds, by kind.
        on_passed: called with the kind and the owner of a deadline that has passed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        intervals: Mapping[K, float],
        on_passed: Callable[[K, T], None],
    ) -> None:
        self._clock = clock
        self._intervals = dict(intervals)
        self._on_passed = on_passed
        self._queues: dict[K, dict[T, float]] = {kind: {} for kind in intervals}
        """When each owner's deadline is due, by kind, the next first."""
        self._wakeup = Wakeup(clock, self._wake)
        self._next = float("inf")

    def set_intervals(self, intervals: Mapping[K, float]) -> None:
        """Replace the intervals. Deadlines that are set already keep theirs."""
        self._intervals = dict(intervals)

    def start(self, kind: K, owner: T) -> None:
        """Set the owner's deadline of a kind to one interval from now."""
        queue = self._queues[kind]
        queue.pop(owner, None)
        due = queue[owner] = self._clock.seconds() + self._intervals[kind]
        if due < self._next:
            self._next = due
            self._wakeup.no_later_than(due)

    def stop(self, kind: K, owner: T) -> None:
        """Cancel the owner's deadline of a kind, if it is set."""
        self._queues[kind].pop(owner, None)

    def close(self) -> None:
        """Cancel all deadlines."""
        for queue in self._queues.values():
            queue.clear()
        self._next = float("inf")
        self._wakeup.stop()

    def _wake(self) -> None:
        now = self._clock.seconds()
        self._next = float("inf")
        try:
            for kind, queue in self._queues.items():
                while queue:
                    owner, due = next(iter(queue.items()))
                    if due > now:
                        break
                    del queue[owner]
                    self._on_passed(kind, owner)
        finally:
            # Also after an error, which must not stop the deadlines of other connections.
            next_due = [next(iter(queue.values())) for queue in self._queues.values() if queue]
            if next_due:
                self._next = min(next_due)
                self._wakeup.no_later_than(self._next)
