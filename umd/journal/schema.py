"""The tables of a journal in SQLite, their versions, and the statements that write them."""

from __future__ import annotations

from typing import Final, TypeAlias

APPLICATION_ID: Final = 0x756D646A
"""SQLite's `application_id` of every journal: "umdj" in ASCII."""
MIGRATIONS: Final[tuple[str, ...]] = (
    # 1: the first that was released.
    """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        call TEXT NOT NULL,
        step INTEGER NOT NULL,  -- 1 the call begins, 0 it goes on, -1 it ends
        at REAL NOT NULL,  -- seconds since the epoch
        record BLOB NOT NULL,  -- JSON, as in the log
        extra BLOB  -- what its backend needs to restore the leg
    ) STRICT;
    CREATE INDEX events_of_call ON events (call);
    CREATE TABLE live (call TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TRIGGER call_begins AFTER INSERT ON events WHEN new.step = 1
        BEGIN INSERT OR IGNORE INTO live VALUES (new.call); END;
    CREATE TRIGGER call_ends AFTER INSERT ON events WHEN new.step = -1
        BEGIN DELETE FROM live WHERE call = new.call; END;
    """,
    # 2: calls are indexed in batches, see `UPDATE_INDEX`.
    """
    DROP TRIGGER call_begins;
    DROP TRIGGER call_ends;
    DROP INDEX events_of_call;
    DROP TABLE live;
    CREATE TABLE indexed (position INTEGER NOT NULL) STRICT;  -- up to which events are
    INSERT INTO indexed VALUES (0);
    CREATE TABLE live (  -- the calls that have begun and not ended
        call TEXT PRIMARY KEY,
        begun INTEGER NOT NULL  -- the position of its first event
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE parts (  -- the events of each call
        begun INTEGER,
        position INTEGER,
        PRIMARY KEY (begun, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE names (  -- the calls by their ids, a sorted run for each batch
        batch INTEGER,
        call TEXT,
        begun INTEGER,
        PRIMARY KEY (batch, call, begun)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""
The statements that make each version of the schema from the one before.

The version of a journal is the number of migrations it has had, kept as SQLite's `user_version`.
SQLite stores these texts, comments included, in the journal: do not edit those of a released
version.
"""

EventRow: TypeAlias = tuple[int, str, int, float, bytes, bytes | None]
"""A row of the table `events`: position, call, step, at, record, extra."""


class _InsertStatements(dict[int, str]):
    """The statement that inserts a number of events at once, by that number."""

    def __missing__(self, rows: int) -> str:
        values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
        statement = self[rows] = (
            f"INSERT INTO events (position, call, step, at, record, extra) VALUES {values}"
        )
        return statement


INSERT_EVENTS: Final = _InsertStatements()
"""The statement that inserts a number of events at once, by that number."""
UPDATE_INDEX: Final = (
    # The calls that began. If an id occurs twice, the later call is the live one.
    """
    INSERT INTO live SELECT call, max(position) FROM events
    WHERE position > :after AND position <= :last AND step = 1 GROUP BY call
    ON CONFLICT (call) DO UPDATE SET begun = excluded.begun
    """,
    """
    INSERT INTO names SELECT :after, e.call, e.position FROM events AS e LEFT JOIN live AS l
    ON l.call = e.call AND l.begun <= e.position
    WHERE e.position > :after AND e.position <= :last
    AND (l.begun = e.position OR l.begun IS NULL) ORDER BY e.call
    """,
    """
    INSERT INTO parts SELECT coalesce(l.begun, e.position), e.position FROM events AS e
    LEFT JOIN live AS l ON l.call = e.call AND l.begun <= e.position
    WHERE e.position > :after AND e.position <= :last ORDER BY 1, 2
    """,
    # The calls that ended.
    """
    DELETE FROM live WHERE call IN (
        SELECT e.call FROM events AS e JOIN live AS l ON l.call = e.call AND l.begun <= e.position
        WHERE e.position > :after AND e.position <= :last AND e.step = -1
    )
    """,
    "UPDATE indexed SET position = :last",
)
"""
The statements, one after another, that add the events behind `:after` up to `:last` to the index.

The index is the tables `live`, `parts` and `names`; `indexed` has the last event that they know.
"""
