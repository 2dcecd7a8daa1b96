"""The HTTP front over a string transport: framing, limits, order, clients that disconnect."""

from __future__ import annotations

import gc
from collections.abc import Awaitable
from ipaddress import ip_network
from typing import Any

import jwt
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log
from tests.http.helpers import read, request
from umd.call.principal import Principal
from umd.http.admission import MIN_ADMITTED
from umd.http.authentication import Authenticator
from umd.http.exchange import TEXT_XML, Reply, Request
from umd.http.front import Front
from umd.http.hosts import allowed_hosts
from umd.http.limits import Limits
from umd.http.rate_limited_log import INTERVAL, MAX_LINES_PER_NETWORK
from umd.http.rules import Rules
from umd.http.tokens import TokenVerifier


class Body(bytes):
    """Octets that count how many of their instances are alive."""

    alive = 0

    def __new__(cls, octets: bytes) -> Body:
        cls.alive += 1
        return super().__new__(cls, octets)

    def __del__(self) -> None:
        Body.alive -= 1


class FrontCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.requests: list[Request] = []
        self.replies: list[Deferred[Reply]] = []
        self.clock = Clock()
        self.log, self.lines = capturing_log()
        self.limits = Limits(max_body=1024)
        self.front = Front(self.serve, self.clock, self.log, self.limits)
        self.state = self.front.state
        self.connect()

    def serve(self, request: Request) -> Reply | Awaitable[Reply]:
        self.requests.append(request)
        waiting: Deferred[Reply] = Deferred()
        self.replies.append(waiting)
        return waiting

    def connect(self, host: str = "192.168.1.1") -> None:
        self.channel = self.front.buildProtocol(IPv4Address("TCP", host, 54321))
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def send(self, octets: bytes) -> None:
        self.channel.dataReceived(octets)

    def post(self, body: bytes = b"<a/>", *headers: bytes, path: bytes = b"/x") -> None:
        lines = (
            b"POST %s HTTP/1.1" % path,
            b"Host: h",
            b"Content-Length: %d" % len(body),
            *headers,
        )
        self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def reply(self, index: int = 0, body: bytes = b"<ok/>") -> None:
        self.replies[index].callback(Reply(200, body, TEXT_XML, {"X-UMD-Outcome": "ended"}))

    def sent(self) -> bytes:
        octets: bytes = self.transport.value()
        self.transport.clear()
        return octets


class RequestTests(FrontCase):
    def test_a_post_is_served(self) -> None:
        self.post(b"<a/>", b"Content-Type: text/xml", path=b"/EWS/x.asmx?q=1")
        (request,) = self.requests
        self.assertEqual(request.principal, Principal.anonymous("192.168.1.1"))
        self.assertEqual(request.method, "POST")
        self.assertEqual((request.path, request.query), ("/EWS/x.asmx", "q=1"))
        self.assertEqual((request.scheme, request.host), ("http", "h"))
        self.assertEqual((request.headers["content-type"], request.body), ("text/xml", b"<a/>"))
        self.assertEqual(self.sent(), b"")
        self.reply()
        head, _, sent_body = self.sent().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"HTTP/1.1 200 OK")
        self.assertIn(b"Content-Length: 5", lines)
        self.assertIn(b"Content-Type: text/xml; charset=utf-8", lines)
        self.assertIn(b"X-UMD-Outcome: ended", lines)
        self.assertEqual(len([line for line in lines if line.startswith(b"Date: ")]), 1)
        self.assertEqual(sent_body, b"<ok/>")
        self.assertFalse(self.transport.disconnecting)

    def test_octet_by_octet(self) -> None:
        request = (
            b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
        )
        for octet in request:
            self.send(bytes([octet]))
        self.assertEqual(self.requests[0].body, b"abcd")

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        self.post(b"one")
        self.post(b"two")
        self.assertEqual([request.body for request in self.requests], [b"one"])
        self.reply(0, b"<1/>")
        self.assertEqual([request.body for request in self.requests], [b"one", b"two"])
        self.reply(1, b"<2/>")
        sent = self.sent()
        self.assertLess(sent.index(b"<1/>"), sent.index(b"<2/>"))

    def test_expect_100_continue(self) -> None:
        self.send(
            b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertEqual(self.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.send(b"abc")
        self.assertEqual(self.requests[0].body, b"abc")

    def test_http_1_0_is_answered_and_closed(self) -> None:
        self.send(b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
        self.reply()
        self.assertIn(b"Connection: close", self.sent())
        self.assertTrue(self.transport.disconnecting)

    def test_other_methods_are_refused_with_allow(self) -> None:
        for method, status in ((b"OPTIONS", 405), (b"PUT", 405), (b"DELETE", 405), (b"BREW", 501)):
            self.connect()
            self.send(method + b" /x HTTP/1.1\r\nHost: h\r\n\r\n")
            sent = self.sent()
            self.assertTrue(sent.startswith(b"HTTP/1.1 %d " % status), sent)
            self.assertIn(b"Allow: GET, HEAD, POST", sent)
            self.assertIn(b"Connection: close", sent)
            self.assertEqual(self.lines.pop()["event"], "http.refused")
        self.assertEqual(self.requests, [])

    def test_a_head_is_a_get_without_the_body(self) -> None:
        for method in (b"GET", b"HEAD"):
            self.send(method + b" /x?wsdl HTTP/1.1\r\nHost: umd.example:81\r\n\r\n")
            request = self.requests[-1]
            self.assertEqual((request.method, request.query, request.body), ("GET", "wsdl", b""))
            self.assertEqual(request.host, "umd.example:81")
            self.reply(-1)
            head, _, body = self.sent().partition(b"\r\n\r\n")
            self.assertIn(b"Content-Length: 5", head)
            self.assertEqual(body, b"<ok/>" if method == b"GET" else b"")

    def test_without_host_the_request_has_the_local_address(self) -> None:
        self.send(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertRegex(self.requests[0].host, r"^[\d.]+:\d+$")

    def test_tls_on_a_plain_port_is_closed_at_once(self) -> None:
        self.send(b"\x16\x03\x01\x02\x00\x01")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.sent(), b"")
        self.assertEqual([line["event"] for line in self.lines], ["http.tls-on-plain-port"])

    def test_repeated_tls_on_a_plain_port_does_not_fill_the_log(self) -> None:
        for _ in range(100):
            self.connect()
            self.channel.dataReceived(b"\x16\x03\x01\x02\x00\x01")
        self.assertEqual(len(self.lines), MAX_LINES_PER_NETWORK)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.lines[-1]["event"], "http.tls-on-plain-port-more")
        self.assertEqual(self.lines[-1]["suppressed"], 100 - MAX_LINES_PER_NETWORK)

    def test_a_form_is_not_parsed(self) -> None:
        self.post(b"a=1&b=2", b"Content-Type: application/x-www-form-urlencoded")
        self.assertEqual(self.requests[0].body, b"a=1&b=2")

    def test_an_unexpected_error_is_logged_and_not_shown(self) -> None:
        self.post()
        self.replies[0].errback(RuntimeError("secret"))
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 500 "))
        self.assertNotIn(b"secret", sent)
        self.assertEqual([line["event"] for line in self.lines], ["http.failed"])


class ProxyTests(FrontCase):
    """A trusted proxy names the user in a header field."""

    def setUp(self) -> None:
        super().setUp()
        rules = Rules(proxies=(ip_network("192.168.1.1"),))
        self.state.authenticator = Authenticator(rules, self.clock, self.log, self.state.busy)

    def test_the_user_of_the_proxy(self) -> None:
        self.post(b"<a/>", b"X-Forwarded-User: CN=alice, O=Example")
        self.assertEqual(self.requests[0].principal.name, "CN=alice, O=Example")

    def test_two_user_headers_are_refused(self) -> None:
        """The client's own header, let through by the proxy, had been joined to the name."""
        for first, second in ((b"alice", b"mallory"), (b"alice", b"alice"), (b"alice", b"")):
            self.post(b"<a/>", b"X-Forwarded-User: " + first, b"x-forwarded-USER: " + second)
            self.assertTrue(self.sent().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.requests, [])


class RememberedPrincipalTests(FrontCase):
    """A client repeats its credentials on a connection, and is not authenticated each time."""

    def setUp(self) -> None:
        super().setUp()
        self.state.authenticator = Authenticator(
            self.rules(b"x" * 32), self.clock, self.log, self.state.busy
        )

    def rules(self, key: bytes) -> Rules:
        return Rules(tokens=TokenVerifier(key, ["HS256"], "umd", "i"))

    def ask(self, key: bytes) -> int:
        """Send a request with a token that this key signs; return the status of the response."""
        claims = {"sub": "alice", "aud": "umd", "iss": "i", "exp": 1 << 40}
        served = len(self.requests)
        self.post(b"<a/>", b"Authorization: Bearer " + jwt.encode(claims, key, "HS256").encode())
        if len(self.requests) > served:
            self.reply(-1)
        self.clock.advance(4.0)
        return int(self.sent()[9:12])

    def test_new_rules_hold_on_an_open_connection(self) -> None:
        self.assertEqual(self.ask(b"x" * 32), 200)
        assert self.state.authenticator is not None
        self.state.authenticator.rules = self.rules(b"y" * 32)
        self.assertEqual(self.ask(b"x" * 32), 401)

    def test_wrong_credentials_do_not_revive_those_of_old_rules(self) -> None:
        """A failed attempt marked the principal of the old rules as valid under the new rules."""
        self.assertEqual(self.ask(b"x" * 32), 200)
        assert self.state.authenticator is not None
        self.state.authenticator.rules = self.rules(b"y" * 32)
        self.assertEqual(self.ask(b"z" * 32), 401)
        self.assertEqual(self.ask(b"x" * 32), 401)


class HostTests(FrontCase):
    """A request with a host name that is not umd's may be the result of DNS rebinding."""

    def setUp(self) -> None:
        super().setUp()
        self.state.allowed_hosts = allowed_hosts(
            ["umd.example"], trusts_local_clients=True, is_private=True
        )

    def ask(self, host: str, version: str = "1.1", target: str = "/x") -> int:
        self.connect()
        served = len(self.requests)
        self.send(f"GET {target} HTTP/{version}\r\nHost: {host}\r\n\r\n".encode())
        if len(self.requests) > served:
            self.reply(-1)
        status = int(self.sent()[9:12])
        self.assertEqual(self.transport.disconnecting, status != 200 or version == "1.0")
        return status

    def test_names_of_umd(self) -> None:
        own = self.transport.getHost().host
        for host in (
            "localhost", "LocalHost:8080", "localhost.:1", "127.0.0.1", "127.0.0.1:8080", "[::1]",
            "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", "[::FFFF:127.0.0.1]", "umd.example:80",
            "UMD.EXAMPLE.", own, f"{own}:8080",
        ):  # fmt: skip
            self.assertEqual(self.ask(host), 200, host)
        self.connect()
        self.send(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertEqual(len(self.requests), 14)

    def test_other_names(self) -> None:
        for host in (
            "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
            "umd.example.evil.example", "xumd.example", "localhost..", "127.0.0.2", "[::2]:80",
            "localhost%2eevil.example", "localhost,evil.example",
        ):  # fmt: skip
            self.assertEqual(self.ask(host), 421, host)
            self.assertEqual(self.ask(host, "1.0"), 421, host)
        self.assertEqual(self.requests, [])
        self.assertEqual(self.lines[0]["host"], "evil.example")

    def test_the_host_of_an_absolute_target_goes_before_host(self) -> None:
        for version in ("1.1", "1.0"):
            for name in ("umd.example", "LOCALHOST:8080", "[::1]", "127.0.0.1:1"):
                for scheme in ("http", "HTTPS"):
                    target = f"{scheme}://{name}/x"
                    self.assertEqual(self.ask("evil.example", version, target), 200, target)
                    request = self.requests[-1]
                    self.assertEqual((request.scheme, request.host), (scheme.lower(), name))
            for name in ("evil.example", "localhost.evil.example:80", "127.0.0.2", "%6cocalhost"):
                target = f"http://{name}/x"
                self.assertEqual(self.ask("localhost", version, target), 421, target)

    def test_a_unix_socket_is_reached_by_no_browser(self) -> None:
        self.channel = self.front.buildProtocol(UNIXAddress(None))
        self.transport = StringTransport(hostAddress=UNIXAddress(b"/run/umd/http.sock"))
        self.channel.makeConnection(self.transport)
        self.post()
        self.assertEqual(len(self.requests), 1)

    def test_when_the_host_is_checked(self) -> None:
        self.assertIsNotNone(allowed_hosts((), trusts_local_clients=True, is_private=True))
        self.assertIsNotNone(allowed_hosts(["a"], trusts_local_clients=False, is_private=False))
        self.assertIsNone(allowed_hosts((), trusts_local_clients=False, is_private=True))
        self.assertIsNone(allowed_hosts((), trusts_local_clients=True, is_private=False))
        self.assertIsNone(allowed_hosts(["*"], trusts_local_clients=True, is_private=True))


class LimitTests(FrontCase):
    def test_a_body_at_the_limit(self) -> None:
        self.post(b"a" * 1024)
        self.assertEqual(len(self.requests), 1)

    def test_a_body_over_the_limit_is_not_kept(self) -> None:
        self.post(b"a" * 1025)
        self.refused()

    def test_a_chunked_body_over_the_limit(self) -> None:
        chunk = b"200\r\n" + b"a" * 0x200 + b"\r\n"
        self.send(b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3)
        self.refused()

    def test_a_long_body_is_refused_before_it_comes(self) -> None:
        self.send(
            b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        self.refused()
        self.send(b"a" * 5000)
        self.assertEqual(self.sent(), b"")

    def refused(self) -> None:
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 413 "), sent)
        self.assertIn(b"Connection: close", sent)
        self.assertNotIn(b"100 Continue", sent)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.requests, [])

    def test_an_unprintable_header_value_is_an_internal_error(self) -> None:
        self.post()
        self.replies[0].callback(Reply(200, b"", TEXT_XML, {"X": "a\r\nSet-Cookie: b"}))
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 500 "), sent)
        self.assertNotIn(b"Set-Cookie", sent)


class TimeTests(FrontCase):
    """Deadlines of a connection, by the default limits."""

    def test_a_silent_connection_is_closed(self) -> None:
        for _ in range(2):
            self.clock.pump([0.1] * 749)
            self.assertFalse(self.transport.disconnecting)
            self.post()
            self.reply(-1)
        self.clock.advance(75.1)
        self.assertTrue(self.transport.disconnecting)

    def test_empty_lines_do_not_keep_it_open(self) -> None:
        self.clock.advance(74.0)
        self.send(b"\r\n")
        self.clock.advance(2.0)
        self.assertTrue(self.transport.disconnecting)

    def test_an_unfinished_head(self) -> None:
        for octet in b"POST /x H":
            self.send(bytes([octet]))
            self.clock.advance(1.0)
        self.assertEqual(self.sent(), b"")
        self.clock.advance(1.1)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 408 "))
        self.assertTrue(self.transport.disconnecting)

    def test_a_slow_body(self) -> None:
        self.state.limits = Limits(min_body_rate=10)
        self.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(10):
            self.send(b"a" * 20)
            self.clock.advance(2.0)
        self.assertEqual(self.sent(), b"")
        for _ in range(10):
            self.send(b"a" * 2)
            self.clock.advance(2.0)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(self.requests, [])

    def test_a_client_that_waits_for_a_response_is_not_timed_out(self) -> None:
        self.post()
        self.clock.advance(200.0)
        self.reply()
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 200 "))
        self.assertFalse(self.transport.disconnecting)

    def test_no_timer_is_left(self) -> None:
        """Any number of requests needs one timer, and none is left after the last connection."""
        for _ in range(100):
            self.post()
            self.reply(-1)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 2)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class CrowdTests(FrontCase):
    """Pipelining, floods, and too many connections, requests or octets."""

    def test_reading_pauses_when_many_requests_are_queued(self) -> None:
        for _ in range(self.limits.max_pipelined):
            self.post()
            self.assertEqual(self.transport.producerState, "producing")
        self.post()
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(len(self.requests), 1)
        for number in range(self.limits.max_pipelined + 1):
            self.reply(number, b"<%d/>" % number)
        self.assertEqual(self.transport.producerState, "producing")
        sent = self.sent()
        places = [sent.index(b"<%d/>" % number) for number in range(17)]
        self.assertEqual(places, sorted(places))

    def test_reading_pauses_earlier_for_long_bodies(self) -> None:
        for _ in range(3):
            self.post(b"a" * 1024)
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(self.state.buffered, 3072)
        self.reply(0)
        self.reply(1)
        self.assertEqual((self.transport.producerState, self.state.buffered), ("producing", 1024))
        self.reply(2)
        self.assertEqual(self.state.buffered, 0)

    def test_a_flood_in_one_read_ends_the_connection(self) -> None:
        self.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n" * 3640)
        for number in range(16):
            self.reply(number)
        sent = self.sent()
        self.assertEqual(sent.count(b"HTTP/1.1 200 OK"), 16)
        self.assertEqual(sent.count(b"HTTP/1.1 400 Bad Request"), 1)
        self.assertTrue(self.transport.disconnecting)

    def test_good_requests_are_answered_before_the_error(self) -> None:
        self.post()
        self.send(b"garbage\r\n\r\n")
        self.assertEqual(self.sent(), b"")
        self.reply()
        sent = self.sent()
        self.assertLess(sent.index(b"HTTP/1.1 200 "), sent.index(b"HTTP/1.1 400 "))
        self.assertTrue(self.transport.disconnecting)
        self.post()
        self.assertEqual(len(self.requests), 1)

    def test_a_100_continue_waits_for_its_turn(self) -> None:
        self.post()
        self.send(
            b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertEqual(self.sent(), b"")
        self.reply()
        self.assertTrue(self.sent().endswith(b"<ok/>HTTP/1.1 100 Continue\r\n\r\n"))

    def test_too_many_connections(self) -> None:
        self.state.limits = Limits(max_connections=3, max_connections_per_address=2)
        self.connect()
        self.assertEqual(self.sent(), b"")
        self.connect()
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 503 "), sent)
        self.assertIn(b"Retry-After: 1", sent)
        self.assertTrue(self.transport.disconnecting)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.connect("192.168.1.2")
        self.assertEqual(self.sent(), b"")
        self.connect("192.168.1.3")
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 503 "))

    def test_a_network_of_ipv6_counts_as_one_client(self) -> None:
        self.state.limits = Limits(max_connections_per_address=2)
        for host, full in (("2001:db8::1", False), ("2001:db8::2", False), ("2001:db8::3", True),
                           ("2001:db8:0:1::1", False), ("::ffff:192.0.2.1", False)):  # fmt: skip
            self.channel = self.front.buildProtocol(IPv6Address("TCP", host, 54321))
            transport = StringTransport()
            self.channel.makeConnection(transport)
            self.assertEqual(transport.value().startswith(b"HTTP/1.1 503 "), full, host)
        while len(self.state.connections) > 1:
            connection: Any = next(iter(self.state.connections))
            connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.state.connections._per_network.total(), 1)

    def test_a_refused_client_that_stays_is_disconnected(self) -> None:
        """Without this deadline one address could hold every file descriptor."""
        self.state.limits = Limits(max_connections=1, linger=2.0)
        self.connect("192.168.1.2")
        self.assertEqual(len(self.state.connections), 2)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(2.1)
        self.assertTrue(self.transport.disconnected)

    def test_too_many_requests(self) -> None:
        self.state.limits = Limits(max_waiting=1)
        self.post()
        self.connect()
        self.post()
        sent = self.sent()
        self.assertTrue(sent.startswith(b"HTTP/1.1 503 "), sent)
        self.assertIn(b"Retry-After: 1", sent)
        self.reply()
        self.connect()
        self.post()
        self.assertEqual(len(self.requests), 2)

    def test_too_much_memory(self) -> None:
        self.state.limits = Limits(max_held=1500)
        half = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n" + b"a" * 1000
        self.send(half)
        self.assertEqual(self.sent(), b"")
        self.connect()
        self.send(half)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 503 "))
        self.assertEqual(self.state.buffered, 1000)

    def test_requests_that_are_served_count_as_memory(self) -> None:
        """Bodies of requests that wait for a reply count too."""
        self.state.limits = Limits(max_held=1500)
        for held in (1000, 2000):
            self.connect()
            self.post(b"a" * 1000)
            self.assertEqual(self.state.buffered, held)
        self.connect()
        self.post(b"a" * 1000)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 503 "))
        self.assertEqual(len(self.requests), 2)
        self.reply(0)
        self.assertEqual(self.state.buffered, 1000)
        self.connect()
        self.post(b"a" * 1000)
        self.assertEqual(len(self.requests), 3)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.state.buffered, 1000)

    def test_a_delayed_response_keeps_no_body(self) -> None:
        """The body of a request with wrong credentials is dropped during the delay."""
        rules = Rules(tokens=TokenVerifier(b"x" * 32, ["HS256"], "umd", "i"))
        self.state.authenticator = Authenticator(rules, self.clock, self.log, self.state.busy)
        forged = jwt.encode({"sub": "alice"}, b"y" * 32, "HS256")
        (bearer,) = (head for head, _ in read(request(f"Authorization: Bearer {forged}")).complete)
        for _ in range(3):
            self.connect()
            self.channel.reader.complete.append((bearer, Body(b"a" * 1000)))
            self.channel.dataReceived(b"\r\n")
        gc.collect()
        self.assertEqual((Body.alive, self.state.buffered, self.state.pending_requests), (0, 0, 3))
        self.assertEqual(self.sent(), b"")
        self.clock.advance(4.0)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 401 "))

    def test_overload_rejects_some_requests(self) -> None:
        """A rejected client keeps its connection: a new one would cost more than the 503."""
        for _ in range(2):
            for _ in range(2 * MIN_ADMITTED):
                self.post()
                self.reply(-1)
            self.clock.advance(0.4)
        self.sent()
        before = len(self.requests)
        for _ in range(2 * MIN_ADMITTED):
            self.post()
            if len(self.requests) > before:
                before += 1
                self.reply(-1)
        sent = self.sent()
        self.assertEqual(sent.count(b"HTTP/1.1 200 "), MIN_ADMITTED)
        self.assertEqual(sent.count(b"HTTP/1.1 503 "), MIN_ADMITTED)
        self.assertEqual(sent.count(b"Retry-After: 1"), MIN_ADMITTED)
        self.assertNotIn(b"Connection: close", sent)
        self.assertFalse(self.transport.disconnecting)
        refused = [line for line in self.lines if line["event"] == "http.refused"]
        self.assertEqual(len(refused), MIN_ADMITTED)
        self.assertEqual(refused[0]["why"], "umd is too busy. Try again later.")
        self.clock.pump([0.01] * 100)
        self.post()
        self.reply(-1)
        self.assertTrue(self.sent().startswith(b"HTTP/1.1 200 "))


class DisconnectTests(FrontCase):
    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    def test_a_client_that_disconnects_cancels_only_its_wait(self) -> None:
        self.post()
        self.lose()
        self.assertTrue(self.replies[0].called)
        self.assertEqual(len(self.state.connections), 0)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.lines, [])
        self.successResultOf(ensureDeferred(self.front.answered()))

    def test_drain_answers_requests_and_closes_idle_connections(self) -> None:
        self.post()
        busy = self.transport
        self.connect()
        idle = self.transport
        self.front.close_idle()
        drained = ensureDeferred(self.front.answered())
        self.assertTrue(idle.disconnecting)
        self.assertNoResult(drained)
        self.assertFalse(busy.disconnecting)
        self.reply()
        self.successResultOf(drained)
        self.assertIn(b"Connection: close", busy.value())
        self.assertTrue(busy.disconnecting)
