"""
Measures how long umd takes to compare its calls with the list of a PBX, and whether requests wait:

    python -m bench.reconcile [--calls 60000] [--differences 1000]

The backend lists its legs at once, so that umd's own work is measured. Half of the differences are
calls that ended unheard, the others are calls that umd has not heard of. A call every millisecond
shows the longest time for which the reactor did nothing else.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import structlog
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater

from umd.backend import FollowsPbx, FoundLeg, LegId
from umd.call.call import CallState
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.control.settings import ControlSettings
from umd.runtime.garbage_collection import IncrementalCollector
from umd.testing import FakeBackend

reactor: Any = global_reactor
TICK = 0.001  # seconds


class ListingBackend(FakeBackend, FollowsPbx):
    """A backend that lists what the bench says."""

    listed: Sequence[FoundLeg] = ()

    async def legs(self) -> Sequence[FoundLeg]:
        return self.listed

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        return None


def leg(number: int) -> FoundLeg:
    """Return a leg with the ids that a channel of Asterisk has."""
    name = f"pbx-1795426641.{number}"
    aliases = {"sip-call-id": f"{number}@192.0.2.10", "channel-name": f"PJSIP/lab-{number:08x}"}
    return FoundLeg(
        leg=LegId(name), state=CallState.CONNECTED, number="+15550100", aliases=aliases
    )


class Stalls:
    """The longest time between two ticks of the reactor, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._before = time.perf_counter()
        self._ticks = LoopingCall(self._tick)
        _ = self._ticks.start(TICK)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._before - TICK)
        self._before = now

    def stop(self) -> None:
        self._ticks.stop()


async def measure(calls: int, differences: int) -> bool:
    """Print the figures; return whether every difference was found."""
    backend = ListingBackend("pbx", clock=reactor)
    control = Control(
        backends={"pbx": backend},
        node="lab-1",
        clock=reactor,
        wall=time.time,
        journal=NullJournal(lambda call, event: None),
        log=structlog.get_logger(),
        settings=ControlSettings(reconcile=None),
    )
    backend.listed = [leg(number) for number in range(calls)]
    await control.start()
    gone = differences // 2
    ok = True
    for name, first, last in (
        ("no differences", 0, calls),
        (f"{differences} differences", gone, calls + differences - gone),
    ):
        backend.listed = [leg(number) for number in range(first, last)]
        await deferLater(reactor, 0.2)  # the collections that the new objects caused
        stalls, began = Stalls(), time.perf_counter()
        assert backend.sink is not None
        backend.sink.backend_down("the bench says so")
        backend.sink.backend_up()
        link = control.links["pbx"]
        while link.heard is not None:
            await deferLater(reactor, TICK)
        took = time.perf_counter() - began
        await deferLater(reactor, 2 * TICK)
        stalls.stop()
        found = {call.leg for call in control.live_calls()} == {each.leg for each in backend.listed}
        ok = ok and found
        print(
            f"{calls} calls, {name}: {took:.2f} s, longest stall {stalls.longest * 1000:.1f} ms, "
            f"{'every difference found' if found else 'DIFFERENCES WERE MISSED'}"
        )
    await control.stop()
    return ok


def main() -> None:
    options = ArgumentParser(description="the comparison of umd's calls with the list of a PBX")
    options.add_argument("--calls", type=int, default=60_000)
    options.add_argument("--differences", type=int, default=1000)
    arguments = options.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50),
        processors=[structlog.processors.KeyValueRenderer()],
    )
    collector = IncrementalCollector(reactor, structlog.get_logger(), lambda: 100_000_000)
    results: list[Any] = []

    def run() -> None:
        done = ensureDeferred(measure(arguments.calls, arguments.differences))
        done.addBoth(results.append).addBoth(lambda _: reactor.stop())

    collector.start()
    reactor.callWhenRunning(run)
    reactor.run()
    if results[0] is not True:
        sys.exit(str(results[0]))


if __name__ == "__main__":
    main()
