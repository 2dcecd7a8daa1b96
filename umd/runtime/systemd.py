"""
What systemd is told (readiness, reload, stopping, the watchdog: sd_notify(3)), and what it tells.
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
UNNAMED: Final = "unknown"
"""The name of a socket that systemd gives none (sd_listen_fds(3))."""


@dataclass(slots=True)
class HandedSocket:
    """A descriptor that systemd has handed over."""

    descriptor: int
    name: str
    served: bool = False
    """Whether it is listened on already."""


@cache
def handed_over() -> tuple[HandedSocket, ...]:
    """
    The sockets that systemd has handed over to this process, in its order.

    The first call takes the variables out of the environment, so that no child of this process
    believes they are its own. It must come before Twisted's endpoints are imported, as they take
    them too.
    """
    return take_sockets(os.environ, os.getpid())


def take_sockets(environ: MutableMapping[str, str], pid: int) -> tuple[HandedSocket, ...]:
    """
    Take the variables of sd_listen_fds(3) out of an environment.

    LISTEN_PID and LISTEN_FDS say it all. LISTEN_FDNAMES is for names alone, and may be missing,
    short or long. Descriptors that are not open are left out, with those after them.
    """
    whose, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if whose != str(pid) or not (count.isascii() and count.isdigit()):
        return ()
    given = names.split(":") if names else []
    sockets: list[HandedSocket] = []
    while len(sockets) < int(count[:9]):
        number = len(sockets)
        name = given[number] if number < len(given) else ""
        try:
            os.set_inheritable(FIRST_DESCRIPTOR + number, False)
        except OSError:
            break
        sockets.append(HandedSocket(FIRST_DESCRIPTOR + number, name or UNNAMED))
    return tuple(sockets)


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
