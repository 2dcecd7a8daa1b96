"""
Talks to systemd: the state of the service, the watchdog, and sockets that systemd passes.

The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Final

FIRST_DESCRIPTOR: Final = 3
"""The number of the first socket that systemd passes (SD_LISTEN_FDS_START)."""
UNNAMED: Final = "unknown"
"""The name that systemd uses for a socket without one (sd_listen_fds(3))."""


@dataclass(slots=True)
class InheritedSocket:
    """A socket that systemd has passed to this process."""

    descriptor: int
    name: str
    served: bool = False
    """Whether an endpoint listens on it already."""


@cache
def inherited_sockets() -> tuple[InheritedSocket, ...]:
    """
    Return the sockets that systemd has passed to this process, in its order.

    The first call removes the variables from the environment, so that no child process takes the
    sockets for its own. Make it before Twisted's endpoints are imported: they read them, too.
    """
    return read_listen_variables(os.environ, os.getpid())


def read_listen_variables(
    environ: MutableMapping[str, str], pid: int
) -> tuple[InheritedSocket, ...]:
    """
    Remove the variables of sd_listen_fds(3) from an environment, and return the sockets they name.

    LISTEN_FDNAMES is optional and may have too few or too many names. The list ends at the first
    descriptor that is not open.

    Args:
        environ: the environment, usually `os.environ`.
        pid: of this process; sockets for another process are not returned.
    """
    listen_pid, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if listen_pid != str(pid) or not (count.isascii() and count.isdigit()):
        return ()
    given_names = names.split(":") if names else []
    sockets: list[InheritedSocket] = []
    while len(sockets) < int(count[:9]):
        number = len(sockets)
        name = given_names[number] if number < len(given_names) else ""
        try:
            os.set_inheritable(FIRST_DESCRIPTOR + number, False)
        except OSError:
            break
        sockets.append(InheritedSocket(FIRST_DESCRIPTOR + number, name or UNNAMED))
    return tuple(sockets)


def state_directory(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the first StateDirectory of the service; None outside of a service."""
    directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return directory if directory.startswith("/") else None


def notify(*states: str, environ: Mapping[str, str] = os.environ) -> None:
    """Send states such as "READY=1" to systemd; do nothing outside of a service."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A name that begins with "@" is in the abstract name space (unix(7)).
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        # If the queue of systemd is full, the state is lost: the daemon must not wait for it.
        sender.setblocking(False)
        try:
            sender.connect(name)
            # A line feed in a path would begin another state.
            lines = [state.replace("\n", " ") for state in states]
            sender.sendall("\n".join(lines).encode("utf-8", "surrogateescape"))
        except OSError:
            # The daemon can serve without systemd; systemd notices the missing READY=1.
            return


def reloading() -> tuple[str, str]:
    """Return the states that announce a reload; READY=1 ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds between two WATCHDOG=1: half of WatchdogSec; None without a watchdog."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
