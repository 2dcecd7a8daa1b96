"""
The journal as one SQLite file: how umd opens, writes, prunes and repairs it. Knows no Twisted.

Exactly one connection writes, checkpoints and reads a journal in use, and it holds the file
exclusively. SQLite before 3.51.3 can damage a database in WAL mode when two connections write or
checkpoint at the same moment (https://sqlite.org/wal.html, "The WAL-reset bug"), so umd lets no
other connection in, not even one that only reads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from math import inf
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from umd.journal.paths import COMPACTING_SUFFIX, LOCK_SUFFIX
from umd.journal.queries import JournalQueries, explain
from umd.journal.schema import APPLICATION_ID, INSERT_EVENTS, MIGRATIONS, UPDATE_INDEX
from umd.journal.store import CannotOpen, Row
from umd.runtime.lock import FileLock, Held

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

T = TypeVar("T")
Durability: TypeAlias = Literal["full", "relaxed"]
"""When a record is safe from a power failure: see `JournalFile`."""

MAX_ROWS_PER_STATEMENT: Final = 64
"""
Rows in one INSERT.

Python takes the GIL between two statements. While the reactor is busy, the writer waits up to a
switch interval for it, so a commit is one statement with the values of many rows. SQLite keeps a
prepared statement for each number of rows: 3 MB for up to 64 rows, 12 MB for up to 128.
"""
MAX_UNINDEXED_EVENTS: Final = 1024
"""
Events after which the next commit updates the index.

The events of a call are apart, so each index entry is on a page of its own, to be read, written
and synced. Updating the index with each event took three quarters of the time of a commit. Updating
it in batches takes a small part, and delays no commit by more than some milliseconds.
"""
CALLS_PER_PRUNE: Final = 100
"""Calls examined by one `prune`. With 500, it deleted 2,000 records and delayed replies."""
WAL_PAGES_PER_CHECKPOINT: Final = 1000
"""Pages in SQLite's log after which a commit writes them back to the database and syncs it."""
LOCK_TIMEOUT: Final = 2.0  # seconds to wait for another connection when opening
_SQLITE_HEADER: Final = b"SQLite format 3\0"


class JournalFile(JournalQueries):
    """
    The journal of a running umd.

    Args:
        path: the path of the file; the names of the files beside it begin with its name.
        durability: "full": a record is on the disk when `write` returns; "relaxed": the operating
            system has it then, and it is on the disk after the next `sync`.
        keep: how long the records of a call are kept after its end, in seconds.
        max_size: the size of the file, in octets, beyond which the oldest ended calls are deleted
            earlier than `keep` says.
        migrations: the schema; tests pass others.
    """

    def __init__(
        self,
        path: str,
        durability: Durability = "full",
        keep: float = 30 * 86400.0,
        max_size: int = 4 * 1024**3,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        super().__init__(path)
        self.set_aside: str | None = None
        """Where `open` moved a damaged file, and what was wrong with it."""
        self.migrated_from: int | None = None
        """The version of the schema that `open` found and migrated."""
        self.pruned = 0
        """How many records were deleted since the journal was opened."""
        self._durability = durability
        self._keep = keep
        self._max_size = max_size
        self._migrations = migrations
        self._lock: FileLock | None = None
        self._unsynced = False
        """Whether something was written since the last `sync`."""
        self._pruned_to = 0
        """The first position of the last call that `prune` examined."""

    # -- opening

    def open(self) -> None:
        """
        Open the journal for this process alone, create it if there is none, and check it.

        A damaged journal is renamed to `PATH.damaged-TIME`, and an empty one is created.

        Raises:
            CannotOpen: it is in use, it belongs to another program, a newer umd has written it, or
                the path cannot be used.
        """
        had_journal = os.path.exists(self.path + LOCK_SUFFIX)
        try:
            self._lock = FileLock(self.path)
        except Held as held:
            raise CannotOpen(
                f"journal.path = {self.path!r}: another umd writes it (process {held.pid}); stop "
                "that one, or give this one a journal of its own: -o journal.path=/a/path"
            ) from None
        except OSError as error:
            raise self._cannot_open(f"{error.strerror}; set a path that umd can use") from error
        try:
            with suppress(OSError):
                os.unlink(self.path + COMPACTING_SUFFIX)
            self._open_checked(had_journal)
        except BaseException:
            self.close()
            raise

    def _open_checked(self, had_journal: bool) -> None:
        try:
            has_header = self._has_sqlite_header()
            if not has_header and not had_journal:
                raise self._cannot_open("not a journal; set another path, or move that file away")
            if not has_header:
                raise sqlite3.DatabaseError("its first page is overwritten")
            self._connect()
            self._check()
        except sqlite3.OperationalError as error:
            raise self._cannot_open(explain(error)) from error
        except sqlite3.DatabaseError as error:
            self._disconnect()
            self._set_aside(str(error))
            self._connect()
        except OSError as error:
            raise self._cannot_open(f"{error.strerror}; set a path that umd can use") from error
        try:
            self._migrate()
            self._find_end()
        except sqlite3.Error as error:
            raise self._cannot_open(explain(error)) from error

    def _has_sqlite_header(self) -> bool:
        """Return whether the file is a SQLite database, empty, or not there."""
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            # Opening a FIFO would block.
            raise self._cannot_open("not a regular file; set another path")
        try:
            with open(self.path, "rb") as file:
                head = file.read(len(_SQLITE_HEADER))
        except FileNotFoundError:
            return True
        return head in (b"", _SQLITE_HEADER)

    def _connect(self) -> None:
        mask = os.umask(0o077)
        try:
            self._db = sqlite3.connect(
                self.path,
                timeout=LOCK_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=MAX_ROWS_PER_STATEMENT + 64,
            )
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            full = self._durability == "full"
            self._db.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            # Every client that waits for a record waits for such a commit, so it must be short.
            self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_PER_CHECKPOINT}")
            self._db.execute("PRAGMA temp_store = MEMORY")
        finally:
            os.umask(mask)

    def _check(self) -> None:
        """
        Raises:
            sqlite3.DatabaseError: the file is damaged.
            CannotOpen: it belongs to another program, or to a newer umd.
        """
        version = self._value("PRAGMA user_version")
        application = self._value("PRAGMA application_id")
        if application not in (0, APPLICATION_ID) or (
            application == 0 and self._value("SELECT count(*) FROM sqlite_master")
        ):
            raise self._cannot_open("the database of another program; set another path")
        if version > len(self._migrations):
            raise self._cannot_open(
                f"a newer umd has written it (schema {version}, and this one knows "
                f"{len(self._migrations)}); use that umd, or set another path"
            )
        result = self._value("PRAGMA quick_check(1)")
        if result != "ok":
            raise sqlite3.DatabaseError(result)

    def _migrate(self) -> None:
        version = self._value("PRAGMA user_version")
        if version == len(self._migrations):
            return
        statements = "".join(self._migrations[version:])
        self._connection.executescript(
            f"BEGIN IMMEDIATE; {statements}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {len(self._migrations)}; COMMIT"
        )
        if version:
            self.migrated_from = version
        # The name of a new file must be on the disk before a record in it counts as durable.
        directory = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        with suppress(OSError):
            os.fsync(directory)
        os.close(directory)

    def _set_aside(self, reason: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        new_path = f"{self.path}.damaged-{now}"
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.rename(self.path + suffix, new_path + suffix)
        self.set_aside = f"{new_path}: {reason}"

    def close(self) -> None:
        """Close the file and release its lock."""
        if self._db is not None and self._lock is not None:
            with suppress(sqlite3.Error):
                self.update_index()
        self._disconnect()
        if self._lock is not None:
            self._lock.release_and_keep_file()
            self._lock = None

    # -- writing

    def write(self, rows: Sequence[Row]) -> None:
        """
        Write records in one transaction; with "full" durability they are on the disk on return.

        Args:
            rows: at least one, in the order of their positions, which are behind `last`.

        Raises:
            sqlite3.Error: nothing is written, as far as is known; `reopen` finds out.
        """
        index_is_due = self.last - self._indexed >= MAX_UNINDEXED_EVENTS
        if len(rows) <= MAX_ROWS_PER_STATEMENT and not index_is_due:
            self._insert(rows)  # a single statement is a transaction by itself
        else:
            with self._transaction():
                if index_is_due:
                    self._index_events()
                for first in range(0, len(rows), MAX_ROWS_PER_STATEMENT):
                    self._insert(rows[first : first + MAX_ROWS_PER_STATEMENT])
            if index_is_due:
                self._indexed = self.last
        self.last = rows[-1].position
        self._unsynced = True

    def _insert(self, rows: Sequence[Row]) -> None:
        values: list[Any] = []
        for row in rows:
            values += row
        self._connection.execute(INSERT_EVENTS[len(rows)], values)

    def update_index(self) -> None:
        """
        Add the latest events to the index.

        Raises:
            sqlite3.Error: the index cannot be written.
        """
        if self._indexed < self.last:
            with self._transaction():
                self._index_events()
            self._indexed = self.last

    def _index_events(self) -> None:
        for statement in UPDATE_INDEX:
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
                # The next write would be part of this transaction, so it would not be durable.
                self._disconnect()
            raise

    def reopen(self) -> None:
        """
        Continue after an error of `write`.

        After a failed fsync the operating system may report pages as written that are not on the
        disk. So nothing is assumed: what SQLite's log holds is written to the database and synced
        before any new record.

        Records whose `write` failed may be in the journal after all: those up to `last`.

        Raises:
            sqlite3.Error: the file cannot be written yet.
        """
        self._disconnect()
        self._connect()
        busy = self._value("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise sqlite3.OperationalError("the log cannot be written back")
        # A checkpoint of an empty log writes nothing. Only a real write shows that there is space.
        self._connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        self._find_end()

    def sync(self) -> None:
        """With "relaxed" durability: bring all records written so far to the disk."""
        if self._durability == "relaxed" and self._unsynced:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._unsynced = False

    # -- pruning

    def prune(self, now: float) -> int:
        """
        Delete the records of some calls that ended long enough ago.

        Args:
            now: wall time, seconds since the epoch.

        Returns:
            0 if there is nothing left to delete; else more calls are to be examined, and the number
            of records deleted now, at least 1.
        """
        before = now - self._keep
        if self.used > self._max_size:
            before = inf  # delete by position, which is the order of age even if the clock jumped
        self.update_index()
        db = self._connection
        examined = db.execute(_OLDEST, (self._pruned_to, CALLS_PER_PRUNE)).fetchall()
        old = [
            {"begun": begun, "call": call}
            for begun, call, _, last_at, live in examined
            if not live and last_at < before
        ]
        deleted = 0
        if old:
            with self._transaction():
                deleted = db.executemany(_PRUNE_EVENTS, old).rowcount
                self.pruned += deleted
                db.executemany("DELETE FROM parts WHERE begun = :begun", old)
                db.executemany(_PRUNE_NAMES, old)
        # A call that began later did not end earlier, unless the clock was set back in between.
        if len(examined) < CALLS_PER_PRUNE or before <= examined[-1][2] <= now:
            self._pruned_to = 0
            return deleted
        self._pruned_to = examined[-1][0]
        return deleted or 1

    @property
    def used(self) -> int:
        """The size of the file without its free pages, in octets."""
        pages = self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")
        return int(pages * self._value("PRAGMA page_size"))


@runtime_checkable
class FileStore(Protocol):
    """A store that keeps a `JournalFile`, which can be copied and checked while umd runs."""

    def between_commits(self, work: Callable[[JournalFile], T]) -> Deferred[T]:
        """
        Call `work` with the file, in the writer's thread, between two commits.

        Commits wait meanwhile, so `work` must return within some milliseconds. Nothing is pruned
        for the next two minutes, so that a copy made in several pieces is a copy of one state.
        """


_OLDEST: Final = """
    SELECT p.begun, first.call, first.at, last.at,
        EXISTS (SELECT 1 FROM live WHERE live.begun = p.begun)
    FROM (
        SELECT begun, min(position) AS first, max(position) AS last FROM parts
        WHERE begun > ? GROUP BY begun ORDER BY begun LIMIT ?
    ) AS p
    CROSS JOIN events AS first ON first.position = p.first
    CROSS JOIN events AS last ON last.position = p.last
"""
_PRUNE_EVENTS: Final = """
    DELETE FROM events WHERE position IN (SELECT position FROM parts WHERE begun = :begun)
"""
_PRUNE_NAMES: Final = """
    DELETE FROM names WHERE batch = (SELECT max(batch) FROM names WHERE batch < :begun)
    AND call = :call AND begun = :begun
"""
"""
Deletes the id of a call from its batch.

The number of a batch is the position before its first event, so the call is in the batch with the
largest number below its first position.
"""
