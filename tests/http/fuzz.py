"""
Fuzz the HTTP front with damaged requests: `python -m tests.http.fuzz --count 1000000 --seed 1`.

Each request goes through the HTTP front, the SOAP service and control, at once or in pieces, while
calls are live. Half of the requests go to a front without authentication, half to one that wants a
password or a token. Every twentieth request follows a damaged TLS handshake. For a request with
Upgrade, the responses are compared with those to the same request with another field name.

A run fails if an unexpected error is raised, if a call ends, or if memory of a request is kept: no
request names a live call. It prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import argon2
import jwt
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.helpers import ALICE, ControlRoom, MemoryUsers, RecordingDelivery
from tests.http.helpers import Authority, chunked, request
from tests.soap.test_autodiscover_svc import asking, users
from tests.soap.test_contract import disconnect
from umd.config.sections import TlsSection
from umd.daemon.certificates import read_credentials
from umd.http.authentication import Authenticator
from umd.http.exchange import Reply, Request
from umd.http.front import Front
from umd.http.passwords import PasswordFile
from umd.http.rules import Rules
from umd.http.tls import TlsServer, make_context
from umd.http.tokens import TokenVerifier
from umd.messaging.service import SoapService
from umd.messaging.use_cases import UseCases
from umd.runtime.garbage_collection import IncrementalCollector

DATA = Path(__file__).parent.parent / "data"
LIMIT = 0.02  # seconds of CPU for one request
ADDRESS = IPv4Address("TCP", "192.0.2.1", 1)
PATH = "/EWS/UM2007Legacy.asmx"
UPGRADE = re.compile(rb"upgrade", re.IGNORECASE)
STATUS = re.compile(rb"^HTTP/1\.1 (\d+) ", re.MULTILINE)
XML = "Content-Type: text/xml"
PIECES = (
    *(bytes([octet]) for octet in b'\r\n"\\;,<>:=/@? \t\x00\xff&%#'),
    *(b"\r\n", b"\r\n\r\n", b"\r\n ", b"0\r\n\r\n", b"Content-Length: 3\r\n", b"Host: x\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n"),
    *(b"Connection: Upgrade, HTTP2-Settings\r\n", b"Connection: upgrade\r\nUpgrade: x\r\n"),
    *(b"uPgRaDe:", b"HTTP2-Settings: AAM\r\n", b"~~~~~~~: x\r\n", b"Expect: \r\n", b"TE: x\r\n"),
    *(b"http://h", b"HTTPS://127.0.0.1:80", b"http://u@h", b"//", b"%45", b"%2e%2E", b"/../"),
    *(b"%2F", b"<?xml version='1.0' encoding='ascii'?>", b" encoding='iso-8859-1'", b"utf-7"),
    *(b"; charset=latin1", b"; charset=utf-16le", b"\xfe\xff", b"\xef\xbb\xbf", b"\0<", b"+ADw-"),
    *(b"Authorization: NTLM TlRM\r\n", b"Authorization: \r\n", b"Basic\t", b"Negotiate ", b" \xa0"),
    *(b" s:mustUnderstand='1'", b"<s:Header><a:b xmlns:a='c'/></s:Header>", b"Exchange2019"),
    *(b"Connection: close\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/1.0", b"HTTP/2.0", b"GET "),
    *(b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>", b"&b;", b"<!--", b"-->", b"<?x?>"),
    *(b"Authorization: Basic YWxpY2U6cmlnaHQ=\r\n", b"Basic ", b"Bearer ", b"basic\t", b"YWxpY2U6"),
    *(b"alice:", b"cmlnaHQ=", b"eyJhbGciOiJub25lIn0.", b"\xff\xfe", b"="),
    *(b"<![CDATA[", b"]]>", b"CallId", b"<CallId>", b"</CallId>", b"xmlns='u'", b"\xc3\xa9"),
)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SECRET = b"0123456789abcdef0123456789abcdef"
BASIC = f"Basic {b64('alice:right')}"
BEARER = "Bearer " + jwt.encode(
    {"sub": "bob", "aud": "umd", "iss": "i", "exp": 1 << 40}, SECRET, "HS256"
)
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def rules() -> Rules:
    """Return rules by which Alice has a password and Bob a token."""
    passwords = PasswordFile({"alice": CHEAP.hash("right").encode()})
    return Rules(passwords=passwords, tokens=TokenVerifier(SECRET, ["HS256"], "umd", "i"))


class InlinePool:
    """A thread pool that runs its work in the calling thread."""

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        done(True, function(*arguments))

    def stop(self) -> None:
        """Do nothing: there is no thread to stop."""


class InlineClock(Clock):
    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


def seeds() -> list[bytes]:
    """Return good requests that name no live call, the corpora of others, and XML attacks."""
    ours: list[bytes] = []
    for call_id in ("unknown", "MDlkZjllZGM=", ""):
        body = disconnect(call_id).encode()
        ours.append(request(XML, target=PATH, body=body))
        ours.append(
            request(XML, "Transfer-Encoding: chunked", target=PATH) + chunked(body[:99], body[99:])
        )
    ours.append(request(method="GET", target=PATH + "?wsdl"))
    wrong, unknown = f"Basic {b64('alice:wrong')}", f"Basic {b64('eve:x')}"
    for credentials in (BASIC, BEARER, wrong, unknown):
        body = disconnect("unknown").encode()
        ours.append(request(XML, f"Authorization: {credentials}", target=PATH, body=body))
        ours.append(request(f"Authorization: {credentials}", method="GET", target=PATH) * 2)
    ours += offers() + spellings() + encoded() + unauthorized() + discoveries()
    ours.append(request(f"Authorization: {BASIC}", f"Authorization: {wrong}", method="GET"))
    ours *= 10
    theirs = [path.read_bytes() for path in sorted(DATA.glob("http-*/*/*.raw"))]
    attacks = [
        request(XML, target=PATH, body=path.read_bytes())
        for path in sorted((DATA / "xml-defusedxml").glob("*.x*"))
    ]
    return ours + [octets for octets in theirs if len(octets) < 4000] + attacks


def offers() -> list[bytes]:
    """Return requests that offer an upgrade to another protocol."""
    body = disconnect("unknown").encode()
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    sized = request(XML, *upgrade, target=PATH, body=body)
    framed = request(XML, *upgrade, "Transfer-Encoding: chunked", target=PATH)
    empty = request(*upgrade, method="GET", target=PATH + "?wsdl")
    return [sized + sized, framed + chunked(body[:50], body[50:]) + empty, empty + sized]


def spellings() -> list[bytes]:
    """Return requests to the endpoint with other spellings of its path and absolute targets."""
    targets = (
        f"http://h{PATH}", f"https://umd.example:8443{PATH}?x", f"HTTP://[::1]:80/{PATH}",
        "/" + PATH, PATH.replace(".", "%2E"), PATH.replace("E", "%45"), "/x/.." + PATH,
    )  # fmt: skip
    body = disconnect("unknown").encode()
    return [request(XML, target=target, body=body) for target in targets]


def encoded() -> list[bytes]:
    """Return requests in each encoding, declared in XML or in Content-Type, refused ones too."""
    found = []
    for label, codec in (
        ("ascii", "ascii"), ("iso-8859-1", "latin-1"), ("windows-1252", "cp1252"),
        ("utf-16", "utf-16"), ("utf-16le", "utf-16-le"), ("utf-8", "utf-8-sig"), ("utf-7", "utf-7"),
        ("utf-32", "utf-32"),
    ):  # fmt: skip
        text = disconnect("unknown" if codec == "ascii" else "J\xf6rg")
        declared = f"<?xml version='1.0' encoding='{label}'?>" + text
        found.append(request(XML, target=PATH, body=declared.encode(codec)))
        found.append(request(f"{XML}; charset={label}", target=PATH, body=text.encode(codec)))
    return found


def unauthorized() -> list[bytes]:
    """Return requests with unreadable credentials, and with guesses in odd spelling."""
    return [
        request(f"Authorization: {credentials}", method="GET", target=PATH)
        for credentials in (
            "", "Basic", "NTLM TlRM", "Negotiate", "Bearer x.y.z", "Basic !", BASIC[6:],
            BASIC.replace(" ", "\t"), BASIC.replace(" ", "   "), BEARER[:-4], f"x{BASIC}",
        )
    ]  # fmt: skip


def discoveries() -> list[bytes]:
    """Return requests to Autodiscover in each form."""
    body = asking("GetUserSettings", users("a@b"), "ExternalEwsUrl UserDN")
    json_form = "/autodiscover/autodiscover.json"
    return [
        request(XML, target="/autodiscover/autodiscover.svc", body=body),
        request(method="GET", target=f"{json_form}?Email=a@b&Protocol=EWS"),
        request(method="GET", target=f"{json_form}/v1.0/a%40b?Protocol=x"),
    ]


def mutants(seed: int) -> Iterator[bytes]:
    """Yield damaged requests without end."""
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
    """
    A front without sockets, with the SOAP service, control and live calls behind it.

    Args:
        rules: of authentication; None to serve anonymous clients.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.room = ControlRoom()
        control = self.room.control
        done = ensureDeferred(control.start())
        assert done.called
        self.calls = [control.place(ALICE, "silent") for _ in range(10)]
        use_cases = UseCases(control, users=MemoryUsers(), pins=RecordingDelivery())
        self.service = SoapService(use_cases, self.room.log, self.room.clock.seconds)
        self.front = Front(self.serve, self.room.clock, self.room.log)
        self.names: Counter[str] = Counter()
        """Requests served, by the name of the principal."""
        self.authenticator: Authenticator | None = None
        if rules is not None:
            state = self.front.state
            self.authenticator = Authenticator(rules, InlineClock(), self.room.log, state.busy)
            self.authenticator._passwords._pool = InlinePool()  # type: ignore[assignment]
            state.authenticator = self.authenticator

    def serve(self, request: Request) -> Awaitable[Reply]:
        self.names[request.principal.name] += 1
        return self.service.serve(request)

    def send(self, octets: bytes, pieces: int) -> bytes:
        """Send octets on a new connection, disconnect, and return the responses."""
        connection = self.front.buildProtocol(ADDRESS)
        transport = StringTransport()
        connection.makeConnection(transport)
        step = max(1, -(-len(octets) // pieces))
        for start in range(0, len(octets), step):
            connection.dataReceived(octets[start : start + step])
        connection.connectionLost(Failure(ConnectionDone()))
        return bytes(transport.value())

    def check(self) -> None:
        """Assert that no call has ended, and that nothing of a request is kept."""
        assert not any(call.ended or call.asked_at for call in self.calls), "a call was touched"
        state = self.front.state
        kept = len(state.connections), state.buffered, state.pending_requests
        assert kept == (0, 0, 0), kept
        known = {"anonymous"} if self.authenticator is None else {"alice", "bob"}
        assert self.names.keys() <= known, self.names
        assert self.authenticator is None or not self.authenticator._passwords._checks
        unexpected = {"http.failed", "soap.failed", "auth.not-checked"} & set(self.room.logged())
        assert not unexpected, [line for line in self.room.lines if line["event"] in unexpected]
        self.room.lines.clear()


class DamagedHandshakes:
    """Clients that send a damaged TLS handshake to a front."""

    def __init__(self) -> None:
        self._room = Room(rules())
        self._directory = tempfile.TemporaryDirectory(prefix="umd-fuzz-")
        certificate, key = Authority("ours").write("localhost", Path(self._directory.name))
        section = TlsSection(certificate=certificate, key=key)
        tls = TlsServer(make_context(read_credentials(section)))
        self._factory = tls.wrap(self._room.front)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        try:
            client.do_handshake()
        except SSL.WantReadError:
            self._hello = client.bio_read(1 << 16)

    def send(self, octets: bytes, choices: random.Random) -> None:
        """Send a damaged ClientHello with some of these octets in it or after it."""
        hello = bytearray(self._hello)
        for _ in range(choices.choice((0, 1, 3))):
            hello[choices.randrange(len(hello))] = choices.randrange(256)
        place = choices.choice((len(hello), choices.randrange(len(hello))))
        hello[place:place] = octets[: choices.choice((0, 1, 100))]
        protocol = self._factory.buildProtocol(ADDRESS)
        assert protocol is not None
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(bytes(hello))
        protocol.connectionLost(Failure(ConnectionDone()))
        assert b"HTTP/" not in transport.value(), "a damaged handshake got an HTTP response"
        self._room.check()


def run(count: int, seed: int) -> dict[str, Any]:
    """
    Send damaged requests, and return the figures of the run.

    Args:
        count: number of requests.
        seed: of the random numbers.

    Raises:
        AssertionError: a request did harm.
    """
    rooms = [Room(), Room(rules())]
    handshakes = DamagedHandshakes()
    first = rooms[0].room
    garbage = IncrementalCollector(first.clock, first.log, lambda: 0)  # as the daemon has it
    garbage.start()
    choices = random.Random(seed + 1)
    statuses: Counter[str] = Counter()
    worst, over, worst_octets = 0.0, 0, b""
    before = after = resident()
    for number, octets in zip(range(count), mutants(seed)):
        pieces = choices.choice((1, 1, 2, 7))
        began = time.process_time()
        room = rooms[number % 2]
        answers = room.send(octets, pieces)
        if number % 20 == 1:
            handshakes.send(octets, choices)
        spent = time.process_time() - began
        over += spent > LIMIT
        if spent > worst:
            worst, worst_octets = spent, octets
        statuses[answers[9:12].decode("latin-1") or "none"] += 1
        if b"Traceback" in answers:
            raise AssertionError(f"a traceback was sent: {octets!r}")
        if number % 2 == 0 and UPGRADE.search(octets):
            # With another name the field has no meaning. Upgrade must have none either.
            plain = room.send(UPGRADE.sub(b"xpgrade", octets), pieces)
            assert STATUS.findall(plain) == STATUS.findall(answers), octets
        if number % 500 == 0 or number == count - 1:
            for checked in rooms:
                checked.check()
                checked.room.clock.advance(1.0)
        if number == count // 10:
            gc.collect()
            gc.freeze()
            before = resident()
    garbage.stop()
    gc.collect()
    after = resident()
    return {
        "requests": count,
        "seed": seed,
        "served": dict(rooms[0].names + rooms[1].names),
        "first_status": dict(sorted(statuses.items())),
        "worst_ms": round(worst * 1000, 1),
        "over_20_ms": over,
        "worst_start": repr(worst_octets[:200]),
        "memory_grown_mb": round((after - before) / 1e6, 1),
    }


def resident() -> int:
    """Return the resident memory of this process in octets."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    figures = run(chosen.count, chosen.seed)
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
