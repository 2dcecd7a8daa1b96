"""
Loads umd by half of what it can take, for a long time: nothing grows, stalls or is lost.

    python -m tests.faults.soak [--minutes 60] [--rate CALLS] [--stalls-count]

The whole daemon with its journal ("full") on one core, the client on the other: calls are placed by
PlayOnPhone, held for two seconds and ended by Disconnect, at half the rate that a short calibration
has found, at even intervals whatever the daemon does. Ended calls are remembered and records kept
for half a minute only, so that what comes and what goes is even after a warm-up. Then the slope of
the resident memory is fitted, descriptors are counted, and at the end what the log says is compared
with what the client was told. Linux only; where it may, all run in the real-time class, so that
pauses are umd's own and not those of a machine with other things to do.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from umd.http.admission import STALL
from umd.management.client import Refusal, Unreachable, ask

CONNECTIONS: Final = 32
HOLD: Final = 2.0
"""Seconds between the answer to a PlayOnPhone and its Disconnect."""
RETENTION: Final = 30.0
"""Seconds for which umd remembers ended calls and keeps their records."""
LINGERING: Final = 32.0
"""Seconds for which transactions of ended calls are kept: 64 * T1, RFC 3261."""
PATH: Final = "/EWS/UM2007Legacy.asmx"
MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
ENVELOPE: Final = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
    "{}</soap:Body></soap:Envelope>"
)
PLACE: Final = (
    f'<PlayOnPhone xmlns="{MESSAGES}"><entryId>AA==</entryId>'
    "<DialString>5550101</DialString></PlayOnPhone>"
)
END: Final = f'<Disconnect xmlns="{MESSAGES}"><CallId>{{}}</CallId></Disconnect>'
CALL_ID: Final = re.compile(rb"<PlayOnPhoneResponse>([^<]+)<")
OUTCOME: Final = re.compile(rb"X-UMD-Outcome: ([a-z-]+)")
LENGTH: Final = re.compile(rb"Content-Length: (\d+)", re.I)
EVENT: Final = re.compile(rb'"event":"([^"]+)"')


# -- the client


def request(body: str) -> bytes:
    octets = ENVELOPE.format(body).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml; charset=utf-8\r\n"
        f"Content-Length: {len(octets)}\r\n\r\n"
    )
    return head.encode() + octets


class Client:
    """
    Places calls and ends them, over persistent connections.

    Args:
        port: of the daemon.
        rate: calls a second, due at even intervals: latencies count from then. 0: as many as are
            answered.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latencies: Counter[int] = Counter()
        """The number of responses by their latency, in tenths of a millisecond."""
        self.placed = self.ended = self.failed = 0
        self._rate = rate
        self._to_place = request(PLACE)
        self._held: deque[tuple[float, bytes]] = deque()
        """The placed calls, and when to end each."""
        self._due: deque[tuple[float, bytes]] = deque()
        """The requests that wait for a connection."""
        self._idle: deque[socket.socket] = deque()
        """Used in turn, so that umd closes none as idle."""
        self._asked: dict[int, tuple[socket.socket, float, bytes]] = {}
        self._poll = select.epoll()
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.EPOLLIN)
            self._idle.append(connection)

    def run(self, seconds: float) -> None:
        """Place calls for this long, then end those that are left."""
        now = time.monotonic()
        end, next_due = now + seconds, now
        while now < end or self._held or self._due or self._asked:
            while self._held and (self._held[0][0] <= now or now >= end):
                due, octets = self._held.popleft()
                self._due.append((min(due, now), octets))
            if self._rate:
                while next_due <= now and next_due < end:
                    self._due.append((next_due, self._to_place))
                    next_due += 1 / self._rate
            elif now < end:
                while len(self._due) < len(self._idle):
                    self._due.append((now, self._to_place))
            while self._idle and self._due:
                self._ask(*self._due.popleft())
            self._take(0.0005 if self._rate else 0.01)
            now = time.monotonic()
            if now > end + 60:
                self.failed += len(self._asked) + len(self._due) + len(self._held)
                return

    def figures(self) -> dict[str, Any]:
        return {
            "placed": self.placed,
            "ended": self.ended,
            "failed": self.failed,
            "outcomes": dict(self.outcomes),
            "latencies": dict(self.latencies),
        }

    def _ask(self, due: float, octets: bytes) -> None:
        connection = self._idle.popleft()
        self._asked[connection.fileno()] = connection, due, octets
        connection.sendall(octets)

    def _take(self, patience: float) -> None:
        for fileno, _ in self._poll.poll(patience):
            connection, due, octets = self._asked.pop(fileno)
            answer = self._answer(connection)
            now = time.monotonic()
            self.latencies[int((now - due) * 10_000)] += 1
            outcome = OUTCOME.search(answer)
            self.outcomes[(outcome[1] if outcome else answer[9:12]).decode()] += 1
            if octets is self._to_place:
                call = CALL_ID.search(answer)
                if call is None:
                    self.failed += 1
                else:
                    self.placed += 1
                    hold = HOLD if self._rate else 0.0
                    self._held.append((now + hold, request(END.format(call[1].decode()))))
            else:
                good = outcome is not None and outcome[1] in (b"ended", b"already-ended")
                self.ended += good
                self.failed += not good
            self._idle.append(connection)

    def _answer(self, connection: socket.socket) -> bytes:
        answer = connection.recv(65536)
        while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + _length(answer):
            more = connection.recv(65536)
            if not more:
                raise ConnectionError(f"closed in the middle of an answer: {answer[:200]!r}")
            answer += more
        return answer


def _length(answer: bytes) -> int:
    found = LENGTH.search(answer)
    return int(found[1]) if found else 0


def load(port: int, rate: float, seconds: float, told: Connection) -> None:
    """Run the client in a process of its own."""
    if os.sched_getscheduler(0) == os.SCHED_RR:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(4))  # ahead of the log's reader
    gc.disable()
    client = Client(port, rate)
    client.run(seconds)
    told.send(client.figures())


# -- the daemon


class Daemon:
    """A umd with a journal, on a core of its own, and its log."""

    def __init__(self, directory: Path, core: int) -> None:
        self.socket = str(directory / "control.sock")
        self.events: Counter[str] = Counter()
        self.errors: list[str] = []
        self.real_time = False
        self.journal = directory / "journal.db"
        self._core = core
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "umd", "serve",
                "-o", f"http.listen=tcp:{self.port}:interface=127.0.0.1",
                "-o", f"control.socket={self.socket}",
                "-o", f"journal.path={self.journal}",
                "-o", f"journal.keep={RETENTION:.0f}s",
                "-o", f"call.retention={RETENTION:.0f}s",
                "-o", "log.format=json",
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self) -> None:
        """Return once umd serves."""
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.status()
                return
            except (Unreachable, Refusal):
                time.sleep(0.05)
        raise AssertionError(f"umd does not start: {self.errors}")

    def status(self) -> dict[str, Any]:
        (reply,) = ask("status", self.socket)
        status: dict[str, Any] = reply["status"]
        return status

    def go_first(self) -> None:
        """Give umd real-time priority, its reactor a higher one than its writer."""
        pid = self.process.pid
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                first = int(thread) == pid
                os.sched_setscheduler(
                    int(thread), os.SCHED_RR, os.sched_param(5 if first else 2)
                )
        except PermissionError:
            return
        self.real_time = True

    def resident(self) -> int:
        """Return the resident memory, in octets."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def waited(self) -> float:
        """Return the seconds that the reactor waited while others had its core, or the host did."""
        task = f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat"
        of_core = re.search(rf"^cpu{self._core} .*$", Path("/proc/stat").read_text(), re.M)
        assert of_core is not None
        stolen = int(of_core[0].split()[8]) / os.sysconf("SC_CLK_TCK")
        return int(Path(task).read_text().split()[1]) / 1e9 + stolen

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._reader.join(60)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = EVENT.search(line)
            name = found[1].decode() if found else line[:200].decode(errors="replace")
            self.events[name] += 1
            if b'"level":"error"' in line or not found:
                self.errors.append(line[:500].decode(errors="replace"))


# -- a run


def run(seconds: float, warm_up: float, rate: float = 0.0, show: bool = False) -> dict[str, Any]:
    """
    Start a daemon, and load it.

    Args:
        seconds: for how long memory is looked at, after the warm-up.
        rate: calls a second; 0: half of what a calibration of five seconds finds.
        show: whether to tell what is seen every ten seconds.

    Returns:
        The figures.
    """
    full = {"placed": 0} if rate else _loaded(0.0, 8.0, None)[0]
    chosen = rate or full["placed"] / 8.0 / 2
    seen = _Seen(warm_up, show)
    told, status, daemon = _loaded(chosen, warm_up + seconds, seen)
    return {
        "calls_per_s_at_most": round(full["placed"] / 8.0),
        "calls_per_s": round(chosen),
        "real_time_class": daemon.real_time,
        "warm_up_s": warm_up,
        "seconds": seconds,
        "retention_s": RETENTION,
        "placed": told["placed"],
        "ended": told["ended"],
        "failed": told["failed"],
        "ends_on_record": daemon.events["call.disconnected"],
        "outcomes": told["outcomes"],
        "log_errors": daemon.errors[:5],
        "log_lines_lost": daemon.events["log.lost"],
        **_quantiles(told["latencies"]),
        **seen.figures(),
        "reactor_stall_ms_max": round(status["reactor_stall_seconds_max"] * 1000, 1),
        "garbage_look_ms_max": round(status["garbage_look_seconds_max"] * 1000, 1),
        "put_off": status["requests_put_off"],
        "live_at_the_end": status["live_calls"],
        "exit_status": daemon.process.returncode,
    }


class _Seen:
    """The figures that are taken every second from outside."""

    def __init__(self, warm_up: float, show: bool) -> None:
        self._began = time.monotonic()
        self._warm_up = warm_up
        self._show = show
        self._resident: list[tuple[float, float]] = []
        self._descriptors: list[int] = []
        self._looks = self._stalls = 0
        self._waited = 0.0
        self._others = 0
        """Stalls during which the reactor waited for its core as long as it was late."""

    def look(self, daemon: Daemon) -> None:
        at = time.monotonic() - self._began
        resident, descriptors = daemon.resident() / 1e6, daemon.descriptors()
        status = daemon.status()
        stalls, waited = status["reactor_stalls"], daemon.waited()
        if waited - self._waited >= STALL:
            self._others += stalls - self._stalls
        self._stalls, self._waited = stalls, waited
        self._looks += 1
        if self._show and self._looks % 10 == 1:
            size = sum(path.stat().st_size for path in daemon.journal.parent.glob("journal.db*"))
            print(
                f"{at:7.0f} s  {resident:7.1f} MB  {descriptors} descriptors  journal "
                f"{size / 1e6:.0f} MB  {stalls} stalls, {self._others} the machine's, longest "
                f"{status['reactor_stall_seconds_max'] * 1000:.1f} ms  "
                f"{status['known_calls']} calls known  {status['memory_blocks']} blocks",
                file=sys.stderr,
            )
        if at >= self._warm_up:
            self._resident.append((at, resident))
            self._descriptors.append(descriptors)

    def figures(self) -> dict[str, Any]:
        return {
            "resident_mb_first": round(self._resident[0][1], 1),
            "resident_mb_last": round(self._resident[-1][1], 1),
            "resident_mb_per_hour": round(slope(self._resident) * 3600, 2),
            "stalls_over_20_ms": self._stalls,
            "of_them_while_others_had_the_core": self._others,
            "descriptors": [min(self._descriptors), max(self._descriptors)],
        }


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the line that fits best by least squares."""
    n = len(points)
    mean_x = sum(x for x, _ in points) / n
    mean_y = sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def _loaded(
    rate: float, seconds: float, seen: _Seen | None
) -> tuple[dict[str, Any], dict[str, Any], Daemon]:
    """Load a new daemon; return the client's results, the daemon's figures, and its log."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="umd-soak-") as made:
        daemon = Daemon(Path(made), cores[-1])
        try:
            daemon.wait()
            daemon.go_first()
            with _on(cores[0], daemon.real_time):
                told = _load(daemon, rate, seconds, seen)
                status = daemon.status()
                daemon.stop()
        finally:
            daemon.kill()
    return told, status, daemon


def _load(daemon: Daemon, rate: float, seconds: float, seen: _Seen | None) -> dict[str, Any]:
    here, there = get_context("fork").Pipe(duplex=False)
    client = get_context("fork").Process(target=load, args=(daemon.port, rate, seconds, there))
    client.start()
    there.close()
    while not here.poll(1.0):
        if seen is not None:
            seen.look(daemon)
    try:
        figures: dict[str, Any] = here.recv()
    except EOFError:
        raise AssertionError("the client has failed") from None
    client.join()
    return figures


@contextmanager
def _on(core: int, real_time: bool) -> Iterator[None]:
    """Bind this process and its children to a core, with real-time priority if permitted."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    if real_time:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        if real_time:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


def _quantiles(latencies: dict[int, int]) -> dict[str, float]:
    """Return percentiles in milliseconds from counts by tenths of a millisecond."""
    found, total, so_far = {}, sum(latencies.values()), 0
    wanted = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    for tenths in sorted(latencies):
        so_far += latencies[tenths]
        for name, part in wanted.items():
            if name not in found and so_far >= part * total:
                found[name] = tenths / 10
    return found


def nothing_lost(found: dict[str, Any]) -> bool:
    """Return whether every placed call ended once, and nothing went wrong."""
    return (
        found["placed"] == found["ended"] == found["ends_on_record"]
        and not (found["failed"] or found["log_errors"] or found["log_lines_lost"])
        and not (found["live_at_the_end"] or found["exit_status"])
    )


def umds_own_stalls(found: dict[str, Any]) -> int:
    """Return how often the reactor was late by more than `STALL` although its core was free."""
    stalls: int = found["stalls_over_20_ms"] - found["of_them_while_others_had_the_core"]
    return stalls


def nothing_grows(found: dict[str, Any], per_hour: float) -> bool:
    """Return whether descriptors stay as many, and memory grows by at most `per_hour` MB."""
    low, high = found["descriptors"]
    return bool(high - low <= 2 and found["resident_mb_per_hour"] <= per_hour)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second")
    parser.add_argument(
        "--growth", type=float, default=1.0, help="MB an hour that are allowed"
    )
    parser.add_argument(
        "--stalls-count", action="store_true", help="a stall that is umd's own is a failure too"
    )
    options = parser.parse_args()
    found = run(options.minutes * 60 - options.warm_up, options.warm_up, options.rate, show=True)
    print(json.dumps(found, indent=1))
    good = nothing_lost(found) and nothing_grows(found, options.growth)
    if options.stalls_count and umds_own_stalls(found):
        good = False
    print("good" if good else "not good")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
