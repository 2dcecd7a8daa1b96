"""SIPp as the other party: a process on free ports of loopback, which ends with its test."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

LOOPBACK: Final = "127.0.0.1"
PORT_TAKEN: Final = 254  # its exit status
SCENARIOS: Final = Path(__file__).parent / "sipp"


class SippFailed(Exception):
    """It could not be started, or ended too early; the text has what it said."""


def need_sipp() -> str:
    """
    The path of the program.

    Raises:
        SkipTest: it is not installed; under CI, where nothing may be missing, `SippFailed`.
    """
    path = shutil.which("sipp")
    if path is not None:
        return path
    missing = "sipp is not installed: apt-get install sip-tester"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        raise SippFailed(missing)
    raise SkipTest(missing)


def free_port() -> int:
    """A UDP port of loopback that nobody has at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port


class Line(NamedTuple):
    """What a scenario has logged."""

    at: float
    """Seconds since the epoch."""
    what: str
    call_id: str
    rest: str


class Traced(NamedTuple):
    """A message in the trace, retransmissions too."""

    at: datetime
    received: bool
    text: str

    @property
    def start(self) -> str:
        """Its first two words."""
        return " ".join(self.text.split(None, 2)[:2])


class SippRecords:
    """What a SIPp that works in a directory has written there."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()

    def log(self) -> list[Line]:
        """The lines that its scenario has logged so far."""
        lines = []
        for line in (self.directory / "log").read_text().splitlines():
            at, what, call_id, rest = (line.split("\t")[-1] + "   ").split(" ", 3)
            lines.append(Line(float(at), what, call_id, rest.strip()))
        return lines

    def messages(self) -> list[Traced]:
        """Every message received and sent so far."""
        text = (self.directory / "messages").read_text()
        parts = _TRACED.split(text)[1:]
        return [
            Traced(datetime.fromisoformat(at), what == "received", message.strip())
            for at, what, message in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        ]

    def statistics(self) -> dict[str, int]:
        """The whole numbers of its last row of statistics, from the start on (`...(C)`)."""
        with open(self.directory / "statistics", newline="") as file:
            *_, last = csv.DictReader(file, delimiter=";")
        return {
            name.removesuffix("(C)"): int(value)
            for name, value in last.items()
            if name and name.endswith("(C)") and value.isdecimal()
        }


def sipp_command(scenario: str, *arguments: str, trace: bool = True) -> list[str]:
    """
    The command of a SIPp on loopback whose files `SippRecords` reads.

    Args:
        scenario: the path of one, or a built-in one: `-sn uas`.
        arguments: more of them, the remote address too.
        trace: whether it keeps each message; costs half its speed.
    """
    chosen = scenario.split() if scenario.startswith("-") else ["-sf", scenario]
    command = [
        need_sipp(), *chosen, *arguments, "-i", LOOPBACK, "-ci", LOOPBACK,
        "-bind_local", "-nostdin", "-buff_size", str(4 << 20), "-trace_err", "-error_file",
        "errors", "-trace_stat", "-stf", "statistics", "-fd", "1",
        "-watchdog_interval", "0",  # it would end itself on a busy machine
    ]  # fmt: skip
    if trace:
        command += ["-trace_logs", "-log_file", "log", "-trace_msg"]
        command += ["-message_file", "messages"]
    return command


class Sipp(SippRecords, ProcessProtocol):
    """
    One SIPp process: `start`, and `stop` in the cleanup.

    Args:
        reactor: the real one.
        directory: for what it writes; made if need be.
        scenario: a file of `tests/interop/sipp` without its ending, or a built-in one: `-sn uas`.
        arguments: more of them, the remote address too.
        calls: after how many it ends.
        trace: whether it keeps each message; costs half its speed.
        launcher: a command to run it by: `["taskset", "-c", "1"]`.
    """

    def __init__(
        self,
        reactor: Any,
        directory: str,
        scenario: str,
        *arguments: str,
        calls: int | None = None,
        trace: bool = True,
        launcher: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.port = 0
        self.status: int | None = None
        """How it ended: 0, all calls were good; 1, one was not; minus the signal that ended it."""
        self._waiting: list[Deferred[None]] = []
        self._reactor = reactor
        self._said: list[bytes] = []
        self._transport: Any = None
        chosen = scenario if scenario.startswith("-") else _file(scenario)
        self._command = [*launcher, *sipp_command(chosen, *arguments, trace=trace)]
        if calls is not None:
            self._command += ["-m", str(calls)]

    async def start(self) -> None:
        """
        Start it, and wait until its port is open.

        Raises:
            SippFailed
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            if await self._start_on(free_port()):
                return
        raise SippFailed(f"exit status {self.status}: {self.said}")

    async def _start_on(self, port: int) -> bool:
        """Whether it has started; not when somebody was faster to take the port."""
        command = [*self._command, "-p", str(port)]
        self.port, self.status = port, None
        self._transport = self._reactor.spawnProcess(
            self, command[0], command, env=None, path=str(self.directory)
        )
        while self.status is None:
            if has_port(self._transport.pid, port):
                return True
            await deferLater(self._reactor, 0.005)
        if self.status == PORT_TAKEN:
            return False
        raise SippFailed(f"exit status {self.status}: {self.said}")

    async def stop(self) -> None:
        """End it, if it has not ended, and wait until it is gone."""
        if self._transport is not None:
            if self.status is None:
                self._transport.signalProcess(SIGKILL)
            await self.wait()

    async def wait(self) -> int:
        """Wait until it has ended; gives its exit status."""
        if self.status is None:
            ended: Deferred[None] = Deferred()
            self._waiting.append(ended)
            await ended
        assert self.status is not None
        return self.status

    async def finish(self) -> None:
        """
        Wait until it has done its calls.

        Raises:
            SippFailed: one of them was not good.
        """
        status = await self.wait()
        if status:
            raise SippFailed(f"exit status {status}: {self.said}")

    @property
    def said(self) -> str:
        """What it wrote to its screen and its error file, the end of it."""
        errors = self.directory / "errors"
        text = errors.read_text(errors="replace") if errors.exists() else ""
        return b"".join(self._said[-20:]).decode(errors="replace") + text[-4000:]

    # The process

    def outReceived(self, data: bytes) -> None:
        self._said.append(data)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.status = 0
        if isinstance(reason.value, ProcessTerminated):
            signal, code = reason.value.signal, reason.value.exitCode
            self.status = -signal if signal else code or 0
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


_TRACED: Final = re.compile(
    r"^-{20,} (\d{4}-\d\d-\d\d[ \t]+[\d:.]+).*\nUDP message (received|sent)[^\n]*\n", re.MULTILINE
)


def _file(scenario: str) -> str:
    return str(SCENARIOS / f"{scenario}.xml")


def has_port(pid: int, port: int) -> bool:
    """Whether a process has this UDP port of loopback."""
    with open("/proc/net/udp") as table:
        rows = [line.split() for line in table]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}"}
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        return any(os.readlink(descriptor) in sockets for descriptor in descriptors)
    except OSError:
        return False  # it has just ended, or just closed one
