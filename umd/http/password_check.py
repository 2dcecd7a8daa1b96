"""Checks passwords in threads: each at most once at a time, and unknown ones through a queue."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from umd.http.addresses import network_of
from umd.http.hashing_queue import HashingQueue
from umd.http.passwords import PasswordFile
from umd.http.verdict import Denied, Verdict

HASHING_THREADS: Final = 2
"""One for the password whose turn it is, one for passwords that were right before."""
NICENESS: Final = 5
"""Added to the niceness of those threads: a hash takes 50 ms, and requests must not wait for it."""
MAX_HASHING: Final = 64
"""Passwords that were right before and are hashed again. After a reload all of them are."""


class _Check:
    """One password that is being checked, and the requests that wait for the verdict."""

    __slots__ = ("waiting", "turn")

    def __init__(self) -> None:
        self.waiting: dict[Deferred[Verdict], None] = {}
        """One Deferred for each request, in order."""
        self.turn: Deferred[None] | None = None
        """While the password waits in the queue."""

    def join(self) -> Deferred[Verdict]:
        """Return a Deferred that fires with the verdict; each request gets its own to cancel."""
        waiting: Deferred[Verdict] = Deferred(self._leave)
        self.waiting[waiting] = None
        return waiting

    def _leave(self, waiting: Deferred[Verdict]) -> None:
        self.waiting.pop(waiting, None)
        if not self.waiting and self.turn is not None:
            # All clients have left: the password needs no hash, and no place in the queue.
            self.turn.cancel()


class PasswordChecker:
    """
    Checks passwords off the reactor thread.

    Args:
        reactor: measures the time of a hash, and takes results from threads.
        log: receives unexpected errors.
    """

    def __init__(self, reactor: IReactorTime, log: FilteringBoundLogger) -> None:
        self._reactor = reactor
        self._log = log
        self._queue = HashingQueue(reactor)
        self._pool: ThreadPool | None = None
        self._hashing = 0
        """Passwords that the threads have, or are about to have."""
        self._checks: dict[bytes, _Check] = {}
        """Running checks, by the digest of the credentials."""

    def stop(self) -> None:
        """Start no more hashes."""
        self._queue.stop()
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def join(self, digest: bytes) -> Deferred[Verdict] | None:
        """Wait for the running check of these very credentials, if there is one."""
        check = self._checks.get(digest)
        return None if check is None else check.join()

    def has_room(self, address: str, name: str, *, right_before: bool) -> bool:
        """Return whether one more password may be checked."""
        if right_before:
            return self._hashing < MAX_HASHING
        return self._queue.has_room(network_of(address), name)

    def check(
        self,
        passwords: PasswordFile,
        name: str,
        password: bytes,
        address: str,
        digest: bytes,
        *,
        right_before: bool,
        conclude: Callable[[bool | None], Verdict],
    ) -> Deferred[Verdict]:
        """
        Check a password.

        Args:
            passwords: the file to check with.
            name, password, address: of the client.
            digest: of the credentials; `join` finds the check by it.
            right_before: the password was right before, and need not wait in the queue.
            conclude: called with the result, None after an unexpected error; returns the verdict.

        Returns:
            A Deferred that fires with the verdict.
        """
        check = self._checks[digest] = _Check()
        waiting = check.join()

        async def run() -> None:
            if not right_before and not await self._turn(check, address, name):
                del self._checks[digest]
                return
            began = self._reactor.seconds()
            verdict = conclude(await self._verify(passwords, name, password, address))
            # The response to a wrong password is delayed elsewhere: the next turn must not wait.
            if not right_before:
                wrong = isinstance(verdict, Denied)
                self._queue.end_turn(self._reactor.seconds() - began if wrong else 0.0)
            del self._checks[digest]
            for deferred in list(check.waiting):
                deferred.callback(verdict)

        _ = Deferred.fromCoroutine(run())
        return waiting

    async def _turn(self, check: _Check, address: str, name: str) -> bool:
        """Wait for the turn of a password; False if all clients have left."""
        check.turn = self._queue.wait_for_turn(network_of(address), name)
        try:
            await check.turn
        except CancelledError:
            return False
        finally:
            check.turn = None
        return True

    async def _verify(
        self, passwords: PasswordFile, name: str, password: bytes, address: str
    ) -> bool | None:
        """Hash in a thread; None after an unexpected error."""
        reactor: Any = self._reactor
        self._hashing += 1
        try:
            if self._pool is None:
                self._pool = ThreadPool(0, HASHING_THREADS, "umd-passwords")
                self._pool.start()
            return await deferToThreadPool(
                reactor, self._pool, _verify_nicely, passwords.verify, name, password
            )
        except Exception:
            self._log.exception("auth.not-checked", principal=name[:256], address=address)
            return None
        finally:
            self._hashing -= 1


def _verify_nicely(verify: Callable[[str, bytes], bool], name: str, password: bytes) -> bool:
    """Verify a password in a thread of lower priority."""
    # On Linux, a priority belongs to a thread, and a new thread inherits it from its creator.
    thread = threading.get_native_id()
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICENESS)
    if os.getpriority(os.PRIO_PROCESS, thread) < wanted:
        os.setpriority(os.PRIO_PROCESS, thread, wanted)
    return verify(name, password)
