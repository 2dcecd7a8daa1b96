"""
The virtual network: carries SIP messages between ends in one process, as badly as it is told to.

It knows no clock and draws from the random source it is given, so that a run can be repeated. Ends
exchange message objects; `octets` makes each message cross as octets instead, written and read
again, and `check_every` does so for one in so many and compares what arrives with what was sent.
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
    """What is attached to a network: an endpoint, or something around one."""

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        """A message has arrived."""

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """The same as octets."""

    def messages_to_send(self) -> list[Send]:
        """What it has to send, in order."""

    def send_failed(self, message: Message, now: float) -> None:
        """A message could not be sent: nothing listens there."""

    def next_due(self) -> float | None:
        """When it wants `handle_timer`."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What becomes of a message on its way; seconds and probabilities."""

    delay: float = 0.0
    jitter: float = 0.0
    """At most so much longer; messages overtake each other by it."""
    loss: float = 0.0
    duplicate: float = 0.0


PERFECT: Final = Conditions()


class Flight(NamedTuple):
    """A message on its way."""

    source: Hop
    target: Hop
    message: Message


class Differs(UmdError):
    """A message does not read as it was written: umd's own mistake."""


Fate: TypeAlias = tuple[float, ...]
"""After how many seconds each copy of a message arrives; no copy: it is lost."""

Tap: TypeAlias = Callable[[float, Flight], None]
"""Sees each message as it leaves: the time, and what flies."""


class Network:
    """
    Ends by address, and the messages between them.

    Args:
        random: for losses, duplicates and jitter.
        conditions: of every way.
        octets: whether every message crosses as octets.
        check_every: that every so many-th crosses as octets and is compared; 0 for none.
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
        """May be changed at any time."""
        self.tap: Tap | None = None
        self.landing_tap: Tap | None = None
        """The same for each message as it arrives, before its end has it."""
        self.fate: Callable[[Flight], Fate] = self.draw_fate
        """Decides what becomes of each message; may be replaced."""
        self.carried = 0
        self.lost = 0
        self.checked = 0
        self._random = random
        self._octets = octets
        self._check_every = check_every
        self._ends: dict[tuple[str, int], tuple[Hop, End]] = {}
        self._refusing: set[str] = set()
        self._flights: Timers[Flight] = Timers()
        self._arriving: deque[Flight] = deque()

    def attach(self, hop: Hop, end: End) -> None:
        """Let `end` be reached at `hop`. Where nothing is attached, what is sent there is lost."""
        self._ends[hop.host, hop.port] = (hop, end)

    def refuse(self, host: str) -> None:
        """Let whoever sends to this host learn at once that nothing listens there."""
        self._refusing.add(host)

    def next_due(self) -> float | None:
        """When to call `run` next; None while nothing is on its way and nobody waits."""
        due = self._flights.next_due()
        for _, end in self._ends.values():
            one = end.next_due()
            if one is not None and (due is None or one < due):
                due = one
        return due

    def run(self, now: float) -> float | None:
        """
        Do all that is due at `now`, and carry what the ends have to send.

        Returns:
            What `next_due` says after that.
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
        """Carry what the ends have to send, until nobody has anything; no timer is looked at."""
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
        """Leave it to the conditions and to chance."""
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
        found = self._ends.get((flight.target.host, flight.target.port))
        if found is None:
            self.lost += 1
            return
        self.carried += 1
        if self.landing_tap is not None:
            self.landing_tap(now, flight)
        end = found[1]
        if self._octets:
            end.receive_datagram(flight.message.octets(), flight.source, now)
        elif self._check_every and self.carried % self._check_every == 0:
            self.checked += 1
            end.receive_message(reread(flight.message), flight.source, now)
        else:
            end.receive_message(flight.message, flight.source, now)


def reread(message: Message) -> Message:
    """
    Write a message as octets and read it again.

    Raises:
        Differs: it is not the same any more.
    """
    read = read_datagram(message.octets())
    if read is None or _parts(read) != _parts(message):
        raise Differs(f"sent {_parts(message)}, read {read and _parts(read)}")
    return read


def _parts(message: Message) -> tuple[object, ...]:
    """What two ends must agree on."""
    if isinstance(message, Request):
        first: tuple[object, ...] = (message.method, message.uri)
    else:
        assert isinstance(message, Response)
        first = (message.status, message.reason)
    fields = sorted((name, value) for name, value in message.headers if name != "Content-Length")
    typed = (message.via.branch, message.cseq.number, message.from_tag, message.to_tag)
    return (*first, typed, fields, message.body)
