"""Own messages say the same as objects and as octets."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.sip import build
from umd.sip.message import Message, Request, Response
from umd.sip.outgoing import OwnRequest, OwnResponse, response
from umd.sip.parser import parse


def own(method: str = "INVITE", to_tag: str | None = None, *extra: tuple[str, str]) -> OwnRequest:
    to = "<sip:b@x>" if to_tag is None else f"<sip:b@x>;tag={to_tag}"
    return OwnRequest(
        method,
        "sip:b@192.0.2.2",
        "192.0.2.1:5060",
        "z9hG4bK1",
        '"A" <sip:a@x>;tag=at',
        "at",
        to,
        to_tag,
        "c1",
        7,
        "UDP",
        ("<sip:p;lr>",),
        "<sip:a@192.0.2.1>",
        extra,
        b"v=0\r\n",
    )


class OwnTests(SynchronousTestCase):
    def check(self, message: Message) -> None:
        """All that transactions, dialogs and sessions read, before and after the wire."""
        read = parse(message.octets())
        for name in (
            *("call_id", "from_tag", "to_tag", "branch", "sent_by", "cseq_number", "body"),
            *("via", "cseq", "from_", "to"),
        ):
            self.assertEqual(getattr(message, name), getattr(read, name), name)
        for name in ("Contact", "From", "To", "Via", "Reason", "Record-Route", "Route", "Date"):
            self.assertEqual(message.get(name), read.get(name), name)
            self.assertEqual(message.all(name), read.all(name), name)

    def test_request(self) -> None:
        """With and without a To tag and further header fields."""
        self.check(own())
        self.check(own("BYE", "bt", ("Reason", "Q.850;cause=16"), ("Reason", "SIP;cause=200")))

    def test_response(self) -> None:
        """To an own request; and the method it answers."""
        for request in (own(), own("BYE", "bt")):
            for status, body in ((180, b""), (200, b"v=0\r\n"), (486, b"")):
                found = response(request, status, "mine", "<sip:b@y>", (("Reason", "X"),), body)
                self.assertIsInstance(found, OwnResponse)
                self.check(found)
                self.assertEqual(found.cseq_method, request.method)

    def test_response_is_that_of_the_wire(self) -> None:
        """An answer to the object has the octets of an answer to the read request."""
        request = own()
        read = parse(request.octets())
        assert isinstance(read, Request)
        one, other = response(request, 200, "mine"), response(read, 200, "mine")
        self.assertNotIsInstance(other, OwnResponse)
        self.assertEqual(one.octets(), other.octets())

    def test_record_route_is_kept(self) -> None:
        """A proxy's Record-Route goes back in the answer that makes a dialog."""
        request = own("INVITE", None, ("Record-Route", "<sip:p;lr>"))
        self.assertEqual(response(request, 200, "mine").all("Record-Route"), ["<sip:p;lr>"])

    def test_whatever_is_built_from_it(self) -> None:
        """What follows from a message can be built from an own one too."""
        self.assertEqual(build.response(own("BYE", "bt"), 200).to_tag, "bt")
        self.assertEqual(build.cancel_for(own()).cseq.method, "CANCEL")
        refusal = build.response(own(), 486, to_tag="bt")
        assert isinstance(refusal, Response)
        self.assertEqual(build.ack_for(own(), refusal).to_tag, "bt")
