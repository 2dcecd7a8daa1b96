"""
The embedded store: a SQLite file, written by one thread that commits what queued meanwhile.

There is no window of time: while one commit is on its way to the disk the next one gathers. All
that waits for a commit is done in one turn of the reactor.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from umd.journal.file import JournalFile, KeepsFile
from umd.journal.store import CannotOpen, Row, Store, Stored

T = TypeVar("T")
Act: TypeAlias = tuple[Callable[[Any], None], Any]

COMMITTED_AT_ONCE: Final = 1024
"""Rows: what a commit of so many takes is a small part of what its sync does."""
RETRY_EVERY: Final = 0.5  # seconds between two attempts while the disk is full, for example
SYNC_EVERY: Final = 1.0  # seconds between two syncs of what is "relaxed"
PRUNE_EVERY: Final = 30.0  # seconds
KEPT_FOR_COPY: Final = 120.0
"""Seconds after a piece of a copy for which nothing is pruned; longer than a client may wait."""
UNWRITABLE: Final = (
    ValueError, TypeError, OverflowError,
    sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError,
)  # fmt: skip
"""What a row's own values raise before anything is written, and no trouble with the disk."""


class SqliteStore(Store, KeepsFile):
    """
    Args:
        file: the journal, not open.
        call_in_reactor: `reactor.callFromThread`.
        log: for what goes wrong.
        wall: the time, seconds since the epoch.
        insist: whether what waits for a record waits until it is durable, whatever happens; else
            it goes on at once while nothing can be written.
        told: called in the reactor with why nothing can be written, and with None when all is well
            again.
    """

    def __init__(
        self,
        file: JournalFile,
        call_in_reactor: Callable[..., object],
        log: FilteringBoundLogger,
        *,
        wall: Callable[[], float] = time.time,
        insist: bool = True,
        told: Callable[[str | None], None] = lambda why: None,
    ) -> None:
        self.trouble: str | None = None
        self.commits = 0
        self.rows = 0
        self.told = told
        self._file = file
        self._call_in_reactor = call_in_reactor
        self._log = log
        self._wall = wall
        self._insist = insist
        self._queue: deque[tuple[Row | None, Act | None]] = deque()
        self._reads: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._awake = False
        """Somebody has woken the writer, and it has not looked yet."""
        self._closing = False
        self._closed: Deferred[None] | None = None
        self._thread = threading.Thread(target=self._run, name="umd-journal", daemon=True)
        # What the writer alone touches:
        self._unwritten: list[Row] = []
        self._owed: list[Act] = []
        self._failed_at = 0.0
        self._failing = False
        self._synced_at = self._pruned_at = self._keeps_all_until = 0.0

    # -- for the reactor

    @property
    def set_aside(self) -> str | None:
        """Where the damaged journal is that was found at the start, and what is wrong with it."""
        return self._file.set_aside

    def open(self) -> None:
        self._file.open()
        if self.set_aside is not None:
            self._log.error("journal.set-aside", file=self.set_aside)
        if self._file.migrated_from is not None:
            self._log.info("journal.migrated", from_schema=self._file.migrated_from)

    def begin(self) -> None:
        """Start to write: from now on the file is the writer's alone."""
        self._thread.start()

    def live(self) -> Iterator[list[Stored]]:
        return self._file.live()

    def ended(self, since: float, limit: int) -> list[Stored]:
        return self._file.ended(since, limit)

    def append(
        self, row: Row, then: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
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
        return self._ask(lambda: self._file.read(after, limit, call))

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        return self._ask(lambda: self._file.find(text, limit))

    def between_commits(self, work: Callable[[JournalFile], T]) -> Deferred[T]:
        def keeping_all() -> T:
            self._keeps_all_until = time.monotonic() + KEPT_FOR_COPY
            return work(self._file)

        return self._ask(keeping_all)

    def close(self) -> Deferred[None]:
        closed = self._closed = Deferred()
        self._closing = True
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
        """The position of the last record that is durable."""
        return self._file.last

    @property
    def waiting(self) -> int:
        """Records that are not durable yet."""
        return len(self._queue) + len(self._unwritten)

    def _ask(self, work: Callable[[], Any]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        if self._closing:
            answer.errback(CannotOpen("the journal is being closed"))
            return answer
        self._reads.append((work, answer))
        if not self._awake:
            self._awake = True
            self._wake.put(None)
        return answer

    def _act(self, acts: list[Act]) -> None:
        for then, argument in acts:
            try:
                then(argument)
            except Exception:
                # A mistake of ours; the others of this commit must not pay for it.
                self._log.exception("journal.failed")

    def _tell(self, trouble: str | None) -> None:
        self.trouble = trouble
        if trouble is None:
            self._log.info("journal.recovered", records=self.rows)
        else:
            self._log.error("journal.cannot-be-written", why=trouble, insist=self._insist)
        self.told(trouble)

    def _tell_unwritable(self, row: Row, why: str) -> None:
        self._log.error("journal.record-refused", call=row.call, why=why)

    # -- the writer

    def _run(self) -> None:
        _wake_without_haste()
        try:
            while not self._closing or self._queue:
                self._rest()
                self._awake = False
                # One commit at a time: under load there is always more, and reads, syncs and
                # pruning would wait for its end.
                if self._queue or self._unwritten:
                    self._turn()
                self._answer_reads()
                if self._failing and self._closing:
                    break
                self._tidy()
        except BaseException as error:
            # A mistake of ours. Nothing more is put on record, and whoever asks is told so.
            self._call_in_reactor(self._tell, f"its writer has failed: {error!r}")
        self._file.close()
        self._answer_reads()
        if self._closed is not None:
            self._call_in_reactor(self._closed.callback, None)

    def _rest(self) -> None:
        if self._queue or self._reads:
            patience = RETRY_EVERY if self._failing else 0.0
        else:
            patience = RETRY_EVERY if self._failing else SYNC_EVERY
        try:
            if patience:
                self._wake.get(timeout=patience)
            else:
                self._wake.get_nowait()
        except Empty:
            pass

    def _turn(self) -> None:
        """Commit what is there, all but for the next turn; nothing while it cannot be done."""
        queue = self._queue
        rows, owed = self._unwritten, self._owed
        for _ in range(min(len(queue), COMMITTED_AT_ONCE)):
            row, act = queue.popleft()
            if row is not None:
                rows.append(row)
            if act is not None:
                owed.append(act)
        if self._failing and not self._may_retry():
            self._let_go()
            return
        try:
            if self._failing:
                there = self._file.reopen()
                del rows[:there]
                self.rows += there
            while rows:
                # What is written is kept, should the disk be full again before the rest is.
                written = rows[:COMMITTED_AT_ONCE]
                kept = self._write(written)
                del rows[: len(written)]
                self.rows += kept
        except Exception as error:
            self._fail(error)
            return
        self.commits += 1
        if self._failing:
            self._failing = False
            self._call_in_reactor(self._tell, None)
        if owed:
            self._owed = []
            self._call_in_reactor(self._act, owed)

    def _write(self, rows: list[Row]) -> int:
        """
        Write rows; how many are kept.

        One that SQLite cannot hold is told and left out: the others must not pay for it.

        Raises:
            sqlite3.Error: nothing can be written.
        """
        try:
            self._file.write(rows)
            return len(rows)
        except UNWRITABLE as error:
            if len(rows) == 1:
                self._call_in_reactor(self._tell_unwritable, rows[0], repr(error))
                return 0
        return sum(self._write([row]) for row in rows)

    def _may_retry(self) -> bool:
        return time.monotonic() - self._failed_at >= RETRY_EVERY * 0.9

    def _fail(self, error: Exception) -> None:
        """
        Nothing can be written at the moment.

        A mistake of ours is no reason to stop: who waits for a record would wait for ever.
        """
        self._failed_at = time.monotonic()
        if not self._failing:
            self._failing = True
            disk = isinstance(error, sqlite3.Error)
            self._call_in_reactor(self._tell, str(error) if disk else f"umd's mistake: {error!r}")
        self._let_go()

    def _let_go(self) -> None:
        """Let what waits go on without a record, where that is wanted."""
        if not self._insist and self._owed:
            owed, self._owed = self._owed, []
            self._call_in_reactor(self._act, owed)

    def _answer_reads(self) -> None:
        reads = self._reads
        while reads:
            work, answer = reads.popleft()
            try:
                result = work()
            except Exception:
                self._call_in_reactor(answer.errback, Failure())
            else:
                self._call_in_reactor(answer.callback, result)

    def _tidy(self) -> None:
        now = time.monotonic()
        try:
            if now - self._synced_at >= SYNC_EVERY:
                self._synced_at = now
                self._file.sync()
            due = now >= max(self._pruned_at + PRUNE_EVERY, self._keeps_all_until)
            if due and not self._failing:
                if self._file.prune(self._wall()) == 0:
                    self._pruned_at = now
        except Exception as error:
            self._fail(error)


def _wake_without_haste() -> None:
    """
    Let this thread, when it is woken, wait until the processor is free.

    After each sync it would take it from the reactor in the middle of its work, only to wait for
    the interpreter: with both on one core, that was a third of what a Disconnect took. A thread of
    the policy SCHED_BATCH has its share of the processor and waits for it (sched(7)).
    """
    with suppress(AttributeError, OSError):  # another system, or it may not
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
