"""Where the control socket is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from umd.management.address import default_path, find_path

UID = os.geteuid()


class AddressTests(SynchronousTestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.runtime = scratch.name

    def test_systemd_goes_before_the_user_and_the_user_before_tmp(self) -> None:
        of_systemd = {"RUNTIME_DIRECTORY": "/run/umd:/run/more", "XDG_RUNTIME_DIR": self.runtime}
        self.assertEqual(default_path(of_systemd, UID), "/run/umd/control.sock")
        of_the_user = {"XDG_RUNTIME_DIR": self.runtime}
        self.assertEqual(default_path(of_the_user, UID), f"{self.runtime}/umd/control.sock")
        self.assertEqual(default_path({}, 1234), "/tmp/umd-1234/control.sock")

    def test_a_runtime_directory_of_somebody_else_is_not_used(self) -> None:
        """sudo and su leave it in the environment; root would make a directory there."""
        for wrong in (self.runtime, "/nowhere/at/all", "relative", ""):
            environ = {"XDG_RUNTIME_DIR": wrong}
            self.assertEqual(default_path(environ, UID + 1), f"/tmp/umd-{UID + 1}/control.sock")

    def test_a_command_takes_the_socket_that_is_there(self) -> None:
        environ = {"RUNTIME_DIRECTORY": f"{self.runtime}/none", "XDG_RUNTIME_DIR": self.runtime}
        there = Path(self.runtime, "umd", "control.sock")
        there.parent.mkdir()
        there.touch()
        self.assertEqual(find_path(environ, UID), str(there))
        there.unlink()
        self.assertIn(
            find_path(environ, 2**31 - 7),
            (f"{self.runtime}/none/control.sock", "/run/umd/control.sock"),
        )
