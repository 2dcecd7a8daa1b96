"""Which live calls are suspect: they may be zombies, which nothing ends any more."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from umd.call.call import Call, CallState
from umd.control.settings import ControlSettings

UNANSWERED_AFTER: Final = 32.0
"""Seconds, 64 T1: after that a far end sends no more answer (RFC 3261 section 17.1.2.2)."""


class Suspicion(StrEnum):
    """Why a live call is suspect."""

    TOO_OLD = "too-old"
    """It has lasted longer than `call.suspect_age`, or than its own `call.max_age`."""
    UNANSWERED = "unanswered"
    """Its end was requested more than `UNANSWERED_AFTER` seconds ago."""


def suspicion_of(call: Call, now: float, settings: ControlSettings) -> Suspicion | None:
    """
    Return why a live call is suspect; None: it is not.

    Args:
        now: wall time, seconds since the epoch.
    """
    if call.state is CallState.DISCONNECTING and now - call.asked_at > UNANSWERED_AFTER:
        return Suspicion.UNANSWERED
    limits = [limit for limit in (call.max_age, settings.suspect_age) if limit]
    if limits and now - call.began_at > min(limits):
        return Suspicion.TOO_OLD
    return None
