"""Dialogs: the next hop and the Request-URI of requests (RFC 3261 §12)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.helpers import ids
from umd.sip.dialog import Dialog, DialogId, SentInvite
from umd.sip.endpoint import Endpoint
from umd.sip.message import Request, Response
from umd.sip.parser import parse
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
    message = parse(text.encode("utf-8", "surrogateescape"))
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
        self.agent = Endpoint("192.0.2.1", 5060, ids("x"))

    def caller(self, *lines: str) -> Dialog:
        return Dialog.of_caller(response(*lines), HERE, self.agent)

    def bye(self, dialog: Dialog) -> tuple[str, list[str], Hop]:
        """Return Request-URI, Route values and next hop of a BYE."""
        request = dialog.request("BYE", self.agent)
        return request.uri, request.all("Route"), dialog.hop

    def test_caller(self) -> None:
        """The caller's From is the local address, and its CSeq continues from the INVITE's."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2:5080>")
        self.assertEqual(dialog.id, DialogId("c1", "at", "bt"))
        request = dialog.request("BYE", self.agent)
        self.assertEqual(request.get("From"), '"Alice" <sip:alice@192.0.2.1>;tag=at')
        self.assertEqual(request.get("To"), "<sip:bob@example.com>;tag=bt")
        self.assertEqual((request.cseq.number, request.cseq.method), (8, "BYE"))
        self.assertEqual(parse(request.octets()).cseq, request.cseq)
        self.assertEqual(parse(request.octets()).via, request.via)

    def test_callee(self) -> None:
        """The callee's local address is the To with its tag, and its CSeq starts at 1."""
        dialog = Dialog.of_callee(invite("Contact: <sip:b@192.0.2.2>"), "mine", HERE, self.agent)
        self.assertEqual(dialog.id, DialogId("c1", "mine", "bt"))
        request = dialog.request("BYE", self.agent)
        self.assertEqual(request.get("From"), "<sip:alice@192.0.2.1>;tag=mine")
        self.assertEqual(request.get("To"), "<sip:bob@example.com>;tag=bt")
        self.assertEqual(request.cseq.number, 1)

    def test_no_route(self) -> None:
        """Without a route set, requests go to the Contact."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2:5080>")
        uri, routes, hop = self.bye(dialog)
        self.assertEqual((uri, hop), ("sip:bob@192.0.2.2:5080", Hop("192.0.2.2", 5080)))
        self.assertEqual(routes, [])

    def test_loose_route(self) -> None:
        """The caller reverses Record-Route; the Request-URI stays the Contact, §12.2.1.1."""
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
        """The callee keeps the order of Record-Route, §12.1.1."""
        request = invite(
            "Contact: <sip:bob@192.0.2.2>",
            "Record-Route: <sip:p2.example.com;lr>",
            "Record-Route: <sip:p1.example.com;lr>",
        )
        dialog = Dialog.of_callee(request, "mine", HERE, self.agent)
        self.assertEqual(dialog.routes, ("<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>"))

    def test_strict_route(self) -> None:
        """For a strict router the Request-URI is its own, and the Contact is the last Route."""
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
        """The 2xx replaces the route set of early responses, §13.2.2.4; later responses do not."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2>")
        answer = response("Contact: <sip:b@192.0.2.3>", "Record-Route: <sip:p1.example.com;lr>")
        dialog.confirm(answer, self.agent)
        self.assertFalse(dialog.early)
        self.assertEqual(dialog.routes, ("<sip:p1.example.com;lr>",))
        dialog.refresh_target(
            response("Contact: <sip:b@192.0.2.4>", "Record-Route: <sip:p9.example.com;lr>"),
            self.agent,
        )
        self.assertEqual(self.bye(dialog)[:2], ("sip:b@192.0.2.4", ["<sip:p1.example.com;lr>"]))

    def test_no_contact(self) -> None:
        """Without a Contact the target is the address in the To."""
        self.assertEqual(self.caller().target, "sip:bob@example.com")

    def test_connection_is_kept(self) -> None:
        """Over TCP requests go where the INVITE went."""
        flow = Hop("192.0.2.9", 5060, "TCP", 3)
        answer = response("Contact: <sip:bob@192.0.2.2:5080>")
        self.assertEqual(Dialog.of_caller(answer, flow, self.agent).hop, flow)

    def test_order_of_requests(self) -> None:
        """The CSeq of the far end may skip numbers but not decrease, §12.2.2."""
        dialog = Dialog.of_callee(invite(), "mine", HERE, self.agent)
        self.assertTrue(dialog.take_cseq(41))
        self.assertTrue(dialog.take_cseq(50))
        self.assertFalse(dialog.take_cseq(49))
        self.assertEqual(dialog.remote_cseq, 50)

    def test_ack_has_the_number_of_its_invite(self) -> None:
        """An ACK has the CSeq of its INVITE and does not use up a number."""
        dialog = self.caller("Contact: <sip:bob@192.0.2.2>")
        self.assertEqual(dialog.request("ACK", self.agent, cseq=7).cseq.number, 7)
        self.assertEqual(dialog.request("BYE", self.agent).cseq.number, 8)


class PoorAnswerTests(SynchronousTestCase):
    """A 2xx without the fields that a dialog needs still gets ACK and BYE."""

    INVITE = SentInvite(
        "c1", "at", "<sip:me@192.0.2.1>;tag=at", "<sip:bob@pbx>", "sip:100@192.0.2.9"
    )

    def setUp(self) -> None:
        self.agent = Endpoint("192.0.2.1", 5060, ids("x"))

    def bye(self, *lines: str, early: tuple[str, ...] | None = None) -> tuple[Request, Hop]:
        """Return the BYE after a 200 with these lines, and its hop."""
        answer = response(*lines)
        first = answer if early is None else response(*early, status=180)
        dialog = Dialog.of_caller(first, HERE, self.agent, self.INVITE)
        if early is not None:
            dialog.confirm(answer, self.agent)
        self.flaws = answer.flaws
        return dialog.request("BYE", self.agent), dialog.hop

    def test_contact(self) -> None:
        """With an unusable Contact, requests keep the Request-URI and the hop of the INVITE."""
        for line in (
            *("X: y", "Contact:", "Contact: *", "Contact: <tel:+1555>", "Contact: <sip:b@[::1>"),
            *('Contact: "b <sip:b@192.0.2.2>', "Contact: sip:b@h?Subject=x", "m: , ,"),
            *("Contact: \udce9", "Contact: <urn:uuid:1>, <mailto:a@b>", "Contact: <sip:h:70000>"),
        ):
            request, hop = self.bye(line)
            self.assertEqual((request.uri, hop), ("sip:100@192.0.2.9", HERE), line)

    def test_first_contact_that_can_be_used(self) -> None:
        """Of several Contacts the first SIP URI counts."""
        for line in (
            "Contact: <tel:1>, <sip:b@192.0.2.2>",
            "Contact: , sip:b@192.0.2.2;q=1, <sip:c@192.0.2.3>",
            "Contact: <sip:b>x, <sip:b@192.0.2.2>;;q=1;",
            'm: "a, <sip:x>" <sip:b@192.0.2.2>',
        ):
            request, hop = self.bye(line)
            self.assertEqual((request.uri, hop), ("sip:b@192.0.2.2", Hop("192.0.2.2", 5060)), line)

    def test_contact_as_request_uri(self) -> None:
        """The parts that a Request-URI must not have are removed, RFC 3261 §19.1.1."""
        for uri, expected in (
            ("sip:b@192.0.2.2?Subject=x&Route=y", "sip:b@192.0.2.2"),
            ("sip:b@192.0.2.2;method=INVITE;x=y;ttl=3", "sip:b@192.0.2.2;x=y"),
            ("sip:b;p=1:pw@192.0.2.2;METHOD=BYE;ob", "sip:b;p=1:pw@192.0.2.2;ob"),
            ("sip:192.0.2.2;lr;transport=udp", "sip:192.0.2.2;lr;transport=udp"),
        ):
            request, hop = self.bye(f"Contact: <{uri}>")
            self.assertEqual((request.uri, hop), (expected, Hop("192.0.2.2", 5060)))
            self.assertNotIn("?", request.octets().decode())

    def test_hops(self) -> None:
        """The hop is host or maddr and port or 5060; for other transports it is the peer."""
        for uri, hop in (
            ("sip:b@h.example.com;maddr=192.0.2.7", Hop("192.0.2.7", 5060)),
            ("sip:b@192.0.2.2:5071;MADDR=[2001:db8::7]", Hop("2001:db8::7", 5071)),
            ("sip:[2001:db8::2]:5071", Hop("2001:db8::2", 5071)),
            ("sip:b@192.0.2.2;transport=UDP", Hop("192.0.2.2", 5060)),
            ("sip:b@192.0.2.2;transport=tcp", HERE),
            ("sip:b@192.0.2.2;Transport=TLS;maddr=192.0.2.7", HERE),
            ("sips:b@192.0.2.2", HERE),
        ):
            request, found = self.bye(f"Contact: <{uri}>")
            self.assertEqual((request.uri, found), (uri, hop))
            self.assertIn("/UDP ", request.get("Via") or "")
            self.assertEqual(bool(self.flaws), found == HERE)

    def test_record_route(self) -> None:
        """If one Record-Route is malformed, requests take the hop of the INVITE."""
        contact = "Contact: <sip:b@192.0.2.2>"
        for line in (
            "Record-Route: <sip:p1.example.com;lr>, <sip:p2",
            "Record-Route: nonsense",
            "Record-Route: <sip:p1.example.com;lr>\r\nRecord-Route: <sip:p:x;lr>",
            "Record-Route: \udce9",
        ):
            request, hop = self.bye(contact, line)
            self.assertEqual((request.uri, hop), ("sip:b@192.0.2.2", HERE), line)
            self.assertEqual(request.all("Route"), ["<sip:192.0.2.1:5060;lr>"])
            self.assertTrue(self.flaws)

    def test_record_route_with_gaps(self) -> None:
        """Empty list elements and parameters are ignored."""
        request, hop = self.bye(
            "Contact: <sip:b@192.0.2.2>", "Record-Route: , <sip:192.0.2.5;lr>;;x,", "Record-Route:"
        )
        self.assertEqual(request.all("Route"), ["<sip:192.0.2.5;lr>;;x"])
        self.assertEqual(hop, Hop("192.0.2.5", 5060))

    def test_record_route_of_the_180(self) -> None:
        """The early route set stays if the Record-Route of the 200 is malformed."""
        early = ("Contact: <sip:b@192.0.2.2>", "Record-Route: <sip:192.0.2.5;lr>")
        request, hop = self.bye("Contact: <sip:b@192.0.2.2>", "Record-Route: <", early=early)
        self.assertEqual(request.all("Route"), ["<sip:192.0.2.5;lr>"])
        self.assertEqual(hop, Hop("192.0.2.5", 5060))

    def test_addresses(self) -> None:
        """From and Call-ID are those of our INVITE, and the To is that of the response."""
        answer = response()
        text = answer.octets().decode().replace("From: ", "From: x, ").replace("c1", "c 1")
        text = text.replace("To: <", "To: a, b;; <")
        read = parse(text.encode())
        assert isinstance(read, Response)
        dialog = Dialog.of_caller(read, HERE, self.agent, self.INVITE)
        self.assertEqual(dialog.id, DialogId("c1", "at", "bt"))
        request = dialog.request("BYE", self.agent)
        self.assertEqual(request.get("From"), self.INVITE.local)
        self.assertEqual(request.get("To"), "a, b;; <sip:bob@example.com>;tag=bt")

    def test_restored(self) -> None:
        """After a restart requests have the same Request-URI, routes and hop."""
        for lines in (
            ("Contact: <sip:b@192.0.2.2:5071;maddr=192.0.2.7>",),
            ("Contact: <sip:b@192.0.2.2;transport=tcp>",),
            ("Contact: <sip:b@192.0.2.2>", "Record-Route: <"),
            ("Contact: <",),
        ):
            before = Dialog.of_caller(response(*lines), HERE, self.agent, self.INVITE)
            after = Dialog.restored(
                before.id,
                before.local,
                before.remote,
                before.invite_hop,
                target=before.target,
                routes=before.routes,
                local_cseq=7,
                remote_cseq=-1,
            )
            self.assertEqual(after.hop, before.hop)
            one, other = (each.request("BYE", self.agent) for each in (before, after))
            self.assertEqual(one.uri, other.uri)
            self.assertEqual(one.all("Route"), other.all("Route"))
