"""Messages that umd sends mean the same as objects and as octets."""

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
        """Every value that the core reads is the same before and after writing and parsing."""
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
        """Requests agree with and without a To tag and further header fields."""
        self.check(own())
        self.check(own("BYE", "bt", ("Reason", "Q.850;cause=16"), ("Reason", "SIP;cause=200")))

    def test_response(self) -> None:
        """Responses to an OwnRequest agree, and know the method that they answer."""
        for request in (own(), own("BYE", "bt")):
            for status, body in ((180, b""), (200, b"v=0\r\n"), (486, b"")):
                found = response(request, status, "mine", "<sip:b@y>", (("Reason", "X"),), body)
                self.assertIsInstance(found, OwnResponse)
                self.check(found)
                self.assertEqual(found.cseq_method, request.method)

    def test_response_is_that_of_the_wire(self) -> None:
        """The response to the object has the octets of the response to the parsed request."""
        request = own()
        read = parse(request.octets())
        assert isinstance(read, Request)
        one, other = response(request, 200, "mine"), response(read, 200, "mine")
        self.assertNotIsInstance(other, OwnResponse)
        self.assertEqual(one.octets(), other.octets())

    def test_record_route_is_kept(self) -> None:
        """A response that makes a dialog has the proxy's Record-Route."""
        request = own("INVITE", None, ("Record-Route", "<sip:p;lr>"))
        self.assertEqual(response(request, 200, "mine").all("Record-Route"), ["<sip:p;lr>"])

    def test_whatever_is_built_from_it(self) -> None:
        """ACK and CANCEL can be built from an OwnRequest."""
        self.assertEqual(build.response(own("BYE", "bt"), 200).to_tag, "bt")
        self.assertEqual(build.cancel_for(own()).cseq.method, "CANCEL")
        refusal = build.response(own(), 486, to_tag="bt")
        assert isinstance(refusal, Response)
        self.assertEqual(build.ack_for(own(), refusal).to_tag, "bt")
