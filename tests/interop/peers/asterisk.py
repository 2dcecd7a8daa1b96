"""Asterisk: a PBX whose dial plan is called by name."""

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
UNUSED: Final = "ccss cdr cel features indications acl udptl geolocation pjproject hep http".split()
"""Files that Asterisk complains about where they are missing; their defaults are right."""
RTP_PORTS: Final = 200


class Asterisk(Peer):
    """
    A PBX on a free port, from the installation that all share.

    Args:
        directory: for what it writes. Its path must be short: that of the control socket in it
            has 107 octets at most.
        password: of the user `umd`, who is challenged where From has the user `digest`.
    """

    def __init__(self, directory: str | Path, *, password: str = "secret") -> None:
        super().__init__(directory)
        self.port, self._rtp = free_ports(2)
        self._password = password

    def start(self) -> None:
        """
        Start it, and wait until it serves; again on the same port, after it was stopped.

        Raises:
            PeerFailed
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
        }
        for template in TEMPLATES.glob("*.conf"):
            (self.directory / "etc" / template.name).write_text(fill_in(template, values))
        for name in UNUSED:
            (self.directory / "etc" / f"{name}.conf").touch()
        # With its own loader and libraries: it takes neither chroot nor root's rights.
        run = [str(loader), "--library-path", str(libraries), str(root / "usr/sbin/asterisk")]
        self._program = [*run, "-C", str(self.directory / "etc/asterisk.conf")]
        self.launch([*self._program, "-f"])
        self.await_ready(self._ready)

    def _ready(self) -> bool:
        # Where its port is taken it comes up without it.
        return answers_options(self.port) and "fully booted" in self.console("core waitfullybooted")

    def console(self, command: str) -> str:
        """What a command of its console says."""
        done = subprocess.run([*self._program, "-rx", command], capture_output=True, text=True)
        return done.stdout

    def channels(self) -> list[str]:
        """The names of the channels that it has."""
        lines = self.console("core show channels concise").splitlines()
        return [line.partition("!")[0] for line in lines if "!" in line]

    def wait_for_channels(self, count: int) -> None:
        """
        Wait until it has so many.

        Raises:
            PeerFailed
        """
        wait_until(lambda: len(self.channels()) == count, f"{count} channels at Asterisk")

    def trace(self) -> None:
        """From now on keep every SIP message in the log."""
        self.console("pjsip set logger on")

    def lines(self, call_id: str) -> list[str]:
        """
        The messages of a call, in order, after `trace`.

        `< INVITE` was received, `> 401 INVITE` sent.
        """
        return self.lines_by_call().get(call_id, [])

    def lines_by_call(self) -> dict[str, list[str]]:
        """The same of each call, by its Call-ID."""
        text = (self.directory / "log" / "full").read_text(errors="replace")
        found: dict[str, list[str]] = {}
        for part in text.split("<--- ")[1:]:
            head, _, message = part.partition("--->\n")
            if not (call := _CALL_ID.search(message)) or not (cseq := _CSEQ.search(message)):
                continue
            sign = "<" if head.startswith("Received") else ">"
            first = message.split(None, 2)
            what = f"{first[1]} {cseq[1]}" if first[0] == "SIP/2.0" else first[0]
            found.setdefault(call[1], []).append(f"{sign} {what}")
        return found


_CALL_ID: Final = re.compile(r"^Call-ID: (\S+)", re.MULTILINE)
_CSEQ: Final = re.compile(r"^CSeq: \d+ (\S+)", re.MULTILINE)
