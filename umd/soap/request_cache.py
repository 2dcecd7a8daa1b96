"""
Caches parsed requests, so that a request that differs only in its CallId is not parsed again.

A client writes each Disconnect by the same code, so the octets around the CallId stay the same. So
the earlier result of libxml2 is also valid for the next request, if the new CallId is plain text.
`add` only caches a request whose CallId element holds the value and nothing else: the document has
no comment, entity or CDATA section, and the name CallId occurs only in one start tag and in the end
tag right after the value.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_REQUESTS: Final = 256
MAX_OCTETS: Final = 4096
"""Octets of a request that is cached."""

_NAME: Final = b"CallId"
_TAG: Final = _NAME + b">"
_START: Final = re.compile(rb"<(?:[A-Za-z_][A-Za-z0-9._-]*:)?CallId>\Z")
_END: Final = re.compile(rb"</(?:[A-Za-z_][A-Za-z0-9._-]*:)?CallId>")
_VALUE: Final = re.compile(rb"[A-Za-z0-9+/_.@:-]{1,512}={0,2}")


class RequestCache(Generic[T]):
    """
    Parsed requests by the octets around their CallId.

    Args:
        max_requests: how many are kept; the oldest is dropped first.
    """

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        self._max_requests = max_requests
        self._requests: dict[tuple[str, bytes, bytes], T] = {}

    def find(self, body: bytes, charset: str = "") -> tuple[T, str] | None:
        """
        Return the cached request with the same octets around its CallId, and this body's CallId.

        Args:
            charset: of the Content-Type; the same octets may mean something else in another one.
        """
        start = body.find(_TAG) + len(_TAG)
        end = body.find(b"<", start)
        cached = self._requests.get((charset, body[:start], body[end:]))
        if cached is None:
            return None
        value = body[start:end]
        if _VALUE.fullmatch(value) is None:
            return None
        return cached, value.decode("ascii")

    def add(self, body: bytes, call_id: object, request: T, charset: str = "") -> None:
        """
        Cache a request, if the octets around its CallId determine all the rest of it.

        Args:
            call_id: the CallId that libxml2 read; the request must have no other value.
            request: what all requests with the same octets around their CallId share.
            charset: see `find`.
        """
        if len(body) > MAX_OCTETS or b"<!" in body or b"&" in body or body.count(_NAME) != 2:
            return
        start = body.find(_TAG) + len(_TAG)
        end = body.find(b"<", start)
        value = body[start:end]
        if (
            _START.search(body, 0, start) is None
            or _END.match(body, end) is None
            or _VALUE.fullmatch(value) is None
            or value.decode("ascii") != call_id
        ):
            return
        while len(self._requests) >= self._max_requests:
            del self._requests[next(iter(self._requests))]
        self._requests[charset, body[:start], body[end:]] = request
