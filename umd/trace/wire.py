"""
What went over the wire of each live call, a few octets a message, for the record of its end.

`umd.trace.capture` remembers the last messages of all calls whole, and only while umd runs; here is
the start of every message of a call, for as long as its records are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.transaction import Hop
from umd.trace.capture import clean, end_name

MOST: Final = 48
"""Messages noted of one call; a BYE that nobody answers is sent eleven times."""
MAX_NAMES: Final = 65_535
"""Different peers and methods; those that come after all these are not named."""

FEW_NAMES: Final = 16
"""So many are written down with every call, whether they are its own or not: that costs no time."""

_NOTE: Final = struct.Struct("<dHHHH")
"""
When (wall time), the number of the source, of the target, of the method; the status or 0.

On record: the names of the numbers as an array of JSON, a line feed, and these one after another.
"""


@dataclass(frozen=True, slots=True)
class Crossed:
    """One message, as far as it is noted."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """`host:port`."""
    target: str
    method: str
    """Of a response: that of its request."""
    status: int | None
    """Of a response; None for a request."""


class WireLog:
    """
    Notes the messages of the calls it was told of, and of no other.

    Args:
        wall: the time, seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._notes: dict[str, bytearray] = {}
        """By Call-ID."""
        self._numbers: dict[Hop | str, int] = {"?": 0}
        self._names: list[str] = ["?"]
        self._all_names = _line(self._names)
        self.tap = self._tap(wall)
        """A `umd.backend.MessageTap`."""

    def __len__(self) -> int:
        return len(self._notes)

    def begin(self, sip_call_id: str) -> None:
        """Note the messages of this call, from now on if they were not."""
        if sip_call_id not in self._notes:
            self._notes[sip_call_id] = bytearray()

    def take(self, sip_call_id: str) -> bytes | None:
        """What `read` reads of a call that is over; nothing more is noted of it."""
        notes = self._notes.pop(sip_call_id, None)
        return self._written(notes) if notes else None

    def of(self, sip_call_id: str) -> bytes | None:
        """The same of a call that goes on."""
        notes = self._notes.get(sip_call_id)
        return self._written(notes) if notes else None

    def _tap(self, wall: Callable[[], float]) -> Callable[[Hop, Hop, Message], None]:
        found, pack, numbers, number = self._notes.get, _NOTE.pack, self._numbers.get, self._number
        full = MOST * _NOTE.size
        # The last two ends, and their numbers: to look up a hop takes as long as all the rest.
        one = other = Hop("", 0)
        number_of_one = number_of_other = 0

        def tap(source: Hop, target: Hop, message: Message) -> None:
            nonlocal one, other, number_of_one, number_of_other
            try:
                notes = found(message.call_id)
                if notes is None or len(notes) >= full:
                    return
                if isinstance(message, Response):
                    method, status = message.cseq_method, message.status
                else:
                    assert isinstance(message, Request)
                    method, status = message.method, 0
            except MessageError:
                return  # of no call, or nothing that could be named
            what = numbers(method) or number(method)
            if source is one and target is other:
                notes += pack(wall(), number_of_one, number_of_other, what, status)
                return
            if source is not other or target is not one:
                one, other = target, source
                number_of_one = numbers(target) or number(target)
                number_of_other = numbers(source) or number(source)
            notes += pack(wall(), number_of_other, number_of_one, what, status)

        return tap

    def _number(self, named: Hop | str) -> int:
        """Give a number to what had none."""
        if len(self._names) > MAX_NAMES:
            return 0
        name = named if isinstance(named, str) else end_name(named)
        self._names.append(clean(name))
        number = self._numbers[named] = len(self._names) - 1
        self._all_names = _line(self._names) if number < FEW_NAMES else b""
        return number

    def _written(self, notes: bytearray) -> bytes:
        if len(self._names) <= FEW_NAMES:
            return self._all_names + notes
        numbers = {0: 0}  # what was in use here gets numbers of its own
        rows = [
            (at, *(numbers.setdefault(number, len(numbers)) for number in three), status)
            for at, *three, status in _NOTE.iter_unpack(notes)
        ]
        names = [self._names[number] for number in numbers]
        return _line(names) + b"".join(_NOTE.pack(*row) for row in rows)


def read(extra: bytes | None) -> list[Crossed]:
    """What a `WireLog` wrote; nothing of what it did not."""
    line, _, notes = (extra or b"").partition(b"\n")
    try:
        names = orjson.loads(line)
        return [
            Crossed(at, names[source], names[target], names[method], status or None)
            for at, source, target, method, status in _NOTE.iter_unpack(notes)
        ]
    except (ValueError, TypeError, LookupError, struct.error):
        return []


def _line(names: list[str]) -> bytes:
    return orjson.dumps(names) + b"\n"


def to_json(crossed: Sequence[Crossed]) -> list[dict[str, Any]]:
    """As it goes over the control socket, and out of `umd why --json`."""
    return [{name: getattr(one, name) for name in Crossed.__slots__} for one in crossed]
