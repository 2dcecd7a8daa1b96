"""Dialogs: where requests go and what they are addressed to (RFC 3261 §12)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.helpers import ids
from umd.sip.dialog import Dialog, DialogId
from umd.sip.endpoint import Endpoint
from umd.sip.message import Request, Response, parse
from umd.sip.transaction import Hop

HERE = Hop("192.0.2.1", 5060)


def response(*lines: str, status: int = 200, tag: str = "bt") -> Response:
    text = "\r\n".join(
        [
            f"SIP/2.0 {status} OK",
            "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
            'From: "Alice" <sip:alice@192.0.2.1>;tag=at',
            f"To: <sip:bob@example.com>;tag={tag}",
            "Call-ID: c1",
            "CSeq: 7 INVITE",
            *lines,
            "Content-Length: 0",
            "\r\n",
        ]
    )
    message = parse(text.encode())
    assert isinstance(message, Response)
    return message


def invite(*lines: str) -> Request:
    text = "\r\n".join(
        [
            "INVITE sip:alice@192.0.2.1 SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK1",
            "From: <sip:bob@example.com>;tag=bt",
            "To: <sip:alice@192.0.2.1>",
            "Call-ID: c1",
            "CSeq: 40 INVITE",
            *lines,
            "Content-Length: 0",
            "\r\n",
        ]
    )
    message = parse(text.encode())
    assert isinstance(message, Request)
    return message


class DialogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.around = Endpoint("192.0.2.1", 5060, ids("x"))

    def caller(self, *lines: str) -> Dialog:
        return Dialog.of_caller(response(*lines), HERE, self.around)

    def bye(self, dialog: Dialog) -> tuple[str, list[str], Hop]:
        """Request-URI, Route values and next hop of a BYE."""
        request = dialog.request("BYE", self.around)
        return request.uri, request.all("Route"), dialog.hop

    def test_caller(self) -> None:
        """The caller's From is the dialog's local end, and its CSeq goes on from the INVITE's."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2:5080>")
        self.assertEqual(dialog.id, DialogId("c1", "at", "bt"))
        request = dialog.request("BYE", self.around)
        self.assertEqual(request.get("From"), '"Alice" <sip:alice@192.0.2.1>;tag=at')
        self.assertEqual(request.get("To"), "<sip:bob@example.com>;tag=bt")
        self.assertEqual((request.cseq.number, request.cseq.method), (8, "BYE"))
        self.assertEqual(parse(request.octets()).cseq, request.cseq)
        self.assertEqual(parse(request.octets()).via, request.via)

    def test_callee(self) -> None:
        """The callee's local end is the To with its tag; its own CSeq starts anew."""
        dialog = Dialog.of_callee(invite("Contact: <sip:b@192.0.2.2>"), "mine", HERE, self.around)
        self.assertEqual(dialog.id, DialogId("c1", "mine", "bt"))
        request = dialog.request("BYE", self.around)
        self.assertEqual(request.get("From"), "<sip:alice@192.0.2.1>;tag=mine")
        self.assertEqual(request.get("To"), "<sip:bob@example.com>;tag=bt")
        self.assertEqual(request.cseq.number, 1)

    def test_no_route(self) -> None:
        """Requests go straight to the Contact."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2:5080>")
        uri, routes, hop = self.bye(dialog)
        self.assertEqual((uri, hop), ("sip:bob@192.0.2.2:5080", Hop("192.0.2.2", 5080)))
        self.assertEqual(routes, [])

    def test_loose_route(self) -> None:
        """The caller turns Record-Route round; the Request-URI stays the Contact, §12.2.1.1."""
        dialog = self.caller(
            "Contact: <sip:bob@192.0.2.2>",
            "Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com:5070;lr>",
        )
        self.assertEqual(
            self.bye(dialog),
            (
                "sip:bob@192.0.2.2",
                ["<sip:p1.example.com:5070;lr>", "<sip:p2.example.com;lr>"],
                Hop("p1.example.com", 5070),
            ),
        )

    def test_callee_keeps_the_order(self) -> None:
        """The callee takes Record-Route as it came, §12.1.1."""
        request = invite(
            "Contact: <sip:bob@192.0.2.2>",
            "Record-Route: <sip:p2.example.com;lr>",
            "Record-Route: <sip:p1.example.com;lr>",
        )
        dialog = Dialog.of_callee(request, "mine", HERE, self.around)
        self.assertEqual(dialog.routes, ("<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>"))

    def test_strict_route(self) -> None:
        """A strict router gets itself as Request-URI, and the Contact as the last Route."""
        dialog = self.caller(
            "Contact: <sip:bob@192.0.2.2>",
            "Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;method=INVITE?x=y>",
        )
        self.assertEqual(
            self.bye(dialog),
            (
                "sip:p1.example.com",
                ["<sip:p2.example.com;lr>", "<sip:bob@192.0.2.2>"],
                Hop("p1.example.com", 5060),
            ),
        )

    def test_route_set_is_taken_anew_from_the_2xx(self) -> None:
        """An early response may have had none, §13.2.2.4; later ones change the target only."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2>")
        answer = response("Contact: <sip:b@192.0.2.3>", "Record-Route: <sip:p1.example.com;lr>")
        dialog.confirm(answer, self.around)
        self.assertFalse(dialog.early)
        self.assertEqual(dialog.routes, ("<sip:p1.example.com;lr>",))
        dialog.refresh_target(
            response("Contact: <sip:b@192.0.2.4>", "Record-Route: <sip:p9.example.com;lr>"),
            self.around,
        )
        self.assertEqual(self.bye(dialog)[:2], ("sip:b@192.0.2.4", ["<sip:p1.example.com;lr>"]))

    def test_no_contact(self) -> None:
        """A peer that gives no Contact is reached at its address."""
        self.assertEqual(self.caller().target, "sip:bob@example.com")

    def test_connection_is_kept(self) -> None:
        """Over TCP requests go where the INVITE went."""
        flow = Hop("192.0.2.9", 5060, "TCP", 3)
        answer = response("Contact: <sip:bob@192.0.2.2:5080>")
        self.assertEqual(Dialog.of_caller(answer, flow, self.around).hop, flow)

    def test_order_of_requests(self) -> None:
        """Numbers may jump, not fall, §12.2.2."""
        dialog = Dialog.of_callee(invite(), "mine", HERE, self.around)
        self.assertTrue(dialog.take_cseq(41))
        self.assertTrue(dialog.take_cseq(50))
        self.assertFalse(dialog.take_cseq(49))
        self.assertEqual(dialog.remote_cseq, 50)

    def test_ack_has_the_number_of_its_invite(self) -> None:
        """And it does not count."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2>")
        self.assertEqual(dialog.request("ACK", self.around, cseq=7).cseq.number, 7)
        self.assertEqual(dialog.request("BYE", self.around).cseq.number, 8)
