"""
Digest authentication, both ends (RFC 3261 §22, RFC 7616, RFC 8760).

MD5 and SHA-256, each also as -sess, with qop=auth; the client also answers a challenge without qop
(RFC 2069), since old registrars send that. Nonces and cnonces are handed in. To try at most once
for each challenge is the caller's: whoever answers the same challenge again asks to be locked out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from umd.errors import UmdError
from umd.sip.fields import Challenge, Credentials, Params, has_param, quote

_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}
ALGORITHMS: Final = ("SHA-256", "SHA-256-sess", "MD5", "MD5-sess")
"""In the order of preference (RFC 8760 §2.3)."""
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
    text = ":".join(parts).encode("utf-8", "surrogateescape")
    return _HASHES[algorithm.removesuffix("-sess")](text)


def secret_hash(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(A1) without a session's share: what a server may store instead of the password."""
    return _hash(algorithm, username, realm, password)


def _response(
    algorithm: str,
    secret: str,
    *,
    nonce: str,
    method: str,
    uri: str,
    cnonce: str = "",
    count: str = "",
) -> str:
    """The digest (RFC 7616 §3.4.1); with `count` as for qop=auth, without as RFC 2069 has it."""
    if algorithm.endswith("-sess"):
        secret = _hash(algorithm, secret, nonce, cnonce)
    request = _hash(algorithm, method, uri)
    if not count:
        return _hash(algorithm, secret, nonce, request)
    return _hash(algorithm, secret, nonce, count, cnonce, "auth", request)


# Client


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """
    The challenge to answer: the first that we can.

    The server lists them in its order of preference and the client takes the topmost it supports
    (RFC 8760 §2.4).
    """
    return next((challenge for challenge in challenges if _can_answer(challenge)), None)


def _can_answer(challenge: Challenge) -> bool:
    return (
        challenge.scheme.lower() == "digest"
        and _algorithm(challenge.params) is not None
        and challenge.param("realm") is not None
        and bool(challenge.param("nonce"))
        and (not has_param(challenge.params, "qop") or "auth" in _qops(challenge))
    )


def _qops(challenge: Challenge) -> list[str]:
    return [word.strip().lower() for word in (challenge.param("qop") or "").split(",")]


def respond(
    challenge: Challenge,
    *,
    username: str,
    password: str,
    method: str,
    uri: str,
    cnonce: str,
    count: int = 1,
) -> Credentials:
    """
    The credentials that answer a challenge.

    Args:
        challenge: One that `choose` gave.
        username: As the server knows it.
        password: Is not kept.
        method: Of the request that will carry them.
        uri: Its Request-URI.
        cnonce: Random; a new one for each challenge.
        count: How often this nonce has been used with this request included.

    Raises:
        AuthError: it cannot be answered.
    """
    algorithm = _algorithm(challenge.params)
    if algorithm is None or not _can_answer(challenge):
        raise AuthError(f"{challenge.scheme} challenge with nothing that umd can answer")
    realm, nonce = challenge.param("realm") or "", challenge.param("nonce") or ""
    with_qop = has_param(challenge.params, "qop")
    nc = f"{count:08x}" if with_qop else ""
    digest = _response(
        algorithm,
        secret_hash(algorithm, username, realm, password),
        nonce=nonce,
        method=method,
        uri=uri,
        cnonce=cnonce,
        count=nc,
    )
    params: list[tuple[str, str | None]] = [
        ("username", quote(username)),
        ("realm", quote(realm)),
        ("nonce", quote(nonce)),
        ("uri", quote(uri)),
        ("response", quote(digest)),
        ("algorithm", algorithm),
    ]
    if with_qop or algorithm.endswith("-sess"):
        params.append(("cnonce", quote(cnonce)))
    if with_qop:
        params += [("qop", "auth"), ("nc", nc)]
    if (opaque := challenge.param("opaque")) is not None:
        params.append(("opaque", quote(opaque)))
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
        algorithm, stored, nonce=shown_nonce, method=method, uri=uri, cnonce=cnonce, count=count
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
