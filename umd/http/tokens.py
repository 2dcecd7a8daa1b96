"""Verifies bearer tokens: JSON Web Tokens with pinned algorithm, audience and issuer (RFC 8725)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from umd.call.principal import is_valid_name
from umd.errors import UmdError

MIN_SECRET_OCTETS: Final = 32
"""Of an HMAC secret: as long as the hash of HS256 (RFC 7518 section 3.2)."""


class InvalidKey(UmdError):
    """The key for tokens cannot be used."""


class InvalidToken(UmdError):
    """A token that umd does not accept; the text is the reason for the log."""

    def __init__(self, why: str, *, may_be_guess: bool) -> None:
        super().__init__(why)
        self.may_be_guess = may_be_guess
        """Whether the client may have forged the token; counts as a failed attempt."""


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a valid token."""

    name: str
    """The user."""
    expires: float
    """Seconds since the epoch."""
    scopes: tuple[str, ...] | None
    """Rights that the token lists; None if it has no such claim."""


class TokenVerifier:
    """
    Verifies tokens.

    Args:
        key: a public key in PEM, or the secret of an HS algorithm.
        algorithms: the accepted ones; the token itself has no say.
        audience: required value of the claim `aud`.
        issuer: required value of the claim `iss`.
        name_claim: the claim with the name of the user.

    Raises:
        InvalidKey: the key is too short, or does not go with the algorithms.
    """

    def __init__(
        self,
        key: bytes,
        algorithms: Sequence[str],
        audience: str,
        issuer: str,
        name_claim: str = "sub",
    ) -> None:
        is_secret = all(algorithm.startswith("HS") for algorithm in algorithms)
        if is_secret and len(key.strip()) < MIN_SECRET_OCTETS:
            raise InvalidKey(f"the secret of tokens is shorter than {MIN_SECRET_OCTETS} octets")
        if is_secret == key.lstrip().startswith(b"-----BEGIN"):
            # With a public key as the secret, every client could make valid tokens.
            raise InvalidKey("a key in PEM goes with RS, ES, PS and EdDSA; a secret with HS")
        self._key: Any = key.strip()
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._name_claim = name_claim

    def verify(self, token: str) -> Token:
        """
        Verify a token and return its claims.

        Raises:
            InvalidToken: `may_be_guess` is False if it is no token at all, or has a good signature.
        """
        claims = self._decode(token)
        name = claims[self._name_claim]
        if not isinstance(name, str) or not is_valid_name(name):
            raise InvalidToken(f"{self._name_claim} of the token is no name", may_be_guess=False)
        return Token(name, float(claims["exp"]), _scopes(claims.get("scope")))

    def _decode(self, token: str) -> dict[str, Any]:
        import jwt  # here, as umd starts faster without it, and most configurations have no tokens

        try:
            return jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp", "aud", "iss", self._name_claim]},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
            raise InvalidToken(
                "the token is not signed as it should be", may_be_guess=True
            ) from None
        except jwt.DecodeError:
            raise InvalidToken("that is no JSON Web Token", may_be_guess=False) from None
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired", may_be_guess=False) from None
        except jwt.InvalidTokenError:
            # PyJWT checks the claims after the signature.
            raise InvalidToken(
                "a claim of the token is missing or wrong", may_be_guess=False
            ) from None
        except (jwt.PyJWTError, ValueError):
            raise InvalidToken("the token is not valid", may_be_guess=True) from None


def _scopes(claim: object) -> tuple[str, ...] | None:
    """Return the rights in the claim `scope`: text with spaces (RFC 8693), or a list."""
    if claim is None:
        return None
    if isinstance(claim, str):
        return tuple(claim.split())
    if isinstance(claim, list) and all(isinstance(scope, str) for scope in claim):
        return tuple(claim)
    raise InvalidToken("scope of the token is neither text nor a list", may_be_guess=False)
