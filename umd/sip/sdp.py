"""
Session descriptions: offer and answer for one audio stream in G.711 with telephone events.

The format is RFC 8866, the rules of offer and answer are RFC 3264. An answer refuses every other
stream of the offer by port 0 (RFC 3264 §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from umd.errors import UmdError

MAX_LINES: Final = 512
"""Lines of a session description. The offer of a browser with video has a few hundred."""
HOLD_ADDRESSES: Final = frozenset(("0.0.0.0", "::"))
"""Addresses that put a stream on hold, as RFC 2543 had it (RFC 3264 §8.4)."""


class SdpError(UmdError):
    """A session description is refused; `status` is the status of the answer."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Direction(StrEnum):
    """The direction of a stream, as seen by the side that wrote the description (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the side that wrote it sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the side that wrote it receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """Return the direction of a side that sends, receives, or both."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


@dataclass(frozen=True, slots=True)
class Codec:
    """One RTP payload type and its meaning."""

    payload: int
    name: str
    """Name and clock rate as in rtpmap, such as `PCMU/8000`."""
    parameters: str = ""
    """The format parameters, as in fmtp."""

    def lines(self) -> list[str]:
        """Return the attribute lines for this codec."""
        lines = [f"a=rtpmap:{self.payload} {self.name}"]
        if self.parameters:
            lines.append(f"a=fmtp:{self.payload} {self.parameters}")
        return lines


PCMU: Final = Codec(0, "PCMU/8000")
PCMA: Final = Codec(8, "PCMA/8000")
TELEPHONE_EVENTS: Final = Codec(101, "telephone-event/8000", "0-16")  # RFC 4733
CODECS: Final = (PCMU, PCMA, TELEPHONE_EVENTS)
_STATIC_NAMES: Final = {"0": PCMU.name, "8": PCMA.name}
"""Names of the static payload types that umd knows (RFC 3551 §6)."""
_EVENTS_NAME: Final = TELEPHONE_EVENTS.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream: an m= line and the lines that follow it."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    codecs: tuple[Codec, ...] = ()
    """The formats whose meaning is known, most preferred first."""
    address: str = ""
    """The address of this stream; empty if the address of the session applies."""
    direction: Direction = Direction.SENDRECV

    @property
    def is_audio(self) -> bool:
        """Whether umd can use this stream: audio over RTP/AVP, and not refused."""
        return self.kind == "audio" and self.protocol == "RTP/AVP" and self.port > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A session description."""

    session_id: int
    version: int
    """Incremented with every change (RFC 3264 §8)."""
    address: str
    streams: tuple[Stream, ...]

    def encode(self) -> bytes:
        """Return the description as the body of a message."""
        address = _address_text(self.address)
        lines = ["v=0", f"o=- {self.session_id} {self.version} {address}", "s=-", f"c={address}"]
        lines.append("t=0 0")
        for stream in self.streams:
            lines += _stream_lines(stream)
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def _address_text(address: str) -> str:
    return f"IN IP6 {address}" if ":" in address else f"IN IP4 {address}"


def _stream_lines(stream: Stream) -> list[str]:
    lines = [f"m={stream.kind} {stream.port} {stream.protocol} {' '.join(stream.formats)}"]
    if stream.port:
        for codec in stream.codecs:
            lines += codec.lines()
        lines.append(f"a={stream.direction}")
    return lines


def offer(
    *,
    address: str,
    port: int,
    session_id: int,
    version: int = 1,
    direction: Direction = Direction.SENDRECV,
    codecs: Sequence[Codec] = CODECS,
) -> Description:
    """Return an offer of one audio stream."""
    audio = _audio(port, tuple(codecs), direction)
    return Description(session_id=session_id, version=version, address=address, streams=(audio,))


def _audio(port: int, codecs: tuple[Codec, ...], direction: Direction) -> Stream:
    return Stream(
        kind="audio",
        port=port,
        protocol="RTP/AVP",
        formats=tuple([str(codec.payload) for codec in codecs]),
        codecs=codecs,
        direction=direction,
    )


def answer(
    offered: Description,
    *,
    address: str,
    port: int,
    session_id: int,
    version: int = 1,
    direction: Direction = Direction.SENDRECV,
    codecs: Sequence[Codec] = CODECS,
) -> Description:
    """
    Return the answer to an offer; it accepts the first usable audio stream.

    Args:
        offered: the offer.
        address: of this end, for RTP.
        port: of this end, for RTP.
        session_id: the number in the o= line.
        version: the version in the o= line.
        direction: the direction that this end wants. The offer may reduce it (RFC 3264 §6.1).
        codecs: those of this end. The answer has the order and the payload types of the offer.

    Raises:
        SdpError: with status 488; the offer has no usable audio stream or no codec in common.
    """
    chosen = next((stream for stream in offered.streams if stream.is_audio), None)
    if chosen is None:
        raise SdpError("no audio over RTP/AVP is offered", 488)
    shared = _shared_codecs(codecs, chosen.codecs)
    if all(codec.name.upper() == _EVENTS_NAME for codec in shared):
        raise SdpError("no codec is shared", 488)
    remote = _effective_direction(chosen, offered)
    local = Direction.of(
        sends=direction.sends and remote.receives, receives=direction.receives and remote.sends
    )
    streams = tuple(
        _audio(port, shared, local) if stream is chosen else _refused(stream)
        for stream in offered.streams
    )
    return Description(session_id=session_id, version=version, address=address, streams=streams)


def without_streams(
    offered: Description, *, address: str, session_id: int, version: int = 1
) -> Description | None:
    """
    Return the answer to an offer without an active stream (RFC 3264 §5, §8.2).

    Such an offer has no stream, or port 0 for each. None if a stream is active.
    """
    if any(stream.port for stream in offered.streams):
        return None
    streams = tuple(map(_refused, offered.streams))
    return Description(session_id=session_id, version=version, address=address, streams=streams)


def _shared_codecs(local: Iterable[Codec], remote: Iterable[Codec]) -> tuple[Codec, ...]:
    """Return the codecs of both: in the remote order and payload types, with local parameters."""
    local_by_name = {codec.name.upper(): codec for codec in local}
    shared = []
    for codec in remote:
        own = local_by_name.pop(codec.name.upper(), None)
        if own is not None:
            shared.append(Codec(codec.payload, own.name, own.parameters))
    return tuple(shared)


def _effective_direction(stream: Stream, description: Description) -> Direction:
    """Return the direction of a stream; its side does not receive if its address means hold."""
    if (stream.address or description.address) in HOLD_ADDRESSES:
        return Direction.of(sends=stream.direction.sends, receives=False)
    return stream.direction


def _refused(stream: Stream) -> Stream:
    return Stream(kind=stream.kind, port=0, protocol=stream.protocol, formats=stream.formats)


def parse(body: bytes) -> Description:
    """
    Parse a session description.

    The parser accepts surplus blanks, any kind of line end, lines that are not `x=value`, and a
    missing or malformed o= line, since umd does not compare the descriptions of a far end.

    Raises:
        SdpError: with status 400, the text is not a session description; with 413, it is too long.
    """
    text = body.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_LINES:
        raise SdpError(f"more than {MAX_LINES} lines", 413)
    lines = [line.rstrip(" \t\0") for line in text.split("\n") if line[1:2] == "="]
    if not lines or lines[0] != "v=0":
        raise SdpError("does not begin with v=0")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    head = lines[: starts[0]] if starts else lines
    session_id, version = _parse_origin(head)
    default = _parse_direction(head, Direction.SENDRECV)
    sections = [lines[a:b] for a, b in zip(starts, [*starts, len(lines)][1:], strict=True)]
    address = _parse_address(head)
    streams = tuple(_parse_stream(section, default) for section in sections)
    if not address and any(not stream.address and stream.port for stream in streams):
        raise SdpError("a stream has no address")
    return Description(session_id=session_id, version=version, address=address, streams=streams)


def _parse_origin(lines: list[str]) -> tuple[int, int]:
    """Return session id and version from the o= line; 0 and 0 if it is missing or malformed."""
    line = next((line for line in lines if line.startswith("o=")), "")
    words = line[2:].split()[-5:]  # the user name before them may have blanks
    if len(words) < 5:
        return 0, 0
    try:
        return _parse_number(words[0], 2**64), _parse_number(words[1], 2**64)
    except SdpError:
        return 0, 0


def _parse_number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < limit):
        raise SdpError("a number is missing or out of range")
    return int(text)


def _parse_address(lines: list[str]) -> str:
    line = next((line for line in lines if line.startswith("c=")), None)
    if line is None:
        return ""
    words = line[2:].split()
    if len(words) != 3 or words[0].upper() != "IN" or words[1].upper() not in ("IP4", "IP6"):
        raise SdpError("c= is not IN IP4 or IN IP6 with an address")
    return words[2].partition("/")[0]


def _parse_direction(lines: list[str], default: Direction) -> Direction:
    for line in lines:
        if line.startswith("a=") and line[2:].strip() in Direction.__members__.values():
            return Direction(line[2:].strip())
    return default


def _parse_stream(lines: list[str], default: Direction) -> Stream:
    words = lines[0][2:].split()
    if len(words) < 4:
        raise SdpError("m= does not have four parts")
    kind, port, protocol, formats = words[0], words[1], words[2], tuple(words[3:])
    return Stream(
        kind=kind,
        port=_parse_number(port.partition("/")[0], 65536),
        protocol=protocol,
        formats=formats,
        codecs=_named_codecs(formats, lines) if kind == "audio" else (),
        address=_parse_address(lines),
        direction=_parse_direction(lines, default),
    )


def _named_codecs(formats: tuple[str, ...], lines: list[str]) -> tuple[Codec, ...]:
    """Return the formats of an audio stream that have a name by rtpmap or RFC 3551."""
    names, parameters = dict(_STATIC_NAMES), {}
    for line in lines:
        if line.startswith("a=rtpmap:"):
            payload, _, name = line[9:].partition(" ")
            names[payload] = name.strip().removesuffix("/1")  # one channel is the default
        elif line.startswith("a=fmtp:"):
            payload, _, parameters[payload] = line[7:].partition(" ")
    codecs = []
    for format_ in formats:
        if format_ in names and format_.isascii() and format_.isdecimal() and len(format_) <= 3:
            codecs.append(Codec(int(format_), names[format_], parameters.get(format_, "")))
    return tuple(codecs)
