"""Kamailio: a proxy in front of a far end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.interop.peers.process import (
    LOOPBACK,
    Peer,
    answers_options,
    free_ports,
    need,
    wait_until,
)

CONFIGURATION: Final = Path(__file__).parent / "kamailio" / "kamailio.cfg"


class Kamailio(Peer):
    """
    A proxy on a free port.

    Args:
        directory: for what it writes.
        patience: seconds that a request may stay without any answer.
        rings_for: seconds that a callee may ring, until the proxy itself answers the INVITE.
        fork_to: the port of a second far end; every call rings at both.
        hep_port: where it sends a copy of each message, with the password `secret`.
        password: of the user `umd`, who is challenged then, with nonces good for one second.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        patience: float = 5.0,
        rings_for: float = 120.0,
        fork_to: int | None = None,
        password: str | None = None,
        hep_port: int | None = None,
    ) -> None:
        super().__init__(directory)
        (self.port,) = free_ports(1)
        self._definitions = [
            f"SIP_LISTEN=udp:{LOOPBACK}:{self.port}",
            f"FR={round(patience * 1000)}",
            f"FR_INV={round(rings_for * 1000)}",
        ]
        if fork_to is not None:
            self._definitions.append(f'FORK_TO="sip:callee@{LOOPBACK}:{fork_to}"')
        if hep_port is not None:
            self._definitions.append(f'HEP_URI="sip:{LOOPBACK}:{hep_port}"')
        if password is not None:
            self._definitions += ["CHALLENGE", f'PASSWORD="{password}"']

    def start(self) -> None:
        """
        Start it, and wait until it serves; again on the same port, after it was stopped.

        Raises:
            PeerFailed
        """
        program = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin")
        need(program is not None, "kamailio")
        assert program is not None
        command = [program, "-DD", "-E", "-f", str(CONFIGURATION), "-m", "64", "-M", "8"]
        command += ["-P", "pid", "-Y", str(self.directory), "-w", str(self.directory)]
        for definition in self._definitions:
            command += ["-A", definition]
        self.launch(command)
        self.await_ready(lambda: answers_options(self.port))

    def lines(self, call_id: str | None = None) -> list[str]:
        """Return its log of one call or of all: `INVITE`, `407 INVITE`, `authenticated BYE`."""
        found = []
        for line in (self.directory / "console").read_text(errors="replace").splitlines():
            _, mark, entry = line.partition("peer: ")
            if mark and (call_id is None or call_id in entry.split()):
                found.append(entry.replace(f" {call_id}", ""))
        return found

    def wait_for(self, line: str, call_id: str) -> None:
        """
        Wait for a line, as `lines` returns it, of a call.

        Raises:
            PeerFailed: it did not come in time.
        """
        wait_until(lambda: line in self.lines(call_id), f"{line!r} of {call_id} at Kamailio")
