"""Reads a journal in SQLite: its records, and its index to check it."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from umd.journal.schema import EventRow
from umd.journal.store import CannotOpen, Stored

_COLUMNS: Final = "position, call, at, record, extra"
"""The columns of a `Stored` record."""


class JournalQueries:
    """
    The read access that a journal in use and a journal that is only read have in common.

    Args:
        path: the path of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.last = 0
        """The position of the last record."""
        self._db: sqlite3.Connection | None = None
        self._indexed = 0
        """The position of the last event that is in the index."""

    @abstractmethod
    def update_index(self) -> None:
        """Add the latest events to the index, which then knows every event."""

    # -- the records

    def live(self) -> Iterator[tuple[int, list[Stored]]]:
        """Yield the records of each call that has begun and not ended, as `Store.live` does."""
        self.update_index()
        rows = self._connection.execute(self._with_index_tables(_LIVE))
        for begun, records in groupby(rows, key=itemgetter(0)):
            yield begun, [Stored(*row[1:]) for row in records]

    def ended(self, since: float, limit: int) -> list[Stored]:
        """Return the last records of the calls that ended most recently, as `Store.ended` does."""
        rows = self._connection.execute(_ENDED, (since, limit)).fetchall()
        return [Stored(*row) for row in reversed(rows)]

    def read(self, after: int, limit: int, call: str | None = None) -> list[Stored]:
        """Return the first records behind a position, of one call or all, as `Store.read` does."""
        if call is not None:
            self.update_index()
        statement = self._with_index_tables(_READ if call is None else _READ_CALL)
        values = {"after": after, "limit": limit, "call": call}
        return [Stored(*row) for row in self._connection.execute(statement, values)]

    def find(self, beginning: str, limit: int) -> list[str]:
        """Return the ids of the calls whose id begins like this, as `Store.find` does."""
        self.update_index()
        # Ids are base64, so every character of an id sorts before "~".
        values = {"from": beginning, "to": beginning + "~", "limit": limit}
        statement = self._with_index_tables(_FIND)
        return [call for (call,) in self._connection.execute(statement, values)]

    def rows_after(self, after: int, limit: int) -> list[EventRow]:
        """Return the first `limit` rows behind a position with all columns, for a copy."""
        return self._connection.execute(_ROWS_AFTER, (after, limit)).fetchall()

    # -- the index, to compare it with the records

    def indexed_calls(self, after: int, upto: int, limit: int) -> list[tuple[int, int, int, int]]:
        """
        Return what the index says of the calls that began behind a position.

        Args:
            after: the position behind which the calls began.
            upto: the last position whose event counts.
            limit: how many calls at most.

        Returns:
            For each call: the position at which it began, the number of its events, the sum of
            their positions, and how many of them belong to another call or say so.
        """
        values = {"after": after, "upto": upto, "limit": limit}
        statement = self._with_index_tables(_INDEXED_CALLS)
        return self._connection.execute(statement, values).fetchall()

    def next_name_batch(self, after: int, upto: int) -> tuple[int, int, int] | None:
        """
        Return what the index says of the next batch of call ids; None: there is none.

        Args:
            after: the number of the batch before.
            upto: the last position at which a call may have begun to count.

        Returns:
            The number of the batch, the ids in it, and how many of them lead to another call.
        """
        values = {"after": after, "upto": upto}
        statement = self._with_index_tables(_NEXT_NAME_BATCH)
        found = self._connection.execute(statement, values).fetchone()
        return None if found is None or found[0] is None else found

    def live_totals(self) -> tuple[int, int]:
        """Return how many live calls the index has, and the sum of their first positions."""
        statement = "SELECT count(*), coalesce(sum(begun), 0) FROM live"
        count, begun = self._connection.execute(statement).fetchone()
        return count, begun

    def live_positions(self) -> dict[int, str]:
        """Return the first position of each live call that the index has, with the call's id."""
        return dict(self._connection.execute(_LIVE_POSITIONS))

    def _with_index_tables(self, statement: str) -> str:
        """Return an SQL statement with the names of the index tables filled in."""
        return statement.format(parts="parts", names="names", more_batches="")

    # -- for subclasses

    def _find_end(self) -> None:
        # The index remembers the last position even if its event was pruned. A position is never
        # given twice: a reader that continues from its cursor would miss the second event.
        last = self._value("SELECT coalesce(max(position), 0) FROM events")
        indexed = self._value("SELECT position FROM indexed")
        self.last, self._indexed = max(last, indexed), indexed

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _value(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchone()[0]

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("the journal is not open")
        return self._db

    def _cannot_open(self, reason: str) -> CannotOpen:
        return CannotOpen(f"journal.path = {self.path!r}: {reason}")


def explain(error: sqlite3.Error) -> str:
    """Return a text for the operator: why SQLite cannot open the journal, and what to do."""
    message = str(error)
    if "locked" in message:
        return (
            "another program has it open, such as another umd or the sqlite3 shell; stop that "
            "program, or set another path"
        )
    if "unable to open" in message:
        return "it cannot be opened or created; does its directory exist, and may umd write to it?"
    if "readonly" in message:
        return "umd may read it but not write to it; set a path that umd may write to"
    return f"{message}; set another path"


_ROWS_AFTER: Final = """
    SELECT position, call, step, at, record, extra, begun FROM events
    WHERE position > ? ORDER BY position LIMIT ?
"""
_INDEXED_CALLS: Final = """
    SELECT p.begun, count(*), sum(p.position),
        sum(e.call IS NOT f.call OR coalesce(e.begun != p.begun, FALSE))
    FROM {parts} AS p LEFT JOIN events AS e ON e.position = p.position
    LEFT JOIN events AS f ON f.position = p.begun
    WHERE p.begun > :after AND p.position <= :upto GROUP BY p.begun ORDER BY p.begun LIMIT :limit
"""
_NEXT_NAME_BATCH: Final = """
    SELECT n.batch, count(*), sum(e.call IS NOT n.call)
    FROM {names} AS n LEFT JOIN events AS e ON e.position = n.begun
    WHERE n.batch = (SELECT min(batch) FROM {names} WHERE batch > :after) AND n.begun <= :upto
"""
_LIVE: Final = """
    SELECT l.begun, e.position, e.call, e.at, e.record, e.extra FROM live AS l
    CROSS JOIN {parts} AS p ON p.begun = l.begun CROSS JOIN events AS e ON e.position = p.position
    ORDER BY l.begun
"""
_LIVE_POSITIONS: Final = """
    SELECT l.begun, coalesce(e.call, '?') FROM live AS l
    LEFT JOIN events AS e ON e.position = l.begun
"""
_ENDED: Final = f"""
    SELECT {_COLUMNS} FROM events WHERE step = -1 AND at > ? ORDER BY position DESC LIMIT ?
"""
_READ: Final = f"""
    SELECT {_COLUMNS} FROM events WHERE position > :after ORDER BY position LIMIT :limit
"""
_BATCHES: Final = """
    WITH RECURSIVE batches (batch) AS (
        SELECT min(batch) FROM main.names {more_batches}
        UNION ALL SELECT (SELECT min(n.batch) FROM main.names AS n WHERE n.batch > batches.batch)
        FROM batches WHERE batches.batch IS NOT NULL
    )
"""
"""The numbers of all batches of call ids. Each batch is sorted, and an id is searched in each."""
_READ_CALL: Final = f"""
    {_BATCHES}
    SELECT e.position, e.call, e.at, e.record, e.extra FROM batches AS b
    CROSS JOIN {{names}} AS n ON n.batch = b.batch AND n.call = :call
    CROSS JOIN {{parts}} AS p ON p.begun = n.begun AND p.position > :after
    CROSS JOIN events AS e ON e.position = p.position
    ORDER BY p.position LIMIT :limit
"""
_FIND: Final = f"""
    {_BATCHES}
    SELECT DISTINCT n.call FROM batches AS b
    CROSS JOIN {{names}} AS n ON n.batch = b.batch AND n.call >= :from AND n.call < :to
    CROSS JOIN events AS e ON e.position = n.begun
    ORDER BY n.call LIMIT :limit
"""
