"""
Whose password is hashed next: one at a time, everybody in turn, and wrong ones for a while only.

A hash costs umd a hundred times what it costs a client to send a guess, so guesses must not set
the pace. After each wrong one there is a rest of RESTS times what it took: whatever comes, it is
hashed for a quarter of the time at most. Addresses take turns, and so do the names of an address:
who sends many waits for its own.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

RESTS: Final = 3.0
LONGEST_REST: Final = 1.0
"""Seconds; where a hash takes long because others have the processor, it is they who pace it. One
that takes more than a third of this by itself, of a cost above the usual, has a larger share."""
MOST_FOR_A_NAME: Final = 32
"""Different passwords for one name from one address; further ones are put off."""
MOST_OF_AN_ADDRESS: Final = 256
MOST_IN_ALL: Final = 1024


class Turns:
    """
    Who waits for a turn.

    Args:
        clock: for the rests.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[str, dict[str, deque[Deferred[None]]]] = {}
        """By address and name, the one whose turn is next at the beginning."""
        self._lengths: Counter[str] = Counter()
        """Of the lines of each address."""
        self._taken = False
        """Somebody's turn has not ended, or the rest after it."""
        self._giving = False
        self._rest: IDelayedCall | None = None

    def stop(self) -> None:
        """Give nobody a turn any more."""
        self._waiting.clear()
        self._taken = True
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def has_room(self, address: str, name: str) -> bool:
        """Whether one more may wait."""
        return (
            self._lengths[address] < MOST_OF_AN_ADDRESS
            and self._lengths.total() < MOST_IN_ALL
            and len(self._waiting.get(address, {}).get(name, ())) < MOST_FOR_A_NAME
        )

    def wait(self, address: str, name: str) -> Deferred[None]:
        """Fires when it is their turn, which they end by `done`; cancelled, it makes room."""
        turn: Deferred[None] = Deferred(lambda leaving: self._leave(address, name, leaving))
        self._waiting.setdefault(address, {}).setdefault(name, deque()).append(turn)
        self._lengths[address] += 1
        self._go_on()
        return turn

    def _leave(self, address: str, name: str, turn: Deferred[None]) -> None:
        names = self._waiting[address]
        names[name].remove(turn)
        if not names[name]:
            del names[name]
        if not names:
            del self._waiting[address]
        self._one_less(address)

    def done(self, wrong_for: float = 0.0) -> None:
        """
        End a turn.

        Args:
            wrong_for: seconds that a wrong password took; none for one that was right.
        """
        if wrong_for > 0.0:
            self._rest = self._clock.callLater(min(RESTS * wrong_for, LONGEST_REST), self._rested)
        else:
            self._rested()

    def _rested(self) -> None:
        self._rest = None
        self._taken = False
        self._go_on()

    def _go_on(self) -> None:
        if self._giving:
            return  # a turn that ended at once: the loop below goes on
        self._giving = True
        while self._waiting and not self._taken:
            self._taken = True
            self._take_next().callback(None)
        self._giving = False

    def _take_next(self) -> Deferred[None]:
        """Whoever has more to come goes to the end."""
        address, names = next(iter(self._waiting.items()))
        del self._waiting[address]
        name, turns = next(iter(names.items()))
        del names[name]
        turn = turns.popleft()
        if turns:
            names[name] = turns
        if names:
            self._waiting[address] = names
        self._one_less(address)
        return turn

    def _one_less(self, address: str) -> None:
        self._lengths[address] -= 1
        if not self._lengths[address]:
            del self._lengths[address]
