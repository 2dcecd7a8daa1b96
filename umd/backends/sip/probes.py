"""Probes: asks the far ends at an interval whether they still know their answered calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime

from umd.backend import LegId
from umd.runtime.clock import Wakeup

MAX_UNANSWERED_PROBES: Final = 2
"""
Unanswered probes in a row after which a call is given up.

Not one: a probe times out after 64*T1, which a restart of the far end or a short network outage can
take.
"""
MAX_PROBES_PER_BATCH: Final = 20
BATCH_INTERVAL: Final = 0.05
"""Seconds between two batches of probes, so that other calls get their turn."""


class Probes:
    """
    A queue of legs, each with a probe every `interval`, driven by one reactor timer.

    Args:
        clock: for the timer.
        interval: seconds between two probes of a leg.
        probe: sends a probe; its outcome is reported to `note_outcome`.
        give_up: called with a leg that answers no probe.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        probe: Callable[[LegId], object],
        give_up: Callable[[LegId], object],
    ) -> None:
        self._clock = clock
        self.interval = interval
        self._probe = probe
        self._give_up = give_up
        self._due: OrderedDict[LegId, float] = OrderedDict()
        """The time of the next probe of each leg, the earliest first."""
        self._unanswered: dict[LegId, int] = {}
        self._wakeup = Wakeup(clock, self._probe_due_legs)

    def __len__(self) -> int:
        return len(self._due)

    def add(self, leg: LegId) -> None:
        """Begin to probe a leg, which has been answered."""
        self._due[leg] = due = self._clock.seconds() + self.interval
        self._due.move_to_end(leg)
        self._wakeup.no_later_than(due)

    def add_restored(self, legs: Sequence[LegId], first: float) -> None:
        """Begin to probe legs restored after a restart, the first of them in `first` seconds."""
        start = self._clock.seconds() + first
        spacing = BATCH_INTERVAL / MAX_PROBES_PER_BATCH
        for position, leg in enumerate(legs):
            self._due[leg] = start + position * min(self.interval / len(legs), spacing)
        if legs:
            self._wakeup.no_later_than(start)

    def discard(self, leg: LegId) -> None:
        """Stop probing a leg, which has ended or is being ended."""
        self._due.pop(leg, None)
        self._unanswered.pop(leg, None)

    def note_outcome(self, leg: LegId, answered: bool) -> None:
        """Note whether a probe was answered; give the leg up after too many that were not."""
        if answered:
            self._unanswered.pop(leg, None)
            return
        count = self._unanswered[leg] = self._unanswered.get(leg, 0) + 1
        if count >= MAX_UNANSWERED_PROBES:
            self.discard(leg)
            self._give_up(leg)

    def stop(self) -> None:
        """Stop probing all legs."""
        self._due.clear()
        self._unanswered.clear()
        self._wakeup.stop()

    def _probe_due_legs(self) -> None:
        now = self._clock.seconds()
        try:
            for _ in range(MAX_PROBES_PER_BATCH):
                leg = next(iter(self._due), None)
                if leg is None or self._due[leg] > now:
                    break
                self.add(leg)
                self._probe(leg)
        finally:
            # Also if a probe raises, since the other legs still need theirs.
            first = next(iter(self._due.values()), None)
            if first is not None:
                self._wakeup.no_later_than(max(first, now + BATCH_INTERVAL))
