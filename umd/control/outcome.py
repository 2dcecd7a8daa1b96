"""How a request to end a call is answered."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a request to end a call that exists."""

    ENDED = "ended"
    """The far end confirmed the end."""
    ENDED_UNCONFIRMED = "ended-unconfirmed"
    """The far end did not confirm the end before the deadline."""
    ALREADY_ENDED = "already-ended"
    """The call had ended before the request."""
