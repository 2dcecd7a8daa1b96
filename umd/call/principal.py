"""Who makes a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ANONYMOUS: Final = "anonymous"
"""The name of every client of a listener without authentication."""


class Scope(StrEnum):
    """A right, as it is written in the configuration."""

    END_OWN = "calls:end:own"
    """End and read the calls that the principal placed."""
    END_ANY = "calls:end:any"
    """End and read any call."""
    PLACE = "calls:place"
    """Place calls."""
    READ = "calls:read"
    """Read any call."""
    SETTINGS = "settings"
    """Read and change the settings and the PIN of the principal."""
    OPERATE = "operate"
    """
    Give up calls that umd cannot end.

    No SOAP operation needs this right. The requests of the command line come by the control socket,
    to which only umd's own user and root can connect; they have every right.
    """


MAX_NAME_LENGTH: Final = 256


def is_valid_name(text: str) -> bool:
    """Return whether a principal may have this name, which is logged and shown with their calls."""
    return 0 < len(text) <= MAX_NAME_LENGTH and text.isprintable()


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """The person or program that makes a request, as a listener identified it."""

    name: str
    address: str
    """The peer address of the request, for the log; empty if there is none."""
    scopes: frozenset[Scope] = ALL_SCOPES
    """What they may do; without authentication, everything."""
    identified: bool = True
    """Whether the name was authenticated; a client can claim any name."""

    @classmethod
    def anonymous(cls, address: str) -> Principal:
        """Return the principal of a listener without authentication."""
        return cls(ANONYMOUS, address, identified=False)
