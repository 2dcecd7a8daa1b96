"""The SOAP door: each outcome with its status, header, fault and log line."""

from __future__ import annotations

from collections.abc import Mapping

from lxml import etree
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from tests.soap.test_um import disconnect, envelope
from umd.call.call import Call, CallState
from umd.control import Control
from umd.http.exchange import Reply, Request
from umd.service import SoapService
from umd.soap.um import MESSAGES, MESSAGES_PASTED

XML = {"content-type": "text/xml; charset=utf-8"}


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = ControlRoom()
        self.successResultOf(ensureDeferred(self.room.control.start()))
        self.service = SoapService(self.room.control, self.room.log, self.room.clock.seconds)
        self.call = self.room.control.place(ALICE, "answers")
        self.room.lines.clear()

    def post(
        self,
        body: str,
        headers: Mapping[str, str] = XML,
        path: str = "/EWS/UM2007Legacy.asmx",
    ) -> Deferred[Reply]:
        request = Request(ALICE, "POST", path, "", "http", "h", headers, body.encode())
        return ensureDeferred(self.service.serve(request))

    def disconnect(self, call: Call) -> Deferred[Reply]:
        return self.post(disconnect(call.id))

    def answer(self, body: str, **kwargs: str) -> Reply:
        return self.successResultOf(self.post(body, **kwargs))  # type: ignore[arg-type]

    def fault_of(self, reply: Reply) -> tuple[str, str]:
        """`(namespace of the fault code's prefix, code)`"""
        self.assertEqual(reply.status, 500)
        element = etree.fromstring(reply.body).find(".//faultcode")
        assert element is not None and element.text is not None
        prefix, _, code = element.text.partition(":")
        return element.nsmap[prefix].rpartition("/")[2], code

    def test_a_live_call(self) -> None:
        reply = self.successResultOf(self.disconnect(self.call))
        self.assertEqual((reply.status, reply.headers["X-UMD-Outcome"]), (200, "ended"))
        self.assertIn(b"<DisconnectResponse", reply.body)
        (line,) = (line for line in self.room.lines if line["event"] == "soap.answered")
        self.assertEqual(
            (line["call"], line["outcome"], line["status"], line["principal"]),
            (self.call.id, "ended", 200, "alice"),
        )
        self.assertEqual(line["request_id"], reply.headers["X-UMD-Request"])

    def test_the_outcomes_of_a_silent_far_end(self) -> None:
        call = self.room.control.place(ALICE, "silent")
        asked = self.disconnect(call)
        self.room.clock.advance(5.0)
        self.assertEqual(self.successResultOf(asked).headers["X-UMD-Outcome"], "ended-unconfirmed")
        self.room.clock.advance(30.0)
        again = self.successResultOf(self.disconnect(call))
        self.assertEqual((again.status, again.headers["X-UMD-Outcome"]), (200, "already-ended"))

    def test_a_wrong_empty_or_absent_id(self) -> None:
        absent = envelope(f'<Disconnect xmlns="{MESSAGES}"/>')
        for body in (disconnect("garbage"), disconnect(""), disconnect("&lt;x&gt;"), absent):
            reply = self.answer(body)
            self.assertEqual(self.fault_of(reply), ("errors", "InvalidCallIdException"))
            self.assertEqual(reply.headers["X-UMD-Outcome"], "unknown")
        self.assertEqual(self.call.state, CallState.CONNECTED)

    def test_why_a_request_is_refused_is_logged_in_brief(self) -> None:
        """Finding 28: a name of half a megabyte was written in full; a call id is cut as well."""
        self.answer(envelope(f'<{"x" * 5000} xmlns="{MESSAGES}"/>'))
        self.answer(disconnect("x" * 5000))
        refused, unknown = (e for e in self.room.lines if e["event"] == "soap.answered")
        self.assertIn("xxx", refused["why"])
        self.assertEqual((len(refused["why"]), len(unknown["call"])), (200, 200))

    def test_what_is_no_request(self) -> None:
        for body in ("", "<a>", disconnect("a") + "x", envelope(f'<Reboot xmlns="{MESSAGES}"/>')):
            reply = self.answer(body)
            self.assertEqual(self.fault_of(reply), ("types", "ErrorInvalidRequest"), body)
            self.assertEqual(reply.headers["X-UMD-Outcome"], "invalid-request")
        self.assertEqual(len({line["why"] for line in self.room.lines}), 4)

    def test_what_is_wrong_is_told_apart_from_the_fault(self) -> None:
        reply = self.answer(envelope(f'<Rebo\u00f6t xmlns="{MESSAGES}"/>'))
        self.assertEqual(
            reply.headers["X-UMD-Reason"], "no operation Rebo\\xf6t; there is: Disconnect"
        )
        reply = self.answer(envelope(f'<{"a" * 1000} xmlns="{MESSAGES}"/>'))
        self.assertEqual(len(reply.headers["X-UMD-Reason"]), 200)
        self.assertNotIn("X-UMD-Reason", self.answer(disconnect("garbage")).headers)

    def test_faults_of_the_envelope(self) -> None:
        reply = self.answer(envelope("<a/>", soap="http://www.w3.org/2003/05/soap-envelope"))
        self.assertEqual(self.fault_of(reply), ("", "VersionMismatch"))
        header = '<s:Header><h xmlns="urn:h" s:mustUnderstand="1"/></s:Header>'
        reply = self.answer(envelope("<a/>", header=header))
        self.assertEqual(self.fault_of(reply), ("", "MustUnderstand"))

    def test_a_fault_keeps_the_spelling_of_the_request(self) -> None:
        reply = self.answer(disconnect("garbage", MESSAGES_PASTED))
        self.assertIn(f'xmlns:m="{MESSAGES_PASTED}"'.encode(), reply.body)

    def test_an_unreachable_backend(self) -> None:
        self.room.fake.reachable = False
        reply = self.successResultOf(self.disconnect(self.call))
        self.assertEqual(self.fault_of(reply), ("types", "ErrorServerBusy"))
        self.assertEqual(reply.headers["X-UMD-Outcome"], "backend-unavailable")

    def test_an_unforeseen_error_tells_the_client_nothing(self) -> None:
        async def broken(*args: object) -> None:
            raise RuntimeError("secret")

        self.patch(Control, "disconnect", broken)
        reply = self.successResultOf(self.disconnect(self.call))
        self.assertEqual(self.fault_of(reply), ("types", "ErrorInternalServerError"))
        self.assertNotIn(b"secret", reply.body)
        self.assertIn("soap.failed", self.room.logged())

    def test_paths_without_case(self) -> None:
        for path in (
            "/EWS/UM2007Legacy.asmx",
            "/ews/um2007legacy.asmx",
            "/UnifiedMessaging/Service.asmx",
            "/unifiedmessaging/service.asmx",
        ):
            self.assertEqual(self.answer(disconnect("x"), path=path).status, 500, path)
        for path in ("/", "/EWS", "/EWS/UM2007Legacy.asmx/", "/EWS/Exchange.asmx", "*"):
            self.assertEqual(self.answer(disconnect("x"), path=path).status, 404, path)

    def test_content_types(self) -> None:
        for good in (
            "text/xml",
            "text/xml;charset=UTF-8",
            'Text/XML ; action="x"; charset="utf-8"',
        ):
            self.assertEqual(
                self.successResultOf(self.post("", {"content-type": good})).status, 500
            )
        for bad in ("", "application/json", "text/xml; charset=utf-7", "text/xmlx", "text/html"):
            reply = self.successResultOf(self.post("", {"content-type": bad}))
            self.assertEqual(reply.status, 415, bad)
            self.assertIn(b"text/xml", reply.body)

    def test_a_client_that_leaves(self) -> None:
        self.room.fake.confirms = False
        asked = self.disconnect(self.call)
        asked.cancel()
        self.failureResultOf(asked)
        self.assertIn("soap.client-gone", self.room.logged())
        self.room.fake.end(self.call.leg)
        self.assertIn("Disconnected", self.room.told(self.call))

    def test_the_retry_of_a_client_that_left(self) -> None:
        self.room.fake.confirms = False
        gone = self.disconnect(self.call)
        gone.cancel()
        self.failureResultOf(gone)
        again = self.disconnect(self.call)
        self.room.fake.end(self.call.leg)
        self.assertEqual(self.successResultOf(again).headers["X-UMD-Outcome"], "ended")
