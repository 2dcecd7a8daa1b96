"""
The backend `sim`, which is the default: simulated calls on a virtual network in this process.

Both ends of each call run the SIP core that also drives real calls. Only the network between them
is simulated. Nothing leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from twisted.internet.interfaces import IReactorTime

from umd.backend import (
    CarriesMedia,
    Ended,
    FoundLeg,
    KnownLeg,
    LegBackend,
    LegEvent,
    LegId,
    LegSink,
    Media,
    MessageTap,
    RestoresLegs,
    ShowsMessages,
)
from umd.backends.sim.media import MediaCounter
from umd.backends.sim.network import Flight
from umd.backends.sim.section import Seed, SimSection
from umd.backends.sim.simulation import Simulation
from umd.call.call import CallState
from umd.call.call_id import CallId, split_call_id
from umd.call.cause import INVALID_NUMBER_FORMAT, Cause, EndedBy
from umd.runtime.clock import Wakeup
from umd.sip.number import NotDialable, require_dialable

if TYPE_CHECKING:
    from pydantic import BaseModel


class SimBackend(LegBackend, ShowsMessages, CarriesMedia, RestoresLegs):
    """A `Simulation` on the reactor's clock."""

    Settings = SimSection

    def __init__(self, name: str, settings: BaseModel, clock: IReactorTime) -> None:
        assert isinstance(settings, SimSection)
        self.simulation = Simulation(settings, self._report, when_recorded=self._when_recorded)
        self._clock = clock
        self._log = structlog.get_logger().bind(backend=name)
        self._wakeup = Wakeup(clock, self.go_on)
        self._sink: LegSink | None = None
        self._running = False
        self._media = MediaCounter()
        self._seeds = settings.seed
        """The configured calls, until `start` creates them."""
        self._seed_of: dict[LegId, Seed] = {}
        """The legs that `start` created, and the configured call of each."""

    def capture_to(self, tap: MessageTap) -> None:
        def record(now: float, flight: Flight) -> None:
            tap(flight.source, flight.target, flight.message)

        self.simulation.network.tap = record

    async def start(self, sink: LegSink) -> None:
        seeds, self._seeds = self._seeds, []
        for seed in seeds:
            for _ in range(seed.count):
                self._create_leg(seed)
        self._sink = sink
        unsent = self.simulation.endpoint.has_to_send  # from before a `stop`
        due = self.simulation.network.next_due()
        self._wakeup.no_later_than(self._clock.seconds() if unsent else due)

    async def stop(self) -> None:
        self._sink = None
        self._wakeup.stop()

    async def legs(self) -> Sequence[FoundLeg]:
        return [
            self._found(leg, state, number)
            for leg, state, number in self.simulation.legs.states()
        ]

    def place(self, leg: LegId, number: str) -> None:
        try:
            require_dialable(number)
        except NotDialable as error:
            self._log.warning("sim.not-diallable", leg=leg, why=str(error))
            cause = Cause(by=EndedBy.DAEMON, q850=INVALID_NUMBER_FORMAT)
            self._report(Ended(leg, cause, confirmed=True))
            return
        self.simulation.place(leg, number, self._clock.seconds())
        self.go_on()

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        self._media.expect(leg, media)
        self.place(leg, number)

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        now = self._clock.seconds()
        self.simulation.hang_up(leg, cause, now)
        # In the next turn of the reactor, so that the hang-ups of one group commit leave together.
        self._wakeup.no_later_than(now)

    # -- after a restart

    def leg_record(self, leg: LegId) -> bytes | None:
        return self.simulation.record(leg)

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        """Restore legs; `start` creates the configured calls only if the journal knows no call."""
        if not anew:
            self._seeds = []
        for leg in known:
            try:
                self._restore(leg, self._clock.seconds())
            except Exception as error:
                # This leg is lost. The others must still be restored.
                self._log.error("sim.leg-not-restored", leg=leg.leg, why=str(error))

    def _restore(self, leg: KnownLeg, now: float) -> None:
        if leg.record is not None:
            self.simulation.restore(leg, now)
        elif leg.state is CallState.CONNECTED:
            raise ValueError("it was answered, but its leg record could not be written")
        elif self.simulation.directory.find(leg.number).reachable == "yes":
            ringing = leg.state is not CallState.CONNECTING
            state = CallState.ALERTING if ringing else CallState.CONNECTING
            self.simulation.put(leg.leg, leg.number, state, now)
        else:
            self.simulation.place(leg.leg, leg.number, now)

    def go_on(self) -> None:
        """
        Do all that is due now. To be called after every change of the simulation from outside.

        A reported event may call a verb that leads back here; the outer call then does the work.
        """
        if self._running:
            return
        self._running = True
        due: float | None = self._clock.seconds()  # if `run` raises: again in the next turn
        try:
            due = self.simulation.network.run(self._clock.seconds())
        finally:
            self._running = False
            self._wakeup.no_later_than(due)

    def _create_leg(self, seed: Seed) -> None:
        name = str(uuid4()) if seed.call_id is None else split_call_id(seed.call_id)[0]
        leg = LegId(name)
        self._seed_of[leg] = seed
        self.simulation.put(leg, seed.number, CallState(seed.state), self._clock.seconds())

    def _found(self, leg: LegId, state: CallState, number: str) -> FoundLeg:
        seed = self._seed_of.get(leg)
        if seed is None:
            return FoundLeg(leg=leg, state=state, number=number)
        call_id = None if seed.call_id is None else CallId(seed.call_id)
        return FoundLeg(leg=leg, state=state, number=seed.number, call_id=call_id)

    def _report(self, event: LegEvent) -> None:
        # While `start` creates the configured calls there is no sink: `legs` lists them.
        if self._sink is not None:
            self._sink.leg_event(self._media.count(event, self._clock.seconds()))

    def _when_recorded(self, leg: LegId) -> None:
        if self._sink is None:
            self.simulation.legs.release(leg)
        else:
            self._sink.when_recorded(self._let_go, leg)

    def _let_go(self, leg: LegId) -> None:
        self.simulation.legs.release(leg)
        if self._sink is not None:
            self.go_on()
