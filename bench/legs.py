"""
How many live calls one umd holds, and what their number costs a Disconnect.

Run it pinned to one core:

    taskset -c 1 python -m bench.legs [--legs 1000000] [--few 1000] [--json]

Each call is placed by `Control` on the simulator, so that it has a SIP session at both ends, and is
answered and held on virtual time until the transactions of its setup are gone. Then calls are ended
in groups, each from the request to the far end's 200. Rates are per second of processor time; with
few legs the run is repeated until as many calls have been ended, and its median counts.
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

MEASURED = 20_000
BATCH = 1_000
DIALLER = Principal("bench", "")


class Room:
    """Control and simulator on a clock that only moves when it is told to."""

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
        """Place so many calls, in batches, until all are answered and nothing of it lingers."""
        calls: list[CallId] = []
        for first in range(0, legs, BATCH):
            number = min(BATCH, legs - first)
            calls += [self.control.place(DIALLER, "5550101").id for _ in range(number)]
            # The transactions of a batch are gone before many more are there, as in a daemon
            # that has taken its calls over some time.
            self.clock.pump([0.001] * 4 + [0.5])
        self.clock.pump([1.0] * 70)
        assert sum(1 for _ in self.control.live_calls()) == legs
        return calls

    def end(self, calls: list[CallId]) -> float:
        """End calls, 50 at once; gives back how many a second."""
        began = time.process_time()
        for first in range(0, len(calls), 50):
            asked = [
                ensureDeferred(self.control.disconnect(DIALLER, call))
                for call in calls[first : first + 50]
            ]
            self.clock.pump([0.001] * 2)
            assert all(one.called for one in asked)
        return len(calls) / (time.process_time() - began)


def _drop(*_: object) -> str:
    raise structlog.DropEvent


def resident() -> int:
    """Octets of this process in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def measure(legs: int) -> dict[str, float]:
    """Fill a room and end some of its calls; the rest stay."""
    gc.collect()
    gc.freeze()
    before = resident()
    began = time.process_time()
    room = Room()
    calls = room.fill(legs)
    placed_s = time.process_time() - began
    gc.collect()
    gc.freeze()
    held = resident()
    measured = calls[: min(MEASURED, legs)]
    rate = room.end(measured)
    timers = len(room.clock.getDelayedCalls())
    return {
        "legs": legs,
        "resident_mib": round(held / 2**20, 1),
        "octets_per_leg": round((held - before) / legs, 1),
        "placed_per_s": round(legs / placed_s),
        "ended_per_s": round(rate),
        "reactor_timers": timers,
    }


def few(legs: int) -> dict[str, float]:
    """The same with few calls, over again until as many have been ended; the median run."""
    runs = sorted(
        (measure(legs) for _ in range(max(1, MEASURED // legs))),
        key=lambda run: run["ended_per_s"],
    )
    return runs[len(runs) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--legs", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [few(options.few), measure(options.legs)]
    ratio = round(rows[1]["ended_per_s"] / rows[0]["ended_per_s"], 2)
    if options.json:
        print(json.dumps({"rows": rows, "ratio": ratio}))
        return
    for name in rows[0]:
        print(f"{name:16}" + "".join(f"{row[name]:>14,}" for row in rows))
    print(f"{'ratio':16}{'':14}{ratio:>14}")


if __name__ == "__main__":
    main()
