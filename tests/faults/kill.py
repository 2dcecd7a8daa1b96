"""
kill -9 at random moments under load: nothing acknowledged is lost, and every call is known.

    python -m tests.faults.kill [--kills 1000] [--clients 8] [--calls 20] [--seed 1]

Simulated calls are placed and ended by clients while umd is killed again and again and started on
the same journal; half of the kills come in its first moments, in the middle of recovery. What
clients were told is compared with the journal at the end, and every call that is left is ended by
the umd that was started last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from umd.client import Refusal, Unreachable, ask
from umd.journal.file import JournalReader
from umd.record import decode
from umd.soap.namespaces import MESSAGES
from umd.testing.process import REQUEST

PATH = "/EWS/UM2007Legacy.asmx"
GOOD = ("ended", "already-ended")


class Told:
    """What clients were told, by call; the client log."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        self.ended: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.lock = threading.Lock()


class Umd:
    """One umd after another, on one journal."""

    def __init__(self, directory: str, port: int) -> None:
        self.directory = directory
        self.port = port
        self.socket = f"{directory}/control.sock"
        self.journal = f"{directory}/journal.db"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "umd", "serve",
                "-o", f"http.listen=tcp:{self.port}:interface=127.0.0.1",
                "-o", f"control.socket={self.socket}",
                "-o", f"journal.path={self.journal}",
                "-o", "trace.messages=0", "-o", "log.level=error",
            ],
            stdin=subprocess.DEVNULL,
            stderr=open(f"{self.directory}/log", "ab"),
        )  # fmt: skip

    def wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                said = Path(self.directory, "log").read_text()[-2000:]
                if "Address already in use" not in said.splitlines()[-1]:
                    raise AssertionError(f"umd ended: {said}")
                self.start()  # somebody else on this machine had the port for a moment
            try:
                list(ask("calls", self.socket))
                return
            except (Unreachable, Refusal):
                time.sleep(0.01)
        raise AssertionError("umd does not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def client(umd: Umd, told: Told, chance: random.Random, stop: threading.Event) -> None:
    """Place calls and end them, as long as somebody answers."""
    mine: list[str] = []
    while not stop.is_set():
        try:
            if len(mine) < 20 and chance.random() < 0.6:
                (reply,) = ask("place", umd.socket, number="5550101")
                mine.append(reply["call"]["id"])
                with told.lock:
                    told.placed.add(mine[-1])
            elif mine:
                call = mine[chance.randrange(len(mine))]
                outcome = disconnect(umd.port, call)
                with told.lock:
                    told.outcomes[outcome] += 1
                    if outcome in GOOD:
                        told.ended.add(call)
                if outcome in GOOD:
                    mine.remove(call)
        except (Unreachable, Refusal, OSError, HTTPException):
            time.sleep(0.005)


def disconnect(port: int, call: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    body = REQUEST.format(namespace=MESSAGES, call_id=call)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "text/xml"})
        with connection.getresponse() as reply:
            reply.read()
            return reply.headers["X-UMD-Outcome"] or str(reply.status)
    finally:
        connection.close()


def check(umd: Umd, told: Told) -> dict[str, Any]:
    """Compare what clients were told with the journal; the last umd has ended."""
    reader = JournalReader(umd.journal)
    reader.open()
    events: dict[str, list[str]] = defaultdict(list)
    after, total = 0, 0
    while page := reader.read(after, 10_000):
        for stored in page:
            record = decode(stored.record)
            events[stored.call].append(record["event"])
            total += 1
            assert record["seq"] == len(events[stored.call]), f"out of order: {record}"
        after = page[-1].position
    integrity = reader.integrity()
    reader.close()
    ends = {call: sum(e in ("call.disconnected", "call.lost") for e in told_of)
            for call, told_of in events.items()}  # fmt: skip
    asked = "call.disconnect-requested"
    requests = {call: told_of.count(asked) for call, told_of in events.items()}
    return {
        "records": total,
        "calls": len(events),
        "placed_acknowledged": len(told.placed),
        "ended_acknowledged": len(told.ended),
        "acknowledged_ends_lost": sum(ends.get(call, 0) == 0 for call in told.ended),
        "calls_unknown_to_the_journal": sum(call not in events for call in told.placed),
        "calls_without_an_end": sum(number == 0 for number in ends.values()),
        "calls_with_two_ends": sum(number > 1 for number in ends.values()),
        "calls_asked_for_twice": sum(number > 1 for number in requests.values()),
        "calls_lost": sum("call.lost" in told_of for told_of in events.values()),
        "integrity": integrity,
    }


WRONG = (
    "acknowledged_ends_lost",
    "calls_unknown_to_the_journal",
    "calls_without_an_end",
    "calls_with_two_ends",
    "calls_asked_for_twice",
    "calls_lost",
)


def run(kills: int, clients: int = 8, seed: int = 1) -> dict[str, Any]:
    """
    Do it all.

    Returns:
        What `check` found, and how the umd started last ended what was left.
    """
    chance = random.Random(seed)
    told = Told()
    with tempfile.TemporaryDirectory(prefix="umd-kill-") as directory:
        umd = Umd(directory, chance.randrange(20_000, 30_000))
        umd.start()
        umd.wait()
        stop = threading.Event()
        threads = [
            threading.Thread(target=client, args=(umd, told, random.Random(seed + n), stop))
            for n in range(1, clients + 1)
        ]
        for thread in threads:
            thread.start()
        try:
            for number in range(kills):
                if number % 2:
                    time.sleep(chance.random() * 0.6)  # while it starts and recovers
                else:
                    umd.wait()
                    time.sleep(chance.random() * 0.5)
                umd.kill()
                umd.start()
            umd.wait()
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        left = [reply["call"]["id"] for reply in ask("calls", umd.socket)]
        last = Counter(disconnect(umd.port, call) for call in left)
        again = Counter(disconnect(umd.port, call) for call in left for _ in range(2))
        assert umd.process is not None
        umd.process.terminate()
        umd.process.wait()
        found = check(umd, told)
    found.update(
        kills=kills,
        left_to_the_last=len(left),
        ended_by_the_last=last["ended"],
        asked_again=dict(again),
        told=dict(told.outcomes),
    )
    return found


def is_good(found: dict[str, Any]) -> bool:
    """Whether what was promised was held."""
    return (
        not any(found[name] for name in WRONG)
        and found["left_to_the_last"] == found["ended_by_the_last"]
        and found["integrity"] == "ok"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = run(options.kills, options.clients, options.seed)
    print(json.dumps(found, indent=1))
    sys.exit(0 if is_good(found) else 1)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
