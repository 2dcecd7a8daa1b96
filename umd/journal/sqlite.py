"""
The store that keeps the journal in a SQLite file, written by a thread of its own (group commit).

There is no fixed commit interval. While one commit is on its way to the disk, the records of the
next one queue. The callbacks of a commit run together in one turn of the reactor.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import itemgetter
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.journal.file import FileStore, JournalFile
from umd.journal.store import CannotOpen, Row, Store, Stored

T = TypeVar("T")
Callback: TypeAlias = tuple[Callable[[Any], None], Any]
"""A function and its argument, called once a record is durable."""

MAX_ROWS_PER_COMMIT: Final = 1024
"""Writing this many rows takes a small part of the time that the sync of the commit takes."""
RETRY_INTERVAL: Final = 0.5  # seconds between two attempts to write, for example to a full disk
SYNC_INTERVAL: Final = 1.0  # seconds between two syncs with "relaxed" durability
PRUNE_INTERVAL: Final = 30.0  # seconds from the end of one pruning to the next
PRUNE_PAUSE_AFTER_COPY: Final = 120.0
"""
Seconds without pruning after a piece of a copy was read.

Longer than a client may wait before it asks for the next piece.
"""
ERRORS_OF_A_ROW: Final = (
    ValueError, TypeError, OverflowError,
    sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError,
)  # fmt: skip
"""Raised for the values of a row before anything is written; all other errors are the disk's."""


class SqliteStore(Store, FileStore):
    """
    A store in a SQLite file.

    All methods are called in the reactor's thread; those below "the writer's thread" are not.

    Args:
        file: the journal, not open yet.
        call_in_reactor: `reactor.callFromThread`.
        log: receives the events `journal.*`.
        wall: returns the wall time, in seconds since the epoch.
        refuse_on_error: while nothing can be written, callbacks wait until their record is durable
            (True), or are called at once (False).
        on_trouble: called in the reactor with the reason when nothing can be written, and with None
            when records can be written again.
    """

    def __init__(
        self,
        file: JournalFile,
        call_in_reactor: Callable[..., object],
        log: FilteringBoundLogger,
        *,
        wall: Callable[[], float] = time.time,
        refuse_on_error: bool = True,
        on_trouble: Callable[[str | None], None] = lambda reason: None,
    ) -> None:
        self.trouble: str | None = None
        self.next_position = 1
        self.commits = 0
        """How many commits have succeeded."""
        self.rows = 0
        """How many records were written."""
        self._file = file
        self._call_in_reactor = call_in_reactor
        self._log = log
        self._wall = wall
        self._refuse_on_error = refuse_on_error
        self._on_trouble = on_trouble
        self._queue: deque[tuple[Row | None, Callback | None]] = deque()
        """Records to be written, and what to call then; of a flush only the callback."""
        self._reads: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        """Functions that the writer calls between two commits, and where their results go."""
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._awake = False
        """Whether the writer was woken and has not looked at the queues since."""
        self._closing: Deferred[None] | None = None
        """Fires when the writer has ended; None: the store is not being closed."""
        self._thread = threading.Thread(target=self._run, name="umd-journal", daemon=True)
        # Used by the writer's thread alone:
        self._unwritten: list[Row] = []
        self._callbacks: list[Callback] = []
        self._failed_at: float | None = None
        """Monotonic time of the last failed commit; None: the last one succeeded."""
        self._synced_at = self._pruned_at = self._no_pruning_until = 0.0

    @property
    def set_aside(self) -> str | None:
        """Where the damaged journal found at the start is now, and what is wrong with it."""
        return self._file.set_aside

    def open(self) -> None:
        self._file.open()
        self.next_position = self._file.last + 1
        if self.set_aside is not None:
            self._log.error("journal.set-aside", file=self.set_aside)
        if self._file.migrated_from is not None:
            self._log.info("journal.migrated", from_schema=self._file.migrated_from)

    def begin(self) -> None:
        """Start the writer. From now on only its thread uses the file."""
        self._thread.start()

    def live(self) -> Iterator[tuple[int, list[Stored]]]:
        return self._file.live()

    def ended(self, since: float, limit: int) -> list[Stored]:
        return self._file.ended(since, limit)

    def append(
        self, row: Row, then: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        self.next_position = row.position + 1
        self._queue.append((row, None if then is None else (then, argument)))
        if not self._awake:
            self._awake = True
            self._wake.put(None)

    def flush(self, then: Callable[[Any], None], argument: Any = None) -> None:
        self._queue.append((None, (then, argument)))
        if not self._awake:
            self._awake = True
            self._wake.put(None)

    def read(self, after: int, limit: int, call: str | None = None) -> Deferred[list[Stored]]:
        return self._call_in_writer(lambda: self._file.read(after, limit, call))

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        return self._call_in_writer(lambda: self._file.find(text, limit))

    def between_commits(self, work: Callable[[JournalFile], T]) -> Deferred[T]:
        def pause_pruning_and_work() -> T:
            self._no_pruning_until = time.monotonic() + PRUNE_PAUSE_AFTER_COPY
            return work(self._file)

        return self._call_in_writer(pause_pruning_and_work)

    def close(self) -> Deferred[None]:
        closed = self._closing = Deferred()
        if self._thread.is_alive():
            self._wake.put(None)
        else:
            self._file.close()
            closed.callback(None)
        return closed

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def last(self) -> int:
        """The position of the last durable record."""
        return self._file.last

    @property
    def waiting(self) -> int:
        """How many records are not durable yet."""
        return len(self._queue) + len(self._unwritten)

    def _call_in_writer(self, work: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        if self._closing is not None:
            result.errback(CannotOpen("the journal is being closed"))
            return result
        self._reads.append((work, result))
        if not self._awake:
            self._awake = True
            self._wake.put(None)
        return result

    def _run_callbacks(self, callbacks: list[Callback]) -> None:
        for then, argument in callbacks:
            try:
                then(argument)
            except Exception:
                # A bug in umd. The other callbacks of this commit are still called.
                self._log.exception("journal.failed")

    def _report_trouble(self, trouble: str | None) -> None:
        self.trouble = trouble
        if trouble is None:
            self._log.info("journal.recovered", records=self.rows)
        else:
            insist = self._refuse_on_error
            self._log.error("journal.cannot-be-written", why=trouble, insist=insist)
        self._on_trouble(trouble)

    def _report_refused_row(self, row: Row, reason: str) -> None:
        self._log.error("journal.record-refused", call=row.call, why=reason)

    # -- the writer's thread

    def _run(self) -> None:
        _use_batch_scheduling()
        try:
            while self._closing is None or self._queue:
                self._wait_for_work()
                self._awake = False
                # One commit, then the rest: under load the queue never empties, and reads, syncs
                # and pruning must not wait for that.
                if self._queue or self._unwritten:
                    self._commit_next()
                self._answer_reads()
                if self._failed_at is not None and self._closing is not None:
                    break
                self._sync_and_prune()
        except BaseException as error:
            # A bug in umd. Nothing more is written, and requests that need a record are refused.
            self._call_in_reactor(self._report_trouble, f"its writer has failed: {error!r}")
        self._file.close()
        self._answer_reads()
        if self._closing is not None:
            self._call_in_reactor(self._closing.callback, None)

    def _wait_for_work(self) -> None:
        if self._failed_at is not None:
            timeout = RETRY_INTERVAL
        elif self._queue or self._reads:
            timeout = 0.0
        else:
            timeout = SYNC_INTERVAL
        try:
            if timeout:
                self._wake.get(timeout=timeout)
            else:
                self._wake.get_nowait()
        except Empty:
            pass

    def _commit_next(self) -> None:
        """Commit the queued records of one commit; after a failure, only when a retry is due."""
        queue = self._queue
        rows, callbacks = self._unwritten, self._callbacks
        for _ in range(min(len(queue), MAX_ROWS_PER_COMMIT)):
            row, callback = queue.popleft()
            if row is not None:
                rows.append(row)
            if callback is not None:
                callbacks.append(callback)
        if self._failed_at is not None and not self._retry_is_due(self._failed_at):
            self._release_callbacks()
            return
        try:
            if self._failed_at is not None:
                self._file.reopen()
                # Rows whose write failed may be in the journal after all.
                self._written()
            while rows:
                self._write(rows[:MAX_ROWS_PER_COMMIT])
        except Exception as error:
            self._fail(error)
            return
        self.commits += 1
        if self._failed_at is not None:
            self._failed_at = None
            self._call_in_reactor(self._report_trouble, None)
        if callbacks:
            self._callbacks = []
            self._call_in_reactor(self._run_callbacks, callbacks)

    def _write(self, rows: list[Row]) -> None:
        """
        Write the first of the unwritten rows, and remove them from those.

        A row with a value that SQLite cannot store is reported and left out. No later record gets
        its position.

        Raises:
            sqlite3.Error: the disk cannot be written. The rows that are written are removed.
        """
        try:
            self._file.write(rows)
            self._written()
        except ERRORS_OF_A_ROW as error:
            if len(rows) == 1:
                self._unwritten.remove(rows[0])
                self._call_in_reactor(self._report_refused_row, rows[0], repr(error))
                return
            for row in rows:
                self._write([row])

    def _written(self) -> None:
        """Remove and count the rows that are in the journal."""
        rows, last = self._unwritten, self._file.last
        count = bisect_right(rows, last, key=itemgetter(0))
        del rows[:count]
        self.rows += count

    def _retry_is_due(self, failed_at: float) -> bool:
        return time.monotonic() - failed_at >= RETRY_INTERVAL * 0.9

    def _fail(self, error: Exception) -> None:
        """
        Note that nothing can be written at the moment; it is tried again.

        An error that is a bug in umd is handled in the same way. If the writer ended, every request
        that waits for a record would wait forever.
        """
        was_failing = self._failed_at is not None
        self._failed_at = time.monotonic()
        if not was_failing:
            from_disk = isinstance(error, sqlite3.Error)
            trouble = str(error) if from_disk else f"umd's mistake: {error!r}"
            self._call_in_reactor(self._report_trouble, trouble)
        self._release_callbacks()

    def _release_callbacks(self) -> None:
        """Run the callbacks without a durable record, if the configuration allows that."""
        if not self._refuse_on_error and self._callbacks:
            callbacks, self._callbacks = self._callbacks, []
            self._call_in_reactor(self._run_callbacks, callbacks)

    def _answer_reads(self) -> None:
        reads = self._reads
        while reads:
            work, result = reads.popleft()
            try:
                value = work()
            except Exception:
                self._call_in_reactor(result.errback, Failure())
            else:
                self._call_in_reactor(result.callback, value)

    def _sync_and_prune(self) -> None:
        now = time.monotonic()
        try:
            if now - self._synced_at >= SYNC_INTERVAL:
                self._synced_at = now
                self._file.sync()
            due = now >= max(self._pruned_at + PRUNE_INTERVAL, self._no_pruning_until)
            if due and self._failed_at is None:
                if self._file.prune(self._wall()) == 0:
                    self._pruned_at = now
        except Exception as error:
            self._fail(error)


def _use_batch_scheduling() -> None:
    """
    Let this thread wait for a free processor when it wakes up, instead of preempting the reactor.

    After each sync the writer would take the processor from the reactor, only to wait for the GIL
    that the reactor holds. On one core that took a third of the time of a Disconnect. A thread with
    the policy SCHED_BATCH gets its share of the processor but does not preempt (sched(7)).
    """
    with suppress(AttributeError, OSError):  # another system than Linux, or not permitted
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
