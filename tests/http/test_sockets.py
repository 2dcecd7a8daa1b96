"""The HTTP front over real sockets: resets, slow readers, DNS rebinding."""

from __future__ import annotations

import signal
import socket
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.helpers import capturing_log
from tests.http.helpers import request
from tests.soap.test_contract import disconnect
from umd.http.exchange import TEXT_PLAIN, Reply, Request
from umd.http.front import Front
from umd.testing import UmdProcess


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.umd = UmdProcess("serve", "-o", "http.hosts=h")
        self.umd.__enter__()
        self.addCleanup(self.umd.stop)

    def connect(self) -> socket.socket:
        host, _, port = self.umd.url.split("/")[2].rpartition(":")
        client = socket.create_connection((host, int(port)), timeout=20)
        self.addCleanup(client.close)
        return client

    def rest(self, client: socket.socket) -> bytes:
        """Return everything that the client receives until the end."""
        received = bytearray()
        while piece := client.recv(65536):
            received += piece
        return bytes(received)

    def test_a_client_that_still_sends_can_read_the_refusal(self) -> None:
        """umd does not reset the connection before the client has read (RFC 9112 section 9.6)."""
        client = self.connect()
        client.sendall(request(body=b"").replace(b"Length: 0", b"Length: 9000000"))
        try:
            for _ in range(90):
                client.sendall(b"a" * 100_000)
        except ConnectionError as error:
            self.fail(f"reset while sending: {error}")
        client.shutdown(socket.SHUT_WR)
        received = self.rest(client)
        self.assertTrue(received.startswith(b"HTTP/1.1 413 "), received)
        self.assertIn(b"Connection: close\r\n", received)

    def test_octet_by_octet(self) -> None:
        client = self.connect()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in request("Connection: close", body=b"<a/>", target="/ews/um2007legacy.asmx"):
            client.send(bytes([octet]))
        self.assertTrue(self.rest(client).startswith(b"HTTP/1.1 415 "))

    def test_a_client_that_leaves_at_once(self) -> None:
        for _ in range(50):
            client = self.connect()
            client.sendall(request(body=b"<a/>"))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        client = self.connect()
        client.sendall(request("Connection: close", method="GET"))
        self.assertTrue(self.rest(client).startswith(b"HTTP/1.1 404 "))
        self.assertEqual(self.umd.events("http.failed"), [])


class RebindingTests(SynchronousTestCase):
    """A page from another site makes a browser on this machine send requests to umd."""

    def ask(self, umd: UmdProcess, host: str) -> int:
        client = HTTPConnection(umd.url.split("/")[2], timeout=20)
        self.addCleanup(client.close)
        body = disconnect("x")
        client.request(
            "POST",
            "/EWS/UM2007Legacy.asmx",
            body,
            {"Host": host, "Content-Type": "text/xml", "X-Forwarded-User": "operator"},
        )
        with client.getresponse() as answer:
            answer.read()
            return answer.status

    def test_without_authentication_umd_checks_the_host(self) -> None:
        with UmdProcess("serve") as umd:
            port = umd.url.split("/")[2].rpartition(":")[2]
            self.assertEqual(self.ask(umd, f"localhost:{port}"), 500)
            self.assertEqual(self.ask(umd, f"127.0.0.1:{port}"), 500)
            self.assertEqual(self.ask(umd, f"evil.example:{port}"), 421)
            umd.wait_for("http.refused", status=421, host=f"evil.example:{port}")

    def test_a_page_cannot_pose_as_a_proxy(self) -> None:
        """A page may send any header field to the host that it came from."""
        file = Path(self.mktemp()).absolute()
        file.write_text('[auth]\ntrusted_proxies = ["127.0.0.0/8"]\n')
        with UmdProcess("serve", "-c", str(file)) as umd:
            self.assertEqual(self.ask(umd, "evil.example"), 421)
            self.assertEqual(self.ask(umd, "127.0.0.1:8080"), 500)

    def test_a_name_is_added_at_a_reload(self) -> None:
        file = Path(self.mktemp()).absolute()
        file.write_text("")
        with UmdProcess("serve", "-c", str(file)) as umd:
            self.assertEqual(self.ask(umd, "umd.example"), 421)
            file.write_text('[http]\nhosts = ["umd.example"]\n')
            umd.process.send_signal(signal.SIGHUP)
            umd.wait_for("config.reloaded")
            self.assertEqual(self.ask(umd, "umd.example"), 500)
            self.assertEqual(self.ask(umd, "evil.example"), 421)


class SlowReaderTests(TestCase):
    LENGTH = 8_000_000

    async def test_a_slow_reader_gets_all_responses_in_order(self) -> None:
        """umd keeps the rest of a response, and serves no further request meanwhile."""
        paths: list[str] = []

        def serve(request: Request) -> Reply:
            paths.append(request.path)
            return Reply(200, request.path.encode() * (self.LENGTH // 2), TEXT_PLAIN)

        log, lines = capturing_log()
        real = cast(Any, reactor)
        front = Front(serve, real, log)
        port = real.listenTCP(0, front, interface="127.0.0.1")

        def talk() -> tuple[list[str], bytes]:
            with socket.create_connection(("127.0.0.1", port.getHost().port), 20) as client:
                first = request(method="GET", target="/a")
                client.sendall(first + request(method="GET", target="/b"))
                received = bytearray(client.recv(1))
                client.sendall(request("Connection: close", method="GET", target="/c"))
                before = list(paths)
                while piece := client.recv(1 << 20):
                    received += piece
                return before, bytes(received)

        before, received = await deferToThread(talk)
        await front.close()
        await port.stopListening()
        self.assertEqual((before, paths), (["/a"], ["/a", "/b", "/c"]))
        bodies = [part.split(b"\r\n\r\n")[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual([len(body) for body in bodies], [self.LENGTH] * 3)
        self.assertEqual([body[:2] for body in bodies], [b"/a", b"/b", b"/c"])
        self.assertEqual(lines, [])
