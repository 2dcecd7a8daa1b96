"""
Decides which password is hashed next, so that guesses use only a part of the processor.

A password hash costs umd a hundred times what a guess costs the client that sends it. So passwords
are hashed one at a time. After each wrong one the queue rests for `REST_FACTOR` times as long as
the hash took: guesses use at most a quarter of the time. Addresses take turns, and so do the names
that one address sends. A client that sends many guesses delays only itself.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

REST_FACTOR: Final = 3.0
MAX_REST: Final = 1.0
"""
Seconds. If a hash takes long because other work has the processor, that work already slows guesses.
Hashes that take more than a third of this by themselves get more than a quarter of the time.
"""
MAX_WAITING_PER_NAME: Final = 32
"""Different passwords that wait for one name from one address."""
MAX_WAITING_PER_ADDRESS: Final = 256
MAX_WAITING: Final = 1024


class HashingQueue:
    """
    A queue of passwords to hash.

    Args:
        clock: times the rests.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[str, dict[str, deque[Deferred[None]]]] = {}
        """By address and name; the next address, and the next name of each, come first."""
        self._waiting_per_address: Counter[str] = Counter()
        self._busy = False
        """Whether a turn, or the rest after it, has not ended."""
        self._giving_turns = False
        """Whether the loop in `_give_turns` runs."""
        self._rest: IDelayedCall | None = None

    def stop(self) -> None:
        """Give no more turns."""
        self._waiting.clear()
        self._busy = True
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def has_room(self, address: str, name: str) -> bool:
        """Return whether one more password of this name may wait."""
        return (
            self._waiting_per_address[address] < MAX_WAITING_PER_ADDRESS
            and self._waiting_per_address.total() < MAX_WAITING
            and len(self._waiting.get(address, {}).get(name, ())) < MAX_WAITING_PER_NAME
        )

    def wait_for_turn(self, address: str, name: str) -> Deferred[None]:
        """
        Return a Deferred that fires when a password may be hashed.

        The caller ends the turn by `end_turn`. To cancel the Deferred removes it from the queue.
        """
        turn: Deferred[None] = Deferred(lambda cancelled: self._remove(address, name, cancelled))
        self._waiting.setdefault(address, {}).setdefault(name, deque()).append(turn)
        self._waiting_per_address[address] += 1
        self._give_turns()
        return turn

    def end_turn(self, wrong_password_took: float = 0.0) -> None:
        """
        End a turn.

        Args:
            wrong_password_took: seconds that the hash of a wrong password took; 0 for a right one.
        """
        if wrong_password_took > 0.0:
            rest = min(REST_FACTOR * wrong_password_took, MAX_REST)
            self._rest = self._clock.callLater(rest, self._end_rest)
        else:
            self._end_rest()

    def _end_rest(self) -> None:
        self._rest = None
        self._busy = False
        self._give_turns()

    def _give_turns(self) -> None:
        if self._giving_turns:
            return  # called from a turn that ends at once: the loop below goes on
        self._giving_turns = True
        while self._waiting and not self._busy:
            self._busy = True
            self._take_next().callback(None)
        self._giving_turns = False

    def _take_next(self) -> Deferred[None]:
        """Take the next turn out. Its address and name go to the end if they have further turns."""
        address, names = next(iter(self._waiting.items()))
        del self._waiting[address]
        name, turns = next(iter(names.items()))
        del names[name]
        turn = turns.popleft()
        if turns:
            names[name] = turns
        if names:
            self._waiting[address] = names
        self._count_removed(address)
        return turn

    def _remove(self, address: str, name: str, turn: Deferred[None]) -> None:
        names = self._waiting[address]
        names[name].remove(turn)
        if not names[name]:
            del names[name]
        if not names:
            del self._waiting[address]
        self._count_removed(address)

    def _count_removed(self, address: str) -> None:
        self._waiting_per_address[address] -= 1
        if not self._waiting_per_address[address]:
            del self._waiting_per_address[address]
