"""
Many calls by umd's SIP backend to SIPp: each answered and ended by BYE, or cancelled as it rings.

    python -m tests.interop.sipp_load --calls 20000 --at-once 200 --cancel 1000

A call that ends in any other way has failed. The exit status is 0 if no call has failed.
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
    """The results of a run."""

    calls: int
    ends: Counter[str]
    """The number of calls by their end; `200` for a successful BYE, `487` for a CANCEL."""
    failed: int
    """Failed calls, as umd reports them."""
    failed_there: int
    """Failed calls, as SIPp reports them."""
    seconds: float
    cpu: float
    """CPU time of umd, in seconds."""
    datagrams: int
    """Datagrams that umd has received and sent."""
    repeated: int
    """Retransmissions of umd."""
    repeated_there: int
    dropped: int | None
    """Datagrams that the kernel dropped because the receive buffer of umd was full."""
    lost: int
    memory: int
    """The largest resident size of umd, in bytes."""

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
    Keeps `at_once` calls live until `calls` have ended.

    Args:
        backend: the backend; the caller starts it with this object as its sink.
        calls: the number of calls.
        at_once: the largest number of live calls.
        cancel: True: hang up when a call rings; False: when it is answered.
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
        """Place the first calls."""
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
        raise AssertionError("the backend was never down")

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
    """Place and end calls; return the results."""
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
            statistics = sipp.statistics()
            port, endpoint = backend.port, backend.endpoint
            assert port is not None and endpoint is not None
            return Figures(
                calls=calls,
                ends=load.ends,
                failed=load.failed,
                failed_there=calls - statistics["SuccessfulCall"],
                seconds=wall,
                cpu=cpu,
                datagrams=port.counts.received + port.counts.sent,
                repeated=endpoint.transactions.retransmissions,
                repeated_there=statistics["Retransmissions"],
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
