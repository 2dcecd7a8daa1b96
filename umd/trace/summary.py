"""
Summarises the SIP messages of each live call in a few octets each, to be kept with its last record.

`umd.trace.capture` keeps whole messages, but only the latest ones of all calls and only in memory.
The summaries last as long as the journal keeps the records of the call.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from umd.sip.message import Message, MessageError, Request, Response
from umd.sip.transaction import Hop
from umd.trace.capture import end_name, valid_text

MAX_MESSAGES_PER_CALL: Final = 48
"""Later messages of a call are not summarised. An unanswered BYE alone is sent eleven times."""
MAX_NAMES: Final = 65_535
"""Different peers and methods since the start of umd; later ones are all called "?"."""
MAX_SHARED_NAMES: Final = 16
"""Up to so many names, all of them are written with every call, which needs no selection."""

_ENTRY: Final = struct.Struct("<dHHHH")
"""
One message: wall time; the numbers of the source, the target and the method; the status, or 0.

In the journal: a JSON array of the names, a line feed, and the entries one after another. The
number of a name is its index in the array.
"""


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """What is kept of one SIP message: its time, its sender and receiver, and its kind."""

    at: float
    """Wall time, seconds since the epoch."""
    source: str
    """The sender as `host:port`."""
    target: str
    """The receiver as `host:port`."""
    method: str
    """The method of the request; for a response, that of the request it answers."""
    status: int | None
    """The status of a response; None for a request."""


class CallSummaries:
    """
    Summarises the messages of the calls passed to `begin`, and ignores all others.

    Args:
        wall: returns the wall time, in seconds since the epoch.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._entries: dict[str, bytearray] = {}
        """The entries of each call, by its SIP Call-ID."""
        self._call_ids: dict[str, str] = {}
        """The SIP Call-ID of each leg that has another name."""
        self._numbers: dict[Hop | str, int] = {"?": 0}
        """The number of each peer and each method."""
        self._names: list[str] = ["?"]
        """The names by their numbers."""
        self._all_names = _name_line(self._names)
        """All names as they are written, while there are at most `MAX_SHARED_NAMES`."""
        self.tap = self.make_tap(wall)
        """Call it for each message that is sent or received; a `umd.backend.MessageTap`."""

    def __len__(self) -> int:
        return len(self._entries)

    def begin(self, leg: str, sip_call_id: str = "", /) -> None:
        """
        Summarise the messages of a leg from now on; a repetition changes nothing.

        Args:
            leg: its name, which is the SIP Call-ID of its messages,
            sip_call_id: unless that is given here.
        """
        call_id = self._call_ids.get(leg, leg)
        if sip_call_id and call_id == leg != sip_call_id:
            self._call_ids[leg] = call_id = sip_call_id
            earlier = self._entries.pop(leg, None)
            if earlier is not None:
                self._entries.setdefault(call_id, earlier)
        if call_id not in self._entries:
            self._entries[call_id] = bytearray()

    def take(self, leg: str, /) -> bytes | None:
        """Stop summarising a leg, and return its messages for `read_summaries`; None: none."""
        call_id = self._call_ids.pop(leg, leg) if self._call_ids else leg
        entries = self._entries.pop(call_id, None)
        return self._encode(entries) if entries else None

    def current(self, leg: str, /) -> bytes | None:
        """Return the messages of a live leg so far for `read_summaries`; None: none."""
        entries = self._entries.get(self._call_ids.get(leg, leg))
        return self._encode(entries) if entries else None

    def make_tap(self, wall: Callable[[], float]) -> Callable[[Hop, Hop, Message], None]:
        """Return another `tap`, which asks `wall` for the time of each message."""
        # Called for every message: its names are local, and it makes no call that it can avoid.
        entries_of, pack = self._entries.get, _ENTRY.pack
        number_of, add_name = self._numbers.get, self._add_name
        max_length = MAX_MESSAGES_PER_CALL * _ENTRY.size
        # The ends of the message before this one: hashing a hop takes as long as all the rest.
        last_target = last_source = Hop("", 0)
        target_number = source_number = 0

        def tap(source: Hop, target: Hop, message: Message) -> None:
            nonlocal last_target, last_source, target_number, source_number
            try:
                entries = entries_of(message.call_id)
                if entries is None or len(entries) >= max_length:
                    return
                if isinstance(message, Response):
                    method, status = message.cseq_method, message.status
                else:
                    assert isinstance(message, Request)
                    method, status = message.method, 0
            except MessageError:
                return  # it has no Call-ID or no CSeq
            method_number = number_of(method) or add_name(method)
            if source is last_target and target is last_source:
                entries += pack(wall(), target_number, source_number, method_number, status)
                return
            if source is not last_source or target is not last_target:
                last_target, last_source = target, source
                target_number = number_of(target) or add_name(target)
                source_number = number_of(source) or add_name(source)
            entries += pack(wall(), source_number, target_number, method_number, status)

        return tap

    def _add_name(self, named: Hop | str) -> int:
        if len(self._names) > MAX_NAMES:
            return 0
        name = named if isinstance(named, str) else end_name(named)
        self._names.append(valid_text(name))
        number = self._numbers[named] = len(self._names) - 1
        self._all_names = _name_line(self._names) if number < MAX_SHARED_NAMES else b""
        return number

    def _encode(self, entries: bytearray) -> bytes:
        if len(self._names) <= MAX_SHARED_NAMES:
            return self._all_names + entries
        renumbered = {0: 0}  # the names of this call alone, numbered from 0
        rows = [
            (at, *(renumbered.setdefault(number, len(renumbered)) for number in numbers), status)
            for at, *numbers, status in _ENTRY.iter_unpack(entries)
        ]
        names = [self._names[number] for number in renumbered]
        return _name_line(names) + b"".join(_ENTRY.pack(*row) for row in rows)


def read_summaries(extra: bytes | None) -> list[MessageSummary]:
    """Read what `CallSummaries` wrote; empty if it wrote nothing or something else did."""
    line, _, entries = (extra or b"").partition(b"\n")
    try:
        names = orjson.loads(line)
        return [
            MessageSummary(at, names[source], names[target], names[method], status or None)
            for at, source, target, method, status in _ENTRY.iter_unpack(entries)
        ]
    except (ValueError, TypeError, LookupError, struct.error):
        return []


def _name_line(names: list[str]) -> bytes:
    return orjson.dumps(names) + b"\n"


def summaries_to_json(summaries: Sequence[MessageSummary]) -> list[dict[str, Any]]:
    """Return the summaries as the control socket and `umd why --json` write them."""
    fields = MessageSummary.__slots__
    return [{name: getattr(summary, name) for name in fields} for summary in summaries]
