"""
umd under test: control and a backend, with or without a journal.

`SimNode` is umd on the simulator's backend, without a journal. `SipNode` is umd on the SIP backend,
with the real ledger on a virtual journal; it can crash, and a new one starts from what is durable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.backend import FoundLeg, KnownLeg, LegBackend, LegEvent, LegId, LegSink, RestoresLegs
from umd.backends.sim import SimBackend
from umd.backends.sim.directory import Directory
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sim.network import Network
from umd.backends.sim.section import SimSection
from umd.backends.sim.simulation import UMD_HOP
from umd.backends.sip import SipBackend, SipSection
from umd.call.call import Call
from umd.call.cause import Cause
from umd.call.events import LifecycleEvent
from umd.call.record import UnknownRecord
from umd.control.control import Control
from umd.control.journal import CallJournal, NullJournal
from umd.control.settings import ControlSettings
from umd.journal.ledger import CallLog, Ledger
from umd.journal.replay import ended_calls, live_calls
from umd.journal.store import Stored
from umd.lab.clock import ProcessReactor, VirtualClock
from umd.lab.virtual_journal import CommitObserver, VirtualDisk, VirtualStore
from umd.lab.virtual_udp import PEER_ADDRESS, UMD_ADDRESS, UdpNetwork
from umd.sip.endpoint import Endpoint

WALL_TIME_AT_START: Final = 1_767_225_600.0
"""The wall time at the beginning of every run: 2026-01-01, in seconds since the epoch."""
NODE_NAME: Final = "lab"
SILENT_LOG: Final = structlog.wrap_logger(
    None, wrapper_class=structlog.make_filtering_bound_logger(50)
)


class Observer(CommitObserver, Protocol):
    """Follows what happens inside umd."""

    def leg_reported(self, event: LegEvent) -> None:
        """Observe an event that the backend reports to control."""

    def recorded(self, call: Call, event: LifecycleEvent) -> None:
        """Observe a lifecycle event that control writes down."""


@dataclass(frozen=True)
class Setting:
    """What every umd of a run has in common, before and after a crash."""

    clock: VirtualClock
    section: SimSection
    control: ControlSettings
    observer: Observer
    make_leg_name: Callable[[], str]


class Node:
    """One umd, from its start to the end of the run or to its crash."""

    control: Control
    network: Network
    far_ends: FarEnds
    directory: Directory
    umd_host: str

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """umd's own SIP endpoint."""

    @property
    @abstractmethod
    def legs(self) -> int:
        """How many legs the backend carries."""

    @abstractmethod
    def pump(self) -> None:
        """Let the network carry what a far end has to send."""


class SimNode(Node):
    """umd on the simulator's backend, without a journal."""

    umd_host = UMD_HOP.host

    def __init__(self, setting: Setting) -> None:
        self._backend = SimBackend("sim", setting.section, setting.clock)
        simulation = self._backend.simulation
        self._simulation = simulation
        self.network = simulation.network
        self.far_ends = simulation.far_ends
        self.directory = simulation.directory
        self.control = Control(
            backends={"sim": ObservedBackend(self._backend, setting.observer)},
            node=NODE_NAME,
            clock=setting.clock,
            wall=lambda: WALL_TIME_AT_START + setting.clock.seconds(),
            log=SILENT_LOG,
            settings=setting.control,
            make_leg_name=setting.make_leg_name,
            journal=NullJournal(setting.observer.recorded),
        )

    @property
    def endpoint(self) -> Endpoint:
        return self._simulation.endpoint

    @property
    def legs(self) -> int:
        return len(self._simulation.legs)

    def pump(self) -> None:
        self._backend.go_on()


class SipNode(Node):
    """
    umd on the SIP backend, with a journal.

    Args:
        setting: What every umd of the run has in common.
        udp: The network, which outlives umd.
        disk: The durable records, which outlive umd.
        commit_takes: Seconds that a commit takes.
    """

    umd_host = UMD_ADDRESS.host

    def __init__(
        self, setting: Setting, udp: UdpNetwork, disk: VirtualDisk, commit_takes: float
    ) -> None:
        self._udp = udp
        self.network, self.far_ends, self.directory = udp.network, udp.far_ends, udp.directory
        self._reactor = ProcessReactor(setting.clock, udp.port)
        self.store = VirtualStore(
            disk, self._reactor, commit_takes, setting.observer, self._trouble_changed
        )
        self._backend = SipBackend("sip", SIP_SECTION, self._reactor)
        self._backend._log = SILENT_LOG
        ledger = Ledger(self.store, CallLog(SILENT_LOG), True)
        self.control = Control(
            backends={"sip": ObservedRestoringBackend(self._backend, setting.observer)},
            node=NODE_NAME,
            clock=self._reactor,
            wall=lambda: WALL_TIME_AT_START + setting.clock.seconds(),
            log=SILENT_LOG,
            settings=setting.control,
            make_leg_name=setting.make_leg_name,
            journal=ObservedJournal(ledger, setting.observer),
        )
        self._recover()

    def _recover(self) -> None:
        """Restore the calls on record, as the daemon does at its start."""
        remembered = self.control.settings.retained_calls
        for ended in ended_calls(self.store, 0.0, remembered, _raise_unreadable):
            self.control.recover(ended, None)
        for live, leg_record, heard_at in live_calls(self.store, _raise_unreadable):
            self.control.recover(live, leg_record, heard_at)

    def _trouble_changed(self, trouble: str | None) -> None:
        if trouble is not None:
            self.control.journal_failed(trouble)

    @property
    def endpoint(self) -> Endpoint:
        assert self._backend.endpoint is not None
        return self._backend.endpoint

    @property
    def legs(self) -> int:
        return len(result_of(self._backend.legs()))

    def pump(self) -> None:
        self._udp.run()

    def crash(self) -> None:
        """Kill the process: its timers, its port and its records that are not durable are gone."""
        self._reactor.crash()
        self._udp.port.stopListening()


def _raise_unreadable(stored: Stored, error: UnknownRecord) -> None:
    raise error


SIP_SECTION: Final = SipSection.model_validate(
    {
        "listen": f"udp:{UMD_ADDRESS.host}:{UMD_ADDRESS.port}",
        "peer": f"udp:{PEER_ADDRESS.host}:{PEER_ADDRESS.port}",
        "probe_interval": "none",
    }
)


class ObservedBackend(LegBackend):
    """A backend whose reports to control are observed."""

    Settings = SimSection

    def __init__(self, inner: LegBackend, observer: Observer) -> None:
        self._inner = inner
        self._observer = observer

    async def start(self, sink: LegSink) -> None:
        await self._inner.start(_ObservedSink(sink, self._observer))

    async def stop(self) -> None:
        await self._inner.stop()

    async def legs(self) -> Sequence[FoundLeg]:
        return await self._inner.legs()

    def place(self, leg: LegId, number: str) -> None:
        self._inner.place(leg, number)

    def hang_up(self, leg: LegId, cause: Cause) -> None:
        self._inner.hang_up(leg, cause)


class ObservedRestoringBackend(ObservedBackend, RestoresLegs):
    """An observed backend that restores its legs after a restart."""

    def __init__(self, inner: SipBackend, observer: Observer) -> None:
        super().__init__(inner, observer)
        self._restoring = inner

    def leg_record(self, leg: LegId) -> bytes | None:
        return self._restoring.leg_record(leg)

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        self._restoring.restore(known, anew=anew)


class _ObservedSink(LegSink):
    def __init__(self, sink: LegSink, observer: Observer) -> None:
        self._sink = sink
        self._observer = observer

    def leg_found(self, found: FoundLeg) -> None:
        self._sink.leg_found(found)

    def leg_event(self, event: LegEvent) -> None:
        self._observer.leg_reported(event)
        self._sink.leg_event(event)

    def when_recorded(self, then: Callable[[Any], None], argument: Any) -> None:
        self._sink.when_recorded(then, argument)

    def backend_down(self, reason: str) -> None:
        self._sink.backend_down(reason)

    def backend_up(self) -> None:
        self._sink.backend_up()


class ObservedJournal(CallJournal):
    """A journal whose events are observed when control appends them."""

    durable = True

    def __init__(self, ledger: Ledger, observer: Observer) -> None:
        self._ledger = ledger
        self._observer = observer

    @property
    def refusing(self) -> str | None:
        return self._ledger.refusing

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        self._observer.recorded(call, event)
        self._ledger.append(call, event, extra, then, argument)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        self._ledger.flush(then, argument)


def result_of(coroutine: Any) -> Any:
    """Return the result of a coroutine that waits for nothing."""
    results: list[Any] = []
    _ = Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
