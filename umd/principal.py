"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANONYMOUS: Final = "anonymous"
"""The name of whoever asks where nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody a listener has identified."""

    name: str
    address: str
    """Where the request came from, for the log; empty when it has no address."""

    @classmethod
    def anonymous(cls, address: str) -> Principal:
        """Whoever asks where nobody is asked who they are."""
        return cls(ANONYMOUS, address)
