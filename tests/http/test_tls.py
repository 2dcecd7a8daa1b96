"""The HTTP front over TLS, with real sockets: who does not read, does not close, does not speak."""

from __future__ import annotations

import contextlib  # trial takes a `suppress` in a module for its own
import gzip
import socket
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.helpers import capturing_log
from tests.http.helpers import Authority, request
from umd.auth import TlsServer
from umd.config import TlsSection
from umd.http.connection import Connection
from umd.http.exchange import TEXT_PLAIN, Reply, Request
from umd.http.front import Front
from umd.http.limits import Limits

SOON = 0.2
"""Seconds for a limit that the test waits to see pass."""


class WatchedFront(Front):
    """Tells when nobody is connected any more, and how much was held at most."""

    all_left: Deferred[None] | None = None
    most_held = 0
    _held = 0

    @property
    def held(self) -> int:
        return self._held

    @held.setter
    def held(self, octets: int) -> None:
        self._held = octets
        self.most_held = max(self.most_held, octets)

    def left(self, connection: Connection) -> None:
        super().left(connection)
        waiting, self.all_left = self.all_left, None
        if waiting is not None:
            waiting.callback(None)


class TlsCase(TestCase):
    LENGTH = 100_000

    def setUp(self) -> None:
        self.asked: list[str] = []
        self.later = False
        """Whether it is answered in another turn of the reactor."""
        self.log, self.lines = capturing_log()
        self.authority = Authority("ours")
        certificate, key = self.authority.write("localhost", Path(self.mktemp()))
        self.tls = TlsServer(TlsSection(certificate=certificate, key=key))

    async def listen(self, limits: Limits) -> None:
        real = cast(Any, reactor)
        self.front = WatchedFront(self.serve, real, self.log, limits)
        self.left: Deferred[None] = Deferred()
        self.front.all_left = self.left
        wrapped = self.tls.wrap(self.front)
        port = real.listenTCP(0, wrapped, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.close()))

    def serve(self, request: Request) -> Reply | Awaitable[Reply]:
        self.asked.append(request.path)
        reply = Reply(200, request.path.encode()[-1:] * self.LENGTH, TEXT_PLAIN)
        return deferLater(cast(Any, reactor), 0, lambda: reply) if self.later else reply

    def plain(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.addCleanup(client.close)
        return client

    def connect(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.authority.pem())
        client = context.wrap_socket(self.plain(), server_hostname="localhost")
        self.addCleanup(client.close)
        return client

    def records(self, number: int, one: bytes = b"") -> tuple[socket.socket, bytes]:
        """A connection, and so many requests for it, each in a record of its own."""
        context = ssl.create_default_context(cadata=self.authority.pem())
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        client = self.plain()
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                incoming.write(client.recv(65536))
        for _ in range(number):
            tls.write(one or request(method="GET", target="/a"))
        return client, outgoing.read()


class SlowReaderTests(TlsCase):
    async def test_who_asks_and_does_not_read_is_put_on_hold_and_left(self) -> None:
        """Nothing held it back: what it did not take grew without bound, and for ever."""
        await self.listen(Limits(write_timeout=SOON))
        client = await deferToThread(self.connect)

        def flood() -> int:
            sent = 0
            try:
                while sent < 100_000:
                    client.sendall(request(method="GET", target="/a") * 10)
                    sent += 10
            except OSError:
                pass
            return sent

        sent = await deferToThread(flood)
        await self.left
        self.assertLess(sent, 100_000)
        # The kernel takes some megabytes; all of it would be ten thousand.
        self.assertLess(len(self.asked) * self.LENGTH, 100_000_000)
        self.assertGreater(len(self.asked), 0)
        self.assertEqual(self.front.connections, set())

    async def test_many_requests_in_one_read_are_not_served_beyond_what_is_taken(self) -> None:
        """TLS hands over record by record all that it has read, also when told to pause."""
        self.LENGTH = 1_000_000
        await self.listen(Limits(write_timeout=SOON))
        client, records = await deferToThread(self.records, 500)
        await deferToThread(client.sendall, records)
        await self.left
        self.assertLess(len(self.asked), 50)

    async def test_bodies_that_grow_are_not_kept_beyond_the_limits(self) -> None:
        """Each is a record of a hundred octets, and one read brings hundreds."""
        self.LENGTH, self.later = 10, True
        await self.listen(Limits())
        post = request("Content-Encoding: gzip", body=gzip.compress(b"a" * 65536))
        client, records = await deferToThread(self.records, 300, post)
        self.front.limits = Limits(idle_timeout=SOON, linger=SOON, write_timeout=SOON)
        await deferToThread(client.sendall, records)
        await self.left
        self.assertGreater(self.front.most_held, 65536 * 16)
        self.assertLess(self.front.most_held, 65536 * 40)

    async def test_who_reads_late_gets_everything_in_order(self) -> None:
        self.LENGTH = 8_000_000
        await self.listen(Limits())

        def talk() -> tuple[list[str], bytes]:
            with self.connect() as client:
                first = request(method="GET", target="/a")
                client.sendall(first + request(method="GET", target="/b"))
                received = bytearray(client.recv(1))
                client.sendall(request("Connection: close", method="GET", target="/c"))
                before = list(self.asked)
                while piece := client.recv(1 << 20):
                    received += piece
                return before, bytes(received)

        before, received = await deferToThread(talk)
        await self.left
        self.assertEqual((before, self.asked), (["/a"], ["/a", "/b", "/c"]))
        bodies = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual(bodies, [letter * self.LENGTH for letter in (b"a", b"b", b"c")])
        self.assertEqual(self.lines, [])


class SilentPeerTests(TlsCase):
    """TLS waits for the other side's closing alert; umd does not."""

    async def test_who_is_idle_and_does_not_close(self) -> None:
        await self.listen(Limits())
        client = await deferToThread(self.connect)
        self.front.limits = Limits(idle_timeout=SOON, linger=SOON)  # from the answer on
        await deferToThread(client.sendall, request(method="GET", target="/a"))
        await self.left
        self.assertEqual(self.asked, ["/a"])

    async def test_who_connects_and_says_nothing(self) -> None:
        await self.listen(Limits(idle_timeout=SOON, linger=SOON))
        client = await deferToThread(self.plain)
        await self.left
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 1)

    async def test_who_never_ends_its_handshake(self) -> None:
        await self.listen(Limits(idle_timeout=SOON, linger=SOON))
        client = await deferToThread(self.plain)
        await deferToThread(client.sendall, b"\x16\x03\x01\x02\x00\x01")
        await self.left

    async def test_who_is_one_too_many_is_told_so(self) -> None:
        await self.listen(Limits(max_connections=0, linger=20.0))

        def talk() -> bytes:
            with self.connect() as client:
                return client.recv(1000)

        received = await deferToThread(talk)
        self.assertTrue(received.startswith(b"HTTP/1.1 503 "), received)
        await self.left

    async def test_who_is_one_too_many_and_says_nothing(self) -> None:
        await self.listen(Limits(max_connections=0, linger=SOON))
        _ = await deferToThread(self.plain)
        await self.left

    async def test_who_is_one_too_many_and_does_not_close(self) -> None:
        await self.listen(Limits(max_connections=0, linger=SOON))
        with contextlib.suppress(ConnectionResetError):  # before its handshake ends
            _ = await deferToThread(self.connect)
        await self.left
