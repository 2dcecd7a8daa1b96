"""The clients of the fault kit, and the log of the replies that they get."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Final, Protocol

from umd.management.client import Refusal, Unreachable, ask
from umd.soap.namespaces import MESSAGES
from umd.testing.process import REQUEST

PATH: Final = "/EWS/UM2007Legacy.asmx"
DOWN: Final = ("ended", "already-ended")
"""The outcomes of a call that is down and whose end is recorded."""
UNCONFIRMED: Final = "ended-unconfirmed"
BROKEN: Final = (Unreachable, Refusal, OSError, HTTPException)
REPEATS: Final = 10
MAX_LIVE_CALLS: Final = 15  # of one client
MAX_ENDED_CALLS: Final = 100  # of one client, to which it still sends Disconnect


class Serving(Protocol):
    """What clients need to know of the umd that serves them."""

    port: int
    socket: str
    crashes: int
    """The number of crashes so far."""


class ClientLog:
    """What clients requested, and which replies they got, by call."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        """Calls whose CallId a client got."""
        self.asked: dict[str, float] = {}
        """When the first Disconnect of a call was sent, by `time.monotonic`."""
        self.ended: set[str] = set()
        """Calls whose end a client was told of."""
        self.unconfirmed: set[str] = set()
        """Calls whose far end did not answer, as a client was told."""
        self.denied: list[str] = []
        """Calls that umd said it does not know, although it had issued their CallId."""
        self.told: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        """Requests without a response, by the name of the exception."""
        self.cut = 0
        """Responses that were cut off."""
        self.ten_times: dict[str, bool] = {}
        """Calls whose Disconnect was answered ten times, and whether umd crashed meanwhile."""
        self._lock = threading.Lock()

    def place(self, call: str) -> None:
        with self._lock:
            self.placed.add(call)

    def miss(self, error: Exception) -> None:
        """Note a request without a complete response."""
        with self._lock:
            self.broken[type(error).__name__] += 1
            self.cut += isinstance(error, HTTPException) and not isinstance(error, OSError)

    def ask(self, call: str) -> None:
        with self._lock:
            self.asked.setdefault(call, time.monotonic())

    def tell(self, call: str, outcome: str) -> None:
        with self._lock:
            self.told[outcome] += 1
            if outcome in DOWN:
                self.ended.add(call)
            elif outcome == UNCONFIRMED:
                self.unconfirmed.add(call)
            elif outcome == "unknown":
                self.denied.append(call)


class Client:
    """
    Places calls and ends them until it is stopped, and goes on after each crash.

    Args:
        umd: the umd to use.
        log: where replies are noted.
        chance: decides what to do next.
        backends: the backends to place calls on, one chosen at random for each.
    """

    def __init__(
        self, umd: Serving, log: ClientLog, chance: random.Random, backends: tuple[str, ...]
    ) -> None:
        self._umd = umd
        self._log = log
        self._chance = chance
        self._backends = backends
        self._live: list[str] = []
        self._over: list[str] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._step(stop)
            except BROKEN as error:
                self._log.miss(error)
                time.sleep(0.005)  # no umd runs at the moment

    def _step(self, stop: threading.Event) -> None:
        chance = self._chance
        if len(self._live) < MAX_LIVE_CALLS and chance.random() < 0.55:
            self._place()
        elif self._over and chance.random() < 0.1:
            self._disconnect(chance.choice(self._over))
        elif self._live:
            index = chance.randrange(len(self._live))
            call = self._live[index]
            if chance.random() < 0.02:
                del self._live[index]
                self._ten_times(call, stop)
            elif self._disconnect(call) in (*DOWN, UNCONFIRMED, "unknown"):
                del self._live[index]
                self._over = [*self._over, call][-MAX_ENDED_CALLS:]

    def _place(self) -> None:
        number = self._chance.choice(("5550101", "5550101", "5550115", "5550180"))
        backend = self._chance.choice(self._backends)
        (reply,) = ask("place", self._umd.socket, number=number, backend=backend)
        call: str = reply["call"]["id"]
        self._log.place(call)
        self._live.append(call)

    def _disconnect(self, call: str) -> str:
        self._log.ask(call)
        outcome = disconnect(self._umd.port, call)
        self._log.tell(call, outcome)
        return outcome

    def _ten_times(self, call: str, stop: threading.Event) -> None:
        """Send Disconnects for a call until ten were answered, also across crashes."""
        before, answers = self._umd.crashes, 0
        while answers < REPEATS and not stop.is_set():
            try:
                answers += self._disconnect(call) in DOWN
            except BROKEN as error:
                self._log.miss(error)
            time.sleep(self._chance.random() * 0.05)
        if answers == REPEATS:
            self._log.ten_times[call] = self._umd.crashes != before


class Load:
    """A context manager that runs clients in threads."""

    def __init__(
        self,
        umd: Serving,
        log: ClientLog,
        number: int,
        chance: random.Random,
        backends: tuple[str, ...] = ("sim",),
    ) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=Client(umd, log, random.Random(chance.random()), backends).run,
                args=(self._stop,),
            )
            for _ in range(number)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client finish its request, and stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                raise AssertionError("a client got no response within 90 s")


def disconnect(port: int, call: str) -> str:
    """Send a Disconnect on a new connection; return the outcome, or else the HTTP status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    body = REQUEST.format(namespace=MESSAGES, call_id=call)
    try:
        connection.request("POST", PATH, body, {"Content-Type": "text/xml"})
        with connection.getresponse() as reply:
            reply.read()
            return reply.headers["X-UMD-Outcome"] or str(reply.status)
    finally:
        connection.close()


def end_all(umd: Serving, log: ClientLog) -> list[str]:
    """Send a Disconnect for each live call, and return the outcomes."""

    def end(call: str) -> str:
        log.ask(call)
        outcome = disconnect(umd.port, call)
        log.tell(call, outcome)
        return outcome

    live = [reply["call"]["id"] for reply in ask("calls", umd.socket)]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(end, live))
