"""
From octets to requests, without I/O: heads and chunks go through llhttp, in whole messages.

llhttp says what is valid; where one message ends and the next begins is kept here, so that it is
never fed beyond: a single read can complete a thousand requests (hardening, check 19). An Upgrade
it never sees: it would take the body for what follows (finding 5, check 11). A head is fed once:
who sends the same octets again, as every client does on a connection that stays, gets the same
verdict.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import Final, TypeAlias

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from umd.http.head import (
    CHUNKED,
    Head,
    Refused,
    RequestLine,
    body_too_long,
    check_line,
    check_lines,
    check_trailers,
    check_unfinished,
    end_without_part_of_upgrade,
    read_head,
    without_upgrade,
)
from umd.http.limits import Limits

Incoming: TypeAlias = tuple[Head, bytes]
"""A request that has come whole: its head and its body, inflated."""

NOTHING: Final = "nothing"
HEAD: Final = "head"
BODY: Final = "body"

_END: Final = b"\r\n\r\n"
_EMPTY_LINES: Final = 4
"""CRLFs that some clients send after a body, and that are skipped (RFC 9112 section 2.2)."""


class Heads:
    """The heads that were read lately, by their octets; what is in here has passed every check."""

    LONGEST: Final = 2048
    MOST: Final = 512

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[bytes, Head] = {}

    @property
    def limits(self) -> Limits:
        """Setting it forgets what has passed by the old ones."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._known = {}

    def find(self, octets: bytes) -> Head | None:
        return self._known.get(octets)

    def keep(self, head: Head) -> None:
        if len(head.octets) <= self.LONGEST:
            while len(self._known) >= self.MOST:
                del self._known[next(iter(self._known))]
            self._known[head.octets] = head


class _Heard:
    """What llhttp reports of one message."""

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
        self.parser = None  # whose callbacks lead back here: a cycle
        self.head_done = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.done = True


class Reader:
    """
    Reads the requests of one connection.

    Args:
        heads: what all connections have read lately, and their limits.
    """

    __slots__ = (
        "complete", "refusal", "expected", "_heads", "_seen", "_part", "_kept", "_fed", "_line",
        "_parser", "_heard", "_head", "_pieces", "_missing", "_size", "_wire", "_chunks", "_blank",
    )  # fmt: skip

    def __init__(self, heads: Heads) -> None:
        self.complete: deque[Incoming] = deque()
        """Requests that have come whole, to be taken out from the left."""
        self.refusal: Refused | None = None
        """Why nothing more is read. What is complete was good and is to be answered before."""
        self.expected: Head | None = None
        """Of a request whose client waits to be told to send the body; whoever tells clears it."""
        self._heads = heads
        self._seen: Head | None = None
        self._kept = b""
        self._reset()

    @property
    def part(self) -> str:
        """Of which part of a request the octets have come so far."""
        if self._part is Reader._read_head_part:
            return NOTHING if self._kept in (b"", b"\r") else HEAD
        return BODY

    @property
    def received(self) -> int:
        """Octets of the unfinished body."""
        return self._size if self._part is Reader._read_sized else self._wire

    @property
    def held(self) -> int:
        """Octets kept of the unfinished request."""
        return len(self._kept) + self._size

    def receive(self, data: bytes) -> None:
        """Take what has come; then look at `complete` and `refusal`."""
        if self.refusal is not None:
            return
        seen = self._seen
        if seen is not None and self._part is Reader._read_head_part and not self._kept:
            # What nearly every read of a busy connection is: one request, its head known.
            start = len(seen.octets)
            if (
                len(data) - start == seen.length
                and data.startswith(seen.octets)
                and not seen.coding
                and seen.length <= self._heads.limits.max_body
                and seen.keep_alive
            ):
                self.complete.append((seen, data[start:]))
                return
        try:
            self._receive(data)
        except Refused as refused:
            self._stop(refused)
        except (HttpParserError, HttpParserUpgrade):
            # 21: once wrong, a parser is not fed again.
            self._stop(Refused(400, "This is not HTTP/1.1 as RFC 9112 has it."))

    def stop_as_flood(self) -> None:
        """Read nothing more: so many requests at once are refused, once the others are answered."""
        if self.refusal is None:
            self._stop(_flood(self._heads.limits.max_pipelined))

    def drop(self) -> None:
        """Forget what has come, and read nothing more."""
        self.complete.clear()
        self._stop(self.refusal or ENDED)

    def _receive(self, data: bytes) -> None:
        before = len(self.complete)
        most = self._heads.limits.max_pipelined
        while data:
            if len(self.complete) - before >= most and data.strip(b"\r\n"):  # 19
                raise _flood(most)
            data = self._part(self, data)
            if self.refusal is not None:
                return

    def _stop(self, refused: Refused | None) -> None:
        if self._heard is not None:
            self._heard.parser = None
        self._reset()
        self._kept = b""
        # Without its traceback, which would lead back here: a cycle for each damaged request.
        self.refusal = refused and refused.with_traceback(None)

    def _reset(self) -> None:
        self._part = Reader._read_head_part
        self._fed = 0
        self._line: RequestLine | None = None
        self._parser: HttpRequestParser | None = None
        self._heard: _Heard | None = None
        self._head: Head | None = None
        self._pieces: list[bytes] | None = None
        self._missing = 0
        self._size = 0
        self._wire = 0
        self._chunks = 0
        self._blank = 0

    # -- the head

    def _read_head_part(self, data: bytes) -> bytes:
        before = len(self._kept)
        kept = self._kept + data if before else data
        if kept[0] == 13:
            kept = self._skip_empty_lines(kept)
            if kept in (b"", b"\r"):
                self._kept = kept
                return b""
            before = 0
        limits = self._heads.limits
        end = kept.find(_END, max(0, before - 3), limits.max_head)
        if end < 0:
            check_unfinished(kept, limits)
            self._kept = kept
            self._feed_head(kept)
            return b""
        octets, rest = kept[: end + 4], kept[end + 4 :]
        head = self._heads.find(octets)
        if head is None:
            self._feed_head(octets)
            check_lines(octets.count(b"\r\n") - 2, limits)
            head = self._checked(octets)
        self._kept = b""
        self._seen = head
        self._begin_body(head, rest)
        return rest

    def _skip_empty_lines(self, kept: bytes) -> bytes:
        while kept.startswith(b"\r\n"):
            kept = kept[2:]
            self._blank += 1
            if self._blank > _EMPTY_LINES:
                raise Refused(400, "Empty lines come where a request should.")
        return kept

    def _feed_head(self, octets: bytes) -> None:
        """Let llhttp see what it has not seen of a head; it tells what is wrong before the end."""
        if self._parser is None:
            self._heard = _Heard()
            self._parser = self._heard.parser = HttpRequestParser(self._heard)
        if self._line is None:
            # Before llhttp sees anything, so that the verdict is the same however it was split.
            line, ends, _ = octets.partition(b"\n")
            if not ends:
                return
            self._line = check_line(line[:-1] if line.endswith(b"\r") else b"", self._heads.limits)
        fed, self._fed = self._fed, end_without_part_of_upgrade(octets)
        if fed < self._fed:
            self._parser.feed_data(without_upgrade(octets[: self._fed], fed))

    def _checked(self, octets: bytes) -> Head:
        heard = self._heard
        assert heard is not None and self._line is not None
        if heard.upgrade:  # 11
            raise Refused(400, "There is nothing to upgrade to here.")
        if not heard.head_done:
            raise Refused(400, "The head does not end where its empty line is.")
        head = read_head(octets, self._line, heard.fields, heard.keep_alive, self._heads.limits)
        self._heads.keep(head)
        return head

    # -- the body

    def _begin_body(self, head: Head, rest: bytes) -> None:
        self._head = head
        if head.length == CHUNKED:
            # Also a head that was known: llhttp has to see it for the chunks that follow.
            self._feed_head(head.octets)
            assert self._heard is not None
            self._heard.fields.clear()
            self._part = Reader._read_chunk_line
        elif head.length == 0:
            self._finish(b"")
            return
        elif head.length > self._heads.limits.max_body:
            raise body_too_long(self._heads.limits)
        else:
            self._parser = self._heard = None
            self._missing = head.length
            self._part = Reader._read_sized
        if head.expects_continue and not rest:
            self.expected = head

    def _read_sized(self, data: bytes) -> bytes:
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
        """The line with a chunk's size; llhttp says whether it is one."""
        line, rest = self._take_line(data)
        if line is None:
            return rest
        size = int(line.partition(b";")[0].strip(), 16)
        if size == 0:
            self._part = Reader._read_trailer
            return rest
        self._chunks += 1
        self._size += size
        limits = self._heads.limits
        if self._size > limits.max_body:  # 12
            raise body_too_long(limits)
        if self._chunks > limits.max_chunks:
            raise Refused(413, f"The body comes in more than {limits.max_chunks} chunks.")
        self._missing = size + 2
        self._part = Reader._read_chunk
        return rest

    def _read_chunk(self, data: bytes) -> bytes:
        piece, rest = data[: self._missing], data[self._missing :]
        self._feed(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._part = Reader._read_chunk_line
        return rest

    def _read_trailer(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line is None:
            return rest
        heard = self._heard
        assert heard is not None
        if heard.done:
            check_trailers(heard.fields, self._heads.limits)
            self._finish(b"".join(heard.pieces))
        elif line == b"\r\n":
            raise Refused(400, "The body does not end where its last chunk does.")
        return rest

    def _take_line(self, data: bytes) -> tuple[bytes | None, bytes]:
        """A line with its end, seen by llhttp, and what follows it; None while it has none."""
        end = data.find(b"\n") + 1
        piece, rest = (data[:end], data[end:]) if end else (data, b"")
        self._feed(piece)
        line = self._kept + piece
        self._kept = b"" if end else line
        return (line if end else None), rest

    def _feed(self, piece: bytes) -> None:
        self._wire += len(piece)
        if self._wire > 2 * self._heads.limits.max_body + 1024:  # 12
            raise Refused(413, "The chunks take far more room than what they carry.")
        assert self._parser is not None
        self._parser.feed_data(piece)

    def _finish(self, body: bytes) -> None:
        head = self._head
        assert head is not None
        if head.coding and body:
            body = _inflated(body, head.coding, self._heads.limits)
        self._reset()
        self.expected = None
        self.complete.append((head, body))
        if not head.keep_alive:
            # 20: whatever follows is not for us.
            self._stop(ENDED)


ENDED: Final = Refused(0, "The client asked for no more than this.")
"""The refusal after a request that is the last on its connection: nobody is told."""


def _flood(most: int) -> Refused:
    return Refused(400, f"More than {most} requests at once.")


def _inflated(body: bytes, coding: str, limits: Limits) -> bytes:
    """Inflate a body, never beyond the limit for one that was not compressed."""
    # "deflate" is zlib's format (RFC 9110 section 8.4.1.2); what some clients call so is without
    # its frame, which never begins with 8 in its lower four bits by any encoder's choice.
    raw = coding == "deflate" and body[0] & 15 != 8
    inflating = zlib.decompressobj(31 if coding == "gzip" else -15 if raw else 15)
    try:
        inflated = inflating.decompress(body, limits.max_body + 1)
    except zlib.error:
        raise Refused(400, f"The body is not {coding}, as its Content-Encoding says.") from None
    if len(inflated) > limits.max_body:
        raise body_too_long(limits)
    if not inflating.eof or inflating.unused_data:
        raise Refused(400, f"The body is not one whole {coding} stream.")
    return inflated
