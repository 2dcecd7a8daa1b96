"""
One connection of the control socket: requests on lines, replies on lines, one request at a time.

Back-pressure: the next request is read when the last one has been answered, and the next reply is
made when the client has read the replies before it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

import orjson
from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from umd.management.console import Console
from umd.management.refusals import Reply, error_reply
from umd.text import json_safe

MAX_REQUEST_OCTETS: Final = 16 * 1024
MAX_CONNECTIONS: Final = 32
IDLE_TIMEOUT: Final = 60
"""Seconds that a client may be silent between requests, or leave replies unread."""
REPLIES_PER_TURN: Final = 200
"""Replies written to a client before the reactor does other work."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class ControlConnection(Protocol, TimeoutMixin):
    """
    One client of the control socket.

    Args:
        console: answers the requests.
        reactor: the global one.
        log: gets a line for each internal error.
        connections: all open connections; this one adds itself.
    """

    def __init__(
        self,
        console: Console,
        reactor: Any,
        log: FilteringBoundLogger,
        connections: set[ControlConnection],
    ) -> None:
        self._console = console
        self._reactor = reactor
        self._log = log
        self._connections = connections
        self._buffer = b""
        self._serving: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        """Set while the transport's buffer is full; fires when the client has read it."""
        self._replies_written = 0
        self._half_closed = False
        """The client sends no more requests, but still reads replies."""
        self._closed = False

    # -- called by Twisted

    def connectionMade(self) -> None:
        self._connections.add(self)
        self._stream.registerProducer(self, True)
        if len(self._connections) > MAX_CONNECTIONS:
            why = f"{MAX_CONNECTIONS} clients are connected already"
            self._write_last({"error": why, "kind": "busy"})
        else:
            self.setTimeout(IDLE_TIMEOUT)

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Schedule on the reactor of the socket; the mixin would use the global one."""
        delayed: IDelayedCall = self._reactor.callLater(period, func)
        return delayed

    def dataReceived(self, data: bytes) -> None:
        if not self._closed:
            self._buffer += data
            self._begin_next_request()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closed = True
        self.setTimeout(None)
        self._connections.discard(self)
        if self._serving is not None:
            self._serving.cancel()

    def readConnectionLost(self) -> None:
        self._half_closed = True
        if self._serving is None:
            self._finish()

    def writeConnectionLost(self) -> None:
        self.abort()

    def timeoutConnection(self) -> None:
        self.abort()

    def pauseProducing(self) -> None:
        if self._drained is None:
            self._drained = Deferred()
            self.setTimeout(IDLE_TIMEOUT)

    def resumeProducing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            self.setTimeout(None if self._serving else IDLE_TIMEOUT)
            drained.callback(None)

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    # -- parts

    @property
    def _stream(self) -> Any:
        return self.transport

    def abort(self) -> None:
        """Close the connection at once."""
        self._closed = True
        self._stream.abortConnection()

    def _begin_next_request(self) -> None:
        """Answer the next request if its whole line has arrived."""
        if self._serving is not None:
            return
        line, newline, rest = self._buffer.partition(b"\n")
        if len(line) > MAX_REQUEST_OCTETS:
            why = f"a request is longer than {MAX_REQUEST_OCTETS} octets"
            self._write_last({"error": why, "kind": "bad-request"})
        elif newline:
            self._buffer = rest
            self.setTimeout(None)
            # Nothing more is read until this request is answered.
            self._stream.pauseProducing()
            self._serving = Deferred.fromCoroutine(self._serve(line))
            _ = self._serving.addBoth(self._served)
        elif self._half_closed:
            self._finish()

    async def _serve(self, line: bytes) -> None:
        try:
            async with aclosing(self._console.answer(line)) as replies:
                async for reply in replies:
                    await self._write(reply)
        except CancelledError:
            raise
        except Exception as error:
            last = error_reply(error)
            if last is None:
                self._log.exception("control.failed", request=line[:200])
                last = {"error": "an internal error of umd; see its log", "kind": "internal"}
            await self._write(last)

    async def _write(self, reply: Reply) -> None:
        self._stream.write(_line(reply))
        self._replies_written += 1
        if self._drained is not None:
            await self._drained
        elif self._replies_written % REPLIES_PER_TURN == 0:
            await deferLater(self._reactor, 0)

    def _served(self, result: object) -> None:
        # Errors are replied and logged; the only failure here is the cancellation of a lost client.
        self._serving = None
        if not self._closed:
            self.setTimeout(IDLE_TIMEOUT)
            if not self._half_closed:
                self._stream.resumeProducing()
            self._begin_next_request()

    def _write_last(self, reply: Reply) -> None:
        self._stream.write(_line(reply))
        self._finish()

    def _finish(self) -> None:
        """Close the connection when all replies are written."""
        self._closed = True
        self._stream.unregisterProducer()
        self._stream.loseConnection()


def _line(reply: Reply) -> bytes:
    try:
        return orjson.dumps(reply) + b"\n"
    except orjson.JSONEncodeError:  # text of a far end that is not UTF-8
        return orjson.dumps(json_safe(reply)) + b"\n"
