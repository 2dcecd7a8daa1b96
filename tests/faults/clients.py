"""The clients of the fault kit, and the log of what they were told."""

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
"""What is said of a call that is down, and whose end is on record."""
UNCONFIRMED: Final = "ended-unconfirmed"
BROKEN: Final = (Unreachable, Refusal, OSError, HTTPException)
TEN: Final = 10
LIVE: Final = 15  # calls that a client has at once, at most
AGAIN: Final = 100  # calls that have ended and that it still asks about


class Serving(Protocol):
    """What clients need to know of whoever serves."""

    port: int
    socket: str
    crashes: int
    """How many there were so far."""


class ClientLog:
    """What clients asked for and what they were told, by call."""

    def __init__(self) -> None:
        self.placed: set[str] = set()
        """They were given its CallId."""
        self.asked: dict[str, float] = {}
        """When its end was first asked for, by `time.monotonic`; whatever came of that."""
        self.ended: set[str] = set()
        """They were told that it is down."""
        self.unconfirmed: set[str] = set()
        """They were told that its far end does not answer."""
        self.denied: list[str] = []
        """They were told that there is no such call, and it had been given to them."""
        self.told: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        """Requests without an answer, by the name of the exception."""
        self.cut = 0
        """Answers that ended in the middle."""
        self.ten_times: dict[str, bool] = {}
        """The calls whose end was asked for ten times and answered so; whether across a crash."""
        self._lock = threading.Lock()

    def place(self, call: str) -> None:
        with self._lock:
            self.placed.add(call)

    def miss(self, error: Exception) -> None:
        """There was no answer, or not a whole one."""
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
    Places calls and ends them, as long as somebody answers.

    Args:
        backends: of which each call gets one.
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
                time.sleep(0.005)  # nobody is there at the moment

    def _step(self, stop: threading.Event) -> None:
        chance = self._chance
        if len(self._live) < LIVE and chance.random() < 0.55:
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
                self._over = [*self._over, call][-AGAIN:]

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
        """Ask for the same end until ten answers have come, however many umds that takes."""
        before, answers = self._umd.crashes, 0
        while answers < TEN and not stop.is_set():
            try:
                answers += self._disconnect(call) in DOWN
            except BROKEN as error:
                self._log.miss(error)
            time.sleep(self._chance.random() * 0.05)
        if answers == TEN:
            self._log.ten_times[call] = self._umd.crashes != before


class Load:
    """Clients at work, from the moment it is entered until it is left."""

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
        """Let them finish what they are at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                raise AssertionError("a client was left without an answer")


def disconnect(port: int, call: str) -> str:
    """Ask for the end of a call on a connection of its own; gives the outcome, or the status."""
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
    """Ask for the end of each call that is live; gives what is said, in the order of `calls`."""

    def end(call: str) -> str:
        log.ask(call)
        outcome = disconnect(umd.port, call)
        log.tell(call, outcome)
        return outcome

    live = [reply["call"]["id"] for reply in ask("calls", umd.socket)]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(end, live))
