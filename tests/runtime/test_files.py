"""Files that the configuration names: what is no file is told at once, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.runtime.files import CannotRead, read_file

MOST = 1024**2


class ReadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def why(self, path: str) -> str:
        return str(self.assertRaises(CannotRead, read_file, path, MOST))

    def test_a_file_of_the_greatest_size(self) -> None:
        (self.folder / "file").write_bytes(b"x" * MOST)
        self.assertEqual(len(read_file(str(self.folder / "file"), MOST)), MOST)

    def test_one_octet_more(self) -> None:
        (self.folder / "file").write_bytes(b"x" * (MOST + 1))
        self.assertEqual(self.why(str(self.folder / "file")), "longer than 1 MiB")

    def test_a_fifo_without_a_writer(self) -> None:
        os.mkfifo(self.folder / "fifo")
        self.assertEqual(self.why(str(self.folder / "fifo")), "not a regular file")

    def test_what_never_ends(self) -> None:
        self.assertEqual(self.why("/dev/zero"), "not a regular file")

    def test_a_directory(self) -> None:
        self.assertEqual(self.why(str(self.folder)), "not a regular file")

    def test_nothing_there(self) -> None:
        self.assertEqual(self.why(str(self.folder / "none")), "No such file or directory")

    def test_what_cannot_be_a_path(self) -> None:
        self.assertEqual(self.why("a\0b"), "not a path")
        self.assertEqual(self.why("\ud800"), "not a path")
