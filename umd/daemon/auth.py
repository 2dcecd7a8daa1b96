"""Makes the rules of authentication from `[auth]` and the files that it names."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from umd.call.principal import Scope
from umd.config.sections import AuthSection, TokenSection
from umd.errors import UmdError
from umd.http.passwords import PasswordFile
from umd.http.rules import Rules
from umd.http.tokens import InvalidKey, TokenVerifier
from umd.runtime.files import CannotRead, read_file

MAX_KEY_FILE_OCTETS: Final = 1 << 20


class UnusableKeyFile(UmdError):
    """The key file of `[auth.token]` cannot be used; the text names the file and the reason."""


def make_rules(auth: AuthSection) -> Rules:
    """
    Make the rules of authentication. Reads the password file and the key of tokens.

    Raises:
        UmdError: a file cannot be used.
    """
    return Rules(
        realm=auth.realm,
        passwords=None if auth.password_file is None else PasswordFile.read(auth.password_file),
        verified_for=auth.verified_for,
        tokens=None if auth.token.key_file is None else make_token_verifier(auth.token),
        subjects=auth.subjects,
        proxies=tuple(map(ip_network, auth.trusted_proxies)),
        user_header=auth.user_header.lower(),
        scopes={name: frozenset(map(Scope, scopes)) for name, scopes in auth.scopes.items()},
        default_scopes=frozenset(map(Scope, auth.default_scopes)),
    )


def make_token_verifier(token: TokenSection) -> TokenVerifier:
    """
    Read the key file of `[auth.token]`, which must name one.

    Raises:
        UnusableKeyFile
    """
    path = token.key_file
    assert path is not None
    issuer = token.issuer or ""  # the configuration demands it beside a key file
    try:
        key = read_file(path, MAX_KEY_FILE_OCTETS)
        return TokenVerifier(key, token.algorithms, token.audience, issuer, token.name_claim)
    except (CannotRead, InvalidKey) as error:
        raise UnusableKeyFile(f"{path}: {error}") from None
