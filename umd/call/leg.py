"""The events of a leg, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from umd.call.alias import Aliases
from umd.call.cause import Cause

LegId = NewType("LegId", str)
"""The name of a leg, unique within its backend; at most 255 printable characters."""


class Direction(StrEnum):
    """Which side of a leg called the other."""

    INBOUND = "inbound"
    """The far end called the PBX."""
    OUTBOUND = "outbound"
    """The PBX called the far end."""


class Proof(StrEnum):
    """What shows that a leg has ended. Only the first three confirm the end."""

    FAR_END = "far-end"
    """The far end ended the leg itself, or answered the request that ends it."""
    SECOND_LOOK = "second-look"
    """
    The PBX was asked again after the end, and no longer has the leg.

    Only for a PBX that lists a leg until its far end has answered. Asterisk, for example, forgets a
    channel when it sends the BYE.
    """
    NOT_DIALLED = "not-dialled"
    """Nothing was sent to a far end, so no far end has a call to end."""
    PBX = "pbx"
    """The PBX reported the end. Whether the far end has answered is not known."""
    NONE = "none"
    """Nothing: the backend gave up waiting."""


_CONFIRMING = (Proof.FAR_END, Proof.SECOND_LOOK, Proof.NOT_DIALLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What to play and to record on a leg once it is answered."""

    prompt: str
    """Path of a WAV file: 8 kHz, mono, 16 bits."""
    prompt_s: float
    """Length of the prompt, in seconds."""
    record_to: str | None = None
    """
    Path of the WAV file to which the far end is recorded after the prompt.

    Empty: the far end is heard, but nothing is kept. None: nothing is recorded.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCount:
    """How many RTP packets of 20 ms a leg sent and received."""

    sent: int
    received: int
    """Only packets that were to be recorded are counted."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """The far end rings."""

    leg: LegId


@dataclass(frozen=True, slots=True)
class Answered:
    """The far end answered."""

    leg: LegId


@dataclass(slots=True)
class Ended:
    """
    The leg has ended: its last event, reported exactly once. Treat it as immutable.

    Raises:
        ValueError: `shown_by` is no proof.
    """

    leg: LegId
    cause: Cause
    confirmed: bool = True
    """
    Whether the far end confirmed the end; False: the backend gave up waiting for it.

    If `shown_by` is given, `confirmed` follows from it.
    """
    media: MediaCount | None = None
    """The RTP packets of a leg that was placed with media."""
    shown_by: Proof | None = None
    """What shows the end; None: `FAR_END` if `confirmed`, else `NONE`."""
    caused_by: LegId | None = None
    """The leg whose end brought this one about, for example the other leg of a bridge."""

    def __post_init__(self) -> None:
        if self.shown_by is None:
            self.shown_by = Proof.FAR_END if self.confirmed else Proof.NONE
        else:
            # A text becomes its member; one that names no proof must not reach the journal.
            self.shown_by = Proof(self.shown_by)
            self.confirmed = self.shown_by in _CONFIRMING


@dataclass(frozen=True, slots=True)
class Gone:
    """
    The PBX or the peer no longer knows the leg, and its end was not reported.

    It is the last event of a leg, in place of `Ended`. The call ends as `Lost`.
    """

    leg: LegId
    reason: str
    """For people to read: which system was queried, and what it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """
    What is known of a leg has changed on the PBX, for example after a transfer.

    Each field has the full new value; None: unchanged.
    """

    leg: LegId
    aliases: Aliases | None = None
    """All ids of the leg by their kind, as in `FoundLeg.aliases`."""
    partners: tuple[LegId, ...] | None = None
    """All legs with which the leg is bridged; empty: none any more."""
    labels: tuple[str, ...] | None = None
    number: str | None = None
    """The number of the far end, for display."""


LegEvent = Progressed | Answered | Ended | Gone | Changed
"""What a backend reports of a leg."""
