"""
The client's end of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760).

The algorithms are MD5, SHA-256 and SHA-512-256, each also as -sess. The client answers with
qop=auth, with qop=auth-int if nothing else is offered, and without qop if the challenge has none
(RFC 2069), as old registrars do. The caller supplies the random cnonce. `umd.sip.credentials` keeps
the state between the requests of a call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from umd.errors import UmdError
from umd.sip.fields import Challenge, Credentials, Params, quote

_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
if "sha512_256" not in hashlib.algorithms_available:  # it needs OpenSSL 1.1.1 or later
    del _HASHES["SHA-512-256"]
ALGORITHMS: Final = tuple(name + suffix for name in _HASHES for suffix in ("", "-sess"))
"""The algorithms that umd knows, the strongest first."""
_ALGORITHM_BY_UPPER: Final = {name.upper(): name for name in ALGORITHMS}


class AuthError(UmdError):
    """umd cannot answer a challenge."""


def _algorithm(params: Params) -> str | None:
    """Return the algorithm as `ALGORITHMS` spells it, MD5 if none is stated, None if unknown."""
    stated = next((value for name, value in params if name == "algorithm"), None)
    return _ALGORITHM_BY_UPPER.get(stated.strip('"').upper()) if stated else "MD5"


def _hash(algorithm: str, *parts: str) -> str:
    """Return the hash of the parts, joined by colons, in hexadecimal."""
    return _hash_octets(algorithm, ":".join(parts).encode("utf-8", "surrogateescape"))


def _hash_octets(algorithm: str, data: bytes) -> str:
    return _HASHES[algorithm.removesuffix("-sess")](data)


def secret_hash(algorithm: str, username: str, realm: str, password: str) -> str:
    """Return the hash of username, realm and password: H(A1) of an algorithm without -sess."""
    return _hash(algorithm, username, realm, password)


def session_hash(algorithm: str, secret: str, nonce: str, cnonce: str) -> str:
    """
    Return H(A1), the hash of user name, realm and password in a digest (RFC 7616 §3.4.2).

    Args:
        algorithm: one of `ALGORITHMS`.
        secret: the result of `secret_hash`.
        nonce: the first nonce of the session. Only -sess uses it, and a nonce from
            Authentication-Info does not replace it (RFC 7616 §3.4.2).
        cnonce: the client's nonce, as for `nonce`.
    """
    return _hash(algorithm, secret, nonce, cnonce) if algorithm.endswith("-sess") else secret


def digest(
    algorithm: str,
    secret: str,
    *,
    nonce: str,
    method: str,
    uri: str,
    body: bytes = b"",
    cnonce: str = "",
    count: str = "",
    qop: str = "",
) -> str:
    """
    Return the `response` parameter of credentials (RFC 7616 §3.4.1).

    Args:
        algorithm: one of `ALGORITHMS`.
        secret: the result of `session_hash`.
        nonce: the server's nonce.
        method: of the request.
        uri: the Request-URI.
        body: used with qop=auth-int.
        cnonce: the client's nonce, used with a qop.
        count: the nonce count, eight hexadecimal digits, used with a qop.
        qop: `auth`, `auth-int`, or empty for the digest of RFC 2069.
    """
    if qop == "auth-int":
        request = _hash(algorithm, method, uri, _hash_octets(algorithm, body))
    else:
        request = _hash(algorithm, method, uri)
    if not qop:
        return _hash(algorithm, secret, nonce, request)
    return _hash(algorithm, secret, nonce, count, cnonce, qop, request)


def can_answer(challenge: Challenge) -> bool:
    """Whether this is a Digest challenge with an algorithm and a qop that umd knows."""
    realm, nonce = challenge.param("realm"), challenge.param("nonce")
    return (
        challenge.scheme.lower() == "digest"
        and _algorithm(challenge.params) is not None
        and realm is not None
        and bool(nonce)
        and _qop(challenge) is not None
        and not any(map(_has_controls, (realm, nonce or "", challenge.param("opaque") or "")))
    )


def _qop(challenge: Challenge) -> str | None:
    """Return the qop to answer with; empty if the challenge has none, None if none is known."""
    offered = [word.strip().lower() for word in (challenge.param("qop") or "").split(",")]
    if not any(offered):
        return ""
    return next((qop for qop in ("auth", "auth-int") if qop in offered), None)


def _has_controls(text: str) -> bool:
    """Whether the text has control characters, which must not be sent in a header field."""
    return any(character < " " or character == "\x7f" for character in text)


def is_stale(challenge: Challenge) -> bool | None:
    """Whether the server refused only the nonce, not the password; None if it does not say."""
    value = challenge.param("stale")
    return None if value is None else value.lower() == "true"


class DigestSession:
    """
    The credentials that answer one challenge, computed anew for each request.

    Args:
        challenge: a challenge that `can_answer` accepts.
        username: as the server knows it.
        password: only its hash is kept.
        cnonce: a random token, a new one for each challenge.

    Raises:
        AuthError: umd cannot answer the challenge.
    """

    __slots__ = ("count", "nonce", "_algorithm", "_cnonce", "_fixed", "_opaque", "_qop", "_secret")

    def __init__(
        self, challenge: Challenge, *, username: str, password: str, cnonce: str
    ) -> None:
        algorithm, qop = _algorithm(challenge.params), _qop(challenge)
        if algorithm is None or qop is None or not can_answer(challenge):
            raise AuthError(f"umd cannot answer this {challenge.scheme} challenge")
        realm = challenge.param("realm") or ""
        self.nonce = challenge.param("nonce") or ""
        self.count = 0
        """How many requests have used this nonce."""
        self._algorithm = algorithm
        self._cnonce = cnonce
        self._qop = qop
        self._opaque = challenge.param("opaque")
        self._fixed = (("username", quote(username)), ("realm", quote(realm)))
        secret = secret_hash(algorithm, username, realm, password)
        self._secret = session_hash(algorithm, secret, self.nonce, cnonce)

    def take_next_nonce(self, nonce: str) -> None:
        """Use the `nextnonce` of an Authentication-Info from now on (RFC 7616 §3.5)."""
        if nonce and nonce != self.nonce and not _has_controls(nonce):
            self.nonce, self.count = nonce, 0

    def next(self, method: str, uri: str, body: bytes = b"") -> Credentials:
        """Return the credentials for the next request, given its method, Request-URI and body."""
        self.count += 1
        nc = f"{self.count:08x}"
        response = digest(
            self._algorithm,
            self._secret,
            nonce=self.nonce,
            method=method,
            uri=uri,
            body=body,
            cnonce=self._cnonce,
            count=nc,
            qop=self._qop,
        )
        params: list[tuple[str, str | None]] = [
            *self._fixed,
            ("nonce", quote(self.nonce)),
            ("uri", quote(uri)),
            ("response", quote(response)),
            ("algorithm", self._algorithm),
        ]
        if self._qop or self._algorithm.endswith("-sess"):
            params.append(("cnonce", quote(self._cnonce)))
        if self._qop:
            params += [("qop", self._qop), ("nc", nc)]
        if self._opaque is not None:
            params.append(("opaque", quote(self._opaque)))
        return Credentials("Digest", tuple(params))
