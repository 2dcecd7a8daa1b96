"""Which bodies count as a session description."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sip.helpers import ALICE, ANSWER, BOB, OFFER, CallCase
from tests.sip.test_message import read
from umd.sip.body import MAX_DEPTH, MAX_PARTS, UnsupportedBody, description_in, offer_in
from umd.sip.message import Response
from umd.sip.session import Answered

SDP = OFFER.decode()
TYPE = "Content-Type: application/sdp"


def parts(*each: str, boundary: str = "b1", end: str = "\r\n") -> str:
    """Return a multipart body."""
    lines = [f"--{boundary}{end}{part}{end}" for part in each]
    return "".join(lines) + f"--{boundary}--{end}"


def part(kind: str, content: str, *lines: str) -> str:
    return "\r\n".join((f"Content-Type: {kind}", *lines, "", content))


class OfferTests(SynchronousTestCase):
    def found(self, *lines: str, body: str = SDP) -> str | None:
        """Return the offer in a request; None if the request is refused."""
        request = read(*lines, body=body)
        try:
            return offer_in(request).decode()
        except UnsupportedBody as error:
            self.refusal = error
            self.assertEqual(description_in(request), b"")
            self.assertTrue(request.flaws)
            return None

    def test_session_description(self) -> None:
        """SDP is recognised in any spelling of its type, and without a type."""
        for line in (
            *("content-type:APPLICATION/SDP", "c: application/sdp;charset=utf-8", "X: y"),
            *("Content-Type: application / sdp ; x", "Content-Type: application/sdp;", TYPE),
        ):
            self.assertEqual(self.found(line), SDP, line)
        for line in ("Content-Encoding: identity", "Content-Encoding:", "e: Identity "):
            self.assertEqual(self.found(TYPE, line), SDP, line)

    def test_nothing(self) -> None:
        """A request without a body has no offer."""
        for line in (TYPE, "Content-Type: text/plain", "Content-Encoding: gzip", "c:"):
            self.assertEqual(self.found(line, body=""), "", line)

    def test_of_another_type(self) -> None:
        """A 415 names the supported type."""
        for line, body in (
            ("Content-Type: application/json", SDP),
            ("Content-Type: application/sdp-more", SDP),
            ("Content-Type:", SDP),
            ("X: y", "hello"),
            ("Content-Type: multipart/mixed", parts(part("application/sdp", SDP))),
            ("Content-Type: multipart/mixed;boundary=b1", parts(part("text/plain", SDP))),
            ("Content-Type: multipart/mixed;boundary=b1", "no parts"),
        ):
            self.assertIsNone(self.found(line, body=body), line)
            self.assertEqual(self.refusal.headers, (("Accept", "application/sdp"),))

    def test_encoded(self) -> None:
        """A 415 for an encoding names the supported encoding."""
        for coding in ("gzip", "deflate, gzip", "x-own"):
            self.assertIsNone(self.found(TYPE, f"Content-Encoding: {coding}"))
            self.assertEqual(self.refusal.headers, (("Accept-Encoding", "identity"),))

    def test_optional(self) -> None:
        """An optional body is ignored."""
        for disposition in ("render;handling=optional", 'icon; HANDLING = "Optional"'):
            line = f"Content-Disposition: {disposition}"
            self.assertEqual(self.found("Content-Type: text/html", line, body="<p>"), "")
        line = "Content-Disposition: render;handling=required"
        self.assertIsNone(self.found("Content-Type: text/html", line, body="<p>"))

    def test_parts(self) -> None:
        """The first part that is SDP counts, at any position and depth."""
        isup = part("application/isup;version=x", "\x01\r\n--b\r\n\x10")
        offer = part("Application/SDP ", SDP, "Content-Disposition: session")
        inner = part('multipart/related;boundary="i n"', parts(offer, boundary="i n"))
        for kind, body in (
            ("multipart/mixed;boundary=b1", parts(offer, isup)),
            ('multipart/mixed; x=y; Boundary="b1"', parts(isup, offer)),
            ("MULTIPART/alternative;boundary=b1", parts(isup, inner)),
            ("multipart/mixed;boundary=b1", "preamble\r\n" + parts(offer) + "epilogue"),
            ("multipart/mixed;boundary=b1", parts(offer, isup)[: -len("--\r\n")]),
            ("multipart/mixed;boundary=b1", parts(offer, part("application/sdp", "v=1"))),
        ):
            self.assertEqual(self.found(f"Content-Type: {kind}", body=body), SDP, body)
        body = parts(offer, isup, end="\n").replace("\r\n", "\n")
        self.assertEqual(
            self.found("Content-Type: multipart/mixed;boundary=b1", body=body),
            SDP.replace("\r\n", "\n"),
        )

    def test_parts_that_must_be_understood(self) -> None:
        """A required unsupported part refuses the body, and an encoded part is no offer."""
        offer = part("application/sdp", SDP)
        required = part("application/x", "?", "Content-Disposition: signal;handling=required")
        kind = "Content-Type: multipart/mixed;boundary=b1"
        self.assertIsNone(self.found(kind, body=parts(offer, required)))
        coded = part("application/sdp", "dj0w", "Content-Transfer-Encoding: base64")
        self.assertIsNone(self.found(kind, body=parts(coded)))

    def test_bounds(self) -> None:
        """The number and the depth of parts are limited."""
        kind, other = "Content-Type: multipart/mixed;boundary=b1", part("a/b", "c")
        offer = part("application/sdp", SDP)
        self.assertEqual(self.found(kind, body=parts(*[other] * (MAX_PARTS - 1), offer)), SDP)
        self.assertIsNone(self.found(kind, body=parts(*[other] * MAX_PARTS, offer)))
        body = parts(offer, boundary="b0")
        for depth in range(1, MAX_DEPTH + 1):
            kind = f"Content-Type: multipart/x;boundary=b{depth - 1}"
            self.assertEqual(self.found(kind, body=body), SDP)
            body = parts(part(f"multipart/x;boundary=b{depth - 1}", body), boundary=f"b{depth}")
        kind = f"Content-Type: multipart/x;boundary=b{MAX_DEPTH}"
        self.assertIsNone(self.found(kind, body=body))
        kind = "Content-Type: multipart/mixed;boundary=b1"
        for text in ("--b1\r\n" * 9000, "--b1" * 15000, "\r\n" * 30000, "--b1\r\na: b\r\n" * 4000):
            self.assertIsNone(self.found(kind, body=text))


class CallTests(CallCase):
    def ask(self, method: str, number: int, *lines: str, body: str = SDP) -> Response:
        """Send a request of Alice in the dialog; return Bob's response."""
        dialog = self.caller.dialog
        assert dialog is not None
        fields = [
            f"{method} {dialog.request_uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {ALICE.host}:5060;branch=z9hG4bKb{number}",
            f"From: {dialog.local}",
            f"To: {dialog.remote}",
            f"Call-ID: {dialog.id.call_id}",
            f"CSeq: {number} {method}",
            *lines,
        ]
        data = "\r\n".join(fields) + "\r\n\r\n" + body
        self.bob.endpoint.receive_datagram(data.encode(), ALICE, 1.0)
        (send,) = self.bob.out()
        assert isinstance(send.message, Response)
        return send.message

    def setUp(self) -> None:
        super().setUp()
        self.caller, self.callee = self.answered()

    def test_changes(self) -> None:
        """A re-INVITE or UPDATE with an unsupported body is answered 415, and the call goes on."""
        before = self.callee.remote_body
        for number, method in enumerate(("INVITE", "UPDATE"), 10):
            answer = self.ask(method, number, "Content-Type: text/plain")
            self.assertEqual((answer.status, answer.get("Accept")), (415, "application/sdp"))
        answer = self.ask("INVITE", 12, TYPE, "Content-Encoding: gzip")
        self.assertEqual((answer.status, answer.get("Accept-Encoding")), (415, "identity"))
        self.assertEqual(self.callee.remote_body, before)
        kind = "Content-Type: multipart/mixed;boundary=b1"
        body = parts(part("a/b", "c"), part("application/sdp", SDP))
        self.assertEqual(self.ask("UPDATE", 13, kind, body=body).status, 200)
        self.assertEqual(self.callee.remote_body, OFFER)

    def test_not_needed(self) -> None:
        """OPTIONS and BYE may have any body."""
        self.assertEqual(self.ask("OPTIONS", 10, "Content-Type: a/b", body="c").status, 200)
        self.assertEqual(self.ask("BYE", 11, "Content-Encoding: gzip", body="c").status, 200)

    def test_new_call(self) -> None:
        """An INVITE with an unsupported body is answered 415."""
        data = self.alice.call(self.bob).request
        assert data is not None
        octets = data.octets().replace(b"application/sdp", b"application/xyz")
        self.bob.endpoint.receive_datagram(octets, ALICE, 1.0)
        (send,) = self.bob.out()
        assert isinstance(send.message, Response)
        self.assertEqual(send.message.status, 415)
        self.assertEqual(self.bob.take(), [])

    def test_responses(self) -> None:
        """A multipart answer is read, and a body of another type is ignored."""
        body = parts(part("a/b", "c"), part("application/sdp", ANSWER.decode())).encode()
        for number, (kind, content, found) in enumerate(
            (
                (b"multipart/mixed;boundary=b1", body, ANSWER),
                (b"text/plain", b"hello", b""),
                (b"multipart/mixed", body, b""),
            )
        ):
            caller = self.alice.call(self.bob, 2.0 + number)
            self.there(2.0 + number)
            self.bob.incoming().answer(2.0 + number, body=ANSWER)
            (send,) = self.bob.out()
            data = send.message.octets().partition(b"Content-Type")[0]
            data += b"Content-Type: " + kind + b"\r\n\r\n" + content
            self.alice.endpoint.receive_datagram(data, BOB, 2.0 + number)
            self.assertEqual(self.alice.take_events(), [Answered()])
            self.assertEqual(caller.remote_body, found)
            self.settle(2.0 + number)
