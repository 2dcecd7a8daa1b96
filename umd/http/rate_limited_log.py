"""Limits the log lines that clients can cause as often as they like."""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from umd.http.addresses import network_of

INTERVAL: Final = 60.0
"""Seconds for which the limits hold."""
MAX_LINES_PER_NETWORK: Final = 5
"""In one interval."""
MAX_LINES: Final = 100
"""In one interval, of all networks."""
MAX_NETWORKS: Final = 4096
"""Networks that are remembered."""


class Write(Protocol):
    """A method of a logger, such as `log.warning`."""

    def __call__(self, event: str, **keys: Any) -> Any: ...


class _Network:
    __slots__ = ("lines", "suppressed")

    def __init__(self) -> None:
        self.lines = 0
        """Lines written in this interval."""
        self.suppressed = 0
        """Events without a line since the last line."""


class RateLimitedLog:
    """
    Writes one kind of event, a limited number of lines in each interval.

    No event is lost: each has its own line or is counted in `suppressed` of a later line.

    Args:
        write: a method of a logger.
        event: name of the event. At the end of an interval, `EVENT-more` counts the events that
            no line has counted.
        clock: monotonic.
    """

    def __init__(self, write: Write, event: str, clock: IReactorTime) -> None:
        self._write = write
        self._event = event
        self._clock = clock
        self._networks: dict[str, _Network] = {}
        """Client networks of this interval, the one with the latest event at the end."""
        self._lines = 0
        """Lines written in this interval."""
        self._forgotten = 0
        """Suppressed events of networks that are no longer remembered."""
        self._timer: IDelayedCall | None = None
        """Runs from the first event of an interval to its end."""

    def write(self, address: str, **keys: Any) -> None:
        """Write a line for an event of a client, or count it if there are too many lines."""
        network = self._touch(network_of(address))
        if network.lines >= MAX_LINES_PER_NETWORK or self._lines >= MAX_LINES:
            network.suppressed += 1
            return
        network.lines += 1
        self._lines += 1
        suppressed, network.suppressed = network.suppressed, 0
        self._write(self._event, **keys, address=address, suppressed=suppressed)

    def count(self, address: str) -> None:
        """Count an event of a client without a line of its own."""
        self._touch(network_of(address)).suppressed += 1

    def stop(self) -> None:
        """End the interval now: write the counts of events that no line has counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_interval()

    def _touch(self, name: str) -> _Network:
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._end_interval)
        network = self._networks.pop(name, None) or _Network()
        while len(self._networks) >= MAX_NETWORKS:
            self._forgotten += self._networks.pop(next(iter(self._networks))).suppressed
        self._networks[name] = network
        return network

    def _end_interval(self) -> None:
        counts = [(network.suppressed, name) for name, network in self._networks.items()]
        counts = sorted((count for count in counts if count[0]), reverse=True)
        for suppressed, name in counts[:MAX_LINES]:
            self._write(f"{self._event}-more", address=name, suppressed=suppressed)
        others = self._forgotten + sum(suppressed for suppressed, _ in counts[MAX_LINES:])
        if others:
            self._write(f"{self._event}-more", address="", suppressed=others)
        self._timer = None
        self._networks.clear()
        self._lines = self._forgotten = 0
