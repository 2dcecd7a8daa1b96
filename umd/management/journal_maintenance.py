"""
Backs up, checks and compacts a journal, for the commands.

A running umd locks its journal file, so the records come over its control socket. If no umd is
running, they come from the file.
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
from umd.management.journal_queries import opened_journal as open_or_refuse
from umd.runtime.lock import FileLock, Held

RECORDS_PER_READ: Final = 10_000
MAX_ROWS_PER_CHECK_STEP: Final = 1_000_000
"""Rows of the index checked in one step; large, because no daemon waits for the file."""


class Damaged(UmdError):
    """The journal is damaged, so it cannot be copied."""


class InUse(UmdError):
    """A running umd has the journal open."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check; its fields are the keys of `--json`."""

    journal: str | None
    """The file; None for the journal of the running umd."""
    records: int
    calls: int
    live_calls: int
    found: int
    """The number of problems."""
    problems: list[str]
    """The first problems, in words."""

    @property
    def good(self) -> bool:
        return not self.found


def backup(socket: str | None, journal: str | None, target: str) -> CheckResult:
    """
    Copy a journal to a new file, and check the copy.

    Args:
        socket: the control socket to ask; None for the default one.
        journal: the journal file to read; None asks the running umd first.
        target: the new file; only its owner can read it.

    Raises:
        CannotCopy: the target cannot be written.
        Damaged: the journal cannot be read.
        Unreachable: no umd is running, and no journal can be read.
        Refusal: the running umd keeps no journal.
    """
    check_target(target)
    not_running = None
    if journal is None:
        try:
            return _copy_running(socket, target)
        except Unreachable as error:
            not_running = error
    with opened_journal(journal, not_running) as reader, JournalCopy(target) as copy:
        _copy_file(reader, copy)
        return _checked_copy(copy, target)


def check(socket: str | None, journal: str | None) -> CheckResult:
    """
    Check the records and the index of a journal.

    If no umd has the file open, also check whether SQLite can read every page of it.

    Args and raises as `backup`.
    """
    not_running = None
    if journal is None:
        try:
            result = [reply["check"] for reply in ask("check", socket) if "check" in reply][-1]
            return CheckResult(None, **result)
        except Unreachable as error:
            not_running = error
    with opened_journal(journal, not_running) as reader:
        return _check(reader)


def compact(journal: str | None) -> tuple[CheckResult, int, int]:
    """
    Replace a journal file by a copy without free space.

    It is safe to kill this at any moment: the new file takes the name of the old one only when it
    is complete and on the disk.

    Args:
        journal: the file; None for that of the service.

    Returns:
        The check of the new file, and the sizes of the old and the new file in octets.

    Raises:
        InUse, Damaged, CannotCopy, Unreachable
    """
    named = journal or find_path()
    path = os.path.realpath(named)
    folder, base = os.path.split(named)
    with ExitStack() as locks:
        # A umd that opened the file through a symbolic link has locked the link's name.
        for name in sorted({os.path.join(os.path.realpath(folder), base), path}):
            locks.enter_context(_locked(name))
        with opened_journal(path) as reader:
            _check_readable(reader)
        _fold_log(path)
        before = os.path.getsize(path)
        temporary = path + COMPACTING_SUFFIX
        try:
            os.unlink(temporary)  # left by a compaction that was killed
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CannotCopy(f"{temporary} cannot be removed: {error.strerror}") from error
        with JournalCopy(path, temporary, like=path) as copy:
            with opened_journal(path) as reader:
                _copy_file(reader, copy)
            result = _checked_copy(copy, path, replace=True)
    return result, before, os.path.getsize(path)


def _copy_running(socket: str | None, target: str) -> CheckResult:
    replies = ask("copy", socket)
    first = next(replies)  # fails here, before anything is written, if no umd answers
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
        while records := reader.rows_after(after, RECORDS_PER_READ):
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


def _damaged(damage: str) -> str:
    return (
        f"the journal is damaged: {damage.rstrip('.')}. The next start of umd renames it "
        "and begins a new one"
    )


def _checked_copy(
    copy: JournalCopy, path: str, last: int | None = None, replace: bool = False
) -> CheckResult:
    if last is not None:
        copy.complete(last)
    with opened_journal(copy.temporary) as reader:
        result = _check(reader, path)
    copy.give_name(replace)
    return result


def _check(reader: JournalReader, name: str | None = None) -> CheckResult:
    journal_check = JournalCheck(reader, seq_of, MAX_ROWS_PER_CHECK_STEP)
    try:
        damage = reader.damages()
    except sqlite3.Error as error:
        damage = [str(error)]
    while journal_check.step():
        pass
    fields = journal_check.result()
    fields["problems"] = [*(f"SQLite: {line}" for line in damage), *fields["problems"]]
    fields["found"] += len(damage)
    return CheckResult(name or reader.path, **fields)


@contextmanager
def opened_journal(
    path: str | None, not_running: Unreachable | None = None
) -> Iterator[JournalReader]:
    """
    Open a journal file that no umd has open, as `umd.management.journal_queries` does.

    Raises:
        Damaged: SQLite cannot read it.
        Unreachable: it cannot be opened for another reason.
    """
    try:
        with open_or_refuse(path, not_running) as reader:
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
    """Hold the lock of a journal file that exists, so that no umd opens it."""
    if not os.path.exists(path):
        raise Unreachable(f"{path}: there is no such file; --journal names another.")
    lock_existed = os.path.exists(path + ".lock")
    try:
        lock = FileLock(path)
    except Held as held:
        raise InUse(
            f"{path}: a running umd has it open (process {held.pid}). Stop umd, compact, and "
            "start it again; calls continue meanwhile, and the next umd takes them over"
        ) from None
    except OSError as error:
        raise CannotCopy(f"{path}.lock cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        # A new lock file would belong to the user of this command, and could keep umd out.
        if lock_existed:
            lock.release_and_keep_file()
        else:
            lock.release()


def _fold_log(path: str) -> None:
    """Write the write-ahead log that a killed umd left into the database, and remove it."""
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
        raise CannotOpen(f"{path}: its log still exists, so another program has it open")
