"""What passes between an HTTP front and what it serves; no front shows more of itself than this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from umd.principal import Principal

TEXT_XML: Final = "text/xml; charset=utf-8"
TEXT_PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the front adds what belongs to HTTP itself (Date, Content-Length, Connection)."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers; values are printable ASCII."""


Serve: TypeAlias = Callable[[Principal, str, Mapping[str, str], bytes], Awaitable[Reply]]
"""
`serve(principal, path, headers, body)` for each POST whose body has come whole.

`path` is the target without its query, as the client spelled it; `headers` by lower-case name.
It may raise: the front then answers 500 and logs. It is cancelled when the client goes away.
"""


def refusal(status: int, text: str, **headers: str) -> Reply:
    """An answer in plain words, for whoever looks at it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, f"{text}\n".encode(), TEXT_PLAIN, named)
