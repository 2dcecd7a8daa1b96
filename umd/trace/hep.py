"""
HEP version 3: a copy of one message of a wire, as PBXs send it to a collector such as Homer.

A packet is "HEP3", its total length, and chunks: vendor, type, length with these six octets, value;
all numbers are big-endian. This module reads and writes packets, and finds them in a TCP stream.
It takes any octets: each length is checked, and whatever does not fit raises `HepError`.

Versions 1 and 2 are refused: they carry neither a password nor, in version 1, the time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

from umd.errors import UmdError
from umd.sip.transaction import Hop

MAGIC: Final = b"HEP3"
HEADER: Final = struct.Struct(">4sH")
"""Magic and total length."""
CHUNK: Final = struct.Struct(">HHH")
"""Vendor, type, and length with these six octets."""
MAX_PACKET_OCTETS: Final = 0xFFFF
MAX_CHUNKS: Final = 64
"""Chunks of one packet. Asterisk, Kamailio and FreeSWITCH send 11 to 13."""
GENERIC: Final = 0
"""The vendor of the chunks of the specification; chunks of other vendors are skipped."""
SIP: Final = 1
"""The payload type of a SIP message."""

# The types of the generic chunks that are read.
_FAMILY: Final = 1
_PROTOCOL: Final = 2
_SOURCE_IPV4: Final = 3
_TARGET_IPV4: Final = 4
_SOURCE_IPV6: Final = 5
_TARGET_IPV6: Final = 6
_SOURCE_PORT: Final = 7
_TARGET_PORT: Final = 8
_SECONDS: Final = 9
_MICROSECONDS: Final = 10
_PAYLOAD_TYPE: Final = 11
_CAPTURE_ID: Final = 12
_PASSWORD: Final = 14
_PAYLOAD: Final = 15
_COMPRESSED_PAYLOAD: Final = 16
_CORRELATION_ID: Final = 17

_LENGTHS: Final = {
    _FAMILY: 1,
    _PROTOCOL: 1,
    _SOURCE_IPV4: 4,
    _TARGET_IPV4: 4,
    _SOURCE_IPV6: 16,
    _TARGET_IPV6: 16,
    _SOURCE_PORT: 2,
    _TARGET_PORT: 2,
    _SECONDS: 4,
    _MICROSECONDS: 4,
    _PAYLOAD_TYPE: 1,
    _CAPTURE_ID: 4,
}
"""The octets of each value that is a number or an address."""
_TEXTS: Final = frozenset((_PASSWORD, _PAYLOAD, _CORRELATION_ID))
"""The chunks whose value may have any length."""

_IPV4: Final = int(AF_INET)
_IPV6: Final = 10
"""AF_INET6 of Linux, which HEP has on the wire whatever system sends it."""
_TRANSPORTS: Final = {6: "TCP", 17: "UDP", 132: "SCTP"}
"""The IP protocols that carry SIP; TLS and WebSocket are told as TCP."""
_PROTOCOL_NUMBERS: Final = {"UDP": 17, "SCTP": 132}
"""The IP protocol of a transport of SIP; 6, TCP, for all others."""
_MAX_MICROSECONDS: Final = 1_000_000


class HepFault(StrEnum):
    """Why a packet is refused; the names under which refusals are counted."""

    MAGIC = "not-hep"
    VERSION = "old-version"
    LENGTH = "length"
    CHUNK = "chunk"
    INCOMPLETE = "incomplete"
    COMPRESSED = "compressed"


class HepError(UmdError):
    """Octets are not a HEP packet of version 3; `fault` names the kind, the text says why."""

    def __init__(self, fault: HepFault, why: str) -> None:
        super().__init__(f"no HEP packet: {why}")
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class HepPacket:
    """One message of a wire, with what its observer wrote about it."""

    source: Hop
    """The sender of the message; its transport is UDP, TCP or SCTP."""
    target: Hop
    """The receiver."""
    captured_at: float
    """Wall time of the observer, seconds since the epoch."""
    payload: bytes
    payload_type: int = SIP
    """1 for SIP; others are RTCP, logs and more."""
    capture_id: int = 0
    """The number that the observer gives itself."""
    password: bytes = b""
    """In the clear; empty if there is none."""
    correlation_id: bytes = b""
    """With `uuid_type = call-id` the Call-ID; empty if there is none."""

    @property
    def family(self) -> int:
        """The IP version of both addresses: 4 or 6."""
        return 6 if ":" in self.source.host else 4


def decode(packet: bytes) -> HepPacket:
    """
    Read one packet, which takes up all the octets.

    Chunks of other vendors and of unknown types are skipped.

    Raises:
        HepError: a length does not fit, a needed chunk is missing, or a chunk is repeated.
    """
    _check_header(packet)
    chunks = _read_chunks(packet)
    try:
        family = chunks[_FAMILY]
        protocol = chunks[_PROTOCOL][0]
        seconds = int.from_bytes(chunks[_SECONDS], "big")
        payload_type = chunks[_PAYLOAD_TYPE][0]
        payload = chunks[_PAYLOAD]
        if family[0] == _IPV4:
            source, target = chunks[_SOURCE_IPV4], chunks[_TARGET_IPV4]
        elif family[0] == _IPV6:
            source, target = chunks[_SOURCE_IPV6], chunks[_TARGET_IPV6]
        else:
            raise HepError(HepFault.CHUNK, f"address family {family[0]} is neither 2 nor 10")
        source_port, target_port = chunks[_SOURCE_PORT], chunks[_TARGET_PORT]
    except KeyError as error:
        if _COMPRESSED_PAYLOAD in chunks:
            raise HepError(HepFault.COMPRESSED, "its payload is compressed") from None
        raise HepError(HepFault.INCOMPLETE, f"chunk {error.args[0]} is missing") from None
    transport = _TRANSPORTS.get(protocol)
    if transport is None:
        raise HepError(HepFault.CHUNK, f"IP protocol {protocol} is not UDP, TCP or SCTP")
    microseconds = int.from_bytes(chunks.get(_MICROSECONDS, b""), "big")
    if microseconds >= _MAX_MICROSECONDS:
        raise HepError(HepFault.CHUNK, f"{microseconds} microseconds are a second or more")
    return HepPacket(
        source=_hop(source, source_port, transport),
        target=_hop(target, target_port, transport),
        captured_at=seconds + microseconds / _MAX_MICROSECONDS,
        payload=payload,
        payload_type=payload_type,
        capture_id=int.from_bytes(chunks.get(_CAPTURE_ID, b""), "big"),
        password=chunks.get(_PASSWORD, b""),
        correlation_id=chunks.get(_CORRELATION_ID, b""),
    )


def _check_header(packet: bytes) -> None:
    """Raises: HepError: this is no packet of version 3 that takes up all the octets."""
    if packet[:4] != MAGIC:
        if packet[:2] in (b"\x01\x10", b"\x02\x10"):
            why = f"version {packet[0]}; configure version 3 at its sender"
            raise HepError(HepFault.VERSION, why)
        raise HepError(HepFault.MAGIC, "it does not begin with HEP3")
    if len(packet) < HEADER.size:
        raise HepError(HepFault.LENGTH, f"only {len(packet)} octets")
    length = int.from_bytes(packet[4:6], "big")
    if length != len(packet):
        why = f"its length is given as {length}, and it has {len(packet)} octets"
        raise HepError(HepFault.LENGTH, why)


def _read_chunks(packet: bytes) -> dict[int, bytes]:
    """Return the values of the known chunks, by type. Raises: HepError."""
    chunks: dict[int, bytes] = {}
    at, end = HEADER.size, len(packet)
    unpack, header_length = CHUNK.unpack_from, CHUNK.size
    for _ in range(MAX_CHUNKS):
        if at == end:
            return chunks
        if end - at < header_length:
            raise HepError(HepFault.LENGTH, f"{end - at} octets are left for a chunk")
        vendor, kind, length = unpack(packet, at)
        value_at, at = at + header_length, at + length
        if length < header_length or at > end:
            raise HepError(HepFault.LENGTH, f"chunk {kind} has {length} octets")
        if vendor != GENERIC:
            continue
        expected = _LENGTHS.get(kind)
        if expected is None:
            if kind not in _TEXTS and kind != _COMPRESSED_PAYLOAD:
                continue
        elif at - value_at != expected:
            raise HepError(HepFault.LENGTH, f"chunk {kind} has {length} octets")
        if kind in chunks:  # two readers could disagree which one counts
            raise HepError(HepFault.CHUNK, f"chunk {kind} is repeated")
        chunks[kind] = packet[value_at:at]
    if at == end:
        return chunks
    raise HepError(HepFault.CHUNK, f"more than {MAX_CHUNKS} chunks")


MAX_KNOWN_HOPS: Final = 16_384
"""Addresses whose `Hop` is kept; with more, the kept ones are forgotten and made again."""
_hops: dict[tuple[bytes, bytes, str], Hop] = {}


def _hop(address: bytes, port: bytes, transport: str) -> Hop:
    # A PBX has few peers compared with its messages, and making the text of an address takes as
    # long as reading all chunks.
    key = (address, port, transport)
    hop = _hops.get(key)
    if hop is None:
        host = inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)
        hop = Hop(host, int.from_bytes(port, "big"), transport)
        if len(_hops) >= MAX_KNOWN_HOPS:
            _hops.clear()
        _hops[key] = hop
    return hop


def encode(packet: HepPacket) -> bytes:
    """
    Write one packet.

    Raises:
        HepError: an address is not an IP address, both are not of one family, or the packet
            becomes longer than its length field can tell.
    """
    writer = HepWriter(packet.capture_id, packet.password, packet.payload_type)
    return writer.write(
        packet.source, packet.target, packet.captured_at, packet.payload, packet.correlation_id
    )


class HepWriter:
    """
    Writes the packets of one observer.

    Args:
        capture_id: the number that the observer gives itself.
        password: goes with each packet, in the clear; empty: none.
        payload_type: of all packets.
    """

    __slots__ = ("_ends", "_constant")

    def __init__(self, capture_id: int, password: bytes = b"", payload_type: int = SIP) -> None:
        self._ends: dict[tuple[Hop, Hop], bytes] = {}
        """The chunks about both ends, which a call repeats with each message."""
        constant = _chunk(_PAYLOAD_TYPE, bytes((payload_type,)))
        constant += _chunk(_CAPTURE_ID, capture_id.to_bytes(4, "big"))
        self._constant = constant + (_chunk(_PASSWORD, password) if password else b"")

    def write(
        self, source: Hop, target: Hop, at: float, payload: bytes, correlation_id: bytes = b""
    ) -> bytes:
        """
        Write one packet.

        Raises:
            HepError: as `encode`.
        """
        ends = self._ends.get((source, target))
        if ends is None:
            if len(self._ends) >= MAX_KNOWN_HOPS:
                self._ends.clear()
            ends = self._ends[source, target] = _chunks_of_ends(source, target)
        seconds, microseconds = divmod(round(at * _MAX_MICROSECONDS), _MAX_MICROSECONDS)
        time = _TIME.pack(
            GENERIC, _SECONDS, 10, seconds, GENERIC, _MICROSECONDS, 10, microseconds
        )
        text = _chunk(_CORRELATION_ID, correlation_id) if correlation_id else b""
        length = len(ends) + len(time) + len(self._constant) + len(text) + len(payload)
        length += HEADER.size + CHUNK.size
        if length > MAX_PACKET_OCTETS:
            raise HepError(HepFault.LENGTH, f"{length} octets are more than {MAX_PACKET_OCTETS}")
        head = HEADER.pack(MAGIC, length)
        payload_head = CHUNK.pack(GENERIC, _PAYLOAD, CHUNK.size + len(payload))
        return b"".join((head, ends, time, self._constant, text, payload_head, payload))


_TIME: Final = struct.Struct(">HHHIHHHI")
"""The chunks with the seconds and the microseconds."""


def _chunk(kind: int, value: bytes) -> bytes:
    return CHUNK.pack(GENERIC, kind, CHUNK.size + len(value)) + value


def _chunks_of_ends(source: Hop, target: Hop) -> bytes:
    """Return the chunks about both ends. Raises: HepError."""
    try:
        is_ipv6 = ip_address(source.host).version == 6
        family = AF_INET6 if is_ipv6 else AF_INET
        source_octets = inet_pton(family, source.host)
        target_octets = inet_pton(family, target.host)
    except (ValueError, OSError) as error:
        raise HepError(HepFault.CHUNK, f"{source} or {target}: {error}") from error
    return b"".join(
        (
            _chunk(_FAMILY, bytes((_IPV6 if is_ipv6 else _IPV4,))),
            _chunk(_PROTOCOL, bytes((_PROTOCOL_NUMBERS.get(source.transport, 6),))),
            _chunk(_SOURCE_IPV6 if is_ipv6 else _SOURCE_IPV4, source_octets),
            _chunk(_TARGET_IPV6 if is_ipv6 else _TARGET_IPV4, target_octets),
            _chunk(_SOURCE_PORT, source.port.to_bytes(2, "big")),
            _chunk(_TARGET_PORT, target.port.to_bytes(2, "big")),
        )
    )


class HepStream:
    """
    Finds the packets in a TCP stream, which follow each other without anything between them.

    It holds back at most one packet that is not complete. After an error the stream cannot be
    read on, since the beginning of the next packet is unknown.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting = b""

    @property
    def waiting(self) -> int:
        """How many octets of an incomplete packet are held back."""
        return len(self._waiting)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Take received octets, and yield each complete packet for `decode`.

        Raises:
            HepError: the octets are no stream of packets; close the connection.
        """
        data = self._waiting + data
        self._waiting = b""
        at = 0
        while len(data) - at >= HEADER.size:
            magic, length = HEADER.unpack_from(data, at)
            if magic != MAGIC or length < HEADER.size:
                _check_header(data[at:at + HEADER.size])
                raise HepError(HepFault.LENGTH, f"its length is given as {length}")
            if len(data) - at < length:
                break
            yield data[at:at + length]
            at += length
        self._waiting = data[at:]
        if not MAGIC.startswith(self._waiting[:4]):
            _check_header(self._waiting)
