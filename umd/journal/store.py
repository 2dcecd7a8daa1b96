"""
What umd needs of a journal: the Protocol that a store implements, and the records it keeps.

`umd.journal.sqlite` implements it with a SQLite file; a database server could do so too. A store
knows to which call a record belongs, whether the call begins or ends with it, and its time. The
record itself is octets to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from umd.errors import UmdError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class CannotOpen(UmdError):
    """The journal cannot be opened; the text says why, and what the operator can do."""


class Step(IntEnum):
    """The part that a record has in the life of its call."""

    BEGINS = 1
    GOES_ON = 0
    ENDS = -1


class Row(NamedTuple):
    """A record to be written to the journal."""

    position: int
    """The number of the record: the `next_position` of its store."""
    call: str
    """The id of the call."""
    step: int
    """A `Step`."""
    at: float
    """Wall time, seconds since the epoch."""
    record: bytes
    """The event as JSON, made by `umd.call.record.encode`."""
    extra: bytes | None
    """
    What a backend needs to restore the leg after a restart, written by the backend.

    With the end of a call: the summaries of its SIP messages (`umd.trace.summary`).
    """
    begun: int
    """The position of the first record of the call, which may be this record."""


class Stored(NamedTuple):
    """A record as it is read from the journal."""

    position: int
    """The number of the record, from 1. It grows with each record, and readers use it as cursor."""
    call: str
    at: float
    record: bytes
    extra: bytes | None


class Store(Protocol):
    """
    Keeps records in the order in which they are appended.

    `open`, `live` and `ended` block; umd calls them while it starts. Everything else returns at
    once.
    """

    trouble: str | None
    """Why nothing can be written at the moment; None: records can be written."""
    next_position: int
    """The position of the next record to be appended, known once the journal is open."""

    def open(self) -> None:
        """
        Open the journal for this process alone.

        Raises:
            CannotOpen: the text says why.
        """

    def live(self) -> Iterator[tuple[int, list[Stored]]]:
        """
        Yield each call that has begun and not ended: its first position, and its records.

        The records of a call are in their order, and the calls in the order of their first record.
        """

    def ended(self, since: float, limit: int) -> list[Stored]:
        """
        Return the last records of the calls that ended most recently, the oldest first.

        Args:
            since: wall time in seconds since the epoch; calls that ended before it do not count.
            limit: how many records at most.
        """

    def append(
        self, row: Row, then: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        """
        Write the record whose position is `next_position`.

        `then(argument)` is called once the record is durable, in a later turn.
        """

    def flush(self, then: Callable[[Any], None], argument: Any = None) -> None:
        """Call `then(argument)`, in a later turn, once all records appended so far are durable."""

    def read(self, after: int, limit: int, call: str | None = None) -> Deferred[list[Stored]]:
        """
        Return the first records behind a position, of one call or of all.

        Args:
            after: the position of the last record read before; 0 reads from the beginning.
            limit: how many records at most.
            call: the full id of a call; None: all calls.
        """

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        """Return the ids of the calls whose id begins with `text`, at most `limit` of them."""

    def close(self) -> Deferred[None]:
        """Write the records that wait to be written, and close the journal."""
