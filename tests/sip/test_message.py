"""A message is parsed once, its fields are read when needed, and it is written unchanged."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.sip import names
from umd.sip.fields import MAX_VALUES
from umd.sip.message import HeaderError, MessageError, Request, Response
from umd.sip.parser import MAX_HEADER_LINES, MAX_LINE_CHARACTERS, MAX_MESSAGE_OCTETS, parse

HEAD = (
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa",
    "From: <sip:a@example.com>;tag=1",
    "To: <sip:b@example.com>",
    "Call-ID: c@example.com",
    "CSeq: 1 INVITE",
)


def octets(*lines: str, start: str = "INVITE sip:b@example.com SIP/2.0", body: str = "") -> bytes:
    """Return a message with the required header fields and these lines."""
    text = "\r\n".join((start, *HEAD, *lines)) + "\r\n\r\n" + body
    return text.encode("utf-8", "surrogateescape")


def read(*lines: str, body: str = "") -> Request:
    """Return the same as a parsed request."""
    message = parse(octets(*lines, body=body))
    assert isinstance(message, Request)
    return message


class StartLineTests(SynchronousTestCase):
    def test_request(self) -> None:
        """A request has a method, a URI and a version."""
        request = read()
        self.assertEqual(
            (request.method, request.uri, request.version),
            ("INVITE", "sip:b@example.com", "SIP/2.0"),
        )

    def test_response(self) -> None:
        """The reason phrase may be empty, UTF-8, or absent together with its blank."""
        for line, status, reason in (
            ("SIP/2.0 200 OK", 200, "OK"),
            ("SIP/2.0 100 ", 100, ""),
            ("SIP/2.0 100", 100, ""),
            ("SIP/2.0 486 Zajęte teraz", 486, "Zajęte teraz"),
        ):
            message = parse(octets(start=line))
            assert isinstance(message, Response)
            self.assertEqual((message.status, message.reason), (status, reason))
            self.assertEqual(message.octets(), octets(start=line))

    def test_other_version(self) -> None:
        """A message of another version is parsed, so that umd can answer 505."""
        self.assertEqual(parse(octets(start="INVITE sip:b SIP/3.0")).version, "SIP/3.0")
        self.assertEqual(parse(octets(start="INVITE sip:b sip/2.0")).version, "SIP/2.0")

    def test_malformed(self) -> None:
        """umd can answer a request with a broken start line, but not a broken status line."""
        for line in (
            "INVITE sip:b",
            "INVITE  sip:b SIP/2.0",
            "INVITE sip:b  SIP/2.0",
            "INVITE <sip:b> SIP/2.0",
            "INVITE sip:b SIP/2.0 ",
            "INVITE sip:b\t SIP/2.0",
            "INVITE sip:b\x00c SIP/2.0",
            "INVITE sip:bé SIP/2.0",
            "INVITE sip:b ſıp/2.0",
            "IN\u212aITE sip:b SIP/2.0",
        ):
            error = self.assertRaises(MessageError, parse, octets(start=line))
            self.assertEqual(error.status, 400)
            if line.startswith("INVITE"):
                assert error.request is not None
                self.assertEqual(error.request.via.branch, "z9hG4bKa")
        for line in ("SIP/2.0 20 OK", "SIP/2.0 700 OK", "ſıp/2.0 200 OK", "ACK <sip:b> SIP/2.0"):
            self.assertIsNone(self.assertRaises(MessageError, parse, octets(start=line)).request)


class HeaderLineTests(SynchronousTestCase):
    def test_compact_and_case(self) -> None:
        """A header field name is found in every spelling."""
        request = read("m: <sip:x@y>", "CONTACT: <sip:z@y>", "k:timer", "sUbJect : hi ")
        self.assertEqual([each.uri for each in request.contacts], ["sip:x@y", "sip:z@y"])
        self.assertEqual(request.get("Supported"), "timer")
        self.assertEqual(request.get("subject"), "hi")
        self.assertEqual(request.get("s"), "hi")

    def test_unknown_names(self) -> None:
        """An unknown header field keeps its spelling and is found in any."""
        request = read("X-Umd-One: 1", "x-umd-one: 2")
        self.assertEqual(request.get("X-UMD-ONE"), "1")
        self.assertEqual(request.all("x-umd-one"), ["1", "2"])
        self.assertIn(b"X-Umd-One: 1\r\nx-umd-one: 2\r\n", request.to_octets())
        self.assertIsNone(request.get("X-Umd-Two"))

    def test_folding(self) -> None:
        """A folded line is one value with one blank at the fold."""
        request = read("Subject: one\r\n  two\r\n\tthree", "Route:\r\n <sip:p;lr>")
        self.assertEqual(request.get("Subject"), "one two three")
        self.assertEqual(request.values("Route"), ["<sip:p;lr>"])
        self.assertEqual(request.octets().count(b"\r\n  two"), 1)
        self.assertEqual(request.to_octets().count(b"\r\n  two"), 0)

    def test_octets_survive(self) -> None:
        """Every octet of a value survives parsing and writing, UTF-8 or not."""
        value = bytes(set(range(256)) - {10, 13}).strip(b" \t")
        data = octets().replace(b"CSeq", b"Subject: " + value + b"\r\nCSeq")
        message = parse(data)
        self.assertEqual((message.get("Subject") or "").encode("utf-8", "surrogateescape"), value)
        self.assertEqual(message.to_octets(), data)

    def test_malformed_lines(self) -> None:
        """A malformed header line is an error; the answer leaves it out."""
        for line in ("nonsense", ": x", "a b: c", "Ｖia: x", "\u212a: timer", "A: b\rc", "A: b\nc"):
            error = self.assertRaises(MessageError, parse, octets(line))
            assert error.request is not None
            self.assertEqual(len(error.request.headers), len(HEAD))

    def test_no_empty_line(self) -> None:
        """A message without the empty line is an error, and can be answered."""
        error = self.assertRaises(MessageError, parse, octets()[:-2])
        assert error.request is not None
        self.assertEqual(error.request.call_id, "c@example.com")

    def test_garbage(self) -> None:
        """Octets that are not SIP get no answer."""
        for data in (b"", b"\x00" * 40, b"GET / HTTP/1.1\r\n\r\n", b"hello"):
            self.assertIsNone(self.assertRaises(MessageError, parse, data).request)


class LimitTests(SynchronousTestCase):
    def test_size(self) -> None:
        """A message may have 65,536 octets and no more."""
        filler = MAX_MESSAGE_OCTETS - len(octets())
        self.assertEqual(len(read(body="x" * filler).octets()), MAX_MESSAGE_OCTETS)
        error = self.assertRaises(MessageError, parse, octets(body="x" * (filler + 1)))
        self.assertEqual(error.status, 513)

    def test_header_lines(self) -> None:
        """A message may have 128 header lines, counting the folded ones."""
        more = MAX_HEADER_LINES - len(HEAD)
        self.assertEqual(len(read(*["A: b"] * more).headers), MAX_HEADER_LINES)
        self.assertRaises(MessageError, parse, octets(*["A: b"] * (more + 1)))
        self.assertRaises(MessageError, parse, octets("A: b" + "\r\n c" * more))

    def test_line_length(self) -> None:
        """A line that is too long is an error; the answer leaves it out."""
        longest = "A: " + "x" * (MAX_LINE_CHARACTERS - 3)
        self.assertEqual(len(read(longest).get("A") or ""), MAX_LINE_CHARACTERS - 3)
        for line in ("A: " + "x" * MAX_LINE_CHARACTERS, "A: b" + ("\r\n " + "x" * 900) * 10):
            error = self.assertRaises(MessageError, parse, octets(line))
            assert error.request is not None
        self.assertEqual(self.assertRaises(MessageError, parse, octets("A:" * 9000)).status, 400)

    def test_values(self) -> None:
        """The number of values is limited, in one line or in many."""
        self.assertRaises(HeaderError, read("Allow: " + "a," * MAX_VALUES).values, "Allow")
        lines = ["Allow: " + "a," * 99 + "a"] * 3
        self.assertRaises(HeaderError, read(*lines).values, "Allow")
        self.assertEqual(len(read(*lines[:2]).values("Allow")), 200)


class TypedTests(SynchronousTestCase):
    def test_lists(self) -> None:
        """Commas separate values, except in quotes and brackets, and only in lists."""
        request = read('m: "a, b" <sip:c,d@e>;x="1,2", <sip:f>', "Subject: a, b", "Allow: A,,B, ")
        self.assertEqual([each.display for each in request.contacts], ["a, b", ""])
        self.assertEqual([each.uri for each in request.contacts], ["sip:c,d@e", "sip:f"])
        self.assertEqual(request.values("Subject"), ["a, b"])
        self.assertEqual(request.values("allow"), ["A", "B"])

    def test_unclosed(self) -> None:
        """A list with an unclosed quote or bracket is refused as a whole."""
        for value in ('"a, <sip:b>', "<sip:b, <sip:c>x, <"):
            self.assertRaises(HeaderError, lambda value=value: read(f"Contact: {value}").contacts)

    def test_top_via(self) -> None:
        """The first value of the first Via line is the topmost Via."""
        request = read("v: SIP/2.0/TCP two, SIP/2.0/TLS three")
        self.assertEqual(request.via.host, "192.0.2.1")
        self.assertEqual([via[8:11] for via in request.values("Via")], ["UDP", "TCP", "TLS"])
        self.assertIs(request.via, request.via)

    def test_missing(self) -> None:
        """The error about a missing field names the field."""
        message = parse(b"OPTIONS sip:x SIP/2.0\r\nA: b\r\n\r\n")
        for name, access in (
            ("Via", lambda: message.via),
            ("From", lambda: message.from_tag),
            ("To", lambda: message.to),
            ("Call-ID", lambda: message.call_id),
            ("CSeq", lambda: message.cseq),
        ):
            self.assertEqual(self.assertRaises(HeaderError, access).name, name)
        self.assertIsNone(message.content_length)
        self.assertEqual((message.contacts, message.record_routes), ([], []))

    def test_numbers(self) -> None:
        """Content-Length is decimal ASCII digits in its range, with leading zeros allowed."""
        self.assertEqual(read("Content-Length: 0068").content_length, 68)
        self.assertEqual(read("Content-Length: " + "0" * 500 + "7").content_length, 7)
        for value in (str(2**31), "-1", "+1", "", "1_0", "٣", "1e1", "9" * 5000):
            request = read(f"Content-Length: {value}")
            self.assertRaises(HeaderError, lambda request=request: request.content_length)

    def test_tags(self) -> None:
        """The fast way to read a tag and the full parser agree."""
        for value in (
            "<sip:a>;tag=x",
            "sip:a;tag=x",
            '"q;tag=no" <sip:a;tag=no>;tag=x',
            "n <sip:a> ; TAG = x ;y",
            '<sip:a>;y=";tag=no";tag=x',
            "<sip:a;tag=no>",
        ):
            message = parse(octets().replace(b"<sip:b@example.com>", value.encode()))
            self.assertEqual(message.to_tag, parse(message.octets()).to.tag)
            self.assertEqual(message.to_tag, None if value.endswith(">") else "x")

    def test_star(self) -> None:
        """The Contact "*" of a REGISTER is not an address."""
        self.assertEqual(read("Contact: *").contacts, [])


class WriteTests(SynchronousTestCase):
    def test_no_line_end_gets_out(self) -> None:
        """umd never writes a message with a line end inside a header field or start line."""
        for bad in ("a\r\nX: y", "a\rb", "a\nb"):
            for message in (
                Request("BYE", "sip:a", [("Subject", bad)]),
                Request("BYE", bad, []),
                Request(bad, "sip:a", []),
                Request("BYE", "sip:a", [(bad, "x")]),
                Response(200, bad, []),
            ):
                self.assertRaises(HeaderError, message.octets)

    def test_body_is_octets(self) -> None:
        """A body may be any octets."""
        body = bytes(range(256))
        self.assertTrue(Request("INFO", "sip:a", [], body).octets().endswith(b"\r\n\r\n" + body))

    def test_repr_has_no_headers(self) -> None:
        """The repr of a message, which may be logged, shows no credentials."""
        self.assertNotIn("secret", repr(read("Authorization: secret")))


class StampTests(SynchronousTestCase):
    def test_where_it_came_from(self) -> None:
        """The source is noted in the topmost Via only, and answers echo it."""
        data = octets("Via: SIP/2.0/TCP two").replace(b"branch=z9hG4bKa", b"rport , SIP/2.0/TLS  x")
        request = parse(data)
        assert isinstance(request, Request)
        request.note_source("203.0.113.9", 4711)
        vias = [
            "SIP/2.0/UDP 192.0.2.1:5060;rport=4711;received=203.0.113.9, SIP/2.0/TLS  x",
            "SIP/2.0/TCP two",
        ]
        self.assertEqual(request.all("Via"), vias)
        self.assertEqual((request.via.rport, request.via.received), (4711, "203.0.113.9"))
        self.assertEqual(parse(request.to_octets()).all("Via"), vias)
        self.assertEqual(request.octets(), data)

    def test_nothing_to_note(self) -> None:
        """A request whose Via already names its source is unchanged."""
        request = read()
        request.note_source("192.0.2.1", 5060)
        self.assertEqual(request.octets(), octets())


class NameTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Names and compact forms are unique, and no list may be limited to one value."""
        full = [row.name.lower() for row in names.TABLE]
        compact = [row.compact for row in names.TABLE if row.compact]
        self.assertEqual(len(set(full)), len(full))
        self.assertEqual(len(set(compact)), len(compact))
        self.assertEqual(names.LISTED & names.SINGLE, frozenset())

    def test_compact_forms(self) -> None:
        """All compact forms of the IANA registry are known."""
        forms = {row.compact: row.name for row in names.TABLE if row.compact}
        self.assertEqual("".join(sorted(forms)), "abcdefijklmorstuvxy")

    def test_spellings(self) -> None:
        """The fast look-up of a name and the full one agree."""
        for spelling, name in names.SPELLINGS.items():
            self.assertEqual(names.canonical(spelling), name)
