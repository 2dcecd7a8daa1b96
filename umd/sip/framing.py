"""
Where a message ends: one datagram, or one stretch of a stream (RFC 3261 §7.5, §18.3).

A datagram holds one message; a stream holds many, and only Content-Length says where the next one
starts. So an error of framing is fatal for a stream: whatever follows could be read wrong, and a
request smuggled past whoever looked at it before us.
"""

from __future__ import annotations

import re
from typing import Final

from umd.sip.message import (
    MAX_CONTENT_LENGTH,
    MAX_MESSAGE,
    HeaderError,
    Message,
    MessageError,
    Request,
    Response,
    number,
    parse,
    parse_despite_flaws,
    parse_head,
)

_END_OF_HEAD: Final = b"\r\n\r\n"
_LINE_END_OR_NOTHING: Final = (b"\r", b"\n", b"")
_line_ends: Final = re.compile(rb"(?:\r\n)*").match


class FramingError(MessageError):
    """It cannot be said where the message ends."""


def read_datagram(data: bytes) -> Request | Response | None:
    """
    The message in a datagram, or None for a keep-alive (RFC 5626 §3.5.1): nothing but CRLF.

    Octets after the body are dropped (§18.3); without Content-Length the body is all there is. So
    it is in a response or an ACK, which are never answered, if their Content-Length cannot be read.
    A Content-Length larger than what has come shows that the datagram was cut off (§18.3).

    Header lines that cannot be read are passed over. In a stream they are an error of framing.

    Raises:
        MessageError: it is no message; a request that can be answered is in `request`.
        FramingError: the same, and Content-Length is the reason.
    """
    if data[:1] in _LINE_END_OR_NOTHING:
        data = data.lstrip(b"\r\n")
        if not data:
            return None
    try:
        message = parse(data)
    except MessageError as error:
        message = parse_despite_flaws(data, error)
    try:
        length = _stated_length(message)
    except FramingError as error:
        if _answerable(message) is not None:
            raise
        message.note_flaw(f"Content-Length: {error.why}")
        length = None
    if length != len(message.body) and length is not None:
        _cut(message, length)
    return message


def _stated_length(message: Request | Response) -> int | None:
    """
    The one Content-Length, or None.

    Raises:
        FramingError: it is no number, or there are several; equal ones too, since one value is all
            that the grammar allows and who repeats it is trying something.
    """
    value = message.get("Content-Length")
    if value is None:
        return None
    if message.repeated() and len(message.all("Content-Length")) > 1:
        raise FramingError("more than one Content-Length", _answerable(message))
    try:
        return number("Content-Length", value, MAX_CONTENT_LENGTH)
    except HeaderError as error:
        raise FramingError(error.why, _answerable(message)) from error


def _answerable(message: Message) -> Request | None:
    return message if isinstance(message, Request) and message.method != "ACK" else None


def _cut(message: Request | Response, length: int) -> None:
    if length > len(message.body):
        why = f"Content-Length is {length}, the body has {len(message.body)} octets"
        raise FramingError(why, _answerable(message))
    message.keep_body(length)


class StreamFramer:
    """
    Cuts what one connection brings into messages.

    After an error, `error` says what was wrong and nothing more is read: answer
    `error.request` if there is one, then close.
    """

    def __init__(self) -> None:
        self.error: FramingError | None = None
        self.pings = 0
        """How many CRLF CRLF came between messages; each wants a CRLF back (RFC 5626 §3.5.1)."""
        self._buffer = bytearray()
        self._searched = 0
        """Up to here there is no end of a head."""
        self._message: Request | Response | None = None
        """A message whose body is still to come."""
        self._odd_line_end = 0
        """1 when half a ping has come."""
        self._head_length = 0
        self._body_length = 0

    def feed(self, data: bytes) -> list[Request | Response]:
        """The messages that are complete with this data, in order."""
        messages: list[Request | Response] = []
        if self.error is not None:
            return messages
        self._buffer += data
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except FramingError as error:
            self.error = error
        except MessageError as unread:  # what cannot be read cannot be skipped safely either
            self.error = FramingError(unread.why, unread.request, unread.status)
        if self.error is not None:
            self._buffer.clear()
            self._message = None
        return messages

    def _next(self) -> Request | Response | None:
        if self._message is None and not self._read_head():
            return None
        message, end = self._message, self._head_length + self._body_length
        if message is None or len(self._buffer) < end:
            return None
        message.complete(bytes(self._buffer[:end]), self._head_length)
        del self._buffer[:end]
        self._message = None
        self._searched = 0
        return message

    def _read_head(self) -> bool:
        """Look for the next head; the limits hold before anything of it is copied."""
        if not self._searched:
            self._skip_line_ends()
        end = self._buffer.find(_END_OF_HEAD, self._searched)
        if end < 0:
            if len(self._buffer) > MAX_MESSAGE:
                raise FramingError(f"a head of more than {MAX_MESSAGE} octets", status=513)
            self._searched = max(0, len(self._buffer) - len(_END_OF_HEAD) + 1)
            return False
        head_length = end + len(_END_OF_HEAD)
        if head_length > MAX_MESSAGE:
            raise FramingError(f"a head of more than {MAX_MESSAGE} octets", status=513)
        message = parse_head(bytes(self._buffer[:end]))
        length = _stated_length(message)
        if length is None:  # mandatory here, §18.3
            raise FramingError("no Content-Length in a stream", _answerable(message))
        if head_length + length > MAX_MESSAGE:
            raise FramingError(f"longer than {MAX_MESSAGE} octets", _answerable(message), 513)
        self._message, self._head_length, self._body_length = message, head_length, length
        return True

    def _skip_line_ends(self) -> None:
        """Empty lines before a start line are ignored (§7.5); two ask for a sign of life."""
        found = _line_ends(self._buffer)
        at = found.end() if found else 0
        del found  # it holds the buffer fast
        del self._buffer[:at]
        pairs, self._odd_line_end = divmod(at // 2 + self._odd_line_end, 2)
        self.pings += pairs
        if len(self._buffer) > 1:  # more than half a line end
            self._odd_line_end = 0
