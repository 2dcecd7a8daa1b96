"""SIPp as a far end that follows a script."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.interop.peers.process import Peer, free_ports, need, wait_until
from tests.interop.peers.scenario import to_xml
from tests.interop.sipp import Line, SippRecords, has_port, sipp_command


class FarEnd(SippRecords, Peer):
    """
    SIPp on a free port, which follows a script for each call.

    Args:
        directory: where SIPp writes its files.
        script: lines as in `tests.interop.peers.scenario`, or the path of a SIPp scenario.
        arguments: further arguments of SIPp.
        port: the port to use instead of a free one.
    """

    def __init__(
        self, directory: str | Path, script: str | Path, *arguments: str, port: int | None = None
    ) -> None:
        Peer.__init__(self, directory)
        self._script = script
        self._arguments = arguments
        self.port = free_ports(1)[0] if port is None else port

    def start(self) -> None:
        """
        Start SIPp, and wait until its port is open.

        Raises:
            PeerFailed: it exited, or the port did not open.
        """
        need(shutil.which("sipp") is not None, "sipp")
        self.directory.mkdir(parents=True, exist_ok=True)
        if isinstance(self._script, Path):
            scenario = self._script
        else:
            scenario = self.directory / "scenario.xml"
            scenario.write_text(to_xml(self._script))
        # Without this option SIPp reacts to unexpected messages by itself.
        arguments = ("-default_behaviors", "none", *self._arguments, "-p", str(self.port))
        self.launch(sipp_command(str(scenario), *arguments))
        process = self.process
        assert process is not None
        self.await_ready(lambda: has_port(process.pid, self.port))

    def logged(self, call_id: str) -> list[str]:
        """Return the messages that it has logged for a call: `INVITE`, `ACK`, `BYE`, each once."""
        return [line.message for line in self.of(call_id)]

    def of(self, call_id: str) -> list[Line]:
        """Return the lines that it has logged for a call."""
        if not (self.directory / "log").exists():
            return []
        return [line for line in self.log() if line.call_id == call_id]

    def wait_for(self, message: str, call_id: str) -> None:
        """
        Wait until it has logged a message of a call.

        Raises:
            PeerFailed: it did not, within `PATIENCE` seconds.
        """
        wait_until(lambda: message in self.logged(call_id), f"{message} of {call_id}")

    def count_received(self, start: str, call_id: str) -> int:
        """Count the received messages that begin with a text, including retransmissions."""
        return sum(
            message.received
            and message.text.startswith(start)
            and f"Call-ID: {call_id}" in message.text
            for message in self.messages()
        )
