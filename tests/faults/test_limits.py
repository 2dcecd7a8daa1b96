"""Memory and threads run out."""

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
    def test_memory_runs_out_under_load(self) -> None:
        """Whatever that breaks: what was promised is on record, and the next umd goes on."""
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

    def test_no_thread_can_be_started(self) -> None:
        """It says so, and does not serve without its writer."""
        injection = "inject=clone,clone3:error=EAGAIN"
        umd = self.umd(launcher=traced(self.directory / "trace", "-e", injection))
        self.assertRaises(TimeoutError, umd.__enter__)
        self.assertEqual(umd.process.returncode, 1)
        (line,) = umd.events("daemon.cannot-start")
        self.assertIn("thread", line["why"])

    def address_space(self, umd: UmdProcess) -> int:
        """Octets."""
        pages = int(Path(f"/proc/{umd.process.pid}/statm").read_text().split()[0])
        return pages * resource.getpagesize()
