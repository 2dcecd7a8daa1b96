"""`umd init` writes a first installation: files that work, complete or not at all."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from unittest import mock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import umd
from tests.helpers import restored_signal_handlers
from tests.soap.test_contract import disconnect
from umd.cli.installation import CannotInstall, plan_installation, service_unit, umd_command
from umd.cli.main import main
from umd.http.passwords import PasswordFile
from umd.testing import UmdProcess

ROOT = Path(__file__).parents[2]
NAMES = {"umd.toml", "passwords", "umd.service", "umd.socket"}


def invoke(*arguments: str, answers: str | None = None) -> Result:
    """Run `umd init` in this process."""
    with restored_signal_handlers():
        return CliRunner().invoke(main, ["init", *arguments], input=answers)


class InitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()

    def test_the_files_are_a_working_installation(self) -> None:
        """The configuration passes its check, and the user can log in with the password."""
        ran = umd("init", str(self.directory), "--user", "alice", "--json")
        result = json.loads(ran.stdout)
        self.assertEqual({Path(path).name for path in result["files"]}, NAMES)
        self.assertEqual(set(os.listdir(self.directory)), NAMES)
        file = str(self.directory / "umd.toml")
        checked = umd("check-config", "--files", file)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        passwords = PasswordFile.read(str(self.directory / "passwords"))
        self.assertTrue(passwords.verify("alice", result["password"].encode()))
        with UmdProcess("serve", "-c", file) as process:
            self.assertEqual(process.disconnect("nope")[0], 401)
            basic = b64encode(f"alice:{result['password']}".encode()).decode()
            headers = {"Authorization": f"Basic {basic}", "Content-Type": "text/xml"}
            request = Request(process.url, disconnect("nope").encode(), headers)
            with self.assertRaises(HTTPError) as caught:
                urlopen(request, timeout=30)
            with caught.exception as fault:
                self.assertEqual((fault.code, fault.headers["X-UMD-Outcome"]), (500, "unknown"))

    def test_the_modes_of_the_files(self) -> None:
        """Only the owner can read the password file, whatever the umask."""
        mask = os.umask(0o077)
        try:
            self.assertEqual(invoke(str(self.directory)).exit_code, 0)
        finally:
            os.umask(mask)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.directory.iterdir()}
        self.assertEqual(modes.pop("passwords"), 0o600)
        self.assertEqual(set(modes.values()), {0o644})
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o755)

    def test_a_generated_password_is_shown_once(self) -> None:
        """It is printed, and no file has it."""
        output = invoke(str(self.directory)).output
        (line,) = [line for line in output.splitlines() if "not shown again" in line]
        password = line.rpartition(" ")[2]
        self.assertEqual(output.count(password), 1)
        for path in self.directory.iterdir():
            self.assertNotIn(password, path.read_text())

    def test_a_password_that_was_asked_for_is_not_shown(self) -> None:
        """The password is asked for twice; the second answer must be the same."""
        answers = "secret word\nother\nsecret word\nsecret word\n"
        ran = invoke(str(self.directory), "--ask-password", answers=answers)
        self.assertEqual(ran.exit_code, 0)
        self.assertNotIn("secret word", ran.output)
        passwords = PasswordFile.read(str(self.directory / "passwords"))
        self.assertTrue(passwords.verify("operator", b"secret word"))

    def test_no_file_is_overwritten(self) -> None:
        """One file that exists is enough to write none."""
        for name in NAMES:
            directory = Path(self.mktemp()).absolute()
            directory.mkdir()
            (directory / name).write_text("precious")
            ran = invoke(str(directory))
            self.assertEqual(ran.exit_code, 2)
            self.assertIn(f"{directory / name} exists already", ran.output)
            self.assertEqual(os.listdir(directory), [name])
            self.assertEqual((directory / name).read_text(), "precious")

    def test_a_failure_leaves_no_file(self) -> None:
        """The third file cannot be written; the first two and the directory are removed."""
        link = os.link

        def fail_at_service(source: str, target: str) -> None:
            if target.endswith(".service"):
                raise OSError(28, "No space left on device", target)
            link(source, target)

        self.patch(os, "link", fail_at_service)
        ran = invoke(str(self.directory))
        self.assertEqual(ran.exit_code, 2)
        self.assertIn("umd.service: No space left on device; nothing was written", ran.output)
        self.assertFalse(self.directory.exists())

    def test_a_password_that_cannot_be_shown_leaves_no_file(self) -> None:
        """The disk of standard output is full."""
        with open("/dev/full", "wb") as full:
            command = [sys.executable, "-m", "umd", "init", str(self.directory)]
            ran = subprocess.run(command, stdout=full, stderr=subprocess.DEVNULL)
        self.assertEqual(ran.returncode, 74)
        self.assertFalse(self.directory.exists())

    def test_names_that_would_need_quoting_are_refused(self) -> None:
        """No file gets a name that systemd, TOML or the password file would read differently."""
        for directory, user, password in (
            ("/etc/u m d", "alice", "x"), ("/etc/100%", "alice", "x"), ("/etc/\udcff", "al", "x"),
            ("/etc/umd", "a:b", "x"), ("/etc/umd", "", "x"), ("/etc/umd", "#a", "x"),
            ("/etc/umd", "a\nb", "x"), ("/etc/umd", "alice", ""), ("/etc/umd", "alice", "x" * 73),
        ):  # fmt: skip
            with self.assertRaises(CannotInstall):
                plan_installation(directory, user, password, "umd")


class UnitTests(SynchronousTestCase):
    def test_the_units_are_those_of_the_source(self) -> None:
        """Beside the paths, the unit of the service passes the password file."""
        for name in ("umd.service", "umd.socket"):
            template = files("umd.cli") / "templates" / name
            self.assertEqual(template.read_text(), (ROOT / "systemd" / name).read_text())
        written = service_unit("/etc/umd", "/opt/umd/bin/umd").splitlines()
        original = (ROOT / "systemd" / "umd.service").read_text().splitlines()
        added = [line for line in written if line not in original]
        self.assertIn("LoadCredential=passwords:/etc/umd/passwords", added)
        commands = [line for line in added if line.startswith("Exec")]
        self.assertEqual(len(commands), 3)
        for command in commands:
            self.assertIn(command.removesuffix(" -o auth.password_file=%d/passwords"), original)
        self.assertEqual([line for line in original if line not in written and
                          not line.startswith("Exec")], [])  # fmt: skip

    def test_the_units_name_the_umd_that_wrote_them(self) -> None:
        for program, executable, command in (
            (__file__, "/usr/bin/python3", "/usr/bin/python3 -m umd"),
            (__file__, "/opt/my $umd/python", '"/opt/my $$umd/python" -m umd'),
        ):
            with mock.patch.multiple(sys, argv=[program], executable=executable):
                self.assertEqual(umd_command(), command)
