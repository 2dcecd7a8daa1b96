"""Asterisk: a PBX whose extensions have names, such as `answer`, `ring` and `busy`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from tests.interop.peers.install import asterisk_root, has_asterisk
from tests.interop.peers.process import (
    Peer,
    answers_options,
    fill_in,
    free_ports,
    need,
    wait_until,
)

TEMPLATES: Final = Path(__file__).parent / "asterisk"
UNUSED: Final = "ccss cdr cel features indications acl udptl geolocation pjproject http".split()
"""Configuration files that Asterisk reports if they are missing; empty ones set the defaults."""
RTP_PORTS: Final = 200


class Asterisk(Peer):
    """
    A PBX on a free port; all instances share one installation.

    Args:
        directory: where Asterisk writes its files. Its path must be short, because the path of
            the control socket in it has at most 107 bytes.
        password: of the user `umd`, who is challenged where From has the user `digest`.
        hep_port: where it sends a copy of each SIP message, with the password `secret`.
    """

    def __init__(
        self, directory: str | Path, *, password: str = "secret", hep_port: int | None = None
    ) -> None:
        super().__init__(directory)
        self.port, self._rtp = free_ports(2)
        self._password = password
        self._hep_port = hep_port

    def start(self) -> None:
        """
        Start Asterisk, and wait until it serves. After a stop it uses the same port again.

        Raises:
            PeerFailed: it exited, or did not serve in time.
        """
        need(has_asterisk(), "asterisk")
        root = asterisk_root()
        (modules,) = root.glob("usr/lib/*/asterisk/modules")
        libraries = modules.parent.parent
        (loader,) = libraries.glob("ld-linux*.so.*")
        for name in ("etc", "run", "log", "spool", "db", "cache"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        start = min(self._rtp, 65000) & ~1
        values = {
            "DIR": self.directory,
            "ROOT": root,
            "MODULES": modules,
            "SIP_PORT": self.port,
            "RTP_START": start,
            "RTP_END": start + RTP_PORTS,
            "PASSWORD": self._password,
            "HEP_ENABLED": "no" if self._hep_port is None else "yes",
            "HEP_PORT": self._hep_port or 9060,
        }
        for template in TEMPLATES.glob("*.conf"):
            (self.directory / "etc" / template.name).write_text(fill_in(template, values))
        for name in UNUSED:
            (self.directory / "etc" / f"{name}.conf").touch()
        # With its own loader and libraries it needs no chroot and no root.
        run = [str(loader), "--library-path", str(libraries), str(root / "usr/sbin/asterisk")]
        self._program = [*run, "-C", str(self.directory / "etc/asterisk.conf")]
        self.launch([*self._program, "-f"])
        self.await_ready(self._ready)

    def _ready(self) -> bool:
        # If its port is taken, Asterisk starts without SIP.
        return answers_options(self.port) and "fully booted" in self.console("core waitfullybooted")

    def console(self, command: str) -> str:
        """Return the output of a command on its console."""
        done = subprocess.run([*self._program, "-rx", command], capture_output=True, text=True)
        return done.stdout

    def channels(self) -> list[str]:
        """Return the names of its channels."""
        lines = self.console("core show channels concise").splitlines()
        return [line.partition("!")[0] for line in lines if "!" in line]

    def hang_up(self, channel: str) -> None:
        """End a channel, as an operator at its console does."""
        self.console(f"channel request hangup {channel}")

    def wait_for_channels(self, count: int) -> None:
        """
        Wait until the number of its channels is `count`.

        Raises:
            PeerFailed: it is not, in time.
        """
        wait_until(lambda: len(self.channels()) == count, f"{count} channels at Asterisk")

    def trace(self) -> None:
        """Write every SIP message to the log from now on."""
        self.console("pjsip set logger on")

    def lines(self, call_id: str) -> list[str]:
        """
        Return the messages of a call, in order, since `trace`.

        `< INVITE` was received, `> 401 INVITE` was sent.
        """
        return self.lines_by_call().get(call_id, [])

    def lines_by_call(self) -> dict[str, list[str]]:
        """Return the lines of each call, by its Call-ID."""
        text = (self.directory / "log" / "full").read_text(errors="replace")
        found: dict[str, list[str]] = {}
        for part in text.split("<--- ")[1:]:
            head, _, message = part.partition("--->\n")
            if not (call := _CALL_ID.search(message)) or not (cseq := _CSEQ.search(message)):
                continue
            sign = "<" if head.startswith("Received") else ">"
            first = message.split(None, 2)
            message_name = f"{first[1]} {cseq[1]}" if first[0] == "SIP/2.0" else first[0]
            found.setdefault(call[1], []).append(f"{sign} {message_name}")
        return found


_CALL_ID: Final = re.compile(r"^Call-ID: (\S+)", re.MULTILINE)
_CSEQ: Final = re.compile(r"^CSeq: \d+ (\S+)", re.MULTILINE)
