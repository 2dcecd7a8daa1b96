"""
The virtual network: carries SIP messages between ends in one process, with delay, loss and jitter.

The caller supplies the time and the source of random numbers, so a run can be repeated exactly.
Ends exchange message objects. With `octets`, each message is encoded and parsed again instead. With
`check_every`, this is done for every n-th message, and the result is compared with the original.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple, Protocol, TypeAlias

from umd.errors import UmdError
from umd.sip.framing import read_datagram
from umd.sip.message import Message, Request, Response
from umd.sip.transaction import Hop, Send
from umd.timers import Timers


class End(Protocol):
    """An end of the network: an endpoint, or an object around one."""

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        """Take a message that has arrived."""

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """Take a message that has arrived as octets."""

    def messages_to_send(self) -> list[Send]:
        """Return the messages to send, in order."""

    def send_failed(self, message: Message, now: float) -> None:
        """Note that a message could not be sent: nothing listens at its target."""

    def next_due(self) -> float | None:
        """Return when to call `handle_timer`; None while there is nothing to do."""

    def handle_timer(self, now: float) -> None:
        """Run the timers that are due at this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How the network treats messages; times in seconds, probabilities from 0 to 1."""

    delay: float = 0.0
    jitter: float = 0.0
    """Longest additional delay. It lets messages overtake each other."""
    loss: float = 0.0
    duplicate: float = 0.0


PERFECT: Final = Conditions()


class Flight(NamedTuple):
    """A message between its source and its target."""

    source: Hop
    target: Hop
    message: Message


class MessageAltered(UmdError):
    """A message is different after it was encoded and parsed again: a bug of umd."""


Fate: TypeAlias = tuple[float, ...]
"""The delay of each copy of a message, in seconds. Without any copy the message is lost."""

Tap: TypeAlias = Callable[[float, Flight], None]
"""Called with the time and each message that leaves an end."""


class Network:
    """
    The ends by address, and the messages between them.

    Args:
        random: for losses, duplicates and jitter.
        conditions: for every message.
        octets: whether every message is encoded and parsed again.
        check_every: n, to encode, parse and compare every n-th message; 0 for none.
    """

    def __init__(
        self,
        random: Random,
        *,
        conditions: Conditions = PERFECT,
        octets: bool = False,
        check_every: int = 0,
    ) -> None:
        self.conditions = conditions
        """May be changed at any time. Messages under way are not affected."""
        self.tap: Tap | None = None
        self.arrival_tap: Tap | None = None
        """As `tap`, for each message that arrives, before the end takes it."""
        self.fate: Callable[[Flight], Fate] = self.draw_fate
        """Decides the fate of each message. The race lab replaces it."""
        self.carried = 0
        """Messages that an end has taken."""
        self.lost = 0
        """Messages without any copy, and copies without an end at their target."""
        self.checked = 0
        """Messages that were encoded, parsed and compared."""
        self._random = random
        self._octets = octets
        self._check_every = check_every
        self._ends: dict[tuple[str, int], tuple[Hop, End]] = {}
        self._refusing: set[str] = set()
        self._flights: Timers[Flight] = Timers()
        self._arriving: deque[Flight] = deque()

    def attach(self, hop: Hop, end: End) -> None:
        """Attach an endpoint to an address. A message to an address without one is lost."""
        self._ends[hop.host, hop.port] = (hop, end)

    def refuse(self, host: str) -> None:
        """Make every send to this host fail at once, as if nothing listened there."""
        self._refusing.add(host)

    def next_due(self) -> float | None:
        """Return when to call `run` next; None while there is no message and no timer."""
        due = self._flights.next_due()
        for _, end in self._ends.values():
            end_due = end.next_due()
            if end_due is not None and (due is None or end_due < due):
                due = end_due
        return due

    def run(self, now: float) -> float | None:
        """
        Do all that is due at `now`, and carry the messages that the ends have to send.

        Returns:
            The result of `next_due` afterwards.
        """
        self.pump(now)
        while (due := self.next_due()) is not None and due <= now:
            while (flight := self._flights.pop_due(now)) is not None:
                self._deliver(flight, now)
            for _, end in list(self._ends.values()):
                end.handle_timer(now)
            self.pump(now)
        return due

    def pump(self, now: float) -> None:
        """Carry messages until no end has one to send. Timers are not handled."""
        while True:
            for source, end in self._ends.values():
                for message, target in end.messages_to_send():
                    self._send(source, target, message, now)
            if not self._arriving:
                return
            while self._arriving:
                self._deliver(self._arriving.popleft(), now)

    def _send(self, source: Hop, target: Hop, message: Message, now: float) -> None:
        flight = Flight(source, target, message)
        if self.tap is not None:
            self.tap(now, flight)
        if target.host in self._refusing:
            self._ends[source.host, source.port][1].send_failed(message, now)
            return
        fate = self.fate(flight)
        if not fate:
            self.lost += 1
        for delay in fate:
            if delay:
                self._flights.start(delay, flight, now)
            else:
                self._arriving.append(flight)

    def draw_fate(self, flight: Flight) -> Fate:
        """Draw the fate of a message at random, by the conditions."""
        conditions = self.conditions
        if conditions.loss and self._random.random() < conditions.loss:
            return ()
        delay = self._draw_delay()
        if conditions.duplicate and self._random.random() < conditions.duplicate:
            return (delay, self._draw_delay())
        return (delay,)

    def _draw_delay(self) -> float:
        conditions = self.conditions
        if conditions.jitter:
            return conditions.delay + self._random.random() * conditions.jitter
        return conditions.delay

    def _deliver(self, flight: Flight, now: float) -> None:
        entry = self._ends.get((flight.target.host, flight.target.port))
        if entry is None:
            self.lost += 1
            return
        self.carried += 1
        if self.arrival_tap is not None:
            self.arrival_tap(now, flight)
        _, end = entry
        if self._octets:
            end.receive_datagram(flight.message.octets(), flight.source, now)
        elif self._check_every and self.carried % self._check_every == 0:
            self.checked += 1
            end.receive_message(round_trip(flight.message), flight.source, now)
        else:
            end.receive_message(flight.message, flight.source, now)


def round_trip(message: Message) -> Message:
    """
    Encode a message, parse it again, and return the result.

    Raises:
        MessageAltered: the result is different from the original.
    """
    parsed = read_datagram(message.octets())
    if parsed is None or _parts(parsed) != _parts(message):
        raise MessageAltered(f"sent {_parts(message)}, read {parsed and _parts(parsed)}")
    return parsed


def _parts(message: Message) -> tuple[object, ...]:
    """Return the parts of a message that must be the same at both ends."""
    if isinstance(message, Request):
        first: tuple[object, ...] = (message.method, message.uri)
    else:
        assert isinstance(message, Response)
        first = (message.status, message.reason)
    fields = sorted((name, value) for name, value in message.headers if name != "Content-Length")
    typed = (message.via.branch, message.cseq.number, message.from_tag, message.to_tag)
    return (*first, typed, fields, message.body)
