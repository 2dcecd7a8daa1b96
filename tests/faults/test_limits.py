"""No more memory, and no more threads."""

from __future__ import annotations

import random
import resource
import signal
from pathlib import Path

from tests.faults.clients import Load
from tests.faults.stories import FaultCase, Served, traced
from umd.testing import UmdProcess

MORE = 3 << 20  # octets


class LimitTests(FaultCase):
    def test_no_more_memory_under_load(self) -> None:
        """Whatever fails then, all promises hold, and the next umd continues."""
        with self.umd() as umd:
            with Load(Served(umd), self.log, 6, random.Random(1)) as load:
                self.until(lambda: self.log.told.total() > 50)
                room = self.address_space(umd) + MORE
                resource.prlimit(umd.process.pid, resource.RLIMIT_AS, (room, room))
                told = self.log.told.total() + self.log.broken.total()
                self.until(
                    lambda: self.log.told.total() + self.log.broken.total() > told + 500
                    or umd.process.poll() is not None
                )
                umd.process.send_signal(signal.SIGKILL)
                load.stop()
            umd.process.wait()
            self.check(ended=False)
        with self.umd() as umd:
            self.end_what_is_left(umd)
            self.assertEqual(umd.stop(), 0)
        self.check()

    def test_no_more_threads(self) -> None:
        """Without its writer umd logs the reason and does not serve."""
        injection = "inject=clone,clone3:error=EAGAIN"
        umd = self.umd(launcher=traced(self.directory / "trace", "-e", injection))
        self.assertRaises(TimeoutError, umd.__enter__)
        self.assertEqual(umd.process.returncode, 1)
        (line,) = umd.events("daemon.cannot-start")
        self.assertIn("thread", line["why"])

    def address_space(self, umd: UmdProcess) -> int:
        """Return the memory that umd uses, in octets."""
        pages = int(Path(f"/proc/{umd.process.pid}/statm").read_text().split()[0])
        return pages * resource.getpagesize()
