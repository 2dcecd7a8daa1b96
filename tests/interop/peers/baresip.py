"""baresip: a telephone without a sound card."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Final

from tests.interop.peers.process import (
    LOOPBACK,
    Peer,
    fill_in,
    free_ports,
    free_sip_port,
    need,
    wait_until,
)

TEMPLATES: Final = Path(__file__).parent / "baresip"


class Baresip(Peer):
    """
    A telephone on a free port, called as `sip:phone@127.0.0.1:PORT`.

    Args:
        directory: where baresip writes its files.
        answers: True: it answers at once; False: it rings.
    """

    def __init__(self, directory: str | Path, *, answers: bool = True) -> None:
        super().__init__(directory)
        self.port = free_sip_port()
        (self._rtp,) = free_ports(1)
        (self._control,) = free_ports(1, socket.SOCK_STREAM)
        self._answers = answers

    def start(self) -> None:
        """
        Start baresip, and wait until it can be called.

        Raises:
            PeerFailed: it exited, or was not ready in time.
        """
        program = shutil.which("baresip")
        need(program is not None, "baresip")
        assert program is not None
        start = min(self._rtp, 65000) & ~1
        values = {
            "SIP_PORT": self.port,
            "CONTROL_PORT": self._control,
            "RTP_START": start,
            "RTP_END": start + 100,
            "ANSWER": "auto" if self._answers else "manual",
            "MODULES": _modules(program),
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("config", "accounts"):
            (self.directory / name).write_text(fill_in(TEMPLATES / name, values))
        (self.directory / "contacts").touch()
        self.launch([program, "-4", "-f", str(self.directory)])
        self.await_ready(lambda: "baresip is ready" in self.output)

    def command(self, name: str) -> None:
        """Send a command to the telephone: `accept`, `hangup` or `hold`."""
        payload = json.dumps({"command": name}).encode()
        with socket.create_connection((LOOPBACK, self._control), 10) as connection:
            connection.sendall(b"%d:%s," % (len(payload), payload))
            connection.recv(65535)

    def wait_for(self, text: str) -> None:
        """
        Wait for a text in its output: `Incoming call`, `Call established` or `session closed`.

        Raises:
            PeerFailed: it did not come in time.
        """
        wait_until(lambda: text in self.output, f"{text!r} at baresip: {self.output}")


def _modules(program: str) -> str:
    return str(Path(program).resolve().parent.parent / "lib" / "baresip" / "modules")
