"""
Damaged requests, from a seed: `python -m tests.http.fuzz --count 1000000 --seed 1`.

Each goes whole or in pieces through the HTTP front, the SOAP door and control, with live calls on
it. Whatever arrives, nothing may be raised that nobody expected, no call may end that was not named
by a whole, good request, and nothing may be kept. Prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.helpers import ALICE, ControlRoom, MemoryUsers, RecordingDelivery
from tests.http.helpers import chunked, request
from tests.soap.test_contract import disconnect
from umd.http.front import Front
from umd.service import SoapService
from umd.use_cases import UseCases

DATA = Path(__file__).parent.parent / "data"
LIMIT = 0.02  # seconds of CPU for one request
ADDRESS = IPv4Address("TCP", "192.0.2.1", 1)
PATH = "/EWS/UM2007Legacy.asmx"
XML = "Content-Type: text/xml"
PIECES = (
    *(bytes([octet]) for octet in b'\r\n"\\;,<>:=/@? \t\x00\xff&%#'),
    *(b"\r\n", b"\r\n\r\n", b"\r\n ", b"0\r\n\r\n", b"Content-Length: 3\r\n", b"Host: x\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n"),
    *(b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/1.0", b"HTTP/2.0", b"GET "),
    *(b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>", b"&b;", b"<!--", b"-->", b"<?x?>"),
    *(b"<![CDATA[", b"]]>", b"CallId", b"<CallId>", b"</CallId>", b"xmlns='u'", b"\xc3\xa9"),
)


def seeds() -> list[bytes]:
    """Good requests of ours, none of which names a live call, and what others collected."""
    ours: list[bytes] = []
    for call_id in ("unknown", "MDlkZjllZGM=", ""):
        body = disconnect(call_id).encode()
        ours.append(request(XML, target=PATH, body=body))
        ours.append(
            request(XML, "Transfer-Encoding: chunked", target=PATH) + chunked(body[:99], body[99:])
        )
    ours.append(request(method="GET", target=PATH + "?wsdl"))
    ours *= 10
    theirs = [path.read_bytes() for path in sorted(DATA.glob("http-*/*/*.raw"))]
    attacks = [
        request(XML, target=PATH, body=path.read_bytes())
        for path in sorted((DATA / "xml-defusedxml").glob("*.x*"))
    ]
    return ours + [one for one in theirs if len(one) < 4000] + attacks


def mutants(seed: int) -> Iterator[bytes]:
    """Endlessly many."""
    choices = random.Random(seed)
    sources = seeds()
    while True:
        octets = bytearray(choices.choice(sources))
        for _ in range(choices.choice((0, 1, 1, 2, 3, 8))):
            place = choices.randrange(len(octets) + 1)
            end = min(len(octets), place + choices.choice((0, 1, 1, 2, 10, 100)))
            kind = choices.randrange(5)
            if kind == 0:
                octets[place:end] = b""
            elif kind == 1:
                octets[place:place] = choices.choice(PIECES)
            elif kind == 2:
                octets[place:end] = choices.choice(PIECES)
            elif kind == 3:
                octets[place:place] = octets[place:end] * choices.choice((1, 2, 20))
            else:
                other = choices.choice(sources)
                start = choices.randrange(len(other) + 1)
                octets[place:place] = other[start : start + 60]
        yield bytes(octets)


class Room:
    """A front with everything behind it but the sockets, and live calls."""

    def __init__(self) -> None:
        self.room = ControlRoom()
        control = self.room.control
        done = ensureDeferred(control.start())
        assert done.called
        self.calls = [control.place(ALICE, "silent") for _ in range(10)]
        use_cases = UseCases(control, users=MemoryUsers(), pins=RecordingDelivery())
        service = SoapService(use_cases, self.room.log, self.room.clock.seconds)
        self.front = Front(service.serve, self.room.clock, self.room.log)

    def send(self, octets: bytes, pieces: int) -> bytes:
        """The answers to what a client sends on a connection of its own, and then leaves."""
        connection = self.front.buildProtocol(ADDRESS)
        transport = StringTransport()
        connection.makeConnection(transport)
        step = max(1, -(-len(octets) // pieces))
        for start in range(0, len(octets), step):
            connection.dataReceived(octets[start : start + step])
        connection.connectionLost(Failure(ConnectionDone()))
        return bytes(transport.value())

    def check(self) -> None:
        """Nothing has been touched, and nothing is left."""
        assert not any(call.ended or call.asked_at for call in self.calls), "a call was touched"
        front = self.front
        assert not (front.connections or front.held or front.waiting), "something is left"
        unexpected = {"http.failed", "soap.failed", "auth.not-checked"} & set(self.room.logged())
        assert not unexpected, [one for one in self.room.lines if one["event"] in unexpected]
        self.room.lines.clear()


def run(count: int, seed: int) -> dict[str, Any]:
    """
    Send so many.

    Raises:
        AssertionError: one did harm.
    """
    room = Room()
    choices = random.Random(seed + 1)
    statuses: Counter[str] = Counter()
    worst, over, worst_octets = 0.0, 0, b""
    before = after = resident()
    for number, octets in zip(range(count), mutants(seed)):
        pieces = choices.choice((1, 1, 2, 7))
        began = time.process_time()
        answers = room.send(octets, pieces)
        spent = time.process_time() - began
        over += spent > LIMIT
        if spent > worst:
            worst, worst_octets = spent, octets
        statuses[answers[9:12].decode("latin-1") or "none"] += 1
        if b"Traceback" in answers:
            raise AssertionError(f"a traceback was sent: {octets!r}")
        if number % 500 == 0 or number == count - 1:
            room.check()
            room.room.clock.advance(1.0)
        if number == count // 10:
            gc.collect()
            before = resident()
    gc.collect()
    after = resident()
    return {
        "requests": count,
        "seed": seed,
        "first_status": dict(sorted(statuses.items())),
        "worst_ms": round(worst * 1000, 1),
        "over_20_ms": over,
        "worst_start": repr(worst_octets[:200]),
        "memory_grown_mb": round((after - before) / 1e6, 1),
    }


def resident() -> int:
    """Octets of memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Run it and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    figures = run(chosen.count, chosen.seed)
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
