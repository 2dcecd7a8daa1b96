"""
Many calls by umd's SIP backend to SIPp: each answered and ended by BYE, or cancelled as it rings.

    python -m tests.interop.sipp_load --calls 20000 --at-once 200 --cancel 1000

A call that ends in any other way than umd asked for has failed. Exit status 0: none has.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.interop.sipp import Sipp
from umd.backend import Answered, Ended, LegEvent, LegId, LegSink, Progressed
from umd.backends.sip import SipBackend, SipSection
from umd.call.cause import Cause, EndedBy
from umd.runtime.clock import make_monotonic

CLIENT = Cause(by=EndedBy.CLIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run came to."""

    calls: int
    ends: Counter[str]
    """How many calls ended how; a good one by BYE as `200`, by CANCEL as `487`."""
    failed: int
    """Calls that did not end as asked for, by umd's account."""
    failed_there: int
    """By SIPp's."""
    seconds: float
    cpu: float
    """Seconds that umd's process used."""
    datagrams: int
    """Received and sent by umd."""
    repeated: int
    """Messages that umd sent once more."""
    repeated_there: int
    dropped: int | None
    """Datagrams that the kernel had no room for on umd's side."""
    lost: int
    memory: int
    """Octets of umd's process at its largest."""

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.failed} failed here, {self.failed_there} there: "
            f"{dict(self.ends)}; {self.seconds:.2f} s, {self.calls / self.seconds:.0f} calls/s, "
            f"{self.calls / self.cpu:.0f} calls per CPU-second; {self.datagrams} datagrams, "
            f"sent again {self.repeated} here and {self.repeated_there} there, "
            f"dropped {self.dropped}, lost {self.lost}; {self.memory >> 20} MiB"
        )


class Load(LegSink):
    """
    Keeps `at_once` calls up until `calls` have ended.

    Args:
        backend: started with this as its sink.
        calls: how many.
        at_once: at most.
        cancel: hang up when it rings, not when it is answered.
    """

    def __init__(self, backend: SipBackend, calls: int, at_once: int, *, cancel: bool) -> None:
        self.ends: Counter[str] = Counter()
        self.failed = 0
        self.done: Deferred[None] = Deferred()
        self._backend = backend
        self._to_place = self._to_end = calls
        self._at_once = at_once
        self._cue = Progressed if cancel else Answered
        self._status = 487 if cancel else 200

    def begin(self) -> None:
        """Place the first ones."""
        for _ in range(min(self._at_once, self._to_place)):
            self._place()

    def leg_event(self, event: LegEvent) -> None:
        if isinstance(event, self._cue):
            self._backend.hang_up(event.leg, CLIENT)
        elif isinstance(event, Ended):
            self._ended(event)

    def backend_down(self, reason: str) -> None:
        raise AssertionError(reason)

    def backend_up(self) -> None:
        raise AssertionError("it was never down")

    def _place(self) -> None:
        self._to_place -= 1
        self._backend.place(LegId(f"load-{self._to_place}@umd"), "service")

    def _ended(self, event: Ended) -> None:
        cause = event.cause
        good = event.confirmed and cause.by is EndedBy.CLIENT and cause.sip_status == self._status
        self.ends[f"{cause.sip_status}" if good else f"{cause}, confirmed={event.confirmed}"] += 1
        self.failed += not good
        self._to_end -= 1
        if self._to_place:
            self._place()
        elif not self._to_end:
            self.done.callback(None)


async def run(
    reactor: Any,
    directory: str,
    *,
    calls: int,
    at_once: int,
    cancel: bool = False,
    launcher: Sequence[str] = (),
    trace: bool = False,
) -> Figures:
    """Place and end so many calls."""
    scenario = "uas-ring" if cancel else "uas-load"
    sipp = Sipp(reactor, directory, scenario, calls=calls, trace=trace, launcher=launcher)
    try:
        await sipp.start()
        section = {"listen": "udp:127.0.0.1:0", "peer": f"udp:127.0.0.1:{sipp.port}"}
        backend = SipBackend("sipp", SipSection.model_validate(section), reactor)
        load = Load(backend, calls, at_once, cancel=cancel)
        await backend.start(load)
        try:
            wall, cpu = time.monotonic(), time.process_time()
            load.begin()
            await load.done
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            await sipp.wait()
            told = sipp.statistics()
            port, endpoint = backend.port, backend.endpoint
            assert port is not None and endpoint is not None
            return Figures(
                calls=calls,
                ends=load.ends,
                failed=load.failed,
                failed_there=calls - told["SuccessfulCall"],
                seconds=wall,
                cpu=cpu,
                datagrams=port.counts.received + port.counts.sent,
                repeated=endpoint.transactions.retransmissions,
                repeated_there=told["Retransmissions"],
                dropped=port.dropped,
                lost=port.counts.lost,
                memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            )
        finally:
            await backend.stop()
    finally:
        await sipp.stop()


async def main(reactor: Any) -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("--calls", type=int, default=0, help="answered, then ended by BYE")
    arguments.add_argument("--cancel", type=int, default=0, help="cancelled while ringing")
    arguments.add_argument("--at-once", type=int, default=200)
    arguments.add_argument("--sipp-cpu", help="the processor that SIPp is to run on")
    given = arguments.parse_args()
    make_monotonic(reactor)
    gc.freeze()
    launcher = ["taskset", "-c", given.sipp_cpu] if given.sipp_cpu else []
    failed = 0
    for calls, cancel in ((given.calls, False), (given.cancel, True)):
        if not calls:
            continue
        with tempfile.TemporaryDirectory() as directory:
            figures = await run(
                reactor,
                directory,
                calls=calls,
                at_once=given.at_once,
                cancel=cancel,
                launcher=launcher,
            )
        print("cancelled:" if cancel else "answered: ", figures, flush=True)
        failed += figures.failed + figures.failed_there
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
