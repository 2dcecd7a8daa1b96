"""Backups under load, and compactions that are killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.clients import Load
from tests.faults.stories import LONG, FaultCase, Served
from tests.helpers import missing, program
from tests.journal.rows import Event, write
from umd.journal.file import JournalFile
from umd.journal.reader import JournalReader
from umd.management.client import ask
from umd.management.journal_maintenance import InUse, backup, check, compact

UMD = (sys.executable, "-m", "umd")
BACKUPS = 20 if LONG else 3
KILLS = 60 if LONG else 8


class BackupTests(FaultCase):
    def test_a_backup_has_every_record_acknowledged_before_it_began(self) -> None:
        for number in range(BACKUPS):
            target = self.directory / f"backup-{number}.db"
            with self.umd() as umd:
                served = Served(umd)
                with Load(served, self.log, 4, random.Random(number)):
                    self.until(lambda: self.log.told.total() > 50 * (number + 1))
                    placed, ended = set(self.log.placed), set(self.log.ended)
                    checked = backup(served.socket, None, str(target))
                self.assertEqual(checked.problems, [])
                self.assertEqual(check(served.socket, None).problems, [])
                umd.stop()
            mine, self.journal = self.journal, target
            with self.umd() as umd:  # with the backup as its journal
                known = {reply["event"]["call"] for reply in ask(
                    "events", umd.control_socket, limit=10_000)}  # fmt: skip
                self.assertEqual(placed - known, set())
                outcomes = {self.end(umd, call) for call in sorted(ended)[:20]}
                self.assertEqual(outcomes - {"already-ended"}, set())
                umd.stop()
            self.journal = mine

    def big(self) -> str:
        journal = JournalFile(str(self.journal))
        journal.open()
        for first in range(0, 20_000, 250):
            calls = range(first, first + 250)
            record = b'{"seq":%d,"x":"' + b"x" * 400 + b'"}'
            write(journal, [Event(f"call-{n}", 1, record=record % 1) for n in calls])
            write(journal, [Event(f"call-{n}", -1, record=record % 2) for n in calls])
        journal.close()
        return str(self.journal)

    def test_a_backup_ended_by_a_signal_leaves_no_file(self) -> None:
        self.big()
        target = self.directory / "target.db"
        command = [*UMD, "journal", "backup", "--journal", str(self.journal), str(target)]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = subprocess.Popen(command, stderr=subprocess.PIPE)
            with process:
                self.until(lambda: list(self.directory.glob("target.db.*.part")))
                process.send_signal(number)
                assert process.stderr is not None
                self.assertEqual(process.stderr.read(), b"")
                self.assertEqual(process.wait(30), 128 + number)
            self.assertEqual(list(self.directory.glob("target*")), [])

    def test_a_killed_compaction_leaves_a_complete_journal(self) -> None:
        path = self.big()
        command = [*UMD, "journal", "compact", "--journal", path]
        records = check(None, path).records
        for step in range(KILLS):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.25 + 0.8 * step / KILLS)
                process.kill()
            checked = check(None, path)
            self.assertEqual((checked.records, checked.problems), (records, []))
        with self.umd() as umd:
            self.assertEqual(umd.events("journal.set-aside"), [])
            umd.stop()
        self.assertEqual(list(self.directory.glob("*.compacting")), [])

    def test_a_compacted_journal_is_smaller(self) -> None:
        path = self.big()
        journal = JournalFile(path, keep=1.0)
        journal.open()
        while journal.prune(time.time()):
            pass
        write(journal, [Event("last", 1, time.time(), b'{"seq":1}')])
        last = journal.last
        journal.close()
        os.chmod(path, 0o640)
        checked, before, after = compact(path)
        self.assertLess(after * 10, before)
        self.assertEqual((checked.records, checked.live_calls), (1, 1))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)
        reader = JournalReader(path)
        reader.open()
        self.addCleanup(reader.close)
        self.assertEqual(reader.last, last)

    def test_the_target_of_a_symbolic_link_is_compacted(self) -> None:
        path = self.big()
        link = self.directory / "link.db"
        link.symlink_to(path)
        compact(str(link))
        self.assertTrue(link.is_symlink())
        compact(os.path.relpath(link))
        compact(os.path.relpath(path))
        self.assertEqual(check(None, path).records, 40_000)
        with self.umd() as umd:  # opened by its own name
            self.assertRaises(InUse, compact, str(link))
            umd.stop()
        self.journal = link
        with self.umd() as umd:  # and by the link
            self.assertRaises(InUse, compact, str(link))
            umd.stop()

    def disk(self, size: str) -> Path:
        disk = self.directory / "disk"
        disk.mkdir()
        mount = [program("mount", "mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            missing(f"the right to mount a tmpfs: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", str(disk)])
        return disk

    def test_a_backup_to_a_full_disk_leaves_no_file(self) -> None:
        """Whether the disk is full at once or after some records."""
        path = self.big()
        disk = self.disk("1m")
        command = [*UMD, "journal", "backup", "--journal", path, str(disk / "copy.db")]
        for there in ([], ["filler"]):
            fill(disk, there)
            ran = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((ran.returncode, ran.stdout), (2, ""))
            self.assertRegex(ran.stderr, r"\A.*copy\.db cannot be written: .*full.*\n\Z")
            self.assertEqual([file.name for file in disk.iterdir()], there)

    def test_a_compaction_on_a_full_disk_changes_nothing(self) -> None:
        path = Path(self.big())
        disk = self.disk(f"{path.stat().st_size * 3 // 2 // 1024}k")
        self.journal = Path(shutil.copy(path, disk))
        records = check(None, str(path)).records
        command = [*UMD, "journal", "compact", "--journal", str(self.journal)]
        for there in ([], ["filler"]):
            fill(disk, there)
            ran = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((ran.returncode, ran.stdout), (2, ""))
            self.assertRegex(ran.stderr, r"\A.* cannot be written: .*full.*\n\Z")
            self.assertEqual(list(disk.glob("*.compacting")), [])
        (disk / "filler").unlink()
        checked = check(None, str(self.journal))
        self.assertEqual((checked.records, checked.problems), (records, []))


def fill(disk: Path, names: list[str]) -> None:
    """Fill a disk to its last octet."""
    for name in names:
        with open(disk / name, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
