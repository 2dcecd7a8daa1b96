"""The HTTP front over TLS and real sockets: slow and silent clients, ALPN, failed handshakes."""

from __future__ import annotations

import contextlib  # trial takes a `suppress` in a module for its own
import gzip
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.helpers import capturing_log, program
from tests.http.helpers import Authority, request
from umd.config.sections import TlsSection
from umd.daemon.certificates import read_credentials
from umd.http.connections import OpenConnection
from umd.http.exchange import TEXT_PLAIN, Reply, Request
from umd.http.front import Front
from umd.http.limits import Limits
from umd.http.rate_limited_log import MAX_LINES_PER_NETWORK
from umd.http.server_state import ServerState
from umd.http.tls import TlsServer, make_context

SOON = 0.2
"""Seconds; a limit that passes during the test."""


class WatchedState(ServerState):
    """Reports when no client is connected any more, and the largest size of buffered requests."""

    all_left: Deferred[None] | None = None
    max_buffered = 0
    _buffered = 0

    @property
    def buffered(self) -> int:
        return self._buffered

    @buffered.setter
    def buffered(self, octets: int) -> None:
        self._buffered = octets
        self.max_buffered = max(self.max_buffered, octets)

    def remove(self, connection: OpenConnection) -> None:
        super().remove(connection)
        all_left, self.all_left = self.all_left, None
        if all_left is not None:
            all_left.callback(None)


class TlsCase(TestCase):
    LENGTH = 100_000

    def setUp(self) -> None:
        self.paths: list[str] = []
        self.later = False
        """Whether the reply comes in a later turn of the reactor."""
        self.log, self.lines = capturing_log()
        self.authority = Authority("ours")
        certificate, key = self.authority.write("localhost", Path(self.mktemp()))
        self.section = TlsSection(certificate=certificate, key=key)
        self.tls = TlsServer(make_context(read_credentials(self.section)))

    async def listen(self, limits: Limits) -> None:
        real = cast(Any, reactor)
        self.front = Front(self.serve, real, self.log)
        self.state = self.front.state = WatchedState(self.serve, real, self.log, limits)
        self.left: Deferred[None] = Deferred()
        self.state.all_left = self.left
        wrapped = self.tls.wrap(self.front)
        port = real.listenTCP(0, wrapped, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.close()))

    async def wait_for_lines(self, number: int) -> None:
        """Wait for this number of log lines."""
        while len(self.lines) < number:
            await deferLater(cast(Any, reactor), 0.01)

    def serve(self, request: Request) -> Reply | Awaitable[Reply]:
        self.paths.append(request.path)
        reply = Reply(200, request.path.encode()[-1:] * self.LENGTH, TEXT_PLAIN)
        return deferLater(cast(Any, reactor), 0, lambda: reply) if self.later else reply

    def plain(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.addCleanup(client.close)
        return client

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.pem())

    def connect(
        self, context: ssl.SSLContext | None = None, name: str = "localhost"
    ) -> ssl.SSLSocket:
        context = context or self.trusting()
        client = context.wrap_socket(self.plain(), server_hostname=name)
        self.addCleanup(client.close)
        return client

    def records(self, number: int, message: bytes = b"") -> tuple[socket.socket, bytes]:
        """Return a connection and requests for it, each in a TLS record of its own."""
        context = self.trusting()
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
            tls.write(message or request(method="GET", target="/a"))
        return client, outgoing.read()


class SlowReaderTests(TlsCase):
    async def test_a_client_that_does_not_read_is_paused_and_disconnected(self) -> None:
        """Without back-pressure the responses that it does not take grow without limit."""
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
        self.assertLess(len(self.paths) * self.LENGTH, 100_000_000)
        self.assertGreater(len(self.paths), 0)
        self.assertEqual(len(self.state.connections), 0)

    async def test_many_requests_in_one_read_are_not_all_served(self) -> None:
        """TLS delivers all records that it has read, even when reading is paused."""
        self.LENGTH = 1_000_000
        await self.listen(Limits(write_timeout=SOON))
        client, records = await deferToThread(self.records, 500)
        await deferToThread(client.sendall, records)
        await self.left
        self.assertLess(len(self.paths), 50)

    async def test_decoded_bodies_are_kept_up_to_the_limits(self) -> None:
        """A record of 100 octets decodes to 64 KiB, and one read brings hundreds of records."""
        self.LENGTH, self.later = 10, True
        await self.listen(Limits())
        post = request("Content-Encoding: gzip", body=gzip.compress(b"a" * 65536))
        client, records = await deferToThread(self.records, 300, post)
        self.state.limits = Limits(idle_timeout=SOON, linger=SOON, write_timeout=SOON)
        await deferToThread(client.sendall, records)
        await self.left
        self.assertGreater(self.state.max_buffered, 65536 * 16)
        self.assertLess(self.state.max_buffered, 65536 * 40)

    async def test_a_slow_reader_gets_all_responses_in_order(self) -> None:
        self.LENGTH = 8_000_000
        await self.listen(Limits())

        def talk() -> tuple[list[str], bytes]:
            with self.connect() as client:
                first = request(method="GET", target="/a")
                client.sendall(first + request(method="GET", target="/b"))
                received = bytearray(client.recv(1))
                client.sendall(request("Connection: close", method="GET", target="/c"))
                before = list(self.paths)
                while piece := client.recv(1 << 20):
                    received += piece
                return before, bytes(received)

        before, received = await deferToThread(talk)
        await self.left
        self.assertEqual((before, self.paths), (["/a"], ["/a", "/b", "/c"]))
        bodies = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual(bodies, [letter * self.LENGTH for letter in (b"a", b"b", b"c")])
        self.assertEqual(self.lines, [])


class SilentPeerTests(TlsCase):
    """TLS waits for the closing alert of the client; umd waits for a limited time."""

    async def test_an_idle_client_that_does_not_close(self) -> None:
        await self.listen(Limits())
        client = await deferToThread(self.connect)
        self.state.limits = Limits(idle_timeout=SOON, linger=SOON)  # from the answer on
        await deferToThread(client.sendall, request(method="GET", target="/a"))
        await self.left
        self.assertEqual(self.paths, ["/a"])

    async def test_a_client_that_sends_nothing(self) -> None:
        await self.listen(Limits(head_timeout=SOON, linger=SOON))
        client = await deferToThread(self.plain)
        await self.left
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 1)

    async def test_a_handshake_that_never_ends(self) -> None:
        await self.listen(Limits(head_timeout=SOON, linger=SOON))
        client = await deferToThread(self.plain)
        await deferToThread(client.sendall, b"\x16\x03\x01\x02\x00\x01")
        await self.left

    async def test_one_client_too_many_gets_a_503(self) -> None:
        await self.listen(Limits(max_connections=0, linger=20.0))

        def talk() -> bytes:
            with self.connect() as client:
                return client.recv(1000)

        received = await deferToThread(talk)
        self.assertTrue(received.startswith(b"HTTP/1.1 503 "), received)
        await self.left

    async def test_one_client_too_many_that_sends_nothing(self) -> None:
        await self.listen(Limits(max_connections=0, linger=SOON))
        _ = await deferToThread(self.plain)
        await self.left

    async def test_one_client_too_many_that_does_not_close(self) -> None:
        await self.listen(Limits(max_connections=0, linger=SOON))
        with contextlib.suppress(ConnectionResetError):  # before its handshake ends
            _ = await deferToThread(self.connect)
        await self.left


class ProtocolTests(TlsCase):
    """ALPN: the protocol that umd selects from the offer of a client."""

    async def chosen(self, *offered: str) -> str | None:
        context = self.trusting()
        context.set_alpn_protocols(offered)

        def talk() -> str | None:
            with self.connect(context) as client:
                client.sendall(request("Connection: close", method="GET", target="/a"))
                self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 200 "))
                return client.selected_alpn_protocol()

        return await deferToThread(talk)

    async def test_http_1_1_is_selected_at_any_position(self) -> None:
        self.LENGTH = 10
        await self.listen(Limits())
        for offered in (
            ("http/1.1",),
            ("h2", "http/1.1"),
            ("http/1.0", "http/1.1"),
            ("http/1.1", "http/1.0", "h2c"),
            tuple(f"mine-{number}" for number in range(49)) + ("http/1.1",),
            ("\n\0", "x" * 255, "http/1.1"),
        ):
            self.assertEqual(await self.chosen(*offered), "http/1.1", offered)
        self.assertEqual(self.lines, [])

    async def test_http_1_0_if_the_client_offers_no_other_http_1(self) -> None:
        self.LENGTH = 10
        await self.listen(Limits())
        for offered in (("http/1.0",), ("http/0.9", "h2", "http/1.0")):
            self.assertEqual(await self.chosen(*offered), "http/1.0")

    async def test_a_client_without_alpn_is_served(self) -> None:
        self.LENGTH = 10
        await self.listen(Limits())
        self.assertIsNone(await self.chosen())

    async def test_an_offer_without_overlap_is_refused_with_its_alert(self) -> None:
        await self.listen(Limits())
        offers = (("h2",), ("acme-tls/1", "h2"), ("HTTP/1.1",), ("http/1.1 ",), ("http/1.11",))
        for offered in offers:
            with self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
                await self.chosen(*offered)
        self.assertEqual(self.paths, [])
        await self.wait_for_lines(len(offers))
        self.assertEqual({line["reason"] for line in self.lines}, {"no application protocol"})
        self.assertEqual({line["by"] for line in self.lines}, {"umd"})


class HandshakeCase(TlsCase):
    """Each failed handshake has one log line with its reason, its side and the address."""

    async def failure_line(self, send: Callable[[], object], limits: Limits | None = None) -> Any:
        """Let a handshake fail, and return its log line."""
        await self.listen(limits or Limits())
        with contextlib.suppress(OSError):  # the error of the client does not matter
            await deferToThread(send)
        await self.wait_for_lines(1)
        await self.left
        (line,) = self.lines
        self.assertEqual(
            (line["event"], line["log_level"], line["address"], line["suppressed"]),
            ("tls.handshake-failed", "warning", "127.0.0.1", 0),
        )
        self.assertEqual(self.paths, [])
        return line

    async def assert_reason(self, send: Callable[[], object], reason: str, by: str) -> None:
        line = await self.failure_line(send)
        self.assertEqual((line["reason"], line["by"]), (reason, by))

    def sender(self, octets: bytes) -> Callable[[], object]:
        """Return a client that sends these octets and reads until the end."""

        def send() -> None:
            with self.plain() as client:
                client.sendall(octets)
                while client.recv(1000):
                    pass

        return send


class HandshakeTests(HandshakeCase):
    async def test_a_client_that_does_not_know_the_authority(self) -> None:
        line = await self.failure_line(lambda: self.connect(ssl.create_default_context()))
        self.assertEqual((line["reason"], line["by"]), ("unknown ca", "client"))
        self.assertIn("the client does not trust tls.certificate", line["hint"])

    async def test_a_client_that_asks_for_another_name(self) -> None:
        await self.assert_reason(
            lambda: self.connect(name="elsewhere.example"), "bad certificate", "client"
        )

    async def test_a_client_of_an_old_version(self) -> None:
        context = self.trusting()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        await self.assert_reason(lambda: self.connect(context), "unsupported protocol", "umd")

    async def test_a_client_of_other_ciphers(self) -> None:
        context = self.trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the certificate is of another kind
        await self.assert_reason(lambda: self.connect(context), "no shared cipher", "umd")

    async def test_http_without_tls(self) -> None:
        line = await self.failure_line(self.sender(request(method="GET", target="/a")))
        self.assertEqual(
            (line["reason"], line["by"], line["hint"]), ("http request", "umd", "use https://")
        )

    async def test_another_protocol(self) -> None:
        client = self.sender(b"SSH-2.0-OpenSSH_9.2\r\n")
        await self.assert_reason(client, "wrong version number", "umd")

    async def test_octets_without_sense(self) -> None:
        await self.assert_reason(self.sender(bytes(100)), "wrong version number", "umd")

    async def test_a_client_that_closes_in_the_middle(self) -> None:
        def leave() -> None:
            with self.plain() as client:
                client.sendall(b"\x16\x03\x01\x02\x00\x01")

        await self.assert_reason(leave, "closed during handshake", "client")

    async def test_a_client_that_starts_with_close_notify(self) -> None:
        """The alert close_notify is the first record of the client."""
        await self.assert_reason(
            self.sender(b"\x15\x03\x01\x00\x02\x01\x00"), "unexpected message", "umd"
        )

    async def test_a_handshake_that_never_ends(self) -> None:
        line = await self.failure_line(
            self.sender(b"\x16\x03\x01\x02\x00\x01"), Limits(head_timeout=SOON)
        )
        self.assertEqual((line["reason"], line["by"]), ("timed out", "umd"))

    async def test_a_handshake_octet_by_octet(self) -> None:
        """A slow handshake succeeds if it ends within the limit."""
        self.LENGTH = 10
        await self.listen(Limits())

        def talk() -> bytes:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = self.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with self.plain() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        for octet in outgoing.read():
                            client.sendall(bytes([octet]))
                        incoming.write(client.recv(65536))
                tls.write(request("Connection: close", method="GET", target="/a"))
                for octet in outgoing.read():
                    client.sendall(bytes([octet]))
                while True:
                    incoming.write(client.recv(65536))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        return tls.read(1000)

        self.assertTrue((await deferToThread(talk)).startswith(b"HTTP/1.1 200 "))
        await self.left
        self.assertEqual(self.lines, [])

    async def test_a_port_scan_is_not_a_failure(self) -> None:
        """A client that connects and sends nothing is logged at level debug."""
        await self.listen(Limits())
        await deferToThread(lambda: self.plain().close())
        await self.wait_for_lines(1)
        (line,) = self.lines
        self.assertEqual(
            (line["event"], line["log_level"], line["address"]),
            ("tls.nothing-sent", "debug", "127.0.0.1"),
        )

    async def test_one_client_too_many_is_logged_once(self) -> None:
        await self.listen(Limits(max_connections=0, linger=SOON))
        await deferToThread(self.plain)
        await self.left
        self.assertEqual([line["event"] for line in self.lines], ["http.refused"])

    async def test_many_failures_do_not_fill_the_log(self) -> None:
        await self.listen(Limits())

        def fail_often() -> None:
            for _ in range(50):
                self.sender(b"GET / HTTP/1.0\r\n\r\n")()

        await deferToThread(fail_often)
        self.assertEqual(len(self.lines), MAX_LINES_PER_NETWORK)
        await self.front.close()
        self.assertEqual(self.lines[-1]["event"], "tls.handshake-failed-more")
        self.assertEqual(self.lines[-1]["suppressed"], 50 - MAX_LINES_PER_NETWORK)

    async def test_a_request_before_close_notify_is_served(self) -> None:
        """`openssl s_client <FILE` sends close_notify right after the request."""
        self.later = True
        await self.listen(Limits())

        def ask() -> None:
            with self.connect() as client:
                client.sendall(request(method="GET", target="/a"))
                with contextlib.suppress(OSError):
                    client.unwrap()

        await deferToThread(ask)
        await self.left
        self.assertEqual(self.paths, ["/a"])
        self.assertEqual(self.lines, [])

    async def test_versions(self) -> None:
        self.LENGTH = 10
        await self.listen(Limits())
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.trusting()
            context.minimum_version = context.maximum_version = version

            def talk(context: ssl.SSLContext = context) -> str | None:
                with self.connect(context) as client:
                    client.sendall(request("Connection: close", method="GET", target="/a"))
                    self.assertEqual(client.recv(15), b"HTTP/1.1 200 OK")
                    return client.version()

            self.assertEqual(await deferToThread(talk), version.name.replace("_", "."))

    async def test_any_server_name_is_accepted(self) -> None:
        self.LENGTH = 10
        await self.listen(Limits())
        context = self.trusting()
        context.check_hostname = False

        def talk(name: str) -> bytes:
            with self.connect(context, name) as client:
                client.sendall(request("Connection: close", method="GET", target="/a"))
                return client.recv(15)

        for name in ("other.example", "a" * 63 + ".example", "xn--nxasmq6b", "a_b", "*.example"):
            self.assertEqual(await deferToThread(talk, name), b"HTTP/1.1 200 OK")

    async def test_renegotiation_is_refused(self) -> None:
        """Renegotiation exists up to TLS 1.2. Requests before the attempt are served."""
        self.LENGTH = 10
        await self.listen(Limits())
        openssl = program("openssl", "openssl")

        def talk() -> bytes:
            where = ("-connect", f"127.0.0.1:{self.port}", "-tls1_2")
            done = subprocess.run(
                (openssl, "s_client", *where), input=b"R\n", capture_output=True, timeout=60
            )
            return done.stdout + done.stderr

        self.assertIn(b"no renegotiation", await deferToThread(talk))
        await self.left
        self.assertEqual(self.lines, [])


class ClientCertificateTests(HandshakeCase):
    """Client certificates with `tls.client_required`."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Authority("clients")
        authority = Path(self.mktemp())
        authority.write_text(self.clients.pem())
        section = self.section.model_copy(
            update={"client_ca": str(authority), "client_required": True}
        )
        self.tls = TlsServer(make_context(read_credentials(section)))

    def showing(self, *files: str) -> Callable[[], object]:
        context = self.trusting()
        if files:
            context.load_cert_chain(*files)

        def talk() -> None:
            with self.connect(context) as client:
                client.recv(1)  # TLS 1.3 reports the refusal only now

        return talk

    async def test_none(self) -> None:
        await self.assert_reason(self.showing(), "client certificate missing", "umd")

    async def test_expired(self) -> None:
        files = self.clients.write("pbx", Path(self.mktemp()), days=(-2, -1))
        await self.assert_reason(self.showing(*files), "client certificate expired", "umd")

    async def test_not_yet_valid(self) -> None:
        files = self.clients.write("pbx", Path(self.mktemp()), days=(1, 2))
        await self.assert_reason(self.showing(*files), "client certificate not yet valid", "umd")

    async def test_of_another_authority(self) -> None:
        files = Authority("others").write("pbx", Path(self.mktemp()))
        await self.assert_reason(self.showing(*files), "client certificate of unknown ca", "umd")

    async def test_signed_by_itself(self) -> None:
        files = Authority("clients").write("clients", Path(self.mktemp()))
        await self.assert_reason(self.showing(*files), "client certificate of unknown ca", "umd")
