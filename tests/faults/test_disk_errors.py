"""
The disk fails once, at the first, second ... system call: only durable records are acknowledged.

Each run ends with a power cut right after the first response that follows the fault, so that only
what is on the disk counts. The long form goes on until a run has fewer system calls than that.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.checker import Journal, check_promises
from tests.faults.clients import ClientLog
from tests.faults.disk import Disk
from tests.faults.stories import LONG, traced
from umd.management.client import Refusal, ask
from umd.testing import UmdProcess

CALLS = 4


class DiskErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        disk = Disk(self.directory)
        disk.__enter__()
        self.addCleanup(disk.__exit__, None, None, None)
        self.disk = disk

    def test_a_sync_that_fails(self) -> None:
        self.fail_each("fdatasync:error=EIO", (1, 2, 4))

    def test_a_write_to_a_full_disk(self) -> None:
        self.fail_each("pwrite64:error=ENOSPC", (2, 6, 11))

    def test_a_write_that_fails(self) -> None:
        self.fail_each("pwrite64:error=EIO", (9,))

    def fail_each(self, injection: str, short: tuple[int, ...]) -> None:
        touched = 0
        for when in range(1, 200) if LONG else short:
            hit = self.run_with(f"{injection}:when={when}", when)
            touched += hit
            if not hit:
                break
        self.assertGreaterEqual(touched, 3 if LONG else len(short))

    def run_with(self, injection: str, number: int) -> bool:
        """Run once, check all promises, and return whether the fault occurred."""
        journal = self.disk.path / f"{injection.partition(':')[0]}-{number}.db"
        trace = self.directory / f"{journal.name}.trace"
        launcher = traced(trace, "-e", f"inject={injection}")
        log = ClientLog()
        umd = UmdProcess("serve", "-o", f"journal.path={journal}", launcher=launcher)
        try:
            with umd:
                for _ in self.story(umd, log):
                    if umd.events("journal.cannot-be-written"):
                        break
                self.disk.cut(umd.process.pid)
                umd.stop(signal.SIGKILL)
        except TimeoutError:
            # The fault occurred at the start: umd logs it and does not serve.
            (line,) = umd.events("daemon.cannot-start")
            self.assertIn("journal.path", line["why"])
            self.assertEqual(umd.process.returncode, 1)
        else:
            self.disk.restore()
            wrong = check_promises(Journal(journal, self.directory), log)
            self.assertEqual({name: n for name, n in wrong.items() if n}, {}, injection)
        return "(INJECTED)" in trace.read_text()

    def story(self, umd: UmdProcess, log: ClientLog) -> Iterator[None]:
        """Place and end calls until each has ended; yield after each response."""
        for _ in range(CALLS):
            call = self.insist(lambda: self.place(umd))
            log.place(call)
            yield
            log.tell(call, self.insist(lambda: self.end(umd, call)))
            yield

    def insist(self, ask_for: Callable[[], str]) -> str:
        """Repeat a request while the journal cannot be written."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(Refusal):
                answer = ask_for()
                if answer != "journal-unavailable":
                    return answer
            time.sleep(0.02)
        raise AssertionError("it does not recover")

    def place(self, umd: UmdProcess) -> str:
        (reply,) = ask("place", umd.control_socket, number="5550101")
        call: str = reply["call"]["id"]
        return call

    def end(self, umd: UmdProcess, call: str) -> str:
        return umd.disconnect(call)[2]["X-UMD-Outcome"] or ""
