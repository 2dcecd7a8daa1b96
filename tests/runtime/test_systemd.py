"""Messages to systemd, and the commands of the unit."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.runtime import test_activation as activation
from umd.runtime import systemd
from umd.testing import UmdProcess

UNIT = Path(__file__).parents[2] / "systemd" / "umd.service"


class NotifyTests(SynchronousTestCase):
    def listen(self, name: str | bytes) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(name)
        listener.settimeout(5)
        return listener

    def test_states_reach_the_socket(self) -> None:
        name = f"umd-test-{os.getpid()}"
        listener = self.listen("\0" + name)
        systemd.notify("READY=1", "STATUS=x", environ={"NOTIFY_SOCKET": "@" + name})
        self.assertEqual(listener.recv(100), b"READY=1\nSTATUS=x")

    def test_the_path_of_a_socket_may_be_any_octets(self) -> None:
        """Neither a line feed nor an octet outside of UTF-8 in a path keeps umd from starting."""
        name = f"umd-test-odd-{os.getpid()}"
        listener = self.listen("\0" + name)
        systemd.notify("STATUS=at /run/\udce9\nSTOPPING=1", environ={"NOTIFY_SOCKET": "@" + name})
        self.assertEqual(listener.recv(100), b"STATUS=at /run/\xe9 STOPPING=1")

    def test_a_full_queue(self) -> None:
        """A full queue of systemd once stopped the daemon; now the message is lost."""
        name = f"umd-test-full-{os.getpid()}"
        listener = self.listen("\0" + name)
        environ = {"NOTIFY_SOCKET": "@" + name}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect("\0" + name)
            with self.assertRaises(BlockingIOError):
                while True:
                    sender.send(b"filler")
        systemd.notify("WATCHDOG=1", environ=environ)
        self.assertEqual(listener.recv(100), b"filler")

    def test_without_systemd(self) -> None:
        systemd.notify("READY=1", environ={})
        systemd.notify("READY=1", environ={"NOTIFY_SOCKET": "/nowhere/at/all"})

    def test_the_watchdog_interval_is_half_of_its_time(self) -> None:
        own_pid = str(os.getpid())
        for environ, seconds in (
            ({"WATCHDOG_USEC": "10000000"}, 5.0),
            ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": own_pid}, 5.0),
            ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
            ({}, None),
        ):
            self.assertEqual(systemd.watchdog_interval(environ), seconds, environ)

    def test_a_reload_has_its_time(self) -> None:
        first, second = systemd.reloading()
        self.assertEqual(first, "RELOADING=1")
        self.assertRegex(second, r"^MONOTONIC_USEC=\d+$")


class UnitTests(SynchronousTestCase):
    """The commands of systemd/umd.service, run one after the other as by systemd."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp()).absolute()
        self.file.write_text("")

    def commands(self, kind: str, pid: int = 0) -> list[list[str]]:
        lines = [
            line.removeprefix(f"{kind}=")
            for line in UNIT.read_text().splitlines()
            if line.startswith(f"{kind}=")
        ]
        found = []
        for line in lines:
            line = line.replace("/opt/umd/bin/umd", f"{shlex.quote(sys.executable)} -m umd")
            line = line.replace("/etc/umd/umd.toml", shlex.quote(str(self.file)))
            found.append(shlex.split(line.replace("$MAINPID", str(pid))))
        return found

    def run_commands(self, kind: str, pid: int = 0) -> tuple[int, str]:
        """Return status and error output of the first command that fails, or else of the last."""
        for command in self.commands(kind, pid):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if ran.returncode:
                break
        return ran.returncode, ran.stderr

    def test_a_start_checks_the_files_first(self) -> None:
        self.assertEqual(self.run_commands("ExecStartPre"), (0, ""))
        self.file.write_text('[auth]\npassword_file = "/no/file"\n')
        status, errors = self.run_commands("ExecStartPre")
        self.assertEqual(status, 2)
        self.assertIn(f'{self.file}:2: auth.password_file = "/no/file": No such file', errors)

    def test_a_reload_of_a_wrong_configuration_fails_and_changes_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            (start,) = self.commands("ExecStart")
            at = start.index("serve")
            launcher = activation.passing([taken], activation.environ("1"))
            with UmdProcess(*start[at:], launcher=launcher, pass_fds=[taken.fileno()]) as process:
                pid = process.process.pid
                self.file.write_text("[call]\nended_is = 1\n")
                self.assertEqual(self.run_commands("ExecReload", pid)[0], 2)
                self.file.write_text("[prompts]\nfolder = '/no/folder'\n")
                self.assertEqual(self.run_commands("ExecReload", pid)[0], 2)
                self.file.write_text('[call]\nended_is = "fault"\n')
                self.assertEqual(self.run_commands("ExecReload", pid), (0, ""))
                process.wait_for("config.reloaded")
                self.assertEqual(process.events("config.refused"), [])
