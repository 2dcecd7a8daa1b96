"""The short form of `python -m tests.faults`, and the proof that it finds lost records."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import seed_id, seeds
from tests.faults.checker import Journal
from tests.faults.crash import Run
from tests.faults.disk import Disk
from tests.helpers import program
from umd.testing import UmdProcess


class CrashTests(SynchronousTestCase):
    """No acknowledged record is lost; each call is known, and ends once."""

    def survive(self, kills: int = 0, cuts: int = 0) -> None:
        run = Run(clients=4)
        for _ in range(5):
            run.crash(kills, cuts)
            self.assertTrue(run.good, run.found())
            # On a busy machine the first crashes may come before the first request.
            if run.seen["told already-ended"] and run.seen["far_end_answered"]:
                return
        self.fail(f"there was no load: {run.found()}")

    def test_killed_under_load(self) -> None:
        self.survive(kills=4)

    def test_power_cut_under_load(self) -> None:
        self.survive(cuts=4)


class ProofTests(SynchronousTestCase):
    """A record that does not reach the disk is found missing."""

    def test_a_journal_that_is_not_synced(self) -> None:
        run = Run(clients=4, durability="relaxed")
        losses = ("acknowledged_ends_lost", "calls_unknown_to_the_journal",
                  "far_end_calls_unknown_to_the_journal")  # fmt: skip
        for _ in range(5):
            run.crash(cuts=2)
            if all(run.wrong[loss] for loss in losses):
                return
        self.fail(f"nothing was missed: {run.found()}")

    def test_a_disk_that_lies(self) -> None:
        """A disk that ignores fsync loses acknowledged records in a power cut."""
        self.assertFalse(self.survives("-e", "inject=fdatasync,fsync:retval=0"))

    def test_the_same_disk_when_it_obeys_fsync(self) -> None:
        self.assertTrue(self.survives())

    def survives(self, *injection: str) -> bool:
        """Return whether an acknowledged end is in the journal after a power cut."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        strace = program("strace", "strace")
        launcher = [strace, "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]
        file = directory / "umd.toml"
        file.write_text(seeds("5550101"))
        with Disk(directory) as disk:
            journal = disk.path / "journal.db"
            options = ["-c", str(file), "-o", f"journal.path={journal}"]
            with UmdProcess("serve", *options, launcher=[*launcher, *injection]) as umd:
                self.assertEqual(umd.disconnect(seed_id(0))[2]["X-UMD-Outcome"], "ended")
                disk.cut(umd.process.pid)
                umd.process.kill()
                umd.process.wait()
                disk.restore()
            return Journal(journal, directory).ended(seed_id(0))
