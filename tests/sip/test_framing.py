"""Where a message ends in a datagram."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.corpus import rows
from tests.sip.test_message import HEAD
from umd.sip.framing import FramingError, read_datagram
from umd.sip.message import HeaderError, MessageError
from umd.sip.parser import MAX_HEADER_LINES


def message(*lengths: str, body: str = "", start: str = "INFO sip:b SIP/2.0") -> bytes:
    """Return a message with these Content-Lengths."""
    lines = (start, *HEAD, *(f"Content-Length: {length}" for length in lengths))
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class DatagramTests(SynchronousTestCase):
    def test_surplus_is_dropped(self) -> None:
        """Octets after the body are dropped (RFC 3261 section 18.3)."""
        found = read_datagram(message("4", body="bodyINVITE"))
        assert found is not None
        self.assertEqual(found.body, b"body")
        self.assertEqual(found.octets(), message("4", body="body"))

    def test_without_length(self) -> None:
        """Without Content-Length the body ends with the datagram."""
        found = read_datagram(message(body="body"))
        assert found is not None
        self.assertEqual((found.body, found.content_length), (b"body", None))

    def test_keep_alive(self) -> None:
        """Line ends alone are a keep-alive; before a message they are ignored."""
        for data in (b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"):
            self.assertIsNone(read_datagram(data))
        found = read_datagram(b"\r\n\r\n" + message("0"))
        assert found is not None
        self.assertEqual(found.octets(), message("0"))

    def test_bad_lengths(self) -> None:
        """A request with a wrong Content-Length is refused with 400."""
        for lengths in (
            *(("5",), ("-1",), ("",), ("4x",), ("+4",), ("4", "5"), ("4", "4"), ("4, 4",)),
            *(("99999999999999999999",), ("٤",)),
        ):
            error = self.assertRaises(FramingError, read_datagram, message(*lengths, body="body"))
            assert error.request is not None
            self.assertEqual((error.request.method, error.status), ("INFO", 400))

    def test_nobody_answers_an_ack_or_a_response(self) -> None:
        """A truncated ACK or response is dropped."""
        for start in ("ACK sip:b SIP/2.0", "SIP/2.0 200 OK"):
            error = self.assertRaises(FramingError, read_datagram, message("9", start=start))
            self.assertIsNone(error.request)

    def test_length_of_what_nobody_answers(self) -> None:
        """An unreadable Content-Length of an ACK or a response is ignored."""
        for start in ("ACK sip:b SIP/2.0", "SIP/2.0 200 OK"):
            for lengths in (("",), ("x",), ("3", "4"), ("4", "4"), ("4, 4",), ("-1",)):
                found = read_datagram(message(*lengths, body="body", start=start))
                assert found is not None
                self.assertEqual(found.body, b"body", lengths)
                self.assertTrue(found.flaws)
            found = read_datagram(message("2", body="body", start=start))
            assert found is not None
            self.assertEqual((found.body, found.flaws), (b"bo", ()))


class FlawedLineTests(SynchronousTestCase):
    """Header lines that cannot be read are skipped."""

    def check(self, old: str, new: str, *values: tuple[str, str]) -> None:
        for start in ("BYE sip:b SIP/2.0", "SIP/2.0 200 OK"):
            data = message("4", body="body", start=start).replace(old.encode(), new.encode())
            found = read_datagram(data)
            assert found is not None
            self.assertEqual((found.octets(), found.body), (data, b"body"))
            self.assertEqual((found.branch, found.call_id), ("z9hG4bKa", "c@example.com"))
            for name, value in values:
                self.assertEqual(found.get(name), value)
            self.assertTrue(found.flaws)

    def test_no_header_fields(self) -> None:
        """Lines that are not header fields are skipped."""
        for line in ("nonsense", ": x", "a b: c", "", "X: " + "y" * 9000, "Ｓubject: x"):
            self.check("From:", f"{line}\nFrom:")

    def test_line_ends(self) -> None:
        """LF alone ends a line, CR alone is a blank."""
        self.check("\r\n", "\n")
        self.check("From:", "Subject: a\n b\n\tc\nServer: x\nFrom:", ("Subject", "a b c"))
        self.check("From:", "Subject: a\rb\r\r\nFrom:", ("Subject", "a b"))
        self.check("From:", "Subject: a\n\r\nFrom:", ("Subject", "a"))

    def test_what_is_needed(self) -> None:
        """A required field in an unreadable line counts as missing."""
        data = message("4", body="body").replace(b"Call-ID:", b"Call ID:")
        found = read_datagram(data)
        assert found is not None
        self.assertRaises(HeaderError, lambda: found.call_id)
        for start in ("BYE  sip:b SIP/2.0", "BYE sip:b SIP/2.0 ", "BYE <sip:b> SIP/2.0"):
            data = message("0", start=start).replace(b"CSeq", b"x\r\nCSeq")
            self.assertRaises(MessageError, read_datagram, data)

    def test_too_many_lines(self) -> None:
        """With too many lines, a response keeps the first ones and a request is refused."""
        for start in ("BYE sip:b SIP/2.0", "SIP/2.0 200 OK"):
            data = message(*["0"], start=start)[:-2] + b"X: y\r\n" * 300 + b"\r\n"
            if start.startswith("BYE"):
                self.assertRaises(MessageError, read_datagram, data)
            else:
                found = read_datagram(data)
                assert found is not None
                self.assertEqual(len(found.headers), MAX_HEADER_LINES)

    def test_no_empty_line(self) -> None:
        """A response may lack the empty line if its last line is complete, a request may not."""
        data = message("0", start="SIP/2.0 200 OK")[:-2]
        found = read_datagram(data)
        assert found is not None
        self.assertEqual((found.body, found.call_id), (b"", "c@example.com"))
        self.assertRaises(MessageError, read_datagram, data[:-3])
        self.assertRaises(MessageError, read_datagram, message("0")[:-2])


class DblreqTests(SynchronousTestCase):
    def test_second_request_is_dropped(self) -> None:
        """Of the two requests in RFC 4475 dblreq, only the first is read."""
        (row,) = (row for row in rows() if row.name == "dblreq")
        found = read_datagram(row.octets)
        assert found is not None
        self.assertEqual(found.cseq.method, "REGISTER")


class ErrorTests(SynchronousTestCase):
    def test_each_error_is_new(self) -> None:
        """Each error has its own traceback."""
        first = self.assertRaises(MessageError, read_datagram, message("9"))
        self.assertIsNot(first, self.assertRaises(MessageError, read_datagram, message("9")))
