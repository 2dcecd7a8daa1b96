"""
The head of one request: the checks that llhttp leaves to its users.

llhttp frames messages strictly, but it knows no limits, does not check Host, and accepts field
values and combinations of fields that no client of umd has to send.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from umd.http.hosts import host_name
from umd.http.limits import Limits
from umd.http.refused import Refused, body_too_long
from umd.http.request_line import (
    MAX_REST_OF_LINE,
    RequestLine,
    check_unfinished_line,
    is_authority,
    normal_path,
)
from umd.http.upgrade import STAND_IN

Fields = Sequence[tuple[bytes, bytes]]
"""Names and values of header or trailer fields, in the order in which they came."""
CHUNKED: Final = -1
"""`Head.length` of a body with chunked transfer coding."""

_CONTENT_LENGTH: Final = re.compile(r"[0-9]{1,10}")
_SINGLETONS: Final = frozenset(
    # If one of these comes twice, umd and a proxy in front of it may each use another one.
    (
        "authorization", "content-encoding", "content-length", "content-type", "expect", "host",
        "soapaction", "transfer-encoding",
    )  # fmt: skip
)
_WHITESPACE: Final = " \t"
"""Stripped from values (RFC 9110 section 5.6.3); str.strip() alone would strip NEL and NBSP too."""
_CONTENT_CODINGS: Final[Mapping[str, str]] = {
    "": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """A head that has passed the checks; shared by all requests that begin with the same octets."""

    octets: bytes
    method: str
    path: str
    """Normalised by `normal_path`."""
    query: str
    scheme: str
    """Of a target in absolute form, in lower case; empty for a target in origin form."""
    host: str
    """Authority of the target, else the value of Host, as the client wrote it; empty without."""
    host_name: str
    """The name or address in `host`, in the spelling of `umd.http.hosts.host_name`."""
    headers: Mapping[str, str]
    """Values by lower-case name. The values of a repeated field are joined by commas."""
    repeated: frozenset[str]
    """Lower-case names of the fields that came more than once."""
    length: int
    """Octets of the body, or `CHUNKED`."""
    keep_alive: bool
    """Whether the client leaves the connection open for further requests."""
    says_keep_alive: bool
    """Whether the response must say that the connection stays open, for a client of HTTP/1.0."""
    expects_continue: bool
    """Whether the client waits for "100 Continue" before it sends the body."""
    coding: str
    """Content coding of the body: "gzip", "deflate" or empty."""


def check_unfinished_head(octets: bytes, limits: Limits) -> None:
    """
    Check the beginning of a head, for a client that never ends it.

    Raises:
        Refused
    """
    if octets.find(b"\r\n", 0, limits.max_target + MAX_REST_OF_LINE) < 0:
        check_unfinished_line(octets, limits)
    if len(octets) >= limits.max_head:
        raise Refused(431, f"The head is longer than {limits.max_head} octets.")
    check_field_count(octets.count(b"\r\n") - 1, limits)


def check_field_count(count: int, limits: Limits) -> None:
    """
    Check how many header fields there are.

    Raises:
        Refused
    """
    if count > limits.max_header_lines:
        raise Refused(431, f"There are more than {limits.max_header_lines} header fields.")


def read_head(
    octets: bytes, line: RequestLine, fields: Fields, keep_alive: bool, limits: Limits
) -> Head:
    """
    Check a head that llhttp has accepted.

    Args:
        octets: the whole head.
        line: its request line.
        fields: names and values as llhttp reported them.
        keep_alive: whether llhttp says that the connection stays open.
        limits: see `umd.http.limits`.

    Raises:
        Refused
    """
    method, target, is_11, scheme, authority = line
    headers, repeated = _headers(fields)
    host = headers.get("host", "")
    if ("host" in headers or is_11) and not is_authority(host):
        raise Refused(400, "There must be one Host, of a name or address and maybe a port.")
    if scheme:
        # The target goes before Host (RFC 9112 section 3.2.2).
        host = authority
    length = _body_length(method, is_11, headers, limits)
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
        coding=_content_coding(headers),
    )


def check_trailers(fields: Fields, limits: Limits) -> None:
    """
    Check the trailer fields of a chunked body. umd uses none of them.

    Raises:
        Refused
    """
    check_field_count(len(fields), limits)
    if not _SINGLETONS.isdisjoint(_headers(fields)[0]):
        raise Refused(400, "A trailer field says what only a header field may say.")


def _headers(fields: Fields) -> tuple[dict[str, str], frozenset[str]]:
    """Return the values by lower-case name, and the names that came more than once."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1").strip(_WHITESPACE)
        if "_" in name:  # some gateways treat it as a hyphen, which gives the field another name
            raise Refused(400, "The name of a header field holds an underscore.")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLETONS:
            raise Refused(400, f"There is more than one {name}.")
        else:
            headers[name] += ", " + value
            repeated.add(name)
    headers.pop(STAND_IN, None)
    return headers, frozenset(repeated)


def _body_length(method: str, is_11: bool, headers: Mapping[str, str], limits: Limits) -> int:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if not is_11 or length is not None:
            raise Refused(400, "Transfer-Encoding does not go with HTTP/1.0 or Content-Length.")
        if coding.lower() != "chunked":
            raise Refused(501, "The only Transfer-Encoding that umd knows is chunked.")
        if method != "POST":
            raise Refused(400, f"A {method} has no body.")
        return CHUNKED
    if length is None:
        if method == "POST":
            raise Refused(411, "Give the length of the body in Content-Length, or send it chunked.")
        return 0
    if _CONTENT_LENGTH.fullmatch(length) is None:
        raise Refused(400, "Content-Length is not a number of at most ten digits.")
    octets = int(length)
    if octets and method != "POST":
        raise Refused(400, f"A {method} has no body.")
    if octets > limits.max_body:
        raise body_too_long(limits)
    return octets


def _expects_continue(headers: Mapping[str, str], is_11: bool) -> bool:
    expected = headers.get("expect")
    if expected is None or not is_11:  # RFC 9110 section 10.1.1: ignored in HTTP/1.0
        return False
    expectations = {item.strip(_WHITESPACE).lower() for item in expected.split(",")} - {""}
    if expectations - {"100-continue"}:
        raise Refused(417, "The only expectation that umd meets is 100-continue.")
    return bool(expectations)


def _content_coding(headers: Mapping[str, str]) -> str:
    coding = _CONTENT_CODINGS.get(headers.get("content-encoding", "").lower())
    if coding is None:
        offered = {"Accept-Encoding": "gzip, deflate"}
        raise Refused(415, "A body may be compressed by gzip or deflate.", offered)
    return coding
