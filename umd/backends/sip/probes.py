"""Asking at an interval whether the far ends still know the calls that are up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from umd.backend import LegId
from umd.runtime.clock import Wakeup

UNANSWERED_LIMIT: Final = 2
"""
After how many probes in a row without an answer a call is given up.

One may meet a far end that is restarted, or a network that is down for a moment: a probe lasts for
64*T1.
"""
MAX_AT_ONCE: Final = 20
PAUSE: Final = 0.05
"""Seconds between two batches of `MAX_AT_ONCE` probes, so that other calls get their turn."""


class Probes:
    """
    Whose turn it is: each leg has one every `interval`, in a queue that one reactor timer drives.

    Args:
        clock: for the timer.
        interval: seconds between two probes of a leg.
        ask: probes a leg; what that comes to is told by `came_to`.
        give_up: is told of a leg that answers no probe.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        ask: Callable[[LegId], object],
        give_up: Callable[[LegId], object],
    ) -> None:
        self._clock = clock
        self.interval = interval
        self._ask = ask
        self._give_up = give_up
        self._due: OrderedDict[LegId, float] = OrderedDict()
        """When each leg is probed next, the earliest first."""
        self._unanswered: dict[LegId, int] = {}
        self._wakeup = Wakeup(clock, self._ask_those_due)

    def __len__(self) -> int:
        return len(self._due)

    def add(self, leg: LegId) -> None:
        """A leg is up."""
        self._due[leg] = due = self._clock.seconds() + self.interval
        self._due.move_to_end(leg)
        self._wakeup.no_later_than(due)

    def add_restored(self, legs: Sequence[LegId], first: float) -> None:
        """Legs that a umd before this one left; `first` is in how many seconds the first is due."""
        start = self._clock.seconds() + first
        for position, leg in enumerate(legs):
            self._due[leg] = start + position * min(self.interval / len(legs), PAUSE / MAX_AT_ONCE)
        if legs:
            self._wakeup.no_later_than(start)

    def discard(self, leg: LegId) -> None:
        """A leg has ended, or is being ended."""
        self._due.pop(leg, None)
        self._unanswered.pop(leg, None)

    def came_to(self, leg: LegId, answered: bool) -> None:
        """What a probe came to."""
        if answered:
            self._unanswered.pop(leg, None)
            return
        count = self._unanswered[leg] = self._unanswered.get(leg, 0) + 1
        if count >= UNANSWERED_LIMIT:
            self.discard(leg)
            self._give_up(leg)

    def stop(self) -> None:
        """Probe nobody any more."""
        self._due.clear()
        self._unanswered.clear()
        self._wakeup.stop()

    def _ask_those_due(self) -> None:
        now = self._clock.seconds()
        try:
            for _ in range(MAX_AT_ONCE):
                leg = next(iter(self._due), None)
                if leg is None or self._due[leg] > now:
                    break
                self.add(leg)
                self._ask(leg)
        finally:
            # Also when a probe raises: the other legs have their turn.
            first = next(iter(self._due.values()), None)
            if first is not None:
                self._wakeup.no_later_than(max(first, now + PAUSE))
