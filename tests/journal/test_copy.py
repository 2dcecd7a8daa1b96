"""Copies of a journal: complete under their own name, or not there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.journal.rows import Event, write
from tests.journal.test_file import FileCase
from umd.journal.copy import (
    CannotCopy,
    JournalCopy,
    check_target,
    row_from_json,
    row_to_json,
)
from umd.journal.file import JournalFile
from umd.journal.reader import JournalReader
from umd.journal.store import Step


class CopyTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.target = str(self.directory / "copy.db")

    def copied(self, file: JournalFile, rows: int = 7) -> JournalReader:
        with JournalCopy(self.target) as copy:
            after = 0
            while found := file.rows_after(after, rows):
                copy.write([row_from_json(row_to_json(copied)) for copied in found])
                after = found[-1][0]
            copy.complete(file.last)
            copy.give_name()
        reader = JournalReader(self.target)
        reader.open()
        self.addCleanup(reader.close)
        return reader

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self.directory) if "copy" in name)

    def test_a_copy_has_the_records_of_the_journal(self) -> None:
        file = self.opened()
        odd = bytes(range(256))
        write(file, [Event(f"call-{number}", Step.BEGINS) for number in range(50)])
        write(file, [Event("call-7", 0, 1001.5, odd, odd), Event("call-8", -1, 2000.0)])
        copy = self.copied(file)
        self.assertEqual(copy.rows_after(0, 1000), file.rows_after(0, 1000))
        self.assertEqual(list(copy.live()), list(file.live()))
        self.assertEqual(copy.read(0, 10, "call-7"), file.read(0, 10, "call-7"))
        self.assertEqual(copy.damages(), [])
        self.assertEqual(os.stat(self.target).st_mode & 0o777, 0o600)
        self.assertEqual(self.names(), ["copy.db"])

    def test_the_copy_knows_the_last_position_even_if_its_record_was_pruned(self) -> None:
        file = self.opened(keep=10.0)
        write(file, [Event("a", 1), Event("b", 1), Event("b", -1, 1000.0)])
        self.assertEqual(file.prune(5000.0), 2)
        self.assertEqual(file.pruned, 2)
        self.assertEqual(self.copied(file).last, 3)

    def test_an_incomplete_copy_is_removed(self) -> None:
        for error in (KeyboardInterrupt, SystemExit, ValueError):
            with self.assertRaises(error), JournalCopy(self.target) as copy:
                copy.write([(1, "a", 1, 0.0, b"{}", None, 1)])
                raise error
            self.assertEqual(self.names(), [])

    def test_a_file_created_meanwhile_is_not_overwritten(self) -> None:
        with JournalCopy(self.target) as copy:
            copy.complete(0)
            Path(self.target).write_text("another file")
            with self.assertRaisesRegex(CannotCopy, "there is such a file"):
                copy.give_name()
        self.assertEqual(Path(self.target).read_text(), "another file")
        self.assertEqual(self.names(), ["copy.db"])

    def test_a_path_that_cannot_be_written(self) -> None:
        for name in ("taken", "log-wal", "old-journal", "dangling"):
            path = self.directory / name
            if name == "dangling":
                path.symlink_to("/no/such/file")
            else:
                path.write_text("x")
        os.mkdir(self.directory / "folder")
        for name in ("taken", "log", "old", "dangling", "folder", "folder/", "new/", ""):
            with self.assertRaises(CannotCopy, msg=name):
                check_target(os.path.join(self.directory, name))
        check_target(self.target)
        with self.assertRaisesRegex(CannotCopy, "No such file or directory"):
            JournalCopy("/nowhere/copy.db").__enter__()

    def test_a_name_reserved_for_a_journal_is_refused(self) -> None:
        """SQLite or the next start of umd would overwrite or remove such a copy."""
        file = self.opened()
        for suffix in ("-wal", "-shm", "-journal", ".lock", ".compacting"):
            taken = file.path + suffix
            Path(taken).unlink(missing_ok=True)
            with self.assertRaisesRegex(CannotCopy, "belongs to"):
                check_target(taken)
            check_target(str(self.directory / f"no-journal{suffix}"))
        for suffix in ("-wal", "-shm", "-journal"):
            Path(self.target + suffix).touch()
            with self.assertRaisesRegex(CannotCopy, "there already"):
                check_target(self.target)
            os.unlink(self.target + suffix)

    def test_a_symbolic_link_at_the_temporary_name_is_not_followed(self) -> None:
        secret = self.directory / "secret"
        secret.write_text("x")
        link = self.directory / "planted"
        link.symlink_to(secret)
        with self.assertRaises(CannotCopy):
            JournalCopy(self.target, str(link)).__enter__()
        self.assertEqual(secret.read_text(), "x")
        self.assertTrue(link.is_symlink())

    def test_records_with_the_same_position_are_refused(self) -> None:
        """A program that only claims to be umd may have sent them."""
        with self.assertRaises(CannotCopy), JournalCopy(self.target) as copy:
            copy.write([(1, "a", 1, 0.0, b"{}", None, 1), (1, "b", 1, 0.0, b"{}", None, 1)])
        self.assertEqual(self.names(), [])
