"""
The life of one HTTP connection as a state machine: its phases and the table of transitions.

The table is the only place that says which phase follows which. It knows neither requests nor
sockets: `umd.http.connection` acts on the phases.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from umd.errors import UmdError


class Phase(StrEnum):
    """A phase in the life of a connection."""

    HANDSHAKE = "handshake"
    """The TLS handshake is under way. A connection without TLS begins with `NEW`."""
    NEW = "new"
    """The client has not sent any octet of HTTP yet."""
    OPEN = "open"
    """Requests are read and answered."""
    ENDING = "ending"
    """The last response is written, but the client has not taken all of it. Input is ignored."""
    CLOSED = "closed"
    """The transport has all octets and is told to close. The client has not closed its side yet."""
    LOST = "lost"
    """The transport is gone."""


class Event(StrEnum):
    """Something that may change the phase of a connection."""

    HANDSHAKE_COMPLETED = "handshake completed"
    FIRST_DATA = "first data"
    """The client sent the first octets of HTTP."""
    END = "end"
    """The last response is written, or there is none to write."""
    CLOSE = "close"
    """The transport is told to close, gracefully or by a reset."""
    LOSE = "lose"
    """The transport reports that the connection is gone."""


class IllegalEvent(UmdError):
    """The table has no row for this event in this phase: an error in umd."""


_ALWAYS: Final = {Event.CLOSE: Phase.CLOSED, Event.LOSE: Phase.LOST}

TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = {
    Phase.HANDSHAKE: {
        Event.HANDSHAKE_COMPLETED: Phase.NEW, Event.END: Phase.ENDING, **_ALWAYS,
    },
    Phase.NEW: {Event.FIRST_DATA: Phase.OPEN, Event.END: Phase.ENDING, **_ALWAYS},
    Phase.OPEN: {Event.END: Phase.ENDING, **_ALWAYS},
    # A handshake may complete after the response for a connection too many is written.
    Phase.ENDING: {Event.HANDSHAKE_COMPLETED: Phase.ENDING, Event.END: Phase.ENDING, **_ALWAYS},
    Phase.CLOSED: {Event.HANDSHAKE_COMPLETED: Phase.CLOSED, Event.END: Phase.CLOSED, **_ALWAYS},
    # The server may end or close a connection in the same turn in which it is lost.
    Phase.LOST: {Event.END: Phase.LOST, Event.CLOSE: Phase.LOST},
}  # fmt: skip
"""The phase that follows each phase at each event. An event that is absent is illegal."""

ACCEPTING: Final = (Phase.HANDSHAKE, Phase.NEW, Phase.OPEN)
"""The phases in which the client may still send a request."""


def next_phase(phase: Phase, event: Event) -> Phase:
    """
    Return the phase that follows.

    Raises:
        IllegalEvent
    """
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise IllegalEvent(f"{event} of a connection in phase {phase}") from None
