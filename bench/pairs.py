"""
Lets many clients end both legs of bridged calls of a PBX at once, and checks the answers:

    python -m bench.pairs [--calls 10000] [--clients 40]

`Control` follows the simulated PBX on a virtual clock, and its journal takes some milliseconds for
a commit. Half of the clients name the one leg and half the other, by CallId or by SIP Call-ID, all
in one turn of the reactor. It exits with 1 unless each leg has one request and one confirmed end on
record, the PBX got no second command, and all clients got one and the same answer.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from typing import Any

import structlog
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from umd.backends.sim_pbx import SimPbxBackend
from umd.backends.sim_pbx.section import SimPbxSection
from umd.call.call import Call
from umd.call.call_id import CallId, make_call_id
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings

CLIENT = Principal("bench", "")
COMMIT_TAKES = 0.003
"""Seconds of a commit."""
TIME_TO_END = 1.0
"""Seconds in which each client must be answered."""


class SlowJournal:
    """Keeps nothing, and calls back some time later, as a journal with a disk does."""

    durable = False
    refusing: str | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.requests: Counter[CallId] = Counter()
        self.ends: Counter[CallId] = Counter()
        """The confirmed ends of each call."""

    def append(
        self, call: Call, event: LifecycleEvent, extra: bytes | None, then: Any, argument: Any
    ) -> None:
        self.requests[call.id] += isinstance(event, DisconnectRequested)
        self.ends[call.id] += isinstance(event, Disconnected) and event.confirmed
        if then is not None:
            self._clock.callLater(COMMIT_TAKES, then, argument)

    def flush(self, then: Any, argument: Any) -> None:
        self._clock.callLater(COMMIT_TAKES, then, argument)


class Crowd:
    """The clients, umd and the PBX."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._clock = Clock()
        self._journal = SlowJournal(self._clock)
        backend = SimPbxBackend("pbx", SimPbxSection(), self._clock)
        self._pbx = backend.pbx
        self._control = Control(
            backends={"pbx": backend},
            node="bench",
            clock=self._clock,
            wall=self._clock.seconds,
            journal=self._journal,
            log=structlog.get_logger(),
            settings=ControlSettings(reconcile=None, retention=60.0),
        )
        _ = ensureDeferred(self._control.start())

    def end_a_pair(self) -> Iterator[str]:
        """Let a bridged call appear and all clients end it; yield what is wrong."""
        pbx, clock = self._pbx, self._clock
        legs = [pbx.new_call("5550100"), pbx.new_call("5550100")]
        pbx.bridge(*legs)
        clock.pump([0.01, 0.001, 0.01])
        calls = [make_call_id(leg, "pbx") for leg in legs]
        names = [*calls, *(CallId(pbx.channels[leg].call_id) for leg in legs)]
        commands = pbx.commands
        answers: list[Any] = []
        for number in range(self._clients):
            name = names[number % len(names)]
            answer = ensureDeferred(self._control.disconnect(CLIENT, name, accept_alias=True))
            answer.addBoth(answers.append)
        clock.pump([COMMIT_TAKES + 0.0005] * 10)
        if len(answers) < self._clients:
            clock.pump([TIME_TO_END])
        if answers != [Outcome.ENDED] * self._clients:
            yield f"of {self._clients} clients {len(answers)} were answered: {set(answers)}"
        for call in calls:
            if (self._journal.requests[call], self._journal.ends[call]) != (1, 1):
                requests, ends = self._journal.requests[call], self._journal.ends[call]
                yield f"call {call} has {requests} requests and {ends} confirmed ends"
        if pbx.commands > commands + len(legs):
            yield f"the PBX got {pbx.commands - commands} commands for {len(legs)} legs"
        if pbx.channels or any(True for _ in self._control.live_calls()):
            yield "a leg is left"

    @property
    def refused_events(self) -> int:
        """Illegal events of the backend."""
        return self._control.counts().refused_events


def main() -> None:
    options = ArgumentParser(description="many clients end both legs of bridged calls at once")
    options.add_argument("--calls", type=int, default=10_000)
    options.add_argument("--clients", type=int, default=40)
    arguments = options.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    crowd = Crowd(arguments.clients)
    began = time.perf_counter()
    faults = [fault for _ in range(arguments.calls) for fault in crowd.end_a_pair()]
    took = time.perf_counter() - began
    if crowd.refused_events:
        faults.append(f"the backend reported {crowd.refused_events} illegal events")
    for fault in faults[:20]:
        print(fault)
    requests = arguments.calls * arguments.clients
    print(
        f"{arguments.calls} bridged calls, {arguments.clients} clients each, {requests} requests: "
        f"{len(faults)} faults, {took:.1f} s"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
