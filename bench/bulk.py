"""
Measures the end of many calls among more, against the end of each by itself.

    python -m bench.bulk [--live 60000] [--ended 10000] [--daemon] [--json]

`Control` places the calls on the simulator, on a virtual clock, and gives some of them a label. The
calls of the label are ended by one request `end-many` of the control socket, with a dry run before
it, and each reply is encoded as JSON. Before and after that, as many other calls are ended one by
one, 50 at a time. Rates are per second of CPU time. `longest_turn_ms` is the CPU time of the
longest turn of the reactor during the run, the work of the simulated far ends included.

With --daemon it also runs umd as a process with as many calls. `umd calls end` ends some of them by
a pattern of their number, is interrupted by SIGINT in the middle, and is run again. Meanwhile
another client asks for the status again and again: `slowest_status_ms` is the longest that it
waited. The journal tells whether each call has one end event. `again_per_s` is per second of time,
with the start of the command.

Exit status 1 if a call that was not selected has ended, a selected one has not, or one has ended
twice.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

import orjson
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from bench.legs import Daemon
from umd.call.leg import Changed
from umd.management.client import ask
from umd.management.connection import REPLIES_PER_TURN
from umd.management.console import Console
from umd.testing import UmdProcess
from umd.trace.capture import Capture

LABEL = "ci-run-7"
SELECTED, OTHER = "5550100", "5550101"
"""Two numbers that answer and stay."""
PLACERS = 16
"""Connections that place calls at once."""


class Bulk:
    """Live calls of which some have the label, and a console."""

    def __init__(self, live: int, ended: int) -> None:
        self.daemon = Daemon()
        self.clock = self.daemon.clock
        calls = self.daemon.fill(live)
        # The calls of the label lie among the others.
        step = live // ended
        self.labelled = calls[::step][:ended]
        labelled = set(self.labelled)
        self.others = [call for call in calls if call not in labelled]
        link = self.daemon.control.links["sim"]
        for call_id in self.labelled:
            leg = self.daemon.control.find(call_id).leg
            link.leg_event(Changed(leg=leg, labels=(LABEL,)))
        self.console = Console(
            self.daemon.control, Capture(0, self.clock.seconds), self.clock.seconds, self._pause
        )
        self.longest_turn = 0.0

    def _pause(self) -> Deferred[Any]:
        return deferLater(self.clock, 0)

    def ask(self, **fields: Any) -> list[bytes]:
        """Return the replies to a request, as they are written to the socket."""
        replies: list[bytes] = []

        async def collect() -> None:
            async with aclosing(self.console.answer(orjson.dumps(fields))) as answer:
                async for reply in answer:
                    replies.append(orjson.dumps(reply))
                    if len(replies) % REPLIES_PER_TURN == 0:
                        await self._pause()

        done = ensureDeferred(collect())
        while not done.called:
            self._turn()
        _ = done.addErrback(lambda failure: failure.raiseException())
        return replies

    def _turn(self) -> None:
        """
        Let one turn of the reactor pass, and as much virtual time as it takes of CPU time.

        `Clock.advance` would also run what this turn schedules for the next one.
        """
        began = time.process_time()
        now = self.clock.rightNow
        due: list[Any] = [call for call in self.clock.calls if call.time <= now]
        for call in due:
            if call.active():
                self.clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        took = time.process_time() - began
        self.longest_turn = max(self.longest_turn, took)
        self.clock.rightNow += max(took, 0.0001)

    def end_by_one(self, number: int) -> float:
        """End other calls one by one; return the calls per second."""
        calls, self.others = self.others[:number], self.others[number:]
        return self.daemon.end(calls)

    def end_many(self) -> dict[str, float]:
        """End the calls of the label by one request, and check what has ended."""
        replies = self.ask(request="end-many", label=LABEL, dry_run=True)
        selected = orjson.loads(replies[0])["selected"]
        assert selected["count"] == len(self.labelled), selected
        turn_of_dry_run, self.longest_turn = self.longest_turn, 0.0
        began = time.process_time()
        count = selected["count"]
        *_, last, _ = self.ask(request="end-many", label=LABEL, max=count, expect=count)
        rate = count / (time.process_time() - began)
        summary = orjson.loads(last)
        assert summary["summary"]["ended"] == count, summary
        live = {call.id for call in self.daemon.control.live_calls()}
        assert live == set(self.others), "others have ended, or selected calls have not"
        return {
            "many_per_s": round(rate),
            "longest_turn_ms": round(self.longest_turn * 1000, 1),
            "longest_turn_of_dry_run_ms": round(turn_of_dry_run * 1000, 1),
        }


def measure(live: int, ended: int) -> dict[str, float]:
    """Compare one request for many calls with a request for each."""
    bulk = Bulk(live, ended)
    gc.collect()
    gc.freeze()
    gc.disable()  # the daemon collects in small steps of its own
    before = bulk.end_by_one(ended)
    many = bulk.end_many()
    after = bulk.end_by_one(ended)
    gc.enable()
    single = (before + after) / 2
    return {
        "live": live,
        "ended": ended,
        "single_per_s": round(single),
        **many,
        "ratio": round(many["many_per_s"] / single, 2),
    }


def run_daemon(live: int, ended: int) -> dict[str, float]:
    """Interrupt `umd calls end` on a umd process, run it again, and check the journal."""
    with tempfile.TemporaryDirectory() as folder:
        with UmdProcess("serve", "-o", f"journal.path={folder}/journal.db") as umd:
            step = live // ended
            numbers = [SELECTED if i % step == 0 and i < ended * step else OTHER
                       for i in range(live)]  # fmt: skip
            with ThreadPoolExecutor(PLACERS) as pool:
                list(pool.map(partial(_place, umd.control_socket),
                              (numbers[i::PLACERS] for i in range(PLACERS))))  # fmt: skip
            return _interrupt_and_repeat(umd, live, ended)


def _place(path: str, numbers: list[str]) -> None:
    """Place a call to each number over one connection, some requests ahead of their replies."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as replies:
        connection.connect(path)
        for start in range(0, len(numbers), 50):
            batch = numbers[start : start + 50]
            lines = (json.dumps({"request": "place", "number": number}) for number in batch)
            connection.sendall("".join(f"{line}\n" for line in lines).encode())
            for _ in batch:
                call, done = replies.readline(), replies.readline()
                assert b"done" in done, call + done


def _interrupt_and_repeat(umd: UmdProcess, live: int, ended: int) -> dict[str, float]:
    path = umd.control_socket
    command = [sys.executable, "-m", "umd", "calls", "end", "--number", SELECTED, "--max",
               str(live), "--yes", "--json", "--socket", path]  # fmt: skip
    with subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE
    ) as interrupted:
        assert interrupted.stdout is not None
        for _ in range(ended // 2):
            interrupted.stdout.readline()
        interrupted.send_signal(signal.SIGINT)
        interrupted.communicate()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as repeated:
        began = time.monotonic()
        slowest = 0.0
        with ThreadPoolExecutor(1) as reader:
            output = reader.submit(lambda: repeated.communicate()[0])
            while not output.done():
                asked = time.monotonic()
                list(ask("status", path))
                slowest = max(slowest, time.monotonic() - asked)
                time.sleep(0.005)
        took = time.monotonic() - began
    assert repeated.returncode == 0
    lines = [json.loads(line) for line in output.result().splitlines()]
    ends: Counter[str] = Counter()
    after = 0
    while records := [r["event"] for r in ask("events", path, after=after, limit=10_000)]:
        ends.update(r["number"] for r in records if r["event"] == "call.disconnected")
        after = records[-1]["position"]
    (status,) = ask("status", path)
    assert ends == {SELECTED: ended}, ends
    assert status["status"]["calls_live"] == live - ended, status
    left = lines[-1]["summary"]["selected"]
    return {
        "exit_status_of_sigint": interrupted.returncode,
        "left_after_sigint": left,
        "again_per_s": round(left / took),
        "end_events": ends[SELECTED],
        "slowest_status_ms": round(slowest * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=60_000)
    parser.add_argument("--ended", type=int, default=10_000)
    parser.add_argument("--daemon", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure(options.live, options.ended)
    if options.daemon:
        figures |= run_daemon(options.live, options.ended)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28}{value:>12,}")


if __name__ == "__main__":
    main()
