"""The base class of the tests of single faults."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.checker import Journal, check_ends, check_far_end, check_promises
from tests.faults.clients import ClientLog, disconnect, end_all
from tests.faults.crash import free_port
from tests.faults.far_end import FarEnd
from tests.helpers import program
from umd.management.client import ask
from umd.testing import UmdProcess

LONG: Final = os.environ.get("UMD_FAULTS") == "long"
"""Whether the tests run in their long form."""


class Served:
    """A `UmdProcess` with the attributes that the clients of the kit need."""

    def __init__(self, umd: UmdProcess) -> None:
        self.port = urlsplit(umd.url).port or 0
        self.socket = umd.control_socket
        self.crashes = 0


class FaultCase(SynchronousTestCase):
    """Has a directory with a journal, and the log of the clients; a far end survives umd."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.journal = self.directory / "journal.db"
        self.log = ClientLog()
        self.crashes: list[float] = []

    def far_end(self) -> FarEnd:
        far_end = FarEnd(str(self.directory / "far-end"))
        far_end.__enter__()
        self.addCleanup(far_end.__exit__, None, None, None)
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.heard = far_end.heard
        return far_end

    def umd(self, *options: str, far_end: FarEnd | None = None, **keywords: object) -> UmdProcess:
        """Return a umd on the journal of the test, not started."""
        more = ["-o", 'backend.sim.type="sim"']
        if far_end is not None:
            more += far_end.options(self.sip_port)
        arguments = ("serve", "-o", f"journal.path={self.journal}", *more, *options)
        return UmdProcess(*arguments, **keywords)  # type: ignore[arg-type]

    def place(self, umd: UmdProcess, number: str = "5550101", backend: str = "sim") -> str:
        """Place a call, and return its id once it is connected or rings."""
        (reply,) = ask("place", umd.control_socket, number=number, backend=backend)
        call: str = reply["call"]["id"]
        self.log.place(call)
        umd.wait_for("call.alerting" if number.endswith("0180") else "call.connected", call=call)
        return call

    def end(self, umd: UmdProcess, call: str) -> str:
        """Send a Disconnect, and return its outcome."""
        self.log.ask(call)
        outcome = disconnect(Served(umd).port, call)
        self.log.tell(call, outcome)
        return outcome

    @contextmanager
    def ending(self, umd: UmdProcess, *calls: str) -> Iterator[Callable[[], list[str]]]:
        """Send Disconnects in the background; yield a function that waits for their outcomes."""
        with ThreadPoolExecutor(len(calls)) as pool:
            replies = [pool.submit(self.end, umd, call) for call in calls]
            yield lambda: [reply.result() for reply in replies]

    def until(self, true: Callable[[], object]) -> None:
        """Wait until `true` returns a true value."""
        until = time.monotonic() + 60
        while not true():
            self.assertLess(time.monotonic(), until, "it did not happen within 60 s")
            time.sleep(0.01)

    def end_what_is_left(self, umd: UmdProcess) -> None:
        self.assertEqual(set(end_all(Served(umd), self.log)) - {"ended", "already-ended"}, set())

    def check(self, far_end: FarEnd | None = None, ended: bool = True) -> Journal:
        """Check all promises against the journal, which no umd has open, and return the journal."""
        journal = Journal(self.journal, self.directory)
        wrong = check_promises(journal, self.log)
        if ended:
            wrong.update(check_ends(journal))
        if far_end is not None:
            wrong.update(check_far_end(far_end.heard(), journal, self.log, self.crashes)[0])
        self.assertEqual({name: number for name, number in wrong.items() if number}, {})
        return journal


def traced(trace: Path, *expressions: str) -> list[str]:
    """Return a launcher that runs umd under strace, which logs the calls that it tampers with."""
    # With -D, umd is the child of the test and gets its signals.
    return [program("strace", "strace"), "-D", "-f", "-q", "-o", str(trace), *expressions]
