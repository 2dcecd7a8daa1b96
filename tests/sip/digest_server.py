"""The server's end of digest authentication, for tests of the client's end (RFC 7616)."""

from __future__ import annotations

from umd.sip import auth
from umd.sip.fields import Challenge, Credentials, quote


def challenge(realm: str, nonce: str, algorithm: str = "SHA-256") -> Challenge:
    """Return a challenge with qop=auth."""
    params = (
        ("realm", quote(realm)),
        ("nonce", quote(nonce)),
        ("algorithm", algorithm),
        ("qop", '"auth"'),
    )
    return Challenge("Digest", params)


def is_right(
    credentials: Credentials, password: str, *, realm: str, nonce: str, method: str, uri: str
) -> bool:
    """Whether the credentials of a request prove that its sender knows the password."""
    algorithm = credentials.param("algorithm") or "MD5"
    secret = auth.secret_hash(algorithm, credentials.param("username") or "", realm, password)
    expected = auth.digest(
        algorithm,
        auth.session_hash(algorithm, secret, nonce, credentials.param("cnonce") or ""),
        nonce=nonce,
        method=method,
        uri=uri,
        cnonce=credentials.param("cnonce") or "",
        count=credentials.param("nc") or "",
        qop="auth",
    )
    stated = tuple(credentials.param(name) for name in ("realm", "nonce", "uri", "qop"))
    return stated == (realm, nonce, uri, "auth") and credentials.param("response") == expected
