"""What can be asked of a journal in SQLite: its records, and its index to check it."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from umd.journal.schema import Copied
from umd.journal.store import CannotOpen, Stored

_COLUMNS: Final = "position, call, at, record, extra"


class JournalQueries:
    """
    Reads a journal.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.last = 0
        """The position of the last record."""
        self._db: sqlite3.Connection | None = None
        self._indexed = 0
        """The position up to which the index knows the events."""

    @abstractmethod
    def _index(self) -> None:
        """Let the index know every event."""

    # -- reading

    def live(self) -> Iterator[list[Stored]]:
        """See `umd.journal.store.Store.live`."""
        self._index()
        rows = self._connection.execute(self._of_index(_LIVE))
        for _, records in groupby(rows, key=itemgetter(1)):
            yield [Stored(*row) for row in records]

    def ended(self, since: float, limit: int) -> list[Stored]:
        """See `umd.journal.store.Store.ended`."""
        rows = self._connection.execute(_ENDED, (since, limit)).fetchall()
        return [Stored(*row) for row in reversed(rows)]

    def read(self, after: int, limit: int, call: str | None = None) -> list[Stored]:
        """See `umd.journal.store.Store.read`."""
        if call is not None:
            self._index()
        statement = self._of_index(_READ if call is None else _READ_CALL)
        values = {"after": after, "limit": limit, "call": call}
        return [Stored(*row) for row in self._connection.execute(statement, values)]

    def find(self, beginning: str, limit: int) -> list[str]:
        """The ids of calls that begin like this."""
        self._index()
        # Ids are base64, so that nothing in one sorts behind "~".
        values = {"from": beginning, "to": beginning + "~", "limit": limit}
        return [call for (call,) in self._connection.execute(self._of_index(_FIND), values)]

    def copy_of(self, after: int, limit: int) -> list[Copied]:
        """The first records behind a position, with all that is kept of them."""
        return self._connection.execute(_COPY, (after, limit)).fetchall()

    # -- reading the index, to check it

    def index_all(self) -> None:
        """Let the index know every event."""
        self._index()

    def parts(self, after: int, upto: int, limit: int) -> list[tuple[int, int, int, int]]:
        """
        Of calls that began behind a position: where that was, how many records the index has of
        each up to another position, the sum of their positions, and how many are not of that call.
        """
        values = {"after": after, "upto": upto, "limit": limit}
        return self._connection.execute(self._of_index(_PARTS), values).fetchall()

    def names(self, after: int, upto: int) -> tuple[int, int, int] | None:
        """The next batch of names: which it is, how many it has, how many lead to another call."""
        values = {"after": after, "upto": upto}
        found = self._connection.execute(self._of_index(_NAMES), values).fetchone()
        return None if found is None or found[0] is None else found

    def live_counts(self) -> tuple[int, int]:
        """How many live calls the index has, and the sum of the positions at which they began."""
        statement = "SELECT count(*), coalesce(sum(begun), 0) FROM live"
        count, begun = self._connection.execute(statement).fetchone()
        return count, begun

    def live_begun(self) -> dict[str, int]:
        """Where each live call of the index began."""
        return dict(self._connection.execute("SELECT call, begun FROM live"))

    def _of_index(self, statement: str) -> str:
        """Let a statement read the tables of the index."""
        return statement.format(parts="parts", names="names", aside="")

    # -- parts

    def _find_end(self) -> None:
        # The last events may have been let go of, and no position is ever given twice: a reader's
        # cursor would miss what has it, and so would the index.
        last = self._one("SELECT coalesce(max(position), 0) FROM events")
        indexed = self._one("SELECT position FROM indexed")
        self.last, self._indexed = max(last, indexed), indexed

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _one(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchone()[0]

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("the journal is not open")
        return self._db

    def _cannot(self, why: str) -> CannotOpen:
        return CannotOpen(f"journal.path = {self.path!r}: {why}")


def explain(error: sqlite3.Error) -> str:
    said = str(error)
    if "locked" in said:
        return (
            "another program has it open, a umd or a shell of sqlite3; end that, or name another "
            "path"
        )
    if "unable to open" in said:
        return "it cannot be opened or made; is its directory there, and may umd write to it?"
    if "readonly" in said:
        return "it can be read and not written; name a path that umd may write to"
    return f"{said}; name another path"


_COPY: Final = """
    SELECT position, call, step, at, record, extra FROM events
    WHERE position > ? ORDER BY position LIMIT ?
"""
_PARTS: Final = """
    SELECT p.begun, count(*), sum(p.position), sum(e.call IS NOT f.call)
    FROM {parts} AS p LEFT JOIN events AS e ON e.position = p.position
    LEFT JOIN events AS f ON f.position = p.begun
    WHERE p.begun > :after AND p.position <= :upto GROUP BY p.begun ORDER BY p.begun LIMIT :limit
"""
_NAMES: Final = """
    SELECT n.batch, count(*), sum(e.call IS NOT n.call)
    FROM {names} AS n LEFT JOIN events AS e ON e.position = n.begun
    WHERE n.batch = (SELECT min(batch) FROM {names} WHERE batch > :after) AND n.begun <= :upto
"""
_LIVE: Final = """
    SELECT e.position, e.call, e.at, e.record, e.extra
    FROM (SELECT begun FROM live ORDER BY begun LIMIT -1) AS l
    CROSS JOIN {parts} AS p ON p.begun = l.begun CROSS JOIN events AS e ON e.position = p.position
"""
"""
The limit, which is none, keeps the order: without one SQLite drops it, and reads the file in the
order of the ids, which is none, a page for each event.
"""
_ENDED: Final = f"""
    SELECT {_COLUMNS} FROM events WHERE step = -1 AND at > ? ORDER BY position DESC LIMIT ?
"""
_READ: Final = f"""
    SELECT {_COLUMNS} FROM events WHERE position > :after ORDER BY position LIMIT :limit
"""
_EVERY_BATCH: Final = """
    WITH RECURSIVE batches (batch) AS (
        SELECT min(batch) FROM main.names {aside}
        UNION ALL SELECT (SELECT min(n.batch) FROM main.names AS n WHERE n.batch > batches.batch)
        FROM batches WHERE batches.batch IS NOT NULL
    )
"""
"""An id is looked for in the sorted run of each."""
_READ_CALL: Final = f"""
    {_EVERY_BATCH}
    SELECT e.position, e.call, e.at, e.record, e.extra FROM batches AS b
    CROSS JOIN {{names}} AS n ON n.batch = b.batch AND n.call = :call
    CROSS JOIN {{parts}} AS p ON p.begun = n.begun AND p.position > :after
    CROSS JOIN events AS e ON e.position = p.position
    ORDER BY p.position LIMIT :limit
"""
_FIND: Final = f"""
    {_EVERY_BATCH}
    SELECT DISTINCT n.call FROM batches AS b
    CROSS JOIN {{names}} AS n ON n.batch = b.batch AND n.call >= :from AND n.call < :to
    CROSS JOIN events AS e ON e.position = n.begun
    ORDER BY n.call LIMIT :limit
"""
