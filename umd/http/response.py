"""Encodes replies as HTTP responses."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Final

from umd.http.exchange import TEXT_PLAIN, Reply
from umd.http.head import Head
from umd.http.refused import Refused

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ResponseEncoder:
    """
    Encodes replies, and adds the header fields that belong to HTTP itself.

    Args:
        wall: returns the time for Date, in seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._second = -1
        self._starts: dict[tuple[int, str], str] = {}
        """Beginnings of the responses of this second, by status and content type."""

    def encode(self, reply: Reply, head: Head | None, close: bool) -> bytes:
        """
        Encode a reply.

        Args:
            reply: what the response says.
            head: of the request; None if it was not readable.
            close: whether this is the last response on the connection.

        Raises:
            ValueError: the value of a header field is not printable, and might become two fields.
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
        encoded = f"{start}{len(body)}\r\n{fields}\r\n".encode("ascii")
        return encoded if head is not None and head.method == "HEAD" else encoded + body

    def _start(self, reply: Reply) -> str:
        content_type = f"Content-Type: {reply.content_type}\r\n" if reply.content_type else ""
        start = self._starts[reply.status, reply.content_type] = (
            f"HTTP/1.1 {reply.status} {reason_phrase(reply.status)}\r\n"
            f"Date: {formatdate(self._second, usegmt=True)}\r\n"
            f"{content_type}Content-Length: "
        )
        return start


def reason_phrase(status: int) -> str:
    """Return the words for a status, as in RFC 9110 section 15."""
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Other"


def reply_to_refused(refused: Refused) -> Reply:
    """Return the reply that says why a request is refused."""
    return Reply(refused.status, f"{refused}\n".encode(), TEXT_PLAIN, refused.headers)


@lru_cache(maxsize=32)
def retry_later(why: str, retry_after: float) -> Reply:
    """
    Return a 503 with Retry-After; cached, as an overloaded umd sends it often.

    Args:
        why: text for the client.
        retry_after: seconds, rounded up.
    """
    return Reply(503, f"{why}\n".encode(), TEXT_PLAIN, {"Retry-After": str(ceil(retry_after))})
