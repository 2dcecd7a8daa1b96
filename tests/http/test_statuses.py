"""The front answers with each status that docs/operations.md lists, and with no other."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.http.fuzz import ADDRESS, PATH, XML, Room, rules
from tests.http.helpers import request
from umd.http.hosts import allowed_hosts
from umd.http.rules import Rules
from umd.soap.pages import STATUSES

LONG = "x" * 3000


class StatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = Room()
        self.seen: set[str] = set()

    def assert_answered(self, status: int, octets: bytes, wait: float = 0.0) -> bytes:
        """Send on a new connection; assert the status of the response after `wait` seconds."""
        connection = self.room.front.buildProtocol(ADDRESS)
        transport = StringTransport()
        connection.makeConnection(transport)
        connection.dataReceived(octets)
        self.room.room.clock.advance(wait)
        answer: bytes = transport.value()
        self.assertEqual(answer[9:12], b"%d" % status, (octets[:100], answer[:300]))
        self.seen.add(str(status))
        return answer

    def test_each_status_of_the_table(self) -> None:
        good = request(XML, target=PATH, body=b"<a/>")
        self.assert_answered(500, good)
        self.assert_answered(400, good.replace(b"Host: h\r\n", b""))
        self.assert_answered(400, request(method="GET", target="/a/../b"))
        self.assert_answered(400, request("Content-Encoding: gzip", body=b"x"))
        self.assert_answered(404, request(method="GET", target="/x"))
        for method, target in (("PUT", "/"), ("OPTIONS", "*"), ("OPTIONS", "/"), ("CONNECT", "h")):
            answer = self.assert_answered(405, request(method=method, target=target))
            self.assertIn(b"\r\nAllow: GET, HEAD, POST\r\n", answer)
        self.assert_answered(501, request(method="BREW"))
        self.assert_answered(408, good[:-1], wait=30.0)
        self.assert_answered(411, good.replace(b"Content-Length: 4\r\n", b""))
        self.assert_answered(413, request(XML, target=PATH, body=b"x" * 70_000))
        self.assert_answered(414, request(method="GET", target="/" + LONG))
        self.assert_answered(431, request(*[f"X-{n}: {LONG}" for n in range(6)], method="GET"))
        for field in ("Content-Type: text/html", "Content-Type: text/xml; charset=utf-7", "X: y"):
            answer = self.assert_answered(415, request(field, target=PATH, body=b"<a/>"))
            self.assertIn(b"\r\nX-UMD-Reason: ", answer)
        self.assert_answered(415, request(XML, "Content-Encoding: br", target=PATH, body=b"x"))
        self.assert_answered(417, request("Expect: miracles", body=b"x"))
        self.assert_answered(505, request(method="GET", version="2.0"))
        state = self.room.front.state
        state.allowed_hosts = allowed_hosts((), trusts_local_clients=True, is_private=True)
        self.assert_answered(421, good)
        self.assert_answered(500, good.replace(b"Host: h", b"Host: localhost"))
        state.limits = replace(state.limits, max_waiting=0)
        answer = self.assert_answered(503, good.replace(b"Host: h", b"Host: localhost"))
        self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
        self.room = Room(rules())
        self.assert_answered(401, good)
        self.room = Room(Rules(subjects={"CN=pbx": "pbx"}))
        self.assert_answered(403, good)
        documented = {status for row in STATUSES for status in row[0].split(", ")}
        self.assertEqual(self.seen - {"500"}, documented)
