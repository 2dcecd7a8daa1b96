"""The HTTP front: every connection, what they may take together, and how they end."""

from __future__ import annotations

from collections import Counter
from typing import Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import deferLater

from umd.http.admission import Admission
from umd.http.authentication import Identity
from umd.http.connection import Connection, Wait
from umd.http.deadlines import Deadlines
from umd.http.exchange import Reply, Serve
from umd.http.head import Head
from umd.http.limits import Limits
from umd.http.rate_limited_log import RationedLog, network_of
from umd.http.reader import Heads
from umd.http.response import Answers, put_off
from umd.http.tls import HandshakeFailure

FLUSH_TIME: Final = 2.0
"""Seconds a connection that is closed has for its last octets to leave."""


class Front(ServerFactory):
    """
    Serves HTTP/1.1 by handing each request to `serve`.

    Args:
        serve: see `umd.http.exchange.Serve`.
        clock: monotonic.
        log: for what goes wrong on this edge.
        limits: see there.

    `identity` may be set before it serves; without one, nobody is asked who they are. `hosts` may
    be replaced while it serves.
    """

    noisy = False

    def __init__(
        self,
        serve: Serve,
        clock: IReactorTime,
        log: FilteringBoundLogger,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self.identity: Identity | None = None
        self.hosts: frozenset[str] | None = None
        """See `umd.http.hosts.hosts_asked_for`; None: requests may ask by any."""
        self.seconds = clock.seconds
        self.heads = Heads(limits)
        self.answers = Answers()
        self.deadlines: Deadlines[Wait, Connection] = Deadlines(
            clock, _intervals(limits), lambda wait, connection: connection.time_out(wait)
        )
        self.connections: set[Connection] = set()
        self.waiting = 0
        """Requests that wait for what they asked for."""
        self.held = 0
        """Octets of unfinished and waiting requests, and of those that are being served."""
        self.closing = False
        """Each answer is the last on its connection."""
        self.draining = False
        self.admission = Admission(
            clock, lambda: self.heads.limits.max_stall, lambda: self.waiting
        )
        self.serve = serve
        self._clock = clock
        self._log = log
        self._per_address: Counter[str] = Counter()
        self._answered: Deferred[None] | None = None
        self._all_gone: Deferred[None] | None = None
        self._refusals = 0
        self._refusals_at = float("-inf")
        self._no_handshakes = RationedLog(log.warning, "tls.handshake-failed", clock)
        self._nothing_sent = RationedLog(log.debug, "tls.nothing-sent", clock)
        self._tls_on_plain = RationedLog(log.info, "http.tls-on-plain-port", clock)

    @property
    def limits(self) -> Limits:
        """May be replaced while serving."""
        return self.heads.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.heads.limits = limits
        self.deadlines.set_intervals(_intervals(limits))

    # -- connections

    def buildProtocol(self, addr: IAddress | None) -> Connection:
        address = addr.host if isinstance(addr, (IPv4Address, IPv6Address)) else ""
        connection = Connection(self, address)
        limits = self.limits
        if len(self.connections) >= limits.max_connections or (
            address
            and self._per_address[network_of(address)] >= limits.max_connections_per_address
        ):
            connection.refused_at_once = True
        return connection

    def joined(self, connection: Connection) -> None:
        self.connections.add(connection)
        if connection.address:
            self._per_address[network_of(connection.address)] += 1
        if not self.admission.looking:
            self.admission.begin()

    def left(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if connection.address:
            network = network_of(connection.address)
            self._per_address[network] -= 1
            if self._per_address[network] <= 0:
                del self._per_address[network]
        self.answered_one()
        if not self.connections:
            self.admission.stop()
            self.deadlines.close()
        if self._all_gone is not None and not self.connections:
            gone, self._all_gone = self._all_gone, None
            gone.callback(None)

    # -- overload

    def overloaded(self) -> Reply | None:
        """The answer for a request that has to come again later, if it has to."""
        limits = self.heads.limits
        if self.waiting >= limits.max_waiting or self.held > limits.max_held:
            return self.busy("There are too many requests.")
        if not self.admission.lets_in():
            return self.busy("umd is too busy.")
        return None

    def after(self, seconds: float) -> Deferred[None]:
        """Fires so many seconds from now."""
        return deferLater(self._clock, seconds)

    def busy(self, why: str) -> Reply:
        return put_off(f"{why} Try again later.", self.limits.retry_after)

    # -- the end

    def close_idle(self) -> None:
        """From now on each answer is the last on its connection; close what is idle."""
        self.closing = True
        for connection in list(self.connections):
            connection.leave()

    async def answered(self) -> None:
        """Return when nothing is left to answer."""
        self.draining = True
        if any(connection.unanswered for connection in self.connections):
            self._answered = Deferred()
            await self._answered

    def answered_one(self) -> None:
        """Called where something was answered, or need not be any more."""
        if self._answered is not None:
            if not any(connection.unanswered for connection in self.connections):
                done, self._answered = self._answered, None
                done.callback(None)

    async def close(self) -> None:
        """Close every connection once what was written to it has left, or soon after."""
        self.closing = True
        for connection in list(self.connections):
            connection.close()
        if self.connections:
            self._all_gone = Deferred()
            timer = self._clock.callLater(FLUSH_TIME, self._abort)
            await self._all_gone
            if timer.active():
                timer.cancel()
        self.deadlines.close()
        for rationed in (self._no_handshakes, self._nothing_sent, self._tls_on_plain):
            rationed.stop()

    def _abort(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    # -- the log

    def refused(self, connection: Connection, status: int, head: Head | None, why: str) -> None:
        """A request that never reached the service, or that it would not look into."""
        # A client that does nothing else must not fill the disk: what is beyond is counted.
        now = self._clock.seconds()
        if now - self._refusals_at >= 1.0:
            unlogged = max(0, self._refusals - MOST_REFUSALS)
            if unlogged:
                self._log.warning("http.refusals-not-logged", count=unlogged)
            self._refusals, self._refusals_at = 0, now
        self._refusals += 1
        if self._refusals > MOST_REFUSALS:
            return
        self._log.info(
            "http.refused",
            status=status,
            why=why,
            method=head.method if head else "",
            path=head.path[:200] if head else "",
            host=head.host[:200] if head else "",
            address=connection.address,
        )

    def spoke_tls(self, connection: Connection) -> None:
        """A client began a TLS handshake where there is none."""
        self._tls_on_plain.tell(connection.address, hint="use http://")

    def handshake_failed(self, connection: Connection, failure: HandshakeFailure) -> None:
        """A client did not get as far as HTTP."""
        hint = {"hint": failure.hint} if failure.hint else {}
        self._no_handshakes.tell(connection.address, reason=failure.reason, by=failure.by, **hint)

    def nothing_sent(self, connection: Connection) -> None:
        """A client connected for TLS and said nothing, as a port scan or a health check does."""
        self._nothing_sent.tell(connection.address)

    def failed(self, connection: Connection, head: Head | None, error: BaseException) -> None:
        """Something was raised that nobody expected."""
        self._log.error(
            "http.failed",
            path=head.path[:200] if head else "",
            address=connection.address,
            exc_info=error,
        )


MOST_REFUSALS: Final = 100
"""Of which a line is written in one second."""


def _intervals(limits: Limits) -> dict[Wait, float]:
    return {
        Wait.HANDSHAKE: limits.head_timeout,
        Wait.NEXT: limits.idle_timeout,
        Wait.HEAD: limits.head_timeout,
        Wait.BODY: limits.body_timeout,
        Wait.TAKEN: limits.write_timeout,
        Wait.LINGER: limits.linger,
    }
