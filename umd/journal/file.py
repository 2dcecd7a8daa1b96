"""
The journal as one SQLite file: its schema, how it is opened, written and read. Knows no Twisted.

Exactly one connection ever writes, checkpoints and reads a journal in use: it holds the file
exclusively. SQLite before 3.51.3 can damage a file in WAL mode when a second connection checkpoints
at the same moment (reference ecosystem, 3), and so nobody else gets in, not even to look.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from itertools import groupby
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from umd.journal.store import CannotOpen, Row, Stored
from umd.runtime.lock import FileLock, Held

Durability: TypeAlias = Literal["full", "relaxed"]

APPLICATION_ID: Final = 0x756D646A
"""In the header of every journal: "umdj"."""
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
    # 2: calls are indexed in batches, see `_index`.
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
"""What makes each version of the schema of the one before; the version is their number."""

AT_ONCE: Final = 64
"""
Rows in one statement.

Between two statements the writer needs the interpreter, for which it waits up to a switch interval
while the reactor is busy; so a commit is one statement, with a row's values many times over. SQLite
keeps a statement for each number of rows: with 64, 3 MB of them, with 128 12.
"""
INDEXED_AT_ONCE: Final = 512
"""
Events after which the index follows.

An id is random, so that each entry of an index by id is on a page of its own, to be read, written
and synced: kept up with each event, that was three quarters of what a commit cost. In batches it is
a quarter of that, and none of them holds a commit back for more than some milliseconds.
"""
PRUNED_AT_ONCE: Final = 100
"""Calls that are looked at between two commits: of 500, 2,000 records went, and replies waited."""
_COLUMNS: Final = "position, call, at, record, extra"
_MAGIC: Final = b"SQLite format 3\0"

COMPACTING: Final = ".compacting"
"""What the name of a journal that is being compacted ends with; a killed compaction leaves it."""
Copied: TypeAlias = tuple[int, str, int, float, bytes, bytes | None]
"""A record with all its columns: position, call, step, at, record, extra."""


class JournalFile:
    """
    One journal.

    Args:
        path: of the file; what belongs to it has names that begin like it.
        durability: "full": a commit is on disk when it returns; "relaxed": it is the operating
            system's, and on disk after the next `sync`.
        keep: seconds for which the records of calls that have ended are kept.
        max_size: octets beyond which the oldest of them go before that.
    """

    def __init__(
        self,
        path: str,
        durability: Durability = "full",
        keep: float = 30 * 86400.0,
        max_size: int = 4 * 1024**3,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        self.path = path
        self.set_aside: str | None = None
        """Where a damaged file was moved to by `open`."""
        self.migrated_from: int | None = None
        """The version of the schema that `open` found and brought forward."""
        self.last = 0
        """The position of the last record."""
        self.pruned = 0
        """How many records were let go since it was opened."""
        self._durability = durability
        self._keep = keep
        self._max_size = max_size
        self._migrations = migrations
        self._lock: FileLock | None = None
        self._db: sqlite3.Connection | None = None
        self._unsynced = False
        self._indexed = 0
        """The position up to which the index knows the events."""
        self._pruned_to = 0
        """The call that was last looked at for being old."""

    # -- opening

    def open(self) -> None:
        """
        Take the file, make it where there is none, and check it.

        A damaged one is set aside, under a name that tells when, and a new one begun.

        Raises:
            CannotOpen: it is in use, another program's, a newer umd's, or cannot be had.
        """
        was_ours = os.path.exists(self.path + ".lock")
        try:
            self._lock = FileLock(self.path)
        except Held as held:
            raise CannotOpen(
                f"journal.path = {self.path!r}: another umd writes it (process {held.pid}); end "
                "it, or give this one a journal of its own: -o journal.path=/a/path"
            ) from None
        except OSError as error:
            raise self._cannot(f"{error.strerror}; name a path that can be had") from error
        try:
            with suppress(OSError):
                os.unlink(self.path + COMPACTING)
            self._open_checked(was_ours)
        except BaseException:
            self.close()
            raise

    def _open_checked(self, was_ours: bool) -> None:
        try:
            found = self._begins_like_sqlite()
            if not found and not was_ours:
                raise self._cannot("it is no journal; name another path, or move that file away")
            if not found:
                raise sqlite3.DatabaseError("its first page is overwritten")
            self._connect()
            self._check()
        except sqlite3.OperationalError as error:
            raise self._cannot(_explain(error)) from error
        except sqlite3.DatabaseError as error:
            self._disconnect()
            self._set_aside(str(error))
            self._connect()
        except OSError as error:
            raise self._cannot(f"{error.strerror}; name a path that can be had") from error
        try:
            self._migrate()
            self._find_end()
        except sqlite3.Error as error:
            raise self._cannot(_explain(error)) from error

    def _begins_like_sqlite(self) -> bool:
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            # A FIFO would be waited for.
            raise self._cannot("not a regular file; name another path")
        try:
            with open(self.path, "rb") as file:
                head = file.read(len(_MAGIC))
        except FileNotFoundError:
            return True
        return head in (b"", _MAGIC)

    def _connect(self) -> None:
        mask = os.umask(0o077)
        try:
            self._db = sqlite3.connect(
                self.path,
                timeout=2.0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=AT_ONCE + 64,
            )
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            full = self._durability == "full"
            self._db.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            # The commit that writes these pages back, and syncs them, holds everybody for so long.
            self._db.execute("PRAGMA wal_autocheckpoint = 1000")
            self._db.execute("PRAGMA temp_store = MEMORY")
        finally:
            os.umask(mask)

    def _check(self) -> None:
        """
        Raises:
            sqlite3.DatabaseError: it is damaged.
            CannotOpen: it is not for us.
        """
        version = self._one("PRAGMA user_version")
        application = self._one("PRAGMA application_id")
        if application not in (0, APPLICATION_ID) or (
            application == 0 and self._one("SELECT count(*) FROM sqlite_master")
        ):
            raise self._cannot("the database of another program; name another path")
        if version > len(self._migrations):
            raise self._cannot(
                f"a newer umd has written it (schema {version}, and this one knows "
                f"{len(self._migrations)}); use that, or name another path"
            )
        said = self._one("PRAGMA quick_check(1)")
        if said != "ok":
            raise sqlite3.DatabaseError(said)

    def _migrate(self) -> None:
        version = self._one("PRAGMA user_version")
        if version == len(self._migrations):
            return
        statements = "".join(self._migrations[version:])
        self._connection.executescript(
            f"BEGIN IMMEDIATE; {statements}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {len(self._migrations)}; COMMIT"
        )
        if version:
            self.migrated_from = version
        # The file's own name must be on disk too, before anything in it counts.
        directory = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        with suppress(OSError):
            os.fsync(directory)
        os.close(directory)

    def _set_aside(self, why: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        there = f"{self.path}.damaged-{now}"
        for end in ("", "-wal", "-shm"):
            if os.path.exists(self.path + end):
                os.rename(self.path + end, there + end)
        self.set_aside = f"{there}: {why}"

    # -- writing

    def write(self, rows: Sequence[Row]) -> None:
        """
        Keep records, all of them or none; durable when it returns, unless it is "relaxed".

        Raises:
            sqlite3.Error: none is kept, as far as it is known; see `reopen`.
        """
        behind = self.last - self._indexed >= INDEXED_AT_ONCE
        if len(rows) <= AT_ONCE and not behind:
            self._insert(rows)  # a transaction by itself
        else:
            with self._transaction():
                if behind:
                    self._index_events()
                for first in range(0, len(rows), AT_ONCE):
                    self._insert(rows[first : first + AT_ONCE], first)
            if behind:
                self._indexed = self.last
        self.last += len(rows)
        self._unsynced = True

    def _insert(self, rows: Sequence[Row], offset: int = 0) -> None:
        first = self.last + offset + 1
        values: list[Any] = []
        for position, row in enumerate(rows, first):
            values.append(position)
            values += row
        self._connection.execute(_INSERT[len(rows)], values)

    def _index(self) -> None:
        """
        Let the index know every event: to be called by whoever looks for calls.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        if self._indexed < self.last:
            with self._transaction():
                self._index_events()
            self._indexed = self.last

    def _index_events(self) -> None:
        for statement in _INDEX:
            self._connection.execute(statement, {"after": self._indexed, "last": self.last})

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if db.in_transaction:
                # What is written next would be in it, and taken for durable: see `reopen`.
                self._disconnect()
            raise

    def _find_end(self) -> None:
        # The last events may have been let go of, and no position is ever given twice: a reader's
        # cursor would miss what has it, and so would the index.
        last = self._one("SELECT coalesce(max(position), 0) FROM events")
        indexed = self._one("SELECT position FROM indexed")
        self.last, self._indexed = max(last, indexed), indexed

    def reopen(self) -> int:
        """
        Begin again after an error of writing.

        Nothing is believed: after a failed sync the operating system may hold pages for written
        that are not. What the log holds goes into the file and is synced there before anything new
        is written.

        Returns:
            How many of the records that `write` failed with are there all the same.

        Raises:
            sqlite3.Error: it cannot be written yet.
        """
        before = self.last
        self._disconnect()
        self._connect()
        busy = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise sqlite3.OperationalError("the log cannot be written back")
        # A write, and not only a checkpoint of nothing, shows that there is room again.
        self._connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        self._find_end()
        return self.last - before

    def sync(self) -> None:
        """Where a commit does not: bring what was written to the disk."""
        if self._durability == "relaxed" and self._unsynced:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._unsynced = False

    def prune(self, now: float) -> int:
        """
        Let go of some of what is older than it need be, of calls that have ended.

        Returns:
            0 when there is nothing (more) to do, else how many records went.
        """
        before = now - self._keep
        if self.used > self._max_size:
            before = inf  # the first are the oldest, whatever the clock said then
        self._index()
        db = self._connection
        looked_at = db.execute(_OLDEST, (self._pruned_to, PRUNED_AT_ONCE)).fetchall()
        old = [
            {"begun": begun, "call": call}
            for begun, call, _, last_at, live in looked_at
            if not live and last_at < before
        ]
        gone = 0
        if old:
            with self._transaction():
                gone = db.executemany(_PRUNE_EVENTS, old).rowcount
                self.pruned += gone
                db.executemany("DELETE FROM parts WHERE begun = :begun", old)
                db.executemany(_PRUNE_NAMES, old)
        # What begins later has not ended before, unless the clock was set back since.
        if len(looked_at) < PRUNED_AT_ONCE or before <= looked_at[-1][2] <= now:
            self._pruned_to = 0
            return gone
        self._pruned_to = looked_at[-1][0]
        return gone or 1

    @property
    def used(self) -> int:
        """Octets of the file that hold something."""
        pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        return int(pages * self._one("PRAGMA page_size"))

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

    def close(self) -> None:
        """Let go of the file; what is written stays."""
        if self._db is not None and self._lock is not None:
            with suppress(sqlite3.Error):
                self._index()
        self._disconnect()
        if self._lock is not None:
            # Its file stays: that there was a journal here is worth knowing.
            self._lock.leave()
            self._lock = None

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


class JournalReader(JournalFile):
    """Reads a journal that no umd has open; changes nothing."""

    _aside = False
    """Some of the index is not in the file."""

    def open(self) -> None:
        """
        Raises:
            CannotOpen: there is none, it is in use, or not for us.
        """
        if not os.path.exists(self.path):
            raise self._cannot("there is no such file")
        if not os.path.isfile(self.path):
            raise self._cannot("not a regular file")
        if not os.access(self.path, os.R_OK):
            owner = os.stat(self.path).st_uid
            raise self._cannot(f"only user {owner} and root may read it")
        try:
            uri = Path(os.path.abspath(self.path)).as_uri()
            self._db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=1.0)
            self._check_kind()
            self._find_end()
        except sqlite3.OperationalError as error:
            raise self._cannot(_explain(error)) from error
        except sqlite3.DatabaseError as error:
            raise self._cannot(f"it is damaged: {error}") from error

    def _index(self) -> None:
        """Index what a umd that was killed has not, beside the file, which stays as it is."""
        if self._indexed < self.last:
            for statement in _ASIDE:
                self._connection.execute(statement)
            self._index_events()
            self._indexed = self.last
            self._aside = True

    def _of_index(self, statement: str) -> str:
        if not self._aside:
            return super()._of_index(statement)
        return statement.format(
            parts="(SELECT * FROM main.parts UNION ALL SELECT * FROM temp.parts)",
            names="(SELECT * FROM main.names UNION ALL SELECT * FROM temp.names)",
            aside="UNION ALL SELECT min(batch) FROM temp.names",
        )

    def integrity(self) -> str:
        """"ok", or what SQLite finds wrong with the whole file."""
        return str(self._one("PRAGMA integrity_check"))

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the whole file; at most so many lines."""
        said = [line for (line,) in self._connection.execute("PRAGMA integrity_check(20)")]
        return [] if said == ["ok"] else said

    def _check_kind(self) -> None:
        if self._one("PRAGMA application_id") != APPLICATION_ID:
            raise self._cannot("it is no journal")
        version = self._one("PRAGMA user_version")
        if version > len(self._migrations):
            raise self._cannot(f"a newer umd has written it (schema {version})")
        if version < len(self._migrations):
            raise self._cannot(
                f"an older umd has written it (schema {version}); start umd with it once"
            )


def _explain(error: sqlite3.Error) -> str:
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


class _Inserts(dict[int, str]):
    """The statement that inserts so many rows."""

    def __missing__(self, rows: int) -> str:
        values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
        statement = self[rows] = (
            f"INSERT INTO events (position, call, step, at, record, extra) VALUES {values}"
        )
        return statement


_INSERT: Final = _Inserts()
_INDEX: Final = (
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
    """
    DELETE FROM live WHERE call IN (
        SELECT e.call FROM events AS e JOIN live AS l ON l.call = e.call AND l.begun <= e.position
        WHERE e.position > :after AND e.position <= :last AND e.step = -1
    )
    """,
    "UPDATE indexed SET position = :last",
)
"""What brings the index forward; of a call that begins again the last beginning is what lives."""
_ASIDE: Final = (
    "CREATE TEMP TABLE indexed AS SELECT * FROM main.indexed",
    "CREATE TEMP TABLE live (call TEXT PRIMARY KEY, begun INTEGER) WITHOUT ROWID",
    "INSERT INTO temp.live SELECT * FROM main.live",
    "CREATE TEMP TABLE parts (begun, position, PRIMARY KEY (begun, position)) WITHOUT ROWID",
    "CREATE TEMP TABLE names (batch, call, begun, PRIMARY KEY (batch, call, begun)) WITHOUT ROWID",
)
"""Tables that stand before those of the file: a name without a schema is that of temp first."""
INDEX_STATEMENTS: Final = _INDEX
INSERT_EVENT: Final = _INSERT[1]
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
_OLDEST: Final = """
    SELECT p.begun, first.call, first.at, last.at,
        EXISTS (SELECT 1 FROM live WHERE live.call = first.call)
    FROM (SELECT DISTINCT begun FROM parts WHERE begun > ? ORDER BY begun LIMIT ?) AS p
    CROSS JOIN events AS first ON first.position = p.begun
    CROSS JOIN events AS last
    ON last.position = (SELECT max(position) FROM parts WHERE begun = p.begun)
"""
_PRUNE_EVENTS: Final = """
    DELETE FROM events WHERE position IN (SELECT position FROM parts WHERE begun = :begun)
"""
_PRUNE_NAMES: Final = """
    DELETE FROM names WHERE batch = (SELECT max(batch) FROM names WHERE batch < :begun)
    AND call = :call AND begun = :begun
"""
"""A batch is named by the position before its first: this is the one that the call is in."""
