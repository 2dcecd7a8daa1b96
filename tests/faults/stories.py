"""What the stories of single faults share."""

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
"""Whether the long set is wanted."""


class Served:
    """A `UmdProcess`, as the clients of the kit see it."""

    def __init__(self, umd: UmdProcess) -> None:
        self.port = urlsplit(umd.url).port or 0
        self.socket = umd.control_socket
        self.crashes = 0


class FaultCase(SynchronousTestCase):
    """A directory, a journal in it, a far end that lives on, and the log of the clients."""

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
        """One that is about to run, on the journal of the test."""
        more = ["-o", 'backend.sim.type="sim"']
        if far_end is not None:
            more += far_end.options(self.sip_port)
        arguments = ("serve", "-o", f"journal.path={self.journal}", *more, *options)
        return UmdProcess(*arguments, **keywords)  # type: ignore[arg-type]

    def place(self, umd: UmdProcess, number: str = "5550101", backend: str = "sim") -> str:
        """A call, once it stands."""
        (reply,) = ask("place", umd.control_socket, number=number, backend=backend)
        call: str = reply["call"]["id"]
        self.log.place(call)
        umd.wait_for("call.alerting" if number.endswith("0180") else "call.connected", call=call)
        return call

    def end(self, umd: UmdProcess, call: str) -> str:
        """Ask for the end of a call; gives the outcome."""
        self.log.ask(call)
        outcome = disconnect(Served(umd).port, call)
        self.log.tell(call, outcome)
        return outcome

    @contextmanager
    def ending(self, umd: UmdProcess, *calls: str) -> Iterator[Callable[[], list[str]]]:
        """Ask for ends meanwhile; gives what waits for the outcomes."""
        with ThreadPoolExecutor(len(calls)) as pool:
            asked = [pool.submit(self.end, umd, call) for call in calls]
            yield lambda: [one.result() for one in asked]

    def until(self, true: Callable[[], object]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + 60
        while not true():
            self.assertLess(time.monotonic(), until, "it does not come to be")
            time.sleep(0.01)

    def end_what_is_left(self, umd: UmdProcess) -> None:
        self.assertEqual(set(end_all(Served(umd), self.log)) - {"ended", "already-ended"}, set())

    def check(self, far_end: FarEnd | None = None, ended: bool = True) -> Journal:
        """The journal, when no umd has it open: all that was promised is so."""
        journal = Journal(self.journal, self.directory)
        wrong = check_promises(journal, self.log)
        if ended:
            wrong.update(check_ends(journal))
        if far_end is not None:
            wrong.update(check_far_end(far_end.heard(), journal, self.log, self.crashes)[0])
        self.assertEqual({name: number for name, number in wrong.items() if number}, {})
        return journal


def traced(trace: Path, *expressions: str) -> list[str]:
    """A launcher for umd: under strace, which writes to a file which calls were tampered with."""
    # With -D umd stays our child, and gets the signal that ends it.
    return [program("strace", "strace"), "-D", "-f", "-q", "-o", str(trace), *expressions]
