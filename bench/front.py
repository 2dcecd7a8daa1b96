"""
Requests a second, latency, processor time and memory of umd's HTTP front and of other SOAP servers.

    python -m bench.front [--quick] [--only NAME ...] [--json FILE] [--plots DIRECTORY]

All are measured in one run: the client on one core, the server on the other. Each request is a
Disconnect with a CallId of its own. Without --only: `umd null`, the front and the SOAP door with a
use case that succeeds at once; `umd http`, the front alone; `umd basic`, as `umd null` with a
password; `umd serve`, the whole daemon asked for calls it does not know, its log written to a file;
`umd ends calls`, the whole daemon ending simulated calls, and `umd journals`, the same with each
event durable before anything is done about it, by 64 connections; the simulated network takes no
time there, since it is umd that is measured. The peers: the same service on a
resource of twisted.web, spyne under gunicorn, the npm package soap, and a C server that gSOAP's own
tools make of a header. What is missing is said, and is a failure where CI=true. --quick takes a
second each; it shows that everything runs, not how fast. On a machine that does other things too,
compare the processor time per request: the rate is what is left for the server.

Needs gcc; for the peers gsoap and libgsoap-dev, node and npm, and a package index for spyne.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PORT = 18080
CONNECTIONS = 32
BODY = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    '<Disconnect xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">'
    "<CallId>{}</CallId></Disconnect></soap:Body></soap:Envelope>"
)
PASSWORD = "a long enough password"  # as in bench.servers, which imports much more
SOAP_ACTION = "http://schemas.microsoft.com/exchange/services/2006/messages/Disconnect"


class Missing(Exception):
    """A peer cannot be run here; the text says what to install."""


@dataclass
class Target:
    """Something to measure."""

    name: str
    prepare: Callable[[Path], list[str]]
    """Makes what it needs in a directory; gives back the command that serves on PORT."""
    headers: str = ""


# -- what is measured


def _own(what: str) -> Callable[[Path], list[str]]:
    return lambda directory: [sys.executable, "-m", "bench.servers", what, str(PORT)]


def daemon(directory: Path) -> list[str]:
    options = ("-o", f"http.listen=tcp:{PORT}:interface=127.0.0.1", "-o", "log.format=json",
               "-o", f"control.socket={directory}/control.sock")  # fmt: skip
    return [sys.executable, "-m", "umd", "serve", *options]


def _gsoap(directory: Path) -> list[str]:
    _need("soapcpp2", "gsoap and libgsoap-dev")
    for name in ("um.h", "gsoap.c"):
        shutil.copy(HERE / "peers" / name, directory)
    _run(directory, "soapcpp2", "-c", "-S", "-L", "-x", "um.h")
    _run(directory, "gcc", "-O2", "-o", "gsoap", "gsoap.c", "soapC.c", "soapServer.c",
         "-lgsoap", "-lpthread")  # fmt: skip
    return [str(directory / "gsoap"), str(PORT)]


def _node(directory: Path) -> list[str]:
    _need("node", "nodejs")
    _need("npm", "npm")
    _need("soapcpp2", "gsoap: it writes the WSDL")
    shutil.copy(HERE / "peers" / "node.js", directory)
    shutil.copy(HERE / "peers" / "um.h", directory)
    _run(directory, "soapcpp2", "-c", "-S", "-L", "-x", "um.h")
    (directory / "package.json").write_text('{"private": true}')
    _run(directory, "npm", "install", "--silent", "--no-audit", "--no-fund", "soap")
    return ["node", str(directory / "node.js"), str(PORT), str(directory / "um.wsdl")]


def _spyne(directory: Path) -> list[str]:
    shutil.copy(HERE / "peers" / "spyne_app.py", directory)
    _run(directory, sys.executable, "-m", "venv", "venv")
    _run(directory, "venv/bin/pip", "install", "-q", "spyne", "gunicorn", "lxml")
    return [str(directory / "venv/bin/gunicorn"), "--chdir", str(directory), "-w", "1", "-k",
            "gthread", "--threads", "32", "--keep-alive", "75", "--log-level", "error",
            "-b", f"127.0.0.1:{PORT}", "spyne_app:application"]  # fmt: skip


TARGETS = (
    Target("umd null", _own("null")),
    Target("umd http", _own("http")),
    Target(
        "umd basic",
        _own("basic"),
        "Authorization: Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode() + "\r\n",
    ),
    Target("umd serve", daemon),
    Target("gsoap", _gsoap),
    Target("npm soap", _node),
    Target("twisted.web", _own("twisted.web")),
    Target("spyne", _spyne),
)


def _need(command: str, packages: str) -> None:
    if shutil.which(command) is None:
        raise Missing(f"{command} is missing; install {packages}")


def _run(directory: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])}: {(done.stderr or done.stdout)[-300:]}")


# -- one server


def requests(number: int, headers: str = "") -> bytes:
    """So many Disconnects of equal length, each with another CallId."""
    return b"".join(
        request(base64.b64encode(f"{n:036d}@bench-1.example.com".encode()).decode(), headers)
        for n in range(number)
    )


def request(call_id: str, headers: str = "") -> bytes:
    body = BODY.format(call_id).encode()
    head = (
        f"POST /EWS/UM2007Legacy.asmx HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n"
        f'Content-Type: text/xml; charset=utf-8\r\nSOAPAction: "{SOAP_ACTION}"\r\n'
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def serving(command: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server on its core, in a session of its own."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", cores()[1], *command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for_port(process, directory)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], directory: Path) -> None:
    import socket

    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", PORT), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Missing(f"it does not serve: {(directory / 'log').read_text(errors='replace')[-500:]}")


def cores() -> tuple[str, str]:
    """One for the client, one for the server."""
    mine = sorted(os.sched_getaffinity(0))
    return str(mine[0]), str(mine[-1])


def cost(session: int) -> tuple[float, int]:
    """Seconds of processor time so far, and octets resident, of a session's processes."""
    seconds, resident = 0.0, 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return seconds, resident


class Load:
    """The client, compiled."""

    def __init__(self, directory: Path) -> None:
        _need("gcc", "gcc and libc6-dev")
        self._directory = directory
        self.binary = str(directory / "load")
        _run(directory, "gcc", "-O2", "-o", self.binary, str(HERE / "load.c"))
        self._files: dict[str, tuple[str, int]] = {}

    def ask(
        self, session: int, connections: int, seconds: float, rate: float = 0.0, headers: str = ""
    ) -> dict[str, Any]:
        """Load a server; the figures, with its processor time per request and its memory."""
        if headers not in self._files:
            path = self._directory / f"requests-{len(self._files)}"
            number = 50_000
            path.write_bytes(requests(number, headers))
            self._files[headers] = str(path), number
        path_, number = self._files[headers]
        return self.send(session, connections, seconds, rate, path_, f"-{number}")

    def send(
        self, session: int, connections: int, seconds: float, rate: float, path: str, number: str
    ) -> dict[str, Any]:
        before, _ = cost(session)
        done = subprocess.run(
            ["taskset", "-c", cores()[0], self.binary, "127.0.0.1", str(PORT), str(connections),
             str(seconds), str(rate), path, number],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        after, resident = cost(session)
        figures: dict[str, Any] = json.loads(done.stdout)
        spent = after - before
        figures["cpu_us"] = round(spent / max(1, figures["requests"]) * 1e6, 1)
        figures["resident_mb"] = round(resident / 1e6, 1)
        figures["server_core"] = round(spent / figures["seconds"], 2)
        return figures


# -- a run


def measure(target: Target, load: Load, chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything about one target."""
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
        directory = Path(made)
        with serving(target.prepare(directory), directory) as process:
            warm = 0.3 if chosen.quick else 1.0
            load.ask(process.pid, CONNECTIONS, warm, headers=target.headers)
            runs = [
                load.ask(process.pid, CONNECTIONS, chosen.seconds, headers=target.headers)
                for _ in range(chosen.rounds)
            ]
            best = dict(max(runs, key=lambda run: float(run["rate"])))
            best["cpu_us"] = min(run["cpu_us"] for run in runs)
            half = load.ask(
                process.pid, CONNECTIONS, chosen.seconds, best["rate"] / 2, target.headers
            )
            curve = [
                {"connections": n}
                | load.ask(process.pid, n, chosen.seconds / 2, headers=target.headers)
                for n in chosen.connections
            ]
    return {"name": target.name, "full": best, "half": half, "curve": curve}


def until_ready(log: Path) -> str:
    """What the daemon has logged when it is ready."""
    until = time.monotonic() + 30
    while '"event":"daemon.ready"' not in (written := log.read_text()):
        if time.monotonic() > until:
            raise Missing(f"it does not become ready: {written[-500:]}")
        time.sleep(0.05)
    return written


def end_calls(
    name: str, journal: bool, load: Load, chosen: argparse.Namespace
) -> dict[str, Any]:
    """The whole job: live simulated calls, each ended by a Disconnect of its own."""
    number = 2_000 if chosen.quick else 30_000
    connections = 64 if journal else CONNECTIONS
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as made:
        directory = Path(made)
        config = directory / "umd.toml"
        path = directory / "journal" if journal else "none"
        config.write_text(
            f'journal.path = "{path}"\n[backend.sim]\ndelay = "0s"\n'
            f'[[backend.sim.seed]]\nnumber = "5550100"\ncount = {number}\n'
        )
        with serving([*daemon(directory), "-c", str(config)], directory) as process:
            events = list(map(json.loads, until_ready(directory / "log").splitlines()))
            ids = [event["call"] for event in events if event["event"] == "call.resumed"]
            (directory / "asked").write_bytes(b"".join(map(request, ids)))
            figures = load.send(
                process.pid, connections, 600, 0, str(directory / "asked"), str(len(ids))
            )
            ended = (directory / "log").read_text().count('"event":"call.disconnected"')
        # On a machine that does much else, some are put off, which is told: they live on.
        answered = figures["ok"] + figures["put_off"]
        if answered != number or ended != figures["ok"]:
            raise AssertionError(
                f"{number} calls, {figures['ok']} answered, {figures['put_off']} put off, "
                f"{ended} ended"
            )
    return {"name": name, "full": figures, "half": None, "curve": []}


def table(rows: list[dict[str, Any]]) -> str:
    by_name = {row["name"]: row["full"] for row in rows}
    peer = by_name.get("gsoap")
    head = ("", "requests/s", "of gsoap", "CPU us", "of gsoap", "p50 ms", "p99 ms", "p99.9 ms",
            "half: p99 ms", "MB", "failed")  # fmt: skip
    lines = [head]
    for row in rows:
        full, half = row["full"], row["half"]
        lines.append(
            (
                row["name"],
                f"{full['rate']:,.0f}",
                f"{full['rate'] / peer['rate']:.2f}" if peer else "-",
                f"{full['cpu_us']:.1f}",
                f"{peer['cpu_us'] / full['cpu_us']:.2f}" if peer else "-",
                f"{full['p50_ms']:.2f}",
                f"{full['p99_ms']:.2f}",
                f"{full['p999_ms']:.2f}",
                f"{half['p99_ms']:.2f}" if half else "-",
                f"{full['resident_mb']:.0f}",
                str(full["failed"] + full["put_off"]),
            )
        )
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )


def plot(rows: list[dict[str, Any]], key: str, title: str) -> str:
    """A curve for each server over the number of connections, both axes logarithmic, as SVG."""
    from math import log10
    from xml.sax.saxutils import escape

    width, height, left, top = 720, 420, 70, 40
    curves = {row["name"]: row["curve"] for row in rows if row["curve"]}
    xs = [log10(one["connections"]) for curve in curves.values() for one in curve]
    ys = [log10(max(one[key], 0.001)) for curve in curves.values() for one in curve]
    low_x, high_x, low_y, high_y = min(xs), max(xs) or 1, min(ys), max(ys)

    def place(x: float, y: float) -> str:
        across = (x - low_x) / (high_x - low_x or 1) * (width - left - 160)
        up = (y - low_y) / (high_y - low_y or 1) * (height - top - 50)
        return f"{left + across:.1f},{height - 50 - up:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{left}" y="20" font-size="15">{escape(title)}</text>'
    ]
    for value in sorted({one["connections"] for curve in curves.values() for one in curve}):
        x = place(log10(value), low_y).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - 30}" text-anchor="middle">{value}</text>')
    for step in range(5):
        value_y = low_y + (high_y - low_y) * step / 4
        y = place(low_x, value_y).split(",")[1]
        parts.append(
            f'<text x="{left - 8}" y="{y}" text-anchor="end">{10**value_y:,.2f}</text>'
            f'<line x1="{left}" x2="{width - 160}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        )
    parts.append(f'<text x="{left}" y="{height - 10}">connections</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = f"hsl({number * 360 // len(curves)},70%,40%)"
        points = [place(log10(one["connections"]), log10(max(one[key], 0.001))) for one in curve]
        y_text = top + 18 * number
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
            f'points="{" ".join(points)}"/>'
            f'<text x="{width - 150}" y="{y_text}" fill="{colour}">{escape(name)}</text>'
        )
    return "\n".join((*parts, "</svg>\n"))


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole = {"umd ends calls": False, "umd journals": True}
    names = [*(target.name for target in TARGETS), *whole]
    options.add_argument("--quick", action="store_true", help="a second each")
    options.add_argument("--only", nargs="*", choices=names, metavar="NAME", default=names)
    options.add_argument("--seconds", type=float, default=0.0, help="of each measurement")
    options.add_argument("--rounds", type=int, default=0)
    options.add_argument("--connections", type=int, nargs="*", default=None)
    options.add_argument("--json", metavar="FILE", default="bench-front.json")
    options.add_argument("--plots", metavar="DIRECTORY")
    chosen = options.parse_args()
    chosen.seconds = chosen.seconds or (0.5 if chosen.quick else 5.0)
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    if chosen.connections is None:
        chosen.connections = [1, 32] if chosen.quick else [1, 4, 16, 64, 256, 1000]
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    with tempfile.TemporaryDirectory(prefix="umd-bench-") as directory:
        load = Load(Path(directory))
        for target in TARGETS:
            if target.name in chosen.only:
                try:
                    rows.append(measure(target, load, chosen))
                    print(f"{target.name}: {rows[-1]['full']['rate']:,.0f}/s", file=sys.stderr)
                except Missing as error:
                    missing.append(f"{target.name}: {error}")
                    print(missing[-1], file=sys.stderr)
        for name, journal in whole.items():
            if name in chosen.only:
                rows.append(end_calls(name, journal, load, chosen))
    print(table(rows))
    Path(chosen.json).write_text(json.dumps({"rows": rows, "missing": missing}, indent=1) + "\n")
    if chosen.plots:
        where = Path(chosen.plots)
        where.mkdir(parents=True, exist_ok=True)
        (where / "rate.svg").write_text(plot(rows, "rate", "Requests a second"))
        (where / "p99.svg").write_text(plot(rows, "p99_ms", "Latency, 99 of 100, in ms"))
    if any(row["full"]["failed"] for row in rows):
        sys.exit("some requests failed")
    if missing and os.environ.get("CI") == "true":
        sys.exit("nothing may be missing here")


if __name__ == "__main__":
    main()
