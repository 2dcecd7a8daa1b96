"""
SIP messages as a capture file that Wireshark, tshark and sngrep read: pcap with raw IP packets.

Every message becomes one UDP datagram, whatever carried it: what crossed TLS is readable too. Ends
of the simulator have names where a packet needs an address: they get those of the documentation
ranges (RFC 5737), which nobody on the Internet has.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple
from zlib import crc32

LINKTYPE_RAW: Final = 101  # https://www.tcpdump.org/linktypes.html: begins with an IP header
SNAPLEN: Final = 262144  # what tcpdump writes; no packet of ours is longer
UDP: Final = 17
TTL: Final = 64
UDP_HEADER: Final = 8
IPV4_HEADER: Final = 20
LONGEST_DATA: Final = 0xFFFF - IPV4_HEADER - UDP_HEADER
"""Octets of a message that fit into a datagram; what is longer is cut, and its length says so."""

ENDS: Final = {
    "umd.sim": "192.0.2.1",
    "far.sim": "192.0.2.2",
    "dead.sim": "192.0.2.3",
    "refusing.sim": "192.0.2.4",
}
"""The ends of the simulator, at the addresses that their session descriptions have."""
OTHER_ENDS: Final = "198.51.100."


class Packet(NamedTuple):
    """One message to be written."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """`host:port`, as is `target`; an IPv6 address stands in brackets."""
    target: str
    data: bytes


def capture_file(packets: Iterable[Packet]) -> bytes:
    """The octets of a capture file, in the order given."""
    addresses = Addresses()
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, LINKTYPE_RAW)]
    for packet in packets:
        missing = max(0, len(packet.data) - LONGEST_DATA)
        octets = _ip_packet(packet, addresses)
        seconds, microseconds = divmod(round(packet.at * 1_000_000), 1_000_000)
        parts.append(
            struct.pack("<IIII", seconds, microseconds, len(octets), len(octets) + missing)
        )
        parts.append(octets)
    return b"".join(parts)


class Addresses:
    """The address of each end: its own, or one of documentation for a name, always the same one."""

    def __init__(self) -> None:
        self._of_names: dict[str, IPv4Address] = {}

    def find(self, host: str) -> IPv4Address | IPv6Address:
        """The address of a host, given as an address or a name."""
        try:
            address = ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return self._of_name(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped
        return address

    def _of_name(self, name: str) -> IPv4Address:
        known = self._of_names.get(name)
        if known is not None:
            return known
        if name in ENDS:
            address = IPv4Address(ENDS[name])
        else:
            taken = set(self._of_names.values())
            start = crc32(name.encode("utf-8", "surrogateescape"))
            hosts = (IPv4Address(f"{OTHER_ENDS}{1 + (start + n) % 254}") for n in range(254))
            first = IPv4Address(f"{OTHER_ENDS}{1 + start % 254}")
            address = next((host for host in hosts if host not in taken), first)
        self._of_names[name] = address
        return address


def _ip_packet(packet: Packet, addresses: Addresses) -> bytes:
    (source_host, source_port), (target_host, target_port) = map(
        split_address, (packet.source, packet.target)
    )
    source, target = addresses.find(source_host), addresses.find(target_host)
    data = packet.data[:LONGEST_DATA]
    length = UDP_HEADER + len(data)
    udp = struct.pack(">HHHH", source_port, target_port, length, 0) + data
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        ends = source.packed + target.packed
        pseudo = ends + struct.pack(">BBH", 0, UDP, length)
        header = _ipv4_header(length, ends)
    else:
        # A datagram has one family: an IPv4 end of a mixed pair is written as ::ffff:a.b.c.d.
        ends = _as_ipv6(source) + _as_ipv6(target)
        pseudo = ends + struct.pack(">II", length, UDP)
        header = struct.pack(">IHBB", 6 << 28, length, UDP, TTL) + ends
    # 0 would mean that there is no checksum (RFC 768); all ones is the same number.
    checksum = internet_checksum(pseudo + udp) or 0xFFFF
    return header + udp[:6] + struct.pack(">H", checksum) + data


def _ipv4_header(length: int, ends: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        total = IPV4_HEADER + length
        return struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0x4000, TTL, UDP, checksum) + ends

    return header(internet_checksum(header(0)))


def _as_ipv6(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def internet_checksum(data: bytes) -> int:
    """The checksum of IP and UDP (RFC 1071): the complement of the sum of all 16-bit words."""
    padded = data + b"\0" * (len(data) % 2)
    # Adding with the carry put back is counting modulo 65535, where zero is written as 65535.
    total = int.from_bytes(padded, "big") % 0xFFFF
    return 0xFFFF - (total or (0xFFFF if any(padded) else 0))


def split_address(text: str) -> tuple[str, int]:
    """`host:port` to both; the port is 0 where there is none that can be."""
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    return host, number if number < 65536 else 0
