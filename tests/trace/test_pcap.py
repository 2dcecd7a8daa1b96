"""The pcap files that umd writes, as tshark reads them, and their octets."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import tshark
from umd.backends.sim import simulation
from umd.trace.pcap import (
    MAX_DATAGRAM_OCTETS,
    SIMULATED_ENDS,
    Addresses,
    Packet,
    capture_file,
    internet_checksum,
    split_address,
)

BYE = (
    b"BYE sip:5550100@far.sim SIP/2.0\r\nVia: SIP/2.0/UDP umd.sim;branch=z9hG4bK1\r\n"
    b"From: <sip:umd@umd.sim>;tag=1\r\nTo: <sip:x@far.sim>;tag=2\r\nCall-ID: call-1\r\n"
    b"CSeq: 2 BYE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
OK = BYE.replace(b"BYE sip:5550100@far.sim SIP/2.0", b"SIP/2.0 200 OK")
AT = 1_795_490_745.092299


class ReadBackTests(SynchronousTestCase):
    def read(self, packets: list[Packet], *fields: str) -> list[list[str]]:
        file = Path(self.mktemp())
        file.write_bytes(capture_file(packets))
        wanted = [argument for field in fields for argument in ("-e", field)]
        return tshark("-r", str(file), "-T", "fields", *wanted)

    def test_tshark_reads_the_messages_between_two_hosts(self) -> None:
        packets = [
            Packet(AT, "umd.sim:5060", "far.sim:5060", BYE),
            Packet(AT + 0.0005, "umd.sim:5060", "far.sim:5060", BYE),
            Packet(AT + 0.001, "far.sim:5060", "umd.sim:5060", OK),
        ]
        found = self.read(
            packets, "frame.time_epoch", "ip.src", "ip.dst", "udp.srcport", "sip.Method",
            "sip.Status-Code", "sip.Call-ID", "sip.resend", "ip.checksum.status",
            "udp.checksum.status",
        )  # fmt: skip
        umd, far = "192.0.2.1", "192.0.2.2"
        good = "1"
        self.assertEqual(
            found,
            [
                ["1795490745.092299000", umd, far, "5060", "BYE", "", "call-1", "0", good, good],
                ["1795490745.092799000", umd, far, "5060", "BYE", "", "call-1", "1", good, good],
                ["1795490745.093299000", far, umd, "5060", "", "200", "call-1", "0", good, good],
            ],
        )

    def test_ipv6_and_a_pair_of_both_families(self) -> None:
        packets = [
            Packet(AT, "[2001:db8::1]:5060", "[fe80::2%eth0]:5060", BYE),
            Packet(AT, "192.0.2.9:5060", "[2001:db8::1]:5060", BYE),
            Packet(AT, "[::ffff:192.0.2.9]:5060", "192.0.2.8:5060", BYE),
        ]
        found = self.read(packets, "ipv6.src", "ipv6.dst", "ip.src", "sip.Method",
                          "udp.checksum.status")  # fmt: skip
        self.assertEqual(
            found,
            [
                ["2001:db8::1", "fe80::2", "", "BYE", "1"],
                ["::ffff:192.0.2.9", "2001:db8::1", "", "BYE", "1"],
                ["", "", "192.0.2.9", "BYE", "1"],
            ],
        )

    def test_messages_of_odd_length_empty_and_too_long(self) -> None:
        packets = [
            Packet(AT, "a:5060", "b:5060", BYE + b"x" * extra) for extra in (0, 1, 70_000)
        ] + [Packet(AT, "a:5060", "b:5060", b"")]
        found = self.read(packets, "frame.cap_len", "frame.len", "udp.checksum.status")
        packet_length = len(BYE) + 28
        self.assertEqual(
            found,
            [
                [str(packet_length), str(packet_length), "1"],
                [str(packet_length + 1), str(packet_length + 1), "1"],
                [str(MAX_DATAGRAM_OCTETS + 28), str(packet_length + 70_000), "1"],
                ["28", "28", "1"],
            ],
        )

    def test_a_file_without_messages(self) -> None:
        self.assertEqual(self.read([], "frame.number"), [])


class OctetTests(SynchronousTestCase):
    def test_the_header_of_the_file(self) -> None:
        magic, major, minor, _, _, _, link = struct.unpack("<IHHiIII", capture_file([]))
        self.assertEqual((magic, major, minor, link), (0xA1B2C3D4, 2, 4, 101))

    def test_the_checksum(self) -> None:
        """The example of RFC 1071 section 3, and the two ways to write zero."""
        self.assertEqual(internet_checksum(bytes.fromhex("0001f203f4f5f6f7")), 0xFFFF - 0xDDF2)
        self.assertEqual(internet_checksum(b"\0\0"), 0xFFFF)
        self.assertEqual(internet_checksum(b"\xff\xff"), 0)
        self.assertEqual(internet_checksum(b"\x12"), 0xFFFF - 0x1200)

    def test_a_checksum_of_zero_is_written_as_ones(self) -> None:
        """Zero means that there is no checksum (RFC 768)."""
        base = capture_file([Packet(AT, "a:5060", "b:5060", b"\0\0")])
        (checksum,) = struct.unpack(">H", base[-4:-2])
        found = capture_file([Packet(AT, "a:5060", "b:5060", struct.pack(">H", checksum))])
        self.assertEqual(found[-4:-2], b"\xff\xff")


class AddressTests(SynchronousTestCase):
    def test_simulated_ends_have_the_addresses_of_their_sdp(self) -> None:
        names = ("UMD_HOP", "FAR_HOP", "DEAD_HOP", "REFUSING_HOP")
        hops = [getattr(simulation, name) for name in names]
        self.assertEqual(set(SIMULATED_ENDS), {hop.host for hop in hops})
        self.assertIn(SIMULATED_ENDS[simulation.UMD_HOP.host].encode(), simulation.OFFER)
        self.assertIn(SIMULATED_ENDS[simulation.FAR_HOP.host].encode(), simulation.ANSWER)

    def test_names_get_distinct_addresses_that_stay_the_same(self) -> None:
        names = [f"host-{number}.example" for number in range(254)]
        addresses = Addresses()
        found = [addresses.find(name) for name in names]
        self.assertEqual(len(set(found)), 254)
        self.assertEqual([addresses.find(name) for name in names], found)
        self.assertTrue(all(str(address).startswith("198.51.100.") for address in found))
        self.assertIn(addresses.find("one-more.example"), found)
        self.assertEqual(Addresses().find(names[0]), Addresses().find(names[0]))
        self.assertEqual(addresses.find("10.1.2.3"), ip_address("10.1.2.3"))

    def test_host_and_port(self) -> None:
        cases = {
            "a:5060": ("a", 5060),
            "[::1]:5061": ("[::1]", 5061),
            "a:x": ("a", 0),
            "a:99999": ("a", 0),
        }
        for text, expected in cases.items():
            self.assertEqual(split_address(text), expected)
