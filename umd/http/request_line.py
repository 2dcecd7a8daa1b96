"""The request line: checks the method, the target and the version before llhttp sees them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from umd.http.limits import Limits
from umd.http.refused import Refused, target_too_long

METHODS: Final = ("GET", "HEAD", "POST")
ALLOW: Final = {"Allow": ", ".join(METHODS)}
KNOWN_METHODS: Final = frozenset(("CONNECT", "DELETE", "OPTIONS", "PATCH", "PUT", "TRACE"))
"""Methods of RFC 9110 and RFC 5789 that umd does not serve: 405. Any other method is a 501."""

MAX_REST_OF_LINE: Final = 32
"""Octets of a request line besides its target: llhttp's longest method, a version, two spaces."""

# The characters of a path and a query, RFC 3986 sections 3.3 and 3.4. llhttp accepts others too.
_PATH: Final = rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+"
_ORIGIN_FORM: Final = re.compile(rb"([A-Z]+) (/" + _PATH + rb") HTTP/1\.([01])")
_ABSOLUTE_FORM: Final = re.compile(
    rb"([A-Z]+) (https?)://([^ /?#]*)((?:[/?](?-i:" + _PATH + rb"))?) (?-i:HTTP)/1\.([01])",
    re.IGNORECASE,  # of the scheme alone (RFC 3986 section 3.1)
)
_ANY_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ ]+) HTTP/1\.[01]")
_VERSIONS: Final = (b"1.0", b"1.1")
_ANY_VERSION: Final = re.compile(rb"[0-9]\.[0-9]")
_AUTHORITY: Final = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"  # RFC 3986 section 3.2
)
_ESCAPED_UNRESERVED: Final = re.compile(
    "%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE
)
_SLASHES: Final = re.compile("//+")
_DOT_SEGMENT: Final = re.compile(r"/\.\.?(?:/|\Z)")


class RequestLine(NamedTuple):
    """A request line that has passed the checks."""

    method: str
    target: str
    """From the path on."""
    is_11: bool
    """HTTP/1.1, else HTTP/1.0."""
    scheme: str
    """Of a target in absolute form, in lower case; empty for a target in origin form."""
    authority: str
    """Of a target in absolute form."""


def check_request_line(line: bytes, limits: Limits) -> RequestLine:
    """
    Check a request line, given without its CRLF.

    Raises:
        Refused
    """
    scheme = authority = ""
    match = _ORIGIN_FORM.fullmatch(line)
    if match is not None:
        method, target, minor = match.groups()
        size = len(target)
    else:
        match = _ABSOLUTE_FORM.fullmatch(line)
        if match is None or not match[1].isupper():
            raise _bad_line(line, limits)
        method, target, minor = match[1], match[4], match[5]
        scheme, authority = match[2].decode("ascii").lower(), match[3].decode("latin-1")
        size = match.end(4) - match.start(2)
        if not target.startswith(b"/"):
            target = b"/" + target  # RFC 9112 section 3.2.1
    if size > limits.max_target:
        raise target_too_long(limits)
    name = method.decode("ascii")
    if name not in METHODS:
        raise _method_not_served(name)
    if scheme and not is_authority(authority):
        # This excludes user information too (RFC 9110 section 4.2.4).
        raise Refused(400, "The target must name a host, or an address, and maybe a port.")
    if b"%00" in target:
        raise Refused(400, "The target holds %00.")
    return RequestLine(name, target.decode("ascii"), minor == b"1", scheme, authority)


def check_unfinished_line(octets: bytes, limits: Limits) -> None:
    """
    Check the beginning of a request line, for a client that never ends it.

    Raises:
        Refused
    """
    if len(octets) >= limits.max_target + MAX_REST_OF_LINE:
        raise target_too_long(limits)
    version = octets.partition(b" HTTP/")[2][:3]
    if len(version) == 3 and version not in _VERSIONS:
        raise _bad_line(octets, limits)


def is_authority(text: str) -> bool:
    """Return whether this is a host name or an address, maybe with a port."""
    return _AUTHORITY.fullmatch(text) is not None


def normal_path(path: str) -> str:
    """
    Return the one spelling of a path that is compared (RFC 3986 section 6.2.2).

    Escapes of unreserved characters are decoded once, and several slashes become one. Other escapes
    stay. A path with a segment "." or ".." is refused rather than resolved: clients resolve such
    segments, and a proxy in front of umd may not see where the path leads.

    Raises:
        Refused
    """
    if "%" in path:
        path = _ESCAPED_UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), path)
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if "/." in path and _DOT_SEGMENT.search(path):
        raise Refused(400, "The path holds a segment of dots alone.")
    return path


def _bad_line(line: bytes, limits: Limits) -> Refused:
    """Return the refusal that says best what is wrong with a request line."""
    version = line.partition(b" HTTP/")[2][:3]
    if version not in _VERSIONS and _ANY_VERSION.fullmatch(version):
        return Refused(505, "The versions served are HTTP/1.1 and HTTP/1.0.")
    match = _ANY_LINE.fullmatch(line)
    if match is None:
        return Refused(400, "The request line is not METHOD /path HTTP/1.1.")
    if len(match[2]) > limits.max_target:
        return target_too_long(limits)
    method = match[1].decode("ascii")
    if method not in METHODS:
        return _method_not_served(method)
    return Refused(400, "The target is not a path or an http URL, or has forbidden characters.")


def _method_not_served(method: str) -> Refused:
    if method in KNOWN_METHODS:
        return Refused(405, "SOAP requests are sent by POST.", ALLOW)
    return Refused(501, "There is no such method here; SOAP requests are sent by POST.", ALLOW)
