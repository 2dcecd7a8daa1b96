"""
Offer and answer for one audio stream in G.711 with telephone events (RFC 3264, RFC 8866).

Every other stream that is offered is refused in its place, with port 0 (RFC 3264 §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from umd.errors import UmdError

MAX_LINES: Final = 512
"""An offer of a browser with video has some hundred."""
NO_ADDRESS: Final = frozenset(("0.0.0.0", "::"))


class SdpError(UmdError):
    """A session description that cannot be taken; `status` is what to answer it with."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Direction(StrEnum):
    """Who sends, as the side says that writes it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether the side that writes it sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the side that writes it wants to receive."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """The word for both facts."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


@dataclass(frozen=True, slots=True)
class Codec:
    """One RTP payload type."""

    payload: int
    name: str
    """As in rtpmap, in upper case, with its rate: `PCMU/8000`."""
    parameters: str = ""
    """What fmtp says."""

    def lines(self) -> list[str]:
        """Its attributes."""
        lines = [f"a=rtpmap:{self.payload} {self.name}"]
        if self.parameters:
            lines.append(f"a=fmtp:{self.payload} {self.parameters}")
        return lines


PCMU: Final = Codec(0, "PCMU/8000")
PCMA: Final = Codec(8, "PCMA/8000")
EVENTS: Final = Codec(101, "telephone-event/8000", "0-16")  # RFC 4733
CODECS: Final = (PCMU, PCMA, EVENTS)
_STATIC: Final = {"0": PCMU.name, "8": PCMA.name}  # RFC 3551 §6
_EVENT_NAME: Final = EVENTS.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """One m= section."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    codecs: tuple[Codec, ...] = ()
    """The formats whose meaning is known, in the order of preference."""
    address: str = ""
    """Where it wants its packets, when that is not the address of the session."""
    direction: Direction = Direction.SENDRECV

    @property
    def is_audio(self) -> bool:
        """Whether it is a stream of the kind we can take."""
        return self.kind == "audio" and self.protocol == "RTP/AVP" and self.port > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A session description."""

    session_id: int
    version: int
    """Goes up by one with every change (RFC 3264 §8)."""
    address: str
    media: tuple[Media, ...]

    def encode(self) -> bytes:
        """The body of a message."""
        where = _where(self.address)
        lines = ["v=0", f"o=- {self.session_id} {self.version} {where}", "s=-", f"c={where}"]
        lines.append("t=0 0")
        for media in self.media:
            lines += _media_lines(media)
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What offer and answer came to, as seen from this end."""

    address: str
    port: int
    codec: Codec
    events: int | None
    """The payload type of telephone events, when both ends know them."""
    direction: Direction
    """What this end does."""


def _where(address: str) -> str:
    return f"IN IP6 {address}" if ":" in address else f"IN IP4 {address}"


def _media_lines(media: Media) -> list[str]:
    lines = [f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}"]
    if media.port:
        for codec in media.codecs:
            lines += codec.lines()
        lines.append(f"a={media.direction}")
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
    """The first offer of a session; later ones come from `changed`."""
    audio = _audio(port, tuple(codecs), direction)
    return Description(session_id=session_id, version=version, address=address, media=(audio,))


def _audio(port: int, codecs: tuple[Codec, ...], direction: Direction) -> Media:
    return Media(
        kind="audio",
        port=port,
        protocol="RTP/AVP",
        formats=tuple([str(codec.payload) for codec in codecs]),
        codecs=codecs,
        direction=direction,
    )


def changed(ours: Description, direction: Direction) -> Description:
    """
    Our next offer in a session, from what we said last: hold, or its end (RFC 3264 §8).

    It keeps every stream in its place, those that were refused too.
    """
    media = tuple(
        replace(each, direction=direction) if each.is_audio else each for each in ours.media
    )
    return replace(ours, version=ours.version + 1, media=media)


def answer(
    offered: Description,
    *,
    address: str,
    port: int,
    session_id: int,
    version: int = 1,
    direction: Direction = Direction.SENDRECV,
    codecs: Sequence[Codec] = CODECS,
) -> tuple[Description, Agreed]:
    """
    The answer to an offer, and what was agreed.

    `direction` is what this end would like; the answer has what the offer leaves of it. The codecs
    keep the order of the offer, and its payload types.

    Raises:
        SdpError: 488, no audio stream is offered or no codec is shared.
    """
    chosen = next((media for media in offered.media if media.is_audio), None)
    if chosen is None:
        raise SdpError("no audio over RTP/AVP is offered", 488)
    shared = _shared(codecs, chosen.codecs)
    theirs = _effective(chosen, offered)
    ours = Direction.of(
        sends=direction.sends and theirs.receives, receives=direction.receives and theirs.sends
    )
    agreed = _agree(offered, chosen, shared, ours)
    media = tuple(
        _audio(port, shared, ours) if each is chosen else _refused(each) for each in offered.media
    )
    return (
        Description(session_id=session_id, version=version, address=address, media=media),
        agreed,
    )


def without_streams(
    offered: Description, *, address: str, session_id: int, version: int = 1
) -> Description | None:
    """
    The answer to an offer that takes every stream out by port 0, or has none (RFC 3264 §5, §8.2).

    None when it does offer a stream.
    """
    if any(media.port for media in offered.media):
        return None
    media = tuple(map(_refused, offered.media))
    return Description(session_id=session_id, version=version, address=address, media=media)


def read_answer(offered: Description, answered: Description) -> Agreed:
    """
    What the answer to our offer came to.

    Raises:
        SdpError: it does not fit the offer, or refuses the stream.
    """
    if len(answered.media) != len(offered.media):
        raise SdpError("the answer has another number of streams than the offer", 488)
    pairs = zip(offered.media, answered.media, strict=True)
    ours, theirs = next((pair for pair in pairs if pair[0].is_audio), (None, None))
    if ours is None or theirs is None or not theirs.is_audio:
        raise SdpError("the answer refuses the audio stream", 488)
    shared = _shared(ours.codecs, theirs.codecs)
    there = _effective(theirs, answered)
    direction = Direction.of(
        sends=ours.direction.sends and there.receives,
        receives=ours.direction.receives and there.sends,
    )
    return _agree(answered, theirs, shared, direction)


def _shared(ours: Iterable[Codec], theirs: Iterable[Codec]) -> tuple[Codec, ...]:
    """Their order and payload types, with our parameters."""
    known = {codec.name.upper(): codec for codec in ours}
    found = []
    for codec in theirs:
        own = known.pop(codec.name.upper(), None)
        if own is not None:
            found.append(Codec(codec.payload, own.name, own.parameters))
    return tuple(found)


def _agree(
    remote: Description, media: Media, shared: tuple[Codec, ...], direction: Direction
) -> Agreed:
    speech = [codec for codec in shared if codec.name.upper() != _EVENT_NAME]
    if not speech:
        raise SdpError("no codec is shared", 488)
    events = [codec.payload for codec in shared if codec.name.upper() == _EVENT_NAME]
    return Agreed(
        address=media.address or remote.address,
        port=media.port,
        codec=speech[0],
        events=events[0] if events else None,
        direction=direction,
    )


def _effective(media: Media, description: Description) -> Direction:
    """The direction; to give no address is the hold of RFC 2543 (RFC 3264 §8.4)."""
    if (media.address or description.address) in NO_ADDRESS:
        return Direction.of(sends=media.direction.sends, receives=False)
    return media.direction


def _refused(media: Media) -> Media:
    return Media(kind=media.kind, port=0, protocol=media.protocol, formats=media.formats)


# Reading


def parse(body: bytes) -> Description:
    """
    Read a session description; what is of no use here is passed over.

    So are blanks where there should be none, any kind of line end, lines that are no `x=value`, and
    an o= line whatever is in it: umd never compares a far end's descriptions.

    Raises:
        SdpError: 400, it is none.
    """
    text = body.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_LINES:
        raise SdpError(f"more than {MAX_LINES} lines", 413)
    lines = [line.rstrip(" \t\0") for line in text.split("\n") if line[1:2] == "="]
    if not lines or lines[0] != "v=0":
        raise SdpError("does not begin with v=0")
    starts = [index for index, line in enumerate(lines) if line.startswith("m=")]
    head = lines[: starts[0]] if starts else lines
    session_id, version = _origin(head)
    default = _direction(head, Direction.SENDRECV)
    sections = [lines[a:b] for a, b in zip(starts, [*starts, len(lines)][1:], strict=True)]
    address = _address(head)
    media = tuple(_media(section, default) for section in sections)
    if not address and any(not each.address and each.port for each in media):
        raise SdpError("a stream has no address")
    return Description(session_id=session_id, version=version, address=address, media=media)


def _origin(lines: list[str]) -> tuple[int, int]:
    """Session id and version; 0 for what cannot be read."""
    line = next((line for line in lines if line.startswith("o=")), "")
    words = line[2:].split()[-5:]  # the user name before them may have blanks
    if len(words) < 5:
        return 0, 0
    try:
        return _number(words[0], 2**64), _number(words[1], 2**64)
    except SdpError:
        return 0, 0


def _number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < limit):
        raise SdpError("a number is missing or out of range")
    return int(text)


def _address(lines: list[str]) -> str:
    line = next((line for line in lines if line.startswith("c=")), None)
    if line is None:
        return ""
    words = line[2:].split()
    if len(words) != 3 or words[0].upper() != "IN" or words[1].upper() not in ("IP4", "IP6"):
        raise SdpError("c= is not IN IP4 or IN IP6 with an address")
    return words[2].partition("/")[0]


def _direction(lines: list[str], default: Direction) -> Direction:
    for line in lines:
        if line.startswith("a=") and line[2:].strip() in Direction.__members__.values():
            return Direction(line[2:].strip())
    return default


def _media(lines: list[str], default: Direction) -> Media:
    words = lines[0][2:].split()
    if len(words) < 4:
        raise SdpError("m= does not have four parts")
    kind, port, protocol, formats = words[0], words[1], words[2], tuple(words[3:])
    return Media(
        kind=kind,
        port=_number(port.partition("/")[0], 65536),
        protocol=protocol,
        formats=formats,
        codecs=_codecs(formats, lines) if kind == "audio" else (),
        address=_address(lines),
        direction=_direction(lines, default),
    )


def _codecs(formats: tuple[str, ...], lines: list[str]) -> tuple[Codec, ...]:
    """The formats of an audio stream that rtpmap or RFC 3551 give a name to."""
    names, parameters = dict(_STATIC), {}
    for line in lines:
        if line.startswith("a=rtpmap:"):
            payload, _, name = line[9:].partition(" ")
            names[payload] = name.strip().removesuffix("/1")  # one channel is the default
        elif line.startswith("a=fmtp:"):
            payload, _, parameters[payload] = line[7:].partition(" ")
    found = []
    for format_ in formats:
        if format_ in names and format_.isascii() and format_.isdecimal() and len(format_) <= 3:
            found.append(Codec(int(format_), names[format_], parameters.get(format_, "")))
    return tuple(found)
