"""
The door to whatever keeps the journal: the Protocol that a store obeys.

The embedded one is `umd.journal.sqlite`; a database server or a stream can stand behind the same
door. A store knows of a record which call it is about, whether the call begins or ends with it, and
when it was; the rest are octets to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from umd.errors import UmdError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class CannotOpen(UmdError):
    """There is no journal to be had; the text says what is in the way, and the way round it."""


class Step(IntEnum):
    """What a record is in the life of its call."""

    BEGINS = 1
    GOES_ON = 0
    ENDS = -1


class Row(NamedTuple):
    """A record to be kept."""

    call: str
    step: int
    """A `Step`."""
    at: float
    """Wall time, seconds since the epoch."""
    record: bytes
    extra: bytes | None
    """What belongs to it: how to restore the leg; with the end of a call the messages of it."""


class Stored(NamedTuple):
    """A record that is kept."""

    position: int
    """Counts from 1, and grows with every record: the cursor of a reader."""
    call: str
    at: float
    record: bytes
    extra: bytes | None


class Store(Protocol):
    """
    Keeps records in order.

    `open`, `live` and `ended` block, and are for the start; everything else returns at once.
    """

    trouble: str | None
    """Why nothing can be written at the moment; None while all is well."""

    def open(self) -> None:
        """
        Take the journal for this process alone, and begin to write.

        Raises:
            CannotOpen
        """

    def live(self) -> Iterator[list[Stored]]:
        """
        The records of each call that has begun and not ended, in their order; the call that began
        first comes first.
        """

    def ended(self, since: float, limit: int) -> list[Stored]:
        """The last records of the calls that ended last, after `since`; the oldest first."""

    def append(
        self, row: Row, then: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        """Keep a record; `then(argument)` is called, in a later turn, once it is durable."""

    def flush(self, then: Callable[[Any], None], argument: Any = None) -> None:
        """Call `then(argument)`, in a later turn, once all that was appended is durable."""

    def read(self, after: int, limit: int, call: str | None = None) -> Deferred[list[Stored]]:
        """
        The first records behind a position, of one call or of all.

        Args:
            after: the position of the last one read; 0 at the beginning.
            limit: at most so many.
            call: the whole id of a call.
        """

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        """The ids of the calls that begin like this, whole ids or beginnings; at most so many."""

    def close(self) -> Deferred[None]:
        """Write what there is to write, and let go of the journal."""
