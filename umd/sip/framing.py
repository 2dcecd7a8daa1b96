"""
Finds the end of a message in a datagram (RFC 3261 §18.3).

A datagram holds one message. Content-Length says where its body ends.
"""

from __future__ import annotations

from typing import Final

from umd.sip.message import HeaderError, Message, MessageError, Request, Response
from umd.sip.parser import parse, parse_leniently

_LINE_END_OR_NOTHING: Final = (b"\r", b"\n", b"")


class FramingError(MessageError):
    """Content-Length does not say where the message ends."""


def read_datagram(data: bytes) -> Request | Response | None:
    """
    Return the message in a datagram, or None for a keep-alive, which is nothing but CRLF.

    Without Content-Length the body ends with the datagram. The same holds for a response or an ACK
    whose Content-Length cannot be read, since these cannot be refused. Octets after the body are
    dropped (§18.3). A Content-Length larger than the body shows that the datagram was truncated.

    Header lines that cannot be read are skipped and noted as a flaw of the message.

    Raises:
        MessageError: the datagram is not a message. `request` is set if it can be answered.
        FramingError: the same, because of Content-Length.
    """
    if data[:1] in _LINE_END_OR_NOTHING:
        data = data.lstrip(b"\r\n")
        if not data:
            return None
    try:
        message = parse(data)
    except MessageError as error:
        message = parse_leniently(data, error)
    try:
        length = _stated_length(message)
    except FramingError as error:
        if _answerable(message) is not None:
            raise
        message.note_flaw(f"Content-Length: {error.why}")
        length = None
    if length != len(message.body) and length is not None:
        _truncate(message, length)
    return message


def _stated_length(message: Request | Response) -> int | None:
    """
    Return the Content-Length, or None if there is none.

    Raises:
        FramingError: it is not a number, or there are several. Two equal ones are refused too: a
            message must have one at most, and another reader may use the other one.
    """
    if message.has_repeated_fields() and len(message.all("Content-Length")) > 1:
        raise FramingError("more than one Content-Length", _answerable(message))
    try:
        return message.content_length
    except HeaderError as error:
        raise FramingError(error.why, _answerable(message)) from error


def _truncate(message: Request | Response, length: int) -> None:
    if length > len(message.body):
        why = f"Content-Length is {length}, the body has {len(message.body)} octets"
        raise FramingError(why, _answerable(message))
    message.truncate_body(length)


def _answerable(message: Message) -> Request | None:
    """Return the message if it is a request that gets an answer; an ACK gets none."""
    return message if isinstance(message, Request) and message.method != "ACK" else None
