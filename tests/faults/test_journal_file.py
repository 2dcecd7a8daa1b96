"""A journal on a slow or read-only disk, and one that is damaged, newer or older."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.daemon.processes import seed_id
from tests.faults.clients import disconnect
from tests.faults.disk import Disk
from tests.faults.stories import FaultCase, Served
from tests.helpers import missing, program
from umd.testing import UmdProcess

OLD = Path(__file__).parent.parent / "data" / "journal"


class JournalFileTests(FaultCase):
    def refused(self, umd: UmdProcess) -> str:
        """Assert that umd does not start, and return the reason that it logs."""
        self.assertRaises(TimeoutError, umd.__enter__)
        self.assertEqual(umd.process.returncode, 1)
        (line,) = umd.events("daemon.cannot-start")
        self.assertEqual([line for line in umd.log if "exception" in line], [])
        why: str = line["why"]
        return why

    def test_a_disk_that_hangs(self) -> None:
        """A Disconnect waits for the disk; other requests and the watchdog are served."""
        disk = Disk(self.directory)
        disk.__enter__()
        self.addCleanup(disk.__exit__, None, None, None)
        self.journal = disk.path / "journal.db"
        name = f"umd-slow-{os.getpid()}"
        environ = {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "100000"}
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            listener.bind("\0" + name)
            umd = stack.enter_context(self.umd("-o", "call.deadline=60s", environ=environ))
            call = self.place(umd)
            disk.freeze()
            frozen = stack.enter_context(ExitStack())
            frozen.callback(disk.thaw)
            outcomes = stack.enter_context(self.ending(umd, call))
            umd.wait_for("call.disconnect-requested", call=call)
            for _ in range(100):
                self.assertEqual(disconnect(Served(umd).port, "bm9ib2R5QGxhYg=="), "unknown")
            _drain(listener)
            listener.settimeout(30)
            while b"WATCHDOG=1" not in listener.recv(1000):
                pass
            self.assertEqual(self.log.told.total(), 0)
            frozen.close()
            self.assertEqual(outcomes(), ["ended"])
            self.assertEqual(umd.stop(), 0)
        self.check()

    def test_a_read_only_file_system(self) -> None:
        with self.umd() as umd:
            self.place(umd)
            umd.stop()
        mount = program("mount", "mount")
        for step in (["--bind"], ["-o", "remount,ro,bind"]):
            done = subprocess.run(
                [mount, *step, str(self.directory), str(self.directory)],
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                missing(f"the right to mount: {done.stderr.strip()}")
            if step == ["--bind"]:
                self.addCleanup(subprocess.run, ["umount", str(self.directory)])
        self.assertIn("journal.path", self.refused(self.umd()))

    def test_a_damaged_journal_is_set_aside(self) -> None:
        """Calls that a backend still has are taken over."""
        with self.umd() as umd:
            for _ in range(30):
                self.place(umd, "5550180")
            umd.stop()
        octets = bytearray(self.journal.read_bytes())
        for page in range(1, len(octets) // 4096):
            octets[4096 * page : 4096 * page + 512] = os.urandom(512)
        self.journal.write_bytes(octets)
        with self.umd() as umd:
            (line,) = umd.events("journal.set-aside")
            kept = line["file"].partition(":")[0]
            self.assertEqual(Path(kept).read_bytes(), bytes(octets))
            command = (sys.executable, "-m", "umd", "status", "--json", "--socket")
            told = subprocess.check_output((*command, umd.control_socket))
            self.assertEqual(json.loads(told)["journal_set_aside"], line["file"])
            self.log.placed.clear()
            self.assertEqual(self.end(umd, self.place(umd)), "ended")
            self.assertEqual(umd.stop(), 0)
        self.check()

    def test_the_journal_of_a_newer_umd_is_refused(self) -> None:
        with self.umd() as umd:
            self.place(umd)
            umd.stop()
        with sqlite3.connect(self.journal) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        before = self.journal.read_bytes()
        self.assertIn("a newer umd has written it (schema 99", self.refused(self.umd()))
        self.assertEqual(self.journal.read_bytes(), before)

    def test_a_journal_of_each_older_schema_is_taken_over(self) -> None:
        """The journals in tests/data/journal were written by the versions with those schemas."""
        files = sorted(OLD.glob("schema-*.sql"))
        self.assertTrue(files)
        minute = time.time() - 60
        for file in files:
            self.take(file, minute)
            with self.umd() as umd:
                (opened,) = umd.events("journal.opened")
                self.assertEqual((opened["live_calls"], opened["ended_calls"]), (3, 1), file)
                self.assertEqual(umd.events("call.lost"), [])
                outcomes = [disconnect(Served(umd).port, seed_id(number)) for number in range(4)]
                self.assertEqual(outcomes, ["already-ended", "ended", "ended", "ended"])
                self.assertEqual(umd.stop(), 0)
            self.log.asked.update({seed_id(number): 0.0 for number in range(4)})
            self.check()

    def test_the_journal_of_a_killed_umd_of_the_last_release_is_taken_over(self) -> None:
        """Calls were pruned from it, ids have had several lives, and a part was not indexed."""
        self.take(OLD / "killed-2.sql", time.time() - 60)
        with self.umd() as umd:
            (migrated,) = umd.events("journal.migrated")
            self.assertEqual(migrated["from_schema"], 2)
            (opened,) = umd.events("journal.opened")
            self.assertEqual((opened["live_calls"], opened["records"]), (3, 26))
            self.assertEqual(umd.events("call.lost"), [])
            outcomes = [disconnect(Served(umd).port, seed_id(number)) for number in range(4)]
            self.assertEqual(outcomes, ["already-ended", "already-ended", "ended", "ended"])
            self.assertEqual(umd.stop(), 0)
        with self.umd() as umd:
            self.assertEqual(umd.events("journal.migrated"), [])
            (opened,) = umd.events("journal.opened")
            self.assertEqual(opened["live_calls"], 1)
            outcomes = [disconnect(Served(umd).port, seed_id(number)) for number in range(4)]
            self.assertEqual(outcomes, ["already-ended"] * 4)
            self.assertEqual(umd.stop(), 0)

    def take(self, file: Path, last_at: float) -> None:
        """Take a file as the journal, its last record at `last_at`, as umd forgets old ends."""
        self.journal.unlink(missing_ok=True)
        db = sqlite3.connect(self.journal)
        db.executescript(file.read_text())
        db.execute("UPDATE events SET at = at + ? - (SELECT max(at) FROM events)", (last_at,))
        db.commit()
        db.close()


def _drain(listener: socket.socket) -> None:
    """Discard what was received so far."""
    listener.setblocking(False)
    try:
        while listener.recv(1000):
            pass
    except BlockingIOError:
        return
