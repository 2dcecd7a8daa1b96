"""Receiving and sending HEP packets: who is let in, what is counted, what is passed on."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from structlog.testing import CapturingLogger
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.trace.test_hep import PACKET, packet
from tests.trace.wire_calls import PBX, leg
from umd.sip.framing import read_datagram
from umd.sip.message import Message
from umd.sip.transaction import Hop
from umd.trace.capture import Capture, sip_call_id
from umd.trace.feed import MAX_HELD, MAX_HELD_OF_CALL, MessageFeed
from umd.trace.hep import HepPacket, decode, encode
from umd.trace.hep_listener import HepFactory, HepReceiver, HepRules, HepUdp
from umd.trace.hep_sender import HepSender, TcpCollector
from umd.trace.summary import CallSummaries, read_summaries
from umd.trace.witness import Witness

NEAR, FAR = ("127.0.0.1", 40_000), ("203.0.113.5", 40_000)


def changed(**changes: Any) -> bytes:
    fields = {name: getattr(PACKET, name) for name in PACKET.__slots__}
    return encode(HepPacket(**{**fields, **changes}))


class ReceiverCase(SynchronousTestCase):
    rules = HepRules(password=b"secret")

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.log: Any = CapturingLogger()
        self.taken: list[Message] = []
        self.receiver = HepReceiver(self.rules, self.take, self.clock, self.log)
        self.udp = HepUdp(self.receiver)

    def take(self, source: Hop, target: Hop, message: Message, at: float, now: float) -> None:
        self.taken.append(message)

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [(call.args[0], call.kwargs) for call in self.log.calls]

    def connect(self, host: str = "127.0.0.1") -> tuple[Any, Any]:
        connection = HepFactory(self.receiver).buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", host, 40_000))
        connection.makeConnection(transport)
        return connection, transport


class UdpTests(ReceiverCase):
    def test_a_good_packet_is_passed_on(self) -> None:
        self.udp.datagramReceived(changed(), NEAR)
        self.assertEqual([message.start_line for message in self.taken], ["BYE sip:x@y SIP/2.0"])
        self.assertEqual((self.receiver.received, self.receiver.taken), (1, 1))
        self.assertEqual(self.lines(), [])

    def test_strangers_are_refused_by_source_and_password(self) -> None:
        """What is refused is counted by its reason; nothing of it reaches the log."""
        self.udp.datagramReceived(changed(), FAR)
        for password in (b"", b"wrong", b"secre", b"secret2"):
            self.udp.datagramReceived(changed(password=password), NEAR)
        self.udp.datagramReceived(b"\x02\x10GARBAGE", NEAR)
        self.udp.datagramReceived(changed(payload=b"GARBAGE"), NEAR)
        self.assertEqual(self.taken, [])
        self.assertEqual(
            dict(self.receiver.refused),
            {"source": 1, "password": 4, "old-version": 1, "not-sip": 1},
        )
        self.assertNotIn("GARBAGE", repr(self.lines()))
        self.assertNotIn("wrong", repr(self.lines()))

    def test_refusals_are_logged_once_a_minute(self) -> None:
        for _ in range(1000):
            self.udp.datagramReceived(b"x", NEAR)
        self.clock.advance(60)
        self.udp.datagramReceived(b"x", FAR)
        self.assertEqual(
            self.lines(),
            [
                ("hep.refused", {"counts": {"not-hep": 1}, "address": "127.0.0.1"}),
                (
                    "hep.refused",
                    {"counts": {"not-hep": 999, "source": 1}, "address": "203.0.113.5"},
                ),
            ],
        )

    def test_packets_about_other_things_are_counted(self) -> None:
        self.udp.datagramReceived(changed(payload_type=5), NEAR)
        self.udp.datagramReceived(changed(payload=b"\r\n\r\n"), NEAR)
        self.assertEqual((self.receiver.others, self.taken), (2, []))

    def test_a_failure_about_one_message_stops_no_other(self) -> None:
        def fail(*arguments: object) -> None:
            raise ZeroDivisionError

        udp = HepUdp(HepReceiver(HepRules(), fail, self.clock, self.log))
        udp.datagramReceived(changed(), NEAR)
        udp.datagramReceived(changed(), NEAR)
        self.assertEqual([line[0] for line in self.lines()], ["hep.failed"] * 2)

    def test_the_rate_is_limited_for_each_second(self) -> None:
        """Packets above the rate are dropped; those of sources that are refused do not count."""
        self.receiver.rules = HepRules(password=b"secret", max_packet_rate=10)
        for _ in range(50):
            self.udp.datagramReceived(changed(), FAR)
        for _ in range(25):
            self.udp.datagramReceived(changed(), NEAR)
        self.assertEqual((len(self.taken), self.receiver.refused["rate"]), (10, 15))
        self.clock.advance(1)
        self.udp.datagramReceived(changed(), NEAR)
        self.assertEqual(len(self.taken), 11)

    def test_networks(self) -> None:
        self.receiver.rules = HepRules(
            allow=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))
        )
        for address, allowed in (
            ("203.0.113.5", True),
            ("::ffff:203.0.113.5", True),
            ("203.0.114.5", False),
            ("2001:db8::7", True),
            ("fe80::1%eth0", False),
            ("127.0.0.1", False),
            ("a name", False),
        ):
            self.assertEqual(self.receiver.allows(address), allowed, address)
        for number in range(3000):
            self.receiver.allows(f"10.0.{number // 256}.{number % 256}")
        self.assertTrue(self.receiver.allows("203.0.113.5"))


class TcpTests(ReceiverCase):
    rules = HepRules(password=b"secret", max_connections=2)

    def test_packets_in_pieces(self) -> None:
        connection, transport = self.connect()
        data = changed() * 3
        for start in range(0, len(data), 50):
            connection.dataReceived(data[start:start + 50])
        self.assertEqual(len(self.taken), 3)
        self.assertFalse(transport.disconnecting)

    def test_a_refused_packet_closes_the_connection(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", changed(password=b"no"), packet(b"xxx")):
            connection, transport = self.connect()
            connection.dataReceived(data)
            self.assertTrue(transport.disconnected)
            connection.connectionLost()
        self.assertEqual(self.receiver.connections, 0)

    def test_connections_are_limited(self) -> None:
        first, _ = self.connect()
        self.connect()
        _, third = self.connect()
        self.assertTrue(third.disconnected)
        first.connectionLost()
        _, fourth = self.connect()
        self.assertFalse(fourth.disconnected)
        _, stranger = self.connect("203.0.113.5")
        self.assertTrue(stranger.disconnected)
        self.assertEqual(dict(self.receiver.refused), {"connections": 1, "source": 1})

    def test_a_fast_sender_waits(self) -> None:
        """Over TCP nothing is dropped: reading pauses until the second is over."""
        self.receiver.rules = HepRules(password=b"secret", max_packet_rate=2)
        connection, transport = self.connect()
        connection.dataReceived(changed() * 5)
        self.assertEqual((len(self.taken), transport.producerState), (5, "paused"))
        self.clock.advance(1)
        self.assertEqual(transport.producerState, "producing")
        connection.dataReceived(changed() * 5)
        connection.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.receiver.refused.total(), 0)


class FeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.known: set[str] = set()
        self.capture = Capture(100_000, lambda: 0.0)
        self.summaries = CallSummaries(lambda: 0.0)
        self.witness = Witness()
        self.feed = MessageFeed(
            self.witness, self.capture, self.summaries, self.known.__contains__
        )

    def take(self, call_id: str, count: int = 100) -> None:
        for at, source, target, octets in leg(call_id, "pbx-bye").packets[:count]:
            message = read_datagram(octets)
            assert message is not None
            self.feed.take(source, target, message, 1000.0 + at, at)

    def test_messages_before_the_report_are_kept(self) -> None:
        """The INVITE of a call is traced although the PBX reports the call after it."""
        self.take("x", 2)
        self.take("unknown")
        self.known.add("x")
        self.take("x")
        captured = self.capture.messages()
        self.assertEqual([sip_call_id(message[3]) for message in captured], ["x"] * 9)
        self.assertAlmostEqual(captured[0][0], 1000.002, 5)

    def test_summaries_under_the_name_of_the_leg(self) -> None:
        self.known.add("x")
        self.summaries.begin("channel-7", "x")
        self.take("x")
        for summaries in (self.summaries.current("channel-7"), self.summaries.take("channel-7")):
            methods = [summary.method for summary in read_summaries(summaries)]
            self.assertEqual(methods, ["INVITE"] * 4 + ["ACK", "BYE", "BYE"])
        self.assertEqual(len(self.summaries), 0)
        self.assertIsNone(self.summaries.take("channel-7"))

    def test_unknown_calls_take_little_memory(self) -> None:
        for index in range(1000):
            self.take(f"c{index}")
        for _ in range(10):
            self.take("often")
        self.assertLessEqual(self.feed.held, MAX_HELD)
        self.known.add("often")
        self.take("often", 1)
        self.assertEqual(len(self.capture.messages()), MAX_HELD_OF_CALL + 1)


class Collected:
    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.takes = True

    def send(self, packet: bytes) -> bool:
        self.packets.append(packet)
        return self.takes

    def close(self) -> None:
        self.takes = False


class SenderTests(SynchronousTestCase):
    def test_a_message_reaches_the_collector(self) -> None:
        collector = Collected()
        sender = HepSender([collector], 77, b"pw", lambda: 1_795_000_000.5)
        octets = leg("x", "pbx-bye").packets[0].octets
        message = read_datagram(octets)
        assert message is not None
        sender.tap(PBX, Hop("2001:db8::1", 5060), message)  # addresses of two families
        sender.tap(Hop("umd.sim", 5060), Hop("far.sim", 5070, "TLS"), message)
        self.assertEqual((sender.sent, sender.dropped), (1, 1))
        hep = decode(collector.packets[0])
        self.assertEqual((hep.payload, hep.capture_id, hep.password), (octets, 77, b"pw"))
        self.assertEqual(hep.captured_at, 1_795_000_000.5)
        self.assertEqual((hep.source, hep.target.host), (Hop("192.0.2.1", 5060), "192.0.2.2"))
        collector.takes = False
        sender.tap(PBX, PBX, message)
        self.assertEqual((sender.sent, sender.dropped), (1, 2))

    def test_a_collector_over_tcp(self) -> None:
        """While it is away or does not read, packets are dropped; then they flow again."""
        clock = MemoryReactorClock()
        log: Any = CapturingLogger()
        collector = TcpCollector("192.0.2.9", 9061, clock, log)
        self.assertFalse(collector.send(b"lost"))
        connection = collector.buildProtocol(None)
        transport = StringTransport()
        connection.makeConnection(transport)
        self.assertTrue(collector.send(b"one"))
        connection.pauseProducing()
        self.assertFalse(collector.send(b"lost"))
        connection.resumeProducing()
        self.assertTrue(collector.send(b"two"))
        self.assertEqual(transport.value(), b"onetwo")
        connection.connectionLost()
        self.assertFalse(collector.send(b"lost"))
        self.assertEqual([call.args[0] for call in log.calls], ["hep.collector-connected"])
