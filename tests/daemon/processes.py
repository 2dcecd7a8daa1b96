"""Starts umd as a process, for tests over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.call.test_call_id import DOCUMENTED
from tests.soap.test_contract import disconnect
from umd.call.call_id import make_call_id
from umd.testing import UmdProcess

ROOT = Path(__file__).parents[2]
ACTIVATED = ("serve", "-o", "http.listen=systemd:domain=INET:index=0")
PATH = "/EWS/UM2007Legacy.asmx"


def umd(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **keywords)


def as_systemd(taken: socket.socket) -> list[str]:
    """Return a command that hands a listening socket to the command after it."""
    return [
        sys.executable,
        "-c",
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='x')\n"
        "os.execv(sys.argv[2], sys.argv[2:])",
        str(taken.fileno()),
    ]


def umd_on(taken: socket.socket) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*as_systemd(taken), sys.executable, "-m", "umd", *ACTIVATED],
        capture_output=True,
        text=True,
        timeout=30,
        pass_fds=[taken.fileno()],
    )


def seeds(*numbers: str) -> str:
    """Return a configuration with a connected call to each number, named `seed-0`, `seed-1`, ..."""
    return "".join(
        f'[[backend.sim.seed]]\nnumber = "{number}"\ncall_id = "{seed_id(index)}"\n'
        for index, number in enumerate(numbers)
    )


def seed_id(index: int) -> str:
    return make_call_id(f"seed-{index}", "lab")


class ProcessCase(SynchronousTestCase):
    def configuration(self, text: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    @contextmanager
    def serving(self, text: str = "", *arguments: str, **keywords: Any) -> Iterator[UmdProcess]:
        file = self.configuration(text)
        with UmdProcess("serve", "-c", file, *arguments, **keywords) as process:
            yield process


class PipedProcess:
    """
    A umd whose standard streams a test can close, fill or leave unread; Python buffers them.

    It listens on a UNIX socket, and the test plays systemd to learn when it is ready.

    Args:
        arguments: the arguments of `umd`.
        shell: redirections in the syntax of `sh`.
    """

    def __init__(self, *arguments: str, shell: str = "") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="umd-test-", dir="/tmp")
        self._path = os.path.join(self._directory.name, "http")
        self._states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._states.settimeout(30)
        self._states.bind(os.path.join(self._directory.name, "notify"))
        environ = {**os.environ, "NOTIFY_SOCKET": self._states.getsockname()}
        environ.pop("PYTHONUNBUFFERED", None)
        command = [sys.executable, "-m", "umd", *arguments]
        command += ["-o", f"http.listen=unix:{self._path}", "-o", "control.socket=none"]
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {shell}', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        )

    def __enter__(self) -> PipedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self._states.close()
        self._directory.cleanup()

    def ready(self) -> None:
        while not self._states.recv(1000).startswith(b"READY=1"):
            pass

    def disconnect(self, call_id: str = DOCUMENTED) -> int:
        """Send a Disconnect and return the HTTP status."""
        connection = HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        with closing(connection):
            connection.sock.settimeout(30)
            connection.sock.connect(self._path)
            headers = {"Content-Type": "text/xml"}
            connection.request("POST", PATH, disconnect(call_id).encode(), headers)
            return connection.getresponse().status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)
