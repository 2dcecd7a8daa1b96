"""The reactor that umd runs on."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log

from umd.runtime.clock import make_monotonic


class Reactor(EPollReactor):
    """
    Twisted's, without a logging context of its own for each event.

    Nobody here reads that context, and to make it takes 1.5 us of the 16 of a request.
    """

    def doPoll(self, timeout: float | None) -> None:
        """Wait for what can be read or written, at most so many seconds, and let it be done."""
        try:
            ready = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except InterruptedError:
            return
        for descriptor, event in ready:
            selectable = self._selectables.get(descriptor)
            if selectable is not None:
                try:
                    self._doReadOrWrite(selectable, descriptor, event)
                except Exception:
                    log.err()

    doIteration = doPoll


def install() -> Any:
    """
    The process's reactor, on a monotonic clock.

    It is a `Reactor`, unless somebody has asked Twisted for one before.
    """
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(Reactor())
    from twisted.internet import reactor

    make_monotonic(reactor)
    return reactor
