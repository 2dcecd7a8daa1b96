"""The collector frees reference cycles in short passes, without scanning every object."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom, MemoryUsers, RecordingDelivery, capturing_log
from tests.http.helpers import request
from tests.soap.test_contract import disconnect
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.control.settings import ControlSettings
from umd.http.front import Front
from umd.messaging.service import SoapService
from umd.messaging.use_cases import UseCases
from umd.runtime.garbage_collection import (
    MAX_INTERVAL,
    PYTHON_IS_INCREMENTAL,
    IncrementalCollector,
)


class Cycle:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


class CollectorTests(SynchronousTestCase):
    if PYTHON_IS_INCREMENTAL:
        skip = "Python's own collector is incremental"

    def setUp(self) -> None:
        self.clock = Clock()
        self.log, self.lines = capturing_log()
        self.explained = 1 << 60
        self.collector = IncrementalCollector(self.clock, self.log, lambda: self.explained)
        before = gc.get_threshold(), list(gc.callbacks)
        self.collector.start()
        self.addCleanup(
            lambda: self.assertEqual(before, (gc.get_threshold(), list(gc.callbacks)))
        )
        self.addCleanup(self.collector.stop)

    def garbage(self) -> weakref.ref[Cycle]:
        """Return a weak reference to a cycle that is unreachable."""
        return weakref.ref(Cycle())

    def test_a_new_cycle_is_freed(self) -> None:
        """The next pass frees a cycle."""
        cycle = self.garbage()
        self.clock.advance(MAX_INTERVAL)
        self.assertIsNone(cycle())

    def test_an_object_is_scanned_once(self) -> None:
        """Later passes do not scan an object that has survived a pass."""
        lasting: list[object] = [[] for _ in range(5000)]
        self.clock.advance(MAX_INTERVAL)
        among = gc.get_objects()
        self.assertLess(len(among), 1000)
        self.assertEqual(len(lasting), 5000)

    def test_passes_within_a_long_reactor_turn(self) -> None:
        """A reactor turn that makes many objects has passes, too."""
        cycles = [self.garbage() for _ in range(200)]
        kept: list[object] = [[] for _ in range(20_000)]
        self.assertFalse([cycle for cycle in cycles if cycle() is not None])
        self.assertEqual(len(kept), 20_000)

    def test_unexplained_memory_starts_a_full_collection(self) -> None:
        """A full collection frees a cycle that became garbage after it was exempted."""
        lasting = Cycle()
        cycle = weakref.ref(lasting)
        self.clock.advance(MAX_INTERVAL)
        del lasting
        self.clock.pump([MAX_INTERVAL] * 100)
        self.assertIsNotNone(cycle())
        self.explained = -(1 << 60)
        self.clock.pump([MAX_INTERVAL] * 100)
        self.assertIsNone(cycle())
        warnings = [line for line in self.lines if line["event"] == "daemon.memory-not-explained"]
        self.assertEqual(len(warnings), 1, "once, until memory has grown by half")
        self.assertGreater(warnings[0]["unreachable"], 0)

    def test_no_timer_is_left(self) -> None:
        """`stop` cancels the timer of the next pass."""
        self.collector.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NoCyclesTests(SynchronousTestCase):
    """Requests and calls leave no reference cycles, so reference counting frees them."""

    def setUp(self) -> None:
        clock = Clock()
        sim = SimBackend("sim", SimSection(random_seed=1), clock)
        self.room = ControlRoom({"sim": sim}, ControlSettings(retention=5.0), clock)
        control = self.room.control
        self.successResultOf(ensureDeferred(control.start()))
        use_cases = UseCases(control, users=MemoryUsers(), pins=RecordingDelivery())
        service = SoapService(use_cases, self.room.log, clock.seconds)
        self.front = Front(service.serve, clock, self.room.log)
        self.clock = clock

    def ask(self, *requests: bytes) -> bytes:
        """Return the answer to a client that sends these octets and disconnects."""
        connection = self.front.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport: Any = StringTransport()
        connection.makeConnection(transport)
        for part in requests:
            connection.dataReceived(part)
            self.clock.pump([0.001] * 10)
        connection.connectionLost(Failure(ConnectionDone()))
        answer = bytes(transport.value())
        connection.transport = transport.protocol = None  # as Twisted's own do
        return answer

    def run_call(self, call: int) -> None:
        """Place a call and end it by a request; send several bad requests, too."""
        placed = self.room.control.place(ALICE, "5550101")
        self.clock.pump([0.001] * 10)
        body = disconnect(placed.id).encode()
        octets = request("Content-Type: text/xml", target="/EWS/UM2007Legacy.asmx", body=body)
        # Each request has another head, so that no cache answers it.
        octets = octets.replace(b"\r\n", f"\r\nX-Number: {call}\r\n".encode(), 1)
        answer = self.ask(octets[:50], octets[50:-20], octets[-20:])
        self.assertIn(b"X-UMD-Outcome: ended", answer)
        self.ask(f"GET /{call} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"no HTTP\r\n\r\n")
        self.ask(octets.replace(b"CallId>", b"CallId<"))
        self.ask(octets[:100])

    def test_no_cycles(self) -> None:
        """A collection finds nothing after calls have come and gone."""
        for call in range(3):
            self.run_call(call)  # fills the caches
        self.clock.pump([1.0] * 70)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for call in range(3, 13):
            self.run_call(call)
        self.clock.pump([1.0] * 70)
        self.assertEqual(gc.collect(), 0)
