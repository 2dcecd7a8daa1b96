"""The calls by CallId: the live ones, and the ended ones until their retention is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IReactorTime

from umd.call.call import Call
from umd.call.call_id import CallId
from umd.control.errors import NoSuchCall
from umd.control.links import BackendLink, Links
from umd.control.settings import ControlSettings


class Counts(NamedTuple):
    """Calls since umd started; `begun` is always the sum of `ended` and `live`."""

    begun: int
    """Calls placed, found or recovered."""
    ended: int
    live: int
    refused_events: int
    """Events from backends that are illegal, such as a second end of a call."""
    miscounts: int
    """How often the sum was wrong after a call had ended, which is a bug in umd."""

    @property
    def right(self) -> bool:
        return self.begun == self.ended + self.live and not self.miscounts


class Registry:
    """
    Finds the call of a CallId, and counts calls.

    Args:
        links: hold the live calls of each backend.
        clock: for retention; monotonic.
        wall: seconds since the epoch.
        log: gets `control.miscount`.
    """

    def __init__(
        self,
        links: Links,
        clock: IReactorTime,
        wall: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.settings = ControlSettings()
        """Used here: `retention` and `retained_calls`. Replaced on reload."""
        self.begun = 0
        """Calls placed, found or recovered since umd started."""
        self.ended = 0
        """How many of those have ended."""
        self.miscounts = 0
        self.orphans: list[Call] = []
        """Recovered live calls whose backend is no longer configured."""
        self._links = links
        self._clock = clock
        self._wall = wall
        self._log = log
        self._calls: dict[CallId, Call] = {}
        self._ended: deque[tuple[float, CallId]] = deque()
        """`(monotonic time of the end, CallId)`, in the order in which the calls ended."""

    def __contains__(self, call_id: CallId) -> bool:
        return call_id in self._calls

    def __len__(self) -> int:
        """How many calls are kept, live and ended."""
        return len(self._calls)

    def add(self, link: BackendLink, call: Call) -> None:
        """Add a call that begins."""
        self.begun += 1
        self._calls[call.id] = call
        link.calls[call.leg] = call

    def recover(self, call: Call) -> None:
        """Add a call of the journal, live or ended."""
        self._calls[call.id] = call
        if call.ended:
            ended_at = self._clock.seconds() - (self._wall() - call.ended_at)
            self._ended.append((ended_at, call.id))
            return
        self.begun += 1
        link = self._links.get(call.backend)
        if link is None:
            self.orphans.append(call)
        else:
            link.calls[call.leg] = call

    def retire(self, call: Call) -> None:
        """Move a call that has ended from the live calls to the retained ones."""
        link = self._links.get(call.backend)
        if link is not None:
            del link.calls[call.leg]
        self.ended += 1
        live = self.live
        if self.begun != self.ended + live:
            self.miscounts += 1
            if self.miscounts == 1:
                self._log.error("control.miscount", begun=self.begun, over=self.ended, live=live)
        self._ended.append((self._clock.seconds(), call.id))
        self._forget_old()

    def find(self, call_id: CallId) -> Call:
        """
        Return the call of this id, live or ended and still remembered.

        Raises:
            NoSuchCall: there is none.
        """
        call = self._calls.get(call_id)
        if call is not None and call.ended:
            self._forget_old()
            call = self._calls.get(call_id)
        if call is None:
            raise NoSuchCall(f"no call {call_id!r}")
        return call

    def known_calls(self) -> list[Call]:
        """Return the calls that `find` finds."""
        self._forget_old()
        return list(self._calls.values())

    def live_calls(self) -> Iterator[Call]:
        """Yield the calls that have not ended, by backend, in the order in which they began."""
        for link in self._links.values():
            yield from link.calls.values()

    @property
    def live(self) -> int:
        """How many calls have not ended."""
        live = len(self.orphans)
        for link in self._links.values():
            live += len(link.calls)
        return live

    def _forget_old(self) -> None:
        ended = self._ended
        horizon = self._clock.seconds() - self.settings.retention
        while ended and (ended[0][0] <= horizon or len(ended) > self.settings.retained_calls):
            del self._calls[ended.popleft()[1]]
