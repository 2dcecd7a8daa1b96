"""Reading requests and writing responses, of real clients and of attackers."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.soap.helpers import values_of
from umd.soap import ews, um
from umd.soap.contract import CONTRACTS, EWS, UM, Contract, SoapRequest, read_request
from umd.soap.document import MAX_BODY, InvalidRequest
from umd.soap.envelope import SOAP12, MustUnderstand, NoSuchOperation, VersionMismatch
from umd.soap.fault import VERSION_MISMATCH, must_understand_fault, schema_fault
from umd.soap.namespaces import MESSAGES, MESSAGES_PASTED, TYPES
from umd.soap.operations import Family
from umd.soap.problem import Problem
from umd.soap.requests import Disconnected

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ATTACKS = Path(__file__).parent.parent / "data" / "xml-defusedxml"


def envelope(body: str, *, header: str = "", declaration: str = "", soap: str = SOAP) -> str:
    return f'{declaration}<s:Envelope xmlns:s="{soap}">{header}<s:Body>{body}</s:Body></s:Envelope>'


def disconnect(value: str, namespace: str = MESSAGES) -> str:
    return envelope(f'<Disconnect xmlns="{namespace}"><CallId>{value}</CallId></Disconnect>')


def canonical(document: bytes) -> bytes:
    return etree.tostring(etree.fromstring(document), method="c14n2", strip_text=True)


class ReadCase(SynchronousTestCase):
    def read(self, document: str | bytes, contract: Contract = UM) -> SoapRequest:
        octets = document.encode() if isinstance(document, str) else document
        return read_request(contract, octets)

    def call_id(self, document: str | bytes, contract: Contract = UM) -> object:
        return values_of(self.read(document, contract))["call_id"]

    def refused(
        self,
        document: str | bytes,
        kind: type[InvalidRequest] = InvalidRequest,
        contract: Contract = UM,
    ) -> str:
        with self.assertRaises(kind) as caught:
            self.read(document, contract)
        self.assertIs(type(caught.exception), kind, str(caught.exception))
        return str(caught.exception)


class ReadTests(ReadCase):
    def test_the_documented_request(self) -> None:
        request = self.read(
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"\n'
            '  xmlns:xsd="http://www.w3.org/2001/XMLSchema"\n'
            f'  xmlns:soap="{SOAP}">\n  <soap:Body>\n'
            f'    <Disconnect xmlns="{MESSAGES}">\n      <CallId>abc=</CallId>\n    </Disconnect>\n'
            "  </soap:Body>\n</soap:Envelope>"
        )
        self.assertIs(request.operation, um.OPERATIONS["Disconnect"])
        self.assertEqual(values_of(request), {"call_id": "abc="})
        self.assertEqual((request.messages, request.envelope), (MESSAGES, SOAP))

    def test_either_spelling_of_the_namespaces(self) -> None:
        self.assertEqual(self.read(disconnect("a", MESSAGES_PASTED)).messages, MESSAGES_PASTED)
        pasted = envelope(
            f'<Disconnect xmlns="{MESSAGES_PASTED}"><CallId>a</CallId></Disconnect>',
            soap=SOAP.replace("http:", "https:"),
        )
        self.assertEqual(self.read(pasted).envelope, SOAP.replace("http:", "https:"))

    def test_all_the_text_is_the_value(self) -> None:
        """A comment inside must not cut the value short, as that would name another call."""
        for value in (
            "abc<!-- -->def",
            "<!-- x -->abcdef",
            "abc<![CDATA[def]]>",
            " \t\r\nabcdef\n ",
            "abc&#100;ef",
            "<!--a-->abc<!--b-->d<![CDATA[e]]>f<!--c-->",
        ):
            self.assertEqual(self.call_id(disconnect(value)), "abcdef", value)

    def test_only_xml_white_space_is_stripped(self) -> None:
        self.assertEqual(self.call_id(disconnect("\u00a0abc\u2003")), "\u00a0abc\u2003")

    def test_an_absent_or_empty_id_is_empty(self) -> None:
        for body in (
            f'<Disconnect xmlns="{MESSAGES}"/>',
            f'<Disconnect xmlns="{MESSAGES}"> \n </Disconnect>',
            f'<Disconnect xmlns="{MESSAGES}"><CallId/></Disconnect>',
            f'<Disconnect xmlns="{MESSAGES}"><CallId>  </CallId></Disconnect>',
        ):
            self.assertEqual(self.call_id(envelope(body)), "", body)

    def test_parameters_in_no_namespace_with_a_type(self) -> None:
        """PHP without WSDL and SOAP::Lite write rpc/encoded requests."""
        body = (
            f'<m:Disconnect xmlns:m="{MESSAGES}" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
            '<CallId xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:type="xsd:string">abc</CallId></m:Disconnect>'
        )
        self.assertEqual(self.call_id(envelope(body)), "abc")

    def test_a_comment_before_anything_shifts_nothing(self) -> None:
        document = (
            f'<!-- 1 --><s:Envelope xmlns:s="{SOAP}"><!-- 2 --><s:Body><!-- 3 -->'
            f'<Disconnect xmlns="{MESSAGES}"><!-- 4 --><CallId>abc</CallId></Disconnect>'
            "</s:Body></s:Envelope><!-- 5 -->\r\n"
        )
        self.assertEqual(self.call_id(document), "abc")

    def test_encodings(self) -> None:
        document = disconnect("abc")
        declared = '<?xml version="1.0" encoding="utf-16"?>' + document
        self.assertEqual(self.call_id(b"\xef\xbb\xbf" + document.encode()), "abc")
        self.assertEqual(self.call_id(document.encode("utf-16")), "abc")
        self.assertEqual(self.call_id(declared.encode("utf-16")), "abc")
        self.assertEqual(self.call_id(b"\xfe\xff" + document.encode("utf-16-be")), "abc")
        for label in ("UTF-8", "us-ascii"):
            said = f"<?xml version='1.0' encoding='{label}' standalone='yes' ?>"
            self.assertEqual(self.call_id(said + document), "abc")

    def test_other_encodings_are_refused(self) -> None:
        document = disconnect("abc")
        for label in ("utf-7", "utf-16", "shift_jis", "utf-32", "hz", "gb18030"):
            self.refused(f'<?xml version="1.0" encoding="{label}"?>{document}')
        self.refused(disconnect("\xe9").encode("latin-1"))
        self.refused(document.encode("utf-16-le"))
        self.refused(document.encode("utf-32"))
        self.refused(document.encode("utf-16")[:-1])
        self.refused(f'<?xml version="1.0" encoding="utf-8"?>{document}'.encode("utf-16"))

    def test_other_declarations_are_refused(self) -> None:
        for said in (
            '<?xml version="1.1"?>',
            '<?xml version="1.5"?>',
            "<?xml?>",
            '<?xml encoding="utf-8"?>',
            '<?xml version="1.0" encoding="utf-8" encoding="utf-7"?>',
            '<?xml version="1.0" ' + " " * 300 + "?>",
            '<?xml version="1.0"',
        ):
            self.refused(said + disconnect("abc"))

    def test_no_document_type_and_no_processing_instruction(self) -> None:
        self.refused('<!DOCTYPE x [<!ENTITY e "v">]>' + disconnect("&e;"))
        self.refused("<!DOCTYPE Envelope>" + disconnect("abc"))
        self.refused('<!DOCTYPE x [<!ATTLIST l CallId CDATA "in">]>' + disconnect("abc"))
        self.refused("<?php echo 1 ?>" + disconnect("abc"))
        self.refused(disconnect("abc<?x y?>def"))
        self.refused(" " + '<?xml version="1.0"?>' + disconnect("abc"))

    def test_entities_that_are_not_defined_never_reach_libxml2(self) -> None:
        """libxml2 would refuse them, but keep their names for ever."""
        for reference in ("&new1;", "&a", "&", "&amp", "&lt &gt;"):
            self.assertIn("entity", self.refused(disconnect(f"a{reference}b")), reference)
            self.assertIn("entity", self.refused(f'<a b="{reference}"/>'), reference)
        self.assertEqual(self.call_id(disconnect("&lt;&gt;&amp;&quot;&apos;&#65;")), "<>&\"'A")

    def test_published_attacks(self) -> None:
        """Bombs, external entities, stylesheets: refused, nothing expanded, opened or run."""
        files = sorted(
            path for path in ATTACKS.iterdir() if path.suffix in (".xml", ".xsd", ".xsl")
        )
        self.assertEqual(len(files), 13)
        for path in files:
            with self.assertRaises(InvalidRequest, msg=path.name):
                read_request(UM, path.read_bytes())

    def test_invalid_requests(self) -> None:
        for document in (
            "",
            " ",
            "hello",
            "<a/>",
            "<a>",
            disconnect("abc")[:-1],
            disconnect("abc") + "<b/>",
            disconnect("&nosuch;"),
            disconnect("\x00"),
            disconnect("abc").replace("<s:Body>", "").replace("</s:Body>", ""),
            f'<s:Envelope xmlns:s="{SOAP}"/>',
            f'<s:Envelope xmlns:s="{SOAP}"><s:Header/></s:Envelope>',
            f'<s:Envelope xmlns:s="{SOAP}"><Body/></s:Envelope>',
            envelope("<a/><b/>"),
            envelope('<Disconnect xmlns="urn:other"><CallId>a</CallId></Disconnect>'),
            envelope("<Disconnect><CallId>a</CallId></Disconnect>"),
            "<!-- a -- b -->" + disconnect("abc"),
            f'<s:Envelope xmlns:s="{SOAP}"><x:Body/></s:Envelope>',
            disconnect("abc").replace("</s:Body>", "</s:Body><s:Body/>"),
            disconnect("abc").replace("<s:Body>", "<s:Header/><s:Header/><s:Body>"),
            disconnect("abc").replace("</s:Body>", "</s:Body><s:Header/>"),
        ):
            self.refused(document)
        for document in (envelope(""), envelope("text")):
            self.refused(document, NoSuchOperation)

    def test_invalid_disconnects(self) -> None:
        for fields in (
            "<CallId>a</CallId><CallId>a</CallId>",
            "<CallID>a</CallID>",
            "<CallId>a</CallId><Why/>",
            "<CallId>a<b>c</b></CallId>",
            "<CallId>a<b/></CallId>",
            "text<CallId>a</CallId>",
            "<CallId>a</CallId>text",
        ):
            self.refused(envelope(f'<Disconnect xmlns="{MESSAGES}">{fields}</Disconnect>'))

    def test_an_unknown_operation_is_named_and_keeps_its_spelling(self) -> None:
        with self.assertRaisesRegex(InvalidRequest, "no operation Reboot") as caught:
            self.read(envelope(f'<Reboot xmlns="{MESSAGES_PASTED}"/>'))
        self.assertEqual(caught.exception.messages, MESSAGES_PASTED)

    def test_sizes(self) -> None:
        frame = len(disconnect(""))
        self.assertEqual(
            self.call_id(disconnect("a" * (MAX_BODY - frame))), "a" * (MAX_BODY - frame)
        )
        self.refused(disconnect("a" * (MAX_BODY - frame + 1)))
        self.refused(disconnect("<b/>" * 201))
        self.refused(disconnect("=" * 201))
        self.refused("<a>" * 150 + "</a>" * 40)

    def test_another_version_of_soap(self) -> None:
        draft = "http://www.w3.org/2001/12/soap-envelope"
        self.refused(envelope("<a/>", soap=draft), VersionMismatch)

    def with_block(self, attributes: str, body: str = "", soap: str = SOAP) -> str:
        body = body or f'<Disconnect xmlns="{MESSAGES}"><CallId>abc</CallId></Disconnect>'
        block = f'<s:Header><h:Who xmlns:h="urn:h" {attributes}>x</h:Who></s:Header>'
        return envelope(body, header=block, soap=soap)

    def test_headers(self) -> None:
        for attributes in (
            "", 's:mustUnderstand="0"', 's:mustUnderstand="false"', 'mustUnderstand="1"',
            's:actor="urn:else" s:mustUnderstand="1"', 's:actor="urn:else" s:mustUnderstand="true"',
        ):  # fmt: skip
            self.assertEqual(self.call_id(self.with_block(attributes)), "abc", attributes)
        actor_next = "http://schemas.xmlsoap.org/soap/actor/next"
        for attributes in (
            's:mustUnderstand="1"', 's:mustUnderstand=" true "', 's:actor="" s:mustUnderstand="1"',
            f's:actor="{actor_next}" s:mustUnderstand="1"',
        ):  # fmt: skip
            self.refused(self.with_block(attributes), MustUnderstand)

    def test_headers_of_soap_1_2(self) -> None:
        for role, understood in (
            ("", True), ("/role/next", True), ("/role/ultimateReceiver", True),
            ("/role/none", False), ("urn:else", False),
        ):  # fmt: skip
            role = SOAP12 + role if role.startswith("/") else role
            for value in ("1", "true"):
                said = self.with_block(f's:role="{role}" s:mustUnderstand="{value}"', soap=SOAP12)
                if understood:
                    error = self.error_of(said)
                    self.assertIsInstance(error, MustUnderstand)
                    self.assertEqual(error.envelope, SOAP12)
                else:
                    self.assertEqual(self.call_id(said), "abc")
            said = self.with_block(f's:role="{role}" s:mustUnderstand="false"', soap=SOAP12)
            self.assertEqual(self.call_id(said), "abc")

    def test_the_header_is_read_before_the_body(self) -> None:
        """A node that does not understand the header processes nothing (SOAP 1.1 section 4.2.3)."""
        wrong = (
            "text", "<a/><b/>", "<Reboot/>", f'<Reboot xmlns="{MESSAGES}"/>',
            f'<Disconnect xmlns="{MESSAGES}"><CallId/><CallId/></Disconnect>',
            f'<PlayOnPhone xmlns="{MESSAGES}"/>',
        )  # fmt: skip
        for soap in (SOAP, SOAP12):
            for contract in CONTRACTS:
                for body in wrong:
                    said = self.with_block('s:mustUnderstand="1"', body, soap)
                    with self.assertRaises(MustUnderstand) as caught:
                        read_request(contract, said.encode())
                    self.assertEqual(caught.exception.block, ("urn:h", "Who"))
                    self.assertEqual(caught.exception.envelope, soap)
            no_body = self.with_block('s:mustUnderstand="1"', soap=soap)
            no_body = no_body[: no_body.index("<s:Body>")] + "</s:Envelope>"
            self.assertIsInstance(self.error_of(no_body), MustUnderstand)

    def error_of(self, document: str) -> InvalidRequest:
        with self.assertRaises(InvalidRequest) as caught:
            self.read(document)
        error: InvalidRequest = caught.exception
        return error


class WriteTests(ReadCase):
    def test_the_documented_response(self) -> None:
        octets = um.write_answer(um.OPERATIONS["Disconnect"], Disconnected("ended"), SOAP, MESSAGES)
        self.assertTrue(octets.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
        self.assertEqual(
            canonical(octets),
            canonical(
                b'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"'
                b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
                b' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body><DisconnectResponse'
                b' xmlns="http://schemas.microsoft.com/exchange/services/2006/messages" />'
                b"</soap:Body></soap:Envelope>"
            ),
        )
        self.assertIn(b"xmlns:xsi=", octets)
        self.assertIn(b"xmlns:xsd=", octets)

    def test_the_answer_is_in_the_spelling_of_the_request(self) -> None:
        operation = um.OPERATIONS["Disconnect"]
        octets = um.write_answer(operation, Disconnected("ended"), SOAP, MESSAGES_PASTED)
        self.assertIn(f'<DisconnectResponse xmlns="{MESSAGES_PASTED}"/>'.encode(), octets)

    def test_the_fault_of_a_wrong_call_id(self) -> None:
        """The shape that MS-OXWUMS publishes."""
        self.assertEqual(
            canonical(um.FAULTS[Problem.UNKNOWN_CALL].write()),
            canonical(
                b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
                b'<faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/errors">'
                b"a:InvalidCallIdException</faultcode>"
                b'<faultstring xml:lang="en-US">The call identifier isn\'t valid.</faultstring>'
                b'<detail><m:ExceptionType xmlns:m="'
                b'http://schemas.microsoft.com/exchange/services/2006/messages">'
                b"InvalidCallIdException</m:ExceptionType></detail></s:Fault></s:Body></s:Envelope>"
            ),
        )

    def test_the_fault_of_an_invalid_request(self) -> None:
        """The shape of EWS faults in Microsoft's documentation."""
        errors = b"http://schemas.microsoft.com/exchange/services/2006/errors"
        self.assertEqual(
            canonical(um.FAULTS[Problem.INVALID_REQUEST].write()),
            canonical(
                b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
                b'<faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">'
                b"a:ErrorInvalidRequest</faultcode>"
                b'<faultstring xml:lang="en-US">The request is invalid.</faultstring><detail>'
                b'<e:ResponseCode xmlns:e="' + errors + b'">ErrorInvalidRequest</e:ResponseCode>'
                b'<e:Message xmlns:e="' + errors + b'">The request is invalid.</e:Message>'
                b"</detail></s:Fault></s:Body></s:Envelope>"
            ),
        )

    def test_every_fault_is_well_formed_in_both_versions(self) -> None:
        """A fault has an XML declaration, binds its prefixes, and has no empty-element detail."""
        faults = [
            *um.FAULTS.values(),
            *ews.FAULTS.values(),
            VERSION_MISMATCH,
            must_understand_fault(("urn:h", "Who")),
            schema_fault("a <b> & c", 3, 1),
        ]
        for one in faults:
            octets = one.write(SOAP, MESSAGES_PASTED)
            self.assertTrue(octets.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
            self.assertNotIn(b"{", octets)
            element = etree.fromstring(octets).find(".//faultcode")
            assert element is not None and element.text is not None
            prefix, _, code = element.text.partition(":")
            self.assertIn(prefix, element.nsmap)
            self.assertEqual(code, one.code)
            self.assertNotIn(b"<detail/>", octets)
            value = etree.fromstring(one.write(SOAP12)).findtext(f".//{{{SOAP12}}}Code/*")
            codes = ("s:Sender", "s:Receiver", "s:VersionMismatch", "s:MustUnderstand")
            self.assertIn(value, codes)

    def test_a_fault_of_soap_1_2(self) -> None:
        root = etree.fromstring(um.FAULTS[Problem.UNKNOWN_CALL].write(SOAP12))
        self.assertEqual(root.findtext(f".//{{{SOAP12}}}Code/{{{SOAP12}}}Value"), "s:Sender")
        subcode = root.find(f".//{{{SOAP12}}}Subcode/{{{SOAP12}}}Value")
        assert subcode is not None
        self.assertEqual(subcode.text, "a:InvalidCallIdException")
        self.assertTrue(subcode.nsmap["a"].endswith("/errors"))
        text = root.find(f".//{{{SOAP12}}}Reason/{{{SOAP12}}}Text")
        assert text is not None
        self.assertEqual(text.text, "The call identifier isn't valid.")
        self.assertEqual(text.get("{http://www.w3.org/XML/1998/namespace}lang"), "en-US")
        self.assertEqual(
            root.findtext(f".//{{{SOAP12}}}Detail/{{{MESSAGES}}}ExceptionType"),
            "InvalidCallIdException",
        )

    def test_sender_or_receiver(self) -> None:
        """SOAP 1.2 part 1, section 5.4.6."""
        for problem, whose in (
            (Problem.INVALID_REQUEST, "s:Sender"),
            (Problem.INTERNAL, "s:Receiver"),
            (Problem.BACKEND_UNAVAILABLE, "s:Receiver"),
        ):
            root = etree.fromstring(um.FAULTS[problem].write(SOAP12))
            self.assertEqual(root.findtext(f".//{{{SOAP12}}}Code/{{{SOAP12}}}Value"), whose)

    def test_a_header_block_that_was_not_understood_is_named(self) -> None:
        """SOAP 1.2 part 1, section 5.4.8."""
        root = etree.fromstring(must_understand_fault(("urn:h", "Who")).write(SOAP12))
        block = root.find(f"{{{SOAP12}}}Header/{{{SOAP12}}}NotUnderstood")
        assert block is not None
        prefix, _, name = block.get("qname", "").partition(":")
        self.assertEqual((block.nsmap[prefix], name), ("urn:h", "Who"))


class Soap12Tests(ReadCase):
    def test_a_request(self) -> None:
        body = f'<Disconnect xmlns="{MESSAGES}"><CallId>abc</CallId></Disconnect>'
        request = self.read(envelope(body, soap=SOAP12))
        self.assertEqual((values_of(request)["call_id"], request.envelope), ("abc", SOAP12))

    def test_headers(self) -> None:
        body = f'<Disconnect xmlns="{MESSAGES}"><CallId>abc</CallId></Disconnect>'

        def with_block(attributes: str) -> str:
            block = f'<s:Header><h:Who xmlns:h="urn:h" {attributes}>x</h:Who></s:Header>'
            return envelope(body, header=block, soap=SOAP12)

        for attributes in (
            "",
            's:mustUnderstand="false"',
            's:role="urn:else" s:mustUnderstand="true"',
            f's:role="{SOAP12}/role/none" s:mustUnderstand="true"',
        ):
            self.assertEqual(self.call_id(with_block(attributes)), "abc", attributes)
        for role in ("", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver"):
            document = with_block(f's:role="{role}" s:mustUnderstand="true"')
            self.assertIn("Who", self.refused(document, MustUnderstand))


class FamilyTests(ReadCase):
    PLAY_UM = (
        f'<PlayOnPhone xmlns="{MESSAGES}"><entryId>AA==</entryId>'
        "<DialString>1</DialString></PlayOnPhone>"
    )
    PLAY_EWS = (
        f'<PlayOnPhone xmlns="{MESSAGES}"><ItemId Id="AA==" ChangeKey="x"/>'
        "<DialString>1</DialString></PlayOnPhone>"
    )

    def test_the_endpoint_and_the_first_child_decide(self) -> None:
        """Both families have a PlayOnPhone in the same namespace."""
        for contract in CONTRACTS:
            for document, family in ((self.PLAY_UM, Family.UM), (self.PLAY_EWS, Family.EWS)):
                request = self.read(envelope(document), contract)
                self.assertIs(request.operation.family, family)
                self.assertEqual(values_of(request), {"entry_id": "AA==", "dial_string": "1"})
        unclear = f'<PlayOnPhone xmlns="{MESSAGES}"><DialString>1</DialString></PlayOnPhone>'
        self.assertIn("no entryId", self.refused(envelope(unclear), contract=UM))
        self.assertIn("no ItemId", self.refused(envelope(unclear), contract=EWS))
        nothing = f'<PlayOnPhone xmlns="{MESSAGES}"/>'
        self.assertIn("no entryId", self.refused(envelope(nothing), contract=UM))

    def test_an_operation_of_the_other_endpoint(self) -> None:
        body = envelope(f'<Disconnect xmlns="{MESSAGES}"><CallId>a</CallId></Disconnect>')
        said = self.refused(body, NoSuchOperation, EWS)
        self.assertIn("/EWS/UM2007Legacy.asmx", said)

    def test_values_of_their_types(self) -> None:
        for text, value in (
            ("true", True), ("1", True), ("True", True), (" false ", False), ("0", False),
        ):  # fmt: skip
            body = f'<SetOofStatus xmlns="{MESSAGES}"><status>{text}</status></SetOofStatus>'
            self.assertEqual(values_of(self.read(envelope(body))), {"status": value})
        for body in (
            "<SetOofStatus xmlns='{m}'><status>yes</status></SetOofStatus>",
            "<SetOofStatus xmlns='{m}'><status/></SetOofStatus>",
            "<SetOofStatus xmlns='{m}'/>",
            "<SetOofStatus xmlns='{m}'><Status>true</Status></SetOofStatus>",
            "<GetCallInfo xmlns='{m}'/>",
            "<PlayOnPhoneGreeting xmlns='{m}'><GreetingType>Loud</GreetingType>"
            "<DialString>1</DialString></PlayOnPhoneGreeting>",
            "<IsUMEnabled xmlns='{m}'><a/></IsUMEnabled>",
        ):
            self.refused(envelope(body.replace("{m}", MESSAGES)))

    def test_either_name_of_the_folder(self) -> None:
        for name in ("base64FolderID", "base64FolderId"):
            body = (
                f'<SetTelephoneAccessFolderEmail xmlns="{MESSAGES}"><{name}>AA==</{name}>'
                "</SetTelephoneAccessFolderEmail>"
            )
            self.assertEqual(values_of(self.read(envelope(body))), {"folder_id": "AA=="})

    def test_attributes(self) -> None:
        body = f'<DisconnectPhoneCall xmlns="{MESSAGES}">%s</DisconnectPhoneCall>'
        request = self.read(envelope(body % '<PhoneCallId Id=" abc "/>'), EWS)
        self.assertEqual(values_of(request), {"call_id": "abc"})
        for inside in ("", "<PhoneCallId/>", '<PhoneCallId Id="a"/><PhoneCallId Id="b"/>'):
            self.refused(envelope(body % inside), contract=EWS)

    def test_lists(self) -> None:
        name = "<m:ConfigurationName>UnifiedMessagingConfiguration</m:ConfigurationName>"
        body = (
            f'<m:GetServiceConfiguration xmlns:m="{MESSAGES}"><m:RequestedConfiguration>%s'
            "</m:RequestedConfiguration></m:GetServiceConfiguration>"
        )
        request = self.read(envelope(body % (name + name)), EWS)
        self.assertEqual(values_of(request)["names"], ("UnifiedMessagingConfiguration",) * 2)
        self.refused(envelope(body % ""), contract=EWS)
        self.refused(envelope(body % name.replace("Unified", "UUnified")), contract=EWS)

    def with_header(self, header: str) -> str:
        name = "DisconnectPhoneCall"
        body = f'<{name} xmlns="{MESSAGES}"><PhoneCallId Id="a"/></{name}>'
        return envelope(body, header=f'<s:Header xmlns:t="{TYPES}">{header}</s:Header>')

    def test_versions(self) -> None:
        for version in (
            "Exchange2007", "Exchange2007_SP1", "Exchange2010", "Exchange2010_SP3",
            "Exchange2013_SP1", "Exchange2015", "Exchange2016", "Exchange2019", "Exchange2016_SP1",
            "Exchange2040", "V2015_10_05", "V2017_07_11", "V2018_01_08", "V2031_12_31",
            " Exchange2019 ",
        ):  # fmt: skip
            self.read(self.with_header(f'<t:RequestServerVersion Version="{version}"/>'), EWS)
        for version in (
            "", "Exchange", "Exchange2003", "Exchange2006", "exchange2010", "V2015", "V2015_13_01",
            "V2015_00_10", "V2015_10_32", "Exchange2010_SP0", "Exchange2010_SP", "Exchange20100",
            "Exchange2010_SP2_CU1", "2019", "Exchange 2019", "Exchange2019&#10;x", "Exchange3000",
            "V1915_10_05", "V2015-10-05", "Exchange\u0662\u0660\u0661\u0669",
        ):  # fmt: skip
            document = self.with_header(f'<t:RequestServerVersion Version="{version}"/>')
            self.refused(document, ews.InvalidVersion, EWS)

    def test_header_blocks_of_clients(self) -> None:
        """WS-Addressing is understood, as it repeats the URL and the Body."""
        for header in (
            '<a:Action xmlns:a="http://www.w3.org/2005/08/addressing" s:mustUnderstand="1">x'
            "</a:Action>",
            '<a:To xmlns:a="http://www.w3.org/2005/08/addressing" s:mustUnderstand="1">x</a:To>',
            '<t:MailboxCulture s:mustUnderstand="1">en-US</t:MailboxCulture>',
            "<t:TimeZoneContext/>",
        ):
            self.read(self.with_header(header), EWS)

    def test_headers_of_others(self) -> None:
        """A header block of another namespace or for another actor is ignored."""
        request = self.read(
            self.with_header(
                '<RequestServerVersion xmlns="urn:x" Version="zz"/><t:ExchangeImpersonation '
                's:actor="urn:else"><t:ConnectingSID><t:PrincipalName>bob</t:PrincipalName>'
                "</t:ConnectingSID></t:ExchangeImpersonation>"
            ),
            EWS,
        )
        self.assertIsNone(request.impersonated)

    def test_impersonation(self) -> None:
        header = (
            "<t:ExchangeImpersonation><t:ConnectingSID><t:%s>bob@example.com</t:%s>"
            "</t:ConnectingSID></t:ExchangeImpersonation>"
        )
        for name, impersonated in (("PrincipalName", "bob@example.com"), ("SID", "")):
            request = self.read(self.with_header(header % (name, name)), EWS)
            self.assertEqual(request.impersonated, impersonated)
        self.assertIsNone(self.read(self.with_header(""), EWS).impersonated)

    def test_where_a_request_is_wrong(self) -> None:
        name = "DisconnectPhoneCall"
        document = envelope(f'\n<{name} xmlns="{MESSAGES}">\n<x/></{name}>')
        with self.assertRaises(InvalidRequest) as caught:
            self.read(document, EWS)
        self.assertEqual(caught.exception.line, 3)
        with self.assertRaises(InvalidRequest) as caught:
            self.read("<a>\n</b>", EWS)
        self.assertEqual((caught.exception.line, caught.exception.position), (2, 5))
