"""Reads the whole journal of a running daemon, in short turns: for a backup, and for a check."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from sqlite3 import DatabaseError
from typing import Final

from umd.call.record import seq_of
from umd.journal.check import JournalCheck
from umd.journal.copy import row_to_json
from umd.journal.file import FileStore, JournalFile
from umd.journal.schema import EventRow
from umd.journal.store import Store
from umd.management.refusals import JournalChanged, JournalDamaged, NoJournal, Reply

RECORDS_PER_REPLY: Final = 200
PROGRESS_INTERVAL: Final = 2.0
"""Seconds between two replies that report the progress of a check."""
NO_JOURNAL: Final = "no journal is kept: journal.path in the configuration says where"


def require_file(store: Store | None) -> FileStore:
    """
    Return the store as one that keeps a file.

    Raises:
        NoJournal
    """
    if store is None:
        raise NoJournal(NO_JOURNAL)
    if not isinstance(store, FileStore):
        raise NoJournal("the journal of this umd is no file")
    return store


async def copy_journal(store: FileStore) -> AsyncGenerator[Reply, None]:
    """
    Yield the position of the last record that is durable now, then all records up to it.

    Raises:
        JournalDamaged: SQLite cannot read a record.
        JournalChanged: the daemon deleted old records meanwhile.
    """

    def begin(file: JournalFile) -> tuple[int, int]:
        return file.last, file.pruned

    def read_rows(file: JournalFile) -> tuple[list[EventRow], int]:
        return file.rows_after(after, RECORDS_PER_REPLY), file.pruned

    last, pruned = await store.between_commits(begin)
    yield {"copy": {"last": last}}
    after = 0
    while after < last:
        try:
            rows, pruned_now = await store.between_commits(read_rows)
        except DatabaseError as error:
            raise JournalDamaged(f"the journal cannot be read: {error}") from error
        if pruned_now != pruned:
            raise JournalChanged("umd deleted old records meanwhile; try again")
        if not rows:
            break
        after = rows[-1][0]
        yield {"records": [row_to_json(row) for row in rows if row[0] <= last]}


async def check_journal(
    store: FileStore, wall: Callable[[], float]
) -> AsyncGenerator[Reply, None]:
    """
    Check the records and the index in steps; yield the progress now and then, and the result.

    Args:
        wall: returns the wall time, in seconds.
    """
    check = await store.between_commits(lambda file: JournalCheck(file, seq_of))
    reported_at = wall()
    while await store.between_commits(lambda _: check.step()):
        if wall() - reported_at >= PROGRESS_INTERVAL:
            reported_at = wall()
            yield {"checked": check.records}
    yield {"check": check.result()}
