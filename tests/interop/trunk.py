"""Runs `umd serve` with a SIP trunk as its backend; tests use it as its clients do."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from types import TracebackType
from typing import Any, Final, NamedTuple

from tests.interop.peers.process import LOOPBACK, free_ports
from umd.management.client import ask
from umd.management.journal_queries import read_events
from umd.testing import UmdProcess

OUTCOME: Final = "X-UMD-Outcome"


class PlacedCall(NamedTuple):
    """A call that umd has placed."""

    id: str
    leg: str
    """The leg; its name is also the SIP Call-ID."""


class Reply(NamedTuple):
    """The HTTP status and the outcome that a client got."""

    status: int
    outcome: str | None


class Trunk:
    """
    A context manager that runs umd; a test may stop it and start it again.

    Args:
        directory: for the configuration and the journal.
        peer: the port of the SIP peer, on loopback.
        deadline: `call.deadline`.
        t1: T1 of the trunk.
        sections: further sections of the configuration.
        keys: further keys of the backend's section.
    """

    def __init__(
        self,
        directory: str | Path,
        peer: int,
        *,
        deadline: str = "20s",
        t1: str = "500ms",
        sections: str = "",
        **keys: str,
    ) -> None:
        self._directory = Path(directory).absolute()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._configuration = self._directory / "umd.toml"
        self._journal = self._directory / "journal.db"
        (self.port,) = free_ports(1)
        more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        self._configuration.write_text(
            f'node = "lab"\n[journal]\npath = "{self._journal}"\n'
            f'{sections}[call]\ndeadline = "{deadline}"\n[drain]\ndeadline = "10ms"\n'
            f'[backend.pbx]\ntype = "sip"\nlisten = "udp:{LOOPBACK}:{self.port}"\n'
            f'peer = "udp:{LOOPBACK}:{peer}"\nt1 = "{t1}"\n{more}'
        )
        self.umd = self._new()

    def __enter__(self) -> Trunk:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.umd.process.send_signal(SIGCONT)
        self.umd.stop()

    def start(self) -> None:
        """Start umd, and wait until it serves."""
        self.umd = self._new()  # with an empty log
        self.umd.__enter__()

    def _new(self) -> UmdProcess:
        return UmdProcess("serve", "-c", str(self._configuration))

    def kill(self) -> None:
        """End umd as `kill -9` does."""
        self.umd.stop(SIGKILL)

    def pause(self) -> None:
        """Stop umd (SIGSTOP) until `resume`; messages to it wait in its sockets."""
        self.umd.process.send_signal(SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self.umd.process.send_signal(SIGCONT)

    def place(self, number: str) -> PlacedCall:
        """Place a call over the control socket."""
        (reply,) = ask("place", self.umd.control_socket, number=number, backend=None)
        return PlacedCall(reply["call"]["id"], reply["call"]["leg"])

    def disconnect(self, call: PlacedCall) -> Reply:
        """Send a Disconnect, and wait for the reply."""
        status, _, headers = self.umd.disconnect(call.id)
        return Reply(status, headers[OUTCOME])

    def start_disconnect(self, call: PlacedCall) -> PendingDisconnect:
        """Send a Disconnect from a thread of its own; return it at once."""
        return PendingDisconnect(self, call)

    def wait_for(self, event: str, call: PlacedCall) -> dict[str, Any]:
        """Wait for the first log line of an event of a call."""
        return self.umd.wait_for(event, timeout=60.0, call=call.id)

    def live(self) -> set[str]:
        """Return the ids of the live calls."""
        calls = ask("calls", self.umd.control_socket)
        return {line["call"]["id"] for line in calls if "call" in line}

    def status(self) -> dict[str, Any]:
        """Return the figures of `umd status`."""
        (reply,) = ask("status", self.umd.control_socket)
        figures: dict[str, Any] = reply["status"]
        return figures

    def record(self, call: PlacedCall) -> list[dict[str, Any]]:
        """Return the journal's records of a call, oldest first, whether umd runs or not."""
        if self.umd.process.poll() is None:
            return list(read_events(self.umd.control_socket, None, 0, call.id))
        return list(read_events(None, str(self._journal), 0, call.id))


class PendingDisconnect:
    """A Disconnect that waits for its reply."""

    def __init__(self, trunk: Trunk, call: PlacedCall) -> None:
        self._reply: Reply | None = None
        self._thread = threading.Thread(target=self._ask, args=(trunk, call), daemon=True)
        self._thread.start()

    def _ask(self, trunk: Trunk, call: PlacedCall) -> None:
        self._reply = trunk.disconnect(call)

    def reply(self) -> Reply:
        """Wait for the reply."""
        self._thread.join(60)
        assert self._reply is not None, "a Disconnect was not answered within a minute"
        return self._reply
