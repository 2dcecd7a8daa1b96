"""
What a crowd costs: `python -m bench.crowd [--connections 10000] [--seconds 4] [--tls]`.

First, connections that do nothing, half of them with half a head sent: memory of each, and the
latency of a good client before and beside them. With --tls they are of TLS, and the good client is
not.

Then three times the load that the daemon takes. The whole job, with the journal on: each request
ends a live call of its own. What it takes at most is measured first, by a closed loop; then half of
that, three times as much at even intervals by 8,000 connections, whatever is answered, and half
again. What counts: how late after it was due each request was answered, by OK or by 503; how many
calls were ended in a second, compared with the most; and how soon it is as before.
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

HALF = b"POST /EWS/UM2007Legacy.asmx HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/x"


TLS_PORT = PORT + 1


def stand_still(number: int, tls: ssl.SSLContext | None) -> list[socket.socket]:
    """So many connections, from several addresses, every second one with half a head."""
    crowd = []
    for n in range(number):
        client = socket.socket()
        client.bind((f"127.0.0.{2 + n % 20}", 0))
        client.connect(("127.0.0.1", PORT if tls is None else TLS_PORT))
        if tls is not None:
            client = tls.wrap_socket(client, server_hostname="localhost")
        if n % 2:
            client.sendall(HALF)
        crowd.append(client)
    return crowd


KEPT = ("rate", "ok", "faults", "put_off", "failed", "reopened", "never_sent", "p50_ms", "p99_ms",
        "max_ms", "ok_p50_ms", "ok_p99_ms", "ok_max_ms", "put_off_p99_ms", "put_off_max_ms",
        "unanswered_ms", "cpu_us", "client_cpu_s")  # fmt: skip
SETTLED = 35.0
"""Seconds after which the transactions of the calls that were there from the start are gone."""


def short(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figures[key] for key in KEPT}


def beside_idle(load: Load, directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """A good client, alone and beside a crowd that does nothing."""
    told: dict[str, Any] = {}
    # Half a head has ten seconds; here it is to stay for as long as is measured.
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
        told["alone"] = short(load.ask(session, 8, chosen.seconds, 1000.0))
        before = cost(session)[1]
        crowd = stand_still(chosen.connections, tls)
        time.sleep(1.0)
        each = (cost(session)[1] - before) / chosen.connections
        told["octets_per_connection"] = round(each)
        told["beside_the_crowd"] = short(load.ask(session, 8, chosen.seconds, 1000.0))
        for client in crowd:
            client.close()
    return told


def overloaded(load: Load, directory: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Three times what the daemon takes, and after that."""
    told: dict[str, Any] = {}
    config = directory / "umd.toml"
    config.write_text(
        f'journal.path = "{directory}/journal"\nhttp.max_connections_per_address = 12000\n'
        f'[[backend.sim.seed]]\nnumber = "5550100"\ncount = {chosen.calls}\n'
    )
    with serving([*daemon(directory), "-c", str(config)], directory) as process:
        events = map(json.loads, until_ready(directory / "log").splitlines())
        calls = deque(event["call"] for event in events if event["event"] == "call.resumed")
        time.sleep(SETTLED)

        def end(number: float, connections: int, seconds: float, rate: float) -> dict[str, Any]:
            """End so many calls, each by a request of its own."""
            asked = [request(calls.popleft()) for _ in range(min(int(number), len(calls)))]
            (directory / "asked").write_bytes(b"".join(asked))
            path = str(directory / "asked")
            return load.send(process.pid, connections, seconds, rate, path, str(len(asked)))

        full = end(chosen.calls / 10, 256, 60.0, 0.0)
        most, seconds = float(full["rate"]), chosen.seconds
        half = end(most / 2 * seconds, 200, seconds, most / 2)
        three = end(most * 3 * seconds, 8000, seconds, most * 3)
        after = end(most / 2 * seconds, 200, seconds, most / 2)
        told["at_most"] = short(full)
        told["half"] = short(half)
        told["three_times"] = short(three)
        told["after"] = short(after)
        told["goodput_of_the_most"] = round(three["ok"] / three["seconds"] / most, 2)
        told["slowest_answer_ms"] = max(three["max_ms"], three["unanswered_ms"])
        told["after_by_quarter_p99_ms"] = after["by_quarter_p99_ms"]
        (status,) = ask("status", str(directory / "control.sock"))
        told["status"] = status["status"]
    return told


def main() -> None:
    """Measure and print one object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--connections", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--tls", action="store_true", help="those that do nothing speak TLS")
    options.add_argument("--calls", type=int, default=100_000)
    options.add_argument("--only", choices=("idle", "overload"))
    chosen = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    told: dict[str, Any] = {}
    for name, part in (("idle", beside_idle), ("overload", overloaded)):
        if chosen.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
                told[name] = part(Load(Path(made)), Path(made), chosen)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
