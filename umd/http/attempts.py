"""What is remembered of wrong attempts: how late each is answered, and which are logged."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IDelayedCall, IReactorTime

FIRST_DELAY: Final = 0.25
"""Seconds before the first wrong attempt is answered; doubled with each further one."""
LONGEST_DELAY: Final = 4.0
FORGIVEN_AFTER: Final = 60.0
"""Seconds without a further wrong attempt until the count begins again."""
FREE: Final = 10
"""Wrong attempts from an address, whatever the names, that do not count for all of it: behind one
address there may be an office."""
MOST_ADDRESSES: Final = 4096
MOST_NAMES: Final = 16
"""Of one address; who tries ever new ones forgets its own, and is counted by its address."""
INTERVAL: Final = 60.0
"""Seconds for which the log is rationed."""
MOST_LINES: Final = 5
"""Of one address in an interval."""
MOST_LINES_IN_ALL: Final = 100


class _Series:
    """Wrong attempts, one soon after the other."""

    __slots__ = ("count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0

    def grow(self, now: float) -> int:
        """One more; gives back which it is."""
        if now - self.last > FORGIVEN_AFTER:
            self.count = 0
        self.count += 1
        self.last = now
        return self.count


class _Address(_Series):
    """What came from one address."""

    __slots__ = ("names", "lines", "suppressed")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, _Series] = {}
        self.lines = 0
        """Written in this interval."""
        self.suppressed = 0
        """Attempts since the last line that have none."""


class Attempts:
    """
    Counts wrong attempts by address and name together, and by address.

    Each attempt is in the log, by its own line or as one of the `suppressed` of a later line; how
    many lines there are does not depend on how many attempts.

    Args:
        clock: monotonic.
        log: one line for the first of a series, as far as they are not too many.
    """

    def __init__(self, clock: IReactorTime, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log
        self._addresses: dict[str, _Address] = {}
        """By network, the one that was wrong last at the end."""
        self._lines = 0
        self._suppressed = 0
        """Of addresses that are not remembered any more."""
        self._timer: IDelayedCall | None = None
        """Runs from the first line of an interval to its end."""

    def stop(self) -> None:
        """Tell what was not told."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_interval()

    def right(self, name: str, address: str) -> None:
        """Somebody has said the right password: what was wrong before is forgiven."""
        known = self._addresses.get(network_of(address))
        if known is not None:
            known.names.pop(name[:256], None)

    def wrong(
        self, name: str, address: str, why: str, request_id: str, *, again: bool = False
    ) -> float:
        """
        Count an attempt.

        Args:
            name: that it was for; empty where it said none.
            why: it is wrong, for the log.
            request_id: by which the client was told.
            again: the very same was tried before: a program that repeats itself, no guess.

        Returns:
            After how many seconds it is answered.
        """
        now = self._clock.seconds()
        name = name[:256]
        known = self._touch(network_of(address))
        series = known.names.pop(name, None) or _Series()
        while len(known.names) >= MOST_NAMES:
            del known.names[next(iter(known.names))]
        known.names[name] = series
        count = series.grow(now)
        in_all = known.count if again else known.grow(now)
        self._tell(known, count == 1, principal=name, address=address, why=why, id_=request_id)
        return _delay(max(count, in_all - FREE))

    def _touch(self, network: str) -> _Address:
        known = self._addresses.pop(network, None)
        if known is None:
            known = _Address()
            while len(self._addresses) >= MOST_ADDRESSES:
                forgotten = self._addresses.pop(next(iter(self._addresses)))
                self._suppressed += forgotten.suppressed
        self._addresses[network] = known
        return known

    # -- the log

    def _tell(
        self, known: _Address, first: bool, *, principal: str, address: str, why: str, id_: str
    ) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(INTERVAL, self._end_interval)
        if not first or known.lines >= MOST_LINES or self._lines >= MOST_LINES_IN_ALL:
            known.suppressed += 1
            return
        known.lines += 1
        self._lines += 1
        suppressed, known.suppressed = known.suppressed, 0
        self._log.warning(
            "auth.failed",
            request_id=id_,
            principal=principal,
            address=address,
            operation="authenticate",
            outcome="denied",
            why=why,
            suppressed=suppressed,
        )

    def _end_interval(self) -> None:
        """Tell how many attempts have no line."""
        self._timer = None
        self._lines = 0
        untold = []
        for network, known in self._addresses.items():
            known.lines = 0
            if known.suppressed:
                untold.append((known.suppressed, network))
                known.suppressed = 0
        untold.sort(reverse=True)
        for suppressed, network in untold[:MOST_LINES_IN_ALL]:
            self._log.warning("auth.failed-more", address=network, suppressed=suppressed)
        others = self._suppressed + sum(count for count, _ in untold[MOST_LINES_IN_ALL:])
        self._suppressed = 0
        if others:
            self._log.warning("auth.failed-more", address="", suppressed=others)


def network_of(address: str) -> str:
    """What one client has for itself: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    found = ip_address(address.partition("%")[0])
    assert isinstance(found, IPv6Address)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> 64 << 64)}/64"


def _delay(count: int) -> float:
    # A power of a count without bound would be a number without bound.
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (min(count, 32) - 1))
