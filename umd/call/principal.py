"""Who is asking, and what they may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ANONYMOUS: Final = "anonymous"
"""The name of whoever asks where nobody is asked who they are."""


class Scope(StrEnum):
    """One thing somebody may do."""

    END_OWN = "calls:end:own"
    """End and be told of the calls they placed."""
    END_ANY = "calls:end:any"
    """End and be told of any call."""
    PLACE = "calls:place"
    READ = "calls:read"
    """Be told of any call."""
    SETTINGS = "settings"
    """Read and change their own settings and PIN."""
    OPERATE = "operate"
    """
    What operators do. No operation of HTTP needs it: the console's requests come by its socket,
    which only umd's own user and root can connect to. It is for a console that others reach.
    """


LONGEST_NAME: Final = 256


def is_name(text: str) -> bool:
    """Whether somebody may be called so: it is recorded, logged and shown with their calls."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable()


EVERYTHING: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody a listener has identified."""

    name: str
    address: str
    """Where the request came from, for the log; empty when it has no address."""
    scopes: frozenset[Scope] = EVERYTHING
    """Where nobody is asked who they are, everybody may do everything."""
    identified: bool = True
    """Whether anybody has found out that it is them: a name alone says nothing."""

    @classmethod
    def anonymous(cls, address: str) -> Principal:
        """Whoever asks where nobody is asked who they are."""
        return cls(ANONYMOUS, address, identified=False)
