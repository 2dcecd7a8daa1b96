"""
The backend `sim-pbx`: a simulated PBX with calls of its own, behind the door of real ones.

It shows how umd follows calls that it did not place. The PBX lies as its configuration says, and
nothing leaves the process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog
from twisted.internet.interfaces import IReactorTime

from umd.backend import FollowsPbx, FoundLeg, LegBackend, LegEvent, LegId, LegSink
from umd.backends.sim_pbx.follower import Follower
from umd.backends.sim_pbx.messages import Disconnected, Event, Mirrored
from umd.backends.sim_pbx.pbx import Pbx
from umd.backends.sim_pbx.section import OwnCall, SimPbxSection
from umd.call.cause import Cause
from umd.runtime.clock import Wakeup

if TYPE_CHECKING:
    from pydantic import BaseModel

RETRY_INTERVAL: Final = 1.0
"""Seconds from one attempt to connect to the next."""


class SimPbxBackend(LegBackend, FollowsPbx):
    """
    A `Follower` of a `Pbx`, on the reactor's clock.

    Args:
        pbx: the PBX to follow, which may outlive the backend; None: one of its own.
    """

    Settings = SimPbxSection

    def __init__(
        self, name: str, settings: BaseModel, clock: IReactorTime, pbx: Pbx | None = None
    ) -> None:
        assert isinstance(settings, SimPbxSection)
        self.pbx = pbx or make_pbx(settings, clock)
        """The simulated PBX; tests and labs let it do what umd did not request."""
        self._clock = clock
        self._log = structlog.get_logger().bind(backend=name)
        self._wakeup = Wakeup(clock, self._wake)
        self._sink: LegSink | None = None
        self._retry_at: float | None = None
        """When to connect again; None: it is connected."""
        self._own_calls = _OwnCalls(self.pbx, settings.call)
        self._follower = Follower(
            self.pbx,
            self,
            clock.seconds,
            witness=settings.witness,
            lists_until_answered=settings.lists_until_answered,
        )

    async def start(self, sink: LegSink) -> None:
        self.pbx.on_work = self._schedule
        self.pbx.mirror_to(self)
        self._own_calls.start(self._clock.seconds())
        self._retry_at = None
        try:
            self._follower.connected(self.pbx.connect(self))
        except Disconnected as error:
            self._retry_at = self._clock.seconds() + RETRY_INTERVAL
            sink.backend_down(str(error))
        self._sink = sink
        self._schedule()

    async def stop(self) -> None:
        self._sink = None
        self._wakeup.stop()
        self.pbx.on_work = _no_work
        self.pbx.mirror_to(None)
        self.pbx.disconnect()
        self._follower.pause()

    async def legs(self) -> Sequence[FoundLeg]:
        try:
            return self._follower.legs()
        finally:
            self._schedule()

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        try:
            return self._follower.look_up(leg)
        finally:
            self._schedule()

    def place(self, leg: LegId, number: str) -> None:
        self._follower.place(leg, number)
        self._schedule()

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self._follower.hang_up(leg, cause)
        self._schedule()

    # -- what the PBX sends

    def pbx_event(self, event: Event) -> None:
        """Take an event of the control connection."""
        self._follower.pbx_event(event)

    def mirrored(self, message: Mirrored) -> None:
        """Take a mirrored message."""
        self._follower.mirrored(message)

    def connection_lost(self, reason: str) -> None:
        """Report that the PBX cannot be reached, and connect again later."""
        self._follower.disconnected()
        self._retry_at = self._clock.seconds() + RETRY_INTERVAL
        if self._sink is not None:
            self._sink.backend_down(reason)
            self._schedule()

    # -- what the follower reports

    def leg_found(self, found: FoundLeg) -> None:
        """Report a leg of the PBX's own."""
        if self._sink is not None:
            self._sink.leg_found(found)

    def leg_event(self, event: LegEvent) -> None:
        """Report an event of a leg."""
        if self._sink is not None:
            self._sink.leg_event(event)

    # -- time

    def _wake(self) -> None:
        """Do all that is due; one odd report must not stop the PBX."""
        now = self._clock.seconds()
        for run in (self._own_calls.run, self._reconnect, self.pbx.run, self._follower.run):
            try:
                run(now)
            except Exception:
                self._log.exception("backend.failed")
        self._schedule()

    def _schedule(self) -> None:
        if self._sink is None:
            return
        for due in (
            self._own_calls.next_due(),
            self._retry_at,
            self.pbx.next_due(),
            self._follower.next_due(),
        ):
            self._wakeup.no_later_than(due)

    def _reconnect(self, now: float) -> None:
        if self._retry_at is None or self._retry_at > now:
            return
        try:
            boot = self.pbx.connect(self)
        except Disconnected:
            self._retry_at = now + RETRY_INTERVAL
            return
        self._retry_at = None
        self._follower.connected(boot)
        if self._sink is not None:
            self._sink.backend_up()
            self._follower.announce()


class _OwnCalls:
    """Lets the PBX begin the calls that the configuration names."""

    def __init__(self, pbx: Pbx, calls: Sequence[OwnCall]) -> None:
        self._pbx = pbx
        self._to_begin: list[tuple[float, int, OwnCall]] = []
        self._configured = calls

    def start(self, now: float) -> None:
        """Begin to count the time, once."""
        configured, self._configured = self._configured, ()
        self._to_begin += [(now + call.after, call.count, call) for call in configured]
        self.run(now)

    def next_due(self) -> float | None:
        """Return when the next call begins; None: there is none."""
        return min((at for at, _, _ in self._to_begin), default=None)

    def run(self, now: float) -> None:
        """Begin the calls that are due."""
        waiting = []
        for at, count, call in self._to_begin:
            while count and at <= now:
                self._begin(call)
                at, count = at + (call.every or 0.0), count - 1
            if count:
                waiting.append((at, count, call))
        self._to_begin = waiting

    def _begin(self, call: OwnCall) -> None:
        labels = tuple(call.labels)
        channel = self._pbx.new_call(call.number, labels=labels, owner=call.owner)
        if call.bridge is not None:
            other = self._pbx.new_call(call.bridge, labels=labels, owner=call.owner)
            self._pbx.bridge(channel, other)


def make_pbx(settings: SimPbxSection, clock: IReactorTime) -> Pbx:
    """Return the PBX that a section describes."""
    return Pbx(
        clock.seconds,
        far_ends={number: keys.as_behaviour() for number, keys in settings.far_end.items()},
        lies=settings.lies,
        lists_until_answered=settings.lists_until_answered,
        mirrors=settings.witness,
        delay=settings.delay,
        stale_for=settings.stale_for,
        wall=time.time,
    )


def _no_work() -> None:
    pass
