"""The path of the control socket, for the daemon and for the commands."""

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

    def test_systemd_takes_precedence_over_the_user_and_the_user_over_tmp(self) -> None:
        directories = "/run/umd:/run/more"
        service_environ = {"RUNTIME_DIRECTORY": directories, "XDG_RUNTIME_DIR": self.runtime}
        self.assertEqual(default_path(service_environ, UID), "/run/umd/control.sock")
        user_environ = {"XDG_RUNTIME_DIR": self.runtime}
        self.assertEqual(default_path(user_environ, UID), f"{self.runtime}/umd/control.sock")
        self.assertEqual(default_path({}, 1234), "/tmp/umd-1234/control.sock")

    def test_a_runtime_directory_of_another_user_is_not_used(self) -> None:
        """sudo and su leave the variable, and root would make a directory there."""
        for wrong in (self.runtime, "/nowhere/at/all", "relative", ""):
            environ = {"XDG_RUNTIME_DIR": wrong}
            self.assertEqual(default_path(environ, UID + 1), f"/tmp/umd-{UID + 1}/control.sock")

    def test_a_command_uses_the_socket_that_exists(self) -> None:
        environ = {"RUNTIME_DIRECTORY": f"{self.runtime}/none", "XDG_RUNTIME_DIR": self.runtime}
        existing = Path(self.runtime, "umd", "control.sock")
        existing.parent.mkdir()
        existing.touch()
        self.assertEqual(find_path(environ, UID), str(existing))
        existing.unlink()
        self.assertIn(
            find_path(environ, 2**31 - 7),
            (f"{self.runtime}/none/control.sock", "/run/umd/control.sock"),
        )
