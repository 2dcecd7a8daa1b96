"""A full disk: Disconnect is refused or carried out, as `journal.on_error` says."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import missing, program
from umd.call.record import decode
from umd.journal.reader import JournalReader
from umd.management.client import ask
from umd.testing import UmdProcess

CALLS = 60


class DiskFullTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = Path(self.mktemp()).absolute()
        self.disk.mkdir()
        mount = [program("mount", "mount"), "-t", "tmpfs", "-o", "size=16m", "tmpfs"]
        result = subprocess.run([*mount, str(self.disk)], capture_output=True, text=True)
        if result.returncode:
            missing(f"the right to mount a tmpfs: {result.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", str(self.disk)])
        self.journal = str(self.disk / "journal.db")

    def story(self, on_error: str) -> tuple[Counter[str], Counter[str]]:
        """Return the outcomes while the disk is full, and when it has space again."""
        options = [f"journal.path={self.journal}", f"journal.on_error={on_error}"]
        options.append(f"backend.sim.seed=[{{count={CALLS}}}]")
        with UmdProcess("serve", *[word for one in options for word in ("-o", one)]) as process:
            calls = [reply["call"]["id"] for reply in ask("calls", process.control_socket)]

            def told(some: list[str]) -> Counter[str]:
                return Counter(process.disconnect(one)[2]["X-UMD-Outcome"] or "" for one in some)

            filler = self.disk / "filler"
            with filler.open("wb", buffering=0) as stream:
                try:
                    while True:
                        stream.write(b"x" * 4096)
                except OSError:
                    pass
            meanwhile = told(calls[:40])
            process.wait_for("journal.cannot-be-written")
            os.unlink(filler)
            process.wait_for("journal.recovered")
            return meanwhile, told(calls)

    def ends(self) -> Counter[str]:
        """Return the number of end events of each call in the journal."""
        reader = JournalReader(self.journal)
        reader.open()
        self.addCleanup(reader.close)
        self.assertEqual(reader.damages(), [])
        ended = [s for s in reader.read(0, 10_000) if b"call.disconnected" in s.record]
        self.assertTrue(all(decode(s.record)["outcome"] == "ended" for s in ended))
        return Counter(s.call for s in ended)

    def once_each(self) -> None:
        ends = self.ends()
        self.assertEqual((len(ends), set(ends.values())), (CALLS, {1}))

    def test_refuse(self) -> None:
        meanwhile, after = self.story("refuse")
        # The first record may have fitted into a page that existed already.
        self.assertGreater(meanwhile["journal-unavailable"], 30)
        self.assertEqual(set(meanwhile) - {"journal-unavailable", "ended"}, set())
        self.assertEqual(set(after) - {"ended", "already-ended"}, set())
        self.once_each()

    def test_continue(self) -> None:
        meanwhile, after = self.story("continue")
        self.assertEqual(meanwhile, Counter({"ended": 40}))
        self.assertEqual(after, Counter({"already-ended": 40, "ended": CALLS - 40}))
        self.once_each()
