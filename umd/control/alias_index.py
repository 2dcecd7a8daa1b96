"""Finds calls by what names them besides their CallId: their aliases and labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

from umd.call.call import Call
from umd.call.call_id import CallId

_Entry: TypeAlias = Call | dict[CallId, Call]
"""The call of a name; all of them by CallId, if several have it."""


class AliasIndex:
    """
    The calls by their aliases and labels.

    Most names belong to one call, and then the index holds no collection for them: a million calls
    may have three aliases each.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """How many names are known."""
        return len(self._entries)

    def add(self, call: Call) -> None:
        """Add all names of a call."""
        for name in names_of(call):
            entry = self._entries.get(name)
            if entry is None:
                self._entries[name] = call
            elif isinstance(entry, dict):
                entry[call.id] = call
            elif entry is not call:
                self._entries[name] = {entry.id: entry, call.id: call}

    def remove(self, call: Call) -> None:
        """Remove all names of a call. Call it before the names of the call change."""
        for name in names_of(call):
            entry = self._entries.get(name)
            if isinstance(entry, dict):
                entry.pop(call.id, None)
                if not entry:
                    del self._entries[name]
            elif entry is call:
                del self._entries[name]

    def find(self, name: str) -> Collection[Call]:
        """Return the calls that have exactly this name."""
        entry = self._entries.get(name)
        if entry is None:
            return ()
        return tuple(entry.values()) if isinstance(entry, dict) else (entry,)


def names_of(call: Call) -> Iterator[str]:
    """Yield the aliases and the labels of a call."""
    yield from call.aliases.values()
    yield from call.labels
