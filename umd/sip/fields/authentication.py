"""
The header fields of authentication: challenges and credentials (RFC 3261 §22).

A challenge is a WWW-Authenticate or Proxy-Authenticate, credentials are an Authorization or
Proxy-Authorization. `umd.sip.auth` computes the digest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from umd.sip.fields.params import MAX_PARAMS, Params, param
from umd.sip.fields.syntax import QUOTED, FieldError, check_effort, excerpt
from umd.sip.names import TOKEN

_Pairs: TypeAlias = list[tuple[str, str | None]]
"""Parameters while they are read: name in lower case, value as written or None."""

_scheme: Final = re.compile(rf"({TOKEN})[ \t]+", re.DOTALL).match
_param: Final = re.compile(
    rf"[ \t]*({TOKEN})[ \t]*=[ \t]*({QUOTED}|[^\s,\"=]+=*)[ \t]*(,|$)", re.DOTALL
).match
# A parameter, or a word without a value: the scheme of the next challenge.
_param_or_scheme: Final = re.compile(
    rf"({TOKEN})(?:[ \t]*=[ \t]*({QUOTED}|[^\s,\"]*))?(?=[ \t,]|$)", re.DOTALL
).match
_separators: Final = re.compile(r"[ \t,]*").match
_unreadable: Final = re.compile(rf'[^",]*(?:{QUOTED}[^",]*)*', re.DOTALL).match
_NEEDED_TO_ANSWER: Final = frozenset(("realm", "nonce", "opaque", "stale", "algorithm", "qop"))
_DIGEST_PARAMS: Final = _NEEDED_TO_ANSWER | {"domain", "charset", "userhash"}


class CredentialsError(FieldError):
    """A text is neither a challenge nor credentials."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server's request for credentials (RFC 3261 §20.27, §20.44)."""

    scheme: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """Parse one challenge. Raises: CredentialsError."""
        return cls(*_parse(text))

    def __str__(self) -> str:
        return _write(self.scheme, self.params)

    def param(self, name: str) -> str | None:
        """Return the value of a parameter without its quotes, or None."""
        return param(self.params, name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's answer to a challenge (RFC 3261 §20.7, §20.28)."""

    scheme: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """Parse credentials. Raises: CredentialsError."""
        return cls(*_parse(text))

    def __str__(self) -> str:
        return _write(self.scheme, self.params)

    def param(self, name: str) -> str | None:
        """Return the value of a parameter without its quotes, or None."""
        return param(self.params, name)


def _parse(text: str) -> tuple[str, Params]:
    match = _scheme(text)
    if match is None:
        raise CredentialsError(f"{excerpt(text)} names no scheme")
    check_effort(text, CredentialsError)
    scheme, at = match.group(1), match.end()
    pairs: _Pairs = []
    while at < len(text):
        item = _param(text, at)
        if item is None or len(pairs) == MAX_PARAMS:
            raise CredentialsError(f"parameters of {scheme} are not a list of name=value")
        pairs.append((item.group(1).lower(), item.group(2)))
        at = item.end()
    names = {name for name, _ in pairs}
    if not pairs or len(names) != len(pairs):
        raise CredentialsError(f"parameters of {scheme} are missing or repeated")
    return scheme, tuple(pairs)


def _write(scheme: str, params: Params) -> str:
    return f"{scheme} " + ", ".join([f"{name}={value}" for name, value in params])


def parse_challenges(text: str) -> list[Challenge]:
    """
    Return the readable challenges in one WWW-Authenticate or Proxy-Authenticate value, in order.

    RFC 3261 allows one challenge in a value. HTTP, and so some servers, allow several with commas
    between them, and a scheme without parameters (RFC 9110 §11.6.1). These are skipped: a part that
    is not a parameter, a challenge with two values of a parameter that its answer needs, and all
    text after a quotation mark that is not closed.
    """
    try:
        check_effort(text, CredentialsError)
    except CredentialsError:
        return []
    challenges: list[tuple[str, _Pairs]] = []
    at = _end_of(_separators, text, 0)
    while at < len(text):
        item = _param_or_scheme(text, at)
        if item is not None:
            at = item.end()
            _add_item(challenges, item.group(1), item.group(2), text[at : at + 1])
        else:
            at = _end_of(_unreadable, text, at)
            if text[at : at + 1] == '"':
                del challenges[-1:]  # some of its parameters may be in the unreadable rest
                break
        at = _end_of(_separators, text, at)
    return [
        Challenge(scheme, tuple(pairs))
        for scheme, pairs in challenges
        if len(pairs) <= MAX_PARAMS and not _has_conflict(pairs)
    ]


def _add_item(
    challenges: list[tuple[str, _Pairs]], name: str, value: str | None, next_character: str
) -> None:
    """Add a parameter to the last challenge, or begin the next challenge."""
    pairs = challenges[-1][1] if challenges else None
    if value is not None:
        if pairs is not None:  # a parameter before any scheme is skipped
            pairs.append((name.lower(), value))
    elif pairs and name.lower() in _DIGEST_PARAMS:
        pairs.append((name.lower(), None))
    elif pairs and next_character in (",", "") and _is_unquoted_list(*pairs[-1]):
        pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{name}")
    else:
        challenges.append((name, []))


def _is_unquoted_list(name: str, value: str | None) -> bool:
    """Whether this is the `qop=auth` of `qop=auth,auth-int`, which should have quotes."""
    return name == "qop" and value is not None and not value.startswith('"')


def _has_conflict(pairs: _Pairs) -> bool:
    """Whether a parameter that the answer needs has two different values."""
    needed = {pair for pair in pairs if pair[0] in _NEEDED_TO_ANSWER}
    return len(needed) != len({name for name, _ in needed})


def _end_of(match: Callable[[str, int], re.Match[str] | None], text: str, at: int) -> int:
    """Return where a match that may be empty ends."""
    result = match(text, at)
    return at if result is None else result.end()
