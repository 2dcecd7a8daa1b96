"""The UDP port, on real sockets and in memory."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import MessageLengthError
from twisted.trial.unittest import TestCase

from tests.backends.sip.memory import MemoryPort, MemoryUdp
from tests.helpers import capturing_log
from umd.backends.sip.udp import CannotListen, UdpPort
from umd.sip import build
from umd.sip.message import Message
from umd.sip.transaction import Hop, Send

LOOPBACK = "127.0.0.1"


def message(body: bytes = b"") -> Message:
    return build.request(
        "OPTIONS",
        "sip:far@127.0.0.1",
        sent_by="127.0.0.1:5060",
        branch="z9hG4bK1",
        from_="<sip:umd@127.0.0.1>;tag=1",
        to="<sip:far@127.0.0.1>",
        call_id="1",
        cseq=1,
        body=body,
    )


class RecordingEnd:
    """Records its calls in order; `outgoing` holds the messages to send."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.outgoing: list[Send] = []
        self.due: float | None = None
        self.error: Exception | None = None
        self.heard: Deferred[bytes] = Deferred()

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        self.told.append((data, source))
        if not self.heard.called:
            self.heard.callback(data)
        self._fail()

    def messages_to_send(self) -> list[Send]:
        outgoing, self.outgoing = self.outgoing, []
        return outgoing

    def send_failed(self, message: Message, now: float) -> None:
        self.told.append(("failed", message))

    def next_due(self) -> float | None:
        return self.due

    def handle_timer(self, now: float) -> None:
        self.told.append(("timer", now))
        self.due = None
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def failed(self) -> list[Message]:
        return [told[1] for told in self.told if told[0] == "failed"]


class MemoryTests(TestCase):
    """In memory: any error can be raised, on virtual time."""

    def setUp(self) -> None:
        self.clock = MemoryUdp()
        self.log, self.lines = capturing_log()
        self.end = RecordingEnd()
        self.port = UdpPort(self.clock, self.log)
        self.assertEqual(self.port.listen(LOOPBACK, 5060), Hop(LOOPBACK, 5060))
        self.port.serve(self.end)

    @property
    def transport(self) -> MemoryPort:
        return self.clock.ports[LOOPBACK, 5060]

    def send(self, hop: Hop = Hop(LOOPBACK, 5070)) -> Message:
        sent = message()
        self.end.outgoing.append(Send(sent, hop))
        self.port.pump()
        return sent

    def logged(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]

    def test_send_error_fails_one_message(self) -> None:
        for number in (errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES):
            self.transport.error = OSError(number, os.strerror(number))
            sent = self.send()
            self.assertIs(self.end.failed()[-1], sent)
        self.transport.error = MessageLengthError("message too long")
        sent = self.send()
        self.assertIs(self.end.failed()[-1], sent)
        self.assertEqual((self.port.counts.sent, self.port.counts.failed), (0, 5))
        self.transport.error = None
        self.send()
        self.assertEqual(self.port.counts.sent, 1)

    def test_next_message_leaves_after_a_failure(self) -> None:
        self.end.outgoing.append(Send(message(), Hop("pbx.example.com", 5060)))
        self.send()
        self.assertEqual((self.port.counts.failed, len(self.clock.carried)), (1, 1))

    def test_exception_about_one_message(self) -> None:
        """An exception about one message affects no other, also one from a callback."""
        no_host: Any = None
        for odd in (Hop(LOOPBACK, 5070, transport="UDP\udce9"), Hop(no_host, 5070)):
            before = len(self.clock.carried)
            self.end.outgoing.append(Send(message(), odd))
            self.send()
            self.assertEqual(len(self.clock.carried), before + 1)
        self.assertEqual(len(self.end.failed()), 2)

        def mistaken() -> None:
            raise KeyError("a mistake")

        self.port.serve(self.end, mistaken)
        self.send()
        self.assertEqual(len(self.clock.carried), 3)
        self.assertTrue(self.logged("sip.failed"))

    def test_full_send_buffer(self) -> None:
        """A full send buffer counts as packet loss; the transaction retransmits."""
        for number in (errno.EAGAIN, errno.ENOBUFS):
            self.transport.error = OSError(number, os.strerror(number))
            self.send()
        self.assertEqual((self.end.failed(), self.port.counts.lost), ([], 2))

    def test_failures_are_logged_in_one_line(self) -> None:
        self.transport.error = OSError(errno.EPERM, "Operation not permitted")
        for _ in range(100):
            self.send()
        (line,) = self.logged("sip.send-failed")
        self.assertEqual(line["last"], "127.0.0.1:5070: Operation not permitted")
        self.clock.advance(10.0)
        self.send()
        counts = [line["count"] for line in self.logged("sip.send-failed")]
        self.assertEqual(counts, [1, 100])

    def test_host_names_go_to_the_fallback(self) -> None:
        """A host name goes to the fallback if there is one; another transport fails."""
        sent = self.send(Hop("pbx.example.com", 5080))
        self.assertEqual(self.end.failed(), [sent])
        other, heard = UdpPort(self.clock, self.log, fallback=Hop(LOOPBACK, 5070)), RecordingEnd()
        other.listen(LOOPBACK, 5061)
        end = RecordingEnd()
        other.serve(end)
        far = UdpPort(self.clock, self.log)
        far.listen(LOOPBACK, 5070)
        far.serve(heard)
        for hop in (Hop("pbx.example.com", 5080), Hop(LOOPBACK, 5070, "TCP")):
            end.outgoing.append(Send(sent, hop))
            other.pump()
        self.clock.advance(0.001)
        self.assertEqual(heard.told, [(sent.octets(), Hop(LOOPBACK, 5061))])
        self.assertEqual(end.failed(), [sent])

    def test_one_timer(self) -> None:
        for due in (9.0, 5.0, 7.0):
            self.end.due = due
            self.port.pump()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.end.due = 5.0
        self.clock.advance(5.0)
        self.assertEqual(self.end.told, [("timer", 5.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_exception_in_the_core(self) -> None:
        """After an exception in the SIP core the messages leave and the timer goes on."""
        self.end.error = ZeroDivisionError()
        self.end.due = 3.0
        self.end.outgoing.append(Send(message(), Hop(LOOPBACK, 5070)))
        with self.assertRaises(ZeroDivisionError):
            self.port.datagramReceived(b"x", (LOOPBACK, 5070))
        self.assertEqual(len(self.clock.carried), 1)
        with self.assertRaises(ZeroDivisionError):
            self.clock.advance(3.0)
        self.end.error = None
        self.send()
        self.assertEqual(len(self.clock.carried), 2)

    def test_events_are_reported_before_sending(self) -> None:
        """Messages that result from a report leave in the same turn."""
        carried_then: list[int] = []

        def report() -> None:
            carried_then.append(len(self.clock.carried))
            if len(carried_then) == 1:
                self.end.outgoing.append(Send(message(), Hop(LOOPBACK, 5070)))
                self.port.pump()

        self.end.outgoing.append(Send(message(), Hop(LOOPBACK, 5070)))
        self.port.serve(self.end, report)
        self.assertEqual((carried_then, len(self.clock.carried)), ([0, 2], 2))

    async def test_closed_port(self) -> None:
        self.end.due = 5.0
        self.send()
        self.end.outgoing.append(Send(message(), Hop(LOOPBACK, 5070)))
        await self.port.close()
        await self.port.close()
        self.assertEqual(len(self.clock.carried), 2)
        self.port.datagramReceived(b"late", (LOOPBACK, 5070))
        self.send()
        self.clock.advance(100.0)
        self.assertEqual((self.end.told, len(self.clock.carried)), ([], 2))
        (line,) = self.logged("sip.closed")
        self.assertEqual((line["sent"], line["failed"], line["dropped"]), (2, 0, None))

    async def test_report_may_close_the_port(self) -> None:
        closing: list[Deferred[None]] = []
        self.end.due = 5.0

        def report() -> None:
            closing.append(Deferred.fromCoroutine(self.port.close()))

        self.port.serve(self.end, report)
        await closing[0]
        self.assertEqual((len(closing), self.clock.getDelayedCalls()), (1, []))


class SocketTests(TestCase):
    """On real sockets on loopback."""

    def setUp(self) -> None:
        self.log, self.lines = capturing_log()
        self.end = RecordingEnd()
        self.port = self.open()

    def open(self, **keywords: Any) -> UdpPort:
        port = UdpPort(reactor, self.log, **keywords)
        self.address = port.listen(LOOPBACK, 0)
        port.serve(self.end)
        self.addCleanup(lambda: Deferred.fromCoroutine(port.close()))
        return port

    def hears(self, data: bytes) -> Deferred[bytes]:
        """Send the port a datagram from elsewhere."""
        self.end.heard = Deferred()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.sendto(data, (LOOPBACK, self.address.port))
        return self.end.heard

    async def test_datagram_of_any_size(self) -> None:
        for size in (1, 9000, 65000):
            self.assertEqual(len(await self.hears(b"x" * size)), size)
        self.assertEqual(self.port.counts.received, 3)

    async def test_closed_port_of_the_peer(self) -> None:
        """A closed port of the peer looks like a silent one, and umd keeps its own port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((LOOPBACK, 0))
            closed = taken.getsockname()[1]
        for _ in range(3):
            self.end.outgoing.append(Send(message(), Hop(LOOPBACK, closed)))
            self.port.pump()
        self.assertEqual(await self.hears(b"still there"), b"still there")
        self.assertEqual((self.end.failed(), self.port.counts.sent), ([], 3))

    async def test_send_errors_do_not_close_the_port(self) -> None:
        """No route, port 0, a long datagram and the wrong family do not close the port."""
        for hop, body in (
            (Hop("255.255.255.255", 5060), b""),
            (Hop(LOOPBACK, 0), b""),
            (Hop(LOOPBACK, 5060), b"x" * 70000),
            (Hop("::1", 5060), b""),
        ):
            self.end.outgoing.append(Send(message(body), hop))
            self.port.pump()
        self.assertEqual((len(self.end.failed()), self.port.counts.sent), (4, 0))
        self.assertEqual(await self.hears(b"still there"), b"still there")

    def test_granted_receive_buffer_is_logged(self) -> None:
        (line,) = [line for line in self.lines if line["event"] == "sip.listening"]
        self.assertEqual(line["listen"], f"{LOOPBACK}:{self.address.port}")
        self.assertGreater(line["receive_buffer"], 0)
        del self.lines[:]
        self.open(receive_buffer=1 << 30)
        (line,) = [line for line in self.lines if line["event"] == "sip.receive-buffer-small"]
        self.assertEqual(line["asked"], 1 << 30)
        self.assertLess(line["receive_buffer"], 1 << 30)

    async def test_kernel_drops_are_logged(self) -> None:
        """After a burst umd logs the drop counter of the kernel, as in /proc/net/udp."""
        self.assertEqual(self.port.dropped, 0)
        port = self.open(receive_buffer=4096)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            for _ in range(100):
                far.sendto(b"x" * 1000, (LOOPBACK, self.address.port))
        dropped = port.dropped
        assert dropped is not None
        self.assertGreater(dropped, 50)
        with open("/proc/net/udp") as table:
            rows = [line.split() for line in table]
        local = f"0100007F:{self.address.port:04X}"
        self.assertEqual([int(row[-1]) for row in rows if row[1] == local], [dropped])
        await port.close()
        (line,) = [line for line in self.lines if line["event"] == "sip.datagrams-dropped"]
        self.assertEqual((line["count"], line["total"]), (dropped, dropped))

    def test_address_in_use(self) -> None:
        other = UdpPort(reactor, self.log)
        taken = f"udp:127.0.0.1:{self.address.port}: Address already in use"
        with self.assertRaisesRegex(CannotListen, taken):
            other.listen(LOOPBACK, self.address.port)
