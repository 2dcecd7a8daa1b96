"""Typed values of header fields: parsing and writing are inverses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from umd.sip.fields import (
    MAX_CSEQ,
    MAX_PARAMS,
    Challenge,
    Credentials,
    CredentialsError,
    CSeq,
    CSeqError,
    FieldError,
    ListError,
    NameAddr,
    NameAddrError,
    Reason,
    ReasonError,
    Uri,
    UriError,
    Via,
    ViaError,
    find_reason,
    parse_challenges,
    quote,
    split_list,
    unquote,
)


class UriTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """All parts of a sip URI are read."""
        uri = Uri.parse("SIPS:al%69ce:pw@[2001:db8::1]:5061;transport=tcp;LR?Subject=x&a=b")
        self.assertEqual(
            uri,
            Uri(
                scheme="sips",
                user="al%69ce",
                password="pw",
                host="[2001:db8::1]",
                port=5061,
                params=(("transport", "tcp"), ("lr", None)),
                headers="Subject=x&a=b",
            ),
        )
        self.assertTrue(uri.is_loose)
        self.assertEqual(uri.param("transport"), "tcp")

    def test_round_trip(self) -> None:
        """A URI that is written and parsed again is the same."""
        for text in (
            "sip:example.com",
            "sip:a@example.com:5060",
            "sip:user;par=u%40example.net@example.com",
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1@example.com",
            "sip:null-%00-null@example.com",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "tel:+1-201-555-0123;phone-context=example.com",
            "nobodyKnowsThisScheme:totallyopaquecontent",
            "soap.beep://192.0.2.103:3002",
            "urn:service:sos",
        ):
            uri = Uri.parse(text)
            self.assertEqual(Uri.parse(str(uri)), uri)
            self.assertEqual(str(uri).partition(":")[2], text.partition(":")[2])

    def test_escapes_stay(self) -> None:
        """An escape in the user part is kept, since resolving it could change the URI."""
        uri = Uri.parse("sip:sips%3Auser%40example.com@example.net")
        self.assertEqual((uri.user, uri.host), ("sips%3Auser%40example.com", "example.net"))

    def test_malformed(self) -> None:
        """Malformed URIs are refused."""
        for text in (
            *("", "sip", "sip:", ":x", "1sip:x", "sip:a b", "sip:a@", "sip:@h", "sip:a@b@c"),
            *("sip:h:", "sip:h:99999", "sip:h:x", "sip:h;", "sip:h;;x", "sip:[::1", "sip:<h>"),
            *("sip:h" + ";x" * 300, "sip:é"),
        ):
            self.assertRaises(UriError, Uri.parse, text)


class NameAddrTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """A name may have quotes or not, a URI brackets or not."""
        for text, display, uri, tag in (
            ("<sip:a@b>", "", "sip:a@b", None),
            ("<sip:a@b;x>;tag=1", "", "sip:a@b;x", "1"),
            ("sip:a@b;tag=1", "", "sip:a@b", "1"),
            ('"A \\"B\\" \\\\" <sip:a>', 'A "B" \\', "sip:a", None),
            ("caller<sip:a>;tag=1", "caller", "sip:a", "1"),
            ("A. B.  C <sip:a>", "A. B.  C", "sip:a", None),
            ("Ünal <sip:a>", "Ünal", "sip:a", None),
            ('"" <sip:a>', "", "sip:a", None),
            ('"a"<sip:a>', "a", "sip:a", None),
            ('"x" <sip:a> ; q = 0.33 ;\ttag  =  "t"', "x", "sip:a", '"t"'),
            ("<isbn:2983792873>", "", "isbn:2983792873", None),
        ):
            found = NameAddr.parse(text)
            self.assertEqual((found.display, found.uri, found.tag), (display, uri, tag))
            self.assertEqual(NameAddr.parse(str(found)), found)

    def test_parameters(self) -> None:
        """
        Without brackets a parameter belongs to the field, within brackets to the URI (RFC 4475).
        """
        bare = NameAddr.parse("sip:+19725552222@gw1.example.net;unknownparam")
        self.assertEqual((bare.uri[-3:], bare.params), ("net", (("unknownparam", None),)))
        inside = NameAddr.parse("<sip:+19725552222@gw1.example.net;unknownparam>")
        self.assertEqual(inside.params, ())
        self.assertEqual(inside.address.params, (("unknownparam", None),))
        self.assertEqual(NameAddr.parse('<sip:a>;x="a;b, \\"c"').param("x"), 'a;b, "c')

    def test_empty_parameters(self) -> None:
        """A semicolon without a parameter is ignored, except in quotes and brackets."""
        for text in ("<sip:a;;b>;;tag=x;", "<sip:a;;b>;tag=x", "<sip:a;;b> ; ;tag = x ; ; "):
            found = NameAddr.parse(text)
            self.assertEqual((found.uri, found.params), ("sip:a;;b", (("tag", "x"),)))
        found = NameAddr.parse('"a;;b" <sip:c>;;x="1;;2";')
        self.assertEqual((found.display, found.params), ("a;;b", (("x", '"1;;2"'),)))

    def test_malformed(self) -> None:
        """A text that two parsers could read differently is refused."""
        for text in (
            *("", "<>", "<sip:a", "sip:a>", "< sip:a >", "<sip:a> x"),
            *('"Mr. J. User <sip:a>', "Bell, Alexander <sip:a>", "a:b <sip:a>", "<sip:a>;x=,"),
            *("sip:a?Route=%3Csip:b%3E", "sip:a,sip:b", "<sip:a>,<sip:b>", "alan@jasomi.com"),
            *("sip: a", "sip:a b", "<sip:a; lr>;x = y", "<sip: a>"),
            *("<sip:a>;x=é", "<sip:a>" + ";x" * (MAX_PARAMS + 1), "<sip:a> ;x" + " " * 9000),
        ):
            self.assertRaises(NameAddrError, NameAddr.parse, text)


class ViaTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """Transport, sent-by, branch and the parameters that a server adds are read."""
        via = Via.parse("SIP/2.0/UDP h.example.com:5060;branch=z9hG4bKx;rport")
        self.assertEqual((via.protocol, via.transport), ("SIP/2.0", "UDP"))
        self.assertEqual((via.host, via.port), ("h.example.com", 5060))
        self.assertEqual((via.sent_by, via.branch), ("h.example.com:5060", "z9hG4bKx"))
        self.assertEqual((via.rport, via.received), (0, None))

    def test_usual_and_unusual_agree(self) -> None:
        """The fast pattern and the full one give the same value."""
        for text in (
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx",
            "SIP/2.0/TCP 192.0.2.1:65535;branch=z9hG4bKx;rport",
            "SIP/2.0/TLS h;branch=a=b@c/d;rport",
        ):
            self.assertEqual(Via.parse(text), Via._parse_leniently(text))
            self.assertEqual(str(Via.parse(text)), text)
            padded = text.replace(";", " ; ").replace("=", " = ", 1).replace("/", " / ", 2)
            self.assertEqual(Via.parse(padded), Via.parse(text))
        for text in ('"a" <sip:b>;tag=c', "<sip:b>", '"" <sip:b;c>'):
            self.assertEqual(NameAddr.parse(text), NameAddr._parse_leniently(text))

    def test_other_forms(self) -> None:
        """IPv6, quoted values, other versions and a missing branch are accepted."""
        via = Via.parse('SIP/3.0/SCTP [2001:db8::9:1]:70;x="a;b";received=2001:db8::1;rport=9')
        self.assertEqual((via.protocol, via.host, via.port), ("SIP/3.0", "[2001:db8::9:1]", 70))
        self.assertEqual((via.branch, via.rport, via.received), (None, 9, "2001:db8::1"))
        self.assertEqual(Via.parse(str(via)), via)

    def test_stamped(self) -> None:
        """A server notes the source of a request (RFC 3261 section 18.2.1, RFC 3581)."""
        for text, stamped in (
            ("SIP/2.0/UDP 192.0.2.1;branch=b", "SIP/2.0/UDP 192.0.2.1;branch=b"),
            ("SIP/2.0/UDP h;branch=b", "SIP/2.0/UDP h;branch=b;received=192.0.2.1"),
            (
                "SIP/2.0/UDP 192.0.2.1;rport;branch=b",
                "SIP/2.0/UDP 192.0.2.1;rport=7;branch=b;received=192.0.2.1",
            ),
        ):
            self.assertEqual(str(Via.parse(text).with_source("192.0.2.1", 7)), stamped)

    def test_frozen(self) -> None:
        """A Via cannot be changed, and equal values have equal hashes."""
        via = Via.parse("SIP/2.0/UDP h;branch=b")
        self.assertRaises(AttributeError, setattr, via, "host", "x")
        self.assertEqual(hash(via), hash(Via("UDP", "h", None, (("branch", "b"),))))

    def test_malformed(self) -> None:
        """Empty parameters, a missing host and a port out of range are refused."""
        for text in (
            *("", "SIP/2.0/UDP", "SIP/2.0/UDP ", "UDP h", "SIP/2.0/UDP h;", "SIP/2.0/UDP h;;b"),
            *("SIP/2.0/UDP h:99999;branch=b", "SIP/2.0/UDP h:65536", "SIP/2.0/UDP h;branch=b;"),
            *("SIP/2.0/UDP h i", "SIP/2.0/UDP h,", 'SIP/2.0/UDP h;x="', "SIP/2.0/UDP hé"),
            *("SIP/2.0/UDP \u212a ;x", "ſip/2.0/UDP h ;x", "SIP/2.0/UDP h ;\u212a=y"),
            *("SIP/2.0/UDP h" + ";x" * 65, "SIP/2.0/UDP  h;branch=b\x00"),
        ):
            self.assertRaises(ViaError, Via.parse, text)


class CSeqTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Leading zeros, wide blanks and any method are accepted."""
        for text, number, method in (
            ("1 INVITE", 1, "INVITE"),
            ("0 BYE", 0, "BYE"),
            ("0009   INVITE", 9, "INVITE"),
            (f"{MAX_CSEQ} RE%47IST%45R", MAX_CSEQ, "RE%47IST%45R"),
            ("000000000000000000000000001\tBYE", 1, "BYE"),
        ):
            found = CSeq.parse(text)
            self.assertEqual(found, CSeq(number, method))
            self.assertEqual(CSeq.parse(str(found)), found)

    def test_malformed(self) -> None:
        """A number out of range, or anything but two words, is refused."""
        for text in (
            *("", "1", "INVITE", "1INVITE", "-1 BYE", "1 BYE x", "٣ BYE", "1_0 BYE", " 1 BYE"),
            *(f"{MAX_CSEQ + 1} BYE", "36893488147419103232 BYE", "9" * 5000 + " BYE"),
        ):
            self.assertRaises(CSeqError, CSeq.parse, text)


class AuthFieldTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """Commas in quotes do not separate; names are compared without case."""
        text = 'Digest Realm="a, b" ,nonce="x\\"y", qop="auth,auth-int",algorithm=MD5,stale=false'
        found = Challenge.parse(text)
        self.assertEqual((found.param("realm"), found.param("nonce")), ("a, b", 'x"y'))
        self.assertEqual((found.param("qop"), found.param("opaque")), ("auth,auth-int", None))
        self.assertEqual(Challenge.parse(str(found)), found)
        shown = Credentials.parse("NoOneKnowsThisScheme opaque-data=here")
        self.assertEqual(Credentials.parse(str(shown)), shown)

    def test_malformed(self) -> None:
        """A missing scheme, no list, or a repeated parameter is refused."""
        for text in ("", "Digest", "Digest ", "Digest x", 'Digest a="b', "Digest a=b c=d",
                     "Digest a=b,,c=d", "Digest a=b, A=c", "Basic Zm9v"):  # fmt: skip
            self.assertRaises(CredentialsError, Challenge.parse, text)
            self.assertRaises(CredentialsError, Credentials.parse, text)

    def test_several_challenges_in_a_value(self) -> None:
        """An unreadable challenge does not affect the ones before and after it."""
        for text, schemes in (
            ("", []),
            ("Negotiate", ["Negotiate"]),
            ('Basic realm="a, b", Digest realm="c"', ["Basic", "Digest"]),
            (', NTLM TlRM/a+b== ,, Digest realm="c",', ["NTLM", "Digest"]),
            ('Digest realm="a" "b", =, NTLM, Basic realm="c"', ["Digest", "NTLM", "Basic"]),
            ('Digest realm="a", Basic realm="never closed, Digest realm="c"', ["Digest"]),
            ('Digest realm="a", realm="b", Basic realm="c"', ["Basic"]),
            ('realm="a", Basic realm="c"', ["Basic"]),
            ("Digest " + ",".join(f"p{n}=x" for n in range(65)), []),
            ("x" * 8193, []),
            ('"' * 600, []),
        ):
            found = [challenge.scheme for challenge in parse_challenges(text)]
            self.assertEqual(found, schemes, text[:60])
        (digest,) = parse_challenges('Digest qop=auth,auth-int,x, stale, nonce=a=b==, realm="\\"c"')
        wanted = ("auth,auth-int,x", "a=b==", '"c')
        self.assertEqual(tuple(map(digest.param, ("qop", "nonce", "realm"))), wanted)

    def test_effort(self) -> None:
        """The time to parse a value grows only linearly with its length."""
        for text in ("a " * 255 + '"' + "\\" * 7000, "a=" * 4000, "," * 8000, "a" * 8000):
            self.assertLess(len(parse_challenges(text)), 512)


class ReasonTests(SynchronousTestCase):
    def test_read(self) -> None:
        """Protocol, cause and text of RFC 3326 are read."""
        reason = Reason.parse('Q.850 ;cause=16 ;text="Normal call clearing"')
        self.assertEqual(
            (reason.protocol, reason.cause, reason.text), ("Q.850", 16, "Normal call clearing")
        )
        self.assertEqual(Reason.parse(str(reason)), reason)

    def test_make(self) -> None:
        """A Reason that umd makes reads back the same."""
        made = Reason.make("SIP", 200, 'Call "completed" elsewhere')
        self.assertEqual(Reason.parse(str(made)), made)
        self.assertEqual(made.text, 'Call "completed" elsewhere')
        self.assertEqual(str(Reason.make("Q.850", 16)), "Q.850;cause=16")

    def test_causes_that_are_none(self) -> None:
        """A cause that is not a number is ignored."""
        for text in ("Q.850", "Q.850;cause", "Q.850;cause=x", "Q.850;cause=99999999"):
            self.assertIsNone(Reason.parse(text).cause)

    def test_malformed(self) -> None:
        """A missing protocol or malformed parameters are refused."""
        for text in ("", ";cause=16", "Q.850;=", 'Q.850;text="a', "Q.850 cause=1"):
            self.assertRaises(ReasonError, Reason.parse, text)

    def test_loose(self) -> None:
        """The cause is found even if the text parameter is malformed."""
        for text, cause in (
            ("Q.850;cause=17;text=User busy", 17),
            ('Q.850 ; cause = "34" ; text="No circuit', 34),
            ("q.850;;cause=21;;", 21),
            ("SIP;cause=486;text=\udce9t\udce9", 486),
            ('Q.850;text="cause=18', None),
            ("Q.850 cause=17", None),
            ("cause=17", None),
            ("", None),
        ):
            found = find_reason(text)
            self.assertEqual(None if found is None else found.cause, cause, text)


class TextTests(SynchronousTestCase):
    def test_quoting(self) -> None:
        """quote and unquote are inverses."""
        for text in ("", "a", 'a"b', "a\\", '\\"', "é\x00"):
            self.assertEqual(unquote(quote(text)), text)
        self.assertEqual(unquote("plain"), "plain")

    def test_split(self) -> None:
        """Empty elements of a list are kept."""
        self.assertEqual(split_list("a, b ,,c"), ["a", "b", "", "c"])
        self.assertEqual(split_list('"a,\\",b", <c,d>'), ['"a,\\",b"', "<c,d>"])
        for text in ('a,"b', "a,<b", '"a\\"', "," * 300, "<>" * 600 + "<", "<>" * 1100):
            self.assertRaises(ListError, split_list, text)

    def test_errors_have_one_base(self) -> None:
        """Every error of a header field is a FieldError."""
        for error in (UriError, NameAddrError, ViaError, CSeqError, CredentialsError, ReasonError):
            self.assertTrue(issubclass(error, FieldError))
