"""From the settings `[auth]` to what the HTTP front asks: files are read here."""

from __future__ import annotations

from ipaddress import ip_network

from umd.call.principal import Scope
from umd.config.sections import AuthSection, TokenSection
from umd.errors import UmdError
from umd.http.passwords import PasswordFile
from umd.http.rules import Rules
from umd.http.tokens import InvalidKey, TokenVerifier
from umd.runtime.files import CannotRead, read_file


class CannotIdentify(UmdError):
    """A file that tells who is who cannot be used."""


def make_rules(auth: AuthSection) -> Rules:
    """
    Read what `[auth]` names.

    Raises:
        UmdError: a file cannot be used.
    """
    return Rules(
        realm=auth.realm,
        passwords=None if auth.password_file is None else PasswordFile.read(auth.password_file),
        verified_for=auth.verified_for,
        tokens=None if auth.token.key_file is None else read_tokens(auth.token),
        subjects=auth.subjects,
        proxies=tuple(ip_network(one) for one in auth.trusted_proxies),
        user_header=auth.user_header.lower(),
        scopes={name: frozenset(map(Scope, scopes)) for name, scopes in auth.scopes.items()},
        default_scopes=frozenset(map(Scope, auth.default_scopes)),
    )


def read_tokens(token: TokenSection) -> TokenVerifier:
    """
    Read the key of `[auth.token]`, which has one.

    Raises:
        CannotIdentify
    """
    key_file = token.key_file
    assert key_file is not None
    issuer = token.issuer or ""  # which goes with key_file
    try:
        return TokenVerifier(
            _read(key_file), token.algorithms, token.audience, issuer, token.name_claim
        )
    except InvalidKey as error:
        raise CannotIdentify(f"{key_file}: {error}") from None


def _read(path: str) -> bytes:
    try:
        return read_file(path, 1 << 20)
    except CannotRead as error:
        raise CannotIdentify(f"{path}: {error}") from None
