"""
Cyclic garbage: looked for in small steps, so that nobody waits for a look at all that lives.

A full collection of Python's looks at every object there is: 130 ms with 30,000 calls, seconds with
a million, while nothing else is done. What umd makes for a request or a call is in no cycle, and
goes when nobody refers to it. So what has been looked at once is taken out of later looks
(`gc.freeze`), and a look is made every now and then at what has come since: each takes a
millisecond or two, whatever the number of calls. Python's own count of what is new does not serve:
it is made less by whatever old goes, and stands still where as many calls end as begin.

A cycle that dies after that is found only by a look at everything, and that is made when there is
more memory than can be explained: a mistake of ours, or of a library's, and told as one.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IDelayedCall, IReactorTime

STEP: Final = 0.002  # seconds that a look should take
SHORTEST: Final = 0.02
LONGEST: Final = 0.25
"""Seconds between two looks, by how long they take."""
AT_ONCE: Final = (700, 10, 0)
"""For `gc.set_threshold`: within one long turn there are looks too."""
CHECK_EVERY: Final = 10.0  # seconds between two looks at how much memory there is
OURSELVES: Final = 4_000_000
"""Blocks of memory, some 300 MB, that umd may have beyond what can be explained."""
STEPS_BY_PYTHON: Final = sys.version_info >= (3, 14)
"""It collects in steps of its own accord."""


class Garbage:
    """
    The collector of the process, from `begin` to `stop`.

    Args:
        clock: for the time between two looks.
        log: has a line for each look at everything.
        explained: how many blocks of memory what is there now may well take.
    """

    def __init__(
        self, clock: IReactorTime, log: FilteringBoundLogger, explained: Callable[[], int]
    ) -> None:
        self.looks = 0
        self.longest = 0.0
        """Seconds that one look took at most."""
        self._clock = clock
        self._log = log
        self._explained = explained
        self._allowed_more = OURSELVES
        self._interval = SHORTEST
        self._next: IDelayedCall | None = None
        self._before: tuple[int, int, int] | None = None
        self._began = self._checked_at = 0.0

    def begin(self) -> None:
        """What is there stays; from now on only what is new is looked at."""
        gc.collect()
        gc.freeze()
        if STEPS_BY_PYTHON or self._before is not None:
            return
        self._before = gc.get_threshold()
        gc.set_threshold(*AT_ONCE)
        gc.callbacks.append(self._collected)
        self._next = self._clock.callLater(self._interval, self._look)

    def stop(self) -> None:
        """Leave the process as it was."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._before is not None:
            gc.set_threshold(*self._before)
            self._before = None
            gc.callbacks.remove(self._collected)
            gc.unfreeze()

    def _look(self) -> None:
        began = time.monotonic()
        gc.collect()
        took = max(time.monotonic() - began, 1e-6)
        by = min(2.0, max(0.5, STEP / took))
        self._interval = min(LONGEST, max(SHORTEST, self._interval * by))
        if self._clock.seconds() - self._checked_at >= CHECK_EVERY:
            self._checked_at = self._clock.seconds()
            self._check()
        self._next = self._clock.callLater(self._interval, self._look)

    def _check(self) -> None:
        """Look at everything, if there is more than can be explained."""
        blocks = sys.getallocatedblocks()
        explained = self._explained()
        if blocks <= explained + self._allowed_more:
            return
        began = time.monotonic()
        gc.unfreeze()
        found = gc.collect()
        left = sys.getallocatedblocks()
        # Half as much again must come before it is worth another look.
        self._allowed_more = max(OURSELVES, (left - explained) * 3 // 2)
        self._log.warning(
            "daemon.memory-not-explained",
            blocks=blocks,
            left=left,
            unreachable=found,
            took_ms=round((time.monotonic() - began) * 1000, 3),
        )

    def _collected(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began = time.monotonic()
            return
        self.longest = max(self.longest, time.monotonic() - self._began)
        if info["generation"] == 2:
            self.looks += 1
            gc.freeze()
