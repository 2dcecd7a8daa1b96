"""
Measures umd with many idle connections, and under overload.

    python -m bench.crowd [--connections 10000] [--seconds 4] [--tls]

Idle connections: half of them have sent half of a request head. The bench measures the memory of
each, and the latency of an active client without and with them. With --tls the idle connections use
TLS; the active client does not.

Overload: umd with a journal, where each request ends a live call of its own. A closed loop
measures the highest rate. Open loops follow, which send at even intervals whatever the answers:
half of that rate, three times that rate over 8,000 connections, and half of it again. The figures
to look at: the latency of each answer (200 or 503) from the moment its request was due, the calls
ended per second compared with the highest rate, and the time until the latency is normal again.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.front import PORT, Load, cost, daemon, request, serving, until_ready
from tests.http.helpers import Authority
from umd.management.client import ask

HALF_A_HEAD = b"POST /EWS/UM2007Legacy.asmx HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/x"


TLS_PORT = PORT + 1


def open_idle(number: int, tls: ssl.SSLContext | None) -> list[socket.socket]:
    """Open connections from several addresses; every second one sends half of a request head."""
    clients = []
    for n in range(number):
        client = socket.socket()
        client.bind((f"127.0.0.{2 + n % 20}", 0))
        client.connect(("127.0.0.1", PORT if tls is None else TLS_PORT))
        if tls is not None:
            client = tls.wrap_socket(client, server_hostname="localhost")
        if n % 2:
            client.sendall(HALF_A_HEAD)
        clients.append(client)
    return clients


REPORTED_KEYS = (
    *("rate", "ok", "faults", "put_off", "failed", "reopened", "never_sent"),
    *("p50_ms", "p99_ms", "max_ms", "ok_p50_ms", "ok_p99_ms", "ok_max_ms"),
    *("put_off_p99_ms", "put_off_max_ms", "unanswered_ms", "cpu_us", "client_cpu_s"),
)
SETTLING_TIME = 35.0
"""Seconds after which the transactions that set up the seeded calls have ended (64 T1 is 32 s)."""


def select(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that the report shows."""
    return {key: figures[key] for key in REPORTED_KEYS}


def beside_idle(load: Load, directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure an active client, alone and with many idle connections."""
    report: dict[str, Any] = {}
    # By default umd closes a connection after ten seconds without a complete head.
    command = [*daemon(directory), "-o", "http.head_timeout=120s"]
    tls = None
    if chosen.tls:
        authority = Authority("bench")
        certificate, key = authority.write("localhost", directory)
        command += ["-o", f"http.listen_tls=tcp:{TLS_PORT}:interface=127.0.0.1",
                    "-o", f"tls.certificate={certificate}", "-o", f"tls.key={key}",
                    "-o", "http.idle_timeout=10m"]  # fmt: skip
        tls = ssl.create_default_context(cadata=authority.pem())
    with serving(command, directory) as process:
        session = process.pid
        load.ask(session, 32, 1.0)
        report["alone"] = select(load.ask(session, 8, chosen.seconds, 1000.0))
        before = cost(session)[1]
        idle = open_idle(chosen.connections, tls)
        time.sleep(1.0)
        each = (cost(session)[1] - before) / chosen.connections
        report["octets_per_connection"] = round(each)
        report["beside_the_crowd"] = select(load.ask(session, 8, chosen.seconds, 1000.0))
        for client in idle:
            client.close()
    return report


def overloaded(load: Load, directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure umd at three times its highest rate, and afterwards."""
    report: dict[str, Any] = {}
    config = directory / "umd.toml"
    config.write_text(
        f'journal.path = "{directory}/journal"\nhttp.max_connections_per_address = 12000\n'
        f'[[backend.sim.seed]]\nnumber = "5550100"\ncount = {chosen.calls}\n'
    )
    with serving([*daemon(directory), "-c", str(config)], directory) as process:
        events = map(json.loads, until_ready(directory / "log").splitlines())
        calls = deque(event["call"] for event in events if event["event"] == "call.resumed")
        time.sleep(SETTLING_TIME)

        def end(number: float, connections: int, seconds: float, rate: float) -> dict[str, Any]:
            """End a number of calls, each by a request of its own."""
            requests = [request(calls.popleft()) for _ in range(min(int(number), len(calls)))]
            path = directory / "requests"
            path.write_bytes(b"".join(requests))
            return load.send(
                process.pid, connections, seconds, rate, str(path), str(len(requests))
            )

        full = end(chosen.calls / 10, 256, 60.0, 0.0)
        most, seconds = float(full["rate"]), chosen.seconds
        half = end(most / 2 * seconds, 200, seconds, most / 2)
        three = end(most * 3 * seconds, 8000, seconds, most * 3)
        after = end(most / 2 * seconds, 200, seconds, most / 2)
        report["at_most"] = select(full)
        report["half"] = select(half)
        report["three_times"] = select(three)
        report["after"] = select(after)
        report["goodput_of_the_most"] = round(three["ok"] / three["seconds"] / most, 2)
        report["slowest_answer_ms"] = max(three["max_ms"], three["unanswered_ms"])
        report["after_by_quarter_p99_ms"] = after["by_quarter_p99_ms"]
        (status,) = ask("status", str(directory / "control.sock"))
        report["status"] = status["status"]
    return report


def main() -> None:
    """Measure, and print one JSON object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--connections", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--tls", action="store_true", help="the idle connections use TLS")
    options.add_argument("--calls", type=int, default=100_000)
    options.add_argument("--only", choices=("idle", "overload"))
    chosen = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report: dict[str, Any] = {}
    for name, part in (("idle", beside_idle), ("overload", overloaded)):
        if chosen.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
                report[name] = part(Load(Path(made)), Path(made), chosen)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
