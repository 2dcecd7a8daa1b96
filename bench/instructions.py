"""
Counts the machine instructions that umd executes for one Disconnect.

    python -m bench.instructions [--only NAME ...] [--requests 1000] [--rounds 5]
                                 [--checkout DIRECTORY] [--python COMMAND]

A time depends on what else the machine does; an instruction count hardly does. So this bench shows
that one version costs 1 % more than another, which `bench.front` cannot. It measures three servers:

    umd null        HTTP server and SOAP service, with a use case that succeeds at once
    umd ends calls  the daemon; each request ends a simulated call
    umd journals    the same with a journal

Callgrind counts the instructions of all threads, in user space only. Start and stop of the server
do not count. One connection sends one request at a time. --checkout and --python select another
checkout of umd and the Python of its virtual environment.

Needs valgrind.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.front import request

SERVERS = ("umd null", "umd ends calls", "umd journals")
START_TIMEOUT = 300.0  # seconds; under valgrind umd is some 50 times slower


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """The umd to measure."""

    directory: Path
    python: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    call_ids: list[str]
    """What to disconnect."""


class Callgrind:
    """
    Counts the instructions of a process.

    Args:
        directory: for what valgrind writes.
    """

    def __init__(self, directory: Path) -> None:
        self._output = directory / "callgrind"
        self._counts = 0

    @property
    def command(self) -> list[str]:
        """What to put before the command of the process."""
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self._output}"]

    def count(self, process: subprocess.Popen[bytes]) -> int:
        """Return the instructions since the last count, or since the process began."""
        subprocess.run(["vgdb", f"--pid={process.pid}", "dump"], check=True, capture_output=True)
        self._counts += 1
        dump = self._output.with_suffix(f".{self._counts}").read_text()
        return int(re.findall(r"^summary: (\d+)", dump, re.MULTILINE)[0])


def instructions_per_request(
    name: str, checkout: Checkout, requests: int, rounds: int
) -> list[float]:
    """Return the instructions for one request, as each round counts them."""
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
        directory = Path(made)
        callgrind = Callgrind(directory)
        calls = requests * (1 + rounds)
        with serving(name, checkout, directory, calls, callgrind.command) as server:
            counts = []
            for start in range(0, calls, requests):
                disconnect(server.port, server.call_ids[start : start + requests])
                counts.append(callgrind.count(server.process) / requests)
    return counts[1:]  # the first round warms up, and its count includes the start


@contextmanager
def serving(
    name: str, checkout: Checkout, directory: Path, calls: int, counter: Sequence[str] = ()
) -> Iterator[Server]:
    """
    Run a server.

    Args:
        name: one of `SERVERS`.
        directory: for its files.
        calls: how many calls it gets.
        counter: what to put before its command.
    """
    log = directory / "log"
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*counter, checkout.python, *_arguments(name, port, directory, calls)],
            cwd=checkout.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            # The order of a set of strings, and so the work on it, is the same in each run.
            env=os.environ | {"PYTHONHASHSEED": "0"},
        )  # fmt: skip
    try:
        until = time.monotonic() + START_TIMEOUT
        while not (_accepts(port) if name == "umd null" else _is_ready(log)):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{name} does not serve: {log.read_text()[-500:]}")
            time.sleep(0.1)
        ids = _unknown_calls(calls) if name == "umd null" else _live_calls(log)
        yield Server(process=process, port=port, log=log, call_ids=ids)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _arguments(name: str, port: int, directory: Path, calls: int) -> list[str]:
    """Return the arguments of Python; write the configuration."""
    if name == "umd null":
        return ["-m", "bench.servers", "null", str(port)]
    config = directory / "umd.toml"
    journal = directory / "journal" if name == "umd journals" else "none"
    config.write_text(
        f'http.listen = "tcp:{port}:interface=127.0.0.1"\nlog.format = "json"\n'
        f'control.socket = "{directory}/control.sock"\njournal.path = "{journal}"\n'
        f'[backend.sim]\ndelay = "0s"\n'
        f'[[backend.sim.seed]]\nnumber = "5550100"\ncount = {calls}\n'
    )
    return ["-m", "umd", "serve", "-c", str(config)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _is_ready(log: Path) -> bool:
    return '"event":"daemon.ready"' in log.read_text()


def _unknown_calls(number: int) -> list[str]:
    return [
        base64.b64encode(f"{n:036d}@bench-1.example.com".encode()).decode() for n in range(number)
    ]


def _live_calls(log: Path) -> list[str]:
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [event["call"] for event in events if event["event"] == "call.resumed"]


def disconnect(port: int, call_ids: Sequence[str]) -> None:
    """Send a Disconnect for each call over one connection; each reply must have status 200."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb")
        for call_id in call_ids:
            connection.sendall(request(call_id))
            status = replies.readline()
            if b" 200 " not in status:
                sys.exit(f"a Disconnect got the reply {status.decode(errors='replace').strip()}")
            length = 0
            while (line := replies.readline().lower()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            replies.read(length)


def main() -> None:
    """Measure, and print a row for each server."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="*", choices=SERVERS, metavar="NAME", default=SERVERS)
    options.add_argument("--requests", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--checkout", type=Path, metavar="DIRECTORY", default=Path.cwd())
    options.add_argument("--python", metavar="COMMAND", default=sys.executable)
    chosen = options.parse_args()
    checkout = Checkout(directory=chosen.checkout, python=chosen.python)
    for name in chosen.only:
        counts = instructions_per_request(name, checkout, chosen.requests, chosen.rounds)
        print(
            f"{name:<16}{statistics.median(counts):>10,.0f} instructions per request "
            f"({min(counts):,.0f} to {max(counts):,.0f})"
        )


if __name__ == "__main__":
    main()
