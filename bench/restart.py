"""
How long a umd takes to start on a journal with many live calls, and what each costs in memory.

    python -m bench.restart [--calls 60000] [--calls 1000000] [--json]

The journal is written by one umd that has so many simulated calls seeded, connected, and is killed;
the time is from the start of the next process to its `daemon.ready`. One of the calls is ended then.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from typing import Any

from umd.client import ask
from umd.testing import UmdProcess


def resident(pid: int) -> int:
    """Octets of a process in memory."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def running(directory: str, calls: int) -> UmdProcess:
    """A umd with so many calls, seeded where the journal is new."""
    options = ["-o", f"journal.path={directory}/journal.db", "-o", "trace.messages=0"]
    options += ["-o", "log.level=warning", "-o", "log.format=json"]
    if calls:
        options += ["-o", f"backend.sim.seed=[{{count={calls}}}]"]
    return Ready("serve", *options)


class Ready(UmdProcess):
    """One that logs too little to say that it is ready: its control socket does."""

    def wait_for(self, event: str, timeout: float = 600.0, **keys: Any) -> dict[str, Any]:
        path = f"{self._directory}/control.sock"
        until = time.monotonic() + timeout
        while time.monotonic() < until and self.process.poll() is None:
            if os.path.exists(path):
                self.ready_at = time.monotonic()
                return {"listen": ["none"], "control": path}
            time.sleep(0.002)
        raise TimeoutError(f"not ready: {self.log}")


def measure(calls: int) -> dict[str, Any]:
    """Fill, kill, start again."""
    with tempfile.TemporaryDirectory(prefix="umd-restart-") as directory:
        with running(directory, 0) as empty:
            bare = resident(empty.process.pid)
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        with running(directory, calls) as first:
            while _records(first) < calls:
                time.sleep(0.2)
            first.stop(signal.SIGKILL)
        size = os.path.getsize(f"{directory}/journal.db")
        began = time.monotonic()
        with running(directory, calls) as second:
            ready_s = second.ready_at - began
            (end,) = ask("end", second.control_socket, call=_first_call(second))
            held = resident(second.process.pid)
            cpu = subprocess.run(
                ["ps", "-o", "cputimes=", "-p", str(second.process.pid)],
                capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip
            second.stop(signal.SIGKILL)
        return {
            "calls": calls,
            "ready_s": round(ready_s, 2),
            "cpu_s": int(cpu),
            "outcome": end["end"]["outcome"],
            "octets_per_call": round((held - bare) / calls),
            "journal_mib": round(size / 2**20, 1),
        }


def _records(process: UmdProcess) -> int:
    """The position up to which something is on record."""
    step, last = 1 << 22, 0
    while step:
        found = list(ask("events", process.control_socket, after=last + step - 1, limit=1))
        if found:
            last += step
        step >>= 1
    return last


def _first_call(process: UmdProcess) -> str:
    (reply,) = ask("events", process.control_socket, after=0, limit=1)
    call: str = reply["event"]["call"]
    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for calls in options.calls or [60_000]:
        row = measure(calls)
        print(json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
