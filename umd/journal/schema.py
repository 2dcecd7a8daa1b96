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
    # 3: each event has the position of the first event of its call.
    """
    ALTER TABLE events ADD COLUMN begun INTEGER;  -- NULL if older than this column
    UPDATE events SET begun = unindexed.begun FROM (
        SELECT e.position, coalesce(
            max(e.position) FILTER (WHERE e.step = 1) OVER lives,
            l.begun,
            e.position
        ) AS begun
        FROM events AS e LEFT JOIN live AS l ON l.call = e.call
        WHERE e.position > (SELECT position FROM indexed)
        WINDOW lives AS (PARTITION BY e.call ORDER BY e.position)
    ) AS unindexed WHERE events.position = unindexed.position;
    ALTER TABLE live RENAME TO live_by_call;
    CREATE TABLE live (begun INTEGER PRIMARY KEY) STRICT;  -- calls that have not ended
    INSERT INTO live SELECT begun FROM live_by_call ORDER BY begun;
    DROP TABLE live_by_call;
    """,
)
"""
The statements that make each version of the schema from the one before.

The version of a journal is the number of migrations it has had, kept as SQLite's `user_version`.
SQLite stores these texts, comments included, in the journal: do not edit those of a released
version.

Migration 3 writes `begun` only into the events that are not in the index yet. The index has it for
all others. So a migration takes no longer, and no more space on the disk, for a large journal.
"""

EventRow: TypeAlias = tuple[int, str, int, float, bytes, bytes | None, int | None]
"""
A row of the table `events`: position, call, step, at, record, extra, begun.

`begun` is None if the event was recorded before schema 3; then it is in the table `parts`.
"""


class _InsertStatements(dict[int, str]):
    """The statement that inserts a number of events at once, by that number."""

    def __missing__(self, rows: int) -> str:
        values = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
        statement = self[rows] = (
            f"INSERT INTO events (position, call, step, at, record, extra, begun) VALUES {values}"
        )
        return statement


INSERT_EVENTS: Final = _InsertStatements()
"""The statement that inserts a number of events at once, by that number."""
UPDATE_INDEX: Final = (
    """
    INSERT INTO live SELECT position FROM events
    WHERE position > :after AND position <= :last AND step = 1
    """,
    """
    INSERT INTO names SELECT :after, call, position FROM events
    WHERE position > :after AND position <= :last AND begun = position ORDER BY call
    """,
    """
    INSERT INTO parts SELECT begun, position FROM events
    WHERE position > :after AND position <= :last ORDER BY 1, 2
    """,
    """
    DELETE FROM live WHERE begun IN (
        SELECT begun FROM events WHERE position > :after AND position <= :last AND step = -1
    )
    """,
    "UPDATE indexed SET position = :last",
)
"""
The statements, one after another, that add the events behind `:after` up to `:last` to the index.

The index is the tables `live`, `parts` and `names`; `indexed` has the last event that they know.
Ids of calls are random: in a table ordered by them each event is on another page. Only `names` is
ordered by them, within each batch.
"""
