"""
Backup, check and compaction of a journal, for the commands.

The running umd has its journal to itself, so that it is asked for the records; where none runs, the
file is read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from umd.call.record import seq_of
from umd.errors import UmdError
from umd.journal.check import JournalCheck
from umd.journal.copy import CannotCopy, JournalCopy, check_target, row_from_json
from umd.journal.paths import COMPACTING_SUFFIX, find_path
from umd.journal.reader import JournalReader
from umd.journal.store import CannotOpen
from umd.management.client import Refusal, Unreachable, ask
from umd.management.history import opened_journal as open_or_refuse
from umd.runtime.lock import FileLock, Held

RECORDS_AT_ONCE: Final = 10_000
ROWS_AT_ONCE: Final = 1_000_000
"""Rows of the index that are looked at in one go where nobody waits for the file."""


class Damaged(UmdError):
    """A journal that is damaged, so that no good copy of it can be made."""


class InUse(UmdError):
    """A journal that a umd has open."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    journal: str | None
    """The file; None: that of the umd that runs."""
    records: int
    calls: int
    live_calls: int
    found: int
    """How many problems."""
    problems: list[str]
    """The first of them."""

    @property
    def good(self) -> bool:
        return not self.found


def backup(socket: str | None, journal: str | None, target: str) -> Checked:
    """
    Copy a journal to a file that is not there yet, and check the copy.

    Args:
        socket: of the umd to ask; the one that is there by default.
        journal: the file to read where no umd runs, or where it is named.
        target: the new file; of the caller, and for nobody else to read.

    Raises:
        CannotCopy: the target cannot be written.
        Damaged: the journal cannot be read.
        Unreachable: neither a umd nor a journal is there.
        Refusal: that umd keeps no journal.
    """
    check_target(target)
    trouble = None
    if journal is None:
        try:
            return _copy_running(socket, target)
        except Unreachable as error:
            trouble = error
    with opened_journal(journal, trouble) as reader, JournalCopy(target) as copy:
        _copy_file(reader, copy)
        return _checked_copy(copy, target)


def check(socket: str | None, journal: str | None) -> Checked:
    """
    Check a journal: by itself and, where no umd has it open, whether SQLite can read every page.

    Args and raises as `backup`.
    """
    trouble = None
    if journal is None:
        try:
            result = [reply["check"] for reply in ask("check", socket) if "check" in reply][-1]
            return Checked(None, **result)
        except Unreachable as error:
            trouble = error
    with opened_journal(journal, trouble) as reader:
        return _check(reader)


def compact(journal: str | None) -> tuple[Checked, int, int]:
    """
    Write a journal anew, without free space, in place of the one that is there.

    It can be killed at any moment: until the new file is complete and on the disk, the old one is
    the journal.

    Args:
        journal: the file; by default that of the service.

    Returns:
        The check of the new one, and the octets of the old one and of the new one.

    Raises:
        InUse, Damaged, CannotCopy, Unreachable
    """
    named = journal or find_path()
    path = os.path.realpath(named)
    folder, base = os.path.split(named)
    with ExitStack() as locks:
        # A umd that has it by a link holds the lock of the link's name.
        for name in sorted({os.path.join(os.path.realpath(folder), base), path}):
            locks.enter_context(_locked(name))
        with opened_journal(path) as reader:
            _check_readable(reader)
        _fold_log(path)
        before = os.path.getsize(path)
        temporary = path + COMPACTING_SUFFIX
        try:
            os.unlink(temporary)  # of a compaction that was killed
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CannotCopy(f"{temporary} cannot be removed: {error.strerror}") from error
        with JournalCopy(path, temporary, like=path) as copy:
            with opened_journal(path) as reader:
                _copy_file(reader, copy)
            checked = _checked_copy(copy, path, replace=True)
    return checked, before, os.path.getsize(path)


def _copy_running(socket: str | None, target: str) -> Checked:
    replies = ask("copy", socket)
    first = next(replies)  # who cannot be reached is told before anything is written
    with JournalCopy(target) as copy:
        try:
            for reply in replies:
                copy.write([row_from_json(fields) for fields in reply["records"]])
        except Unreachable as error:
            raise CannotCopy(f"{target} is not complete, and removed: {error}") from error
        except Refusal as refusal:
            if refusal.kind == "damaged":
                raise Damaged(_damaged(str(refusal))) from refusal
            raise
        return _checked_copy(copy, target, first["copy"]["last"])


def _copy_file(reader: JournalReader, copy: JournalCopy) -> None:
    _check_readable(reader)
    after = 0
    try:
        while records := reader.rows_after(after, RECORDS_AT_ONCE):
            copy.write(records)
            after = records[-1][0]
    except sqlite3.Error as error:
        raise Damaged(_damaged(f"{reader.path}: {error}")) from error
    copy.complete(reader.last)


def _check_readable(reader: JournalReader) -> None:
    try:
        damage = reader.damages()
    except sqlite3.Error as error:
        damage = [str(error)]
    if damage:
        raise Damaged(_damaged(f"{reader.path}: {damage[0]}"))


def _damaged(what: str) -> str:
    return (
        f"the journal is damaged: {what.rstrip('.')}. The next start of umd sets it aside, under a "
        "name that says so, and begins a new one"
    )


def _checked_copy(
    copy: JournalCopy, path: str, last: int | None = None, replace: bool = False
) -> Checked:
    if last is not None:
        copy.complete(last)
    with opened_journal(copy.temporary) as reader:
        checked = _check(reader, path)
    copy.give_name(replace)
    return checked


def _check(reader: JournalReader, name: str | None = None) -> Checked:
    work = JournalCheck(reader, seq_of, ROWS_AT_ONCE)
    try:
        damage = reader.damages()
    except sqlite3.Error as error:
        damage = [str(error)]
    while work.step():
        pass
    result = work.result()
    result["problems"] = [*(f"SQLite: {line}" for line in damage), *result["problems"]]
    result["found"] += len(damage)
    return Checked(name or reader.path, **result)


@contextmanager
def opened_journal(path: str | None, trouble: Unreachable | None = None) -> Iterator[JournalReader]:
    """
    Raises:
        Damaged: SQLite cannot read it.
        Unreachable: it cannot be opened for another reason.
    """
    try:
        with open_or_refuse(path, trouble) as reader:
            yield reader
    except Unreachable as error:
        causes = (error.__cause__, error.__cause__ and error.__cause__.__cause__)
        for cause in causes:
            damaged = isinstance(cause, sqlite3.DatabaseError)
            if damaged and not isinstance(cause, sqlite3.OperationalError):
                raise Damaged(_damaged(f"{path or find_path()}: {cause}")) from error
        raise


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep every umd from a journal that is there."""
    if not os.path.exists(path):
        raise Unreachable(f"{path}: there is no such file; --journal names another.")
    was_there = os.path.exists(path + ".lock")
    try:
        lock = FileLock(path)
    except Held as held:
        raise InUse(
            f"{path}: a umd has it open (process {held.pid}). Stop it, compact, and start it "
            "again; calls live on meanwhile, and the next umd can end them"
        ) from None
    except OSError as error:
        raise CannotCopy(f"{path}.lock cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        # One of ours would belong to who compacts, and keep umd out.
        if was_there:
            lock.leave()
        else:
            lock.release()


def _fold_log(path: str) -> None:
    """Write back what a umd that was killed left in the log, which then is no more."""
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = DELETE")
        finally:
            db.close()
    except sqlite3.Error as error:
        raise CannotCopy(f"{path} cannot be written: {error}") from error
    if os.path.exists(path + "-wal"):
        raise CannotOpen(f"{path}: its log is still there, another program has it open")
