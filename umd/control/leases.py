"""
Leases: how long a call may last, and how long it may ring, before umd ends it by itself.

A lease is given with the call and is on record with its first event, so that it counts on by wall
time over a restart. While umd runs it counts by the clock that never jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from operator import attrgetter

from twisted.internet.interfaces import IReactorTime

from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.cause import (
    NO_ANSWER,
    NO_USER_RESPONDING,
    RECOVERY_ON_TIMER_EXPIRY,
    Cause,
    EndedBy,
)
from umd.runtime.clock import Alarms
from umd.timers import Timer


class Limit(StrEnum):
    """Which lease of a call is over: the setting it comes from."""

    MAX_AGE = "call.max_age"
    RING_TIME = "call.ring_time"


def cause_of(limit: Limit, call: Call) -> Cause:
    """Return the cause with which umd ends a call that has reached a limit."""
    if limit is Limit.MAX_AGE:
        return Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
    alerted = call.state is CallState.ALERTING
    return Cause(by=EndedBy.DAEMON, q850=NO_ANSWER if alerted else NO_USER_RESPONDING)


class Leases:
    """
    The leases of the live calls.

    Args:
        clock: monotonic.
        wall: seconds since the epoch.
        over: is told which lease of a call is over, once, unless the call has ended before.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        over: Callable[[Call, Limit], None],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._over = over
        self._running: dict[Limit, dict[CallId, Timer[tuple[Call, Limit]]]] = {
            limit: {} for limit in Limit
        }
        self._new: Alarms[tuple[Call, Limit]] = Alarms(clock, self._ring)
        self._recovered: Alarms[tuple[Call, Limit]] = Alarms(clock, self._ring)
        """Apart, as within each the leases of one length must begin in the order of time."""

    def __len__(self) -> int:
        return sum(map(len, self._running.values()))

    def grant(self, call: Call) -> None:
        """A call begins."""
        self._grant(call, self._new, self._clock.seconds())

    def resume(self, calls: Iterable[Call]) -> None:
        """Calls of before a restart go on: let what is left of their leases count; called once."""
        now, wall = self._clock.seconds(), self._wall()
        for call in sorted(calls, key=attrgetter("began_at")):
            if not call.ended:
                self._grant(call, self._recovered, now - (wall - call.began_at))

    def again(self, call: Call, limit: Limit, after: float) -> None:
        """It could not be ended; come back."""
        self._running[limit][call.id] = self._new.start(after, (call, limit))

    def answered(self, call: Call) -> None:
        """A call rings no more."""
        self._stop(call, Limit.RING_TIME)

    def end(self, call: Call) -> None:
        """A call is over, or being ended."""
        for limit in Limit:
            self._stop(call, limit)

    def stop(self) -> None:
        """Ring no more."""
        self._new.stop()
        self._recovered.stop()

    def _grant(self, call: Call, alarms: Alarms[tuple[Call, Limit]], since: float) -> None:
        if call.max_age:
            self._start(call, Limit.MAX_AGE, call.max_age, alarms, since)
        if call.ring_time and not call.connected_at:
            self._start(call, Limit.RING_TIME, call.ring_time, alarms, since)

    def _start(
        self,
        call: Call,
        limit: Limit,
        seconds: float,
        alarms: Alarms[tuple[Call, Limit]],
        since: float,
    ) -> None:
        self._running[limit][call.id] = alarms.start(seconds, (call, limit), since)

    def _stop(self, call: Call, limit: Limit) -> None:
        timer = self._running[limit].pop(call.id, None)
        if timer is not None:
            timer.cancel()

    def _ring(self, item: tuple[Call, Limit]) -> None:
        call, limit = item
        del self._running[limit][call.id]
        self._over(call, limit)
