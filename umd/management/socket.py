"""
The control socket: JSON requests on lines, replies on lines, for the user whose umd it is.

Who may connect is decided by the file system alone: the socket is its owner's (mode 0600), in a
directory in which nobody else can put another one in its place.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger
from twisted.internet import tcp, unix
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from umd.errors import UmdError
from umd.management.requests import Console, Reply, refusal
from umd.runtime.lock import FileLock, Held
from umd.text import json_safe

MAX_REQUEST: Final = 16 * 1024
"""Octets of a line."""
MAX_CONNECTIONS: Final = 32
PATIENCE: Final = 60
"""Seconds that a client may let umd wait: for a request, or to read its replies."""
LINES_AT_ONCE: Final = 200
"""Lines that are written before others get their turn."""


class CannotOpen(UmdError):
    """There is no control socket; the text says what is in the way, and the way round it."""


class ControlSocket(ServerFactory):
    """
    Answers requests on a UNIX stream socket.

    Args:
        path: of the socket.
        console: answers.
        reactor: the global one.
        log: for what goes wrong.
    """

    noisy = False

    def __init__(
        self, path: str, console: Console, reactor: Any, log: FilteringBoundLogger
    ) -> None:
        self.path = path
        self.console = console
        self.reactor = reactor
        self.log = log
        self.connections: set[_Connection] = set()
        self._lock: FileLock | None = None
        self._port: _Port | None = None

    def open(self) -> None:
        """
        Listen; take the place of a umd that has died.

        Raises:
            CannotOpen
        """
        try:
            _make_directory(os.path.dirname(self.path))
            self._lock = _lock(self.path)
            _remove_stale(self.path)
            # The mode counts from the first moment on, not only after the chmod that follows.
            mask = os.umask(0o177)
            try:
                port = _Port(os.fsencode(self.path), self, 50, 0o600, self.reactor)
                port.startListening()
            finally:
                os.umask(mask)
            self._port = port
        except CannotOpen as error:
            self._unlock()
            raise CannotOpen(f"{self._where()}: {error}") from None
        except Exception as error:  # CannotListenError too: its text has the path twice
            self._unlock()
            reason = getattr(error, "socketError", error)
            why = getattr(reason, "strerror", None) or str(reason)
            raise CannotOpen(f"{self._where()}: {why}; name a path that can be had") from error

    async def close(self) -> None:
        """Stop listening, drop whoever is connected, leave nothing behind."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
            # Whoever cleaned up our lock may have made room for another umd, whose socket this is.
            if self._lock is not None and self._lock.is_there():
                with suppress(OSError):
                    os.unlink(self.path)
        for connection in list(self.connections):
            connection.abort()
        self._unlock()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        connection = _Connection()
        connection.factory = self
        return connection

    def _where(self) -> str:
        return f"control.socket = {self.path!r}"

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


class _Port(unix.Port):
    """A listening port whose file may be gone when it is closed; that of Twisted fails then."""

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


@implementer(IPushProducer, IHalfCloseableProtocol)
class _Connection(Protocol, TimeoutMixin):
    """One client, one request at a time."""

    factory: ControlSocket

    def __init__(self) -> None:
        self._buffer = b""
        self._serving: Deferred[None] | None = None
        self._room: Deferred[None] | None = None
        """While the client does not read: fires when it does."""
        self._written = 0
        self._asked_all = False
        """The client sends nothing more, and waits for what is still to be answered."""
        self._closed = False

    # -- what Twisted calls

    def connectionMade(self) -> None:
        connections = self.factory.connections
        connections.add(self)
        self._wire.registerProducer(self, True)
        if len(connections) > MAX_CONNECTIONS:
            self._last({"error": f"{MAX_CONNECTIONS} clients are here already", "kind": "busy"})
        else:
            self.setTimeout(PATIENCE)

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """For the mixin, which would take the global reactor."""
        delayed: IDelayedCall = self.factory.reactor.callLater(period, func)
        return delayed

    def dataReceived(self, data: bytes) -> None:
        if not self._closed:
            self._buffer += data
            self._next()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self.setTimeout(None)
        self.factory.connections.discard(self)
        if self._serving is not None:
            self._serving.cancel()

    def readConnectionLost(self) -> None:
        self._asked_all = True
        if self._serving is None:
            self._finish()

    def writeConnectionLost(self) -> None:
        self.abort()

    def timeoutConnection(self) -> None:
        self.abort()

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()
            self.setTimeout(PATIENCE)

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self.setTimeout(None if self._serving else PATIENCE)
            room.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` says so."""

    # -- parts

    @property
    def _wire(self) -> Any:
        return self.transport

    def abort(self) -> None:
        """Close it as it is."""
        self._closed = True
        self._wire.abortConnection()

    def _next(self) -> None:
        """Begin with the next request, if it is all there."""
        if self._serving is not None:
            return
        line, newline, rest = self._buffer.partition(b"\n")
        if len(line) > MAX_REQUEST:
            words = f"a request is longer than {MAX_REQUEST} octets"
            self._last({"error": words, "kind": "bad-request"})
        elif newline:
            self._buffer = rest
            self.setTimeout(None)
            # Until it is answered nothing more is read.
            self._wire.pauseProducing()
            self._serving = Deferred.fromCoroutine(self._serve(line))
            _ = self._serving.addBoth(self._served)
        elif self._asked_all:
            self._finish()

    async def _serve(self, line: bytes) -> None:
        try:
            async with aclosing(self.factory.console.answer(line)) as replies:
                async for reply in replies:
                    await self._write(reply)
        except CancelledError:
            raise
        except Exception as error:
            last = refusal(error)
            if last is None:
                self.factory.log.exception("control.failed", request=line[:200])
                last = {"error": "a mistake of umd's own; its log tells more", "kind": "internal"}
            await self._write(last)

    async def _write(self, reply: Reply) -> None:
        self._wire.write(_line(reply))
        self._written += 1
        if self._room is not None:
            await self._room
        elif self._written % LINES_AT_ONCE == 0:
            await deferLater(self.factory.reactor, 0)

    def _served(self, result: object) -> None:
        # What failed was told and logged; only a client that has gone leaves a failure here.
        self._serving = None
        if not self._closed:
            self.setTimeout(PATIENCE)
            if not self._asked_all:
                self._wire.resumeProducing()
            self._next()

    def _last(self, reply: Reply) -> None:
        self._wire.write(_line(reply))
        self._finish()

    def _finish(self) -> None:
        """Close it when everything is written."""
        self._closed = True
        self._wire.unregisterProducer()
        self._wire.loseConnection()


def _line(reply: Reply) -> bytes:
    try:
        return orjson.dumps(reply) + b"\n"
    except orjson.JSONEncodeError:  # a far end's octets that are no UTF-8
        return orjson.dumps(json_safe(reply)) + b"\n"


def _lock(path: str) -> FileLock:
    try:
        return FileLock(path)
    except Held as held:
        raise CannotOpen(
            f"another umd serves there (process {held.pid}); end it, or give this one a path of "
            "its own: -o control.socket=/a/path"
        ) from None


def _make_directory(path: str) -> None:
    """Make a directory that only its owner can write to, or see that it is one."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    check_directory(path)


def check_directory(path: str) -> None:
    """
    See that nobody else can put a socket of theirs into a directory.

    Raises:
        CannotOpen, OSError
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise CannotOpen(f"{path} is not a directory; name a path in one of your own")
    if found.st_uid not in (0, os.geteuid()):
        raise CannotOpen(f"{path} belongs to somebody else; name a path in a directory of your own")
    if found.st_mode & 0o022:
        raise CannotOpen(
            f"others can write to {path}, and so put a socket of theirs in the place of this one; "
            f"name a path in a directory of your own, or: chmod go-w {path}"
        )


def _remove_stale(path: str) -> None:
    """Remove the socket of a umd that has died; the lock is held already."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotOpen("there is something that is no socket; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # it is listening, and busy
    raise CannotOpen("something that is not umd listens there; name another path")
