"""Which messages are valid, and which response refuses the others."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.test_message import octets, read
from umd.sip.message import Response
from umd.sip.parser import parse
from umd.sip.validate import check_request, check_response

AGENT = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")


class RequestTests(SynchronousTestCase):
    def status(self, *lines: str, old: str = "", new: str = "") -> int | None:
        """Return the status for a request with these lines, or with one text replaced."""
        data = octets(*lines)
        request = parse(data.replace(old.encode(), new.encode()) if old else data)
        assert not isinstance(request, Response)
        rejection = check_request(request, methods=AGENT)
        return None if rejection is None else rejection.status

    def test_good(self) -> None:
        """A normal request is valid."""
        self.assertIsNone(self.status("Max-Forwards: 70", "Contact: <sip:a@b>, <sip:c@d>"))

    def test_malformed_fields(self) -> None:
        """A request without a needed field, or with a malformed one, is refused."""
        for old, new in (
            ("Via: SIP/2.0/UDP", "Via: UDP"),
            ("branch=z9hG4bKa", "branch=z9hG4bK"),
            ("From: <sip:a@example.com>", "From: <sip:a@example.com"),
            ("To: <", "To: x, y <"),
            ("Call-ID: c@example.com", "Call-ID:"),
            ("Call-ID: c@example.com", "Call-ID: c d"),
            ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE"),
            ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
            ("CSeq: 1 INVITE", "CSeq: 1"),
            *((name, f"X-{name}") for name in ("Via:", "From:", "To:", "Call-ID:", "CSeq:")),
        ):
            self.assertEqual(self.status(old=old, new=new), 400, new)

    def test_optional_fields(self) -> None:
        """An optional field that umd uses must be well-formed; some must not be repeated."""
        for line in (
            *("Content-Length: -1", "Contact: <sip:a", "Record-Route: <sip:p:x>"),
            *("From: <sip:x>", "t: <sip:x>", "CSeq: 1 INVITE", "i: c@example.com"),
            *("Max-Forwards: 1\r\nMax-Forwards: 1", "l: 0\r\nl: 0"),
        ):
            self.assertEqual(self.status(line), 400, line)

    def test_ornaments(self) -> None:
        """Fields that are not needed may be malformed or repeated."""
        for line in (
            *("Via: whatever", "Date: never", "Expires: x", "Max-Forwards: 0", "Subject:"),
            *("Max-Forwards: 256", "Max-Forwards: x", "Contact: <sip:a>, ,", "Contact: "),
            *("Date: a\r\nDate: b", "User-Agent:\r\nUser-Agent: x", "Session-Expires: \x01;;"),
            *("Content-Type: a\r\nContent-Type: b", "Timestamp: ?", "Route: <<"),
        ):
            self.assertIsNone(self.status(line), line)

    def test_within_a_dialog(self) -> None:
        """In a dialog, only the tags of To and From are needed, and no valid Request-URI."""
        for method in ("BYE", "INVITE", "OPTIONS", "ACK"):
            for to in ("x, y <sip:b>;tag=t", '"b <sip:b>;tag=t', "<sip:b>;tag=t;=", ";;tag = t"):
                data = octets().replace(b"INVITE", method.encode())
                data = re.sub(rb"To: [^\r]*", b"To: " + to.encode(), data)
                request = parse(data.replace(b"sip:b@example.com SIP", b"sip:b?Subject=x SIP"))
                assert not isinstance(request, Response)
                self.assertIsNone(check_request(request, methods=AGENT), (method, to))
                self.assertEqual(request.to_tag, "t")
                self.assertTrue(request.flaws)

    def test_ack(self) -> None:
        """An ACK is dropped only if the fields that identify its dialog are wrong."""
        for line in ("Content-Length: x", "Max-Forwards: 1\r\nMax-Forwards: 2", "Contact: <<"):
            request = parse(octets(line).replace(b"INVITE", b"ACK"))
            assert not isinstance(request, Response)
            self.assertIsNone(check_request(request, methods=AGENT), line)
        request = parse(octets("To: <sip:x>").replace(b"INVITE", b"ACK"))
        assert not isinstance(request, Response)
        self.assertIsNotNone(check_request(request, methods=AGENT))

    def test_version(self) -> None:
        """Another SIP version is refused with 505, whatever else is wrong."""
        self.assertEqual(self.status(old="SIP/2.0\r\nVia", new="SIP/2.1\r\nVia"), 505)

    def test_method(self) -> None:
        """An unsupported method is refused with 405, an unknown one with 501."""
        for method, status in (("REGISTER", 405), ("invite", 501), ("FOO", 501)):
            request = parse(octets().replace(b"INVITE", method.encode()))
            assert not isinstance(request, Response)
            rejection = check_request(request, methods=AGENT)
            assert rejection is not None
            self.assertEqual(rejection.status, status)
            self.assertEqual(rejection.headers, (("Allow", ", ".join(AGENT)),))

    def test_uri(self) -> None:
        """An unsupported scheme is refused with 416, a malformed URI with 400."""
        for uri, status in (
            ("tel:+1", 416),
            ("soap.beep://h", 416),
            ("sip:a@b@c", 400),
            ("example.com", 400),
            ("sip:b?Route=x", 400),
            ("SIP:b", None),
            ("sips:b;transport=tcp", None),
        ):
            found = self.status(old="sip:b@example.com SIP", new=f"{uri} SIP")
            self.assertEqual(found, status, uri)
        self.assertIsNotNone(check_request(read(), schemes=("tel",)))

    def test_require(self) -> None:
        """Unsupported extensions are listed in a 420, except for ACK and CANCEL."""
        request = read("Require: 100rel, foo", "Require: bar")
        rejection = check_request(request, extensions=("100rel",))
        assert rejection is not None
        self.assertEqual((rejection.status, rejection.reason), (420, "Bad Extension"))
        self.assertEqual(rejection.headers, (("Unsupported", "foo, bar"),))
        self.assertIsNone(check_request(request, extensions=("100rel", "foo", "bar")))
        for method in (b"ACK", b"CANCEL"):
            other = parse(octets("Require: foo").replace(b"INVITE", method))
            assert not isinstance(other, Response)
            self.assertIsNone(check_request(other))


class ResponseTests(SynchronousTestCase):
    def why(self, *lines: str, start: str = "SIP/2.0 200 OK") -> str | None:
        """Return why the response with these lines is dropped."""
        response = parse(octets(*lines, start=start))
        assert isinstance(response, Response)
        return check_response(response)

    def test_good(self) -> None:
        """A normal response is valid."""
        self.assertIsNone(self.why("Contact: <sip:b@example.com>"))

    def test_dropped(self) -> None:
        """A response of another version or without a clear identity is dropped."""
        for line, word in (
            ("To: <sip:x>", "To: more than one"),
            ("f: <sip:x>", "From: more than one"),
            ("CSeq: 2 INVITE", "CSeq: more than one"),
            ("Call-ID: other", "Call-ID: more than one"),
        ):
            self.assertIn(word, self.why(line) or "")
        response = parse(octets(start="SIP/2.0 200 OK").replace(b";branch=", b";twig="))
        assert isinstance(response, Response)
        self.assertIn("no branch", check_response(response) or "")
        response = parse(octets(start="SIP/2.0 200 OK").replace(b"CSeq: 1", b"CSeq: x"))
        assert isinstance(response, Response)
        self.assertIn("CSeq", check_response(response) or "")
        self.assertIn("SIP/3.0", self.why(start="SIP/3.0 200 OK") or "")

    def test_ornaments(self) -> None:
        """A response that identifies its transaction is not dropped for any other flaw."""
        for line in (
            *("Via: SIP/2.0/UDP b", "Contact: x", "Contact: ", "Record-Route: <", "Server: a"),
            *("To: <sip:b@example.com>", "CSeq: 1 INVITE", "Call-ID: c@example.com"),
            *("Max-Forwards: x\r\nMax-Forwards: 300", "Content-Length: x\r\nl: 3"),
        ):
            self.assertIsNone(self.why(line, "Server: b"), line)
        for name in ("From", "To", "Call-ID"):
            for value in ("", "\udce9", ";;", ",", '"', "<sip:x", "x" * 4000):
                data = octets(start="SIP/2.0 200 OK")
                field = f"{name}: {value}".encode("utf-8", "surrogateescape")
                pattern = name.encode() + rb": [^\r]*"
                response = parse(re.sub(pattern, field, data))
                assert isinstance(response, Response)
                self.assertIsNone(check_response(response), field)
                self.assertIsNone(response.to_tag)

    def test_broken_via(self) -> None:
        """The branch is found in an otherwise malformed Via."""
        for old, new in (
            ("SIP/2.0/UDP", "UDP"),
            (";branch", ";;rport=;received=;branch"),
            (";branch=", ';x="; BRANCH = '),
            (":5060", ":x"),
        ):
            data = octets(start="SIP/2.0 200 OK").replace(old.encode(), new.encode(), 1)
            self.assertNotEqual(data, octets(start="SIP/2.0 200 OK"))
            response = parse(data)
            assert isinstance(response, Response)
            self.assertIsNone(check_response(response), new)
            self.assertEqual(response.branch, "z9hG4bKa")
