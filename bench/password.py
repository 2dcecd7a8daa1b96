"""
Measures the cost of password guessing: `python -m bench.password [--seconds 15] [--json FILE]`.

Runs `umd serve` on one core and the clients on the other, as in `bench.front`, with a password file
of argon2id at the default cost of argon2-cffi. A legitimate client sends 500 requests per second
with a known password. From the same address an attacker guesses, over 1 and over 32 connections:
many passwords of one name, many names, or the same wrong password again and again. Another attacker
closes each connection as soon as the guess is sent, and so waits for no answer.

Reported per guess: the CPU time of umd, all threads, beyond that for the legitimate client alone,
and the cost for the attacker: CPU time, and seconds that a connection waits. The keys `new_` are
for users whose password umd has not verified yet, one after the other, during an attack: how long
their first request takes, from the address of the attacker (`same`) and from another (`other`).
"""

from __future__ import annotations

import argparse
import base64
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from bench.front import PASSWORD, PORT, Load, cores, cost, daemon, request, serving

LEGITIMATE_RATE = 500.0
"""Requests per second."""
LEGITIMATE_CONNECTIONS = 8
NEW_USERS = 200
OTHER_ADDRESS = "127.0.0.9"


def basic(name: str, password: str) -> str:
    """Return an Authorization header; its length depends only on those of name and password."""
    return f"Authorization: Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}\r\n"


def guess(name: str, password: str) -> bytes:
    return request("MDlkZg==", basic(name, password))


def new_passwords(number: int) -> Iterator[bytes]:
    return (guess("alice", f"guess {n:012d}") for n in range(number))


def new_names(number: int) -> Iterator[bytes]:
    return (guess(f"name-{n:012d}", "guess") for n in range(number))


def one_password(number: int) -> Iterator[bytes]:
    return (guess("alice", "an old password") for _ in range(number))


GUESSES: dict[str, Callable[[int], Iterator[bytes]]] = {
    "one name": new_passwords,
    "many names": new_names,
    "one password": one_password,
}


class Guesser(threading.Thread):
    """Sends guesses by `bench/load.c`, which counts its own CPU time."""

    def __init__(self, load: Load, file: Path, connections: int, seconds: float) -> None:
        super().__init__()
        self.figures: dict[str, Any] = {}
        self._command = ["taskset", "-c", cores()[0], load.binary, "127.0.0.1", str(PORT),
                         str(connections), str(seconds), "0", str(file), "-20000"]  # fmt: skip

    def run(self) -> None:
        done = subprocess.run(self._command, capture_output=True, text=True, check=True)
        self.figures = json.loads(done.stdout)


class NoWaitGuesser(threading.Thread):
    """Opens connections, sends a guess on each, and closes them without reading the answer."""

    def __init__(self, connections: int, seconds: float) -> None:
        super().__init__()
        self.figures: dict[str, Any] = {}
        self._connections = connections
        self._seconds = seconds

    def run(self) -> None:
        began, used = time.monotonic(), resource.getrusage(resource.RUSAGE_THREAD)
        sent = 0
        guesses = new_passwords(1_000_000)
        while time.monotonic() - began < self._seconds:
            clients = []
            for _ in range(self._connections):
                client = socket.create_connection(("127.0.0.1", PORT), 10)
                client.sendall(next(guesses))
                clients.append(client)
                sent += 1
            for client in clients:
                client.close()
        spent = resource.getrusage(resource.RUSAGE_THREAD)
        cpu = spent.ru_utime + spent.ru_stime - used.ru_utime - used.ru_stime
        self.figures = {"requests": sent, "seconds": time.monotonic() - began,
                        "client_cpu_s": cpu, "failed": sent, "put_off": 0}  # fmt: skip


class Newcomer(threading.Thread):
    """Sends the first request of new users, one after the other, until `stop`."""

    def __init__(self, users: Iterator[int], address: str) -> None:
        super().__init__()
        self.took: list[float] = []
        self.put_off = 0
        self._users = users
        self._address = address
        self._stopped = threading.Event()

    def stop(self) -> list[float]:
        self._stopped.set()
        self.join()
        return sorted(self.took)

    def run(self) -> None:
        while not self._stopped.wait(0.5):
            name = f"new-{next(self._users)}"
            began = time.monotonic()
            # After a 503 the client tries again, as Retry-After asks it to.
            while self._ask(name) == b"503":
                self.put_off += 1
                time.sleep(1.0)
            self.took.append(time.monotonic() - began)

    def _ask(self, name: str) -> bytes:
        source = (self._address, 0)
        with socket.create_connection(("127.0.0.1", PORT), 60, source_address=source) as client:
            client.sendall(guess(name, PASSWORD))
            return client.recv(4096)[9:12]


@contextmanager
def newcomers(users: Iterator[int], report: dict[str, Any]) -> Iterator[None]:
    both = {"same": Newcomer(users, "127.0.0.1"), "other": Newcomer(users, OTHER_ADDRESS)}
    for newcomer in both.values():
        newcomer.start()
    try:
        yield
    finally:
        for where, newcomer in both.items():
            took = newcomer.stop()
            if took:
                report[f"new_{where}_p50_s"] = round(took[len(took) // 2], 2)
                report[f"new_{where}_max_s"] = round(took[-1], 2)
            report[f"new_{where}_put_off"] = newcomer.put_off


def measure(
    load: Load, session: int, seconds: float, attack: Any, connections: int, alone: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """Measure an attack, and the legitimate client during it."""
    report: dict[str, Any] = {}
    before = cost(session)[0]
    attack.start()
    good = send_legitimate(load, session, seconds)
    attack.join()
    spent = cost(session)[0] - before
    figures = attack.figures
    guesses = max(1, figures["requests"])
    beyond = spent - alone["cpu_s"] * good["requests"] / alone["requests"]
    report["guesses"] = figures["requests"]
    report["guesses_per_s"] = round(figures["requests"] / figures["seconds"], 1)
    report["put_off"] = figures["put_off"]
    report["umd_cpu_ms_per_guess"] = round(beyond / guesses * 1000, 2)
    report["umd_cpu_share_of_a_core"] = round(beyond / figures["seconds"], 3)
    report["guesser_cpu_ms_per_guess"] = round(figures["client_cpu_s"] / guesses * 1000, 3)
    report["guesser_waits_s_per_guess"] = round(connections * figures["seconds"] / guesses, 3)
    for key in ("rate", "p50_ms", "p99_ms", "max_ms", "failed", "put_off"):
        report[f"good_{key}"] = good[key]
    return report


def send_legitimate(load: Load, session: int, seconds: float) -> dict[str, Any]:
    credentials = basic("alice", PASSWORD)
    return load.ask(session, LEGITIMATE_CONNECTIONS, seconds, LEGITIMATE_RATE, credentials)


def main() -> None:
    """Measure, and print one JSON object."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument("--json", metavar="FILE")
    chosen = options.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
        directory = Path(made)
        load = Load(directory)
        hashed = PasswordHasher().hash(PASSWORD)
        names = ["alice", *(f"new-{n}" for n in range(NEW_USERS))]
        (directory / "passwords").write_text("".join(f"{name}:{hashed}\n" for name in names))
        users = iter(range(NEW_USERS))
        files = {}
        for kind, guesses in GUESSES.items():
            files[kind] = directory / kind.replace(" ", "-")
            files[kind].write_bytes(b"".join(guesses(20_000)))
        command = [*daemon(directory), "-o", f"auth.password_file={directory}/passwords"]
        with serving(command, directory) as process:
            session = process.pid
            send_legitimate(load, session, 2.0)
            before = cost(session)[0]
            good = send_legitimate(load, session, chosen.seconds)
            alone = {"requests": good["requests"], "cpu_s": cost(session)[0] - before}
            report["alone"] = {key: good[key] for key in ("rate", "p50_ms", "p99_ms", "max_ms")}
            for connections in (1, 32):
                for kind, file in files.items():
                    attack: Any = Guesser(load, file, connections, chosen.seconds)
                    name = f"{kind}, {connections} connections"
                    report[name] = measure(
                        load, session, chosen.seconds, attack, connections, alone
                    )
                    print(name, json.dumps(report[name]), file=sys.stderr)
                    if connections > 1 and kind != "one password":
                        again = Guesser(load, file, connections, chosen.seconds)
                        with newcomers(users, report[name]):
                            again.start()
                            again.join()
            no_wait = NoWaitGuesser(32, chosen.seconds)
            report["closed at once"] = measure(
                load, session, chosen.seconds, no_wait, 0, alone
            )
            lines = (directory / "log").read_text().splitlines()
            failed = [line for line in lines if '"event":"auth.failed' in line]
            report["log_lines_of_guesses"] = len(failed)
    text = json.dumps(report, indent=1)
    print(text)
    if chosen.json:
        Path(chosen.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
