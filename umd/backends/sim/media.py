"""The sound of simulated legs: not made, but counted as it would cross."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from umd.backend import Answered, Ended, Gone, LegEvent, LegId, Media, MediaCount, Progressed

PACKET_TIME: Final = 0.02
"""Seconds of sound in one RTP packet, as is usual for G.711 (RFC 3551 section 4.2)."""


@dataclass(slots=True)
class _Sound:
    media: Media
    answered_at: float | None = None


class MediaCounter:
    """Counts the RTP packets of the legs that are to carry media; the time is handed in."""

    def __init__(self) -> None:
        self._sounds: dict[LegId, _Sound] = {}

    def expect(self, leg: LegId, media: Media) -> None:
        """The leg is about to be placed."""
        self._sounds[leg] = _Sound(media)

    def see(self, event: LegEvent, now: float) -> LegEvent:
        """Take note of what happened to a leg; its end is given back with the count."""
        sound = self._sounds.get(event.leg) if self._sounds else None
        if sound is None:
            return event
        match event:
            case Progressed():
                return event
            case Answered():
                sound.answered_at = now
                return event
            case Ended():
                del self._sounds[event.leg]
                return replace(event, media=_count(sound, now))
            case Gone():
                del self._sounds[event.leg]
                return event


def _count(sound: _Sound, now: float) -> MediaCount:
    if sound.answered_at is None:
        return MediaCount(sent=0, received=0)
    talked = now - sound.answered_at
    recorded = talked - sound.media.prompt_s if sound.media.record_to is not None else 0.0
    return MediaCount(
        sent=_packets(min(talked, sound.media.prompt_s)), received=_packets(max(recorded, 0.0))
    )


def _packets(seconds: float) -> int:
    # A millisecond more is no packet more: 0.06 s are three, whatever floats make of it.
    return int(seconds / PACKET_TIME + 1e-6)
