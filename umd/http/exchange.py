"""What passes between an HTTP front and what it serves; no front shows more of itself than this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from umd.call.principal import Principal

TEXT_XML: Final = "text/xml; charset=utf-8"
TEXT_HTML: Final = "text/html; charset=utf-8"
TEXT_PLAIN: Final = "text/plain; charset=utf-8"
REQUEST_ID: Final = "X-UMD-Request"
"""The header by which a client, and the log, name a request."""


@dataclass(slots=True)
class Reply:
    """
    An answer, which nobody changes.

    The front adds what belongs to HTTP itself (Date, Content-Length, Connection).
    """

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers; values are printable ASCII."""


@dataclass(slots=True)
class Request:
    """One request that has come whole; made by a front and not changed by anybody."""

    principal: Principal
    """Who is asking."""
    method: str
    """GET or POST; a HEAD is served as the GET whose body the front leaves out."""
    path: str
    """The target's, in its normal spelling; its case is the client's."""
    query: str
    """What follows the "?", undecoded; empty where there is none."""
    scheme: str
    """By which the client reached umd, or that of a target in absolute form: http or https."""
    host: str
    """As the client wrote it in the target or in Host, its port included; where it wrote none,
    where it came in."""
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


Serve: TypeAlias = Callable[[Request], Reply | Awaitable[Reply]]
"""
Serves one request.

It gives back the reply, or something to await for it. It may raise: the front then answers 500 and
logs. What is awaited is cancelled when the client goes away.
"""


def refusal(status: int, text: str, **headers: str) -> Reply:
    """An answer in plain words, for whoever looks at it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, f"{text}\n".encode(), TEXT_PLAIN, named)
