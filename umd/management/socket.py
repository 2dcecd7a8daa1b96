"""
Opens the control socket: a UNIX socket that only the user of the daemon and root can connect to.

File permissions alone decide who may connect: the socket has mode 0600 and lies in a directory that
no other user can write to, so that no other user can put a socket in its place.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet import tcp, unix
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure

from umd.errors import UmdError
from umd.management.connection import ControlConnection
from umd.management.console import Console
from umd.runtime.lock import FileLock, Held

MAX_PENDING_CONNECTIONS: Final = 50
"""Connections that the kernel queues until the daemon accepts them (listen(2))."""


class CannotOpen(UmdError):
    """The control socket cannot be opened; the text says why, and what to do."""


class ControlSocket(ServerFactory):
    """
    Listens on a UNIX stream socket, and gives each connection to a `ControlConnection`.

    Args:
        path: of the socket.
        console: answers the requests.
        reactor: the global one.
        log: gets a line for each internal error.
    """

    noisy = False

    def __init__(
        self, path: str, console: Console, reactor: Any, log: FilteringBoundLogger
    ) -> None:
        self.path = path
        self.console = console
        self.reactor = reactor
        self.log = log
        self.connections: set[ControlConnection] = set()
        self._lock: FileLock | None = None
        self._port: _Port | None = None

    def open(self) -> None:
        """
        Listen. The socket that a killed umd left is replaced.

        Raises:
            CannotOpen
        """
        try:
            _make_directory(os.path.dirname(self.path))
            self._lock = _lock(self.path)
            _remove_stale(self.path)
            # The mask gives the file its mode when it is made; Twisted's chmod comes later.
            mask = os.umask(0o177)
            try:
                path = os.fsencode(self.path)
                port = _Port(path, self, MAX_PENDING_CONNECTIONS, 0o600, self.reactor)
                port.startListening()
            finally:
                os.umask(mask)
            self._port = port
        except CannotOpen as error:
            self._unlock()
            raise CannotOpen(f"{self._setting()}: {error}") from None
        except Exception as error:  # CannotListenError too: its text has the path twice
            self._unlock()
            reason = getattr(error, "socketError", error)
            why = getattr(reason, "strerror", None) or str(reason)
            raise CannotOpen(f"{self._setting()}: {why}; name another path") from error

    async def close(self) -> None:
        """Stop listening, close all connections, and remove the socket and its lock."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
            # If the lock file was deleted, the socket may belong to another umd by now.
            if self._lock is not None and self._lock.is_effective():
                with suppress(OSError):
                    os.unlink(self.path)
        for connection in list(self.connections):
            connection.abort()
        self._unlock()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return ControlConnection(self.console, self.reactor, self.log, self.connections)

    def _setting(self) -> str:
        return f"control.socket = {self.path!r}"

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class _Port(unix.Port):
    """A listening port that may be closed after its file was deleted; Twisted's own would fail."""

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


def _lock(path: str) -> FileLock:
    try:
        return FileLock(path)
    except Held as held:
        raise CannotOpen(
            f"another umd serves there (process {held.pid}); end it, or give this one a path of "
            "its own: -o control.socket=/a/path"
        ) from None


def _make_directory(path: str) -> None:
    """Make a directory that only its owner can write to, or check that an existing one is."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    check_directory(path)


def check_directory(path: str) -> None:
    """
    Check that no other user can put a socket into a directory.

    Raises:
        CannotOpen, OSError
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise CannotOpen(f"{path} is not a directory; name a path in a directory of your own")
    if found.st_uid not in (0, os.geteuid()):
        raise CannotOpen(f"{path} belongs to another user; name a path in a directory of your own")
    if found.st_mode & 0o022:
        raise CannotOpen(
            f"others can write to {path}, and could put their own socket in place of this one; "
            f"name a path in a directory of your own, or: chmod go-w {path}"
        )


def _remove_stale(path: str) -> None:
    """Remove the socket that a killed umd left; the caller holds the lock."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotOpen("the file there is not a socket; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # a listener whose queue is full
    raise CannotOpen("another program listens there; name another path")
