"""The embedded store: its writer, and what it does when the disk does not do its part."""

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
from umd.journal import sqlite
from umd.journal.file import JournalFile
from umd.journal.sqlite import SqliteStore
from umd.journal.store import Row, Step


class Turns:
    """A reactor of one's own: what the writer wants done in the reactor, when the test says so."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], Any]] = deque()
        self._some = threading.Semaphore(0)

    def __call__(self, function: Callable[..., object], *arguments: Any) -> None:
        self._calls.append((function, arguments))
        self._some.release()

    def until(self, done: Callable[[], bool]) -> None:
        """Let turns go by until it is so."""
        while not done():
            assert self._some.acquire(timeout=20), "the writer does nothing"
            function, arguments = self._calls.popleft()
            function(*arguments)


class FaultyFile(JournalFile):
    """A journal whose disk fails when the test says so."""

    fault: Exception | None = None
    committed_anyway = False
    commits: list[int]

    def write(self, rows: Sequence[Row]) -> None:
        if self.fault is not None:
            if self.committed_anyway and rows:
                super().write(rows)
                self.last -= len(rows)
            raise self.fault
        super().write(rows)
        self.commits.append(len(rows))

    def reopen(self) -> int:
        if self.fault is not None:
            raise self.fault
        return super().reopen()


class StoreCase(SynchronousTestCase):
    insist = True

    def setUp(self) -> None:
        self.turns = Turns()
        self.log, self.lines = capturing_log()
        self.file = FaultyFile(self.mktemp())
        self.file.commits = []
        self.told: list[str | None] = []
        self.done: list[Any] = []
        self.patch(sqlite, "RETRY_EVERY", 0.01)
        self.store = SqliteStore(
            self.file, self.turns, self.log, insist=self.insist, told=self.told.append
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

    def keep(self, call: str) -> None:
        self.store.append(Row(call, Step.BEGINS, 1.0, b"{}", None), self.done.append, call)

    def wait(self, calls: int) -> None:
        self.turns.until(lambda: len(self.done) == calls)

    def calls(self) -> list[str]:
        return [stored.call for stored in self.result(self.store.read(0, 10_000))]


class WriterTests(StoreCase):
    def test_in_order_and_durable_when_told(self) -> None:
        names = [f"call-{index}" for index in range(3000)]
        for name in names:
            self.keep(name)
        self.wait(3000)
        self.assertEqual(self.done, names)
        self.assertEqual(self.calls(), names)

    def test_a_commit_takes_what_queued_while_the_last_one_ran(self) -> None:
        """Not one for each, and no window of time in which nothing happens."""
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

    def test_a_row_that_cannot_be_written_costs_no_other(self) -> None:
        names = ["first", "lone \udce9", "second", "third"]
        for name in names:
            step = 1 << 70 if name == "second" else Step.BEGINS
            self.store.append(Row(name, step, 1.0, b"{}", None), self.done.append, name)
        self.wait(4)
        self.assertEqual(self.done, names)
        self.assertEqual(self.calls(), ["first", "third"])
        self.assertEqual(self.told, [])
        refused = [line["call"] for line in self.lines if line["event"] == "journal.record-refused"]
        self.assertEqual(refused, ["lone \udce9", "second"])

    def test_who_reads_does_not_wait_until_nothing_more_comes(self) -> None:
        """Nor do syncs and pruning: while one commit is made there comes the next, under load."""
        write = self.file.write
        answered: list[int] = []

        def more_comes(rows: Sequence[Row]) -> None:
            write(rows)
            if len(self.file.commits) == 1:
                reading = self.store.read(0, 10)
                _ = reading.addCallback(lambda _: answered.append(len(self.file.commits)))
            if len(self.file.commits) < 50:
                self.store.append(Row("more", 0, 1.0, b"{}", None), lambda _: None)

        self.file.write = more_comes  # type: ignore[method-assign]
        over = threading.Event()

        def call(function: Callable[..., object], *arguments: Any) -> None:
            function(*arguments)
            if len(self.file.commits) == 50:
                over.set()

        self.patch(self.store, "_call_in_reactor", call)
        self.store.append(Row("first", 1, 1.0, b"{}", None))
        self.assertTrue(over.wait(20))
        self.assertEqual(answered, [1])

    def test_a_flush_waits_for_what_was_before(self) -> None:
        self.keep("a")
        self.store.flush(self.done.append, "flushed")
        self.wait(2)
        self.assertEqual(self.done, ["a", "flushed"])
        self.store.flush(self.done.append, "again")
        self.wait(3)

    def test_one_that_fails_does_not_stop_the_others(self) -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError

        self.store.append(Row("a", 0, 1.0, b"{}", None), fail)
        self.keep("b")
        self.wait(1)
        self.assertEqual([line["event"] for line in self.lines], ["journal.failed"])

    def test_what_is_there_is_written_before_it_is_closed(self) -> None:
        for index in range(100):
            self.keep(f"call-{index}")
        self.result(self.store.close())
        self.assertEqual(len(self.done), 100)
        again = JournalFile(self.file.path)
        again.open()
        self.addCleanup(again.close)
        self.assertEqual(again.last, 100)


class TroubleTests(StoreCase):
    def test_nothing_is_called_durable_while_the_disk_is_full(self) -> None:
        self.keep("a")
        self.wait(1)
        self.file.fault = sqlite3.OperationalError("database or disk is full")
        self.keep("b")
        self.turns.until(lambda: self.store.trouble is not None)
        self.assertEqual(self.told, ["database or disk is full"])
        self.keep("c")
        self.assertEqual(self.done, ["a"])
        self.file.fault = None
        self.wait(3)
        self.turns.until(lambda: self.store.trouble is None)
        self.assertEqual(self.done, ["a", "b", "c"])
        self.assertEqual(self.calls(), ["a", "b", "c"])
        self.assertEqual(self.told, ["database or disk is full", None])
        logged = [line["event"] for line in self.lines]
        self.assertEqual(logged, ["journal.cannot-be-written", "journal.recovered"])

    def test_a_commit_that_failed_and_is_there_all_the_same_is_not_written_twice(self) -> None:
        """The sync failed, and what it was for is found in the log when that is read again."""
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

    def test_a_disk_that_is_full_again_in_the_middle_has_nothing_twice(self) -> None:
        """There is room for the first commit of what has queued meanwhile, and not for the next."""
        self.patch(sqlite, "COMMITTED_AT_ONCE", 10)
        full = sqlite3.OperationalError("database or disk is full")
        names = [f"call-{index}" for index in range(25)]
        write, reopen = self.file.write, self.file.reopen
        refused: list[int] = []

        def reopen_when_all_wait() -> int:
            if not self.file.commits and len(self.store._unwritten) < len(names):
                raise full
            self.file.fault = None
            return reopen()

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


class ContinueTests(StoreCase):
    insist = False

    def test_a_mistake_of_its_own_stops_nothing(self) -> None:
        """The writer ended with it: no call could be ended any more, and no reader was answered."""
        self.file.fault = ZeroDivisionError("a mistake")
        self.keep("a")
        self.store.flush(self.done.append, "flushed")
        self.wait(2)
        self.assertEqual(self.result(self.store.read(0, 10)), [])
        self.file.fault = None
        self.turns.until(lambda: bool(self.told) and self.told[-1] is None)
        self.assertIn("ZeroDivisionError", str(self.told[0]))
        self.assertEqual(self.calls(), ["a"])

    def test_it_goes_on_without_a_record_and_writes_that_later(self) -> None:
        self.file.fault = sqlite3.OperationalError("database or disk is full")
        self.keep("a")
        self.wait(1)
        self.keep("b")
        self.wait(2)
        self.file.fault = None
        self.turns.until(lambda: bool(self.told) and self.told[-1] is None)
        self.assertEqual(self.calls(), ["a", "b"])
        self.assertEqual(self.done, ["a", "b"])


class PathTests(SynchronousTestCase):
    def test_relaxed_is_synced_by_and_by(self) -> None:
        path = self.mktemp()
        file = JournalFile(path, "relaxed")
        file.open()
        self.addCleanup(file.close)
        file.write([Row("a", 1, 1.0, b"x" * 5000, None)])
        size = Path(path).stat().st_size
        file.sync()
        self.assertGreater(Path(path).stat().st_size, size)
