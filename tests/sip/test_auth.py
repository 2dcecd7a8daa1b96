"""The client's end of digest authentication: the examples of the RFCs, and a server's check."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sip import digest_server
from umd.sip import auth
from umd.sip.auth import AuthError
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


class AgreementTests(SynchronousTestCase):
    def credentials(self, algorithm: str) -> Credentials:
        """Return Alice's credentials as they arrive at the server."""
        session = auth.DigestSession(
            Challenge.parse(str(digest_server.challenge("umd", "n1", algorithm))),
            username='al"ice',
            password="sésame",
            cnonce="c",
        )
        return Credentials.parse(str(session.next("INVITE", URI)))

    def is_right(self, credentials: Credentials, password: str = "sésame") -> bool:
        return digest_server.is_right(
            credentials, password, realm="umd", nonce="n1", method="INVITE", uri=URI
        )

    def test_every_algorithm(self) -> None:
        """A server accepts the credentials with every algorithm, and only with the password."""
        for algorithm in auth.ALGORITHMS:
            self.assertTrue(self.is_right(self.credentials(algorithm)), algorithm)
            self.assertFalse(self.is_right(self.credentials(algorithm), "sesame"), algorithm)

    def test_session_digest(self) -> None:
        """With -sess the digest depends on the nonces of the session (RFC 7616 section 3.4.2)."""
        plain, session = self.credentials("MD5"), self.credentials("MD5-sess")
        self.assertNotEqual(plain.param("response"), session.param("response"))
