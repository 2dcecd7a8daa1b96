"""HEP packets: what is read, what is refused, and what a stream of them may look like."""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from umd.sip.transaction import Hop
from umd.trace.hep import HepError, HepFault, HepPacket, HepStream, decode, encode

PACKET = HepPacket(
    source=Hop("127.0.0.1", 5062),
    target=Hop("127.0.0.2", 5070),
    captured_at=1_795_000_000.25,
    payload=b"BYE sip:x@y SIP/2.0\r\n\r\n",
    capture_id=7,
    password=b"secret",
    correlation_id=b"call@pbx",
)


def chunk(kind: int, value: bytes, *, vendor: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">HHH", vendor, kind, 6 + len(value) if length is None else length) + value


def packet(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return struct.pack(">4sH", b"HEP3", 6 + len(body)) + body


ASTERISK = (
    chunk(1, b"\x02"),
    chunk(2, b"\x11"),
    chunk(3, bytes((127, 0, 0, 1))),
    chunk(4, bytes((127, 0, 0, 2))),
    chunk(7, struct.pack(">H", 5062)),
    chunk(8, struct.pack(">H", 5070)),
    chunk(9, struct.pack(">I", 1_795_000_000)),
    chunk(10, struct.pack(">I", 250_000)),
    chunk(11, b"\x01"),
    chunk(12, struct.pack(">I", 7)),
    chunk(14, b"secret"),
    chunk(17, b"call@pbx"),
    chunk(15, b"BYE sip:x@y SIP/2.0\r\n\r\n"),
)
"""The chunks of Asterisk 22, in its order."""


class DecodeTests(SynchronousTestCase):
    def refused(self, octets: bytes, fault: HepFault, text: str) -> None:
        error = self.assertRaises(HepError, decode, octets)
        self.assertEqual(error.fault, fault)
        self.assertIn(text, str(error))

    def test_the_packet_of_a_pbx(self) -> None:
        """The chunks that Asterisk sends are read, each with its meaning."""
        self.assertEqual(decode(packet(*ASTERISK)), PACKET)
        self.assertEqual(decode(packet(*ASTERISK)).family, 4)

    def test_what_is_written_can_be_read(self) -> None:
        for source, target, family in (
            (Hop("2001:db8::1", 5060), Hop("2001:db8::2", 5061), 6),
            (Hop("192.0.2.1", 0, "TCP"), Hop("192.0.2.2", 65535, "TCP"), 4),
        ):
            written = HepPacket(source=source, target=target, captured_at=0.5, payload=b"x")
            self.assertEqual(decode(encode(written)), written)
            self.assertEqual(decode(encode(written)).family, family)

    def test_chunks_of_others_are_skipped(self) -> None:
        """Vendor chunks and chunks of a later specification change nothing."""
        others = chunk(1, b"abc", vendor=0x1234), chunk(18, b"\0\x01"), chunk(999, b"")
        self.assertEqual(decode(packet(*others, *ASTERISK)), PACKET)

    def test_every_wrong_length_is_refused(self) -> None:
        good = packet(*ASTERISK)
        self.refused(good[:-1], HepFault.LENGTH, "is given as")
        self.refused(good + b"x", HepFault.LENGTH, "is given as")
        self.refused(packet(*ASTERISK, b"\0\0\0"), HepFault.LENGTH, "3 octets are left")
        self.refused(packet(chunk(15, b"x", length=5)), HepFault.LENGTH, "chunk 15 has 5")
        self.refused(packet(chunk(15, b"x", length=8)), HepFault.LENGTH, "chunk 15 has 8")
        self.refused(packet(chunk(7, b"x")), HepFault.LENGTH, "chunk 7 has 7")

    def test_what_is_missing_or_twice_is_named(self) -> None:
        for index, kind in enumerate((1, 2, 3, 4, 7, 8, 9)):
            rest = ASTERISK[:index] + ASTERISK[index + 1:]
            self.refused(packet(*rest), HepFault.INCOMPLETE, f"chunk {kind} is missing")
        self.refused(packet(*ASTERISK, ASTERISK[0]), HepFault.CHUNK, "chunk 1 is repeated")
        self.refused(packet(*[chunk(99, b"")] * 65), HepFault.CHUNK, "more than 64 chunks")
        compressed = packet(*ASTERISK[:-1], chunk(16, b"x"))
        self.refused(compressed, HepFault.COMPRESSED, "compressed")

    def test_values_without_a_meaning_are_refused(self) -> None:
        for index, value, text in (
            (0, chunk(1, b"\x03"), "address family 3"),
            (1, chunk(2, b"\x02"), "IP protocol 2"),
            (7, chunk(10, struct.pack(">I", 1_000_000)), "a second or more"),
        ):
            changed = list(ASTERISK)
            changed[index] = value
            self.refused(packet(*changed), HepFault.CHUNK, text)

    def test_older_versions_are_named(self) -> None:
        """Versions 1 and 2 are refused with the advice to configure version 3."""
        self.refused(b"\x01\x10\x02\x11" + bytes(20), HepFault.VERSION, "configure version 3")
        self.refused(b"\x02\x10\x02\x11" + bytes(20), HepFault.VERSION, "configure version 3")
        self.refused(b"INVITE sip:x SIP/2.0", HepFault.MAGIC, "HEP3")
        self.refused(b"", HepFault.MAGIC, "HEP3")
        self.refused(b"HEP3\0", HepFault.LENGTH, "only 5 octets")

    def test_a_packet_that_cannot_be_written_is_refused(self) -> None:
        for changes in (
            {"source": Hop("a name", 1)},
            {"source": Hop("::1", 1)},
            {"payload": bytes(65_536)},
        ):
            fields = {name: getattr(PACKET, name) for name in PACKET.__slots__}
            wrong = HepPacket(**{**fields, **changes})
            self.assertRaises(HepError, encode, wrong)

    def test_no_octets_raise_anything_else(self) -> None:
        """Changed packets are read or refused; the error always says why."""
        random_ = random.Random(14)
        good = packet(*ASTERISK)
        for _ in range(5000):
            octets = bytearray(good)
            for _ in range(random_.randint(1, 4)):
                octets[random_.randrange(len(octets))] = random_.randrange(256)
            try:
                decode(bytes(octets[: random_.randint(0, 2 * len(octets))]))
            except HepError as error:
                self.assertIn("no HEP packet", str(error))


class HepStreamTests(SynchronousTestCase):
    def test_packets_arrive_in_any_pieces(self) -> None:
        octets = packet(*ASTERISK)
        for size in (1, 5, 6, 7, len(octets), 10_000):
            stream = HepStream()
            found: list[bytes] = []
            data = octets * 3
            for start in range(0, len(data), size):
                found += stream.feed(data[start:start + size])
            self.assertEqual(found, [octets] * 3)
            self.assertEqual(stream.waiting, 0)

    def test_at_most_one_packet_is_held_back(self) -> None:
        stream = HepStream()
        self.assertEqual(list(stream.feed(b"HEP3\xff\xff" + bytes(65_528))), [])
        self.assertEqual(stream.waiting, 65_534)
        self.assertEqual(len(list(stream.feed(b"x" + packet(*ASTERISK)))), 2)

    def test_a_stream_of_something_else_is_refused_at_once(self) -> None:
        for octets in (b"G", b"GET / HTTP/1.1\r\n", b"HEP3\0\x05", packet(*ASTERISK) + b"x"):
            self.assertRaises(HepError, list, HepStream().feed(octets))
