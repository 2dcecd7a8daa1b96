"""Replies as octets: a fixed set of header fields, and never anything a client sent unescaped."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from math import ceil
from typing import Final

from umd.http.exchange import TEXT_PLAIN, Reply
from umd.http.head import Head, Refused, phrase

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answers:
    """
    Writes replies.

    Args:
        wall: the time for Date, seconds since the epoch; written once a second.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._second = -1
        self._starts: dict[tuple[int, str], str] = {}

    def write(self, reply: Reply, head: Head | None, close: bool) -> bytes:
        """
        Write a reply.

        Args:
            reply: what to say.
            head: of the request; None where it could not be read.
            close: whether it is the last one on the connection.

        Raises:
            ValueError: a header field would not stay one.
        """
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._starts = {}
        start = self._starts.get((reply.status, reply.content_type))
        if start is None:
            start = self._start(reply)
        body = reply.body
        fields = ""
        for name, value in reply.headers.items():
            if not value.isprintable():
                raise ValueError(f"the value of {name} is not printable")
            fields += f"{name}: {value}\r\n"
        if close:
            fields += "Connection: close\r\n"
        elif head is not None and head.says_keep_alive:
            fields += "Connection: keep-alive\r\n"
        written = f"{start}{len(body)}\r\n{fields}\r\n".encode("ascii")
        return written if head is not None and head.method == "HEAD" else written + body

    def _start(self, reply: Reply) -> str:
        """What the replies of one kind begin with during one second."""
        content_type = f"Content-Type: {reply.content_type}\r\n" if reply.content_type else ""
        start = self._starts[reply.status, reply.content_type] = (
            f"HTTP/1.1 {reply.status} {phrase(reply.status)}\r\n"
            f"Date: {formatdate(self._second, usegmt=True)}\r\n"
            f"{content_type}Content-Length: "
        )
        return start


def reply_of(refused: Refused) -> Reply:
    """The answer that says why nothing more is read."""
    return Reply(refused.status, f"{refused}\n".encode(), TEXT_PLAIN, refused.headers)


@lru_cache(maxsize=32)
def put_off(why: str, retry_after: float) -> Reply:
    """The answer to who may come again later; made once, as there is least time for it then."""
    return Reply(503, f"{why}\n".encode(), TEXT_PLAIN, {"Retry-After": str(ceil(retry_after))})
