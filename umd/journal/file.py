"""
The journal as one SQLite file: how it is opened, written and pruned. Knows no Twisted.

Exactly one connection ever writes, checkpoints and reads a journal in use: it holds the file
exclusively. SQLite before 3.51.3 can damage a file in WAL mode when a second connection checkpoints
at the same moment (reference ecosystem, 3), and so nobody else gets in, not even to look.
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

from umd.journal.queries import JournalQueries, explain
from umd.journal.schema import APPLICATION_ID, INDEX, INSERT, MIGRATIONS
from umd.journal.store import CannotOpen, Row
from umd.runtime.lock import FileLock, Held

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

T = TypeVar("T")

Durability: TypeAlias = Literal["full", "relaxed"]

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
_MAGIC: Final = b"SQLite format 3\0"


COMPACTING: Final = ".compacting"
"""What the name of a journal that is being compacted ends with; a killed compaction leaves it."""


class JournalFile(JournalQueries):
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
        super().__init__(path)
        self.set_aside: str | None = None
        """Where a damaged file was moved to by `open`."""
        self.migrated_from: int | None = None
        """The version of the schema that `open` found and brought forward."""
        self.pruned = 0
        """How many records were let go since it was opened."""
        self._durability = durability
        self._keep = keep
        self._max_size = max_size
        self._migrations = migrations
        self._lock: FileLock | None = None
        self._unsynced = False
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
            raise self._cannot(explain(error)) from error
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
            raise self._cannot(explain(error)) from error

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
        self._connection.execute(INSERT[len(rows)], values)

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
        for statement in INDEX:
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


@runtime_checkable
class KeepsFile(Protocol):
    """A store that is a file of this machine, which can be copied and checked while it is used."""

    def between_commits(self, work: Callable[[JournalFile], T]) -> Deferred[T]:
        """
        Do something with the file between two commits, which wait for it: some milliseconds.

        Nothing is let go of for two minutes, so that a copy in several pieces is of one journal.
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
