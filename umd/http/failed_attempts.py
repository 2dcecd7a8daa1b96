"""Counts failed logins: delays each response to one, and writes a log line for the first ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IReactorTime

from umd.http.addresses import network_of
from umd.http.rate_limited_log import RateLimitedLog

FIRST_DELAY: Final = 0.25
"""Seconds before the response to the first failed attempt; doubled with each further attempt."""
MAX_DELAY: Final = 4.0
FORGET_AFTER: Final = 60.0
"""Seconds without a failed attempt after which the count starts again."""
ATTEMPTS_WITHOUT_NETWORK_DELAY: Final = 10
"""
Failed attempts from one network, with any names, that delay only their own names: a whole office
may share one address.
"""
MAX_NETWORKS: Final = 4096
MAX_NAMES_PER_NETWORK: Final = 16
"""A client that tries more names than this is delayed by the count of its network."""
MAX_NAME_LENGTH: Final = 256
"""Characters of a name that are remembered."""


class _Count:
    """Failed attempts with less than `FORGET_AFTER` seconds between two of them."""

    __slots__ = ("attempts", "last")

    def __init__(self) -> None:
        self.attempts = 0
        self.last = 0.0

    def increment(self, now: float) -> int:
        """Count one more attempt, and return how many there are."""
        if now - self.last > FORGET_AFTER:
            self.attempts = 0
        self.attempts += 1
        self.last = now
        return self.attempts


class _Network(_Count):
    """Failed attempts of one network, in all and by name."""

    __slots__ = ("names",)

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, _Count] = {}


C = TypeVar("C", bound=_Count)


class FailedAttempts:
    """
    Counts failed attempts by network, and by network and name.

    Args:
        clock: monotonic.
        log: receives a line for the first attempt of each count; the number of lines is limited.
    """

    def __init__(self, clock: IReactorTime, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = RateLimitedLog(log.warning, "auth.failed", clock)
        self._networks: dict[str, _Network] = {}
        """The network with the latest failed attempt is at the end."""
        self._unreadable: dict[str, _Count] = {}
        """By network, credentials that cannot be a guess; ordered in the same way."""

    def stop(self) -> None:
        """Write the count of attempts that have no log line."""
        self._log.stop()

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failed attempts of a name, as its password was right."""
        network = self._networks.get(network_of(address))
        if network is not None:
            network.names.pop(name[:MAX_NAME_LENGTH], None)

    def failed(
        self, name: str, address: str, why: str, request_id: str, *, repeated: bool = False
    ) -> float:
        """
        Count a failed attempt.

        Args:
            name: the user; empty if the credentials name none.
            address: IP address of the client.
            why: reason for the log.
            request_id: the id in the response, for the log.
            repeated: these credentials were wrong before: this is a program that repeats an old
                password, not a guess.

        Returns:
            Seconds by which to delay the response.
        """
        now = self._clock.seconds()
        name = name[:MAX_NAME_LENGTH]
        network = _touch(self._networks, network_of(address), _Network)
        count = network.names.pop(name, None) or _Count()
        while len(network.names) >= MAX_NAMES_PER_NETWORK:
            del network.names[next(iter(network.names))]
        network.names[name] = count
        for_name = count.increment(now)
        for_network = network.attempts if repeated else network.increment(now)
        self._log_attempt(for_name == 1, address, name, why, request_id)
        return _delay(max(for_name, for_network - ATTEMPTS_WITHOUT_NETWORK_DELAY))

    def unreadable(self, address: str, why: str, request_id: str) -> None:
        """Log credentials that cannot be a guess. They are not counted as failed attempts."""
        count = _touch(self._unreadable, network_of(address), _Count)
        first = count.increment(self._clock.seconds()) == 1
        self._log_attempt(first, address, "", why, request_id)

    def _log_attempt(
        self, first: bool, address: str, name: str, why: str, request_id: str
    ) -> None:
        if not first:
            self._log.count(address)
            return
        self._log.write(
            address,
            request_id=request_id,
            principal=name,
            operation="authenticate",
            outcome="denied",
            why=why,
        )


def _touch(counts: dict[str, C], network: str, make: Callable[[], C]) -> C:
    """Return the count of a network and move it to the end; forget the oldest if too many."""
    count = counts.pop(network, None) or make()
    while len(counts) >= MAX_NETWORKS:
        del counts[next(iter(counts))]
    counts[network] = count
    return count


def _delay(attempts: int) -> float:
    # Limited before the power: it would overflow a float.
    return min(MAX_DELAY, FIRST_DELAY * 2.0 ** (min(attempts, 32) - 1))
