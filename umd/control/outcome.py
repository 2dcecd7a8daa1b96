"""How a request to end a call is answered."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The reply to a request to end a known call; the end event has an outcome of its own."""

    ENDED = "ended"
    """The far end confirmed the end."""
    ENDED_UNCONFIRMED = "ended-unconfirmed"
    """umd replies without a confirmation: the deadline passed, or the call is over without one."""
    ALREADY_ENDED = "already-ended"
    """The call had ended before the request."""
