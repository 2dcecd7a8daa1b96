"""
The head of one request: what llhttp lets through and umd does not, check by check.

The numbers in the comments are those of the list of checks that a server on llhttp must add: llhttp
frames strictly, but it knows no limits, no Host, and takes what no client of umd has to send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple

from umd.errors import UmdError
from umd.http.hosts import host_name
from umd.http.limits import Limits

METHODS: Final = ("GET", "HEAD", "POST")
ALLOW: Final = {"Allow": ", ".join(METHODS)}


class Refused(UmdError):
    """
    A request that is not served, after which its connection is closed.

    The text is for the client, in plain words, and holds nothing of what it sent.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Head:
    """A head that was read and checked; shared by all requests that begin with the same octets."""

    octets: bytes
    method: str
    path: str
    """Normalised by `normal_path`."""
    query: str
    scheme: str
    """Of a target in absolute form, in lower case; empty for one in origin form."""
    host: str
    """The authority of the target, else Host, as the client wrote it; empty where it wrote none."""
    host_name: str
    """Of it, the name or address alone; see `umd.http.hosts`."""
    headers: Mapping[str, str]
    """By lower-case name; what came several times is joined by commas."""
    repeated: frozenset[str]
    """The names of those."""
    length: int
    """Octets of the body that follows; -1 for one that comes in chunks."""
    keep_alive: bool
    says_keep_alive: bool
    """HTTP/1.0, whose client has to be told that the connection stays."""
    expects_continue: bool
    coding: str
    """How the body is compressed: "gzip", "deflate" or nothing."""


class RequestLine(NamedTuple):
    """A request line that was checked."""

    method: str
    target: str
    """From its path on."""
    is_11: bool
    scheme: str
    """Of the absolute form, in lower case; empty for the origin form."""
    authority: str
    """Of the absolute form."""


Fields = Sequence[tuple[bytes, bytes]]
CHUNKED: Final = -1

# 5: the characters of RFC 3986 sections 3.3 and 3.4.
_PATH: Final = rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+"
_LINE: Final = re.compile(rb"([A-Z]+) (/" + _PATH + rb") HTTP/1\.([01])")  # 3: one space each
_ABSOLUTE_LINE: Final = re.compile(
    rb"([A-Z]+) (https?)://([^ /?#]*)((?:[/?](?-i:" + _PATH + rb"))?) (?-i:HTTP)/1\.([01])",
    re.IGNORECASE,  # of the scheme alone (RFC 3986 section 3.1)
)
_ANY_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/1\.[01]")
_VERSIONS: Final = (b"1.0", b"1.1")
_ANY_VERSION: Final = re.compile(rb"[0-9]\.[0-9]")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"  # RFC 3986 section 3.2
)
_UNRESERVED: Final = re.compile("%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.I)
_SLASHES: Final = re.compile("//+")
_DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|\Z)")
_LENGTH: Final = re.compile(r"[0-9]{1,10}")
_SINGLE: Final = frozenset(
    # 7, 10, 14: said twice, nobody knows which one counts, or somebody in between counts another.
    (
        "authorization", "content-encoding", "content-length", "content-type", "expect", "host",
        "soapaction", "transfer-encoding",
    )  # fmt: skip
)
_UNSEEN: Final = "~~~~~~~"
"""What llhttp sees for the name of an Upgrade field; as long as that."""
_UPGRADE: Final = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)
_SPACE: Final = " \t"
"""15: what is stripped from a value; str.strip() alone would take NEL and NBSP along."""
_CODINGS: Final[Mapping[str, str]] = {
    "": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"
}  # fmt: skip


def check_line(line: bytes, limits: Limits) -> RequestLine:
    """
    Check a request line, without its CRLF.

    Raises:
        Refused
    """
    scheme = authority = ""
    match = _LINE.fullmatch(line)
    if match is not None:
        method, target, minor = match.groups()
        size = len(target)
    else:
        match = _ABSOLUTE_LINE.fullmatch(line)
        if match is None or not match[1].isupper():
            raise _wrong_line(line, limits)
        method, target, minor = match[1], match[4], match[5]
        scheme, authority = match[2].decode("ascii").lower(), match[3].decode("latin-1")
        size = match.end(4) - match.start(2)
        if not target.startswith(b"/"):
            target = b"/" + target  # RFC 9112 section 3.2.1
    if size > limits.max_target:
        raise _target_too_long(limits)
    name = method.decode("ascii")
    if name not in METHODS:  # 4
        raise _wrong_method(name)
    if scheme and _HOST.fullmatch(authority) is None:
        # No user either (RFC 9110 section 4.2.4).
        raise Refused(400, "The target must name a host, or an address, and maybe a port.")
    if b"%00" in target:
        raise Refused(400, "The target holds %00.")
    return RequestLine(name, target.decode("ascii"), minor == b"1", scheme, authority)


def normal_path(path: str) -> str:
    """
    The one spelling of a path that is compared (RFC 3986 section 6.2.2).

    What needs no escape is unescaped, once, and several slashes are one. Nothing else is: what is
    escaped after that stays so. A path with "." or ".." for a segment is refused rather than
    resolved: clients resolve theirs, and a proxy before umd may not see where such a one leads.

    Raises:
        Refused
    """
    if "%" in path:
        path = _UNRESERVED.sub(lambda found: chr(int(found[0][1:], 16)), path)
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if "/." in path and _DOT_SEGMENT.search(path):
        raise Refused(400, "The path holds a segment of dots alone.")
    return path


def check_unfinished(octets: bytes, limits: Limits) -> None:
    """
    Check a head that has not come whole (1, 2), with as little as can be told already.

    Raises:
        Refused
    """
    # A method of llhttp's and the version take less than 32 octets beside the target.
    if octets.find(b"\r\n", 0, limits.max_target + 32) < 0:
        if len(octets) >= limits.max_target + 32:
            raise _target_too_long(limits)
        version = octets.partition(b" HTTP/")[2][:3]
        if len(version) == 3 and version not in _VERSIONS:
            raise _wrong_line(octets, limits)
    if len(octets) >= limits.max_head:
        raise Refused(431, f"The head is longer than {limits.max_head} octets.")
    check_lines(octets.count(b"\r\n") - 1, limits)


def check_lines(count: int, limits: Limits) -> None:
    """
    Check how many header fields there are (2).

    Raises:
        Refused
    """
    if count > limits.max_header_lines:
        raise Refused(431, f"There are more than {limits.max_header_lines} header fields.")


def read_head(
    octets: bytes, line: RequestLine, fields: Fields, keep_alive: bool, limits: Limits
) -> Head:
    """
    Read a head that llhttp has taken.

    Args:
        octets: all of it.
        line: as `check_line` read it.
        fields: names and values as llhttp reported them.
        keep_alive: whether the client leaves the connection open, by llhttp's reckoning.
        limits: see there.

    Raises:
        Refused
    """
    method, target, is_11, scheme, authority = line
    headers, repeated = _headers(fields)
    host = headers.get("host", "")
    if "host" in headers or is_11:  # 7
        if _HOST.fullmatch(host) is None:
            raise Refused(400, "There must be one Host, of a name or address and maybe a port.")
    if scheme:
        # It goes before Host, whatever that says (RFC 9112 section 3.2.2).
        host = authority
    length = _length(method, is_11, headers, limits)
    path, _, query = target.partition("?")
    return Head(
        octets=octets,
        method=method,
        path=normal_path(path),
        query=query,
        scheme=scheme,
        host=host,
        host_name=host_name(host),
        headers=headers,
        repeated=repeated,
        length=length,
        keep_alive=keep_alive,
        says_keep_alive=keep_alive and not is_11,
        expects_continue=_expects_continue(headers, is_11),
        coding=_coding(headers),
    )


def end_without_part_of_upgrade(octets: bytes) -> int:
    """Up to where llhttp may see a head that is still coming: not a part of the name Upgrade."""
    line = octets.rfind(b"\n") + 1
    return line if b"upgrade:".startswith(octets[line : line + 9].lower()) else len(octets)


def without_upgrade(octets: bytes, start: int) -> bytes:
    """
    A part of a head as llhttp is to see it: without an offer to speak another protocol.

    Such an offer is ignored (RFC 9110 section 7.8), but llhttp would stop at the end of the head
    and take the body for something else (11).

    Args:
        octets: the head up to the end of the part, as `end_without_part_of_upgrade` gives it.
        start: of the part.
    """
    # With the octet before it, which may be a line feed: a name begins after one.
    before = max(0, start - 1)
    part = octets[before:] if before else octets
    if b"upgrade:" in part.lower():
        part = _UPGRADE.sub(_UNSEEN.encode(), part)
    return part[start - before :]


def check_trailers(fields: Fields, limits: Limits) -> None:
    """
    Check what comes after a chunked body (13); whatever it says is not taken over.

    Raises:
        Refused
    """
    check_lines(len(fields), limits)
    if not _SINGLE.isdisjoint(_headers(fields)[0]):
        raise Refused(400, "A trailer field says what only a header field may say.")


def _headers(fields: Fields) -> tuple[dict[str, str], frozenset[str]]:
    """The header fields, and the names of those that came several times."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(_SPACE)
        if "_" in name:  # 14: a gateway in between may have taken it for a hyphen
            raise Refused(400, "The name of a header field holds an underscore.")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            raise Refused(400, f"There is more than one {name}.")
        else:
            headers[name] += ", " + value
            repeated.add(name)
    headers.pop(_UNSEEN, None)
    return headers, frozenset(repeated)


def _length(method: str, is_11: bool, headers: Mapping[str, str], limits: Limits) -> int:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:  # 10
        if not is_11 or length is not None:
            raise Refused(400, "Transfer-Encoding does not go with HTTP/1.0 or Content-Length.")
        if coding.lower() != "chunked":
            raise Refused(501, "The only Transfer-Encoding that is known is chunked.")
        if method != "POST":
            raise Refused(400, f"A {method} has no body.")
        return CHUNKED
    if length is None:  # 9
        if method == "POST":
            raise Refused(411, "Say the length of the body by Content-Length, or send it chunked.")
        return 0
    if _LENGTH.fullmatch(length) is None:  # 8
        raise Refused(400, "Content-Length is not a number of at most ten digits.")
    octets = int(length)
    if octets and method != "POST":  # 17
        raise Refused(400, f"A {method} has no body.")
    if octets > limits.max_body:
        raise body_too_long(limits)
    return octets


def body_too_long(limits: Limits) -> Refused:
    """The refusal of a body over the limit."""
    return Refused(413, f"The body is longer than {limits.max_body} octets.")


def _expects_continue(headers: Mapping[str, str], is_11: bool) -> bool:
    expected = headers.get("expect")
    if expected is None or not is_11:  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
        return False
    expectations = {one.strip(_SPACE).lower() for one in expected.split(",")} - {""}
    if expectations - {"100-continue"}:  # 16
        raise Refused(417, "The only expectation that is met is 100-continue.")
    return bool(expectations)


def _coding(headers: Mapping[str, str]) -> str:
    coding = _CODINGS.get(headers.get("content-encoding", "").lower())
    if coding is None:  # 17
        offered = {"Accept-Encoding": "gzip, deflate"}
        raise Refused(415, "A body may be compressed by gzip or deflate.", offered)
    return coding


def _wrong_line(line: bytes, limits: Limits) -> Refused:
    """Say what is wrong with a request line, as far as it can be told."""
    version = line.partition(b" HTTP/")[2][:3]
    if version not in _VERSIONS and _ANY_VERSION.fullmatch(version):
        return Refused(505, "The versions served are HTTP/1.1 and HTTP/1.0.")
    match = _ANY_LINE.fullmatch(line)
    if match is None:
        return Refused(400, "The request line is not METHOD /path HTTP/1.1.")
    if len(match[2]) > limits.max_target:
        return _target_too_long(limits)
    method = match[1].decode("ascii")
    if method not in METHODS:
        return _wrong_method(method)
    return Refused(400, "The target is not a path or an http URL, or holds what neither does.")


def _wrong_method(method: str) -> Refused:
    if method in _KNOWN:
        return Refused(405, "SOAP requests are sent by POST.", ALLOW)
    return Refused(501, "There is no such method here; SOAP requests are sent by POST.", ALLOW)


_KNOWN: Final = frozenset(("CONNECT", "DELETE", "OPTIONS", "PATCH", "PUT", "TRACE"))


def _target_too_long(limits: Limits) -> Refused:
    return Refused(414, f"The target is longer than {limits.max_target} octets.")


def phrase(status: int) -> str:
    """The words of a status line."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Other"
