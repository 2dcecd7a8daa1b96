"""Encodings of a request: which are read, which label wins, and which are refused."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.soap.helpers import values_of
from tests.soap.test_contract import disconnect, envelope
from umd.soap.contract import EWS, UM, read_request
from umd.soap.document import InvalidRequest, read_document
from umd.soap.encoding import NotReadable, to_utf8
from umd.soap.namespaces import MESSAGES, TYPES

ASCII = ("ASCII", "us-ascii", "US-ASCII", "ANSI_X3.4-1968", "iso-ir-6", "ISO646-US", "cp367")
LATIN_1 = ("ISO-8859-1", "iso_8859-1", "ISO8859-1", "latin1", "Latin-1", "l1", "iso-ir-100")
CP1252 = ("windows-1252", "Windows-1252", "cp1252", "CP-1252")
UNKNOWN = (
    "utf-7", "unicode-1-1-utf-7", "utf-32", "utf-32le", "ucs-4", "iso-8859-15", "iso-8859-2",
    "koi8-r", "shift_jis", "euc-jp", "iso-2022-jp", "gb18030", "gbk", "big5", "hz", "cp037",
    "ebcdic-cp-us", "ibm500", "macintosh", "ansi", "x-user-defined", "rot13", "base64", "idna",
    "unicode_escape", "raw_unicode_escape", "punycode", "zlib", "undefined", "mbcs", "utf_8_sig",
    "binary",
)  # fmt: skip


def declared(label: str, document: str) -> str:
    return f"<?xml version='1.0' encoding='{label}'?>\n{document}"


class EncodingCase(SynchronousTestCase):
    def call_id(self, octets: bytes, charset: str = "") -> str:
        """Read a request twice; the second time it comes from the cache."""
        first, second = (
            values_of(read_request(UM, octets, charset))["call_id"] for _ in range(2)
        )
        self.assertEqual(first, second)
        return str(first)

    def refused(self, octets: bytes, charset: str = "") -> str:
        for _ in range(2):
            with self.assertRaises(InvalidRequest, msg=(octets[:80], charset)) as caught:
                read_request(UM, octets, charset)
        return str(caught.exception)


class LabelTests(EncodingCase):
    def test_labels_in_the_declaration(self) -> None:
        for label in (*ASCII, "UTF8", "utf-8"):
            self.assertEqual(self.call_id(declared(label, disconnect("abc")).encode()), "abc")
        for label, codec, text in (
            *((label, "latin-1", "J\xf6rg \xa4\xff") for label in LATIN_1),
            *((label, "cp1252", "\u20ac \u2019J\xf6rg\u201d") for label in CP1252),
            *((label, "utf-8", "\u0142\U0001f4de") for label in ("UTF8", "utf-8", "Utf-8")),
        ):
            octets = declared(label, disconnect(text)).encode(codec)
            self.assertEqual(self.call_id(octets), text, label)

    def test_the_same_labels_as_charset(self) -> None:
        utf8 = ("utf8", "UTF-8")
        for labels, codec in ((LATIN_1, "latin-1"), (CP1252, "cp1252"), (utf8, "utf-8")):
            for label in labels:
                for document in (disconnect("\xe9"), declared(label, disconnect("\xe9"))):
                    self.assertEqual(self.call_id(document.encode(codec), label), "\xe9", label)
        for label in ASCII:
            self.assertEqual(self.call_id(disconnect("abc").encode(), label), "abc")
        for label, codec in (("utf-16le", "utf-16-le"), ("UTF-16BE", "utf-16-be")):
            self.assertEqual(self.call_id(disconnect("\u0142").encode(codec), label), "\u0142")

    def test_what_libraries_write_by_default(self) -> None:
        root = ElementTree.fromstring(disconnect("abc"))
        self.assertEqual(self.call_id(ElementTree.tostring(root, xml_declaration=True)), "abc")
        for encoding in ("ISO-8859-1", "windows-1252", "us-ascii"):
            octets = ElementTree.tostring(root, encoding)
            self.assertEqual(self.call_id(octets), "abc")
        tree = etree.fromstring(disconnect("\xe9"))
        self.assertEqual(self.call_id(etree.tostring(tree, xml_declaration=True)), "\xe9")
        for encoding in ("ASCII", "ISO-8859-1", "windows-1252", "UTF-16"):
            octets = etree.tostring(tree, encoding=encoding)
            self.assertEqual(self.call_id(octets), "\xe9", encoding)

    def test_other_labels_are_refused_by_name(self) -> None:
        for label in UNKNOWN:
            octets = declared(label, disconnect("abc")).encode()
            for charset in ("", "utf-8", "iso-8859-1"):
                self.assertIn(repr(label), self.refused(octets, charset))
            self.assertIn(repr(label), self.refused(disconnect("abc").encode(), label))
            self.refused(b"\xef\xbb\xbf" + octets)

    def test_octets_that_are_not_in_the_encoding(self) -> None:
        for octets, charset in (
            (disconnect("\xe9").encode("latin-1"), ""),
            (disconnect("\xe9").encode("latin-1"), "utf-8"),
            (disconnect("\xe9").encode("latin-1"), "us-ascii"),
            (declared("ascii", disconnect("\xe9")).encode("latin-1"), ""),
            (declared("iso-8859-1", disconnect("\xe9")).encode("latin-1"), "utf-8"),
            (declared("cp1252", disconnect("\x81")).encode("latin-1"), ""),
            (disconnect("\x8d").encode("latin-1"), "windows-1252"),
            (disconnect("a").encode("utf-16-le"), ""),
            (disconnect("a").encode("utf-16-le"), "utf-8"),
            (disconnect("a").encode("utf-16-le"), "utf-16"),
            (disconnect("a").encode("utf-16-le")[:-1], "utf-16le"),
            (disconnect("a").encode("utf-16-le"), "utf-16be"),
            (disconnect("a").encode(), "utf-16"),
            (disconnect("a").encode(), "utf-16le"),
        ):
            self.refused(octets, charset)


class OrderTests(EncodingCase):
    """RFC 7303 section 3: the mark, then the charset, then the declaration."""

    def test_the_mark_goes_before_the_charset(self) -> None:
        for mark, codec in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"),
                            (b"\xfe\xff", "utf-16-be")):  # fmt: skip
            octets = mark + disconnect("\xe9").encode(codec)
            for charset in ("", "utf-8", "iso-8859-1", "windows-1252", "utf-16", "us-ascii"):
                self.assertEqual(self.call_id(octets, charset), "\xe9", (codec, charset))

    def test_the_charset_goes_before_the_declaration(self) -> None:
        """A proxy that transcodes need not change the document (RFC 7303 section 8.5)."""
        utf8 = disconnect("\xe9").encode()
        for label in ("iso-8859-1", "windows-1252", "us-ascii", "utf-16"):
            octets = declared(label, "").encode() + utf8
            self.assertEqual(self.call_id(octets, "utf-8"), "\xe9", label)
        octets = declared("utf-8", "").encode() + utf8
        self.assertEqual(self.call_id(octets, "iso-8859-1"), "\xc3\xa9")
        self.assertEqual(self.call_id(octets), "\xe9")

    def test_a_declaration_against_the_mark(self) -> None:
        for label, mark, codec in (("utf-8", "\ufeff", "utf-16-le"), ("utf-16", "\ufeff", "utf-8"),
                                   ("iso-8859-1", "\ufeff", "utf-8")):  # fmt: skip
            octets = (mark + declared(label, disconnect("abc"))).encode(codec)
            self.assertIn("byte order mark", self.refused(octets))
            self.assertEqual(self.call_id(octets, codec[:6]), "abc")

    def test_a_cached_request_is_not_used_for_another_charset(self) -> None:
        body = f'<Disconnect xmlns="{MESSAGES}"><CallId>abc</CallId></Disconnect>'
        header = '<s:Header><h:note xmlns:h="urn:h">\xe9</h:note></s:Header>'
        octets = envelope(body, header=header).encode("latin-1")
        for _ in range(2):
            self.assertEqual(self.call_id(octets, "iso-8859-1"), "abc")
            self.refused(octets, "utf-8")
            self.refused(octets)

    def test_a_name_in_the_header_is_read_by_the_charset(self) -> None:
        header = (
            f'<s:Header><t:ExchangeImpersonation xmlns:t="{TYPES}"><t:ConnectingSID>'
            "<t:PrincipalName>j\xf6rg</t:PrincipalName></t:ConnectingSID>"
            "</t:ExchangeImpersonation></s:Header>"
        )
        asked = '<PhoneCallId Id="abc"/></DisconnectPhoneCall>'
        body = f'<DisconnectPhoneCall xmlns="{MESSAGES}">{asked}'
        octets = envelope(body, header=header).encode()
        for _ in range(2):
            for charset, name in (("utf-8", "j\xf6rg"), ("latin1", "j\xc3\xb6rg"), ("", "j\xf6rg")):
                self.assertEqual(read_request(EWS, octets, charset).impersonated, name)


class HostileTests(EncodingCase):
    def test_other_encodings_by_their_first_octets(self) -> None:
        document = disconnect("abc")
        for octets, name in (
            (document.encode("utf-32"), "UTF-32"),
            (document.encode("utf-32-le"), "UTF-32"),
            (document.encode("utf-32-be"), "UTF-32"),
            (declared("cp037", document).encode("cp037"), "EBCDIC"),
            (declared("utf-7", document).encode("ascii").replace(b"<", b"+ADw-"), "UTF-7"),
        ):
            self.assertIn(name, self.refused(octets))

    def test_no_document_type_in_any_encoding(self) -> None:
        attack = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + disconnect("&e;\xe9")
        for label, codec in (
            ("utf-8", "utf-8"), ("ISO-8859-1", "latin-1"), ("cp1252", "cp1252"),
            ("utf-16", "utf-16"), ("utf-16le", "utf-16-le"), ("utf-16be", "utf-16-be"),
        ):  # fmt: skip
            for document in (attack, declared(label, attack)):
                for charset in ("", label):
                    self.refused(document.encode(codec), charset)
            pi = declared(label, disconnect("a<?x y?>b\xe9")).encode(codec)
            self.assertIn("processing", self.refused(pi, label if "e" in label[6:] else ""))

    def test_utf_7_is_text_like_any_other(self) -> None:
        hidden = disconnect("+ADwAIQ-DOCTYPE x+AD4-")
        self.assertEqual(self.call_id(hidden.encode()), "+ADwAIQ-DOCTYPE x+AD4-")

    def test_a_declaration_inside_another(self) -> None:
        self.refused((declared("iso-8859-1", "") + declared("utf-8", disconnect("a"))).encode())
        self.refused(("\xa0" + declared("iso-8859-1", disconnect("a"))).encode("latin-1"))
        with self.assertRaises(NotReadable):
            to_utf8(b"<?xml version='1.0' encoding='\xe9'?><a/>", "iso-8859-1")


class ReasonTests(SynchronousTestCase):
    def test_the_reason_is_one_line(self) -> None:
        """libxml2 ends some of its texts with a line feed."""
        for inside in ("\0", "\x0b", "<"):
            with self.assertRaises(InvalidRequest) as caught:
                read_document(f"<a>{inside}</a>".encode())
            self.assertRegex(str(caught.exception), r"\Anot well-formed XML: [ -~]+\Z")
