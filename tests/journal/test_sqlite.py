"""The SQLite store: group commit, and what it does when the disk fails."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log
from tests.journal.rows import Event, write
from umd.journal import sqlite
from umd.journal.file import JournalFile
from umd.journal.sqlite import SqliteStore
from umd.journal.store import Row, Step


class Turns:
    """Stands in for the reactor: runs what the writer passes to it when the test says so."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], Any]] = deque()
        self._available = threading.Semaphore(0)

    def __call__(self, function: Callable[..., object], *arguments: Any) -> None:
        self._calls.append((function, arguments))
        self._available.release()

    def until(self, done: Callable[[], bool]) -> None:
        """Run calls until `done` returns True."""
        while not done():
            assert self._available.acquire(timeout=20), "the writer made no call within 20 s"
            function, arguments = self._calls.popleft()
            function(*arguments)


class FaultyFile(JournalFile):
    """A journal whose disk raises `fault`, if that is set."""

    fault: Exception | None = None
    committed_anyway = False
    commits: list[int]

    def write(self, rows: Sequence[Row]) -> None:
        if self.fault is not None:
            if self.committed_anyway and rows:
                last = self.last
                super().write(rows)
                self.last = last
            raise self.fault
        super().write(rows)
        self.commits.append(len(rows))

    def reopen(self) -> None:
        if self.fault is not None:
            raise self.fault
        super().reopen()


class StoreCase(SynchronousTestCase):
    refuse_on_error = True

    def setUp(self) -> None:
        self.turns = Turns()
        self.log, self.lines = capturing_log()
        self.file = FaultyFile(self.mktemp())
        self.file.commits = []
        self.troubles: list[str | None] = []
        self.done: list[Any] = []
        self.patch(sqlite, "RETRY_INTERVAL", 0.01)
        self.store = SqliteStore(
            self.file,
            self.turns,
            self.log,
            refuse_on_error=self.refuse_on_error,
            on_trouble=self.troubles.append,
        )
        self.store.open()
        self.store.begin()
        self.addCleanup(self.close)

    def close(self) -> None:
        self.file.fault = None
        self.result(self.store.close())

    def result(self, deferred: Deferred[Any]) -> Any:
        self.turns.until(lambda: deferred.called)
        return self.successResultOf(deferred)

    def append(self, call: str, step: int, then: Callable[[Any], None]) -> None:
        position = self.store.next_position
        row = Row(position, call, step, 1.0, b"{}", None, position)
        self.store.append(row, then, call)

    def keep(self, call: str) -> None:
        self.append(call, Step.BEGINS, self.done.append)

    def wait(self, calls: int) -> None:
        self.turns.until(lambda: len(self.done) == calls)

    def calls(self) -> list[str]:
        return [stored.call for stored in self.result(self.store.read(0, 10_000))]


class WriterTests(StoreCase):
    def test_callbacks_come_in_order_once_their_record_is_durable(self) -> None:
        names = [f"call-{index}" for index in range(3000)]
        for name in names:
            self.keep(name)
        self.wait(3000)
        self.assertEqual(self.done, names)
        self.assertEqual(self.calls(), names)

    def test_a_commit_writes_all_records_queued_during_the_one_before(self) -> None:
        """Group commit: not one commit for each record, and no fixed interval."""
        gate, entered = threading.Event(), threading.Event()
        write = self.file.write

        def held(rows: Sequence[Row]) -> None:
            entered.set()
            gate.wait(20)
            write(rows)

        self.file.write = held  # type: ignore[method-assign]
        self.keep("first")
        entered.wait(20)
        for index in range(50):
            self.keep(f"call-{index}")
        gate.set()
        self.wait(51)
        self.assertEqual(self.file.commits, [1, 50])

    def test_a_row_that_sqlite_cannot_store_is_left_out(self) -> None:
        names = ["first", "lone \udce9", "second", "third"]
        for name in names:
            step = 1 << 70 if name == "second" else Step.BEGINS
            self.append(name, step, self.done.append)
        self.wait(4)
        self.assertEqual(self.done, names)
        self.assertEqual(self.calls(), ["first", "third"])
        self.assertEqual(self.troubles, [])
        refused = [line["call"] for line in self.lines if line["event"] == "journal.record-refused"]
        self.assertEqual(refused, ["lone \udce9", "second"])

    def test_no_later_record_has_the_position_of_one_that_is_left_out(self) -> None:
        """The calls that begin behind it have their positions already."""
        for name in ("first", "lone \udce9", "second"):
            self.keep(name)
        self.wait(3)
        found = self.result(self.store.read(0, 10))
        self.assertEqual([(s.position, s.call) for s in found], [(1, "first"), (3, "second")])
        self.assertEqual([begun for begun, _ in self.store.live()], [1, 3])
        self.assertEqual(self.store.next_position, 4)

    def test_a_read_is_answered_while_more_records_keep_coming(self) -> None:
        """Under load the queue never empties. Reads, syncs and pruning must not wait for that."""
        write = self.file.write
        answered: list[int] = []

        def more_comes(rows: Sequence[Row]) -> None:
            write(rows)
            if len(self.file.commits) == 1:
                reading = self.store.read(0, 10)
                _ = reading.addCallback(lambda _: answered.append(len(self.file.commits)))
            if len(self.file.commits) < 50:
                self.append("more", 0, lambda _: None)

        self.file.write = more_comes  # type: ignore[method-assign]
        over = threading.Event()

        def call(function: Callable[..., object], *arguments: Any) -> None:
            function(*arguments)
            if len(self.file.commits) == 50:
                over.set()

        self.patch(self.store, "_call_in_reactor", call)
        self.append("first", 1, lambda _: None)
        self.assertTrue(over.wait(20))
        self.assertEqual(answered, [1])

    def test_a_flush_waits_for_the_records_before_it(self) -> None:
        self.keep("a")
        self.store.flush(self.done.append, "flushed")
        self.wait(2)
        self.assertEqual(self.done, ["a", "flushed"])
        self.store.flush(self.done.append, "again")
        self.wait(3)

    def test_a_callback_that_fails_does_not_stop_the_others(self) -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError

        self.append("a", 0, fail)
        self.keep("b")
        self.wait(1)
        self.assertEqual([line["event"] for line in self.lines], ["journal.failed"])

    def test_closing_writes_the_queued_records_first(self) -> None:
        for index in range(100):
            self.keep(f"call-{index}")
        self.result(self.store.close())
        self.assertEqual(len(self.done), 100)
        again = JournalFile(self.file.path)
        again.open()
        self.addCleanup(again.close)
        self.assertEqual(again.last, 100)


class TroubleTests(StoreCase):
    def test_no_callback_comes_while_the_disk_is_full(self) -> None:
        self.keep("a")
        self.wait(1)
        self.file.fault = sqlite3.OperationalError("database or disk is full")
        self.keep("b")
        self.turns.until(lambda: self.store.trouble is not None)
        self.assertEqual(self.troubles, ["database or disk is full"])
        self.keep("c")
        self.assertEqual(self.done, ["a"])
        self.file.fault = None
        self.wait(3)
        self.turns.until(lambda: self.store.trouble is None)
        self.assertEqual(self.done, ["a", "b", "c"])
        self.assertEqual(self.calls(), ["a", "b", "c"])
        self.assertEqual(self.troubles, ["database or disk is full", None])
        logged = [line["event"] for line in self.lines]
        self.assertEqual(logged, ["journal.cannot-be-written", "journal.recovered"])

    def test_records_of_a_failed_commit_that_are_on_the_disk_are_not_written_twice(self) -> None:
        """The sync failed, but SQLite finds the commit in its log when it opens it again."""
        self.file.committed_anyway = True
        self.file.fault = sqlite3.OperationalError("disk I/O error")
        self.keep("a")
        self.keep("b")
        self.turns.until(lambda: self.store.trouble is not None)
        self.file.fault = None
        self.wait(2)
        self.keep("c")
        self.wait(3)
        self.assertEqual(self.calls(), ["a", "b", "c"])

    def test_no_record_is_written_twice_when_the_disk_is_full_again(self) -> None:
        """After a retry there is space for the first batch of records, but not for the next."""
        self.patch(sqlite, "MAX_ROWS_PER_COMMIT", 10)
        full = sqlite3.OperationalError("database or disk is full")
        names = [f"call-{index}" for index in range(25)]
        write, reopen = self.file.write, self.file.reopen
        refused: list[int] = []

        def reopen_when_all_wait() -> None:
            if not self.file.commits and len(self.store._unwritten) < len(names):
                raise full
            self.file.fault = None
            reopen()

        def full_at_the_second(rows: Sequence[Row]) -> None:
            if self.file.commits and not refused:
                refused.append(len(rows))
                raise full
            write(rows)

        self.file.reopen = reopen_when_all_wait  # type: ignore[method-assign]
        self.file.write = full_at_the_second  # type: ignore[method-assign]
        self.file.fault = full
        for name in names:
            self.keep(name)
        self.wait(25)
        self.assertEqual(refused, [10])
        self.assertEqual(self.calls(), names)
        self.assertEqual(self.store.rows, 25)

    def test_no_record_is_written_twice_if_the_disk_fails_behind_one_left_out(self) -> None:
        """The records of such a commit are written one by one; once those before were repeated."""
        gate, entered = threading.Event(), threading.Event()
        write, reopen = self.file.write, self.file.reopen

        def fail_at_the_last(rows: Sequence[Row]) -> None:
            if self.file.fault is None:
                entered.set()
                gate.wait(20)
            elif [row.call for row in rows] == ["last"]:
                raise self.file.fault
            fault, self.file.fault = self.file.fault, None
            write(rows)
            self.file.fault = fault or sqlite3.OperationalError("disk I/O error")

        def reopen_a_good_disk() -> None:
            self.file.write = write  # type: ignore[method-assign]
            self.file.fault = None
            reopen()

        self.file.write = fail_at_the_last  # type: ignore[method-assign]
        self.file.reopen = reopen_a_good_disk  # type: ignore[method-assign]
        self.keep("first")
        entered.wait(20)
        for name in ("second", "lone \udce9", "third", "last"):
            self.keep(name)
        gate.set()
        self.wait(5)
        self.assertEqual(self.calls(), ["first", "second", "third", "last"])
        self.assertEqual(self.store.rows, 4)


class ContinueTests(StoreCase):
    refuse_on_error = False

    def test_a_bug_in_the_writer_does_not_end_it(self) -> None:
        """Once the thread ended: no call could be ended any more, and no read was answered."""
        self.file.fault = ZeroDivisionError("a mistake")
        self.keep("a")
        self.store.flush(self.done.append, "flushed")
        self.wait(2)
        self.assertEqual(self.result(self.store.read(0, 10)), [])
        self.file.fault = None
        self.turns.until(lambda: bool(self.troubles) and self.troubles[-1] is None)
        self.assertIn("ZeroDivisionError", str(self.troubles[0]))
        self.assertEqual(self.calls(), ["a"])

    def test_callbacks_come_without_a_record_that_is_written_later(self) -> None:
        self.file.fault = sqlite3.OperationalError("database or disk is full")
        self.keep("a")
        self.wait(1)
        self.keep("b")
        self.wait(2)
        self.file.fault = None
        self.turns.until(lambda: bool(self.troubles) and self.troubles[-1] is None)
        self.assertEqual(self.calls(), ["a", "b"])
        self.assertEqual(self.done, ["a", "b"])


class PathTests(SynchronousTestCase):
    def test_sync_brings_relaxed_records_to_the_database(self) -> None:
        path = self.mktemp()
        file = JournalFile(path, "relaxed")
        file.open()
        self.addCleanup(file.close)
        write(file, [Event("a", 1, 1.0, b"x" * 5000)])
        size = Path(path).stat().st_size
        file.sync()
        self.assertGreater(Path(path).stat().st_size, size)
