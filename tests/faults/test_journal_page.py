"""The commands and the tables of docs/journal.md, as an operator reads them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.architecture.test_events import CALL, lifecycle_events
from tests.faults.stories import FaultCase
from umd.call.record import encode
from umd.journal.file import JournalFile
from umd.journal.paths import COMPACTING_SUFFIX, LOCK_SUFFIX
from umd.journal.reader import JournalReader
from umd.journal.schema import APPLICATION_ID, MIGRATIONS
from umd.journal.sqlite import MAX_ROWS_PER_COMMIT, RETRY_INTERVAL
from umd.management.client import Unreachable, ask

PAGE = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
SYSTEMCTL = """\
#!/bin/sh -e
# Stands in for systemd: one service, whose process id is in a file.
runs() { kill -0 $1 2> /dev/null && ! grep -q ") Z" /proc/$1/stat; }
stop() { pid=$(cat {pid}); kill $pid; while runs $pid; do sleep 0.05; done; }
start() {
    {serve} > /dev/null 2>> {log} &
    echo $! > {pid}
    until grep -q daemon.ready {log}; do sleep 0.05; done
}
case "$1" in
    stop) stop ;;
    start) : > {log}; start ;;
    restart) stop; : > {log}; start ;;
    disable) [ "$2 $3" = "--now umd" ] && stop ;;
    daemon-reload) ;;
esac
"""


def section(title: str) -> str:
    """Return the text below a heading of the page."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def commands(title: str) -> list[str]:
    """Return the commands in a section of the page."""
    return [line.strip() for line in section(title).splitlines() if line.startswith("    ")]


class PageTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        # The path of a socket has at most 107 octets.
        sockets = tempfile.mkdtemp(prefix="umd-test-")
        self.addCleanup(shutil.rmtree, sockets, ignore_errors=True)
        self.socket = f"{sockets}/control.sock"
        self.pid_file, self.log_file = self.directory / "pid", self.directory / "log"
        for name in ("backup", "lib", "root", "etc/umd", "etc/systemd/system", "bin"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "etc/systemd/system/umd.service").touch()
        self.path = str(self.directory / "lib" / "journal.db")
        serve = [
            sys.executable, "-m", "umd", "serve", "-o", f"journal.path={self.path}",
            "-o", "http.listen=tcp:0:interface=127.0.0.1", "-o", f"control.socket={self.socket}",
        ]  # fmt: skip
        self.script("systemctl", SYSTEMCTL, serve=shlex.join(serve))
        umd = shlex.join([sys.executable, "-m", "umd"])
        # A command finds a running umd by its socket, and the file of one that is stopped.
        self.script(
            "umd",
            f'#!/bin/sh\nverb="$2"; case "$*" in *--journal*) exec {umd} "$@" ;; esac\n'
            f'[ "$verb" = compact ] && exec {umd} "$@" --journal {shlex.quote(self.path)}\n'
            f"exec {umd} \"$@\" --socket {self.socket}\n",
        )
        self.addCleanup(self.kill)

    def script(self, name: str, text: str, **more: str) -> None:
        """Write a command for the commands of the page to find."""
        values = {"pid": str(self.pid_file), "log": str(self.log_file), **more}
        for key, value in values.items():
            text = text.replace("{%s}" % key, value)
        path = self.directory / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def kill(self) -> None:
        if self.pid_file.exists():
            subprocess.run(["kill", "-9", self.pid_file.read_text().strip()], capture_output=True)

    def run_commands(self, title: str) -> None:
        """Run the commands of a section, with the paths of the page below the test's directory."""
        for command in commands(title):
            for name in ("backup", "root", "etc"):
                command = command.replace(f"/{name}/", f"{self.directory}/{name}/")
            command = command.replace("/var/lib/umd", f"{self.directory}/lib")
            command = command.replace("-o umd -g umd ", "")  # there is no such user here
            environ = {**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}"}
            done = subprocess.run(
                ["sh", "-ec", command],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            )
            self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}")

    def systemctl(self, verb: str) -> None:
        subprocess.run(
            [self.directory / "bin" / "systemctl", verb],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    def place_call(self) -> str:
        (reply,) = ask("place", self.socket, number="5550101", backend="sim")
        call = str(reply["call"]["id"])
        until = time.monotonic() + 30
        while self.calls().get(call) != "connected":
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        return call

    def calls(self) -> dict[str, str]:
        return {
            reply["call"]["id"]: reply["call"]["state"] for reply in ask("calls", self.socket)
        }

    def test_the_commands_of_the_page(self) -> None:
        """Backup, check, restore, compact, upgrade and removal, one after another."""
        self.systemctl("start")
        before = self.place_call()
        self.run_commands("Backup")
        after = self.place_call()
        self.run_commands("Check")
        self.run_commands("Restore")
        self.assertEqual(self.calls(), {before: "connected"})
        self.assertTrue((self.directory / "root/old/journal.db").exists())
        self.run_commands("Compact")
        self.assertEqual(self.calls(), {before: "connected"})
        self.assertNotIn(after, self.calls())
        self.run_commands("Upgrade and downgrade")
        self.assertEqual(self.calls(), {before: "connected"})
        self.assertTrue((self.directory / "backup/before-upgrade.db").exists())
        self.run_commands("Removal")
        with self.assertRaises(Unreachable):
            self.calls()
        for name in ("lib", "etc/umd", "etc/systemd/system/umd.service"):
            self.assertFalse((self.directory / name).exists(), name)

    def test_every_key_of_a_record_is_on_the_page(self) -> None:
        keys = {"octets"}
        for lease in (None, 60.0):
            for event in lifecycle_events(lease):
                keys |= set(json.loads(encode(CALL, event)))
        documented = re.findall(r"^\| (`[^|]*`) \|", section("Format"), re.MULTILINE)
        columns = {"position", "step", "record", "extra", "begun"}
        found = {key for cell in documented for key in re.findall(r"`(\w+)`", cell)}
        self.assertEqual(found - columns, keys)

    def test_the_columns_and_numbers_on_the_page(self) -> None:
        file = JournalFile(str(self.directory / "journal.db"))
        file.open()
        file.close()
        reader = JournalReader(file.path)
        reader.open()
        self.addCleanup(reader.close)
        columns = reader._connection.execute("SELECT name FROM pragma_table_info('events')")
        text = section("Format")
        for (column,) in columns:
            self.assertIn(f"| `{column}`", text)
        self.assertIn(f"0x{APPLICATION_ID:X}", text)
        self.assertIn(f"now {len(MIGRATIONS)}.", text.replace("\n", " "))
        self.assertIn(f"| {len(MIGRATIONS)} |", section("Versions"))
        self.assertIn(f"{MAX_ROWS_PER_COMMIT:,}", section("Group commit"))
        self.assertIn(f"{RETRY_INTERVAL} s", section("Promises"))
        for suffix in (LOCK_SUFFIX, COMPACTING_SUFFIX):
            self.assertIn(f"`journal.db{suffix}`", section("Files"))
