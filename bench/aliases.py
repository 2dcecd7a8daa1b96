"""
Measures the memory that the aliases of calls take:

    python -m bench.aliases [--calls 1000000] [--aliases 3]

Each figure is that of a process of its own, which replays the journal's record of each call as a
restart does, and adds the call to the registry.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import structlog
from twisted.internet.task import Clock

from umd.backend import FoundLeg, LegId
from umd.call.call import Call, CallState
from umd.call.call_id import make_call_id
from umd.call.record import decode, encode, replay
from umd.control.links import BackendLink
from umd.control.registry import Registry
from umd.testing import FakeBackend

KINDS = ("sip-call-id", "channel", "channel-name", "dialog")


def record_of(number: int, aliases: int) -> bytes:
    """Return the record of a found call, with ids as long as those of Asterisk."""
    leg = LegId(f"pbx-1795426641.{number}")
    values = (f"{UUID(int=number << 64)}@192.0.2.10", f"c-{leg}", f"PJSIP/lab-{number:08x}", "d")
    call = Call(
        id=make_call_id(leg, "pbx"),
        leg=leg,
        backend="pbx",
        number="+15550100",
        owner="",
        at=1.0,
        state=CallState.CONNECTED,
        aliases=dict(zip(KINDS[:aliases], values, strict=False)),
    )
    return encode(call, call.resume())


def octets_per_call(calls: int, aliases: int) -> float:
    """Fill a registry; return the resident memory that each call takes, in octets."""
    link = BackendLink("pbx", FakeBackend("pbx"), _NoControl(), durable=True)
    registry = Registry("lab-1", {"pbx": link}, Clock(), time.time, structlog.get_logger())
    before = _resident()
    for number in range(calls):
        registry.recover(replay(None, decode(record_of(number, aliases)), 1.0))
    taken = (_resident() - before) / calls
    _check(registry, calls, aliases)
    return taken


def _check(registry: Registry, calls: int, aliases: int) -> None:
    for number in range(0, calls, max(1, calls // 1000)):
        call = registry.resolve(f"pbx-1795426641.{number}")
        for alias in call.aliases.values():
            assert registry.resolve(alias) is call, alias
        assert len(call.aliases) == aliases


class _NoControl:
    """Takes no reports: nothing happens to the calls."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was reported")

    def leg_found(self, link: BackendLink, found: FoundLeg) -> None:
        raise AssertionError("no leg appears")


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main() -> None:
    options = ArgumentParser(description="the memory that the aliases of calls take")
    options.add_argument("--calls", type=int, default=1_000_000)
    options.add_argument("--aliases", type=int, default=3, choices=range(len(KINDS) + 1))
    options.add_argument("--one-process", action="store_true", help="print one figure alone")
    arguments = options.parse_args()
    if arguments.one_process:
        print(octets_per_call(arguments.calls, arguments.aliases))
        return
    figures = []
    for aliases in (0, arguments.aliases):
        command = [sys.executable, "-m", "bench.aliases", "--one-process"]
        command += ["--calls", str(arguments.calls), "--aliases", str(aliases)]
        figures.append(float(subprocess.check_output(command)))
        print(f"{aliases} aliases: {figures[-1]:,.0f} octets a call")
    print(f"difference: {figures[1] - figures[0]:,.0f} octets a call")


if __name__ == "__main__":
    main()
