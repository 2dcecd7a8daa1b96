"""
Measures the memory of live calls, and whether their number slows down a Disconnect.

Pin it to one core:

    taskset -c 1 python -m bench.legs [--legs 1000000] [--few 1000] [--json]

`Control` places the calls on the simulator, so each has a SIP session at both ends. Virtual time
advances until they are answered and the transactions of their setup have ended. Then calls are
ended in groups, each from the request to the 200 of the far end. Rates are per second of CPU time.
The run with few legs is repeated until it has ended as many calls as the other; its median is
reported.
"""

from __future__ import annotations

import argparse
import gc
import json
import time

import structlog
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.call.call_id import CallId
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.journal import NullJournal

CALLS_TO_END = 20_000
CALLS_PER_BATCH = 1_000
CALLER = Principal("bench", "")


class Daemon:
    """Control and simulator on a virtual clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ended = 0
        self.control = Control(
            backends={"sim": SimBackend("sim", SimSection(random_seed=1), self.clock)},
            node="bench",
            clock=self.clock,
            wall=self.clock.seconds,
            journal=NullJournal(lambda call, event: None),
            log=structlog.wrap_logger(None, processors=[_drop]),
        )
        _ = ensureDeferred(self.control.start())

    def fill(self, legs: int) -> list[CallId]:
        """Place calls, in batches, and wait until all are answered and their transactions ended."""
        calls: list[CallId] = []
        for first in range(0, legs, CALLS_PER_BATCH):
            number = min(CALLS_PER_BATCH, legs - first)
            calls += [self.control.place(CALLER, "5550101").id for _ in range(number)]
            # As in a daemon whose calls began over some time, few transactions exist at once.
            self.clock.pump([0.001] * 4 + [0.5])
        self.clock.pump([1.0] * 70)
        assert sum(1 for _ in self.control.live_calls()) == legs
        return calls

    def end(self, calls: list[CallId]) -> float:
        """End calls, 50 at a time; return the calls per second of CPU time."""
        began = time.process_time()
        for first in range(0, len(calls), 50):
            replies = [
                ensureDeferred(self.control.disconnect(CALLER, call))
                for call in calls[first : first + 50]
            ]
            # Two delays of the network; the third step covers the rounding of their sum.
            self.clock.pump([0.001] * 3)
            assert all(reply.called for reply in replies)
        return len(calls) / (time.process_time() - began)


def _drop(*_: object) -> str:
    raise structlog.DropEvent


def resident() -> int:
    """Return the resident bytes of this process."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def measure(legs: int) -> dict[str, float]:
    """Place calls and end some of them; the others stay live."""
    gc.collect()
    gc.freeze()
    before = resident()
    began = time.process_time()
    daemon = Daemon()
    calls = daemon.fill(legs)
    placed_s = time.process_time() - began
    gc.collect()
    gc.freeze()
    held = resident()
    rate = daemon.end(calls[: min(CALLS_TO_END, legs)])
    timers = len(daemon.clock.getDelayedCalls())
    return {
        "legs": legs,
        "resident_mib": round(held / 2**20, 1),
        "octets_per_leg": round((held - before) / legs, 1),
        "placed_per_s": round(legs / placed_s),
        "ended_per_s": round(rate),
        "reactor_timers": timers,
    }


def measure_repeatedly(legs: int) -> dict[str, float]:
    """Repeat `measure` with few calls until enough calls are ended; return the median run."""
    runs = sorted(
        (measure(legs) for _ in range(max(1, CALLS_TO_END // legs))),
        key=lambda run: run["ended_per_s"],
    )
    return runs[len(runs) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure_repeatedly(options.few), measure(options.legs)]
    ratio = round(rows[1]["ended_per_s"] / rows[0]["ended_per_s"], 2)
    if options.json:
        print(json.dumps({"rows": rows, "ratio": ratio}))
        return
    for name in rows[0]:
        print(f"{name:16}" + "".join(f"{row[name]:>14,}" for row in rows))
    print(f"{'ratio':16}{'':14}{ratio:>14}")


if __name__ == "__main__":
    main()
