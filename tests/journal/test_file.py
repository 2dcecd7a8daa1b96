"""The journal as a SQLite file: what it keeps, what it prunes, and what it refuses."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.journal.rows import Event, write
from umd.journal import file as journal_file
from umd.journal.file import MAX_ROWS_PER_STATEMENT, JournalFile
from umd.journal.queries import JournalQueries
from umd.journal.reader import JournalReader
from umd.journal.schema import MIGRATIONS
from umd.journal.store import CannotOpen, Step


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = str(self.directory / "journal.db")

    def opened(self, **keywords: object) -> JournalFile:
        file = JournalFile(self.path, **keywords)  # type: ignore[arg-type]
        file.open()
        self.addCleanup(file.close)
        return file

    def after_a_kill(self, file: JournalFile) -> JournalReader:
        """Read a copy of what is on the disk now; its index is incomplete."""
        for suffix in ("", "-wal"):
            (self.directory / f"killed{suffix}").write_bytes(Path(file.path + suffix).read_bytes())
        reader = JournalReader(str(self.directory / "killed"))
        reader.open()
        self.addCleanup(reader.close)
        self.assertLess(reader._indexed, reader.last)
        return reader

    def refused(self, pattern: str) -> None:
        with self.assertRaisesRegex(CannotOpen, pattern):
            self.opened()


class KeepTests(FileCase):
    def test_records_are_there_after_reopening(self) -> None:
        file = self.opened()
        write(file, [Event("a", Step.BEGINS), Event("a", 0, 1001.0, b"two", b"leg"), Event("b", 1)])
        file.close()
        again = self.opened()
        self.assertEqual(again.last, 3)
        self.assertEqual([s.position for s in again.read(0, 10)], [1, 2, 3])
        self.assertEqual(again.read(1, 1, "a")[0].extra, b"leg")
        live = [[stored.record for stored in call] for _, call in again.live()]
        self.assertEqual(live, [[b"{}", b"two"], [b"{}"]])

    def test_more_rows_than_a_statement_holds_are_one_transaction(self) -> None:
        file = self.opened()
        limit = MAX_ROWS_PER_STATEMENT
        for number in (1, limit, limit + 1, 5 * limit - 1):
            before = file.last
            write(file, [Event(f"call-{index}") for index in range(number)])
            self.assertEqual(file.last, before + number)
        self.assertEqual(len(file.read(0, 10_000)), file.last)

    def test_an_ended_call_is_not_live(self) -> None:
        file = self.opened()
        write(file, [Event("a", 1), Event("b", 1), Event("a", -1, 2000.0)])
        write(file, [Event("c", 1), Event("c", -1, 3000.0)])
        self.assertEqual([call[0].call for _, call in file.live()], ["b"])
        self.assertEqual([s.call for s in file.ended(0, 10)], ["a", "c"])
        self.assertEqual([s.call for s in file.ended(0, 1)], ["c"])
        self.assertEqual([s.call for s in file.ended(2000.0, 10)], ["c"])

    def test_live_calls_come_in_the_order_of_their_beginning(self) -> None:
        """In the order of their ids, SQLite would read another page for each call."""
        file = self.opened()
        ids = ["m", "z", "a", "q", "b"]
        write(file, [Event(call, Step.BEGINS) for call in ids])
        write(file, [Event("z"), Event("a", Step.ENDS)])
        live = [[stored.position for stored in call] for _, call in file.live()]
        self.assertEqual(live, [[1], [2, 6], [4], [5]])

    def test_a_call_whose_id_begins_again_is_live(self) -> None:
        """A leg that umd took for ended is found on its PBX after a restart."""
        for ends_in_the_same_batch in (True, False):
            with self.subTest(ends_in_the_same_batch=ends_in_the_same_batch):
                self.path = str(self.directory / f"{ends_in_the_same_batch}.db")
                file = self.opened()
                write(file, [Event("a", 1), Event("b", 1)])
                if not ends_in_the_same_batch:
                    file.update_index()
                write(file, [Event("a", -1), Event("a", 1), Event("a"), Event("b", -1)])
                live = [[stored.position for stored in call] for _, call in file.live()]
                self.assertEqual(live, [[4, 5]])
                self.assertEqual([s.position for s in file.read(0, 10, "a")], [1, 3, 4, 5])
                write(file, [Event("a", -1)])
                self.assertEqual(list(file.live()), [])

    def test_calls_are_found_by_the_beginning_of_their_id(self) -> None:
        file = self.opened()
        write(file, [Event(call) for call in ("abc", "abd", "ab", "b", "abc")])
        self.assertEqual(file.find("ab", 10), ["ab", "abc", "abd"])
        self.assertEqual(file.find("abc", 10), ["abc"])
        self.assertEqual(file.find("x", 10), [])

    def test_a_call_is_found_in_every_batch_of_the_index(self) -> None:
        """Also a call that is not in the index yet, and one in a journal whose umd was killed."""
        file = self.opened()
        for number in range(40):
            write(file, [Event(f"call-{number:02d}", 1)])
            other = f"other-{number}"
            write(file, [Event("call-00"), Event(other, 1), *[Event(other)] * 49])
        write(file, [Event(f"call-{number:02d}", -1) for number in range(0, 40, 2)])
        alive = [f"call-{number:02d}" for number in range(1, 40, 2)]

        def check(journal: JournalQueries) -> None:
            self.assertEqual(journal.find("call-", 100), [f"call-{n:02d}" for n in range(40)])
            self.assertEqual(len(journal.read(0, 100, "call-00")), 42)
            self.assertEqual(len(journal.read(journal.last - 25, 100, "call-00")), 1)
            self.assertEqual(len(journal.read(0, 100, "call-39")), 1)
            live = [call[0].call for _, call in journal.live()]
            self.assertEqual([call for call in live if call.startswith("call")], alive)
            self.assertEqual(len(live), 20 + 40)

        check(self.after_a_kill(file))
        check(file)
        file.close()
        check(self.opened())

    def test_only_its_owner_may_read_the_files(self) -> None:
        write(self.opened(), [Event("a")])
        for name in os.listdir(self.directory):
            self.assertEqual((self.directory / name).stat().st_mode & 0o077, 0, name)


class PruneTests(FileCase):
    def test_old_records_are_deleted_but_not_those_of_live_calls(self) -> None:
        file = self.opened(keep=100.0)
        write(file, [Event("old", 1, 0.0), Event("live", 1, 0.0), Event("old", -1, 50.0)])
        write(file, [Event("new", 1, 950.0)])
        self.assertEqual(file.prune(1000.0), 2)
        self.assertEqual(file.prune(1000.0), 0)
        self.assertEqual([s.call for s in file.read(0, 10)], ["live", "new"])
        self.assertEqual(file.last, 4)

    def test_positions_keep_growing_after_everything_was_pruned(self) -> None:
        """A reader that continues behind the last position would miss a record with a lower one."""
        file = self.opened(keep=100.0)
        write(file, [Event("old", 1, 0.0), Event("old", -1, 50.0)])
        self.assertEqual(file.prune(1000.0), 2)
        file.reopen()
        file.close()
        again = self.opened(keep=100.0)
        write(again, [Event("new", 1, 1000.0)])
        self.assertEqual([s.position for s in again.read(2, 10)], [3])
        self.assertEqual([call[0].call for _, call in again.live()], ["new"])

    def test_pruning_goes_on_behind_calls_from_the_future(self) -> None:
        """The clock was years ahead, and was set back; one `prune` examines only some calls."""
        self.patch(journal_file, "CALLS_PER_PRUNE", 5)
        file = self.opened(keep=100.0)
        ahead = [f"ahead-{index}" for index in range(12)]
        write(file, [Event(call, step, 1e9) for call in ahead for step in (1, -1)])
        write(file, [Event("old", 1, 10.0), Event("old", -1, 20.0), Event("new", 1, 990.0)])
        while file.prune(1000.0):
            pass
        self.assertEqual(file.find("", 100), [*sorted(ahead), "new"])
        file._max_size = 0
        while file.prune(1000.0):
            pass
        self.assertEqual(file.find("", 100), ["new"])

    def test_pruning_an_id_searches_its_own_batch_only(self) -> None:
        """Once every batch was searched, those of old live calls again and again."""
        file = self.opened(keep=100.0)
        for batch in range(5):
            write(file, [Event(f"live-{batch}", 1, 0.0)])
            write(file, [Event("old", step, 0.0) for step in (1, -1)])
            file.update_index()
        file.prune(1000.0)
        names = file._connection.execute("SELECT call FROM names").fetchall()
        self.assertEqual(names, [(f"live-{batch}",) for batch in range(5)])
        values = {"begun": 1, "call": "a"}
        plan = file._connection.execute(
            f"EXPLAIN QUERY PLAN {journal_file._PRUNE_NAMES}", values
        ).fetchall()
        self.assertIn("(batch=? AND call=? AND begun=?)", plan[0][3])

    def test_the_oldest_calls_are_deleted_when_the_file_is_too_large(self) -> None:
        self.patch(journal_file, "CALLS_PER_PRUNE", 200)
        file = self.opened(max_size=1024 * 1024)
        big = b"x" * 1000
        for index in range(40):
            write(file, [Event(f"{index}", -1, 999.0, big) for _ in range(100)])
        self.assertGreater(file.used, 1024 * 1024)
        while file.used > 1024 * 1024:
            self.assertGreater(file.prune(1000.0), 0)
        self.assertGreater(len(file.read(0, 10_000)), 0)


class TransactionTests(FileCase):
    def test_nothing_is_written_into_a_transaction_that_cannot_be_rolled_back(self) -> None:
        """The record would be reported as durable, and be lost with the process."""
        file = self.opened()
        write(file, [Event("a", 1)])

        class Stuck:
            in_transaction = True

            def __init__(self, db: sqlite3.Connection) -> None:
                self.db = db

            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                if statement in ("COMMIT", "ROLLBACK"):
                    raise sqlite3.OperationalError("disk I/O error")
                return self.db.execute(statement, *values)

            def close(self) -> None:
                self.db.close()

        file._db = Stuck(file._connection)  # type: ignore[assignment]
        with self.assertRaises(sqlite3.OperationalError):
            file.find("a", 10)
        with self.assertRaises(sqlite3.OperationalError):
            write(file, [Event("b", 1)])
        file.reopen()
        write(file, [Event("b", 1)])
        file.close()
        self.assertEqual([s.call for s in self.opened().read(0, 10)], ["a", "b"])


class RefusalTests(FileCase):
    def test_a_journal_that_another_umd_writes(self) -> None:
        write(self.opened(), [Event("a")])
        self.refused(rf"another umd writes it \(process {os.getpid()}\)")

    def test_a_file_that_is_no_database_is_not_changed(self) -> None:
        Path(self.path).write_bytes(b"my thesis" * 1000)
        self.refused("not a journal")
        self.assertEqual(Path(self.path).read_bytes(), b"my thesis" * 1000)

    def test_the_database_of_another_program_is_not_changed(self) -> None:
        with sqlite3.connect(self.path) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
        self.refused("database of another program")

    def test_a_journal_of_a_newer_umd(self) -> None:
        file = self.opened(migrations=(*MIGRATIONS, "CREATE TABLE later (x)"))
        write(file, [Event("a")])
        file.close()
        self.refused(f"a newer umd has written it .schema {len(MIGRATIONS) + 1}")
        with sqlite3.connect(self.path) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM events").fetchone(), (1,))
        db.close()

    def test_a_directory_that_does_not_exist(self) -> None:
        self.path = str(self.directory / "nowhere" / "journal.db")
        self.refused("No such file or directory; set a path that umd can use")

    def test_a_journal_that_another_program_has_open(self) -> None:
        self.opened().close()
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        self.refused("another program has it open")

    def test_no_other_program_can_read_a_journal_in_use(self) -> None:
        write(self.opened(), [Event("a")])
        other = sqlite3.connect(self.path, timeout=0.0)
        self.addCleanup(other.close)
        with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
            other.execute("SELECT * FROM events").fetchall()


class DamageTests(FileCase):
    def written(self) -> int:
        file = self.opened()
        for index in range(50):
            write(file, [Event(f"call-{index}", 1, record=b"x" * 200) for index in range(20)])
        file.close()
        return Path(self.path).stat().st_size

    def damaged(self, offset: int) -> None:
        with open(self.path, "r+b") as stream:
            stream.seek(offset)
            stream.write(b"\xff" * 4096)
        damaged = Path(self.path).read_bytes()
        file = self.opened()
        assert file.set_aside is not None
        aside = Path(file.set_aside.partition(": ")[0])
        self.assertEqual(aside.read_bytes(), damaged)
        self.assertEqual(file.last, 0)
        write(file, [Event("a", 1)])
        self.assertEqual(len(list(file.live())), 1)

    def test_damage_in_the_middle_of_the_file(self) -> None:
        self.damaged(self.written() // 2 // 4096 * 4096)

    def test_damage_of_the_first_page(self) -> None:
        self.written()
        self.damaged(0)

    def test_a_truncated_log_loses_only_its_last_commit(self) -> None:
        """After kill -9 the WAL may have only a part of its last commit."""
        program = (
            "import os, sys; from umd.journal.file import *; from umd.journal.store import Row\n"
            "file = JournalFile(sys.argv[1]); file.open()\n"
            "for n in range(1, 11): file.write([Row(n, f'call-{n}', 1, 1.0, b'x' * 99, None, n)])\n"
            "os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", program, self.path])
        wal = Path(self.path + "-wal")
        with wal.open("r+b") as stream:
            stream.truncate(wal.stat().st_size - 100)
        file = self.opened()
        self.assertIsNone(file.set_aside)
        self.assertEqual(file.last, 9)


class ReaderTests(FileCase):
    def reader(self) -> JournalReader:
        reader = JournalReader(self.path)
        reader.open()
        self.addCleanup(reader.close)
        return reader

    def test_it_reads_a_journal_that_no_umd_has_open(self) -> None:
        file = self.opened()
        write(file, [Event("a", 1)])
        with self.assertRaisesRegex(CannotOpen, "another program has it open"):
            self.reader()
        file.close()
        self.assertEqual([s.call for s in self.reader().read(0, 10)], ["a"])

    def test_a_live_call_with_some_records_outside_the_index(self) -> None:
        """Its records are in their order, from the file's index and from the temporary one."""
        file = self.opened()
        write(file, [Event("b", Step.BEGINS), Event("a", Step.BEGINS)])
        file.update_index()
        write(file, [Event("a"), Event("c", Step.BEGINS), Event("b")])
        reader = self.after_a_kill(file)
        live = [[stored.position for stored in call] for _, call in reader.live()]
        self.assertEqual(live, [[1, 5], [2, 3], [4]])

    def test_a_path_without_a_file(self) -> None:
        with self.assertRaisesRegex(CannotOpen, "no such file"):
            self.reader()
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_file_that_is_no_database(self) -> None:
        Path(self.path).write_bytes(b"my thesis" * 1000)
        with self.assertRaisesRegex(CannotOpen, "damaged: file is not a database"):
            self.reader()
