"""
Runs Python's cyclic garbage collector in short passes, so that no pass scans every live object.

A full collection scans every object: 130 ms with 30,000 calls, seconds with a million, and umd does
nothing else meanwhile. What umd makes for a request or a call is part of no reference cycle, so
reference counting frees it. Therefore each pass scans only the objects made since the pass before,
and then exempts the survivors from later passes (`gc.freeze`). A pass takes a millisecond or two,
whatever the number of calls.

The passes are timed, because Python's generation-0 counter is useless here: deallocations decrement
it, so it never rises while calls end as fast as they begin.

A cycle that becomes garbage after it was exempted is found by a full collection only. The collector
runs one when the process has more memory than its calls explain. That points to a reference cycle
in umd or in a library, so it is logged as a warning.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IDelayedCall, IReactorTime

PASS_TARGET: Final = 0.002
"""Seconds that a pass should take. The interval between passes adapts to it."""
MIN_INTERVAL: Final = 0.02
"""Seconds between two passes, at least."""
MAX_INTERVAL: Final = 0.25
"""Seconds between two passes, at most."""
THRESHOLDS: Final = (700, 10, 0)
"""For `gc.set_threshold`: collect within a long reactor turn, too."""
MEMORY_CHECK_INTERVAL: Final = 10.0
"""Seconds between two checks of how much memory the process has."""
UNEXPLAINED_BLOCKS_ALLOWED: Final = 4_000_000
"""Memory blocks, about 300 MB, that the process may have beyond what its calls explain."""
PYTHON_IS_INCREMENTAL: Final = sys.version_info >= (3, 14)
"""Whether Python's own collector works in increments, so that umd leaves it alone."""


class IncrementalCollector:
    """
    Collects cyclic garbage in short passes, from `start` to `stop`.

    Args:
        clock: times the passes.
        log: gets a warning for each full collection.
        explained_blocks: returns how many memory blocks the present calls may take.
    """

    def __init__(
        self,
        clock: IReactorTime,
        log: FilteringBoundLogger,
        explained_blocks: Callable[[], int],
    ) -> None:
        self.passes = 0
        """Passes made so far."""
        self.longest_pass = 0.0
        """Seconds that the longest pass took."""
        self._clock = clock
        self._log = log
        self._explained_blocks = explained_blocks
        self._unexplained_allowed = UNEXPLAINED_BLOCKS_ALLOWED
        self._interval = MIN_INTERVAL
        self._next_pass: IDelayedCall | None = None
        self._original_thresholds: tuple[int, int, int] | None = None
        self._pass_began = self._memory_checked_at = 0.0

    def start(self) -> None:
        """Exempt the objects that exist now, and begin to make passes."""
        gc.collect()
        gc.freeze()
        if PYTHON_IS_INCREMENTAL or self._original_thresholds is not None:
            return
        self._original_thresholds = gc.get_threshold()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._on_collection)
        self._next_pass = self._clock.callLater(self._interval, self._make_pass)

    def stop(self) -> None:
        """Restore Python's own settings."""
        if self._next_pass is not None:
            self._next_pass.cancel()
            self._next_pass = None
        if self._original_thresholds is not None:
            gc.set_threshold(*self._original_thresholds)
            self._original_thresholds = None
            gc.callbacks.remove(self._on_collection)
            gc.unfreeze()

    def _make_pass(self) -> None:
        began = time.monotonic()
        gc.collect()
        took = max(time.monotonic() - began, 1e-6)
        factor = min(2.0, max(0.5, PASS_TARGET / took))
        self._interval = min(MAX_INTERVAL, max(MIN_INTERVAL, self._interval * factor))
        if self._clock.seconds() - self._memory_checked_at >= MEMORY_CHECK_INTERVAL:
            self._memory_checked_at = self._clock.seconds()
            self._check_memory()
        self._next_pass = self._clock.callLater(self._interval, self._make_pass)

    def _check_memory(self) -> None:
        """Run a full collection if the process has more memory than its calls explain."""
        blocks = sys.getallocatedblocks()
        explained = self._explained_blocks()
        if blocks <= explained + self._unexplained_allowed:
            return
        began = time.monotonic()
        gc.unfreeze()
        unreachable = gc.collect()
        left = sys.getallocatedblocks()
        # The next full collection waits until the unexplained memory has grown by half.
        self._unexplained_allowed = max(UNEXPLAINED_BLOCKS_ALLOWED, (left - explained) * 3 // 2)
        self._log.warning(
            "daemon.memory-not-explained",
            blocks=blocks,
            left=left,
            unreachable=unreachable,
            took_ms=round((time.monotonic() - began) * 1000, 3),
        )

    def _on_collection(self, phase: str, info: Mapping[str, Any]) -> None:
        """Measure a collection and exempt its survivors (`gc.callbacks`)."""
        if phase == "start":
            self._pass_began = time.monotonic()
            return
        self.longest_pass = max(self.longest_pass, time.monotonic() - self._pass_began)
        if info["generation"] == 2:
            self.passes += 1
            gc.freeze()
