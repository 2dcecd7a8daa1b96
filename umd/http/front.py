"""The HTTP front: accepts connections, drains them and closes them."""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from umd.http.connection import Connection
from umd.http.exchange import Serve
from umd.http.limits import Limits
from umd.http.server_state import ServerState

FLUSH_TIME: Final = 2.0
"""Seconds that a client has to take its last response when umd stops."""


class Front(ServerFactory):
    """
    Serves HTTP/1.1 and hands each request to `serve`.

    Args:
        serve: see `umd.http.exchange.Serve`.
        clock: monotonic.
        log: for requests and connections that fail.
        limits: see `umd.http.limits`; the defaults if None.
    """

    noisy = False

    def __init__(
        self,
        serve: Serve,
        clock: IReactorTime,
        log: FilteringBoundLogger,
        limits: Limits | None = None,
    ) -> None:
        self.state = ServerState(serve, clock, log, limits or Limits())
        """The settings and counters of this front."""
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        """Make the protocol of a new connection; called by Twisted."""
        address = addr.host if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        return Connection(self.state, address)

    def close_idle(self) -> None:
        """Close idle connections, and from now on each other one after its next response."""
        self.state.closing = True
        for connection in self.state.connections:
            connection.close_if_idle()

    async def answered(self) -> None:
        """Return when no request is left to answer."""
        await self.state.connections.wait_until_answered()

    async def close(self) -> None:
        """Close each connection when its client has taken what is written, or after 2 s."""
        state = self.state
        state.closing = True
        for connection in state.connections:
            connection.close()
        if state.connections:
            timer = self._clock.callLater(FLUSH_TIME, self._abort)
            await state.connections.wait_until_closed()
            if timer.active():
                timer.cancel()
        state.deadlines.close()
        state.log.stop()

    def _abort(self) -> None:
        for connection in self.state.connections:
            connection.abort()
