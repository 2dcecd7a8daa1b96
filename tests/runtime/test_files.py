"""Reading a file that the configuration names: anything but a regular file fails at once."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.runtime.files import CannotRead, read_file

MAX_OCTETS = 1024**2


class ReadFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def refusal(self, path: str) -> str:
        return str(self.assertRaises(CannotRead, read_file, path, MAX_OCTETS))

    def test_a_file_of_the_largest_size(self) -> None:
        (self.folder / "file").write_bytes(b"x" * MAX_OCTETS)
        self.assertEqual(len(read_file(str(self.folder / "file"), MAX_OCTETS)), MAX_OCTETS)

    def test_a_file_with_one_octet_more(self) -> None:
        (self.folder / "file").write_bytes(b"x" * (MAX_OCTETS + 1))
        self.assertEqual(self.refusal(str(self.folder / "file")), "longer than 1 MiB")

    def test_a_fifo_without_a_writer(self) -> None:
        os.mkfifo(self.folder / "fifo")
        self.assertEqual(self.refusal(str(self.folder / "fifo")), "not a regular file")

    def test_an_endless_device(self) -> None:
        self.assertEqual(self.refusal("/dev/zero"), "not a regular file")

    def test_a_directory(self) -> None:
        self.assertEqual(self.refusal(str(self.folder)), "not a regular file")

    def test_a_missing_file(self) -> None:
        self.assertEqual(self.refusal(str(self.folder / "none")), "No such file or directory")

    def test_a_text_that_is_no_path(self) -> None:
        self.assertEqual(self.refusal("a\0b"), "not a path")
        self.assertEqual(self.refusal("\ud800"), "not a path")
