"""
What systemd is told (readiness, reload, stopping, the watchdog: sd_notify(3)), and what it tells.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


def state_directory(environ: Mapping[str, str] = os.environ) -> str | None:
    """The first StateDirectory that systemd has made for the service; None outside of one."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return given if given.startswith("/") else None


def notify(*states: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send states such as "READY=1"; does nothing where nobody listens."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A name that begins with "@" is in the abstract name space.
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # Serving goes on also when the peer's queue is full: what it then misses it misses.
        sender.setblocking(False)
        try:
            sender.connect(name)
            # A path may be no UTF-8, and have a line feed in it, which would begin another state.
            lines = [state.replace("\n", " ") for state in states]
            sender.sendall("\n".join(lines).encode("utf-8", "surrogateescape"))
        except OSError:
            # Nobody to tell is no reason to stop serving; systemd sees it by the missing READY.
            return


def reloading() -> tuple[str, str]:
    """The states that begin a reload; READY=1 ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Seconds between two WATCHDOG=1, half of what the unit asks for; None: it asks for none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
