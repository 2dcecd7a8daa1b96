"""
Who is asking: certificate, trusted proxy, password or token; and what happens to wrong ones.

A password is hashed off the reactor thread, once: what was right is remembered for a while as a
keyed digest. A wrong one is answered late, the later the more there were from the same address for
the same name, and one after the other; so it costs who tries more than it costs umd, and nobody
else behind the same address notices.
"""

from __future__ import annotations

import base64
import hmac
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final, TypeAlias

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from umd.http.exchange import Reply, refusal
from umd.http.passwords import PasswordFile
from umd.http.tokens import Tokens
from umd.principal import Principal, Scope

FIRST_DELAY: Final = 0.25
"""Seconds before the first wrong attempt is answered; doubled with each further one."""
LONGEST_DELAY: Final = 4.0
FORGIVEN_AFTER: Final = 60.0
"""Seconds without a further wrong attempt until the count begins again."""
THREADS: Final = 2
MOST_HASHING: Final = 64
MOST_IN_LINE: Final = 32
"""Different passwords for one name from one address; further ones are put off."""
MOST_REMEMBERED: Final = 10_000

Found: TypeAlias = tuple[Principal, float]
"""Somebody, and until when by the clock they need not be looked at again."""
Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who is taken for whom."""

    realm: str = "umd"
    passwords: PasswordFile | None = None
    verified_for: float = 300.0
    """Seconds for which a password that was right is not hashed again."""
    tokens: Tokens | None = None
    subjects: Mapping[str, str] = field(default_factory=dict)
    """Names by the subject of a client certificate (RFC 4514)."""
    proxies: tuple[Network, ...] = ()
    """Where the user header is believed."""
    user_header: str = "x-forwarded-user"
    scopes: Mapping[str, frozenset[Scope]] = field(default_factory=dict)
    """By name."""
    default_scopes: frozenset[Scope] = frozenset(
        {Scope.END_OWN, Scope.PLACE, Scope.SETTINGS}
    )
    """Of everybody else."""


class _Attempts:
    """The wrong attempts from one address for one name."""

    __slots__ = ("count", "last", "lock")

    def __init__(self) -> None:
        self.count = 0
        self.last = 0.0
        self.lock = DeferredLock()
        """Held by the one whose password is looked at, until it is answered."""


class Identity:
    """
    Finds out who is asking.

    Args:
        rules: may be replaced while serving.
        reactor: for the delays, and the threads that hash.
        log: one line for the first wrong attempt of a series.
        busy: makes the answer for who has to come again later.
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
        """Counts the changes of rules: who was identified by older ones is asked again."""
        self._rules = rules
        self._reactor = reactor
        self._log = log
        self._busy = busy
        self._wall = wall
        self._key = os.urandom(32)
        self._right: dict[bytes, Found] = {}
        self._attempts: dict[tuple[str, str], _Attempts] = {}
        self._pool: ThreadPool | None = None
        self._hashing = 0
        self._checking: dict[bytes, dict[Deferred[Found | Reply], None]] = {}
        """Who waits for what is being checked, by the digest of it."""

    @property
    def rules(self) -> Rules:
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._rules = rules
        self._right.clear()
        self.generation += 1

    def stop(self) -> None:
        """Hash nothing more."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def identify(
        self,
        headers: Mapping[str, str],
        address: str,
        subject: str | None,
        repeated: Collection[str] = (),
    ) -> Found | Reply | Deferred[Found | Reply]:
        """
        Say who sends a request.

        Args:
            headers: of the request, by lower-case name.
            address: where it comes from.
            subject: of the client's certificate, which TLS has checked; None without.
            repeated: the names of header fields that came more than once.

        Returns:
            The principal, or the answer to who is none; maybe later.
        """
        rules = self._rules
        now = self._reactor.seconds()
        if subject is not None and subject in rules.subjects:
            return self._principal(rules.subjects[subject], address), now + rules.verified_for
        if rules.proxies and _within(address, rules.proxies):
            if rules.user_header in repeated:
                # One of them may be the client's own, which the proxy has let through.
                return refusal(400, f"There is more than one {rules.user_header}.")
            name = headers.get(rules.user_header, "")
            if name and name.isprintable() and len(name) <= 256:
                return self._principal(name, address), now + rules.verified_for
        credentials = headers.get("authorization")
        if credentials is None:
            return self._challenge()
        digest = hmac.digest(self._key, f"{address}\n{credentials}".encode(), "blake2b")
        known = self._right.get(digest)
        if known is not None:
            if known[1] > now:
                return known
            del self._right[digest]
        scheme, _, given = credentials.partition(" ")
        given = given.strip()
        if scheme.lower() == "basic" and rules.passwords is not None:
            return self._by_password(rules.passwords, given, address, digest)
        if scheme.lower() == "bearer" and rules.tokens is not None:
            found = self._by_token(rules.tokens, given, address, digest)
            return found or self._wrong("", address, "the token is not good")
        return self._wrong("", address, f"{scheme[:20]!r} is not offered")

    def _by_token(
        self, tokens: Tokens, given: str, address: str, digest: bytes
    ) -> Found | None:
        token = tokens.read(given)
        if token is None:
            return None
        principal = self._principal(token.name, address)
        if token.scopes is not None:
            named = {scope for scope in Scope if scope in token.scopes}
            principal = Principal(token.name, address, frozenset(named))
        left = min(token.expires - self._wall(), self._rules.verified_for)  # of the cache
        return self._remember(digest, principal, left)

    def _by_password(
        self, passwords: PasswordFile, given: str, address: str, digest: bytes
    ) -> Reply | Deferred[Found | Reply]:
        try:
            name, colon, password = base64.b64decode(given, validate=True).partition(b":")
            text = name.decode("utf-8")
        except ValueError:  # binascii.Error and UnicodeDecodeError are some too
            return self._wrong("", address, "the credentials are not base64 of UTF-8")
        if not colon or not text or not passwords.knows(text):
            return self._wrong(text, address, "no such name")
        waiting = self._checking.get(digest)
        if waiting is None:
            attempts = self._attempts_of(text, address)
            if len(attempts.lock.waiting) >= MOST_IN_LINE or self._hashing >= MOST_HASHING:
                return self._busy("Too many passwords are being checked.")
            waiting = self._checking[digest] = {}
            # Nobody who leaves ends it for the others who sent the same.
            _ = Deferred.fromCoroutine(
                self._check(passwords, text, password, address, digest, attempts)
            )
        there = waiting
        slot: Deferred[Found | Reply] = Deferred(lambda leaving: there.pop(leaving, None))
        there[slot] = None
        return slot

    async def _check(
        self,
        passwords: PasswordFile,
        name: str,
        password: bytes,
        address: str,
        digest: bytes,
        attempts: _Attempts,
    ) -> None:
        """Check a password, one after the other for a name and address; then tell who waits."""
        generation = self.generation
        await attempts.lock.acquire()
        found: Found | Reply
        try:
            right = await self._hash(passwords, name, password)
        except Exception:
            self._log.exception("auth.not-checked", principal=name[:256], address=address)
            found = self._busy("The password cannot be checked.")
        else:
            if generation != self.generation:
                found = self._busy("Who may ask has changed.")
            elif right:
                attempts.count = 0
                principal = self._principal(name, address)
                found = self._remember(digest, principal, self._rules.verified_for)
            else:
                # Not while it holds the lock: the right one must not wait behind the wrong ones.
                attempts.lock.release()
                found = await self._wrong(name, address, "the password is wrong")
                self._tell(digest, found)
                return
        attempts.lock.release()
        self._tell(digest, found)

    def _tell(self, digest: bytes, found: Found | Reply) -> None:
        for slot in self._checking.pop(digest):
            slot.callback(found)

    async def _hash(self, passwords: PasswordFile, name: str, password: bytes) -> bool:
        if self._pool is None:
            self._pool = ThreadPool(0, THREADS, "umd-passwords")
            self._pool.start()
        reactor: Any = self._reactor
        self._hashing += 1
        try:
            return bool(
                await deferToThreadPool(reactor, self._pool, passwords.verify, name, password)
            )
        finally:
            self._hashing -= 1

    # -- what comes of it

    def _principal(self, name: str, address: str) -> Principal:
        rules = self._rules
        return Principal(name, address, rules.scopes.get(name, rules.default_scopes))

    def _remember(self, digest: bytes, principal: Principal, seconds: float) -> Found:
        while len(self._right) >= MOST_REMEMBERED:
            del self._right[next(iter(self._right))]
        found = self._right[digest] = (principal, self._reactor.seconds() + seconds)
        return found

    def _challenge(self) -> Reply:
        """
        Ask who it is.

        Basic alone, where there are passwords: any other offer beside it breaks some clients, and
        so does a body that looks like XML. Where a request can say nothing that would be taken,
        there is nothing to ask for, which a 401 must (RFC 9110 section 15.5.2).
        """
        rules = self._rules
        if rules.passwords is not None:
            offer = f'Basic realm="{rules.realm}", charset="UTF-8"'
        elif rules.tokens is not None:
            offer = f'Bearer realm="{rules.realm}"'
        else:
            return refusal(403, "Come with a certificate, or by a proxy, that is known here.")
        return Reply(401, b"", "", {"WWW-Authenticate": offer})

    def _attempts_of(self, name: str, address: str) -> _Attempts:
        now = self._reactor.seconds()
        key = address, name
        attempts = self._attempts.get(key)
        if attempts is None:
            while len(self._attempts) >= MOST_REMEMBERED:
                del self._attempts[next(iter(self._attempts))]
            attempts = self._attempts[key] = _Attempts()
        elif attempts.count and now - attempts.last > FORGIVEN_AFTER:
            attempts.count = 0
        return attempts

    def _wrong(self, name: str, address: str, why: str) -> Deferred[Found | Reply]:
        """Count an attempt, and ask again after a while."""
        attempts = self._attempts_of(name[:256], address)
        attempts.count += 1
        attempts.last = self._reactor.seconds()
        if attempts.count == 1:
            self._log.warning("auth.failed", principal=name[:256], address=address, why=why)
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (attempts.count - 1))
        return deferLater(self._reactor, delay, self._challenge)


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(found in network for network in networks)
