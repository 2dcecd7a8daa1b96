"""What a simulated PBX sends over its control connection, and what it mirrors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

from umd.backend import BackendUnavailable, Direction, LegInUse


class Disconnected(BackendUnavailable):
    """The control connection to the PBX is broken."""


class ChannelInUse(LegInUse):
    """A live channel has the id that a new one should get."""


class Lie(StrEnum):
    """What a PBX says or does that is not so; real PBXs do each of these."""

    OK_AND_NOTHING_DONE = "ok-and-nothing-done"
    """It accepts each command to end a channel, and ends none."""
    ONE_SIDED_BYE = "one-sided-bye"
    """
    Of two bridged channels only one gets its BYE.

    A command for the other one, while that one ends, is accepted and forgotten.
    """
    END_EVENT_BEFORE_ANSWER = "end-event-before-answer"
    """It reports an end when it sends the BYE."""
    NO_END_EVENT = "no-end-event"
    STALE_LIST = "stale-list"
    """Its list is some seconds old: it has ended channels, and lacks new ones."""
    RINGING_IGNORED = "ringing-ignored"
    """It accepts a command to hang up a ringing channel, and does nothing; cancel works."""
    GONE_OVERTAKES_EVENT = "gone-overtakes-event"
    """Its events are late, so that an ended channel is unknown before its end is reported."""
    DOUBLE_EVENTS = "double-events"


class ChannelState(StrEnum):
    """The state of a channel, as the PBX shows it."""

    DIALLING = "dialling"
    RINGING = "ringing"
    UP = "up"
    ENDING = "ending"
    """Its BYE or CANCEL is on the way. Only a PBX that lists until answered shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelView:
    """A channel as the PBX shows it."""

    id: str
    name: str
    call_id: str
    """The SIP Call-ID of the dialog with its far end."""
    number: str
    state: ChannelState
    partner: str | None
    """The id of the channel with which it is bridged."""
    direction: Direction
    labels: tuple[str, ...]
    owner: str
    began_at: float
    """Wall time, seconds since the epoch."""


class EventKind(StrEnum):
    """What an event reports."""

    NEW = "new"
    CHANGED = "changed"
    """A state, a partner, an id or a label."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of the control connection; it has the whole channel."""

    kind: EventKind
    channel: ChannelView
    q850: int = 0
    """The cause of an end, of Q.850."""
    by_far_end: bool = False
    """Whether the far end ended the channel itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """The PBX's copy of a SIP message by which a far end leaves its call."""

    call_id: str
    status: int | None
    """The far end's final response; None: it sent a BYE itself."""
    rejects: bool = False
    """Whether the response rejects a call, rather than answering a BYE or a CANCEL."""


class Reply(Enum):
    """How the PBX answers a command."""

    OK = "ok"
    NO_SUCH_CHANNEL = "no such channel"


class Listener(Protocol):
    """The end of a control connection that is not the PBX."""

    def pbx_event(self, event: Event) -> None:
        """Take an event."""

    def mirrored(self, message: Mirrored) -> None:
        """Take a mirrored message. It takes a path of its own, also while not connected."""

    def connection_lost(self, reason: str) -> None:
        """Note that no more events come, and that those under way are lost."""


class ControlConnection(Protocol):
    """The verbs of a PBX. Each raises `Disconnected`."""

    def list(self) -> Sequence[ChannelView]:
        """Return all channels."""

    def get(self, channel: str) -> ChannelView | None:
        """Return one channel; None: the PBX has none of this id."""

    def hang_up(self, channel: str, q850: int) -> Reply:
        """End a channel."""

    def cancel(self, channel: str, q850: int) -> Reply:
        """End a channel that is not answered yet."""

    def originate(self, channel: str, number: str) -> ChannelView:
        """
        Dial a number on a new channel of this id, and return the channel.

        Raises:
            ChannelInUse
        """
