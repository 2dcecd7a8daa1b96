"""SIPp as a far end that follows a script."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.interop.peers.process import Peer, free_ports, need, wait_until
from tests.interop.peers.scenario import to_xml
from tests.interop.sipp import Line, SippRecords, has_port, sipp_command


class FarEnd(SippRecords, Peer):
    """
    SIPp on a free port, that does for each call what a script says.

    Args:
        directory: for what it writes.
        script: see `tests.interop.peers.scenario`; or the path of a scenario.
        arguments: more of SIPp's.
        port: a certain one.
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
        Start it, and wait until its port is open.

        Raises:
            PeerFailed
        """
        need(shutil.which("sipp") is not None, "sipp")
        self.directory.mkdir(parents=True, exist_ok=True)
        if isinstance(self._script, Path):
            scenario = self._script
        else:
            scenario = self.directory / "scenario.xml"
            scenario.write_text(to_xml(self._script))
        # It keeps to the script, and does nothing of its own to what it does not expect.
        arguments = ("-default_behaviors", "none", *self._arguments, "-p", str(self.port))
        self.launch(sipp_command(str(scenario), *arguments))
        process = self.process
        assert process is not None
        self.await_ready(lambda: has_port(process.pid, self.port))

    def told(self, call_id: str) -> list[str]:
        """What it has logged of a call: `INVITE`, `ACK`, `BYE`, each once."""
        return [line.what for line in self.of(call_id)]

    def of(self, call_id: str) -> list[Line]:
        """The lines that it has logged of a call."""
        if not (self.directory / "log").exists():
            return []
        return [line for line in self.log() if line.call_id == call_id]

    def wait_for(self, what: str, call_id: str) -> None:
        """
        Wait until it has logged this of a call.

        Raises:
            PeerFailed
        """
        wait_until(lambda: what in self.told(call_id), f"{what} of {call_id} at the far end")

    def heard(self, start: str, call_id: str) -> int:
        """How often it has received a message that begins so, repetitions too."""
        return sum(
            one.received and one.text.startswith(start) and f"Call-ID: {call_id}" in one.text
            for one in self.messages()
        )
