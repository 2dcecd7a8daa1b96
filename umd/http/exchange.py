"""Requests and replies: what the HTTP front exchanges with the service behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from umd.call.principal import Principal

TEXT_XML: Final = "text/xml; charset=utf-8"
TEXT_HTML: Final = "text/html; charset=utf-8"
TEXT_PLAIN: Final = "text/plain; charset=utf-8"
REQUEST_ID: Final = "X-UMD-Request"
"""The response header field with the id of a request, which is in the log too."""


@dataclass(slots=True)
class Reply:
    """
    The reply to a request; not changed after it is made.

    The front adds the header fields of HTTP itself: Date, Content-Length and Connection.
    """

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further header fields. Values are printable ASCII."""


@dataclass(slots=True)
class Request:
    """A complete request; not changed after the front has made it."""

    principal: Principal
    """The authenticated user, or the anonymous principal."""
    method: str
    """GET or POST. A HEAD is served as a GET, and the front omits the body of the response."""
    path: str
    """Path of the target, normalised but for its case."""
    query: str
    """The part of the target after "?", not decoded; empty without."""
    scheme: str
    """Scheme of a target in absolute form, else of the connection: "http" or "https"."""
    host: str
    """
    Host and port as the client wrote them in the target or in Host; without either, umd's own
    address on this connection.
    """
    headers: Mapping[str, str]
    """Values by lower-case name."""
    body: bytes
    """With content coding removed."""


Serve: TypeAlias = Callable[[Request], Reply | Awaitable[Reply]]
"""
Serves one request: returns the reply, or an awaitable that makes it.

If it raises, the front logs the error and replies with 500. If the client leaves, the front cancels
what is awaited.
"""


def refusal(status: int, text: str, **headers: str) -> Reply:
    """
    Return a reply in plain text.

    Args:
        status: of the response.
        text: one line for the person who reads the response.
        headers: further header fields, with "_" for "-" in their names.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, f"{text}\n".encode(), TEXT_PLAIN, named)
