"""Journals of earlier versions of umd: what a start makes of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.journal.rows import Event, write
from tests.journal.test_file import FileCase
from umd.call.record import seq_of
from umd.journal.check import JournalCheck
from umd.journal.copy import JournalCopy
from umd.journal.queries import JournalQueries
from umd.journal.reader import JournalReader
from umd.journal.schema import APPLICATION_ID, MIGRATIONS
from umd.journal.store import CannotOpen, Stored

RELEASED = Path(__file__).parent.parent / "data" / "journal"
"""Journals as the versions of umd with those schemas left them."""


class MigrationTests(FileCase):
    def test_a_journal_of_an_older_umd_is_migrated(self) -> None:
        file = self.opened()
        write(file, [Event("a", 1)])
        file.close()
        newer = (*MIGRATIONS, "ALTER TABLE events ADD COLUMN note TEXT; CREATE TABLE more (x)")
        again = self.opened(migrations=newer)
        self.assertEqual(again.migrated_from, len(MIGRATIONS))
        self.assertEqual([s.call for s in again.read(0, 10)], ["a"])
        again.close()
        once_more = self.opened(migrations=newer)
        self.assertIsNone(once_more.migrated_from)

    def test_the_calls_of_the_first_schema_are_live(self) -> None:
        db = sqlite3.connect(self.path, isolation_level=None)
        db.executescript(
            f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        )
        statement = "INSERT INTO events (call, step, at, record) VALUES (?, ?, 1.0, x'7b7d')"
        for call, step in (("a", 1), ("b", 1), ("a", -1), ("b", 0)):
            db.execute(statement, (call, step))
        db.close()
        with self.assertRaisesRegex(CannotOpen, "start this umd with it once"):
            JournalReader(self.path).open()
        file = self.opened()
        self.assertEqual(file.migrated_from, 1)
        self.assertEqual([[s.position for s in call] for _, call in file.live()], [[2, 4]])
        self.assertEqual(file.find("a", 10), ["a"])

    def test_a_migration_that_fails_changes_nothing(self) -> None:
        self.opened().close()
        with self.assertRaises(CannotOpen):
            self.opened(migrations=(*MIGRATIONS, "CREATE TABLE more (x); SELECT nonsense"))
        write(self.opened(), [Event("a")])

    def test_a_migration_that_is_killed_is_done_by_the_next_start(self) -> None:
        self.released("killed-2.sql")
        program = (
            "import os, sys; from umd.journal.file import *\n"
            "class Killed(JournalFile):\n"
            "    def _connect(self):\n"
            "        super()._connect()\n"
            "        self._db.create_function('kill', 0, lambda: os.kill(os.getpid(), 9))\n"
            "Killed(sys.argv[1], migrations=(*MIGRATIONS, 'SELECT kill();')).open()"
        )
        ran = subprocess.run([sys.executable, "-c", program, self.path])
        self.assertEqual(ran.returncode, -9)
        with sqlite3.connect(self.path) as db:
            self.assertEqual(db.execute("PRAGMA user_version").fetchone(), (2,))
            columns = [name for _, name, *_ in db.execute("PRAGMA table_info(events)")]
        db.close()
        self.assertNotIn("begun", columns)
        file = self.opened()
        self.assertEqual(file.migrated_from, 2)
        self.assert_calls_of_killed_2(file)

    def released(self, name: str) -> None:
        """Put a journal of a released umd at `path`."""
        Path(self.path).unlink(missing_ok=True)
        db = sqlite3.connect(self.path)
        db.executescript((RELEASED / name).read_text())
        db.close()

    def assert_sound(self, file: JournalQueries) -> None:
        check = JournalCheck(file, seq_of)
        while check.step():
            pass
        self.assertEqual(check.problems, [])

    def assert_calls_of_killed_2(self, file: JournalQueries) -> None:
        """Assert that the calls of the journal `killed-2.sql` are known, with all their records."""
        live = {begun: [stored.position for stored in call] for begun, call in file.live()}
        self.assertEqual(live, {12: [12, 17], 13: [13, 18], 21: [21, 22]})
        self.assertEqual(positions(file.ended(0, 10)), [7, 9, 15, 20, 26])
        seed_1 = "c2VlZC0xQGxhYg=="
        self.assertEqual(positions(file.read(0, 10, seed_1)), [5, 8, 9, 11, 16, 19, 20])
        self.assertEqual(file.find(seed_1, 10), [seed_1])
        self.assertEqual(positions(file.read(0, 100)), list(range(4, 27)))
        self.assert_sound(file)

    def test_the_journal_that_the_last_release_left_when_it_was_killed(self) -> None:
        """It has pruned calls, ended calls, live calls, ids with two lives, and half an index."""
        self.released("killed-2.sql")
        file = self.opened()
        self.assertEqual(file.migrated_from, 2)
        self.assert_calls_of_killed_2(file)
        file.close()
        again = self.opened()
        self.assertIsNone(again.migrated_from)
        self.assert_calls_of_killed_2(again)

    def test_the_calls_of_the_last_release_go_on_and_end(self) -> None:
        self.released("killed-2.sql")
        file = self.opened(keep=10.0)
        calls = {begun: records[0].call for begun, records in file.live()}
        record = b'{"seq":3}'
        write(file, [Event(calls[12], 0, 2e9, record), Event(calls[13], -1, 2e9, record)])
        self.assertEqual([begun for begun, _ in file.live()], [12, 21])
        self.assertEqual(positions(file.read(0, 10, calls[13])), [13, 18, 28])
        self.assert_sound(file)
        self.assertEqual(file.prune(2e9 + 1), 3 + 3 + 3 + 4 + 4)
        self.assertEqual(positions(file.ended(0, 10)), [28])
        self.assertEqual([begun for begun, _ in file.live()], [12, 21])
        self.assert_sound(file)

    def test_the_last_release_refuses_the_migrated_journal(self) -> None:
        """That umd knows the first two migrations. It names the reason and changes nothing."""
        self.released("killed-2.sql")
        self.opened().close()
        before = Path(self.path).read_bytes()
        with self.assertRaisesRegex(
            CannotOpen, r"a newer umd has written it \(schema 3, and this one knows 2\)"
        ):
            self.opened(migrations=MIGRATIONS[:2])
        self.assertEqual(Path(self.path).read_bytes(), before)

    def test_a_copy_says_of_every_record_where_its_call_begins(self) -> None:
        """The migration leaves that open for the records that were in the index already."""
        self.released("killed-2.sql")
        file = self.opened()
        self.assertEqual({row[6] for row in file.rows_after(0, 100) if row[0] <= 18}, {None})
        target = str(self.directory / "copy.db")
        with JournalCopy(target) as copy:
            copy.write(file.rows_after(0, 100))
            copy.complete(file.last)
            copy.give_name()
        reader = JournalReader(target)
        reader.open()
        self.addCleanup(reader.close)
        begun = {row[0]: row[6] for row in reader.rows_after(0, 100)}
        seed_1 = {5: 5, 8: 5, 9: 5, 11: 11, 16: 11, 19: 11, 20: 11}
        self.assertEqual({position: begun[position] for position in seed_1}, seed_1)
        self.assertNotIn(None, begun.values())
        self.assert_calls_of_killed_2(reader)

    def test_every_kind_of_life_in_the_part_that_is_not_indexed(self) -> None:
        """Ids that begin, end and begin again before, across and behind the end of the index."""
        db = sqlite3.connect(self.path, isolation_level=None)
        db.executescript(
            f"{''.join(MIGRATIONS[:2])} PRAGMA application_id = {APPLICATION_ID};"
            "PRAGMA user_version = 2; UPDATE indexed SET position = 2;"
            "INSERT INTO live VALUES ('a', 1), ('b', 2); INSERT INTO parts VALUES (1, 1), (2, 2);"
            "INSERT INTO names VALUES (0, 'a', 1), (0, 'b', 2)"
        )
        lives = (
            ("a", 1), ("b", 1), ("a", 0), ("a", -1), ("a", 1), ("c", 1), ("b", 0), ("a", 0),
            ("a", -1), ("a", 1), ("lost", 0), ("c", -1), ("c", 1), ("c", 0), ("lost", -1),
        )  # fmt: skip
        statement = "INSERT INTO events (call, step, at, record) VALUES (?, ?, 1.0, x'7b7d')"
        db.executemany(statement, lives)
        db.close()
        file = self.opened()
        begun = [row[6] for row in file.rows_after(2, 100)]
        self.assertEqual(begun, [1, 1, 5, 6, 2, 5, 5, 10, 11, 6, 13, 13, 15])
        live = {begun: positions(call) for begun, call in file.live()}
        self.assertEqual(live, {2: [2, 7], 10: [10], 13: [13, 14]})


def positions(records: list[Stored]) -> list[int]:
    return [stored.position for stored in records]
