"""One deadline for each of very many connections: a queue per kind, one reactor timer for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from umd.runtime.clock import Wakeup

K = TypeVar("K")
T = TypeVar("T")


class Deadlines(Generic[K, T]):
    """
    Deadlines that are set anew with each request and hardly ever pass.

    All of one kind last equally long, so a dict is a queue: to set one is to move it to the end,
    and nothing is left behind, unlike in `umd.timers`, where a cancelled timer waits for its turn.

    Args:
        clock: monotonic.
        intervals: of each kind, in seconds.
        passed: called with the kind and whose it was.
    """

    def __init__(
        self,
        clock: IReactorTime,
        intervals: Mapping[K, float],
        passed: Callable[[K, T], None],
    ) -> None:
        self._clock = clock
        self._intervals = dict(intervals)
        self._passed = passed
        self._queues: dict[K, dict[T, float]] = {kind: {} for kind in intervals}
        self._wakeup = Wakeup(clock, self._wake)
        self._next = float("inf")

    def set_intervals(self, intervals: Mapping[K, float]) -> None:
        """From now on; what runs goes on as it was set."""
        self._intervals = dict(intervals)

    def start(self, kind: K, owner: T) -> None:
        """Let the owner's deadline of a kind pass its interval from now, and not before."""
        queue = self._queues[kind]
        queue.pop(owner, None)
        due = queue[owner] = self._clock.seconds() + self._intervals[kind]
        if due < self._next:
            self._next = due
            self._wakeup.no_later_than(due)

    def stop(self, kind: K, owner: T) -> None:
        """Let it not pass."""
        self._queues[kind].pop(owner, None)

    def close(self) -> None:
        """Let none pass any more."""
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
                    self._passed(kind, owner)
        finally:
            # Also when one raises: the others must not be forgotten with it.
            heads = [next(iter(queue.values())) for queue in self._queues.values() if queue]
            if heads:
                self._next = min(heads)
                self._wakeup.no_later_than(self._next)
