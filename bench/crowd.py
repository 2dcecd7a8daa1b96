"""
What a crowd costs: `python -m bench.crowd [--connections 10000] [--seconds 5] [--tls]`.

First, connections that do nothing, half of them with half a head sent: memory of each, and the
latency of a good client before and beside them. With --tls they are of TLS, and the good client is
not. Then three times the load that the daemon takes, by
many connections: what is answered, what is put off, how late after it was sent, and how soon it is
as before. The whole daemon is loaded, `umd serve`, its log written to a file.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.front import PORT, Load, cost, daemon, serving
from tests.http.helpers import Authority

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


def short(figures: dict[str, Any]) -> dict[str, Any]:
    kept = ("rate", "ok", "faults", "put_off", "failed", "reopened", "never_sent", "p50_ms",
            "p99_ms", "max_ms", "cpu_us")  # fmt: skip
    return {key: figures[key] for key in kept}


def main() -> None:
    """Measure and print one object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--connections", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--tls", action="store_true", help="those that do nothing speak TLS")
    chosen = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
        directory = Path(made)
        load = Load(directory)
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
            time.sleep(1.0)
            full = load.ask(session, 32, chosen.seconds)
            told["full"] = short(full)
            told["at_three_times"] = short(
                load.ask(session, 1500, chosen.seconds, -3 * float(full["rate"]))
            )
            time.sleep(1.0)
            told["a_second_later"] = short(load.ask(session, 8, chosen.seconds, 1000.0))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
