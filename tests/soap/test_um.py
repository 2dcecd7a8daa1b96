"""Reading requests and writing answers: what real clients send, and what nobody may send."""

from __future__ import annotations

from pathlib import Path

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from umd.soap import fault
from umd.soap.envelope import MAX_BODY, InvalidRequest, MustUnderstand, VersionMismatch
from umd.soap.um import (
    MESSAGES,
    MESSAGES_PASTED,
    Disconnect,
    read_request,
    write_disconnect_response,
)

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ATTACKS = Path(__file__).parent.parent / "data" / "xml-defusedxml"


def envelope(body: str, *, header: str = "", declaration: str = "", soap: str = SOAP) -> str:
    return f'{declaration}<s:Envelope xmlns:s="{soap}">{header}<s:Body>{body}</s:Body></s:Envelope>'


def disconnect(value: str, namespace: str = MESSAGES) -> str:
    return envelope(f'<Disconnect xmlns="{namespace}"><CallId>{value}</CallId></Disconnect>')


def canonical(document: bytes) -> bytes:
    return etree.tostring(etree.fromstring(document), method="c14n2", strip_text=True)


class ReadTests(SynchronousTestCase):
    def read(self, document: str | bytes) -> Disconnect:
        return read_request(document.encode() if isinstance(document, str) else document)

    def refused(self, document: str | bytes, kind: type[InvalidRequest] = InvalidRequest) -> str:
        with self.assertRaises(kind) as caught:
            self.read(document)
        self.assertIs(type(caught.exception), kind, str(caught.exception))
        return str(caught.exception)

    def test_the_documented_request(self) -> None:
        request = self.read(
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"\n'
            '  xmlns:xsd="http://www.w3.org/2001/XMLSchema"\n'
            f'  xmlns:soap="{SOAP}">\n  <soap:Body>\n'
            f'    <Disconnect xmlns="{MESSAGES}">\n      <CallId>abc=</CallId>\n    </Disconnect>\n'
            "  </soap:Body>\n</soap:Envelope>"
        )
        self.assertEqual(request, Disconnect("abc=", MESSAGES, SOAP))

    def test_either_spelling_of_the_namespaces(self) -> None:
        self.assertEqual(self.read(disconnect("a", MESSAGES_PASTED)).namespace, MESSAGES_PASTED)
        pasted = envelope(
            f'<Disconnect xmlns="{MESSAGES_PASTED}"><CallId>a</CallId></Disconnect>',
            soap=SOAP.replace("http:", "https:"),
        )
        self.assertEqual(self.read(pasted).envelope, SOAP.replace("http:", "https:"))

    def test_all_the_text_is_the_value(self) -> None:
        """A comment inside must not cut it short: that would name another call."""
        for value in (
            "abc<!-- -->def",
            "<!-- x -->abcdef",
            "abc<![CDATA[def]]>",
            " \t\r\nabcdef\n ",
            "abc&#100;ef",
            "<!--a-->abc<!--b-->d<![CDATA[e]]>f<!--c-->",
        ):
            self.assertEqual(self.read(disconnect(value)).call_id, "abcdef", value)

    def test_only_xml_white_space_is_stripped(self) -> None:
        self.assertEqual(self.read(disconnect("\u00a0abc\u2003")).call_id, "\u00a0abc\u2003")

    def test_an_absent_or_empty_id_is_empty(self) -> None:
        for body in (
            f'<Disconnect xmlns="{MESSAGES}"/>',
            f'<Disconnect xmlns="{MESSAGES}"> \n </Disconnect>',
            f'<Disconnect xmlns="{MESSAGES}"><CallId/></Disconnect>',
            f'<Disconnect xmlns="{MESSAGES}"><CallId>  </CallId></Disconnect>',
        ):
            self.assertEqual(self.read(envelope(body)).call_id, "", body)

    def test_parameters_in_no_namespace_with_a_type(self) -> None:
        """As PHP without WSDL and SOAP::Lite write them, rpc/encoded."""
        body = (
            f'<m:Disconnect xmlns:m="{MESSAGES}" '
            's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
            '<CallId xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:type="xsd:string">abc</CallId></m:Disconnect>'
        )
        self.assertEqual(self.read(envelope(body)).call_id, "abc")

    def test_a_comment_before_anything_shifts_nothing(self) -> None:
        document = (
            f'<!-- 1 --><s:Envelope xmlns:s="{SOAP}"><!-- 2 --><s:Body><!-- 3 -->'
            f'<Disconnect xmlns="{MESSAGES}"><!-- 4 --><CallId>abc</CallId></Disconnect>'
            "</s:Body></s:Envelope><!-- 5 -->\r\n"
        )
        self.assertEqual(self.read(document).call_id, "abc")

    def test_encodings(self) -> None:
        document = disconnect("abc")
        declared = '<?xml version="1.0" encoding="utf-16"?>' + document
        self.assertEqual(self.read(b"\xef\xbb\xbf" + document.encode()).call_id, "abc")
        self.assertEqual(self.read(document.encode("utf-16")).call_id, "abc")
        self.assertEqual(self.read(declared.encode("utf-16")).call_id, "abc")
        self.assertEqual(self.read(b"\xfe\xff" + document.encode("utf-16-be")).call_id, "abc")
        for label in ("UTF-8", "us-ascii"):
            said = f"<?xml version='1.0' encoding='{label}' standalone='yes' ?>"
            self.assertEqual(self.read(said + document).call_id, "abc")

    def test_other_encodings_are_refused(self) -> None:
        document = disconnect("abc")
        for label in ("utf-7", "utf-16", "windows-1252", "shift_jis", "utf-32", "hz", "gb18030"):
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

    def test_published_attacks(self) -> None:
        """Bombs, external entities, stylesheets: refused, nothing expanded, opened or run."""
        files = sorted(
            path for path in ATTACKS.iterdir() if path.suffix in (".xml", ".xsd", ".xsl")
        )
        self.assertEqual(len(files), 13)
        for path in files:
            with self.assertRaises(InvalidRequest, msg=path.name):
                read_request(path.read_bytes())

    def test_what_is_no_request(self) -> None:
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
            envelope(""),
            envelope("text"),
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

    def test_what_is_no_disconnect(self) -> None:
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
        self.assertEqual(caught.exception.namespace, MESSAGES_PASTED)

    def test_sizes(self) -> None:
        frame = len(disconnect(""))
        self.assertEqual(
            len(self.read(disconnect("a" * (MAX_BODY - frame))).call_id), MAX_BODY - frame
        )
        self.refused(disconnect("a" * (MAX_BODY - frame + 1)))
        self.refused(disconnect("<b/>" * 201))
        self.refused(disconnect("=" * 201))
        self.refused("<a>" * 150 + "</a>" * 40)

    def test_another_version_of_soap(self) -> None:
        soap12 = "http://www.w3.org/2003/05/soap-envelope"
        self.refused(envelope("<a/>", soap=soap12), VersionMismatch)

    def test_headers(self) -> None:
        def with_block(attributes: str) -> str:
            block = f'<s:Header><h:Who xmlns:h="urn:h" {attributes}>x</h:Who></s:Header>'
            body = f'<Disconnect xmlns="{MESSAGES}"><CallId>abc</CallId></Disconnect>'
            return envelope(body, header=block)

        for attributes in ("", 's:mustUnderstand="0"', 's:actor="urn:else" s:mustUnderstand="1"'):
            self.assertEqual(self.read(with_block(attributes)).call_id, "abc", attributes)
        actor_next = "http://schemas.xmlsoap.org/soap/actor/next"
        for attributes in ('s:mustUnderstand="1"', f's:actor="{actor_next}" s:mustUnderstand="1"'):
            self.refused(with_block(attributes), MustUnderstand)


class WriteTests(SynchronousTestCase):
    def test_the_documented_response(self) -> None:
        octets = write_disconnect_response(Disconnect("a", MESSAGES, SOAP))
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
        octets = write_disconnect_response(Disconnect("a", MESSAGES_PASTED, SOAP))
        self.assertIn(f'<DisconnectResponse xmlns="{MESSAGES_PASTED}"/>'.encode(), octets)

    def test_the_fault_of_a_wrong_call_id(self) -> None:
        """Reference um-web-service, section 4.1."""
        self.assertEqual(
            canonical(fault.INVALID_CALL_ID.write()),
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
        """Reference um-web-service, section 4.2."""
        errors = b"http://schemas.microsoft.com/exchange/services/2006/errors"
        self.assertEqual(
            canonical(fault.INVALID_REQUEST.write()),
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

    def test_every_fault_is_well_formed_and_begins_with_a_declaration(self) -> None:
        for one in (
            fault.BACKEND_UNAVAILABLE,
            fault.INTERNAL_ERROR,
            fault.INVALID_CALL_ID,
            fault.INVALID_REQUEST,
            fault.MUST_UNDERSTAND,
            fault.VERSION_MISMATCH,
        ):
            octets = one.write(MESSAGES_PASTED)
            self.assertTrue(octets.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
            self.assertIn(one.code.encode(), octets)
            self.assertNotIn(b"{", octets)
            etree.fromstring(octets)
