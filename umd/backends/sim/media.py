"""Counts the RTP packets that the simulated legs would exchange; there is no real sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from umd.backend import (
    Answered,
    Changed,
    Ended,
    Gone,
    LegEvent,
    LegId,
    Media,
    MediaCount,
    Progressed,
)

PACKET_TIME: Final = 0.02
"""Seconds of sound in one RTP packet, the default for G.711 (RFC 3551 section 4.2)."""


@dataclass(slots=True)
class _Leg:
    media: Media
    answered_at: float | None = None  # seconds on the clock


class MediaCounter:
    """The legs that carry media, and the packets of each. The caller supplies the time."""

    def __init__(self) -> None:
        self._legs: dict[LegId, _Leg] = {}

    def expect(self, leg: LegId, media: Media) -> None:
        """Note the media of a leg that is about to be placed."""
        self._legs[leg] = _Leg(media)

    def count(self, event: LegEvent, now: float) -> LegEvent:
        """Note an event of a leg and return it; its end is returned with the packet counts."""
        leg = self._legs.get(event.leg) if self._legs else None
        if leg is None:
            return event
        match event:
            case Progressed() | Changed():
                return event
            case Answered():
                leg.answered_at = now
                return event
            case Ended():
                del self._legs[event.leg]
                return replace(event, media=_packets_of(leg, now))
            case Gone():
                del self._legs[event.leg]
                return event


def _packets_of(leg: _Leg, now: float) -> MediaCount:
    if leg.answered_at is None:
        return MediaCount(sent=0, received=0)
    connected = now - leg.answered_at
    recorded = connected - leg.media.prompt_s if leg.media.record_to is not None else 0.0
    return MediaCount(
        sent=_packets(min(connected, leg.media.prompt_s)), received=_packets(max(recorded, 0.0))
    )


def _packets(seconds: float) -> int:
    # Rounding may leave a difference of two times a little short of a whole packet.
    return int(seconds / PACKET_TIME + 1e-6)
