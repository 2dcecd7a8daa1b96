"""
Authenticates requests by client certificate, trusted proxy, password or bearer token.

A password is hashed once, off the reactor thread. The result, right or wrong, is remembered for a
while under a keyed digest of the credentials. A name without an account is hashed like any other,
so that the time of a response does not say which names exist. The response to a wrong password is
delayed (`umd.http.failed_attempts`), which does not delay other users behind the same address.

Credentials that cannot be a guess get their response at once and do not count as failed: those of a
scheme that umd does not offer (some clients try NTLM before Basic), those that are not readable,
and tokens with a good signature that have expired.
"""

from __future__ import annotations

import base64
import hmac
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import count
from typing import Final, TypeVar
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from umd.call.principal import Principal, Scope, is_valid_name
from umd.http.addresses import is_within
from umd.http.exchange import REQUEST_ID, Reply, refusal
from umd.http.failed_attempts import FailedAttempts
from umd.http.password_check import PasswordChecker
from umd.http.passwords import PasswordFile
from umd.http.rules import Rules
from umd.http.tokens import InvalidToken, TokenVerifier
from umd.http.verdict import Authenticated, Denied, Verdict

WRONG_FOR: Final = 300.0
"""Seconds for which a wrong password is not hashed again."""
MAX_REMEMBERED: Final = 10_000
"""Credentials that are remembered as right, and as many as wrong."""
_LONG_AGO: Final = float("-inf")
KNOWN_SCHEMES: Final = frozenset(("basic", "bearer", "digest", "negotiate", "ntlm"))
"""Lower-case names of authentication schemes that may be logged. Others may be a bare password."""
T = TypeVar("T")


class Authenticator:
    """
    Finds out which principal sends a request.

    Args:
        rules: may be replaced while serving.
        reactor: for the delays, and for the threads that hash.
        log: receives failed attempts.
        busy: makes the reply of a client that has to come again later, from a reason.
        wall: returns seconds since the epoch, for the expiry of tokens.
    """

    def __init__(
        self,
        rules: Rules,
        reactor: IReactorTime,
        log: FilteringBoundLogger,
        busy: Callable[[str], Reply],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.generation = 0
        """Counts changes of the rules. A principal of an earlier generation is not valid."""
        self._rules = rules
        self._reactor = reactor
        self._busy = busy
        self._wall = wall
        self._key = os.urandom(32)
        self._right: dict[bytes, Authenticated] = {}
        """
        Principals by the digest of right credentials. Those that are over stay: their password need
        not wait behind guesses.
        """
        self._wrong_until: dict[bytes, float] = {}
        """By the digest of wrong credentials."""
        self._attempts = FailedAttempts(reactor, log)
        self._passwords = PasswordChecker(reactor, log)
        # Unique across restarts, as are the ids of requests that are served.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))

    @property
    def rules(self) -> Rules:
        """The rules; to set them has each client authenticated again."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._rules = rules
        self._right = {
            digest: (principal, _LONG_AGO) for digest, (principal, _) in self._right.items()
        }
        self._wrong_until.clear()
        self.generation += 1

    def stop(self) -> None:
        """Start no more hashes, and write the counts of the log."""
        self._passwords.stop()
        self._attempts.stop()

    def authenticate(
        self,
        headers: Mapping[str, str],
        address: str,
        certificate_subject: str | None,
        repeated: Collection[str] = (),
    ) -> Verdict | Deferred[Verdict]:
        """
        Authenticate a request.

        Args:
            headers: of the request, by lower-case name.
            address: IP address of the client.
            certificate_subject: of the client's certificate, which TLS has verified; None without.
            repeated: lower-case names of header fields that came more than once.

        Returns:
            The principal, or the reply for a client that is not authenticated; maybe later.
        """
        rules = self._rules
        if certificate_subject is not None and certificate_subject in rules.subjects:
            return self._authenticated(rules.subjects[certificate_subject], address)
        if rules.proxies and is_within(address, rules.proxies):
            if rules.user_header in repeated:
                # One of them may come from the client, and the proxy has let it through.
                return refusal(400, f"There is more than one {rules.user_header}.")
            name = _as_utf8(headers.get(rules.user_header, ""))
            if is_valid_name(name):
                return self._authenticated(name, address)
        credentials = headers.get("authorization")
        if credentials is None:
            return self._challenge()
        return self._by_credentials(credentials, address)

    def _by_credentials(self, credentials: str, address: str) -> Verdict | Deferred[Verdict]:
        rules = self._rules
        scheme, _, parameter = credentials.partition(" ")
        scheme, parameter = scheme.lower(), parameter.strip()
        normal_form = f"{address}\n{scheme} {parameter}"
        digest = hmac.digest(self._key, normal_form.encode(), "blake2b")
        known = self._right.get(digest)
        if known is not None and known[1] > self._reactor.seconds():
            return known
        if scheme == "basic" and rules.passwords is not None:
            return self._by_password(rules.passwords, parameter, address, digest)
        if scheme == "bearer" and rules.tokens is not None:
            return self._by_token(rules.tokens, parameter, address, digest)
        shown = scheme if scheme in KNOWN_SCHEMES else "this scheme"
        return self._unreadable(address, f"{shown} is not offered")

    # -- tokens

    def _by_token(
        self, tokens: TokenVerifier, encoded: str, address: str, digest: bytes
    ) -> Verdict:
        try:
            token = tokens.verify(encoded)
        except InvalidToken as invalid:
            if invalid.may_be_guess:
                return self._denied("", address, str(invalid))
            return self._unreadable(address, str(invalid))
        principal = self._rules.principal(token.name, address)
        if token.scopes is not None:
            scopes = frozenset(scope for scope in Scope if scope in token.scopes)
            principal = Principal(token.name, address, scopes)
        seconds = min(token.expires - self._wall(), self._rules.verified_for)
        return self._remember(digest, principal, seconds)

    # -- passwords

    def _by_password(
        self, passwords: PasswordFile, encoded: str, address: str, digest: bytes
    ) -> Verdict | Deferred[Verdict]:
        try:
            octets, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
            name = octets.decode("utf-8")
        except ValueError:  # includes binascii.Error and UnicodeDecodeError
            return self._unreadable(address, "the credentials are not base64 of UTF-8")
        if not colon or not name:
            return self._unreadable(address, "the credentials are not NAME:PASSWORD")
        if self._wrong_until.get(digest, _LONG_AGO) > self._reactor.seconds():
            return self._denied(name, address, "the password is still wrong", repeated=True)
        running = self._passwords.join(digest)
        if running is not None:
            return running
        right_before = digest in self._right
        if not self._passwords.has_room(address, name, right_before=right_before):
            return self._busy("Too many passwords are being checked.")
        generation = self.generation

        def conclude(right: bool | None) -> Verdict:
            if right is None:
                return self._busy("The password cannot be checked.")
            if generation != self.generation:
                return self._busy("The users have changed.")
            if right:
                return self._right_password(name, address, digest)
            why = "the password is wrong" if passwords.knows(name) else "no such name"
            return self._wrong_password(name, address, digest, why)

        return self._passwords.check(
            passwords,
            name,
            password,
            address,
            digest,
            right_before=right_before,
            conclude=conclude,
        )

    def _right_password(self, name: str, address: str, digest: bytes) -> Authenticated:
        self._attempts.succeeded(name, address)
        principal = self._rules.principal(name, address)
        return self._remember(digest, principal, self._rules.verified_for)

    def _wrong_password(self, name: str, address: str, digest: bytes, why: str) -> Denied:
        self._right.pop(digest, None)
        _keep(self._wrong_until, digest, self._reactor.seconds() + WRONG_FOR)
        return self._denied(name, address, why)

    # -- verdicts

    def _authenticated(self, name: str, address: str) -> Authenticated:
        until = self._reactor.seconds() + self._rules.verified_for
        return self._rules.principal(name, address), until

    def _remember(self, digest: bytes, principal: Principal, seconds: float) -> Authenticated:
        authenticated = principal, self._reactor.seconds() + seconds
        _keep(self._right, digest, authenticated)
        return authenticated

    def _challenge(self) -> Reply:
        """
        Ask for credentials.

        If there are passwords, umd offers Basic alone: a second offer breaks some clients, and so
        does a body that looks like XML. If no credentials in a request could help, the reply is
        403, as a 401 must offer a scheme (RFC 9110 section 15.5.2).
        """
        rules = self._rules
        if rules.passwords is not None:
            offer = f'Basic realm="{rules.realm}", charset="UTF-8"'
        elif rules.tokens is not None:
            offer = f'Bearer realm="{rules.realm}"'
        else:
            return refusal(403, "Use a client certificate, or a proxy, that umd knows.")
        return Reply(401, b"", "", {"WWW-Authenticate": offer})

    def _unreadable(self, address: str, why: str) -> Reply:
        """Log credentials that cannot be a guess, and ask again at once."""
        request_id = next(self._request_ids)
        self._attempts.unreadable(address, why, request_id)
        return self._challenge_with_id(request_id)

    def _denied(self, name: str, address: str, why: str, *, repeated: bool = False) -> Denied:
        """Count a failed attempt, and ask again after a delay."""
        request_id = next(self._request_ids)
        delay = self._attempts.failed(name, address, why, request_id, repeated=repeated)
        return Denied(self._challenge_with_id(request_id), delay)

    def _challenge_with_id(self, request_id: str) -> Reply:
        challenge = self._challenge()
        return replace(challenge, headers={**challenge.headers, REQUEST_ID: request_id})


def _keep(remembered: dict[bytes, T], digest: bytes, value: T) -> None:
    """Put a value at the end, and forget the oldest if there are too many."""
    remembered.pop(digest, None)
    while len(remembered) >= MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
    remembered[digest] = value


def _as_utf8(value: str) -> str:
    """Decode a header value as UTF-8 if its octets, kept as Latin-1, are valid UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
