"""How many requests are let in, so that whoever is let in is answered soon and the rest at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

PULSE: Final = 0.01  # seconds between two looks at how late the reactor is
STALL: Final = 0.02  # seconds
ALL: Final = 1 << 60
LEAST: Final = 16
"""Requests between two looks that are let in however late it is: who asks alone is not put off."""
MANY: Final = 256
"""
Requests in work: with so many, being late once is no mere pause. The others of the same turn of the
reactor are put off then, as a flood of thousands would make that turn take a second.
"""
EACH: Final = 64
"""Requests after which it is seen how late it is, within a turn."""
OF_JOURNAL: Final = 3.0
"""So many times what is late for the reactor is late for the journal: disks pause for a moment."""
CALM: Final = 0.5  # seconds without anybody put off, after which it is over
FASTER: Final = 1.1
SLOWER: Final = 0.5
"""By how much more, and how much less at most, is let in after the next look."""


class Admission:
    """
    Lets requests in, up to a number between two looks that follows how late the reactor is.

    What makes umd late is what it does for requests it has let in: while it does that, octets lie
    unread, and each step of a request waits for its turn. So when the reactor is late for more than
    `max_late()` at two looks, or once while many requests are in work, only so many are let in that
    it would be late by half of that. How many that is need not be known before: it is found by
    trying, as the machine and the far ends change. One pause alone puts nobody off, and where
    nothing is late no number counts.

    Who waits for the journal waits for the disk, while the reactor has nothing to do. So a probe
    goes that way too, one at a time, and how long it took counts as being late.

    Args:
        clock: monotonic.
        max_late: seconds.
        waiting: how many requests that were let in wait.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_late: Callable[[], float],
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        self.longest = 0.0
        """Seconds by which the reactor was late at most, since the start."""
        self.stalls = 0
        """How often it was late by more than `STALL`."""
        self.put_off = 0
        """How many were not let in, since the start."""
        self.probe: Callable[[Callable[[object], None]], None] | None = None
        """Calls what it is given when all that is on its way to the journal is on record."""
        self._clock = clock
        self._waiting = waiting
        self._max_late = max_late
        self._asked = 0
        self._allowed = ALL
        self._late_before = 0.0
        self._calm_since = 0.0
        self._next: IDelayedCall | None = None
        self._due = 0.0
        self._probed_at: float | None = None
        """When the probe that is on its way was sent."""
        self._sampled_at = 0.0
        self._took = 0.0
        """Seconds that the last one took."""
        self._slow = 0.0
        """What is known of the way to the journal, as lateness of the reactor would count."""

    def lets_in(self) -> bool:
        """Whether one more request is served now."""
        self._asked += 1
        if self._asked % EACH == 0 and self._is_flooded():
            self._allowed = min(self._allowed, self._asked - 1)
        if self._asked <= self._allowed:
            return True
        if self._asked <= LEAST and self._waiting() < LEAST:
            return True
        self.put_off += 1
        return False

    def _is_flooded(self) -> bool:
        late = self._clock.seconds() - self._due
        return late > self._max_late() and self._waiting() >= MANY

    @property
    def looking(self) -> bool:
        return self._next is not None

    def begin(self) -> None:
        """Look from now on."""
        self._due = self._clock.seconds() + PULSE
        self._next = self._clock.callLater(PULSE, self._look)

    def stop(self) -> None:
        """Nobody is connected: nothing is late."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._asked, self._allowed, self._late_before, self._slow = 0, ALL, 0.0, 0.0

    def _look(self) -> None:
        now = self._clock.seconds()
        late = now - self._due
        self.longest = max(self.longest, late)
        self.stalls += late > STALL
        self._adjust(late, self._sample(now), now)
        self._due = now + PULSE
        self._next = self._clock.callLater(PULSE, self._look)

    def _sample(self, now: float) -> bool:
        """Whether more is known of the way to the journal than at the last look."""
        if self._probed_at is None:
            self._slow, self._took = self._took / OF_JOURNAL, 0.0
            if self.probe is not None and self._waiting():
                self._probed_at = self._sampled_at = now
                self.probe(self._probed)
            return True
        if now - self._sampled_at < self._max_late():
            return False
        self._sampled_at = now
        self._slow = max(self._slow, (now - self._probed_at) / OF_JOURNAL)
        return True

    def _probed(self, _: object) -> None:
        if self._probed_at is not None:
            self._took = self._clock.seconds() - self._probed_at
            self._probed_at = None

    def _adjust(self, late: float, fresh: bool, now: float) -> None:
        asked, self._asked = self._asked, 0
        most = self._max_late()
        wanted, slow = most / 2, self._slow
        before, self._late_before = self._late_before, late
        if self._allowed == ALL:
            if min(late, before) <= most and slow <= most:
                return
            self._allowed = asked
        let_in = min(asked, self._allowed)
        if asked > let_in or late > wanted or slow > most:
            self._calm_since = now
        if late > wanted:
            self._allowed = max(LEAST, int(let_in * max(SLOWER, wanted / late)))
        elif slow > most:
            # Not at `wanted`: what a disk always takes is no reason to go on, as none to begin.
            # Unless it is fresh, what was done about it has to show first.
            if fresh:
                self._allowed = int(let_in * max(SLOWER, wanted / slow))
        elif asked > let_in:
            self._allowed = int(self._allowed * FASTER) + 1
        elif now - self._calm_since >= CALM:
            self._allowed = ALL
