"""
Measures how long umd takes to start on a journal with many live calls, and the memory of each call.

    python -m bench.restart [--calls 60000] [--calls 1000000] [--json]

A first umd seeds connected simulated calls, which writes the journal, and is killed. The start time
is from the start of the next process to its READY=1. Then one call is ended, and the memory is
measured when umd is idle. A restored call takes less memory until it is first used, so the report
has the memory per call of the first umd too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from umd.backends.sim.section import Seed, SimSection
from umd.call.call import Call, CallState
from umd.call.call_id import make_call_id
from umd.call.leg import LegId
from umd.call.record import encode
from umd.journal.file import JournalFile
from umd.journal.store import Row
from umd.management.client import ask
from umd.testing import UmdProcess


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


MAX_SEEDED_CALLS = 100_000
"""With more calls this program writes the journal itself, which is faster than seeding them."""
CALLS_PER_COMMIT = 1024


def processor_time(pid: int) -> float:
    """Return the CPU time of a process, in seconds."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def running(directory: str, calls: int) -> UmdProcess:
    """Return a umd that seeds a number of calls if its journal is new."""
    options = ["-o", f"journal.path={directory}/journal.db", "-o", "trace.messages=0"]
    options += ["-o", "log.level=warning", "-o", "log.format=json"]
    if calls:
        options += ["-o", f"backend.sim.seed=[{{count={calls}}}]"]
    return NotifyingUmd("serve", *options)


class NotifyingUmd(UmdProcess):
    """A umd whose log has no `daemon.ready`; it reports READY=1 over the socket of systemd."""

    def __init__(self, *arguments: str) -> None:
        self._notified = tempfile.mkdtemp(prefix="umd-notify-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"{self._notified}/notify")
        super().__init__(*arguments, environ={"NOTIFY_SOCKET": f"{self._notified}/notify"})

    def wait_for(self, event: str, timeout: float = 600.0, **keys: Any) -> dict[str, Any]:
        self._socket.settimeout(timeout)
        try:
            while b"READY=1" not in self._socket.recv(4096).splitlines():
                pass
        except TimeoutError:
            raise TimeoutError(f"not ready: {self.log}") from None
        self.ready_at = time.monotonic()
        self.cpu_at_ready = processor_time(self.process.pid)
        listeners = [{"address": "none", "tls": False}]
        return {"listeners": listeners, "control": f"{self._directory}/control.sock"}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._socket.close()
        shutil.rmtree(self._notified, ignore_errors=True)
        return super().stop(number)


def measure(calls: int) -> dict[str, Any]:
    """Start umd, kill it, start it again, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="umd-restart-") as directory:
        with running(directory, 0) as empty:
            bare = resident(empty.process.pid)
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        before = None
        if calls > MAX_SEEDED_CALLS:
            write(f"{directory}/journal.db", calls)
            records = calls
        else:
            with running(directory, calls) as first:
                while (records := _last_position(first)) < calls:
                    time.sleep(0.2)
                filled = _wait_until_stable(lambda: resident(first.process.pid))
                before = round((filled - bare) / calls)
                first.stop(signal.SIGKILL)
        size = os.path.getsize(f"{directory}/journal.db")
        began = time.monotonic()
        with running(directory, calls) as second:
            ready_s, cpu_s = second.ready_at - began, second.cpu_at_ready
            requested_at = time.monotonic()
            (end,) = ask("end", second.control_socket, call=_first_call(second))
            ended_s = time.monotonic() - requested_at
            # umd restores calls after READY=1 and records each: it is done when no record follows.
            last = _wait_until_stable(lambda: _last_position(second))
            held = _wait_until_stable(lambda: resident(second.process.pid))
            settled_cpu_s = processor_time(second.process.pid)
            second.stop(signal.SIGKILL)
        return {
            "calls": calls,
            "ready_s": round(ready_s, 2),
            "cpu_s": round(cpu_s, 2),
            "outcome": end["end"]["outcome"],
            "first_end_s": round(ended_s, 3),
            "settled_cpu_s": round(settled_cpu_s, 2),
            "records_since": last - records,
            "octets_per_call": round((held - bare) / calls),
            "octets_per_call_before": before,
            "journal_mib": round(size / 2**20, 1),
        }


def write(path: str, calls: int) -> None:
    """Write the journal that umd would write for a number of connected simulated calls."""
    file = JournalFile(path)
    file.open()
    settings = SimSection(seed=[Seed()])
    for first in range(0, calls, CALLS_PER_COMMIT):
        rows = []
        for number in range(first, min(first + CALLS_PER_COMMIT, calls)):
            leg = LegId(str(uuid4()))
            call = Call(
                id=make_call_id(leg, "sim"), leg=leg, backend="sim", number=settings.seed[0].number,
                owner="", at=time.time(), state=CallState.CONNECTED,
            )  # fmt: skip
            leg_record = b'["5a3b%x","f5a3b%x",1,-1]' % (number, number)
            record, position = encode(call, call.resume()), number + 1
            row = Row(position, call.id, 1, call.began_at, record, leg_record, position)
            rows.append(row)
        file.write(rows)
    file.close()


def _wait_until_stable(read: Callable[[], int]) -> int:
    """Read a value every two seconds; return it when two readings are equal."""
    last = -1
    while last != (last := read()):
        time.sleep(2.0)
    return last


def _last_position(process: UmdProcess) -> int:
    """Return the position of the last record, by a binary search."""
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
