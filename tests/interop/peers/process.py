"""Runs a peer as a process: starts it in a directory of its own, waits for it, and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.helpers import missing
from tests.interop.peers.install import HOW

LOOPBACK: Final = "127.0.0.1"
PATIENCE: Final = 60.0
"""Seconds to wait for an event; a busy machine needs many."""


class PeerFailed(Exception):
    """A peer did not start, or an expected event did not come; the text has its log."""


def need(present: bool, name: str) -> None:
    """
    Skip the test if a peer is not installed; with CI=true, fail it.

    Raises:
        SkipTest: the peer is not installed.
        AssertionError: the peer is not installed, and CI=true.
    """
    if not present:
        missing(f"{name}: {HOW}")


def free_ports(count: int, kind: int = socket.SOCK_DGRAM) -> list[int]:
    """Return different ports of loopback that are free at the moment."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def free_sip_port() -> int:
    """
    Return a port that is free for UDP and TCP, and whose next port is free for TCP.

    Some peers use the next port for TLS.
    """
    while True:
        (port,) = free_ports(1)
        if port < 65535 and all(_is_free(each) for each in (port, port + 1)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        try:
            tcp.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], bool], event: str, patience: float = PATIENCE) -> None:
    """
    Check a condition every 20 ms until it is true.

    Args:
        condition: returns whether the event has come.
        event: its name, for the error.
        patience: seconds to wait.

    Raises:
        PeerFailed: the event did not come in time.
    """
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            raise PeerFailed(f"waited {patience:g} s for {event}")
        time.sleep(0.02)


def fill_in(file: Path, values: Mapping[str, object]) -> str:
    """Return the text of a file with each `@NAME@` replaced by its value."""
    text = file.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def answers_options(port: int) -> bool:
    """Return whether a SIP server on this port answers an OPTIONS within 0.2 s."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(0.2)
        caller.connect((LOOPBACK, port))
        here = "%s:%d" % caller.getsockname()
        try:
            caller.send(OPTIONS.format(here=here, there=f"{LOOPBACK}:{port}").encode())
            return caller.recv(65535).startswith(b"SIP/2.0 ")
        except OSError:
            return False


OPTIONS: Final = """\
OPTIONS sip:ping@{there} SIP/2.0\r
Via: SIP/2.0/UDP {here};branch=z9hG4bKready{here}\r
From: <sip:ready@{here}>;tag=ready\r
To: <sip:ping@{there}>\r
Call-ID: ready-{here}\r
CSeq: 1 OPTIONS\r
Max-Forwards: 70\r
Content-Length: 0\r
\r
"""


class Peer:
    """
    A peer that runs as one process group on loopback.

    Args:
        directory: where it writes its files; created if missing.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start the peer, and wait until it serves.

        Raises:
            PeerFailed: it exited, or did not serve in time.
        """
        raise NotImplementedError

    def launch(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """Start the process; its output goes to the file `console`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(self.directory / "console", "ab") as console:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=None if environ is None else {**os.environ, **environ},
                start_new_session=True,
            )

    def await_ready(self, ready: Callable[[], bool]) -> None:
        """
        Wait until the peer serves.

        Raises:
            PeerFailed: it exited, or did not serve in time.
        """
        until = time.monotonic() + PATIENCE
        while not ready():
            if self.ended or time.monotonic() > until:
                self.stop()
                raise PeerFailed(f"{type(self).__name__} did not start: {self.output}")
            time.sleep(0.02)

    @property
    def ended(self) -> bool:
        """Whether the process has exited, or was never started."""
        return self.process is None or self.process.poll() is not None

    @property
    def output(self) -> str:
        """The end of its output."""
        return (self.directory / "console").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """End the peer by SIGTERM, if it still runs."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """End the peer by SIGKILL, as if its machine had lost power."""
        self.end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop all its threads until `resume`; messages to it wait in its sockets."""
        assert self.process is not None
        group = self.process.pid
        _signal_group(group, signal.SIGSTOP)
        # A thread stops when it next enters the kernel; until then it may still answer.
        wait_until(lambda: _all_stopped(group), "all threads of the peer to stop")

    def resume(self) -> None:
        """Continue after `pause`."""
        assert self.process is not None
        _signal_group(self.process.pid, signal.SIGCONT)

    def end(self, number: signal.Signals) -> None:
        """Send a signal to its process group, and wait until the process has exited."""
        process, self.process = self.process, None
        if process is None:
            return
        # The group, because the first process of Kamailio cannot end the others after SIGKILL.
        _signal_group(process.pid, number)
        _signal_group(process.pid, signal.SIGCONT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()


def _all_stopped(group: int) -> bool:
    """Return whether all threads of a process group are stopped (proc(5))."""
    for status in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
        try:
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # the thread has just ended
        if int(process_group) == group and state not in "TtZ":
            return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
