"""
Header fields that a server may ignore: a request with one is served like a request without it.

The most important one is Upgrade (RFC 9110 section 7.8). llhttp would treat the body of such a
request as octets of the other protocol.
"""

from __future__ import annotations

import re
from itertools import chain

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log
from tests.http.helpers import SPLITS, chunked, pieces, request
from tests.http.test_corpora import gunicorn, llhttp
from umd.http.exchange import TEXT_PLAIN, Reply, Request
from umd.http.front import Front

TE = "Transfer-Encoding: chunked"
STATUS = re.compile(rb"^HTTP/1\.1 (\d+) ", re.MULTILINE)
CONNECTION = re.compile(rb"(?<=\n)connection:[ \t]*", re.IGNORECASE)
SMUGGLED = request(method="GET", target="/smuggled")


class OfferCase(SynchronousTestCase):
    def setUp(self) -> None:
        log, self.lines = capturing_log()
        self.front = Front(self.serve, Clock(), log)
        self.requests: list[Request] = []

    def serve(self, request: Request) -> Reply:
        self.requests.append(request)
        return Reply(200, b"", TEXT_PLAIN)

    def exchange(self, octets: bytes, size: int) -> tuple[list[bytes], list[tuple[str, bytes]]]:
        """Send octets; return the statuses of the responses, and path and body of each request."""
        self.requests.clear()
        connection = self.front.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport = StringTransport()
        connection.makeConnection(transport)
        for piece in pieces(octets, size):
            connection.dataReceived(piece)
        connection.connectionLost(Failure(ConnectionDone()))
        return STATUS.findall(transport.value()), [(item.path, item.body) for item in self.requests]


def with_offer(octets: bytes, upgrade: bytes = b"Upgrade: h2c", token: bytes = b"Upgrade") -> bytes:
    """Return the octets with an Upgrade field, and its token in Connection, in the first head."""
    line, line_end, rest = octets.partition(b"\r\n")
    head, blank, body = rest.partition(b"\r\n\r\n")
    head = b"\r\n" + head
    extended, found = CONNECTION.subn(lambda match: match[0] + token + b", ", head, count=1)
    if not found:
        extended = b"\r\nConnection: " + token + head
    return line + line_end + upgrade + extended + blank + body


class DifferentialTests(OfferCase):
    """Each request of the corpora, with the offer and without it."""

    def test_an_upgrade_does_not_change_the_responses(self) -> None:
        compared = 0
        for case in chain(gunicorn(), llhttp()):
            if b"\r\n" not in case.octets:
                continue
            for upgrade, token in (
                (b"Upgrade: h2c", b"Upgrade"),
                (b"uPGRADE:websocket, TLS/1.0", b"keep-alive, upgrade"),
                (b"HTTP2-Settings: AAMAAABk\r\nUpgrade: h2c", b"HTTP2-Settings, Upgrade"),
            ):
                # A name of the same length, so that the head reaches the same limits.
                plain = with_offer(
                    case.octets,
                    re.sub(rb"(?i)upgrade", b"xpgrade", upgrade),
                    re.sub(rb"(?i)upgrade", b"xpgrade", token),
                )
                offer = with_offer(case.octets, upgrade, token)
                for size in SPLITS:
                    responses = self.exchange(plain, size)
                    self.assertEqual(self.exchange(offer, size), responses, (case.file, size))
                compared += 1
            responses = self.exchange(case.octets, SPLITS[0])
            with_upgrade = self.exchange(with_offer(case.octets), SPLITS[0])
            self.assertEqual(with_upgrade, responses, case.file)
        self.assertGreater(compared, 800)


class UpgradeTests(OfferCase):
    def served(self, octets: bytes, *expected: tuple[str, bytes]) -> None:
        for size in SPLITS:
            statuses, served = self.exchange(octets, size)
            self.assertEqual(served, list(expected), (octets[:200], size))
            self.assertEqual(statuses, [b"200"] * len(expected))

    def refused(self, status: int, octets: bytes) -> None:
        for size in SPLITS:
            statuses, served = self.exchange(octets, size)
            self.assertEqual((statuses, served), ([b"%d" % status], []), (octets[:200], size))

    def test_a_body_stays_a_body(self) -> None:
        for offer in ("h2c", "websocket", "TLS/1.0, HTTP/1.1", "", "\xff"):
            for fields in (
                ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAM"),
                (f"UPGRADE:{offer}", "connection:upgrade"),
                ("Upgrade: x", f"Upgrade: {offer}", "Connection: a", "Connection: upgrade"),
                (f"Upgrade: {offer}",),
            ):
                sized = request(*fields, body=SMUGGLED)
                framed = request(TE, *fields) + chunked(SMUGGLED[:9], SMUGGLED[9:])
                empty = request(*fields, method="GET", target="/y")
                self.served(
                    sized + framed + empty + sized + request(method="GET", target="/z"),
                    ("/x", SMUGGLED), ("/x", SMUGGLED), ("/y", b""), ("/x", SMUGGLED), ("/z", b""),
                )  # fmt: skip

    def test_the_last_request_stays_the_last(self) -> None:
        for last in ("Connection: close, Upgrade", "Connection: Upgrade, close"):
            octets = request(last, "Upgrade: h2c", body=SMUGGLED)
            self.served(octets + SMUGGLED, ("/x", SMUGGLED))

    def test_refused_framing_stays_refused(self) -> None:
        offer = ("Connection: Upgrade", "Upgrade: h2c")
        self.refused(400, request(*offer, TE, "Content-Length: 3") + chunked(b"abc") + SMUGGLED)
        self.refused(501, request(*offer, "Transfer-Encoding: gzip, chunked") + SMUGGLED)
        self.refused(400, request(*offer, TE, method="GET") + chunked(SMUGGLED))
        self.refused(400, request(*offer, "Content-Length: 3", method="GET") + b"abc" + SMUGGLED)
        self.refused(411, request(*offer).replace(b"Content-Length: 0\r\n", b"") + SMUGGLED)
        self.refused(400, request(TE, *offer) + b"3 \r\nabc\r\n0\r\n\r\n" + SMUGGLED)

    def test_field_names_that_resemble_upgrade(self) -> None:
        for line in ("Upgrade : h2c", " Upgrade: h2c", "Upgrade\t: h2c", "X: a\r\n Upgrade: h2c",
                     "X: a\nUpgrade: h2c", "X: a\rUpgrade: h2c", "Upgrade", "\x00Upgrade: h2c",
                     "Upgrade\x0b: h2c", ": Upgrade: h2c", "Upgrade: a\x00b"):  # fmt: skip
            self.refused(400, request("Connection: Upgrade", line, body=SMUGGLED) + SMUGGLED)
        for line in ("X-Upgrade: h2c", "Upgrade-: h2c", "Xupgrade:h2c", "X: Upgrade: h2c"):
            self.served(request("Connection: Upgrade", line, body=b"abc"), ("/x", b"abc"))

    def test_a_bad_line_is_refused_before_it_ends(self) -> None:
        """Only the beginning of the name Upgrade is held back from llhttp until the name ends."""
        head = request("Connection: Upgrade", body=b"abc").partition(b"\r\n\r\n")[0] + b"\r\n"
        for line in (b"ba\x00", b"Upgrade\x00", b"Upgrade ", b"Upgraded :", b" Up", b"X: a\rUp"):
            self.refused(400, head + line)
        for line in (b"", b"U", b"upgrad", b"UPGRADE", b"Upgrade:", b"Upgrade: a", b"Upgraded: a"):
            for size in SPLITS:
                self.assertEqual(self.exchange(head + line, size), ([], []), line)
                rest = b"\r\n\r\n" if b":" in line else b": x\r\n\r\n" if line else b"\r\n"
                octets = head + line + rest + b"abc" + SMUGGLED
                self.served(octets, ("/x", b"abc"), ("/smuggled", b""))

    def test_the_stand_in_name_cannot_be_abused(self) -> None:
        octets = request("~~~~~~~: Content-Length", "Upgrade: a", "~~~~~~~: b", body=SMUGGLED)
        self.served(octets, ("/x", SMUGGLED))
        self.assertNotIn("~~~~~~~", self.requests[0].headers)
        self.assertNotIn("upgrade", self.requests[0].headers)

    def test_in_a_trailer(self) -> None:
        trailers = b"Upgrade: h2c\r\nConnection: Upgrade\r\n"
        octets = request(TE) + chunked(b"abc", trailers=trailers)
        self.served(octets + request(body=SMUGGLED), ("/x", b"abc"), ("/x", SMUGGLED))

    def test_http_2_is_refused(self) -> None:
        self.refused(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")

    def test_an_expectation_and_an_upgrade(self) -> None:
        offer = ("Connection: Upgrade", "Upgrade: h2c", "Expect: 100-continue")
        statuses, served = self.exchange(request(*offer, body=b"abc")[:-3], SPLITS[0])
        self.assertEqual((statuses, served), ([b"100"], []))


class OtherOfferTests(OfferCase):
    def test_fields_that_may_be_ignored(self) -> None:
        for field in (
            "TE: trailers, deflate;q=0.5", "Prefer: respond-async, wait=1", "Range: bytes=0-0",
            "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", "If-Match: \"a\"", "If-Range: a",
            "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "If-None-Match: *",
            "Accept-Encoding: none, *;q=0", "Accept-Language: tlh", "Accept-Charset: utf-7",
            "Accept: image/x", "Cache-Control: only-if-cached", "Trailer: X", "Via: 1.1 a",
            "HTTP2-Settings: AAMAAABk", "Connection: HTTP2-Settings", "Connection: ,,x y",
            "Forwarded: host=evil", "Alt-Used: a", "Early-Data: 1", "Keep-Alive: timeout=5",
            "Max-Forwards: 0",
        ):  # fmt: skip
            for size in SPLITS:
                octets = request(field, body=b"abc") + request(field, method="GET", target="/y")
                statuses, served = self.exchange(octets, size)
                self.assertEqual(statuses, [b"200", b"200"], field)
                self.assertEqual(served, [("/x", b"abc"), ("/y", b"")], field)
