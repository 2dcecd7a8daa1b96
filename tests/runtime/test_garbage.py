"""Cyclic garbage goes, without a look at all that lives."""

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
from umd.backends.sim.simulation import SimSection
from umd.control.settings import ControlSettings
from umd.http.front import Front
from umd.messaging.service import SoapService
from umd.messaging.use_cases import UseCases
from umd.runtime.garbage import LONGEST, STEPS_BY_PYTHON, Garbage


class Knot:
    """Refers to itself, as nothing of umd's own does."""

    def __init__(self) -> None:
        self.itself = self


class GarbageTests(SynchronousTestCase):
    if STEPS_BY_PYTHON:
        skip = "this Python collects in steps by itself"

    def setUp(self) -> None:
        self.clock = Clock()
        self.log, self.lines = capturing_log()
        self.explained = 1 << 60
        self.garbage = Garbage(self.clock, self.log, lambda: self.explained)
        before = gc.get_threshold(), list(gc.callbacks)
        self.garbage.begin()
        self.addCleanup(
            lambda: self.assertEqual(before, (gc.get_threshold(), list(gc.callbacks)))
        )
        self.addCleanup(self.garbage.stop)

    def tie(self) -> weakref.ref[Knot]:
        """A knot that nobody else refers to."""
        return weakref.ref(Knot())

    def test_new_garbage_goes(self) -> None:
        """A cycle goes at the next look."""
        knot = self.tie()
        self.clock.advance(LONGEST)
        self.assertIsNone(knot())

    def test_looked_at_once(self) -> None:
        """What has lasted is not among what the looks after that look at."""
        lasting: list[object] = [[] for _ in range(5000)]
        self.clock.advance(LONGEST)
        among = gc.get_objects()
        self.assertLess(len(among), 1000)
        self.assertEqual(len(lasting), 5000)

    def test_looks_also_in_a_long_turn(self) -> None:
        """No turn of the reactor is so long that nothing is looked at."""
        knots = [self.tie() for _ in range(200)]
        kept: list[object] = [[] for _ in range(20_000)]
        self.assertFalse([knot for knot in knots if knot() is not None])
        self.assertEqual(len(kept), 20_000)

    def test_memory_that_nothing_explains(self) -> None:
        """A cycle that has lasted, and then dies, goes when memory becomes too much."""
        lasting = Knot()
        knot = weakref.ref(lasting)
        self.clock.advance(LONGEST)
        del lasting
        self.clock.pump([LONGEST] * 100)
        self.assertIsNotNone(knot())
        self.explained = -(1 << 60)
        self.clock.pump([LONGEST] * 100)
        self.assertIsNone(knot())
        told = [line for line in self.lines if line["event"] == "daemon.memory-not-explained"]
        self.assertEqual(len(told), 1, "once, and not again until there is much more")
        self.assertGreater(told[0]["unreachable"], 0)

    def test_no_timer_is_left(self) -> None:
        """It ends with the daemon."""
        self.garbage.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NoCyclesTests(SynchronousTestCase):
    """What is made for a request and a call goes without the collector."""

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
        """What a client is answered that sends this and leaves."""
        connection = self.front.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport: Any = StringTransport()
        connection.makeConnection(transport)
        for octets in requests:
            connection.dataReceived(octets)
            self.clock.pump([0.001] * 10)
        connection.connectionLost(Failure(ConnectionDone()))
        answer = bytes(transport.value())
        connection.transport = transport.protocol = None  # as Twisted's own do
        return answer

    def lives(self, call: int) -> None:
        """A call is placed, ended by a request, and forgotten, and bad requests come between."""
        placed = self.room.control.place(ALICE, "5550101")
        self.clock.pump([0.001] * 10)
        body = disconnect(placed.id).encode()
        asked = request("Content-Type: text/xml", target="/EWS/UM2007Legacy.asmx", body=body)
        # A head of its own each time, whole and in pieces.
        asked = asked.replace(b"\r\n", f"\r\nX-Number: {call}\r\n".encode(), 1)
        answer = self.ask(asked[:50], asked[50:-20], asked[-20:])
        self.assertIn(b"X-UMD-Outcome: ended", answer)
        self.ask(f"GET /{call} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"no HTTP\r\n\r\n")
        self.ask(asked.replace(b"CallId>", b"CallId<"))
        self.ask(asked[:100])

    def test_no_cycles(self) -> None:
        """Nothing is left for the collector when calls have come and gone."""
        for call in range(3):
            self.lives(call)  # what is made once is there
        self.clock.pump([1.0] * 70)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for call in range(3, 13):
            self.lives(call)
        self.clock.pump([1.0] * 70)
        self.assertEqual(gc.collect(), 0)
