"""The rules of authentication: which credentials umd accepts, and which rights they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from umd.call.principal import Principal, Scope
from umd.http.addresses import Network, is_within
from umd.http.passwords import PasswordFile
from umd.http.tokens import TokenVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of authentication, as `[auth]` has them."""

    realm: str = "umd"
    """Name of the realm in WWW-Authenticate, which a browser shows."""
    passwords: PasswordFile | None = None
    verified_for: float = 300.0
    """Seconds for which a right password is not hashed again."""
    tokens: TokenVerifier | None = None
    subjects: Mapping[str, str] = field(default_factory=dict)
    """User names by the subject of a client certificate (RFC 4514)."""
    proxies: tuple[Network, ...] = ()
    """Networks of proxies that are trusted to name the user in `user_header`."""
    user_header: str = "x-forwarded-user"
    """Lower case."""
    scopes: Mapping[str, frozenset[Scope]] = field(default_factory=dict)
    """Rights by user name."""
    default_scopes: frozenset[Scope] = frozenset(
        {Scope.END_OWN, Scope.PLACE, Scope.SETTINGS}
    )
    """Rights of users that `scopes` does not name."""

    @property
    def trusts_local_clients(self) -> bool:
        """Whether a client on this machine may name the user in a header."""
        return any(is_within(address, self.proxies) for address in ("127.0.0.1", "::1"))

    def principal(self, name: str, address: str) -> Principal:
        """Return an authenticated user with the rights that the rules give."""
        return Principal(name, address, self.scopes.get(name, self.default_scopes))
