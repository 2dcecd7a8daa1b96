"""
A copy of a journal: a new file that gets its name only when it is complete and on the disk.

Records are copied, not pages: the copy has no free space in it, and its index is made anew.
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
from umd.journal.file import COMPACTING
from umd.journal.schema import APPLICATION_ID, INDEX, INSERT, MIGRATIONS, Copied

RECORDS_PER_INDEX_BATCH: Final = 10_000
OF_SQLITE: Final = ("-wal", "-shm", "-journal")
"""What the names of the files end with that SQLite takes for a part of the journal beside them."""
BESIDE: Final = (*OF_SQLITE, ".lock", COMPACTING)
"""The same with the files of umd, which it overwrites or removes."""


class CannotCopy(UmdError):
    """The copy cannot be written; the text says why, and nothing of it is left."""


class JournalCopy:
    """
    A journal that is being written, for `with`: what is not finished is removed.

    Args:
        path: what the copy is called once it is complete.
        temporary: what it is called before; by default a name of this process alone.
        like: the file whose owner and mode it gets; by default the caller's, and 0600.
    """

    def __init__(self, path: str, temporary: str | None = None, like: str | None = None) -> None:
        self.path = path
        self.temporary = temporary or f"{path}.{os.getpid()}.part"
        self.records = 0
        self._like = like
        self._indexed = 0
        self._last = 0
        self._since_index = 0
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> JournalCopy:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(self.temporary, flags, 0o600)
            try:
                if self._like is not None:
                    there = os.stat(self._like)
                    os.fchown(file, there.st_uid, there.st_gid)
                    os.fchmod(file, there.st_mode & 0o7777)
            finally:
                os.close(file)
            self._begin()
        except OSError as error:
            self._remove(error)
            raise self._cannot(error.strerror or str(error)) from error
        except sqlite3.Error as error:
            self._remove()
            raise self._cannot(str(error)) from error
        except BaseException:
            self._remove()
            raise
        return self

    def _begin(self) -> None:
        self._db = sqlite3.connect(self.temporary, isolation_level=None)
        # Nobody reads it before it is complete, and `finish` syncs it.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA temp_store = MEMORY")
        self._db.executescript("".join(MIGRATIONS))
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        self._db.execute("BEGIN")

    def write(self, records: Sequence[Copied]) -> None:
        """
        Add records, in the order of their positions.

        Raises:
            CannotCopy
        """
        assert self._db is not None
        try:
            self._db.executemany(INSERT[1], records)
            if records:
                self._last = records[-1][0]
            self.records += len(records)
            self._since_index += len(records)
            if self._since_index >= RECORDS_PER_INDEX_BATCH:
                self._index(self._last)
        except sqlite3.Error as error:
            raise self._cannot(str(error)) from error

    def complete(self, last: int) -> None:
        """
        Close the file, indexed and on the disk; it has its temporary name yet.

        Args:
            last: the last position that was ever given; that of a record which was let go, maybe.

        Raises:
            CannotCopy
        """
        db, self._db = self._db, None
        assert db is not None
        try:
            for statement in INDEX:
                db.execute(statement, {"after": self._indexed, "last": max(last, self._last)})
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._cannot(str(error)) from error
        finally:
            db.close()
        try:
            _sync(self.temporary)
        except OSError as error:
            raise self._cannot(error.strerror or str(error)) from error

    def give_name(self, replace: bool = False) -> None:
        """
        Let a complete copy have its name; durable when it returns.

        Args:
            replace: whether it takes the place of a file that is there.

        Raises:
            CannotCopy
        """
        try:
            if replace:
                os.replace(self.temporary, self.path)
            else:
                _rename_to_new(self.temporary, self.path)
            _sync(os.path.dirname(os.path.abspath(self.path)))
        except FileExistsError:
            raise self._cannot("there is such a file, and it is left as it is") from None
        except OSError as error:
            raise self._cannot(error.strerror or str(error)) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _index(self, last: int) -> None:
        assert self._db is not None
        for statement in INDEX:
            self._db.execute(statement, {"after": self._indexed, "last": last})
        self._indexed = last
        self._since_index = 0

    def _remove(self, error: OSError | None = None) -> None:
        """Remove what is not finished; a file that was there before is not ours."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
        if error is None or error.errno not in (errno.EEXIST, errno.ELOOP):
            with suppress(OSError):
                os.unlink(self.temporary)

    def _cannot(self, why: str) -> CannotCopy:
        return CannotCopy(f"{self.path} cannot be written: {why}")


def copied_to_json(record: Copied) -> list[Any]:
    """A record for another process; its octets as Latin-1, which has a character for each."""
    position, call, step, at, octets, extra = record
    text = None if extra is None else extra.decode("latin-1")
    return [position, call, step, at, octets.decode("latin-1"), text]


def copied_from_json(record: list[Any]) -> Copied:
    """Reads what `copied_to_json` gave."""
    position, call, step, at, octets, extra = record
    found = None if extra is None else extra.encode("latin-1")
    return position, call, step, at, octets.encode("latin-1"), found


def check_new(path: str) -> None:
    """
    See that a journal may be made at a path, so that nobody waits for a copy that is refused.

    Raises:
        CannotCopy
    """
    if os.path.isdir(path) or not os.path.basename(path):
        raise CannotCopy(f"{path!r} names a folder; name a file in it, one that is not there yet")
    for end in BESIDE:
        owner = path.removesuffix(end)
        if owner != path and os.path.lexists(owner):
            raise CannotCopy(f"{path} belongs to {owner}, with which it is used; name another file")
    for name in (path, *(path + end for end in OF_SQLITE)):
        # SQLite would take a log of another file for that of this one.
        if os.path.lexists(name):
            raise CannotCopy(f"{name} is there already; nothing is overwritten, name another file")


def _rename_to_new(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A file system without hard links.
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
