"""
Ends calls that last or ring too long, or whose owner no longer renews their lease.

A call gets its limits when it begins, and they are recorded with its first event. After a restart
they count from that event by wall time, a lease from its last renewal; while umd runs they count by
the monotonic clock.
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
    """A limit of a call, as the request to end the call names it in the log and the journal."""

    MAX_AGE = "call.max_age"
    RING_TIME = "call.ring_time"
    LEASE = "call.lease"


def cause_of(limit: Limit, call: Call) -> Cause:
    """Return the cause with which umd ends a call that has reached a limit."""
    if limit is not Limit.RING_TIME:
        return Cause(by=EndedBy.DAEMON, q850=RECOVERY_ON_TIMER_EXPIRY)
    alerted = call.state is CallState.ALERTING
    return Cause(by=EndedBy.DAEMON, q850=NO_ANSWER if alerted else NO_USER_RESPONDING)


class Leases:
    """
    The timers of the live calls that have limits.

    Args:
        clock: monotonic.
        wall: seconds since the epoch.
        expired: called with a call and the limit that it has reached, unless the call ends before.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        expired: Callable[[Call, Limit], None],
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._expired = expired
        self._timers: dict[Limit, dict[CallId, Timer[tuple[Call, Limit]]]] = {
            limit: {} for limit in Limit
        }
        self._new: Alarms[tuple[Call, Limit]] = Alarms(clock, self._expire)
        self._recovered: Alarms[tuple[Call, Limit]] = Alarms(clock, self._expire)
        """Apart, since `Alarms` wants timers of one length in the order of their start."""
        self._recovered_leases: Alarms[tuple[Call, Limit]] = Alarms(clock, self._expire)
        """Apart too: they start at the last renewal, the other limits with the call."""

    def grant(self, call: Call) -> None:
        """Start the timers of a call that begins."""
        now = self._clock.seconds()
        self._grant(call, self._new, now)
        if call.lease:
            self._start(call, Limit.LEASE, call.lease, self._new, now)

    def renew(self, call: Call) -> None:
        """Let the lease of a call count from now on."""
        self._cancel(call, Limit.LEASE)
        if call.lease:
            self._start(call, Limit.LEASE, call.lease, self._new, self._clock.seconds())

    def resume(self, calls: Iterable[Call]) -> None:
        """Start the timers of the calls from before a restart; called once."""
        now, wall = self._clock.seconds(), self._wall()
        live = [call for call in calls if not call.ended]
        for call in sorted(live, key=attrgetter("began_at")):
            self._grant(call, self._recovered, now - (wall - call.began_at))
        for call in sorted(live, key=attrgetter("leased_at")):
            # A client may have renewed the lease of one backend while another was starting.
            if call.lease and call.id not in self._timers[Limit.LEASE]:
                since = now - (wall - call.leased_at)
                self._start(call, Limit.LEASE, call.lease, self._recovered_leases, since)

    def retry(self, call: Call, limit: Limit, interval: float) -> None:
        """Report a limit again after `interval` seconds, as the call could not be ended."""
        self._timers[limit][call.id] = self._new.start(interval, (call, limit))

    def answered(self, call: Call) -> None:
        """Stop the ring time of a call."""
        self._cancel(call, Limit.RING_TIME)

    def end(self, call: Call) -> None:
        """Stop the timers of a call that has ended."""
        for limit in Limit:
            self._cancel(call, limit)

    def stop(self) -> None:
        """Stop all timers."""
        self._new.stop()
        self._recovered.stop()
        self._recovered_leases.stop()

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
        self._timers[limit][call.id] = alarms.start(seconds, (call, limit), since)

    def _cancel(self, call: Call, limit: Limit) -> None:
        timer = self._timers[limit].pop(call.id, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, item: tuple[Call, Limit]) -> None:
        call, limit = item
        del self._timers[limit][call.id]
        self._expired(call, limit)
