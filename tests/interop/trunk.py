"""A whole `umd serve` whose backend is a SIP trunk, driven from outside as its clients drive it."""

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


class Placed(NamedTuple):
    """A call of umd's."""

    id: str
    leg: str
    """Also its SIP Call-ID."""


class Reply(NamedTuple):
    """What the client was answered."""

    status: int
    outcome: str | None


class Trunk:
    """
    A context manager; it can be stopped and started again in between.

    Args:
        directory: for its configuration and its journal.
        peer: the port that calls are sent to.
        deadline: of a Disconnect.
        t1: T1 of the trunk.
        keys: more of the backend's section, each a string.
    """

    def __init__(
        self,
        directory: str | Path,
        peer: int,
        *,
        deadline: str = "20s",
        t1: str = "500ms",
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
            f'[call]\ndeadline = "{deadline}"\n[drain]\ndeadline = "10ms"\n'
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
        self.umd = self._new()  # its log begins anew
        self.umd.__enter__()

    def _new(self) -> UmdProcess:
        return UmdProcess("serve", "-c", str(self._configuration))

    def kill(self) -> None:
        """End umd as `kill -9` does."""
        self.umd.stop(SIGKILL)

    def pause(self) -> None:
        """Let umd do nothing, until `go_on`: what comes meanwhile waits for it."""
        self.umd.process.send_signal(SIGSTOP)

    def go_on(self) -> None:
        """See `pause`."""
        self.umd.process.send_signal(SIGCONT)

    def place(self, number: str) -> Placed:
        """Have it place a call."""
        (reply,) = ask("place", self.umd.control_socket, number=number, backend=None)
        return Placed(reply["call"]["id"], reply["call"]["leg"])

    def disconnect(self, call: Placed) -> Reply:
        """Ask for the end of a call as the client of the web service does."""
        status, _, headers = self.umd.disconnect(call.id)
        return Reply(status, headers[OUTCOME])

    def disconnecting(self, call: Placed) -> Asking:
        """The same, from a thread of its own; ask it for the reply."""
        return Asking(self, call)

    def wait_for(self, event: str, call: Placed) -> dict[str, Any]:
        """Its first log line of this event of a call."""
        return self.umd.wait_for(event, timeout=60.0, call=call.id)

    def live(self) -> set[str]:
        """The ids of the calls that it lists as live."""
        calls = ask("calls", self.umd.control_socket)
        return {line["call"]["id"] for line in calls if "call" in line}

    def record(self, call: Placed) -> list[dict[str, Any]]:
        """Return the journal's records of a call, oldest first, whether umd runs or not."""
        if self.umd.process.poll() is None:
            return list(read_events(self.umd.control_socket, None, 0, call.id))
        return list(read_events(None, str(self._journal), 0, call.id))


class Asking:
    """A Disconnect under way."""

    def __init__(self, trunk: Trunk, call: Placed) -> None:
        self._reply: Reply | None = None
        self._thread = threading.Thread(target=self._ask, args=(trunk, call), daemon=True)
        self._thread.start()

    def _ask(self, trunk: Trunk, call: Placed) -> None:
        self._reply = trunk.disconnect(call)

    def reply(self) -> Reply:
        """Wait for the reply."""
        self._thread.join(60)
        assert self._reply is not None, "a Disconnect was not answered within a minute"
        return self._reply
