"""Finds the line of each key, for the messages about mistakes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeAlias

from umd.config.syntax import option, scan_heads
from umd.config.words import KeyPath

Place: TypeAlias = tuple[int, str]
"""Where a key was set: its rank among all places, and the name a person finds it by."""


class Places:
    """Where each key was set; found out only when there is a mistake to tell."""

    def __init__(self, file: str | None, text: str, set_by: Sequence[tuple[KeyPath, str]]) -> None:
        self._file = file
        self._text = text
        self._set_by = set_by

    def find(self, path: KeyPath) -> Place:
        for end in range(len(path), 0, -1):
            if path[:end] in self._all:
                return self._all[path[:end]]
        return 0, self._file or "defaults"

    @cached_property
    def _all(self) -> dict[KeyPath, Place]:
        places = {
            path: (line, f"{self._file}:{line}") for path, line in find_lines(self._text).items()
        }
        for path, override in self._set_by:
            # What the file says at and below this key is no longer there.
            for gone in [one for one in places if one[: len(path)] == path]:
                del places[gone]
            for end in range(1, len(path) + 1):
                places.setdefault(path[:end], (sys.maxsize, option(override)))
        return places


def find_lines(text: str) -> dict[KeyPath, int]:
    """
    The line, from 1, on which each key of a well-formed TOML text stands; tomllib keeps none.

    What is inside of a value stands where its key does and is not listed. Items of an array of
    tables are numbered: `("a", "0", "b")`.
    """
    places: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, head in scan_heads(text):
        if head.startswith("["):
            path = table = _table(head, counts)
        else:
            path = table + _key(head)
        for end in range(1, len(path) + 1):
            places.setdefault(path[:end], line)
    return places


def _table(head: str, counts: dict[KeyPath, int]) -> KeyPath:
    """The path of `[a.b]` or `[[a.b]]`, with the number of the item in each array on its way."""
    is_array = head.startswith("[[")
    parts = _key(head.strip("[]"))
    path: KeyPath = ()
    for index, part in enumerate(parts, 1):
        path += (part,)
        if is_array and index == len(parts):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (str(counts[path]),)
    return path


def _key(text: str) -> KeyPath:
    if '"' not in text and "'" not in text:
        return tuple(part.strip() for part in text.split("."))
    path: KeyPath = ()
    node: Any = tomllib.loads(f"{text} = 0")
    while isinstance(node, dict):
        part, node = next(iter(node.items()))
        path += (part,)
    return path
