"""
Who is asking: certificate, trusted proxy, password or token; and what happens to wrong ones.

A password is hashed off the reactor thread, once: what was right, or wrong, is remembered for a
while as a keyed digest. New ones are hashed by turns (`umd.http.hashing_queue`), those that were
right before at once. Names that nobody has are hashed like others, so that none can be told from
them. A wrong one is answered late (`umd.http.failed_attempts`), which nobody else behind the same
address notices.

A request that cannot be a guess is logged and answered at once, and does not count: its scheme is
not offered (some clients try NTLM before Basic), its credentials cannot be read, or its token is
rightly signed but expired.
"""

from __future__ import annotations

import base64
import hmac
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from umd.call.principal import Principal, Scope, is_name
from umd.http.exchange import REQUEST_ID, Reply, refusal
from umd.http.failed_attempts import Attempts
from umd.http.hashing_queue import Turns
from umd.http.passwords import PasswordFile
from umd.http.rate_limited_log import network_of
from umd.http.tokens import Tokens, WrongToken

THREADS: Final = 2
"""One for whose turn it is, one for those who were right before."""
GIVE_WAY: Final = 5
"""Of those threads, in steps of nice: who is being served goes before, a first login gets on."""
MOST_HASHING: Final = 64
"""Of those who were right before; after a reload all of them come at once."""
WRONG_FOR: Final = 300.0
"""Seconds for which a password that was wrong is not hashed again."""
MOST_REMEMBERED: Final = 10_000
NEVER: Final = float("-inf")
SCHEMES: Final = frozenset(("basic", "bearer", "digest", "negotiate", "ntlm"))
"""What clients are known to try, in lower case."""
T = TypeVar("T")

Found: TypeAlias = tuple[Principal, float]
"""Somebody, and until when by the clock they need not be looked at again."""
Verdict: TypeAlias = "Found | Denied | Reply"
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

    @property
    def believes_this_machine(self) -> bool:
        """Whether what comes from loopback may say in a header who it is."""
        return any(_within(address, self.proxies) for address in ("127.0.0.1", "::1"))


@dataclass(frozen=True, slots=True)
class Denied:
    """Nobody, who is to be told so late; until then nothing of the request is needed."""

    reply: Reply
    delay: float
    """In seconds."""


class _Check:
    """A password that is being checked."""

    __slots__ = ("slots", "turn")

    def __init__(self) -> None:
        self.slots: dict[Deferred[Verdict], None] = {}
        """Of those who sent it."""
        self.turn: Deferred[None] | None = None
        """While it is waited for."""

    def wait(self) -> Deferred[Verdict]:
        """Fires with what comes of it; whoever leaves takes nobody along."""
        slot: Deferred[Verdict] = Deferred(self._leave)
        self.slots[slot] = None
        return slot

    def _leave(self, slot: Deferred[Verdict]) -> None:
        self.slots.pop(slot, None)
        if not self.slots and self.turn is not None:
            # Who only comes and goes costs no hash, and takes no room.
            self.turn.cancel()


class Identity:
    """
    Finds out who is asking.

    Args:
        rules: may be replaced while serving.
        reactor: for the delays, and the threads that hash.
        log: see `umd.http.failed_attempts.Attempts`.
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
        """By digest; those that must be looked at again stay, and are looked at first."""
        self._wrong_before: dict[bytes, float] = {}
        """By digest, until when."""
        self._attempts = Attempts(reactor, log)
        self._turns = Turns(reactor)
        self._pool: ThreadPool | None = None
        self._hashing = 0
        self._checking: dict[bytes, _Check] = {}
        """By digest."""
        # Unique across restarts, like those of the requests that are served.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))

    @property
    def rules(self) -> Rules:
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self._rules = rules
        self._right = {digest: (who, NEVER) for digest, (who, _) in self._right.items()}
        self._wrong_before.clear()
        self.generation += 1

    def stop(self) -> None:
        """Hash nothing more."""
        self._turns.stop()
        self._attempts.stop()
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def identify(
        self,
        headers: Mapping[str, str],
        address: str,
        subject: str | None,
        repeated: Collection[str] = (),
    ) -> Verdict | Deferred[Verdict]:
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
            name = _as_utf8(headers.get(rules.user_header, ""))
            if is_name(name):
                return self._principal(name, address), now + rules.verified_for
        credentials = headers.get("authorization")
        if credentials is None:
            return self._challenge()
        scheme, _, given = credentials.partition(" ")
        scheme, given = scheme.lower(), given.strip()
        said = f"{address}\n{scheme} {given}"
        digest = hmac.digest(self._key, said.encode(), "blake2b")
        known = self._right.get(digest)
        if known is not None and known[1] > now:
            return known
        if scheme == "basic" and rules.passwords is not None:
            return self._by_password(rules.passwords, given, address, digest)
        if scheme == "bearer" and rules.tokens is not None:
            return self._by_token(rules.tokens, given, address, digest)
        named = scheme if scheme in SCHEMES else "this scheme"  # which may be a bare password
        return self._no_guess(address, f"{named} is not offered")

    def _by_token(self, tokens: Tokens, given: str, address: str, digest: bytes) -> Verdict:
        try:
            token = tokens.read(given)
        except WrongToken as wrong:
            if wrong.guess:
                return self._wrong("", address, str(wrong))
            return self._no_guess(address, str(wrong))
        principal = self._principal(token.name, address)
        if token.scopes is not None:
            named = {scope for scope in Scope if scope in token.scopes}
            principal = Principal(token.name, address, frozenset(named))
        left = min(token.expires - self._wall(), self._rules.verified_for)  # of the cache
        return self._remember(digest, principal, left)

    def _by_password(
        self, passwords: PasswordFile, given: str, address: str, digest: bytes
    ) -> Denied | Reply | Deferred[Verdict]:
        try:
            name, colon, password = base64.b64decode(given, validate=True).partition(b":")
            text = name.decode("utf-8")
        except ValueError:  # binascii.Error and UnicodeDecodeError are some too
            return self._no_guess(address, "the credentials are not base64 of UTF-8")
        if not colon or not text:
            return self._no_guess(address, "the credentials are not NAME:PASSWORD")
        if self._wrong_before.get(digest, NEVER) > self._reactor.seconds():
            return self._wrong(text, address, "the password is still wrong", again=True)
        check = self._checking.get(digest)
        if check is not None:
            return check.wait()
        if digest in self._right:
            room = self._hashing < MOST_HASHING
        else:
            room = self._turns.has_room(network_of(address), text)
        if not room:
            return self._busy("Too many passwords are being checked.")
        check = self._checking[digest] = _Check()
        slot = check.wait()
        _ = Deferred.fromCoroutine(self._check(passwords, text, password, address, digest))
        return slot

    async def _check(
        self, passwords: PasswordFile, name: str, password: bytes, address: str, digest: bytes
    ) -> None:
        """Check a password when it is its turn; then tell who waits."""
        generation = self.generation
        verdict: Verdict
        check = self._checking[digest]
        by_turns = digest not in self._right
        if by_turns:
            check.turn = self._turns.wait(network_of(address), name)
            try:
                await check.turn
            except CancelledError:
                del self._checking[digest]
                return
            finally:
                check.turn = None
        took = 0.0
        try:
            began = self._reactor.seconds()
            right = await self._hash(passwords, name, password)
        except Exception:
            self._log.exception("auth.not-checked", principal=name[:256], address=address)
            verdict = self._busy("The password cannot be checked.")
        else:
            if generation != self.generation:
                verdict = self._busy("Who may ask has changed.")
            elif right:
                self._attempts.right(name, address)
                principal = self._principal(name, address)
                verdict = self._remember(digest, principal, self._rules.verified_for)
            else:
                took = self._reactor.seconds() - began
                self._right.pop(digest, None)
                _keep(self._wrong_before, digest, self._reactor.seconds() + WRONG_FOR)
                known = passwords.knows(name)
                why = "the password is wrong" if known else "no such name"
                verdict = self._wrong(name, address, why)
        # Late answers are waited for elsewhere: the right one must not wait behind the wrong ones.
        if by_turns:
            self._turns.done(took)
        del self._checking[digest]
        for slot in list(check.slots):
            slot.callback(verdict)

    async def _hash(self, passwords: PasswordFile, name: str, password: bytes) -> bool:
        if self._pool is None:
            self._pool = ThreadPool(0, THREADS, "umd-passwords")
            self._pool.start()
        reactor: Any = self._reactor
        self._hashing += 1
        try:
            hashed = deferToThreadPool(
                reactor, self._pool, _nicely, passwords.verify, name, password
            )
            return bool(await hashed)
        finally:
            self._hashing -= 1

    # -- what comes of it

    def _principal(self, name: str, address: str) -> Principal:
        rules = self._rules
        return Principal(name, address, rules.scopes.get(name, rules.default_scopes))

    def _remember(self, digest: bytes, principal: Principal, seconds: float) -> Found:
        found = principal, self._reactor.seconds() + seconds
        _keep(self._right, digest, found)
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

    def _no_guess(self, address: str, why: str) -> Reply:
        """Ask again, at once: no secret was tried."""
        request_id = next(self._request_ids)
        self._attempts.no_guess(address, why, request_id)
        return self._ask_again(request_id)

    def _wrong(self, name: str, address: str, why: str, *, again: bool = False) -> Denied:
        """Count an attempt, and ask again after a while."""
        request_id = next(self._request_ids)
        delay = self._attempts.wrong(name, address, why, request_id, again=again)
        return Denied(self._ask_again(request_id), delay)

    def _ask_again(self, request_id: str) -> Reply:
        asked = self._challenge()
        return replace(asked, headers={**asked.headers, REQUEST_ID: request_id})


def _keep(kept: dict[bytes, T], digest: bytes, value: T) -> None:
    """Remember what is of use for a while, the latest at the end, and not too much."""
    kept.pop(digest, None)
    while len(kept) >= MOST_REMEMBERED:
        del kept[next(iter(kept))]
    kept[digest] = value


def _nicely(verify: Callable[[str, bytes], bool], name: str, password: bytes) -> bool:
    """Hash without taking the processor from those who are being served."""
    # On Linux, a priority is that of a thread, and its threads begin with it.
    thread = threading.get_native_id()
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + GIVE_WAY)
    if os.getpriority(os.PRIO_PROCESS, thread) < wanted:
        os.setpriority(os.PRIO_PROCESS, thread, wanted)
    return verify(name, password)


def _as_utf8(value: str) -> str:
    """A header's value, whose octets are kept as Latin-1, in UTF-8 where that is what they are."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _within(address: str, networks: Iterable[Network]) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(found in network for network in networks)
