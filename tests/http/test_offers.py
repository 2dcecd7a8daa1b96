"""
Offers that a server may ignore: whoever makes one is served as if it had not been made.

An `Upgrade` above all (RFC 9110 section 7.8): llhttp would take the body of such a request for what
comes after it.
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
        self.asked: list[Request] = []

    def serve(self, asked: Request) -> Reply:
        self.asked.append(asked)
        return Reply(200, b"", TEXT_PLAIN)

    def ask(self, octets: bytes, size: int) -> tuple[list[bytes], list[tuple[str, bytes]]]:
        """The statuses of the answers, and what was served: the paths and the bodies."""
        self.asked.clear()
        connection = self.front.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport = StringTransport()
        connection.makeConnection(transport)
        for piece in pieces(octets, size):
            connection.dataReceived(piece)
        connection.connectionLost(Failure(ConnectionDone()))
        return STATUS.findall(transport.value()), [(one.path, one.body) for one in self.asked]


def offering(octets: bytes, upgrade: bytes = b"Upgrade: h2c", token: bytes = b"Upgrade") -> bytes:
    """The same with an offer in its first head, and its Connection field, if any, grown by it."""
    line, ends, rest = octets.partition(b"\r\n")
    head, blank, body = rest.partition(b"\r\n\r\n")
    head = b"\r\n" + head
    grown, found = CONNECTION.subn(lambda match: match[0] + token + b", ", head, count=1)
    if not found:
        grown = b"\r\nConnection: " + token + head
    return line + ends + upgrade + grown + blank + body


class DifferentialTests(OfferCase):
    """Each request that others collected, with the offer and without."""

    def test_the_answers_are_the_same_with_an_upgrade(self) -> None:
        compared = 0
        for case in chain(gunicorn(), llhttp()):
            if b"\r\n" not in case.octets:
                continue
            for upgrade, token in (
                (b"Upgrade: h2c", b"Upgrade"),
                (b"uPGRADE:websocket, TLS/1.0", b"keep-alive, upgrade"),
                (b"HTTP2-Settings: AAMAAABk\r\nUpgrade: h2c", b"HTTP2-Settings, Upgrade"),
            ):
                # Other names of the same length: a head that is at a limit is at it both times.
                plain = offering(
                    case.octets,
                    re.sub(rb"(?i)upgrade", b"xpgrade", upgrade),
                    re.sub(rb"(?i)upgrade", b"xpgrade", token),
                )
                offer = offering(case.octets, upgrade, token)
                for size in SPLITS:
                    answers = self.ask(plain, size)
                    self.assertEqual(self.ask(offer, size), answers, (case.file, size))
                compared += 1
            answers = self.ask(case.octets, SPLITS[0])
            self.assertEqual(self.ask(offering(case.octets), SPLITS[0]), answers, case.file)
        self.assertGreater(compared, 800)


class UpgradeTests(OfferCase):
    def served(self, octets: bytes, *expected: tuple[str, bytes]) -> None:
        for size in SPLITS:
            statuses, served = self.ask(octets, size)
            self.assertEqual(served, list(expected), (octets[:200], size))
            self.assertEqual(statuses, [b"200"] * len(expected))

    def refused(self, status: int, octets: bytes) -> None:
        for size in SPLITS:
            statuses, served = self.ask(octets, size)
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

    def test_framing_that_is_refused_stays_so(self) -> None:
        offer = ("Connection: Upgrade", "Upgrade: h2c")
        self.refused(400, request(*offer, TE, "Content-Length: 3") + chunked(b"abc") + SMUGGLED)
        self.refused(501, request(*offer, "Transfer-Encoding: gzip, chunked") + SMUGGLED)
        self.refused(400, request(*offer, TE, method="GET") + chunked(SMUGGLED))
        self.refused(400, request(*offer, "Content-Length: 3", method="GET") + b"abc" + SMUGGLED)
        self.refused(411, request(*offer).replace(b"Content-Length: 0\r\n", b"") + SMUGGLED)
        self.refused(400, request(TE, *offer) + b"3 \r\nabc\r\n0\r\n\r\n" + SMUGGLED)

    def test_names_that_only_look_like_it(self) -> None:
        for line in ("Upgrade : h2c", " Upgrade: h2c", "Upgrade\t: h2c", "X: a\r\n Upgrade: h2c",
                     "X: a\nUpgrade: h2c", "X: a\rUpgrade: h2c", "Upgrade", "\x00Upgrade: h2c",
                     "Upgrade\x0b: h2c", ": Upgrade: h2c", "Upgrade: a\x00b"):  # fmt: skip
            self.refused(400, request("Connection: Upgrade", line, body=SMUGGLED) + SMUGGLED)
        for line in ("X-Upgrade: h2c", "Upgrade-: h2c", "Xupgrade:h2c", "X: Upgrade: h2c"):
            self.served(request("Connection: Upgrade", line, body=b"abc"), ("/x", b"abc"))

    def test_a_wrong_line_is_refused_before_it_ends(self) -> None:
        """What may become an Upgrade waits for the rest of its name, and nothing else does."""
        head = request("Connection: Upgrade", body=b"abc").partition(b"\r\n\r\n")[0] + b"\r\n"
        for line in (b"ba\x00", b"Upgrade\x00", b"Upgrade ", b"Upgraded :", b" Up", b"X: a\rUp"):
            self.refused(400, head + line)
        for line in (b"", b"U", b"upgrad", b"UPGRADE", b"Upgrade:", b"Upgrade: a", b"Upgraded: a"):
            for size in SPLITS:
                self.assertEqual(self.ask(head + line, size), ([], []), line)
                rest = b"\r\n\r\n" if b":" in line else b": x\r\n\r\n" if line else b"\r\n"
                octets = head + line + rest + b"abc" + SMUGGLED
                self.served(octets, ("/x", b"abc"), ("/smuggled", b""))

    def test_what_stands_for_it_cannot_be_sent_for_another_field(self) -> None:
        octets = request("~~~~~~~: Content-Length", "Upgrade: a", "~~~~~~~: b", body=SMUGGLED)
        self.served(octets, ("/x", SMUGGLED))
        self.assertNotIn("~~~~~~~", self.asked[0].headers)
        self.assertNotIn("upgrade", self.asked[0].headers)

    def test_in_a_trailer(self) -> None:
        trailers = b"Upgrade: h2c\r\nConnection: Upgrade\r\n"
        octets = request(TE) + chunked(b"abc", trailers=trailers)
        self.served(octets + request(body=SMUGGLED), ("/x", b"abc"), ("/x", SMUGGLED))

    def test_http_2_itself_is_not_spoken(self) -> None:
        self.refused(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")

    def test_an_expectation_beside_it(self) -> None:
        offer = ("Connection: Upgrade", "Upgrade: h2c", "Expect: 100-continue")
        statuses, served = self.ask(request(*offer, body=b"abc")[:-3], SPLITS[0])
        self.assertEqual((statuses, served), ([b"100"], []))


class OtherOfferTests(OfferCase):
    def test_what_may_be_ignored_is(self) -> None:
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
                statuses, served = self.ask(octets, size)
                self.assertEqual(statuses, [b"200", b"200"], field)
                self.assertEqual(served, [("/x", b"abc"), ("/y", b"")], field)
