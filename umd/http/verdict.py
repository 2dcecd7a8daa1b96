"""What authentication says about a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from umd.call.principal import Principal
from umd.http.exchange import Reply

Authenticated: TypeAlias = tuple[Principal, float]
"""A principal, and the monotonic time until which the same credentials need no further check."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The credentials are wrong. The response is delayed, and needs nothing of the request."""

    reply: Reply
    delay: float
    """Seconds."""


Verdict: TypeAlias = Authenticated | Denied | Reply
"""A `Reply` is sent at once: it asks for credentials, or says that umd cannot check them now."""
