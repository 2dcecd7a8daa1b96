"""The SOAP door: each outcome with its status, header, fault and log line."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from lxml import etree
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import (
    ALICE,
    DEADLINE,
    FAKE_NUMBERS,
    ControlRoom,
    MemoryUsers,
    RecordingDelivery,
)
from tests.soap.test_autodiscover_svc import asking, users
from tests.soap.test_contract import disconnect, envelope
from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.principal import ANONYMOUS, Principal
from umd.control.control import Control
from umd.http.exchange import Reply, Request
from umd.messaging.service import SoapService
from umd.messaging.use_cases import UseCases
from umd.soap.document import local_name
from umd.soap.envelope import SOAP11, SOAP12
from umd.soap.namespaces import MESSAGES, MESSAGES_PASTED, TYPES

END = "DisconnectPhoneCall"
XML = {"content-type": "text/xml; charset=utf-8"}


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = ControlRoom()
        self.successResultOf(ensureDeferred(self.room.control.start()))
        use_cases = UseCases(
            self.room.control, users=MemoryUsers(), plan=FAKE_NUMBERS, pins=RecordingDelivery()
        )
        self.service = SoapService(
            use_cases, self.room.log, self.room.clock.seconds, lambda: 1_000_000.25
        )
        self.call = self.room.control.place(ALICE, "answers")
        self.room.lines.clear()

    def post(
        self,
        body: str,
        headers: Mapping[str, str] = XML,
        path: str = "/EWS/UM2007Legacy.asmx",
    ) -> Deferred[Reply]:
        request = Request(ALICE, "POST", path, "", "http", "h", headers, body.encode())
        return _deferred(self.service.serve(request))

    def disconnect(self, call: Call) -> Deferred[Reply]:
        return self.post(disconnect(call.id))

    def answer(self, body: str, **kwargs: str) -> Reply:
        return self.successResultOf(self.post(body, **kwargs))  # type: ignore[arg-type]

    def fault_of(self, reply: Reply) -> tuple[str, str]:
        """Return `(namespace_of_the_prefix, code)` of a fault."""
        self.assertEqual(reply.status, 500)
        element = etree.fromstring(reply.body).find(".//faultcode")
        assert element is not None and element.text is not None
        prefix, _, code = element.text.partition(":")
        return element.nsmap[prefix].rpartition("/")[2], code

    def test_a_live_call(self) -> None:
        reply = self.successResultOf(self.disconnect(self.call))
        self.assertEqual((reply.status, reply.headers["X-UMD-Outcome"]), (200, "ended"))
        self.assertIn(b"<DisconnectResponse", reply.body)
        self.assertEqual(self.room.event_names(self.call)[-1], "Disconnected")
        (line,) = (line for line in self.room.lines if line["event"] == "soap.answered")
        self.assertEqual(
            (line["call"], line["outcome"], line["status"], line["principal"]),
            (self.call.id, "ended", 200, "alice"),
        )
        self.assertEqual(line["request_id"], reply.headers["X-UMD-Request"])

    def test_the_outcomes_of_a_silent_far_end(self) -> None:
        call = self.room.control.place(ALICE, "silent")
        asked = self.disconnect(call)
        self.room.clock.advance(DEADLINE)
        self.assertEqual(self.successResultOf(asked).headers["X-UMD-Outcome"], "ended-unconfirmed")
        self.room.clock.advance(30.0)
        again = self.successResultOf(self.disconnect(call))
        self.assertEqual((again.status, again.headers["X-UMD-Outcome"]), (200, "already-ended"))

    def test_the_reason_why_a_number_is_not_dialable(self) -> None:
        body = (
            f'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><PlayOnPhone '
            f'xmlns="{MESSAGES}"><entryId>AA==</entryId><DialString>%s</DialString></PlayOnPhone>'
            "</Body></Envelope>"
        )
        for number, why in (
            ("sips:bob@example.com", "asks for TLS"),
            ("sip:sip:7042@pbx", "a scheme twice"),
            ("\u0667\u0660", "its digits are not 0 to 9"),
            ("tel:7042;ext=x", "wrong ext"),
            ("bob", "not a telephone number"),
            ("7" * 5000, "5000 characters"),
        ):
            reply = self.answer(body % number)
            self.assertEqual(self.fault_of(reply)[1], "DialingRulesException", number)
            self.assertEqual(reply.headers["X-UMD-Outcome"], "not-dialable")
            self.assertIn(why, reply.headers["X-UMD-Reason"])
            self.assertTrue(reply.headers["X-UMD-Reason"].isascii())
        self.assertEqual([command for command, _ in self.room.fake.commands], ["place"])

    def test_a_wrong_empty_or_absent_id(self) -> None:
        absent = envelope(f'<Disconnect xmlns="{MESSAGES}"/>')
        for body in (disconnect("garbage"), disconnect(""), disconnect("&lt;x&gt;"), absent):
            reply = self.answer(body)
            self.assertEqual(self.fault_of(reply), ("errors", "InvalidCallIdException"))
            self.assertEqual(reply.headers["X-UMD-Outcome"], "unknown")
        self.assertEqual(self.call.state, CallState.CONNECTED)

    def test_why_a_request_is_refused_is_logged_in_brief(self) -> None:
        """A name of half a megabyte is cut in the log, and so is a CallId."""
        self.answer(envelope(f'<{"x" * 5000} xmlns="{MESSAGES}"/>'))
        self.answer(disconnect("x" * 5000))
        refused, unknown = (e for e in self.room.lines if e["event"] == "soap.answered")
        self.assertIn("xxx", refused["why"])
        self.assertEqual((len(refused["why"]), len(unknown["call"])), (200, 200))

    def test_invalid_requests(self) -> None:
        for body in ("", "<a>", disconnect("a") + "x", envelope(f'<Reboot xmlns="{MESSAGES}"/>')):
            reply = self.answer(body)
            self.assertEqual(self.fault_of(reply), ("types", "ErrorInvalidRequest"), body)
            self.assertEqual(reply.headers["X-UMD-Outcome"], "invalid-request")
        self.assertEqual(len({line["why"] for line in self.room.lines}), 4)

    def test_the_reason_header_explains_the_fault(self) -> None:
        reply = self.answer(envelope(f'<Rebo\u00f6t xmlns="{MESSAGES}"/>'))
        self.assertEqual(
            reply.headers["X-UMD-Reason"], "no operation Rebo\\xf6t here"
        )
        reply = self.answer(envelope(f'<{"a" * 1000} xmlns="{MESSAGES}"/>'))
        self.assertEqual(len(reply.headers["X-UMD-Reason"]), 200)
        self.assertNotIn("X-UMD-Reason", self.answer(disconnect("garbage")).headers)

    def test_faults_of_the_envelope(self) -> None:
        reply = self.answer(envelope("<a/>", soap="http://www.w3.org/2001/12/soap-envelope"))
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

    def test_an_internal_error_reveals_nothing_to_the_client(self) -> None:
        async def broken(*args: object) -> None:
            raise RuntimeError("secret")

        self.patch(Control, "end", broken)
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
        for path in ("/", "/EWS", "/EWS/UM2007Legacy.asmx/", "/EWS/Exchange.asmx/", "*"):
            self.assertEqual(self.answer(disconnect("x"), path=path).status, 404, path)

    def test_content_types(self) -> None:
        for good in (
            "text/xml",
            "text/xml;charset=UTF-8",
            'application/soap+xml; charset=utf-8; action="x"',
            'Text/XML ; action="x"; charset="utf-8"',
        ):
            reply = self.successResultOf(self.post("", {"content-type": good}))
            self.assertEqual(reply.headers["X-UMD-Outcome"], "invalid-request", good)
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
        self.assertIn("Disconnected", self.room.event_names(self.call))

    def test_the_retry_of_a_client_that_left(self) -> None:
        self.room.fake.confirms = False
        gone = self.disconnect(self.call)
        gone.cancel()
        self.failureResultOf(gone)
        again = self.disconnect(self.call)
        self.room.fake.end(self.call.leg)
        self.assertEqual(self.successResultOf(again).headers["X-UMD-Outcome"], "ended")

    # -- SOAP 1.2

    def by_soap_1_2(self, body: str, header: str = "") -> Reply:
        reply = self.answer(envelope(body, header=header, soap=SOAP12))
        self.assertEqual(reply.content_type, "application/soap+xml; charset=utf-8")
        self.assertEqual(etree.fromstring(reply.body).tag, f"{{{SOAP12}}}Envelope")
        return reply

    def test_soap_1_2_is_answered_in_kind(self) -> None:
        """
        SOAP 1.2 part 2, table 20: the status says whether the client or the server is to blame.
        """
        asked = f'<Disconnect xmlns="{MESSAGES}"><CallId>{{}}</CallId></Disconnect>'
        self.assertEqual(self.by_soap_1_2(asked.format(self.call.id)).status, 200)
        self.assertEqual(self.by_soap_1_2(asked.format("garbage")).status, 400)
        self.assertEqual(self.by_soap_1_2("").status, 400)
        block = '<s:Header><h:Who xmlns:h="urn:h" s:mustUnderstand="1"/></s:Header>'
        reply = self.by_soap_1_2("", block)
        self.assertEqual(reply.status, 500)
        self.assertIn(b"s:MustUnderstand", reply.body)
        again = self.room.control.place(ALICE, "x")
        self.room.fake.reachable = False
        self.assertEqual(self.by_soap_1_2(asked.format(again.id)).status, 500)

    def test_a_soap_1_2_fault_can_have_500(self) -> None:
        self.service.soap12_sender_status = 500
        asked = f'<Disconnect xmlns="{MESSAGES}"><CallId>garbage</CallId></Disconnect>'
        self.assertEqual(self.by_soap_1_2(asked).status, 500)

    def test_an_unreadable_request_by_its_content_type(self) -> None:
        for content_type, status in (("application/soap+xml", 400), ("text/xml", 500)):
            reply = self.successResultOf(self.post("<", {"content-type": content_type}))
            self.assertEqual(reply.status, status)
            self.assertEqual(reply.headers["X-UMD-Outcome"], "invalid-request")

    def test_charsets(self) -> None:
        for content_type, codec in (
            ("text/xml; charset=ISO-8859-1", "latin-1"),
            ('text/xml;CharSet = "windows-1252"', "cp1252"),
            ("text/xml; charset='utf-8'", "utf-8"),
            ('application/soap+xml; action="a; charset=utf-7"; charset=latin1', "latin-1"),
            ("text/xml; charset=", "utf-8"),
            ("text/xml; charset=us-ascii", "utf-8"),
            ("text/xml; charset", "utf-8"),
        ):
            request = Request(
                ALICE, "POST", "/EWS/UM2007Legacy.asmx", "", "http", "h",
                {"content-type": content_type}, disconnect("J\xf6rg").encode(codec),
            )  # fmt: skip
            reply = self.successResultOf(_deferred(self.service.serve(request)))
            self.assertEqual(reply.headers["X-UMD-Outcome"], "unknown", content_type)
            self.assertEqual(self.room.lines[-1]["call"], "J\xf6rg", content_type)

    def test_the_reason_names_what_cannot_be_read(self) -> None:
        for content_type, named in (
            ("text/xml; charset=shift_jis", "shift_jis"), ("", "no Content-Type"),
            ("text/x\xe9", "text/x\\xe9"),
        ):  # fmt: skip
            reply = self.successResultOf(self.post("", {"content-type": content_type}))
            self.assertEqual(reply.status, 415)
            self.assertIn(named, reply.headers["X-UMD-Reason"])
        declared = '<?xml version="1.0" encoding="koi8-r"?>' + disconnect("x")
        reply = self.successResultOf(self.post(declared, {"content-type": "text/xml"}))
        self.assertIn("'koi8-r'; send UTF-8", reply.headers["X-UMD-Reason"])

    def test_a_malformed_user_name_is_refused(self) -> None:
        """A name is logged with each call, so it has no line feed and is not 60 KiB long."""
        body = f'<{END} xmlns="{MESSAGES}"><PhoneCallId Id="x"/></{END}>'
        stranger = Principal.anonymous("")
        for name, denied in (
            ("j\xf6rg", False), ("x" * 256, False), ("x" * 257, True), ("a&#10;b", True),
            ("", True), ("\x85", True), ("a\u202eb", True),
        ):  # fmt: skip
            header = (
                "<t:ExchangeImpersonation><t:ConnectingSID><t:PrincipalName>"
                f"{name}</t:PrincipalName></t:ConnectingSID></t:ExchangeImpersonation>"
            )
            reply = self.ews(body, header, who=stranger)
            outcome = "impersonation-denied" if denied else "unknown"
            self.assertEqual(reply.headers["X-UMD-Outcome"], outcome, name[:10])

    # -- Autodiscover

    def discover(
        self, method: str, path: str, body: bytes = b"", query: str = "", content_type: str = ""
    ) -> Reply:
        request = Request(
            ALICE, method, path, query, "https", "h:8443", {"content-type": content_type}, body
        )
        return self.successResultOf(_deferred(self.service.serve(request)))

    def test_each_form_of_autodiscover(self) -> None:
        for path, ask in (
            ("/autodiscover/autodiscover.xml", "POST"), ("/Autodiscover/Autodiscover.svc", "POST"),
            ("/AutoDiscover/autodiscover.json", "GET"),
            ("/autodiscover/autodiscover.json/v1.0/a@b", "GET"),
        ):  # fmt: skip
            other = self.discover("GET" if ask == "POST" else "POST", path)
            self.assertEqual((other.status, other.headers["Allow"][:4]), (405, f"{ask},"[:4]))
        for path in ("/autodiscover/", "/autodiscover/x", "/autodiscover/autodiscover.svc/x"):
            self.assertEqual(self.discover("POST", path).status, 404, path)

    def test_autodiscover_by_soap(self) -> None:
        path = "/autodiscover/autodiscover.svc"
        for soap, content_type in ((SOAP11, "text/xml"), (SOAP12, "application/soap+xml")):
            asked = asking("GetUserSettings", users("j\xf6rg@b"), "ExternalUMUrl", soap)
            charset = f"{content_type}; charset=utf-8"
            for octets, said in ((asked, ""), (asked, charset)):
                reply = self.discover("POST", path, octets, content_type=said)
                self.assertEqual(reply.status, 200)
                self.assertTrue(reply.content_type.startswith(content_type))
                self.assertIn(b"<Value>https://h:8443/EWS/UM2007Legacy.asmx</Value>", reply.body)
            wrong = self.discover("POST", path, envelope("<a/>", soap=soap).encode())
            self.assertEqual(wrong.status, 500 if soap == SOAP11 else 400)
            self.assertTrue(wrong.content_type.startswith(content_type))
            self.assertIn("no operation a", wrong.headers["X-UMD-Reason"])
        latin_1 = asking("GetUserSettings", users("j\xf6rg@b"), "UserDisplayName")
        latin_1 = latin_1.decode().replace("utf-8", "iso-8859-1").encode("latin-1")
        self.assertIn("j\xf6rg".encode(), self.discover("POST", path, latin_1).body)

    def test_autodiscover_by_json(self) -> None:
        path = "/autodiscover/autodiscover.json"
        reply = self.discover("GET", path, query="Email=a@b&Protocol=EWS")
        self.assertEqual(
            (reply.status, reply.content_type, reply.body),
            (
                200,
                "application/json; charset=utf-8",
                b'{"Protocol":"EWS","Url":"https://h:8443/EWS/Exchange.asmx"}',
            ),
        )
        self.assertEqual(self.discover("GET", path, query="Email=a@b&Protocol=x").status, 400)

    def test_a_client_of_dotnet_finds_the_soap_form(self) -> None:
        """It sends GET and reads the headers of any response."""
        for path in ("/autodiscover/autodiscover.xml", "/autodiscover/autodiscover.svc"):
            reply = self.discover("GET", path)
            self.assertEqual(reply.headers["X-SOAP-Enabled"], "True")

    # -- EWS

    def ews(self, body: str, header: str = "", who: Principal = ALICE) -> Reply:
        document = envelope(body, header=f'<s:Header xmlns:t="{TYPES}">{header}</s:Header>')
        request = Request(
            who, "POST", "/EWS/Exchange.asmx", "", "http", "h", XML, document.encode()
        )
        return self.successResultOf(_deferred(self.service.serve(request)))

    def test_a_call_by_ews(self) -> None:
        placed = self.ews(
            f'<PlayOnPhone xmlns="{MESSAGES}"><ItemId Id="AA=="/><DialString>4</DialString>'
            "</PlayOnPhone>"
        )
        found = etree.fromstring(placed.body).find(f".//{{{MESSAGES}}}PhoneCallId")
        assert found is not None
        call = self.room.control.find(CallId(found.get("Id", "")))
        self.assertEqual((call.owner, call.number), ("alice", "waits"))
        self.assertEqual(placed.headers["X-UMD-Outcome"], "ok")
        (line,) = (line for line in self.room.lines if line["event"] == "soap.answered")
        self.assertEqual((line["operation"], line["call"]), ("PlayOnPhone", call.id))

        # An id made by one family works in the other.
        body = f'<GetCallInfo xmlns="{MESSAGES}"><CallId>{call.id}</CallId></GetCallInfo>'
        self.assertIn(b"<CallState>Connecting</CallState>", self.answer(envelope(body)).body)

        id_of_it = f'xmlns="{MESSAGES}"><PhoneCallId Id="{call.id}"/>'
        ended = self.ews(f"<DisconnectPhoneCall {id_of_it}</DisconnectPhoneCall>")
        self.assertEqual((ended.status, ended.headers["X-UMD-Outcome"]), (200, "ended"))
        told = self.ews(f"<GetPhoneCallInformation {id_of_it}</GetPhoneCallInformation>")
        self.assertIn(b">Disconnected</t:PhoneCallState>", told.body)

    def test_an_ews_problem_is_a_response(self) -> None:
        """Clients need all three elements, in this order, and the header."""
        body = f'<{END} xmlns="{MESSAGES}"><PhoneCallId Id="x"/></{END}>'
        reply = self.ews(body)
        self.assertEqual((reply.status, reply.headers["X-UMD-Outcome"]), (200, "unknown"))
        root = etree.fromstring(reply.body)
        answer = root[1][0]
        self.assertEqual(answer.get("ResponseClass"), "Error")
        self.assertEqual(
            [(local_name(child), child.text) for child in answer],
            [
                ("MessageText", "The phone call ID isn't valid"),
                ("ResponseCode", "ErrorInvalidPhoneCallId"),
                ("DescriptiveLinkKey", "0"),
            ],
        )
        version = root[0][0]
        self.assertEqual(version.tag, f"{{{TYPES}}}ServerVersionInfo")
        for number in ("MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"):
            int(version.get(number, ""))

    def test_invalid_requests_of_ews(self) -> None:
        for body, code in (
            (f'<FindItem xmlns="{MESSAGES}"/>', "ErrorInvalidRequest"),
            ("", "ErrorInvalidRequest"),
            (f'<DisconnectPhoneCall xmlns="{MESSAGES}"/>', "ErrorSchemaValidation"),
        ):
            self.assertEqual(self.fault_of(self.ews(body)), ("types", code), body)
        reply = self.ews(f'\n<DisconnectPhoneCall xmlns="{MESSAGES}"><x/></DisconnectPhoneCall>')
        root = etree.fromstring(reply.body)
        self.assertEqual(root.findtext(f".//{{{TYPES}}}LineNumber"), "2")
        self.assertIn("x is not a part of", root.findtext(f".//{{{TYPES}}}Violation", ""))

    def test_versions_of_ews(self) -> None:
        body = f'<{END} xmlns="{MESSAGES}"><PhoneCallId Id="x"/></{END}>'
        reply = self.ews(body, '<t:RequestServerVersion Version="Exchange1999"/>')
        self.assertEqual(self.fault_of(reply), ("types", "ErrorInvalidServerVersion"))

    def test_impersonation(self) -> None:
        """An anonymous client may name any user in the header; an authenticated one only itself."""
        header = (
            "<t:ExchangeImpersonation><t:ConnectingSID><t:PrincipalName>bob</t:PrincipalName>"
            "</t:ConnectingSID></t:ExchangeImpersonation>"
        )
        body = (
            f'<PlayOnPhone xmlns="{MESSAGES}"><ItemId Id="AA=="/><DialString>4</DialString>'
            "</PlayOnPhone>"
        )
        self.assertEqual(self.ews(body, header, Principal.anonymous("")).status, 200)
        self.assertEqual(list(self.room.control.live_calls())[-1].owner, "bob")
        of_that_name = self.ews(body, header, Principal(ANONYMOUS, ""))
        self.assertEqual(self.fault_of(of_that_name), ("types", "ErrorImpersonateUserDenied"))
        denied = self.ews(body, header, ALICE)
        self.assertEqual(self.fault_of(denied), ("types", "ErrorImpersonateUserDenied"))
        self.assertEqual(self.ews(body, header, Principal("bob", "")).status, 200)

    def test_impersonation_by_a_um_operation_at_the_ews_endpoint(self) -> None:
        """A refusal is a fault of EWS in an envelope, as the UM family has none for it."""
        header = (
            "<t:ExchangeImpersonation><t:ConnectingSID><t:SID>S-1</t:SID></t:ConnectingSID>"
            "</t:ExchangeImpersonation>"
        )
        body = (
            f'<PlayOnPhone xmlns="{MESSAGES}"><entryId>AAAA</entryId><DialString>1</DialString>'
            "</PlayOnPhone>"
        )
        denied = self.ews(body, header)
        self.assertEqual(self.fault_of(denied), ("types", "ErrorImpersonateUserDenied"))

    def test_the_log_has_both_users_of_an_impersonation(self) -> None:
        header = (
            "<t:ExchangeImpersonation><t:ConnectingSID><t:PrincipalName>bob</t:PrincipalName>"
            "</t:ConnectingSID></t:ExchangeImpersonation>"
        )
        body = f'<{END} xmlns="{MESSAGES}"><PhoneCallId Id="x"/></{END}>'
        self.ews(body, header, Principal.anonymous(""))
        line = self.room.lines[-1]
        self.assertEqual((line["principal"], line["impersonated_by"]), ("bob", "anonymous"))

    def test_an_unreadable_request_gets_the_soap_version_of_its_content_type(self) -> None:
        for label, namespace in (("application/soap+xml", SOAP12), ("text/xml", SOAP11)):
            reply = self.successResultOf(self.post("<a>", {"content-type": label}))
            self.assertEqual(etree.fromstring(reply.body).tag, f"{{{namespace}}}Envelope")
            self.assertTrue(reply.content_type.startswith(label))

    # -- what is read by GET

    def get(self, path: str, query: str = "", host: str = "umd.example:8080") -> Reply:
        request = Request(ALICE, "GET", path, query, "https", host, {}, b"")
        return self.successResultOf(_deferred(self.service.serve(request)))

    def test_the_address_in_the_wsdl_is_the_one_that_the_client_used(self) -> None:
        for path in ("/EWS/UM2007Legacy.asmx", "/UnifiedMessaging/Service.asmx"):
            for query in ("wsdl", "WSDL", "singleWsdl"):
                root = etree.fromstring(self.get(path, query).body)
                (address,) = root.iter("{http://schemas.xmlsoap.org/wsdl/soap/}address")
                self.assertEqual(address.get("location"), f"https://umd.example:8080{path}")

    def test_schemas(self) -> None:
        for path, query in (
            ("/EWS/UM2007Legacy.asmx", "xsd=messages"),
            ("/EWS/Exchange.asmx", "xsd=types"),
            ("/ews/messages.xsd", ""),
            ("/ews/types.xsd", ""),
        ):
            root = etree.fromstring(self.get(path, query).body)
            self.assertEqual(root.tag, "{http://www.w3.org/2001/XMLSchema}schema")
        self.assertEqual(self.get("/EWS/UM2007Legacy.asmx", "xsd=types").status, 404)
        self.assertIn(b"services", self.get("/ews/services.wsdl").body)

    def test_pages_for_people(self) -> None:
        page = self.get("/EWS/UM2007Legacy.asmx")
        self.assertEqual(page.content_type, "text/html; charset=utf-8")
        self.assertIn(b"SetPlayOnPhoneDialString", page.body)
        self.assertIn(b"https://umd.example:8080/EWS/UM2007Legacy.asmx?wsdl", page.body)
        self.assertIn(b"/EWS/Exchange.asmx", self.get("/").body)

    def test_a_malformed_host_is_not_shown_in_a_page(self) -> None:
        evil = '"><script>alert(1)</script>'
        for path, query in (
            ("/EWS/UM2007Legacy.asmx", ""),
            ("/", ""),
            ("/EWS/Exchange.asmx", "wsdl"),
        ):
            self.assertNotIn(b"<script>", self.get(path, query, evil).body)

    def test_autodiscover(self) -> None:
        body = (
            '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/'
            'requestschema/2006"><Request><EMailAddress>a@example.com</EMailAddress>'
            "<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/"
            "responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>"
        )
        path = "/Autodiscover/Autodiscover.xml"
        reply = self.answer(body, path=path)
        self.assertIn(b"<UMUrl>http://h/EWS/UM2007Legacy.asmx</UMUrl>", reply.body)
        self.assertEqual(self.get(path).status, 405)


def _deferred(served: Awaitable[Reply]) -> Deferred[Reply]:
    """Return a Deferred, whatever the service returns."""
    async def wait() -> Reply:
        return await served

    return ensureDeferred(wait())
