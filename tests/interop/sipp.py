"""Runs SIPp as the far end, on free ports of loopback, and reads its log files."""

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
    """SIPp did not start or ended too early; the text has its output."""


def need_sipp() -> str:
    """
    Return the path of SIPp.

    Raises:
        SkipTest: it is not installed.
        SippFailed: it is not installed, and CI=true.
    """
    path = shutil.which("sipp")
    if path is not None:
        return path
    missing = "sipp is not installed: apt-get install sip-tester"
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        raise SippFailed(missing)
    raise SkipTest(missing)


def free_port() -> int:
    """Return a UDP port of loopback that is free at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port: int = taken.getsockname()[1]
        return port


class Line(NamedTuple):
    """A line that a scenario has logged."""

    at: float
    """Seconds since the epoch."""
    message: str
    """The method or status that the line is about."""
    call_id: str
    rest: str


class Traced(NamedTuple):
    """A message in the trace of SIPp; retransmissions are included."""

    at: datetime
    received: bool
    text: str

    @property
    def start(self) -> str:
        """The first two words of the message."""
        return " ".join(self.text.split(None, 2)[:2])


class SippRecords:
    """The log, trace and statistics that SIPp has written to a directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()

    def log(self) -> list[Line]:
        """Return the lines that the scenario has logged so far."""
        lines = []
        for line in (self.directory / "log").read_text().splitlines():
            at, message, call_id, rest = (line.split("\t")[-1] + "   ").split(" ", 3)
            lines.append(Line(float(at), message, call_id, rest.strip()))
        return lines

    def messages(self) -> list[Traced]:
        """Return the messages received and sent so far."""
        text = (self.directory / "messages").read_text()
        parts = _TRACED.split(text)[1:]
        return [
            Traced(datetime.fromisoformat(at), direction == "received", message.strip())
            for at, direction, message in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        ]

    def statistics(self) -> dict[str, int]:
        """Return the cumulative counts (`...(C)`) of the last row of statistics, by name."""
        with open(self.directory / "statistics", newline="") as file:
            *_, last = csv.DictReader(file, delimiter=";")
        return {
            name.removesuffix("(C)"): int(value)
            for name, value in last.items()
            if name and name.endswith("(C)") and value.isdecimal()
        }


def sipp_command(scenario: str, *arguments: str, trace: bool = True) -> list[str]:
    """
    Return the command of a SIPp on loopback that writes the files that `SippRecords` reads.

    Args:
        scenario: a path, or a built-in scenario such as `-sn uas`.
        arguments: further arguments, including the remote address.
        trace: whether SIPp writes each message to a file, which halves its speed.
    """
    chosen = scenario.split() if scenario.startswith("-") else ["-sf", scenario]
    command = [
        need_sipp(), *chosen, *arguments, "-i", LOOPBACK, "-ci", LOOPBACK,
        "-bind_local", "-nostdin", "-buff_size", str(4 << 20), "-trace_err", "-error_file",
        "errors", "-trace_stat", "-stf", "statistics", "-fd", "1",
        "-watchdog_interval", "0",  # otherwise it exits on a busy machine
    ]  # fmt: skip
    if trace:
        command += ["-trace_logs", "-log_file", "log", "-trace_msg"]
        command += ["-message_file", "messages"]
    return command


class Sipp(SippRecords, ProcessProtocol):
    """
    A SIPp process; call `start`, and `stop` in the cleanup.

    Args:
        reactor: the reactor of Twisted.
        directory: where SIPp writes its files; created if missing.
        scenario: the name of a file in `tests/interop/sipp`, or a built-in one such as `-sn uas`.
        arguments: further arguments, including the remote address.
        calls: the number of calls after which SIPp exits.
        trace: whether SIPp writes each message to a file, which halves its speed.
        launcher: a command that starts it, such as `["taskset", "-c", "1"]`.
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
        """0 if all calls succeeded, 1 if a call failed, or the negative number of the signal."""
        self._waiting: list[Deferred[None]] = []
        self._reactor = reactor
        self._output: list[bytes] = []
        self._transport: Any = None
        chosen = scenario if scenario.startswith("-") else _file(scenario)
        self._command = [*launcher, *sipp_command(chosen, *arguments, trace=trace)]
        if calls is not None:
            self._command += ["-m", str(calls)]

    async def start(self) -> None:
        """
        Start SIPp, and wait until its port is open.

        Raises:
            SippFailed: it exited.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            if await self._start_on(free_port()):
                return
        raise SippFailed(f"exit status {self.status}: {self.output}")

    async def _start_on(self, port: int) -> bool:
        """Start SIPp on a port; return False if another process has taken the port."""
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
        raise SippFailed(f"exit status {self.status}: {self.output}")

    async def stop(self) -> None:
        """End SIPp if it still runs."""
        if self._transport is not None:
            if self.status is None:
                self._transport.signalProcess(SIGKILL)
            await self.wait()

    async def wait(self) -> int:
        """Wait until SIPp has exited; return its exit status."""
        if self.status is None:
            ended: Deferred[None] = Deferred()
            self._waiting.append(ended)
            await ended
        assert self.status is not None
        return self.status

    async def finish(self) -> None:
        """
        Wait until SIPp has finished its calls.

        Raises:
            SippFailed: a call failed.
        """
        status = await self.wait()
        if status:
            raise SippFailed(f"exit status {status}: {self.output}")

    @property
    def output(self) -> str:
        """The end of its screen output and of its error file."""
        errors = self.directory / "errors"
        text = errors.read_text(errors="replace") if errors.exists() else ""
        return b"".join(self._output[-20:]).decode(errors="replace") + text[-4000:]

    # ProcessProtocol

    def outReceived(self, data: bytes) -> None:
        self._output.append(data)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.status = 0
        if isinstance(reason.value, ProcessTerminated):
            signal, code = reason.value.signal, reason.value.exitCode
            self.status = -signal if signal else code or 0
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


_TRACED: Final = re.compile(
    r"^-{20,} (\d{4}-\d\d-\d\d[ \t]+[\d:.]+).*\nUDP message (received|sent)[^\n]*\n", re.MULTILINE
)


def _file(scenario: str) -> str:
    return str(SCENARIOS / f"{scenario}.xml")


def has_port(pid: int, port: int) -> bool:
    """Return whether a process has this UDP port of loopback open."""
    with open("/proc/net/udp") as table:
        rows = [line.split() for line in table]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == f"0100007F:{port:04X}"}
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        return any(os.readlink(descriptor) in sockets for descriptor in descriptors)
    except OSError:
        return False  # it has just exited, or just closed a descriptor
