"""A small PBX in memory, a backend that follows it, and the contract of that backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock

from umd.backend import (
    Answered,
    BackendUnavailable,
    CannotPlace,
    CarriesMedia,
    Changed,
    ChecksFiles,
    Ended,
    FollowsPbx,
    FoundLeg,
    Gone,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    NoSuchLeg,
    Proof,
    RestoresLegs,
    ShowsMessages,
)
from umd.call.call import CallState
from umd.call.cause import RECOVERY_ON_TIMER_EXPIRY, Cause, EndedBy
from umd.config import Section
from umd.testing import LegBackendContract

EVENT_DELAY: Final = 0.01
RETRY_INTERVAL: Final = 1.0
GIVE_UP_AFTER: Final = 5.0


@dataclass
class Channel:
    """A leg on the PBX."""

    name: str
    id: str
    number: str
    state: CallState
    partner: str | None = None

    def as_found(self) -> FoundLeg:
        """Return the leg as a backend reports it."""
        partners = () if self.partner is None else (LegId(self.partner),)
        return FoundLeg(
            leg=LegId(self.name),
            state=self.state,
            number=self.number,
            aliases={"channel": self.id},
            partners=partners,
        )


class Pbx:
    """Calls of its own, and one control connection that carries its events and its answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.channels: dict[str, Channel] = {}
        self.commands = 0
        self.is_reachable = True
        self.ends_calls = True
        """Whether it does what it says: False for a PBX that accepts each command and ends none."""
        self._listener: FollowingBackend | None = None
        self._ids = count(1)

    def connect(self, listener: FollowingBackend) -> bool:
        if self.is_reachable:
            self._listener = listener
        return self.is_reachable

    def disconnect(self, listener: FollowingBackend) -> None:
        if self._listener is listener:
            self._listener = None

    def break_connection(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.connection_lost()

    def tell(self, what: str, channel: Channel, q850: int = 0) -> None:
        """Send an event to the backend that is connected now."""
        self.clock.callLater(EVENT_DELAY, self._deliver, self._listener, what, channel, q850)

    def _deliver(
        self, listener: FollowingBackend | None, what: str, channel: Channel, q850: int
    ) -> None:
        if listener is not None and listener is self._listener:
            listener.heard(what, channel, q850)

    def begin(self, number: str, state: CallState) -> LegId:
        serial = next(self._ids)
        channel = Channel(f"leg-{serial}", f"PJSIP/a-{serial}", number, state)
        self.channels[channel.name] = channel
        self.tell("began", replace(channel))
        return LegId(channel.name)

    def change(self, leg: str, what: str, **fields: Any) -> None:
        channel = self.channels[leg] = replace(self.channels[leg], **fields)
        self.tell(what, channel)

    def end(self, leg: str, q850: int, what: str = "hung up") -> None:
        """End a call: its far end is down, and the backend gets an event."""
        channel = self.channels.pop(leg)
        if channel.partner is not None:
            self.change(channel.partner, "changed", partner=None)
        self.tell(what, channel, q850)

    def command_hang_up(self, leg: str, q850: int) -> bool:
        """Take the backend's command; return whether the PBX has the call."""
        self.commands += 1
        if leg not in self.channels:
            return False
        if self.ends_calls:
            self.clock.callLater(EVENT_DELAY, self._obey, leg, q850)
        return True

    def _obey(self, leg: str, q850: int) -> None:
        if leg in self.channels:
            self.end(leg, q850, "obeyed")


class FollowingBackend(LegBackend, FollowsPbx):
    """Follows the calls of a `Pbx`, and places none."""

    Settings = Section

    def __init__(self, pbx: Pbx, clock: IReactorTime) -> None:
        self.pbx = pbx
        self.clock = clock
        self.sink: LegSink | None = None
        self.known: dict[LegId, FoundLeg] = {}
        self.causes: dict[LegId, Cause] = {}
        """What `hang_up` was given, for each leg that is ending."""
        self.is_connected = False
        self.timers: list[IDelayedCall] = []

    async def start(self, sink: LegSink) -> None:
        self.sink = sink
        if not self.pbx.connect(self):
            self.connection_lost()
            return
        self.is_connected = True
        self.known = self.snapshot()

    async def stop(self) -> None:
        self.sink = None
        self.is_connected = False
        self.pbx.disconnect(self)
        for timer in self.timers:
            if timer.active():
                timer.cancel()
        self.causes.clear()

    async def legs(self) -> Sequence[FoundLeg]:
        self.check_connected()
        return list(self.known.values())

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        self.check_connected()
        channel = self.pbx.channels.get(leg)
        return None if channel is None else channel.as_found()

    def place(self, leg: LegId, number: str) -> None:
        raise CannotPlace("this backend only watches")

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self.check_connected()
        if leg not in self.known:
            raise NoSuchLeg(f"no leg {leg!r}")
        if leg in self.causes:
            return
        self.causes[leg] = cause
        if self.pbx.command_hang_up(leg, cause.q850):
            self.later(GIVE_UP_AFTER, self.give_up, leg)
        else:
            self.later(EVENT_DELAY, self.look_again, leg)

    # What the PBX tells.

    def heard(self, what: str, channel: Channel, q850: int) -> None:
        leg = LegId(channel.name)
        if what == "began":
            self.find(channel.as_found())
        elif leg not in self.known:
            return
        elif what in ("hung up", "obeyed"):
            self.end(leg, self.cause_of_end(leg, what, q850), Proof.FAR_END)
        else:
            self.change(leg, channel.as_found(), answered=what == "answered")

    def find(self, found: FoundLeg) -> None:
        self.known[found.leg] = found
        assert self.sink is not None
        self.sink.leg_found(found)

    def change(self, leg: LegId, new: FoundLeg, *, answered: bool) -> None:
        self.known[leg] = new
        self.report(Answered(leg) if answered else self.changed(leg, new))

    def changed(self, leg: LegId, new: FoundLeg) -> Changed:
        return Changed(leg=leg, aliases=new.aliases, partners=new.partners)

    def cause_of_end(self, leg: LegId, what: str, q850: int) -> Cause:
        requested = self.causes.get(leg)
        if what == "obeyed" and requested is not None:
            return Cause(by=requested.by, q850=requested.q850, sip_status=200)
        return Cause(by=EndedBy.FAR_END, q850=q850)

    def end(self, leg: LegId, cause: Cause, proof: Proof) -> None:
        self.known.pop(leg, None)
        self.causes.pop(leg, None)
        self.report(Ended(leg, cause, shown_by=proof))

    def give_up(self, leg: LegId) -> None:
        """Report the end of a leg whose far end has not answered in time."""
        if leg in self.causes:
            by = self.causes[leg].by
            self.end(leg, Cause(by=by, q850=RECOVERY_ON_TIMER_EXPIRY), Proof.NONE)

    def look_again(self, leg: LegId) -> None:
        """The PBX does not have a leg that has not ended: its end may overtake the reply."""
        if leg in self.known:
            self.forget(leg, "the PBX answered that there is no such channel")

    def forget(self, leg: LegId, reason: str) -> None:
        del self.known[leg]
        self.causes.pop(leg, None)
        self.report(Gone(leg, reason))

    # The connection.

    def connection_lost(self) -> None:
        self.is_connected = False
        self.causes.clear()
        self.report_down("the connection is lost")
        self.later(RETRY_INTERVAL, self.reconnect)

    def reconnect(self) -> None:
        if not self.pbx.connect(self):
            self.later(RETRY_INTERVAL, self.reconnect)
            return
        self.is_connected = True
        self.take_over(self.snapshot())
        self.report_up()

    def snapshot(self) -> dict[LegId, FoundLeg]:
        return {LegId(name): channel.as_found() for name, channel in self.pbx.channels.items()}

    def take_over(self, snapshot: dict[LegId, FoundLeg]) -> None:
        """Report the legs that ended during the outage; `legs` has the others."""
        for leg in [leg for leg in self.known if leg not in snapshot]:
            self.forget(leg, "it was gone after an outage")
        self.known = snapshot

    def report_down(self, reason: str) -> None:
        assert self.sink is not None
        self.sink.backend_down(reason)

    def report_up(self) -> None:
        assert self.sink is not None
        self.sink.backend_up()

    def report(self, event: LegEvent) -> None:
        if self.sink is not None:
            self.sink.leg_event(event)

    def check_connected(self) -> None:
        if not self.is_connected:
            raise BackendUnavailable("the PBX is not connected")

    def later(self, delay: float, act: Callable[..., None], *arguments: Any) -> None:
        self.timers = [timer for timer in self.timers if timer.active()]
        self.timers.append(self.clock.callLater(delay, act, *arguments))


class FollowingContract(LegBackendContract):
    """The contract of `FollowingBackend`; a mutant of it sets another `kind`."""

    kind: type[FollowingBackend] = FollowingBackend
    can_place = False
    has_clock_alone = False  # the PBX is on it too
    not_offered = (CarriesMedia, ChecksFiles, RestoresLegs, ShowsMessages)

    def make_backend(self) -> LegBackend:
        if not hasattr(self, "pbx"):
            self.pbx = Pbx(self.clock)
        return self.kind(self.pbx, self.clock)

    async def pbx_call(self, number: str) -> LegId:
        return self.pbx.begin(number, CallState.CONNECTED)

    async def pbx_ring(self, number: str) -> LegId:
        return self.pbx.begin(number, CallState.ALERTING)

    async def pbx_answer(self, leg: LegId) -> None:
        self.pbx.change(leg, "answered", state=CallState.CONNECTED)

    async def pbx_bridge(self, leg: LegId, other: LegId) -> None:
        self.pbx.change(leg, "changed", partner=other)
        self.pbx.change(other, "changed", partner=leg)

    async def pbx_unbridge(self, leg: LegId, other: LegId) -> None:
        self.pbx.change(leg, "changed", partner=None)
        self.pbx.change(other, "changed", partner=None)

    async def pbx_rename(self, leg: LegId) -> None:
        self.pbx.change(leg, "changed", id=f"{self.pbx.channels[leg].id}<MASQ>")

    async def pbx_hang_up(self, leg: LegId, q850: int) -> None:
        self.pbx.end(leg, q850)

    async def pbx_lose(self, leg: LegId) -> None:
        del self.pbx.channels[leg]

    async def pbx_deny_hang_ups(self) -> None:
        self.pbx.ends_calls = False

    async def pbx_disconnect(self) -> None:
        self.pbx.is_reachable = False
        self.pbx.break_connection()

    async def pbx_reconnect(self) -> None:
        self.pbx.is_reachable = True

    async def pbx_restart(self) -> None:
        self.pbx.channels.clear()
        self.pbx.break_connection()

    def pbx_has(self, leg: LegId) -> bool:
        return leg in self.pbx.channels

    def pbx_commands(self) -> int:
        return self.pbx.commands
