"""
Writes SIP messages as a pcap file, which Wireshark, tshark and sngrep read.

Each message becomes one UDP datagram in a raw IP packet, whatever transport carried it, so that
messages sent by TLS are readable too. An end with a name instead of an address, such as those of
the simulator, gets an address reserved for documentation (RFC 5737).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple
from zlib import crc32

LINKTYPE_RAW: Final = 101  # packets begin with an IP header: https://www.tcpdump.org/linktypes.html
SNAPLEN: Final = 262144  # octets, as tcpdump writes; longer than any UDP packet
UDP: Final = 17  # the protocol number
TTL: Final = 64  # hops
UDP_HEADER: Final = 8  # octets
IPV4_HEADER: Final = 20  # octets
MAX_DATAGRAM_OCTETS: Final = 0xFFFF - IPV4_HEADER - UDP_HEADER
"""A longer message is cut; the pcap record still has its full length."""

SIMULATED_ENDS: Final = {
    "umd.sim": "192.0.2.1",
    "far.sim": "192.0.2.2",
    "dead.sim": "192.0.2.3",
    "refusing.sim": "192.0.2.4",
}
"""The addresses of the simulator's ends, as in their session descriptions."""
NAMED_ENDS: Final = "198.51.100."
"""The network of all other ends that have a name instead of an address."""


class Packet(NamedTuple):
    """A message to write."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """The sender as `host:port`; an IPv6 address is in brackets."""
    target: str
    """The receiver, in the same form."""
    data: bytes
    """The octets of the message."""


def capture_file(packets: Iterable[Packet]) -> bytes:
    """Return a pcap file of the packets, in the order given."""
    addresses = Addresses()
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, LINKTYPE_RAW)]
    for packet in packets:
        missing = max(0, len(packet.data) - MAX_DATAGRAM_OCTETS)
        octets = _ip_packet(packet, addresses)
        seconds, microseconds = divmod(round(packet.at * 1_000_000), 1_000_000)
        parts.append(
            struct.pack("<IIII", seconds, microseconds, len(octets), len(octets) + missing)
        )
        parts.append(octets)
    return b"".join(parts)


class Addresses:
    """Gives each end an address: its own, or for a name always the same reserved one."""

    def __init__(self) -> None:
        self._of_names: dict[str, IPv4Address] = {}

    def find(self, host: str) -> IPv4Address | IPv6Address:
        """Return the address of a host that is given as an address or a name."""
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
        if name in SIMULATED_ENDS:
            address = IPv4Address(SIMULATED_ENDS[name])
        else:
            taken = set(self._of_names.values())
            start = crc32(name.encode("utf-8", "surrogateescape"))
            hosts = (IPv4Address(f"{NAMED_ENDS}{1 + (start + n) % 254}") for n in range(254))
            first = IPv4Address(f"{NAMED_ENDS}{1 + start % 254}")
            address = next((host for host in hosts if host not in taken), first)
        self._of_names[name] = address
        return address


def _ip_packet(packet: Packet, addresses: Addresses) -> bytes:
    (source_host, source_port), (target_host, target_port) = map(
        split_address, (packet.source, packet.target)
    )
    source, target = addresses.find(source_host), addresses.find(target_host)
    data = packet.data[:MAX_DATAGRAM_OCTETS]
    length = UDP_HEADER + len(data)
    udp = struct.pack(">HHHH", source_port, target_port, length, 0) + data
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        ends = source.packed + target.packed
        pseudo = ends + struct.pack(">BBH", 0, UDP, length)
        header = _ipv4_header(length, ends)
    else:
        # A packet has one address family, so an IPv4 end of a mixed pair becomes ::ffff:a.b.c.d.
        ends = _as_ipv6(source) + _as_ipv6(target)
        pseudo = ends + struct.pack(">II", length, UDP)
        header = struct.pack(">IHBB", 6 << 28, length, UDP, TTL) + ends
    # 0 means "no checksum" (RFC 768); all ones has the same value in one's complement.
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
    """Return the checksum of IP and UDP, the complement of the sum of all words (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    # One's complement addition is addition modulo 65535, in which zero is written as 65535.
    total = int.from_bytes(padded, "big") % 0xFFFF
    return 0xFFFF - (total or (0xFFFF if any(padded) else 0))


def split_address(text: str) -> tuple[str, int]:
    """Split `host:port`; the port is 0 if there is no valid one."""
    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    return host, number if number < 65536 else 0
