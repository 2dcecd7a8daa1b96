"""Admission control: when umd is late, answers only as many requests as it can answer in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

CHECK_INTERVAL: Final = 0.01
"""Seconds between two checks of how late the reactor is."""
STALL: Final = 0.02
"""Seconds of lateness that count as a stall of the reactor."""
UNLIMITED: Final = 1 << 60
MIN_ADMITTED: Final = 16
"""Requests that are admitted between two checks however late umd is: few requests do no harm."""
FLOOD_PENDING: Final = 256
"""
Pending requests from which one late check is a flood and not a mere pause. Further requests of the
same reactor turn are then rejected: thousands of them would make that turn take a second.
"""
REQUESTS_PER_FLOOD_CHECK: Final = 64
"""Within one turn of the reactor."""
JOURNAL_FACTOR: Final = 3.0
"""How many times as late the journal may be as the reactor: disks pause now and then."""
CALM_TIME: Final = 0.5
"""Seconds without a rejected request after which the limit is lifted."""
INCREASE: Final = 1.1
"""Factor by which the limit grows from one check to the next."""
MAX_DECREASE: Final = 0.5
"""Factor by which the limit shrinks at most from one check to the next."""


class Admission:
    """
    Limits the requests that are served between two checks, depending on how late the reactor is.

    umd is late because of the requests that it has admitted: while it works on them, received data
    waits unread. If the reactor is late by more than `max_late()` at two checks, or at one while
    many requests are pending, the limit is set so that the reactor would be late by half of that.
    The right limit is found by trying, as it depends on the machine and on the far ends. A single
    pause rejects nothing. While umd is not late there is no limit.

    Requests also wait for the disk, while the reactor has nothing to do. So one probe at a time
    goes through the journal, and its time divided by `JOURNAL_FACTOR` counts as lateness too.

    Args:
        clock: monotonic.
        max_late: returns the lateness, in seconds, above which requests are rejected.
        pending: returns how many admitted requests have no response yet.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_late: Callable[[], float],
        pending: Callable[[], int] = lambda: 0,
    ) -> None:
        self.max_seen_late = 0.0
        """Largest lateness of the reactor since the start, in seconds."""
        self.stalls = 0
        """Checks since the start at which the reactor was late by more than `STALL`."""
        self.rejected = 0
        """Requests rejected since the start."""
        self.probe: Callable[[Callable[[object], None]], None] | None = None
        """Calls its argument when everything on the way to the journal is durable."""
        self._clock = clock
        self._pending = pending
        self._max_late = max_late
        self._arrived = 0
        """Requests since the last check."""
        self._limit = UNLIMITED
        """Requests that are admitted until the next check."""
        self._late_before = 0.0
        """Lateness of the reactor at the last check."""
        self._calm_since = 0.0
        self._next_check: IDelayedCall | None = None
        self._due = 0.0
        """When the next check is due."""
        self._probe_sent_at: float | None = None
        """When the probe on its way was sent; None without one."""
        self._journal_checked_at = 0.0
        self._probe_took = 0.0
        """Seconds that the last probe took."""
        self._journal_late = 0.0
        """Lateness of the journal in seconds, divided by `JOURNAL_FACTOR`."""

    def admit(self) -> bool:
        """Count one more request; return whether to serve it."""
        self._arrived += 1
        if self._arrived % REQUESTS_PER_FLOOD_CHECK == 0 and self._is_flooded():
            self._limit = min(self._limit, self._arrived - 1)
        if self._arrived <= self._limit:
            return True
        if self._arrived <= MIN_ADMITTED and self._pending() < MIN_ADMITTED:
            return True
        self.rejected += 1
        return False

    def _is_flooded(self) -> bool:
        late = self._clock.seconds() - self._due
        return late > self._max_late() and self._pending() >= FLOOD_PENDING

    def start(self) -> None:
        """Check regularly; called for each connection, the first one starts it."""
        if self._next_check is None:
            self._due = self._clock.seconds() + CHECK_INTERVAL
            self._next_check = self._clock.callLater(CHECK_INTERVAL, self._check)

    def stop(self) -> None:
        """Stop checking, and lift the limit: there is no connection."""
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None
        self._arrived, self._limit = 0, UNLIMITED
        self._late_before, self._journal_late = 0.0, 0.0

    def _check(self) -> None:
        now = self._clock.seconds()
        late = now - self._due
        self.max_seen_late = max(self.max_seen_late, late)
        self.stalls += late > STALL
        self._adjust(late, self._check_journal(now), now)
        self._due = now + CHECK_INTERVAL
        self._next_check = self._clock.callLater(CHECK_INTERVAL, self._check)

    def _check_journal(self, now: float) -> bool:
        """Update the lateness of the journal; return whether it is new since the last check."""
        if self._probe_sent_at is None:
            self._journal_late, self._probe_took = self._probe_took / JOURNAL_FACTOR, 0.0
            if self.probe is not None and self._pending():
                self._probe_sent_at = self._journal_checked_at = now
                self.probe(self._probe_returned)
            return True
        if now - self._journal_checked_at < self._max_late():
            return False
        self._journal_checked_at = now
        so_far = (now - self._probe_sent_at) / JOURNAL_FACTOR
        self._journal_late = max(self._journal_late, so_far)
        return True

    def _probe_returned(self, _: object) -> None:
        if self._probe_sent_at is not None:
            self._probe_took = self._clock.seconds() - self._probe_sent_at
            self._probe_sent_at = None

    def _adjust(self, late: float, journal_late_is_new: bool, now: float) -> None:
        """Set the limit until the next check."""
        arrived, self._arrived = self._arrived, 0
        max_late = self._max_late()
        target, journal_late = max_late / 2, self._journal_late
        late_before, self._late_before = self._late_before, late
        if self._limit == UNLIMITED:
            if min(late, late_before) <= max_late and journal_late <= max_late:
                return
            self._limit = arrived
        admitted = min(arrived, self._limit)
        if arrived > admitted or late > target or journal_late > max_late:
            self._calm_since = now
        if late > target:
            self._limit = max(MIN_ADMITTED, int(admitted * max(MAX_DECREASE, target / late)))
        elif journal_late > max_late:
            # Compared with max_late, not with the target: a disk that always takes a while must
            # not keep the limit, as it did not cause it. An old value waits for its effect.
            if journal_late_is_new:
                self._limit = int(admitted * max(MAX_DECREASE, target / journal_late))
        elif arrived > admitted:
            self._limit = int(self._limit * INCREASE) + 1
        elif now - self._calm_since >= CALM_TIME:
            self._limit = UNLIMITED
