"""Copies of a journal: complete under their name, or not there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.journal.test_file import FileCase, row
from umd.journal.copy import (
    CannotCopy,
    JournalCopy,
    check_new,
    copied_from_json,
    copied_to_json,
)
from umd.journal.file import JournalFile
from umd.journal.reader import JournalReader
from umd.journal.store import Row, Step


class CopyTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = str(self.directory / "copy.db")

    def copied(self, file: JournalFile, some: int = 7) -> JournalReader:
        with JournalCopy(self.target) as copy:
            after = 0
            while records := file.copy_of(after, some):
                copy.write([copied_from_json(copied_to_json(record)) for record in records])
                after = records[-1][0]
            copy.complete(file.last)
            copy.give_name()
        reader = JournalReader(self.target)
        reader.open()
        self.addCleanup(reader.close)
        return reader

    def left(self) -> list[str]:
        return sorted(name for name in os.listdir(self.directory) if "copy" in name)

    def test_it_has_what_the_journal_has(self) -> None:
        file = self.opened()
        odd = bytes(range(256))
        file.write([row(f"call-{number}", Step.BEGINS) for number in range(50)])
        file.write([Row("call-7", 0, 1001.5, odd, odd), row("call-8", -1, 2000.0)])
        copy = self.copied(file)
        self.assertEqual(copy.copy_of(0, 1000), file.copy_of(0, 1000))
        self.assertEqual(list(copy.live()), list(file.live()))
        self.assertEqual(copy.read(0, 10, "call-7"), file.read(0, 10, "call-7"))
        self.assertEqual(copy.damage(), [])
        self.assertEqual(os.stat(self.target).st_mode & 0o777, 0o600)
        self.assertEqual(self.left(), ["copy.db"])

    def test_no_position_is_given_again_of_what_was_let_go(self) -> None:
        file = self.opened(keep=10.0)
        file.write([row("a", 1), row("b", 1), row("b", -1, 1000.0)])
        self.assertEqual(file.prune(5000.0), 2)
        self.assertEqual(file.pruned, 2)
        self.assertEqual(self.copied(file).last, 3)

    def test_what_is_not_finished_is_removed(self) -> None:
        for error in (KeyboardInterrupt, SystemExit, ValueError):
            with self.assertRaises(error), JournalCopy(self.target) as copy:
                copy.write([(1, "a", 1, 0.0, b"{}", None)])
                raise error
            self.assertEqual(self.left(), [])

    def test_a_file_that_came_meanwhile_is_left_as_it_is(self) -> None:
        with JournalCopy(self.target) as copy:
            copy.complete(0)
            Path(self.target).write_text("somebody's")
            with self.assertRaisesRegex(CannotCopy, "there is such a file"):
                copy.give_name()
        self.assertEqual(Path(self.target).read_text(), "somebody's")
        self.assertEqual(self.left(), ["copy.db"])

    def test_names_that_cannot_be_had(self) -> None:
        for name in ("taken", "log-wal", "old-journal", "dangling"):
            path = self.directory / name
            if name == "dangling":
                path.symlink_to("/nowhere/at/all")
            else:
                path.write_text("x")
        os.mkdir(self.directory / "folder")
        for name in ("taken", "log", "old", "dangling", "folder", "folder/", "new/", ""):
            with self.assertRaises(CannotCopy, msg=name):
                check_new(os.path.join(self.directory, name))
        check_new(self.target)
        with self.assertRaisesRegex(CannotCopy, "No such file or directory"):
            JournalCopy("/nowhere/copy.db").__enter__()

    def test_names_that_belong_to_another_journal(self) -> None:
        """SQLite or the next start of umd would take a copy there for its own."""
        file = self.opened()
        for end in ("-wal", "-shm", "-journal", ".lock", ".compacting"):
            taken = file.path + end
            Path(taken).unlink(missing_ok=True)
            with self.assertRaisesRegex(CannotCopy, "belongs to"):
                check_new(taken)
            check_new(str(self.directory / f"of-nobody{end}"))
        for end in ("-wal", "-shm", "-journal"):
            Path(self.target + end).touch()
            with self.assertRaisesRegex(CannotCopy, "there already"):
                check_new(self.target)
            os.unlink(self.target + end)

    def test_a_planted_name_is_not_followed(self) -> None:
        secret = self.directory / "secret"
        secret.write_text("x")
        there = self.directory / "planted"
        there.symlink_to(secret)
        with self.assertRaises(CannotCopy):
            JournalCopy(self.target, str(there)).__enter__()
        self.assertEqual(secret.read_text(), "x")
        self.assertTrue(there.is_symlink())

    def test_records_that_are_none(self) -> None:
        """Another umd's socket gave them, maybe."""
        with self.assertRaises(CannotCopy), JournalCopy(self.target) as copy:
            copy.write([(1, "a", 1, 0.0, b"{}", None), (1, "b", 1, 0.0, b"{}", None)])
        self.assertEqual(self.left(), [])
