"""Bearer tokens: JSON Web Tokens whose algorithm, audience and issuer are pinned (RFC 8725)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from umd.call.principal import is_name
from umd.errors import UmdError


class WrongKey(UmdError):
    """The key of tokens cannot be used."""


class WrongToken(UmdError):
    """A token that is not good; the text says why, for the log."""

    def __init__(self, why: str, *, guess: bool) -> None:
        super().__init__(why)
        self.guess = guess
        """Whether somebody may have made it up in the hope that it is good."""


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

    def read(self, token: str) -> Token:
        """
        What a token says.

        Raises:
            WrongToken: no guess if it is not readable at all, or if its signature is good.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "aud", "iss", self._name_claim]},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
            raise WrongToken("the token is not signed as it should be", guess=True) from None
        except jwt.DecodeError:
            raise WrongToken("that is no JSON Web Token", guess=False) from None
        except jwt.ExpiredSignatureError:
            raise WrongToken("the token has expired", guess=False) from None
        except jwt.InvalidTokenError:
            # PyJWT looks at the claims after the signature.
            raise WrongToken("a claim of the token is missing or wrong", guess=False) from None
        except (jwt.PyJWTError, ValueError):
            raise WrongToken("the token is not good", guess=True) from None
        name = claims[self._name_claim]
        if not isinstance(name, str) or not is_name(name):
            raise WrongToken(f"{self._name_claim} of the token is no name", guess=False)
        listed = claims.get("scope")
        if listed is None:
            scopes = None
        elif isinstance(listed, str):
            scopes = tuple(listed.split())
        elif isinstance(listed, list) and all(isinstance(one, str) for one in listed):
            scopes = tuple(listed)
        else:
            raise WrongToken("scope of the token is neither text nor a list", guess=False)
        return Token(name, float(claims["exp"]), scopes)
