"""Finds the line or the option that sets a key, for the messages about mistakes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias

from umd.config.notation import KeyPath
from umd.config.scanner import scan_heads
from umd.config.source import option_text

Place: TypeAlias = tuple[int, str]
"""Where a key is set: its rank, by which messages are sorted, and its name, `file:line`."""

OVERRIDE_RANK: Final = sys.maxsize
"""Messages about overrides come after those about the file."""


class Places:
    """
    Where each key is set. The text is scanned at the first search, as most texts have no mistake.

    Args:
        file: the path of the file; None if there is none.
        text: what the file holds.
        overrides: the key and the text of each override, in the order of the command line.
    """

    def __init__(
        self, file: str | None, text: str, overrides: Sequence[tuple[KeyPath, str]]
    ) -> None:
        self._file = file
        self._text = text
        self._overrides = overrides

    def find(self, path: KeyPath) -> Place:
        """Return the place of a key, or of the nearest section around it that has one."""
        for end in range(len(path), 0, -1):
            if path[:end] in self._places:
                return self._places[path[:end]]
        return 0, self._file or "defaults"

    @cached_property
    def _places(self) -> dict[KeyPath, Place]:
        places = {
            path: (line, f"{self._file}:{line}") for path, line in find_lines(self._text).items()
        }
        for path, override in self._overrides:
            # The override replaces what the file sets at this key and below it.
            for replaced in [key for key in places if key[: len(path)] == path]:
                del places[replaced]
            for end in range(1, len(path) + 1):
                places.setdefault(path[:end], (OVERRIDE_RANK, option_text(override)))
        return places


def find_lines(text: str) -> dict[KeyPath, int]:
    """
    Find the line, from 1, of each key and section of a valid TOML text.

    Keys inside a value in braces are not listed: they have the line of the value's own key. The
    path of an item in an array of tables has its index: `("rule", "0", "match")`.
    """
    lines: dict[KeyPath, int] = {}
    last_index: dict[KeyPath, int] = {}  # of each array of tables
    table: KeyPath = ()
    for line, head in scan_heads(text):
        if head.startswith("["):
            path = table = _table_path(head, last_index)
        else:
            path = table + _key_path(head)
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], line)
    return lines


def _table_path(header: str, last_index: dict[KeyPath, int]) -> KeyPath:
    """Return the path of `[a.b]` or `[[a.b]]`, with the index of the item of each array in it."""
    is_array = header.startswith("[[")
    parts = _key_path(header.strip("[]"))
    path: KeyPath = ()
    for number, part in enumerate(parts, 1):
        path += (part,)
        if is_array and number == len(parts):
            last_index[path] = last_index.get(path, -1) + 1
        if path in last_index:
            path += (str(last_index[path]),)
    return path


def _key_path(text: str) -> KeyPath:
    """Split a dotted key; tomllib reads one that has quotes."""
    if '"' not in text and "'" not in text:
        return tuple(part.strip() for part in text.split("."))
    path: KeyPath = ()
    node: Any = tomllib.loads(f"{text} = 0")
    while isinstance(node, dict):
        part, node = next(iter(node.items()))
        path += (part,)
    return path
