"""Log lines that strangers can cause as often as they like, written only so often."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL: Final = 60.0
"""Seconds for which the lines are counted."""
MOST_LINES: Final = 5
"""Of one address in an interval."""
MOST_LINES_IN_ALL: Final = 100
MOST_ADDRESSES: Final = 4096


class Write(Protocol):
    """A method of a logger, such as `log.warning`."""

    def __call__(self, event: str, **keys: Any) -> Any: ...


class _Address:
    __slots__ = ("lines", "suppressed")

    def __init__(self) -> None:
        self.lines = 0
        """Written in this interval."""
        self.suppressed = 0
        """Events since the last line that have none."""


class RationedLog:
    """
    One kind of event. Each is in the log, by its own line or as one of the `suppressed` of a later
    line; how many lines there are does not depend on how many events.

    Args:
        write: at the level of the event.
        event: its name; what has no line by the end of an interval is told as `EVENT-more`.
        clock: monotonic.
    """

    def __init__(self, write: Write, event: str, clock: IReactorTime) -> None:
        self._write = write
        self._event = event
        self._clock = clock
        self._addresses: dict[str, _Address] = {}
        """By network, of this interval; the one that was last at the end."""
        self._lines = 0
        self._forgotten = 0
        """Suppressed events of addresses that are not remembered any more."""
        self._timer: IDelayedCall | None = None
        """Runs from the first event of an interval to its end."""

    def tell(self, address: str, **keys: Any) -> None:
        """Write a line, unless there were too many."""
        known = self._touch(network_of(address))
        if known.lines >= MOST_LINES or self._lines >= MOST_LINES_IN_ALL:
            known.suppressed += 1
            return
        known.lines += 1
        self._lines += 1
        suppressed, known.suppressed = known.suppressed, 0
        self._write(self._event, **keys, address=address, suppressed=suppressed)

    def count(self, address: str) -> None:
        """Count an event that needs no line of its own."""
        self._touch(network_of(address)).suppressed += 1

    def stop(self) -> None:
        """Tell what was not told."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_interval()

    def _touch(self, network: str) -> _Address:
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._end_interval)
        known = self._addresses.pop(network, None) or _Address()
        while len(self._addresses) >= MOST_ADDRESSES:
            self._forgotten += self._addresses.pop(next(iter(self._addresses))).suppressed
        self._addresses[network] = known
        return known

    def _end_interval(self) -> None:
        """Tell how many events have no line."""
        untold = [(one.suppressed, network) for network, one in self._addresses.items()]
        untold = sorted((one for one in untold if one[0]), reverse=True)
        for suppressed, network in untold[:MOST_LINES_IN_ALL]:
            self._write(f"{self._event}-more", address=network, suppressed=suppressed)
        others = self._forgotten + sum(count for count, _ in untold[MOST_LINES_IN_ALL:])
        if others:
            self._write(f"{self._event}-more", address="", suppressed=others)
        self._timer = None
        self._addresses.clear()
        self._lines = self._forgotten = 0


def network_of(address: str) -> str:
    """What one client has for itself: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    found = ip_address(address.partition("%")[0])
    assert isinstance(found, IPv6Address)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"
