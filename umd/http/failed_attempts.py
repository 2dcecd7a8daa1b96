"""What is remembered of wrong attempts: how late each is answered, and which have a log line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IReactorTime

from umd.http.rate_limited_log import RationedLog, network_of

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

    __slots__ = ("names",)

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, _Series] = {}


S = TypeVar("S", bound=_Series)


class Attempts:
    """
    Counts wrong attempts by address and name together, and by address.

    Args:
        clock: monotonic.
        log: gets a line for the first of a series, as far as they are not too many.
    """

    def __init__(self, clock: IReactorTime, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._lines = RationedLog(log.warning, "auth.failed", clock)
        self._addresses: dict[str, _Address] = {}
        """By network, the one that was wrong last at the end."""
        self._no_guesses: dict[str, _Series] = {}
        """The same, of what was no guess."""

    def stop(self) -> None:
        """Tell what was not told."""
        self._lines.stop()

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
        known = _touch(self._addresses, network_of(address), _Address)
        series = known.names.pop(name, None) or _Series()
        while len(known.names) >= MOST_NAMES:
            del known.names[next(iter(known.names))]
        known.names[name] = series
        count = series.grow(now)
        in_all = known.count if again else known.grow(now)
        self._tell(count == 1, address, name, why, request_id)
        return _delay(max(count, in_all - FREE))

    def no_guess(self, address: str, why: str, request_id: str) -> None:
        """Log credentials that nobody can have guessed; they count for nothing."""
        series = _touch(self._no_guesses, network_of(address), _Series)
        self._tell(series.grow(self._clock.seconds()) == 1, address, "", why, request_id)

    def _tell(self, first: bool, address: str, name: str, why: str, request_id: str) -> None:
        if not first:
            self._lines.count(address)
            return
        self._lines.tell(
            address,
            request_id=request_id,
            principal=name,
            operation="authenticate",
            outcome="denied",
            why=why,
        )


def _touch(series: dict[str, S], network: str, make: Callable[[], S]) -> S:
    """The series of a network, which is now the latest; the oldest are forgotten."""
    known = series.pop(network, None) or make()
    while len(series) >= MOST_ADDRESSES:
        del series[next(iter(series))]
    series[network] = known
    return known


def _delay(count: int) -> float:
    # A power of a count without bound would be a number without bound.
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (min(count, 32) - 1))
