"""
Copies a journal: into a new file that gets its name only when it is complete and on the disk.

A copy is made of records, not of database pages: it has no free space, and an index of its own.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from umd.errors import UmdError
from umd.journal.paths import COMPACTING_SUFFIX, LOCK_SUFFIX, SQLITE_SUFFIXES
from umd.journal.schema import (
    APPLICATION_ID,
    INSERT_EVENTS,
    MIGRATIONS,
    UPDATE_INDEX,
    EventRow,
)
from umd.journal.store import Step

RECORDS_PER_INDEX_BATCH: Final = 10_000
RESERVED_SUFFIXES: Final = (*SQLITE_SUFFIXES, LOCK_SUFFIX, COMPACTING_SUFFIX)
"""Ends of file names that SQLite or umd uses beside a journal, and overwrites or removes."""


class CannotCopy(UmdError):
    """The copy cannot be written. The text says why, and no part of the copy is left."""


class JournalCopy:
    """
    A context manager that writes a copy of a journal, and removes it if it is not completed.

    Args:
        path: the name of the complete copy.
        temporary: its name before; by default a name with the id of this process.
        like: a file whose owner and mode the copy gets; by default the caller is the owner, and the
            mode is 0600.
    """

    def __init__(self, path: str, temporary: str | None = None, like: str | None = None) -> None:
        self.path = path
        self.temporary = temporary or f"{path}.{os.getpid()}.part"
        self.records = 0
        """How many records were written."""
        self._like = like
        self._indexed = 0
        """The position of the last record that is in the index."""
        self._last = 0
        """The position of the last record written."""
        self._since_index = 0
        """How many records were written since the index was updated."""
        self._begun: dict[str, int] = {}
        """The position of the first record of each call that has not ended."""
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> JournalCopy:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self.temporary, flags, 0o600)
            try:
                if self._like is not None:
                    status = os.stat(self._like)
                    os.fchown(file, status.st_uid, status.st_gid)
                    os.fchmod(file, status.st_mode & 0o7777)
            finally:
                os.close(file)
            self._begin()
        except OSError as error:
            self._remove(error)
            raise self._cannot_copy(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            self._remove()
            raise self._cannot_copy(str(error)) from error
        except BaseException:
            self._remove()
            raise
        return self

    def _begin(self) -> None:
        self._db = sqlite3.connect(self.temporary, isolation_level=None)
        # An incomplete copy is never read, and `complete` syncs it.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.executescript("".join(MIGRATIONS))
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        self._db.execute("BEGIN")

    def write(self, rows: Sequence[EventRow]) -> None:
        """
        Add records, in the order of their positions.

        Where their calls begin is found anew, as the index is.

        Raises:
            CannotCopy: for example, the disk is full.
        """
        assert self._db is not None
        try:
            self._db.executemany(INSERT_EVENTS[1], map(self._with_begun, rows))
            if rows:
                self._last = rows[-1][0]
            self.records += len(rows)
            self._since_index += len(rows)
            if self._since_index >= RECORDS_PER_INDEX_BATCH:
                self._update_index(self._last)
        except sqlite3.Error as error:
            raise self._cannot_copy(str(error)) from error

    def _with_begun(self, row: EventRow) -> EventRow:
        position, call, step, at, record, extra, _ = row
        if step == Step.BEGINS:
            self._begun[call] = begun = position
        elif step == Step.ENDS:
            begun = self._begun.pop(call, position)
        else:
            begun = self._begun.get(call, position)
        return position, call, step, at, record, extra, begun

    def complete(self, last: int) -> None:
        """
        Complete the index and bring the file to the disk, still under its temporary name.

        Args:
            last: the last position that the journal has given; its record may have been pruned.

        Raises:
            CannotCopy: for example, the disk is full.
        """
        db, self._db = self._db, None
        assert db is not None
        try:
            for statement in UPDATE_INDEX:
                db.execute(statement, {"after": self._indexed, "last": max(last, self._last)})
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._cannot_copy(str(error)) from error
        finally:
            db.close()
        try:
            _sync(self.temporary)
        except OSError as error:
            raise self._cannot_copy(error.strerror or str(error)) from error

    def give_name(self, replace: bool = False) -> None:
        """
        Rename a complete copy to its own name; the new name is on the disk on return.

        Args:
            replace: whether a file of this name is replaced.

        Raises:
            CannotCopy: for example, there is such a file and `replace` is False.
        """
        try:
            if replace:
                os.replace(self.temporary, self.path)
            else:
                _rename_to_new(self.temporary, self.path)
            _sync(os.path.dirname(os.path.abspath(self.path)))
        except FileExistsError:
            raise self._cannot_copy("there is such a file, and it was not changed") from None
        except OSError as error:
            raise self._cannot_copy(error.strerror or str(error)) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _update_index(self, last: int) -> None:
        assert self._db is not None
        for statement in UPDATE_INDEX:
            self._db.execute(statement, {"after": self._indexed, "last": last})
        self._indexed = last
        self._since_index = 0

    def _remove(self, error: OSError | None = None) -> None:
        """Remove the temporary file, unless `error` says that it was there before."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
        if error is None or error.errno not in (errno.EEXIST, errno.ELOOP):
            with suppress(OSError):
                os.unlink(self.temporary)

    def _cannot_copy(self, reason: str) -> CannotCopy:
        return CannotCopy(f"{self.path} cannot be written: {reason}")


def row_to_json(row: EventRow) -> list[Any]:
    """
    Return a row as JSON values, its octets decoded as Latin-1, which has all 256 of them.

    A copy finds anew where a call begins, so `begun` is left out.
    """
    position, call, step, at, record, extra, _ = row
    extra_text = None if extra is None else extra.decode("latin-1")
    return [position, call, step, at, record.decode("latin-1"), extra_text]


def row_from_json(fields: list[Any]) -> EventRow:
    """Return the row that `row_to_json` wrote, without `begun`."""
    position, call, step, at, record, extra_text = fields
    extra = None if extra_text is None else extra_text.encode("latin-1")
    return position, call, step, at, record.encode("latin-1"), extra, None


def check_target(path: str) -> None:
    """
    Check that a copy may be written at a path, before the work of copying begins.

    Raises:
        CannotCopy: the path is a directory, exists, or is reserved for a journal beside it.
    """
    if os.path.isdir(path) or not os.path.basename(path):
        raise CannotCopy(f"{path!r} is a directory; name a new file in it")
    for suffix in RESERVED_SUFFIXES:
        journal = path.removesuffix(suffix)
        if journal != path and os.path.lexists(journal):
            raise CannotCopy(f"{path} belongs to {journal}, which uses it; name another file")
    for name in (path, *(path + suffix for suffix in SQLITE_SUFFIXES)):
        # SQLite would take the log of another database for that of the copy.
        if os.path.lexists(name):
            raise CannotCopy(f"{name} is there already, and is not overwritten; name another file")


def _rename_to_new(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # The file system has no hard links.
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new)
    else:
        os.unlink(old)


def _sync(path: str) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a directory
            raise
    finally:
        os.close(file)
