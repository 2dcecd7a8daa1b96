"""
Finds the session description in the body of a message (RFC 3261 §7.4, RFC 5621).

A body is SDP if Content-Type says so, or if there is no Content-Type and it begins like SDP. Of
several parts the first that is SDP counts. A request with any other body is answered 415. In a
response or an ACK such a body is ignored, because neither is answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from umd.errors import UmdError
from umd.sip.message import Message

SDP: Final = "application/sdp"
MAX_PARTS: Final = 16
MAX_DELIMITERS: Final = 64
"""Occurrences of the boundary that are examined, including those that delimit nothing."""
MAX_DEPTH: Final = 3
"""Levels of multipart bodies within each other."""
MAX_PART_HEAD: Final = 2048  # octets
ACCEPT: Final = (("Accept", SDP),)
ACCEPT_ENCODING: Final = (("Accept-Encoding", "identity"),)
_NO_CODING: Final = frozenset(("identity", "7bit", "8bit", "binary", ""))


class UnsupportedBody(UmdError):
    """The body is neither supported nor optional (415); `headers` of the response say what is."""

    def __init__(self, why: str, headers: tuple[tuple[str, str], ...] = ACCEPT) -> None:
        super().__init__(why)
        self.headers = headers


def offer_in(message: Message) -> bytes:
    """
    Return the session description in a request; `b""` if there is none.

    Raises:
        UnsupportedBody: The body is neither supported nor optional.
    """
    if not message.body or message.made_of_values:
        return message.body  # from an endpoint in the same process: always SDP
    codings = message.get("Content-Encoding")
    if codings is not None and codings.strip().lower() not in _NO_CODING:
        raise UnsupportedBody(f"Content-Encoding {codings}", ACCEPT_ENCODING)
    kind = message.get("Content-Type")
    if kind is None:
        kind = SDP if message.body.startswith(b"v=") else ""
    found = _description(kind, message.body, MAX_DEPTH)
    if found is not None:
        return found
    if _is_optional(message.get("Content-Disposition")):
        return b""
    raise UnsupportedBody(f"Content-Type {kind}")


def description_in(message: Message) -> bytes:
    """Return the session description in a response or an ACK; `b""` if there is none."""
    if not message.body or message.made_of_values:
        return message.body
    try:
        return offer_in(message)
    except UnsupportedBody as error:
        message.note_flaw(str(error))
        return b""


def _description(kind: str, body: bytes, depth: int) -> bytes | None:
    """Return the session description in a body of this Content-Type, or None."""
    media_type = _media_type(kind)
    if media_type == SDP:
        return body
    if not media_type.startswith("multipart/") or not depth:
        return None
    boundary = _param(kind, "boundary")
    if not boundary:
        return None
    found = None
    for head, content in islice(_parts(body, boundary), MAX_PARTS):
        inner = None
        if head.get("content-transfer-encoding", "").lower() in _NO_CODING:
            inner = _description(head.get("content-type", ""), content, depth - 1)
        if inner is None:
            if _param(head.get("content-disposition", ""), "handling").lower() == "required":
                return None
        elif found is None:
            found = inner
    return found


def _media_type(kind: str) -> str:
    return "".join(kind.partition(";")[0].split()).lower()


def _is_optional(disposition: str | None) -> bool:
    return disposition is not None and _param(disposition, "handling").lower() == "optional"


def _param(value: str, name: str) -> str:
    """Return a parameter of Content-Type or Content-Disposition, unquoted; `""` if absent."""
    for found in _next_param(value):
        if found.group(1).lower() == name:
            return found.group(2) if found.group(2) is not None else found.group(3)
    return ""


_next_param: Final = re.compile(
    r';[ \t]*([^\s;="]{1,80})[ \t]*=[ \t]*(?:"([^"]{0,200})"|([^\s;"]{1,200}))'
).finditer


def _parts(body: bytes, boundary: str) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield head and content of each part, without the preamble and the epilogue."""
    delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
    start, at = -1, body.find(delimiter)
    for _ in range(MAX_DELIMITERS):
        if at < 0:
            break
        found = _end_of_delimiter(body, at + len(delimiter))
        if found is not None and (at == 0 or body[at - 1 : at] == b"\n"):
            if start >= 0:
                end = at - 2 if body[at - 2 : at] == b"\r\n" else at - 1
                yield _part(body[start : max(end, start)])
            if found.group(1):
                return
            start = found.end()
        at = body.find(delimiter, at + len(delimiter))
    if start >= 0 > at:
        yield _part(body[start:])  # the last delimiter is missing


_end_of_delimiter: Final = re.compile(rb"(--)?[ \t]{0,80}(?:\r?\n|\Z)").match


def _part(part: bytes) -> tuple[dict[str, str], bytes]:
    """Return the header fields of a part, with names in lower case, and its content."""
    if part[:1] == b"\n" or part[:2] == b"\r\n":
        return {}, part.lstrip(b"\r\n")
    found = _end_of_head(part[:MAX_PART_HEAD])
    if found is None:
        return {}, b""
    text = part[: found.start()].decode("utf-8", "surrogateescape")
    head: dict[str, str] = {}
    for line in _unfold(" ", text).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            head.setdefault(name.strip().lower(), value.strip())
    return head, part[found.end() :]


_end_of_head: Final = re.compile(rb"\r?\n\r?\n").search
_unfold: Final = re.compile(r"\r?\n[ \t]+").sub
