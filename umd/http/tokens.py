"""Bearer tokens: JSON Web Tokens whose algorithm, audience and issuer are pinned (RFC 8725)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from umd.errors import UmdError


class WrongKey(UmdError):
    """The key of tokens cannot be used."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a good token says."""

    name: str
    expires: float
    """Seconds since the epoch."""
    scopes: tuple[str, ...] | None
    """As the token lists them; None where it lists none."""


class Tokens:
    """
    Reads tokens.

    Args:
        key: a public key in PEM, or the secret of an HS algorithm.
        algorithms: the only ones that are taken, whatever the token says.
        audience, issuer: that it must be for, and by.
        name_claim: where it says who it is about.
    """

    def __init__(
        self,
        key: bytes,
        algorithms: Sequence[str],
        audience: str,
        issuer: str,
        name_claim: str = "sub",
    ) -> None:
        secret = all(one.startswith("HS") for one in algorithms)
        if secret and len(key.strip()) < 32:
            raise WrongKey("the secret of tokens is shorter than 32 octets")
        if secret == key.lstrip().startswith(b"-----BEGIN"):
            # A public key that is taken for a secret lets everybody make tokens.
            raise WrongKey("a key in PEM goes with RS, ES, PS and EdDSA; a secret with HS")
        self._key: Any = key.strip()
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._name_claim = name_claim

    def read(self, token: str) -> Token | None:
        """What a token says, or None for one that is not good."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "aud", "iss", self._name_claim]},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        name = claims[self._name_claim]
        if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
            return None
        listed = claims.get("scope")
        if listed is None:
            scopes = None
        elif isinstance(listed, str):
            scopes = tuple(listed.split())
        elif isinstance(listed, list) and all(isinstance(one, str) for one in listed):
            scopes = tuple(listed)
        else:
            return None
        return Token(name, float(claims["exp"]), scopes)
