"""The octets of messages that umd sends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.test_message import octets, read
from umd.sip import build, message
from umd.sip.framing import read_datagram
from umd.sip.message import Request, Response
from umd.sip.parser import parse
from umd.sip.validate import check_request, check_response

INVITE = (
    "INVITE sip:bob@192.0.2.2 SIP/2.0\r\n"
    "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n"
    "Route: <sip:p1;lr>\r\n"
    "Route: <sip:p2;lr>\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Alice" <sip:alice@example.com>;tag=1\r\n'
    "To: <sip:bob@192.0.2.2>\r\n"
    "Call-ID: c1\r\n"
    "CSeq: 7 INVITE\r\n"
    "Contact: <sip:192.0.2.1>\r\n"
    "Supported: timer\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 5\r\n"
    "\r\n"
    "v=0\r\n"
)


def invite() -> Request:
    """Build the request above."""
    return build.request(
        "INVITE",
        "sip:bob@192.0.2.2",
        sent_by="192.0.2.1:5060",
        branch="z9hG4bKa",
        transport="TCP",
        from_='"Alice" <sip:alice@example.com>;tag=1',
        to="<sip:bob@192.0.2.2>",
        call_id="c1",
        cseq=7,
        routes=("<sip:p1;lr>", "<sip:p2;lr>"),
        contact="<sip:192.0.2.1>",
        headers=[("Supported", "timer")],
        body=b"v=0\r\n",
    )


class RequestTests(SynchronousTestCase):
    def test_octets(self) -> None:
        """An INVITE has the expected octets."""
        self.assertEqual(invite().octets().decode(), INVITE)

    def test_without_octets(self) -> None:
        """A message object has the same values as its parsed octets."""
        made, read_back = invite(), read_datagram(invite().octets())
        assert isinstance(read_back, Request)
        for name in ("via", "from_", "to", "call_id", "cseq", "from_tag", "to_tag", "contacts"):
            self.assertEqual(getattr(made, name), getattr(read_back, name))
        self.assertEqual((made.headers, made.body), (read_back.headers, read_back.body))
        self.assertIsNone(check_request(made))


class TransactionTests(SynchronousTestCase):
    def test_ack_of_a_failure(self) -> None:
        """The ACK of a 300-699 has the INVITE's branch and Route, and the response's To."""
        request = invite()
        ack = build.ack_for(request, build.response(request, 486, to_tag="2"))
        self.assertEqual(
            ack.octets().decode(),
            "ACK sip:bob@192.0.2.2 SIP/2.0\r\n"
            "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n"
            "Route: <sip:p1;lr>\r\n"
            "Route: <sip:p2;lr>\r\n"
            "Max-Forwards: 70\r\n"
            'From: "Alice" <sip:alice@example.com>;tag=1\r\n'
            "To: <sip:bob@192.0.2.2>;tag=2\r\n"
            "Call-ID: c1\r\n"
            "CSeq: 7 ACK\r\n"
            "Content-Length: 0\r\n"
            "\r\n",
        )
        self.assertEqual((ack.to_tag, ack.cseq.method), ("2", "ACK"))

    def test_cancel(self) -> None:
        """A CANCEL has the INVITE's branch, Route, CSeq number and To (RFC 3261 9.1)."""
        cancel = build.cancel_for(invite())
        self.assertEqual(cancel.uri, "sip:bob@192.0.2.2")
        self.assertEqual(cancel.get("To"), "<sip:bob@192.0.2.2>")
        self.assertEqual((cancel.via, cancel.cseq.number), (invite().via, 7))
        self.assertEqual(cancel.all("Route"), ["<sip:p1;lr>", "<sip:p2;lr>"])
        self.assertIsNone(check_request(cancel))


class ResponseTests(SynchronousTestCase):
    def test_echo(self) -> None:
        """A response echoes all Via fields in order, and the other fields unchanged."""
        request = read("v:  SIP / 2.0 / TCP  b;branch=c ", "Timestamp: 54", "Record-Route: <sip:p>")
        response = build.response(request, 100)
        self.assertEqual(
            response.octets().decode(),
            "SIP/2.0 100 Trying\r\n"
            "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa\r\n"
            "From: <sip:a@example.com>;tag=1\r\n"
            "To: <sip:b@example.com>\r\n"
            "Call-ID: c@example.com\r\n"
            "CSeq: 1 INVITE\r\n"
            "Via: SIP / 2.0 / TCP  b;branch=c\r\n"
            "Timestamp: 54\r\n"
            "Content-Length: 0\r\n"
            "\r\n",
        )

    def test_dialog(self) -> None:
        """A response that makes a dialog has the Record-Route of the request (RFC 3261 12.1.1)."""
        request = read("Record-Route: <sip:p1;lr>, <sip:p2;lr>", "Record-Route: <sip:p3;lr>")
        for status, kept in ((100, 0), (180, 2), (200, 2), (486, 0)):
            response = build.response(request, status, to_tag="x", contact="<sip:b>", body=b"v")
            self.assertEqual(len(response.all("Record-Route")), kept)
            self.assertEqual((response.to_tag, response.content_length), ("x", 1))
            self.assertIsNone(check_response(response))

    def test_tag_is_added_once(self) -> None:
        """A To with a tag, or a malformed one, is echoed unchanged."""
        for to, expected in (
            ("<sip:b>;tag=old", "<sip:b>;tag=old"),
            ("sip:b", "sip:b;tag=new"),
            ('"Mr. J. <sip:b>', '"Mr. J. <sip:b>'),
        ):
            request = parse(octets().replace(b"<sip:b@example.com>", to.encode()))
            assert isinstance(request, Request)
            self.assertEqual(build.response(request, 400, to_tag="new").get("To"), expected)

    def test_many_to_fields(self) -> None:
        """A response to a request with a hundred malformed To fields is built in linear time."""
        request = Request("OPTIONS", "sip:a", [("To", '"' + "x<>" * 2000)] * 100)
        looks: list[str] = []
        self.patch(message, "parse_tag", lambda text: looks.append(text))
        build.response(request, 400, to_tag="x")
        self.assertEqual(len(looks), 1)

    def test_typed_values_follow(self) -> None:
        """The tag is added to the response, not to the request."""
        request = read()
        self.assertIsNone(request.to.tag)
        response = build.response(request, 200, to_tag="x")
        self.assertEqual((response.to.tag, request.to.tag), ("x", None))
        self.assertIs(build.response(request, 100).to, request.to)

    def test_reasons(self) -> None:
        """An unknown status has the reason phrase of its class."""
        request = read()
        for status, words in ((486, "Busy Here"), (499, "Bad Request"), (299, "OK")):
            self.assertEqual(build.response(request, status).reason, words)
        self.assertEqual(build.response(request, 486, "No").octets()[:14], b"SIP/2.0 486 No")
        response = parse(build.response(request, 486, "").octets())
        assert isinstance(response, Response)
        self.assertEqual(response.reason, "")
