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
CALM: Final = 0.5  # seconds without anybody put off, after which it is over
FASTER: Final = 1.1
SLOWER: Final = 0.5
"""By how much more, and how much less at most, is let in after the next look."""


class Admission:
    """
    Lets requests in, up to a number between two looks that follows how late the reactor is.

    What makes umd late is what it does for requests it has let in: while it does that, octets lie
    unread, and each step of a request waits for its turn. So when the reactor is late for more than
    `max_late()` at two looks, only so many are let in that it would be late by half of that. How
    many that is need not be known before: it is found by trying, as the machine and the far ends
    change. One pause alone puts nobody off, and where nothing is late no number counts.

    Args:
        clock: monotonic.
        max_late: seconds.
    """

    def __init__(self, clock: IReactorTime, max_late: Callable[[], float]) -> None:
        self.longest = 0.0
        """Seconds by which the reactor was late at most, since the start."""
        self.stalls = 0
        """How often it was late by more than `STALL`."""
        self.put_off = 0
        """How many were not let in, since the start."""
        self._clock = clock
        self._max_late = max_late
        self._asked = 0
        self._allowed = ALL
        self._late_before = 0.0
        self._calm_since = 0.0
        self._next: IDelayedCall | None = None
        self._due = 0.0

    def lets_in(self) -> bool:
        """Whether one more request is served now."""
        self._asked += 1
        if self._asked <= self._allowed:
            return True
        self.put_off += 1
        return False

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
        self._asked, self._allowed, self._late_before = 0, ALL, 0.0

    def _look(self) -> None:
        now = self._clock.seconds()
        late = now - self._due
        self.longest = max(self.longest, late)
        self.stalls += late > STALL
        self._adjust(late, now)
        self._late_before = late
        self._due = now + PULSE
        self._next = self._clock.callLater(PULSE, self._look)

    def _adjust(self, late: float, now: float) -> None:
        asked, self._asked = self._asked, 0
        wanted = self._max_late() / 2
        if self._allowed == ALL:
            if min(late, self._late_before) <= 2 * wanted:
                return
            self._allowed = asked
        let_in = min(asked, self._allowed)
        if asked > let_in or late > wanted:
            self._calm_since = now
        if late > wanted:
            self._allowed = max(LEAST, int(let_in * max(SLOWER, wanted / late)))
        elif asked > let_in:
            self._allowed = int(self._allowed * FASTER) + 1
        elif now - self._calm_since >= CALM:
            self._allowed = ALL
