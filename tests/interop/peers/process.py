"""A peer as a process: started in a directory of its own, waited for, ended by its id."""

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
"""Seconds after which what was waited for is taken not to come; a busy machine needs many."""


class PeerFailed(Exception):
    """A peer could not be started, or did not do what was waited for; the text has its log."""


def need(present: bool, name: str) -> None:
    """
    Skip the test where a peer is not installed; fail it in CI.

    Raises:
        SkipTest, AssertionError
    """
    if not present:
        missing(f"{name}: {HOW}")


def free_ports(count: int, kind: int = socket.SOCK_DGRAM) -> list[int]:
    """Different ports of loopback that are free at the moment."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_sip_port() -> int:
    """A port that is free for UDP and TCP, and the next one for TCP: some peers open TLS there."""
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


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """
    Look until it is so.

    Raises:
        PeerFailed: it was not, for so many seconds.
    """
    until = time.monotonic() + patience
    while not true():
        if time.monotonic() > until:
            raise PeerFailed(f"waited {patience:g} s for {what}")
        time.sleep(0.02)


def fill_in(file: Path, values: Mapping[str, object]) -> str:
    """The text of a file with each `@NAME@` replaced."""
    text = file.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def answers_options(port: int) -> bool:
    """Whether there is a SIP server that answers an OPTIONS at once."""
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
    One process on loopback.

    Args:
        directory: for what it writes; made if need be.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).absolute()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start it, and wait until it serves.

        Raises:
            PeerFailed
        """
        raise NotImplementedError

    def launch(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """Start the process; what it says goes to the file `console`."""
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
        Wait until it serves.

        Raises:
            PeerFailed
        """
        until = time.monotonic() + PATIENCE
        while not ready():
            if self.ended or time.monotonic() > until:
                self.stop()
                raise PeerFailed(f"{type(self).__name__} did not come up: {self.said}")
            time.sleep(0.02)

    @property
    def ended(self) -> bool:
        """Whether the process is not there any more."""
        return self.process is None or self.process.poll() is not None

    @property
    def said(self) -> str:
        """The end of what it has said."""
        return (self.directory / "console").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """End it in good order, if it has not ended."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it do nothing, until `go_on`: it is mute, and what comes waits for it."""
        assert self.process is not None
        group = self.process.pid
        _signal_group(group, signal.SIGSTOP)
        # Each thread stops when it next gets to the kernel: until then it may still answer.
        wait_until(lambda: _stands_still(group), "the peer to stand still")

    def go_on(self) -> None:
        """See `pause`."""
        assert self.process is not None
        _signal_group(self.process.pid, signal.SIGCONT)

    def end(self, number: signal.Signals) -> None:
        """End its process group by a signal, and wait until it is gone."""
        process, self.process = self.process, None
        if process is None:
            return
        # The whole group: with SIGKILL Kamailio's first process could not end the others.
        _signal_group(process.pid, number)
        _signal_group(process.pid, signal.SIGCONT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()


def _stands_still(group: int) -> bool:
    """Whether every thread of a process group is stopped (proc(5))."""
    for status in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
        try:
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has just ended
        if int(process_group) == group and state not in "TtZ":
            return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
