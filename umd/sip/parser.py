"""
Reads a SIP message from octets: the start line, the header lines and the limits.

`parse` splits the message once and checks little: the start line, the form of each line, and the
limits. The values of header fields are read by `Message` when they are needed. So a request with a
malformed From can still be answered with 400, with every value echoed as it came.

Header text is UTF-8 with `surrogateescape`, which keeps any octet through text and back. A folded
line is joined by one SP (LWS, RFC 3261 §25.1). Nothing else in a value is changed.
"""

from __future__ import annotations

import re
from typing import Final

from umd.sip.message import VERSION, Headers, MessageError, Request, Response
from umd.sip.names import METHODS, SPELLINGS, TOKEN, canonical

MAX_MESSAGE_OCTETS: Final = 65536  # head and body
MAX_HEADER_LINES: Final = 128
MAX_FLAWED_LINES: Final = 4 * MAX_HEADER_LINES
"""Lines of a head that is read leniently; more than `MAX_HEADER_LINES`, since some are skipped."""
MAX_LINE_CHARACTERS: Final = 8192  # folded lines joined

_END_OF_HEAD: Final = b"\r\n\r\n"
_request_line: Final = re.compile(
    rf"({TOKEN}) ([!-;=?-~]+) (SIP/[0-9]+\.[0-9]+)", re.IGNORECASE | re.ASCII
).fullmatch
# Some peers omit the SP before an empty reason phrase. The phrase is for people and may hold any
# characters.
_status_line: Final = re.compile(
    r"(SIP/[0-9]+\.[0-9]+) ([1-6][0-9]{2})(?: ([^\r\n]*))?",
    re.IGNORECASE | re.ASCII,
).fullmatch
_controls: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").sub
_unfold: Final = re.compile(r"\r\n[ \t]+").sub
_empty_line: Final = re.compile(rb"\r?\n\r?\n").search
_unfold_lf: Final = re.compile(r"\n[ \t]+").sub


def parse(data: bytes) -> Request | Response:
    """
    Parse one complete message; everything after the empty line is its body.

    Raises:
        MessageError: the octets are not a message. If they are a request that can be answered,
            `request` holds its readable parts.
    """
    if len(data) > MAX_MESSAGE_OCTETS:
        raise MessageError(f"longer than {MAX_MESSAGE_OCTETS} octets", status=513)
    end = data.find(_END_OF_HEAD)
    if end < 0:
        raise MessageError("no empty line after the header fields", _salvage(_lines(data)))
    message = _parse_head(data[:end])
    message.set_octets(data, end + 4)
    return message


def _parse_head(head: bytes) -> Request | Response:
    """Parse the start line and the header lines, given without the empty line."""
    lines = _lines(head)
    headers: Headers = []
    try:
        for line in lines[1:]:
            spelling, colon, value = line.partition(":")
            headers.append((SPELLINGS[spelling], value.strip(" \t")))
            if not colon:
                return _parse_unusual_lines(lines)
    except KeyError:
        return _parse_unusual_lines(lines)
    return _parse_start_line(lines, headers)


def _lines(head: bytes) -> list[str]:
    """
    Return the lines as text.

    Raises:
        MessageError: there are too many lines, or a CR or LF that does not end a line.
    """
    ends = head.count(b"\n")
    if ends > MAX_HEADER_LINES:
        raise MessageError(f"more than {MAX_HEADER_LINES} header lines")
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    if len(lines) != ends + 1 or text.count("\r") != ends:
        raise MessageError("CR or LF alone in the head", _salvage(lines))
    if len(head) > MAX_LINE_CHARACTERS:
        _check_lengths(lines)
    return lines


def _check_lengths(lines: list[str]) -> None:
    if any(len(line) > MAX_LINE_CHARACTERS for line in lines):
        raise MessageError(
            f"a line of more than {MAX_LINE_CHARACTERS} characters", _salvage(lines)
        )


def _parse_unusual_lines(lines: list[str]) -> Request | Response:
    """Parse lines that are folded, or that have names in a rare spelling."""
    lines = _unfold(" ", "\r\n".join(lines)).split("\r\n")
    _check_lengths(lines)
    headers: Headers = []
    for line in lines[1:]:
        spelling, colon, value = line.partition(":")
        name = canonical(spelling)
        if name is None or not colon:
            raise MessageError("a line is not a header field", _salvage(lines))
        headers.append((name, value.strip(" \t")))
    return _parse_start_line(lines, headers)


def _parse_start_line(lines: list[str], headers: Headers) -> Request | Response:
    start = lines[0]
    parts = start.split(" ")
    if len(parts) == 3 and parts[2] == VERSION and parts[0] in METHODS and _is_uri_text(parts[1]):
        return Request(parts[0], parts[1], headers)
    message: Request | Response
    if (match := _request_line(start)) is not None:
        method, uri, version = match.groups()
        message = Request(method, uri, headers)
    elif (match := _status_line(start)) is not None:
        version, status, reason = match.groups()
        message = Response(int(status), _controls("?", reason or ""), headers)
    else:
        raise MessageError("neither a request line nor a status line", _salvage(lines))
    message.version = version.upper()
    return message


def _is_uri_text(text: str) -> bool:
    """Whether the pattern of a request line accepts these characters as its URI."""
    return text.isascii() and text.isprintable() and "<" not in text and ">" not in text


def parse_leniently(data: bytes, error: MessageError) -> Request | Response:
    """
    Parse a datagram that `parse` has refused because of its header lines.

    A line that is not a header field or is too long is skipped (RFC 3261 §8.2.2). A LF alone ends a
    line too, and a CR alone is a blank. A header field in a skipped line counts as missing. Of a
    response with too many lines the first `MAX_HEADER_LINES` are read, and the empty line after
    them may be missing.

    Args:
        data: the datagram.
        error: the refusal by `parse`. It becomes a flaw of the message.

    Raises:
        MessageError: `error` itself, if the message is refused for another reason.
    """
    is_response = data[:4].upper() == b"SIP/"
    head_length, body_at = _find_end_of_head(data)
    if head_length < 0 and is_response and data[-1:] == b"\n":
        head_length, body_at = len(data), len(data)
    if head_length < 0 or len(data) > MAX_MESSAGE_OCTETS:
        raise error
    head = data[:head_length]
    *first, _ = head.split(b"\n", MAX_FLAWED_LINES)
    if len(first) == MAX_FLAWED_LINES:
        if not is_response:
            raise error
        head = b"\n".join(first)
    text = head.decode("utf-8", "surrogateescape")
    text = text.replace("\r\n", "\n").replace("\r", " ")
    start, *lines = _unfold_lf(" ", text).split("\n")
    kept = [line for line in lines if _is_header_line(line)]
    if len(kept) > MAX_HEADER_LINES:
        if not is_response:
            raise error
        del kept[MAX_HEADER_LINES:]
    try:
        message = _parse_head("\r\n".join([start, *kept]).encode("utf-8", "surrogateescape"))
    except MessageError:
        raise error from None
    message.set_octets(data, body_at)
    message.note_flaw(error.why)
    return message


def _find_end_of_head(data: bytes) -> tuple[int, int]:
    """Return where the head ends and where the body begins; -1 for both without an empty line."""
    at = data.find(_END_OF_HEAD)
    if at >= 0:
        return at, at + 4
    match = _empty_line(data)
    return match.span() if match else (-1, -1)


def _is_header_line(line: str) -> bool:
    spelling, colon, _ = line.partition(":")
    return bool(colon) and len(line) <= MAX_LINE_CHARACTERS and canonical(spelling) is not None


def _salvage(lines: list[str]) -> Request | None:
    """
    Return the readable parts of a broken request, so that it can be answered.

    None for a response or an ACK, which are never answered. An answer needs Via, From, To, Call-ID
    and CSeq (RFC 3261 §8.2.6.2), and most broken requests have them.
    """
    method, _, rest = lines[0].partition(" ")
    if method.upper().startswith("SIP/") or canonical(method) is None or method == "ACK":
        return None
    headers: Headers = []
    for line in lines[1:]:
        spelling, colon, value = line.partition(":")
        name = canonical(spelling)
        if colon and name is not None and _may_be_echoed(line):
            headers.append((name, value.strip(" \t")))
    return Request(method, rest.strip(" \t").partition(" ")[0], headers) if headers else None


def _may_be_echoed(line: str) -> bool:
    return len(line) <= MAX_LINE_CHARACTERS and "\r" not in line and "\n" not in line
