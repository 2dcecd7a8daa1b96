"""
Requests that differ from an earlier one in their CallId alone, read without parsing them again.

A client writes each Disconnect by the same code: the octets before and after the CallId are the
same as the last time. What libxml2 made of them then holds now, if the CallId holds nothing that
XML could take for more than text. `learn` makes sure that the octets between are the whole text of
the CallId element and nothing else: there is no comment, entity or CDATA section anywhere, the name
stands in one start tag and in the end tag that follows the value at once.
"""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_NAME: Final = b"CallId"
_TAG: Final = _NAME + b">"
_START: Final = re.compile(rb"<(?:[A-Za-z_][A-Za-z0-9._-]*:)?CallId>\Z")
_END: Final = re.compile(rb"</(?:[A-Za-z_][A-Za-z0-9._-]*:)?CallId>")
_VALUE: Final = re.compile(rb"[A-Za-z0-9+/_.@:-]{1,512}={0,2}")
_LONGEST: Final = 4096
"""Octets of a request that is learnt from."""


class Templates(Generic[T]):
    """
    What was read from requests, by the octets around their CallId.

    Args:
        most: how many are kept; the oldest goes first.
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._known: dict[tuple[str, bytes, bytes], T] = {}

    def find(self, body: bytes, charset: str = "") -> tuple[T, str] | None:
        """
        What was learnt from a request like this one, and the CallId of this one.

        Args:
            charset: of the Content-Type: the same octets can say something else by another.
        """
        start = body.find(_TAG) + len(_TAG)
        end = body.find(b"<", start)
        known = self._known.get((charset, body[:start], body[end:]))
        if known is None:
            return None
        value = body[start:end]
        if _VALUE.fullmatch(value) is None:
            return None
        return known, value.decode("ascii")

    def learn(self, body: bytes, call_id: object, read: T, charset: str = "") -> None:
        """
        Keep what was read from a request, if it holds for others like it.

        Args:
            body: the request.
            call_id: as libxml2 read it, the only value that the request gives.
            read: what all requests like it have in common.
            charset: see `find`.
        """
        if len(body) > _LONGEST or b"<!" in body or b"&" in body or body.count(_NAME) != 2:
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
        while len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[charset, body[:start], body[end:]] = read
