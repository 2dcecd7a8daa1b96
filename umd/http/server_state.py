"""What all connections of one HTTP front share: service, settings, counters and the log."""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from umd.http.admission import Admission
from umd.http.authentication import Authenticator
from umd.http.connections import OpenConnection, OpenConnections, Wait
from umd.http.deadlines import Deadlines
from umd.http.exchange import Reply, Serve
from umd.http.front_log import FrontLog
from umd.http.limits import Limits
from umd.http.reader import HeadCache
from umd.http.response import ResponseEncoder, retry_later


class ServerState:
    """
    The state of one front. The front owns it, and each connection refers to it.

    Args:
        serve: see `umd.http.exchange.Serve`.
        clock: monotonic.
        log: for requests and connections that fail.
        limits: see `umd.http.limits`.
    """

    def __init__(
        self, serve: Serve, clock: IReactorTime, log: FilteringBoundLogger, limits: Limits
    ) -> None:
        self.serve = serve
        self.seconds = clock.seconds
        """Returns the monotonic time in seconds."""
        self.authenticator: Authenticator | None = None
        """None: umd serves every client as the anonymous principal. To be set before serving."""
        self.allowed_hosts: frozenset[str] | None = None
        """
        Host names that a request may address, see `umd.http.hosts`; None allows every name.

        May be replaced while serving.
        """
        self.closing = False
        """Whether each response is the last one on its connection."""
        self.pending_requests = 0
        """Requests whose response is not ready."""
        self.buffered = 0
        """Octets of requests that are unfinished, queued or being served, on all connections."""
        self.heads = HeadCache(limits)
        self.responses = ResponseEncoder()
        self.log = FrontLog(log, clock)
        self.connections = OpenConnections()
        self.deadlines: Deadlines[Wait, OpenConnection] = Deadlines(
            clock, _intervals(limits), lambda wait, connection: connection.time_out(wait)
        )
        self.admission = Admission(
            clock, lambda: self.heads.limits.max_stall, lambda: self.pending_requests
        )
        self._clock = clock

    @property
    def limits(self) -> Limits:
        """The limits; may be replaced while serving."""
        return self.heads.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.heads.limits = limits
        self.deadlines.set_intervals(_intervals(limits))

    def delay(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires after so many seconds."""
        return deferLater(self._clock, seconds)

    # -- connections

    def add(self, connection: OpenConnection) -> None:
        """Count a new connection."""
        self.connections.add(connection)
        self.admission.start()

    def remove(self, connection: OpenConnection) -> None:
        """Forget a connection that is lost. Without connections no timer runs."""
        self.connections.remove(connection)
        if not self.connections:
            self.admission.stop()
            self.deadlines.close()

    # -- overload

    def overload_reply(self) -> Reply | None:
        """Return the 503 for the next request if umd is overloaded, else None."""
        limits = self.heads.limits
        if self.pending_requests >= limits.max_waiting or self.buffered > limits.max_held:
            return self.busy("There are too many requests.")
        if not self.admission.admit():
            return self.busy("umd is too busy.")
        return None

    def busy(self, why: str) -> Reply:
        """Return a 503 that says why, and when to try again."""
        return retry_later(f"{why} Try again later.", self.limits.retry_after)


def _intervals(limits: Limits) -> dict[Wait, float]:
    return {
        Wait.HANDSHAKE: limits.head_timeout,
        Wait.REQUEST: limits.idle_timeout,
        Wait.HEAD: limits.head_timeout,
        Wait.BODY: limits.body_timeout,
        Wait.WRITE: limits.write_timeout,
        Wait.CLOSE: limits.linger,
    }
