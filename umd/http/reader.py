"""
Reads the requests of one HTTP connection from octets, without I/O.

llhttp decides what is valid. This module finds where a message ends, so that llhttp never sees more
than one message at a time: a single read may hold a thousand requests. llhttp sees each head once;
a client that repeats a head on its connection gets the same `Head` from a cache.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final, TypeAlias

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from umd.http.content_coding import decode
from umd.http.head import (
    CHUNKED,
    Head,
    check_field_count,
    check_trailers,
    check_unfinished_head,
    read_head,
)
from umd.http.limits import Limits
from umd.http.refused import Refused, body_too_long
from umd.http.request_line import RequestLine, check_request_line
from umd.http.upgrade import safe_end, without_upgrade

CompleteRequest: TypeAlias = tuple[Head, bytes]
"""A head and its body, with the content coding removed."""


class Part(StrEnum):
    """The part of a request that is unfinished."""

    NONE = "none"
    """Nothing has come since the last request."""
    HEAD = "head"
    BODY = "body"


_END_OF_HEAD: Final = b"\r\n\r\n"
MAX_EMPTY_LINES: Final = 4
"""Some clients send CRLF after a body; it is skipped before a request (RFC 9112 section 2.2)."""

NO_MORE_REQUESTS: Final = Refused(0, "The client asked to close the connection.")
"""The refusal after the last request of a connection. The client gets no response for it."""


class HeadCache:
    """The heads that were read lately, by their octets. All of them have passed every check."""

    MAX_OCTETS_PER_HEAD: Final = 2048
    MAX_HEADS: Final = 512

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._heads: dict[bytes, Head] = {}

    @property
    def limits(self) -> Limits:
        """The limits by which the heads were checked; to set them empties the cache."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._heads = {}

    def find(self, octets: bytes) -> Head | None:
        """Return the head with these octets, or None."""
        return self._heads.get(octets)

    def keep(self, head: Head) -> None:
        """Add a head unless it is long; forget the oldest head if there are too many."""
        if len(head.octets) <= self.MAX_OCTETS_PER_HEAD:
            while len(self._heads) >= self.MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[head.octets] = head


class _Message:
    """Collects what llhttp reports about one message."""

    __slots__ = ("fields", "pieces", "keep_alive", "upgrade", "head_done", "done", "parser")

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.keep_alive = False
        self.upgrade = False
        self.head_done = False
        self.done = False
        self.parser: HttpRequestParser | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self.keep_alive = self.parser.should_keep_alive()
        self.upgrade = self.parser.should_upgrade()
        self.parser = None  # breaks a reference cycle: the parser's callbacks are bound to this
        self.head_done = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.done = True


class Reader:
    """
    Reads the requests of one connection.

    It is a state machine whose state is the method that reads the next octets: `_read_head_part`,
    `_read_sized_body`, `_read_chunk_line`, `_read_chunk` or `_read_trailer`. Each method takes the
    octets that have come and returns those that are left for the next method.

    Args:
        cache: the heads that all connections have read lately, and the limits.
    """

    __slots__ = (
        "complete", "refusal", "awaits_continue", "_cache", "_last_head", "_read_part", "_unread",
        "_fed", "_line", "_parser", "_message", "_head", "_pieces", "_missing", "_size",
        "_wire_size", "_chunks", "_empty_lines",
    )  # fmt: skip

    def __init__(self, cache: HeadCache) -> None:
        self.complete: deque[CompleteRequest] = deque()
        """Complete requests, the oldest on the left. The connection removes them."""
        self.refusal: Refused | None = None
        """Why nothing more is read. The requests in `complete` are to be answered first."""
        self.awaits_continue = False
        """Whether the client waits for "100 Continue"; reset by the connection that sends it."""
        self._cache = cache
        self._last_head: Head | None = None
        self._unread = b""
        self._reset()

    @property
    def part(self) -> Part:
        """The part of a request that is unfinished."""
        if self._read_part is Reader._read_head_part:
            return Part.NONE if self._unread in (b"", b"\r") else Part.HEAD
        return Part.BODY

    @property
    def body_received(self) -> int:
        """Octets of the unfinished body that have come, with their framing."""
        return self._size if self._read_part is Reader._read_sized_body else self._wire_size

    @property
    def buffered(self) -> int:
        """Octets in memory that belong to the unfinished request."""
        return len(self._unread) + self._size

    def receive(self, data: bytes) -> None:
        """Read octets. Requests are added to `complete`, an error is set as `refusal`."""
        if self.refusal is not None:
            return
        last_head = self._last_head
        if last_head is not None and not self._unread and self._read_part is Reader._read_head_part:
            # The usual read of a busy connection: one request, with the same head as before.
            start = len(last_head.octets)
            if (
                len(data) - start == last_head.length
                and data.startswith(last_head.octets)
                and not last_head.coding
                and last_head.length <= self._cache.limits.max_body
                and last_head.keep_alive
            ):
                self.complete.append((last_head, data[start:]))
                return
        try:
            self._receive(data)
        except Refused as refused:
            self._stop(refused)
        except (HttpParserError, HttpParserUpgrade):
            # llhttp must not be fed after an error.
            self._stop(Refused(400, "This is not HTTP/1.1 as in RFC 9112."))

    def refuse_flood(self) -> None:
        """Read nothing more, as too many requests came at once."""
        if self.refusal is None:
            self._stop(_flood(self._cache.limits.max_pipelined))

    def drop(self) -> None:
        """Forget all input, and read nothing more."""
        self.complete.clear()
        self._stop(self.refusal or NO_MORE_REQUESTS)

    def _receive(self, data: bytes) -> None:
        before = len(self.complete)
        limit = self._cache.limits.max_pipelined
        while data:
            if len(self.complete) - before >= limit and data.strip(b"\r\n"):
                raise _flood(limit)
            data = self._read_part(self, data)
            if self.refusal is not None:
                return

    def _stop(self, refused: Refused | None) -> None:
        if self._message is not None:
            self._message.parser = None
        self._reset()
        self._unread = b""
        # The traceback refers to this frame: a reference cycle for each damaged request.
        self.refusal = refused and refused.with_traceback(None)

    def _reset(self) -> None:
        self._read_part = Reader._read_head_part
        self._fed = 0
        self._line: RequestLine | None = None
        self._parser: HttpRequestParser | None = None
        self._message: _Message | None = None
        self._head: Head | None = None
        self._pieces: list[bytes] | None = None
        self._missing = 0
        self._size = 0
        self._wire_size = 0
        self._chunks = 0
        self._empty_lines = 0

    # -- the head

    def _read_head_part(self, data: bytes) -> bytes:
        before = len(self._unread)
        unread = self._unread + data if before else data
        if unread[0] == 13:
            unread = self._skip_empty_lines(unread)
            if unread in (b"", b"\r"):
                self._unread = unread
                return b""
            before = 0
        limits = self._cache.limits
        end = unread.find(_END_OF_HEAD, max(0, before - 3), limits.max_head)
        if end < 0:
            check_unfinished_head(unread, limits)
            self._unread = unread
            self._feed_head(unread)
            return b""
        octets, rest = unread[: end + 4], unread[end + 4 :]
        head = self._cache.find(octets)
        if head is None:
            self._feed_head(octets)
            check_field_count(octets.count(b"\r\n") - 2, limits)
            head = self._check_head(octets)
        self._unread = b""
        self._last_head = head
        self._begin_body(head, rest)
        return rest

    def _skip_empty_lines(self, unread: bytes) -> bytes:
        while unread.startswith(b"\r\n"):
            unread = unread[2:]
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise Refused(400, "Empty lines come where a request should.")
        return unread

    def _feed_head(self, octets: bytes) -> None:
        """Feed llhttp the new octets of a head; llhttp may find an error before the head ends."""
        if self._parser is None:
            self._message = _Message()
            self._parser = self._message.parser = HttpRequestParser(self._message)
        if self._line is None:
            # Before llhttp sees any octet: the verdict must not depend on how reads split the line.
            line, line_end, _ = octets.partition(b"\n")
            if not line_end:
                return
            line = line[:-1] if line.endswith(b"\r") else b""
            self._line = check_request_line(line, self._cache.limits)
        fed, self._fed = self._fed, safe_end(octets)
        if fed < self._fed:
            self._parser.feed_data(without_upgrade(octets[: self._fed], fed))

    def _check_head(self, octets: bytes) -> Head:
        message = self._message
        assert message is not None and self._line is not None
        if message.upgrade:
            raise Refused(400, "umd does not upgrade to another protocol.")
        if not message.head_done:
            raise Refused(400, "The head does not end where its empty line is.")
        head = read_head(octets, self._line, message.fields, message.keep_alive, self._cache.limits)
        self._cache.keep(head)
        return head

    # -- the body

    def _begin_body(self, head: Head, rest: bytes) -> None:
        self._head = head
        if head.length == CHUNKED:
            # A head from the cache too: llhttp needs it to parse the chunks that follow.
            self._feed_head(head.octets)
            assert self._message is not None
            self._message.fields.clear()
            self._read_part = Reader._read_chunk_line
        elif head.length == 0:
            self._finish(b"")
            return
        elif head.length > self._cache.limits.max_body:
            raise body_too_long(self._cache.limits)
        else:
            self._parser = self._message = None
            self._missing = head.length
            self._read_part = Reader._read_sized_body
        if head.expects_continue and not rest:
            self.awaits_continue = True

    def _read_sized_body(self, data: bytes) -> bytes:
        missing = self._missing
        if len(data) < missing:
            if self._pieces is None:
                self._pieces = []
            self._pieces.append(data)
            self._size += len(data)
            self._missing = missing - len(data)
            return b""
        body, rest = data[:missing], data[missing:]
        if self._pieces:
            self._pieces.append(body)
            body = b"".join(self._pieces)
        self._finish(body)
        return rest

    def _read_chunk_line(self, data: bytes) -> bytes:
        """Read the line with the size of a chunk; llhttp checks its syntax."""
        line, rest = self._take_line(data)
        if line is None:
            return rest
        size = int(line.partition(b";")[0].strip(), 16)
        if size == 0:
            self._read_part = Reader._read_trailer
            return rest
        self._chunks += 1
        self._size += size
        limits = self._cache.limits
        if self._size > limits.max_body:
            raise body_too_long(limits)
        if self._chunks > limits.max_chunks:
            raise Refused(413, f"The body comes in more than {limits.max_chunks} chunks.")
        self._missing = size + 2
        self._read_part = Reader._read_chunk
        return rest

    def _read_chunk(self, data: bytes) -> bytes:
        piece, rest = data[: self._missing], data[self._missing :]
        self._feed(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._read_part = Reader._read_chunk_line
        return rest

    def _read_trailer(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line is None:
            return rest
        message = self._message
        assert message is not None
        if message.done:
            check_trailers(message.fields, self._cache.limits)
            self._finish(b"".join(message.pieces))
        elif line == b"\r\n":
            raise Refused(400, "The body does not end where its last chunk does.")
        return rest

    def _take_line(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Feed llhttp up to the end of a line. Return the line, or None, and the octets behind."""
        end = data.find(b"\n") + 1
        piece, rest = (data[:end], data[end:]) if end else (data, b"")
        self._feed(piece)
        line = self._unread + piece
        self._unread = b"" if end else line
        return (line if end else None), rest

    def _feed(self, piece: bytes) -> None:
        self._wire_size += len(piece)
        if self._wire_size > 2 * self._cache.limits.max_body + 1024:
            raise Refused(413, "The chunks take far more octets than the body in them.")
        assert self._parser is not None
        self._parser.feed_data(piece)

    def _finish(self, body: bytes) -> None:
        head = self._head
        assert head is not None
        if head.coding and body:
            body = decode(body, head.coding, self._cache.limits)
        self._reset()
        self.awaits_continue = False
        self.complete.append((head, body))
        if not head.keep_alive:
            self._stop(NO_MORE_REQUESTS)


def _flood(limit: int) -> Refused:
    return Refused(400, f"More than {limit} requests at once.")
