"""The log lines of an HTTP front: refused requests, failed handshakes, unexpected errors."""

from __future__ import annotations

from typing import Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IReactorTime

from umd.http.handshake import HandshakeFailure
from umd.http.head import Head
from umd.http.rate_limited_log import RateLimitedLog

MAX_REFUSALS_LOGGED_PER_SECOND: Final = 100
MAX_LOGGED_CHARACTERS: Final = 200
"""Of a path or a host, which come from the client."""


class FrontLog:
    """
    Writes what goes wrong on one front, so that clients cannot fill the disk.

    Args:
        log: the logger of the front.
        clock: monotonic.
    """

    def __init__(self, log: FilteringBoundLogger, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._refusals = 0
        """Refused requests in the second that began at `_refusals_since`."""
        self._refusals_since = float("-inf")
        self._failed_handshakes = RateLimitedLog(log.warning, "tls.handshake-failed", clock)
        self._silent_clients = RateLimitedLog(log.debug, "tls.nothing-sent", clock)
        self._tls_on_plain_port = RateLimitedLog(log.info, "http.tls-on-plain-port", clock)

    def stop(self) -> None:
        """Write the counts of events that have no line of their own."""
        for limited in (self._failed_handshakes, self._silent_clients, self._tls_on_plain_port):
            limited.stop()

    def refused(self, address: str, status: int, head: Head | None, why: str) -> None:
        """
        Log a request that is refused before it reaches the service, or by the service.

        Args:
            address: of the client.
            status: of the response.
            head: of the request; None if it was not readable.
            why: as the client is told; empty where the status says it.
        """
        now = self._clock.seconds()
        if now - self._refusals_since >= 1.0:
            unlogged = max(0, self._refusals - MAX_REFUSALS_LOGGED_PER_SECOND)
            if unlogged:
                self._log.warning("http.refusals-not-logged", count=unlogged)
            self._refusals, self._refusals_since = 0, now
        self._refusals += 1
        if self._refusals > MAX_REFUSALS_LOGGED_PER_SECOND:
            return
        self._log.info(
            "http.refused",
            status=status,
            why=why,
            method=head.method if head else "",
            path=head.path[:MAX_LOGGED_CHARACTERS] if head else "",
            host=head.host[:MAX_LOGGED_CHARACTERS] if head else "",
            address=address,
        )

    def failed(self, address: str, head: Head | None, error: BaseException) -> None:
        """Log an unexpected error, with its traceback."""
        self._log.error(
            "http.failed",
            path=head.path[:MAX_LOGGED_CHARACTERS] if head else "",
            address=address,
            exc_info=error,
        )

    def tls_on_plain_port(self, address: str) -> None:
        """Log a client that begins a TLS handshake on a port without TLS."""
        self._tls_on_plain_port.write(address, hint="use http://")

    def handshake_failed(self, address: str, failure: HandshakeFailure) -> None:
        """Log a TLS handshake that failed."""
        hint = {"hint": failure.hint} if failure.hint else {}
        self._failed_handshakes.write(address, reason=failure.reason, by=failure.by, **hint)

    def nothing_sent(self, address: str) -> None:
        """Log a client that connects for TLS and sends nothing, as health checks do."""
        self._silent_clients.write(address)
