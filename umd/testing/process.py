"""Runs umd as a process on a free port, for tests in any framework."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from email.message import Message
from types import TracebackType
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from umd.soap.namespaces import MESSAGES

REQUEST: Final = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    '<Disconnect xmlns="{namespace}"><CallId>{call_id}</CallId></Disconnect>'
    "</soap:Body></soap:Envelope>"
)


class UmdProcess:
    """
    A context manager that starts a umd process, and stops it at its end.

    Args:
        arguments: the command line after `umd`; by default `serve`. If they do not set them,
            `http.listen` is a free port on loopback, and `control.socket` a new path.
        environ: variables for the process, besides those of this one.
        launcher: a command that runs the umd command, such as `strace -f`.
        pass_fds: file descriptors that the process inherits.

    ::

        with UmdProcess("serve", "-c", "umd.toml") as umd:
            status, body, headers = umd.disconnect(call_id)
    """

    def __init__(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = [*launcher, sys.executable, "-m", "umd", *(arguments or ("serve",))]
        if "http.listen" not in " ".join(arguments):
            self._command += ["-o", "http.listen=tcp:0:interface=127.0.0.1"]
        self._environ = {**os.environ, **(environ or {})}
        self._pass_fds = pass_fds
        self.log: list[dict[str, Any]] = []
        """Every line that it has logged, parsed."""
        self.url = ""
        """The URL of the UM web service."""
        self.control_socket = ""
        """Its path, for `umd.management.client.ask` and `umd trace --socket`."""
        self._directory: str | None = None

    def __enter__(self) -> UmdProcess:
        command = self._command
        if "control.socket" not in " ".join(command):
            # In the system's directory: the path of a socket has at most 107 octets.
            self._directory = tempfile.mkdtemp(prefix="umd-test-")
            command = [*command, "-o", f"control.socket={self._directory}/control.sock"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environ,
            pass_fds=self._pass_fds,
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            ready = self.wait_for("daemon.ready")
        except BaseException:
            self.process.kill()
            self._collect()
            raise
        first = ready["listeners"][0]
        scheme = "https" if first["tls"] else "http"
        self.url = f"{scheme}://{first['address']}/EWS/UM2007Legacy.asmx"
        self.control_socket = ready["control"] or ""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end of the process, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._collect()

    def wait_for(self, event: str, timeout: float = 30.0, **keys: Any) -> dict[str, Any]:
        """
        Wait for a log line, and return it.

        Args:
            event: the name of the event.
            timeout: seconds to wait at most.
            keys: values that the line has.

        Raises:
            TimeoutError: no such line came, or the process ended before.
        """
        until = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.events(event):
                    if keys.items() <= line.items():
                        return line
                left = until - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise TimeoutError(f"no {event} {keys}; the log: {self.log}")
                self._changed.wait(min(left, 0.2))

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of this event so far."""
        return [line for line in self.log if line["event"] == event]

    def disconnect(
        self, call_id: str, namespace: str = MESSAGES
    ) -> tuple[int, bytes, Message[str, str]]:
        """Send a Disconnect; return the HTTP status, the body and the headers of the response."""
        return self.post(REQUEST.format(namespace=namespace, call_id=call_id).encode())

    def post(
        self, body: bytes, content_type: str = "text/xml; charset=utf-8"
    ) -> tuple[int, bytes, Message[str, str]]:
        """Send a body to the UM web service; return status, body and headers of the response."""
        request = Request(self.url, body, {"Content-Type": content_type})
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers
        except HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.log.append({"event": "not-json", "line": line.decode(errors="replace")})
                self._changed.notify_all()

    def _collect(self) -> int:
        status = self.process.wait()
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        return status
