"""Every text that can be dialled leads to one SIP URI, every other one to a refusal."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.backends.sip.section import uri_to
from umd.sip.number import Name, NotDialable, SipAddress, Telephone, read_number, require_dialable

EXT = (("ext", "12"),)
CONTEXT = (("phone-context", "example.com"),)

DIALLED: list[tuple[str, Telephone | SipAddress | Name, str]] = [
    # the dialled text, the value read, the URI that the backend sip calls
    ("7042", Telephone("7042"), "sip:7042@pbx"),
    (" 7 04\t2\n", Telephone("7042"), "sip:7042@pbx"),
    ("+44 (0) 20-7946.0000", Telephone("+4402079460000"), "sip:+4402079460000@pbx"),
    ("*72#", Telephone("*72#"), "sip:*72%23@pbx"),
    ("#31#7042", Telephone("#31#7042"), "sip:%2331%237042@pbx"),
    ("tel:+44-20-7946-0000", Telephone("+442079460000"), "sip:+442079460000@pbx"),
    ("TEL:7042", Telephone("7042"), "sip:7042@pbx"),
    ("tel:*72%23", Telephone("*72#"), "sip:*72%23@pbx"),
    ("tel:%2B44%2020", Telephone("+4420"), "sip:+4420@pbx"),
    ("tel:+4420;ext=1-2", Telephone("+4420", EXT), "sip:+4420;ext=12@pbx;user=phone"),
    ("tel:+4420;EXT=12", Telephone("+4420", EXT), "sip:+4420;ext=12@pbx;user=phone"),
    (
        "tel:7042;phone-context=example.com",
        Telephone("7042", CONTEXT),
        "sip:7042;phone-context=example.com@pbx;user=phone",
    ),
    (
        "tel:7042;phone-context=+44-20;ext=12",
        Telephone("7042", (*EXT, ("phone-context", "+4420"))),
        "sip:7042;ext=12;phone-context=+4420@pbx;user=phone",
    ),
    # RFC 3966 §5.1.5: only a local number has a context.
    ("tel:+4420;phone-context=example.com", Telephone("+4420"), "sip:+4420@pbx"),
    ("tel:7042;rn=+1900;npdi;tgrp=cheap", Telephone("7042"), "sip:7042@pbx"),
    ("sip:bob@example.com", SipAddress("sip:bob@example.com"), "sip:bob@example.com"),
    ("SIP:b;x@h:5070;lr", SipAddress("SIP:b;x@h:5070;lr"), "SIP:b;x@h:5070;lr"),
    ("sip:[2001:db8::1]", SipAddress("sip:[2001:db8::1]"), "sip:[2001:db8::1]"),
    ("sip:*72#@example.com", SipAddress("sip:*72%23@example.com"), "sip:*72%23@example.com"),
    ("sip:50%off@h", SipAddress("sip:50%25off@h"), "sip:50%25off@h"),
    ("sip:a%20b@h", SipAddress("sip:a%20b@h"), "sip:a%20b@h"),
    ("bob@example.com", SipAddress("sip:bob@example.com"), "sip:bob@example.com"),
    ("+4420@gw:5080", SipAddress("sip:+4420@gw:5080"), "sip:+4420@gw:5080"),
    ("bob", Name("bob"), "sip:bob@pbx"),
    ("front desk", Name("front desk"), "sip:front%20desk@pbx"),
    ("Zoë-2", Name("Zoë-2"), "sip:Zo%C3%AB-2@pbx"),
]

REFUSED: list[tuple[str, str]] = [
    ("", "empty"),
    (" \t\r\n ", "empty"),
    ("...", "not a telephone number"),
    ("(-)", "not a telephone number"),
    ("*", "not a telephone number"),
    ("##", "not a telephone number"),
    ("+", "not a telephone number"),
    ("++44", "not a telephone number"),
    ("44+20", "not a telephone number"),
    ("+44*20", "has \\* or # in a number"),
    ("1-800-FLOWERS", "not a telephone number"),
    ("555 CALL", "not a telephone number"),
    ("bob;x=1", "neither a number nor a name"),
    ("bob  smith", "neither a number nor a name"),
    ("bob\x1b[31m", "invisible characters"),
    ("70\r\n42", "invisible characters"),
    ("7042\x00", "invisible characters"),
    ("\u202e7042", "invisible characters"),
    ("\u0667\u0660\u0664\u0662", "digits are not 0 to 9"),
    ("bob\uff17", "digits are not 0 to 9"),
    ("caf\udce9", "invisible characters"),
    ("7" * 129, "129 characters"),
    ("7" * 5000, "5000 characters"),
    ("sip:" + "a" * 5000 + "@h", "5006 characters"),
    ("tel:", "no telephone number after tel:"),
    ("tel://7042", "no telephone number after tel:"),
    ("tel:bob", "no telephone number after tel:"),
    ("tel:\u0667", "digits are not 0 to 9"),
    ("tel:7042;ext=", "wrong ext"),
    ("tel:7042;ext=+1", "wrong ext"),
    ("tel:7042;phone-context=", "wrong phone-context"),
    ("tel:7042;phone-context=+", "wrong phone-context"),
    ("tel:7042;phone-context=a b", "wrong phone-context"),
    ("tel:7042;isub=a@b", "wrong isub"),
    ("tel:7042;;", "wrong parameter"),
    ("tel:7042;ext=1;ext=2", "same parameter twice"),
    ("sips:bob@example.com", "asks for TLS"),
    ("SIPS:7042@pbx", "asks for TLS"),
    ("sip:", "not a URI"),
    ("sip:@h", "not a sip URI"),
    ("sip:bob@", "not a sip URI"),
    ("sip:sip:7042@pbx", "a scheme twice"),
    ("sip:bob:secret@h", "password"),
    ("sip://bob@h", "// after the scheme"),
    ("sip:bob@h@g", "not a sip URI"),
    ("bob@h@g", "not a sip URI"),
    ("bob smith@h", "not a SIP address"),
    ("sip:bob smith@h", "not a URI"),
    ("sip:b\r\nRoute: <sip:evil>", "invisible characters"),
    ("sip:b>@h", "ends an address"),
    ("sip:b@h?Route=%3Csip:evil%3E", "header fields"),
    ("sip:b@h:70000", "out of range"),
    ("http://h/", "scheme http:"),
    ("callto:7042", "scheme callto:"),
]


class NumberTests(SynchronousTestCase):
    def test_dialled_texts(self) -> None:
        """Each form of number is read, and becomes a SIP URI at the PBX."""
        for text, dialled, uri in DIALLED:
            self.assertEqual(require_dialable(text), dialled, text)
            self.assertEqual(uri_to(text, "sip:{number}@pbx"), uri, text)

    def test_a_number_reads_back_the_same(self) -> None:
        """A backend reads the text of a number that the dial plan has read before."""
        for text, dialled, uri in DIALLED:
            self.assertEqual(read_number(str(dialled)), dialled, text)
            self.assertEqual(uri_to(str(dialled), "sip:{number}@pbx"), uri, text)

    def test_refusals(self) -> None:
        """A refusal gives its reason in printable ASCII."""
        for text, why in REFUSED:
            with self.assertRaisesRegex(NotDialable, why, msg=ascii(text[:50])) as caught:
                require_dialable(text)
            text = str(caught.exception)
            self.assertTrue(text.isascii() and text.isprintable() and len(text) < 250, text)

    def test_user_phone(self) -> None:
        """A number with an extension gets user=phone, unless the template has it."""
        template = "sip:{number}@pbx;transport=udp;user=phone"
        self.assertEqual(
            uri_to("tel:7042;ext=1", template), "sip:7042;ext=1@pbx;transport=udp;user=phone"
        )
