"""
Digest authentication, both ends (RFC 3261 §22, RFC 7616, RFC 8760).

MD5, SHA-256 and SHA-512-256, each also as -sess. The client answers with qop=auth, with
qop=auth-int where nothing else is offered, and without qop where none is (RFC 2069), since old
registrars ask so. Nonces and cnonces are handed in. What a client keeps from one request to the
next is in `umd.sip.credentials`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from umd.errors import UmdError
from umd.sip.fields import Challenge, Credentials, Params, quote

_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}
if "sha512_256" not in hashlib.algorithms_available:  # it is OpenSSL's, from 1.1.1 on
    del _HASHES["SHA-512-256"]
ALGORITHMS: Final = tuple(name + kind for name in _HASHES for kind in ("", "-sess"))
"""The strongest first."""
_SPELLINGS: Final = {name.upper(): name for name in ALGORITHMS}


class AuthError(UmdError):
    """A challenge that cannot be answered."""


class Verdict(StrEnum):
    """What a server thinks of credentials."""

    ACCEPTED = "accepted"
    STALE = "stale"
    """Right, but with another nonce: challenge again with stale=true."""
    REPLAYED = "replayed"
    """A nonce count that was there before."""
    WRONG = "wrong"
    """Challenge again, or refuse."""


def _algorithm(params: Params) -> str | None:
    """The algorithm in our spelling; None when it is not one of ours."""
    stated = next((value for name, value in params if name == "algorithm"), None)
    return _SPELLINGS.get(stated.strip('"').upper()) if stated else "MD5"


def _hash(algorithm: str, *parts: str) -> str:
    """The hash of the parts with colons between them, in hexadecimal."""
    return _hash_octets(algorithm, ":".join(parts).encode("utf-8", "surrogateescape"))


def _hash_octets(algorithm: str, data: bytes) -> str:
    return _HASHES[algorithm.removesuffix("-sess")](data)


def secret_hash(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(A1) without a session's share: what a server may store instead of the password."""
    return _hash(algorithm, username, realm, password)


def session_hash(algorithm: str, secret: str, nonce: str, cnonce: str) -> str:
    """
    H(A1), from `secret_hash`.

    For -sess it belongs to the first nonce and cnonce of a session, and stays when the server
    replaces the nonce by Authentication-Info (RFC 7616 §3.4.2).
    """
    return _hash(algorithm, secret, nonce, cnonce) if algorithm.endswith("-sess") else secret


def _response(
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
    """The digest (RFC 7616 §3.4.1) for a `session_hash`; without `qop` as RFC 2069 has it."""
    if qop == "auth-int":
        request = _hash(algorithm, method, uri, _hash_octets(algorithm, body))
    else:
        request = _hash(algorithm, method, uri)
    if not qop:
        return _hash(algorithm, secret, nonce, request)
    return _hash(algorithm, secret, nonce, count, cnonce, qop, request)


# Client


def can_answer(challenge: Challenge) -> bool:
    """Whether it is a Digest challenge with an algorithm and a qop that we know."""
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
    """The quality of protection to answer with; empty for RFC 2069, None where we know none."""
    words = [word.strip().lower() for word in (challenge.param("qop") or "").split(",")]
    if not any(words):
        return ""
    return next((qop for qop in ("auth", "auth-int") if qop in words), None)


def _has_controls(text: str) -> bool:
    """Whether it has what may not stand in a header field, where it would be sent back."""
    return any(character < " " or character == "\x7f" for character in text)


def is_stale(challenge: Challenge) -> bool | None:
    """Whether only the nonce was refused, not the password; None when the server does not say."""
    value = challenge.param("stale")
    return None if value is None else value.lower() == "true"


class DigestSession:
    """
    The client's end of an authentication session: the answer to one challenge, for each request.

    Args:
        challenge: One that `can_answer` takes.
        username: As the server knows it.
        password: Is not kept.
        cnonce: Random; a new one for each challenge.

    Raises:
        AuthError: it cannot be answered.
    """

    __slots__ = ("count", "nonce", "_algorithm", "_cnonce", "_fixed", "_opaque", "_qop", "_secret")

    def __init__(
        self, challenge: Challenge, *, username: str, password: str, cnonce: str
    ) -> None:
        algorithm, qop = _algorithm(challenge.params), _qop(challenge)
        if algorithm is None or qop is None or not can_answer(challenge):
            raise AuthError(f"{challenge.scheme} challenge with nothing that umd can answer")
        realm = challenge.param("realm") or ""
        self.nonce = challenge.param("nonce") or ""
        self.count = 0
        """How many requests have been answered with this nonce."""
        self._algorithm = algorithm
        self._cnonce = cnonce
        self._qop = qop
        self._opaque = challenge.param("opaque")
        self._fixed = (("username", quote(username)), ("realm", quote(realm)))
        secret = secret_hash(algorithm, username, realm, password)
        self._secret = session_hash(algorithm, secret, self.nonce, cnonce)

    def take_next_nonce(self, nonce: str) -> None:
        """Use the nonce of an Authentication-Info from now on (RFC 7616 §3.5)."""
        if nonce and nonce != self.nonce and not _has_controls(nonce):
            self.nonce, self.count = nonce, 0

    def next(self, method: str, uri: str, body: bytes = b"") -> Credentials:
        """The credentials of the next request, with its method, Request-URI and body."""
        self.count += 1
        nc = f"{self.count:08x}"
        digest = _response(
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
            ("response", quote(digest)),
            ("algorithm", self._algorithm),
        ]
        if self._qop or self._algorithm.endswith("-sess"):
            params.append(("cnonce", quote(self._cnonce)))
        if self._qop:
            params += [("qop", self._qop), ("nc", nc)]
        if self._opaque is not None:
            params.append(("opaque", quote(self._opaque)))
        return Credentials("Digest", tuple(params))


# Server


def challenge(
    realm: str, nonce: str, *, algorithm: str = "SHA-256", stale: bool = False
) -> Challenge:
    """One challenge; for old clients send one with SHA-256 and below it one with MD5."""
    params: list[tuple[str, str | None]] = [
        ("realm", quote(realm)),
        ("nonce", quote(nonce)),
        ("algorithm", algorithm),
        ("qop", '"auth"'),
    ]
    if stale:
        params.append(("stale", "true"))
    return Challenge("Digest", tuple(params))


def verify(
    credentials: Credentials,
    *,
    realm: str,
    nonce: str,
    method: str,
    uri: str,
    secret: Callable[[str, str], str | None],
    algorithms: Iterable[str] = ALGORITHMS,
    last_count: int = 0,
) -> Verdict:
    """
    Whether the credentials of a request are right.

    Args:
        credentials: As received.
        realm: Ours.
        nonce: The one that is valid now.
        method: Of the request.
        uri: Its Request-URI; a digest made for another one does not count.
        secret: From username and algorithm to `secret_hash`, None for nobody.
        algorithms: Those that were offered, so that nobody can choose a weaker one.
        last_count: The highest nonce count that was accepted with this nonce.
    """
    algorithm = _algorithm(credentials.params)
    count, cnonce = credentials.param("nc") or "", credentials.param("cnonce") or ""
    if (
        credentials.scheme.lower() != "digest"
        or algorithm is None
        or algorithm not in algorithms
        or credentials.param("realm") != realm
        or credentials.param("uri") != uri
        or (credentials.param("qop") or "").lower() != "auth"
        or not cnonce
        or not _is_count(count)
    ):
        return Verdict.WRONG
    known = secret(credentials.param("username") or "", algorithm)
    # An unknown user costs the same time as a known one with a wrong password.
    stored = known if known is not None else _hash(algorithm, nonce)
    shown_nonce = credentials.param("nonce") or ""
    expected = _response(
        algorithm,
        session_hash(algorithm, stored, shown_nonce, cnonce),
        nonce=shown_nonce,
        method=method,
        uri=uri,
        cnonce=cnonce,
        count=count,
        qop="auth",
    )
    shown = (credentials.param("response") or "").lower()
    right = hmac.compare_digest(_octets(expected), _octets(shown))
    if not right or known is None:
        return Verdict.WRONG
    if not hmac.compare_digest(_octets(shown_nonce), _octets(nonce)):
        return Verdict.STALE
    return Verdict.ACCEPTED if int(count, 16) > last_count else Verdict.REPLAYED


def _is_count(text: str) -> bool:
    return len(text) == 8 and all(letter in "0123456789abcdefABCDEF" for letter in text)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
