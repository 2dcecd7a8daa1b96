"""Writes records to a journal file as the store and the ledger do, for the tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from umd.journal.file import JournalFile
from umd.journal.store import Row, Step

_begun: WeakKeyDictionary[JournalFile, dict[str, int]] = WeakKeyDictionary()
"""For each file, the position of the first record of each call that has not ended."""


class Event(NamedTuple):
    """A record without its place in the journal."""

    call: str
    step: int = Step.GOES_ON
    at: float = 1000.0
    record: bytes = b"{}"
    extra: bytes | None = None


def write(file: JournalFile, events: Iterable[Event]) -> None:
    """Write records behind the last one, each with the position where its call begins."""
    rows = rows_of(file, events)
    file.write(rows)


def rows_of(file: JournalFile, events: Iterable[Event]) -> list[Row]:
    """Return the rows of the next records."""
    begun = _begun.get(file)
    if begun is None:
        begun = _begun[file] = {}
        for position, call, step, *_ in file.rows_after(0, 1_000_000):
            if step == Step.BEGINS:
                begun[call] = position
    rows = []
    for position, event in enumerate(events, file.last + 1):
        if event.step == Step.BEGINS:
            begun[event.call] = position
        rows.append(Row(position, *event, begun.get(event.call, position)))
        if event.step == Step.ENDS:
            begun.pop(event.call, None)
    return rows
