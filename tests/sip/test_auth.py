"""Digest authentication: the RFCs' examples, both ends against each other, and what is refused."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from umd.sip import auth
from umd.sip.auth import AuthError, Verdict
from umd.sip.fields import Challenge, Credentials

RFC7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC2617 = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
URI = "sip:bob@example.com"


def respond(text: str, **changes: str) -> Credentials:
    """What a client answers."""
    parts: Any = {
        "username": "Mufasa",
        "password": "Circle of Life",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    }
    session = auth.DigestSession(Challenge.parse(text), **(parts | changes))
    return session.next("GET", "/dir/index.html")


class ClientTests(SynchronousTestCase):
    def test_rfc_7616(self) -> None:
        """The examples of RFC 7616 section 3.9.1."""
        for algorithm, digest in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            shown = respond(RFC7616.format(algorithm))
            self.assertEqual(shown.param("response"), digest)
            self.assertEqual((shown.param("nc"), shown.param("qop")), ("00000001", "auth"))
            self.assertEqual(shown.param("opaque"), "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS")

    def test_rfc_2617(self) -> None:
        """The example of RFC 2617 section 3.5, and the same challenge without qop."""
        changes = {"password": "Circle Of Life", "cnonce": "0a4f113b"}
        shown = respond(RFC2617 + ', qop="auth"', **changes)
        self.assertEqual(shown.param("response"), "6629fae49393a05397450978507c4ef1")
        shown = respond(RFC2617, **changes)
        self.assertEqual(shown.param("response"), "670fd8c2df070c60b045671b8b24ff02")
        self.assertIsNone(shown.param("cnonce"))

    def test_each_request_counts(self) -> None:
        """The count rises with every request; a nonce that the server gives begins a new one."""
        session = auth.DigestSession(
            Challenge.parse(RFC7616.format("MD5")), username="u", password="p", cnonce="c"
        )
        counts = [session.next("BYE", URI).param("nc") for _ in range(17)]
        self.assertEqual((counts[0], counts[-1]), ("00000001", "00000011"))
        for nonce in ("", "with\x00control"):
            session.take_next_nonce(nonce)
            self.assertEqual(session.next("BYE", URI).param("nonce"), RFC7616.split('"')[5])
        session.take_next_nonce("another")
        shown = session.next("BYE", URI)
        self.assertEqual((shown.param("nonce"), shown.param("nc")), ("another", "00000001"))

    def test_what_cannot_be_answered(self) -> None:
        for text in (
            'Basic realm="x"',
            'Digest realm="r", nonce="1", algorithm=SHA-512, qop="auth"',
            'Digest realm="r", nonce="1", qop="auth-conf"',
            'Digest realm="r", nonce=""',
            'Digest nonce="1"',
        ):
            self.assertFalse(auth.can_answer(Challenge.parse(text)))
            self.assertRaises(AuthError, respond, text)

    def test_stale(self) -> None:
        """Said with quotes or without; None where nothing is said of it."""
        for text, stale in (
            ("", None),
            (", stale=true", True),
            (', stale="TRUE"', True),
            (", stale=false", False),
            (", stale=maybe", False),
        ):
            found = auth.is_stale(Challenge.parse('Digest realm="r", nonce="1"' + text))
            self.assertIs(found, stale, text)


class ServerTests(SynchronousTestCase):
    nonce = "n1"

    def verdict(self, shown: Credentials, **changes: object) -> Verdict:
        """What the server makes of credentials."""
        parts: Any = {
            "realm": "umd",
            "nonce": self.nonce,
            "method": "INVITE",
            "uri": URI,
            "secret": self.secret,
        }
        return auth.verify(shown, **(parts | changes))

    def secret(self, username: str, algorithm: str) -> str | None:
        """Alice is known."""
        if username != 'al"ice':
            return None
        return auth.secret_hash(algorithm, username, "umd", "sésame")

    def shown(self, algorithm: str = "SHA-256", count: int = 1, **changes: str) -> Credentials:
        """Credentials as they arrive."""
        parts = {"username": 'al"ice', "password": "sésame", "method": "INVITE", "uri": URI}
        parts |= changes
        session = auth.DigestSession(
            Challenge.parse(str(auth.challenge("umd", self.nonce, algorithm=algorithm))),
            username=parts["username"],
            password=parts["password"],
            cnonce="c",
        )
        session.count = count - 1
        return Credentials.parse(str(session.next(parts["method"], parts["uri"])))

    def test_accepted(self) -> None:
        """Client and server agree with every algorithm."""
        for algorithm in auth.ALGORITHMS:
            self.assertEqual(self.verdict(self.shown(algorithm)), Verdict.ACCEPTED)

    def test_session_digest(self) -> None:
        """With -sess the secret depends on the nonces (RFC 7616 section 3.4.2)."""
        self.assertNotEqual(
            self.shown("MD5").param("response"), self.shown("MD5-sess").param("response")
        )

    def test_wrong(self) -> None:
        """Another password, user, method, URI or realm is not accepted."""
        for changes in (
            ("password", "sesame"),
            ("username", "bob"),
            ("method", "BYE"),
            ("uri", "sip:x"),
        ):
            shown = self.shown("SHA-256", 1, **dict([changes]))
            self.assertEqual(self.verdict(shown), Verdict.WRONG)
        self.assertEqual(self.verdict(self.shown(), realm="other"), Verdict.WRONG)

    def test_no_weaker_algorithm(self) -> None:
        """Who was offered SHA-256 cannot come with MD5."""
        self.assertEqual(self.verdict(self.shown("MD5"), algorithms=("SHA-256",)), Verdict.WRONG)

    def test_stale_and_replayed(self) -> None:
        """An old nonce is stale only with the right password; a count counts once."""
        shown = self.shown(count=2)
        self.assertEqual(self.verdict(shown, nonce="n2"), Verdict.STALE)
        self.assertEqual(self.verdict(self.shown(password="x"), nonce="n2"), Verdict.WRONG)
        self.assertEqual(self.verdict(shown, last_count=1), Verdict.ACCEPTED)
        self.assertEqual(self.verdict(shown, last_count=2), Verdict.REPLAYED)
        text = str(auth.challenge("umd", "n2", stale=True))
        self.assertEqual(Challenge.parse(text).param("stale"), "true")

    def test_malformed(self) -> None:
        """Credentials with a part missing or out of shape are wrong, not an accident."""
        good = str(self.shown())
        self.assertEqual(self.verdict(Credentials.parse(good)), Verdict.ACCEPTED)
        for old, new in (
            ("Digest ", "Basic "),
            ("nc=00000001", "nc=1"),
            ("nc=00000001", "nc=0000000x"),
            ("qop=auth", "qop=auth-int"),
            ("qop=auth, ", ""),
            ('cnonce="c"', 'cnonce=""'),
            ("algorithm=SHA-256", "algorithm=SHA-1"),
            ('response="', 'response="é'),
            ("username=", "user="),
        ):
            self.assertIn(old, good)
            shown = Credentials.parse(good.replace(old, new))
            self.assertEqual(self.verdict(shown), Verdict.WRONG, new)
