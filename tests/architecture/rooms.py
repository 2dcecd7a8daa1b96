"""The rooms of umd, from the innermost outward, and which rooms each of them may import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tests.architecture.imports import Source

GROUND: Final = frozenset({"errors", "text", "timers"})
"""What every room may import. These modules import nothing of umd."""

_CORE: Final = frozenset({"call", "sip", "runtime", "backend"})
_LEGS: Final = frozenset({"call", "sip", "runtime", "backend", "config", "trace"})

MAY_IMPORT: Final[Mapping[str, frozenset[str]]] = {
    "errors": frozenset(),
    "text": frozenset(),
    "timers": frozenset(),
    "call": GROUND,
    "sip": GROUND,
    "soap": GROUND,
    "runtime": GROUND,
    "backend": GROUND | {"call"},
    "trace": GROUND | {"call", "sip", "backend"},
    "config": GROUND | {"call", "backend", "runtime"},
    "journal": GROUND | {"call", "runtime"},
    "control": GROUND | {"call", "backend", "runtime"},
    "http": GROUND | {"call", "runtime"},
    "backends/sip_legs": GROUND | {"call", "sip", "backend"},
    "backends/sim": GROUND | _LEGS | {"backends/sip_legs"},
    "backends/sip": GROUND | _LEGS | {"backends/sip_legs"},
    "backends/sim_pbx": GROUND | {"call", "runtime", "backend", "config"},
    "messaging": GROUND | _CORE | {"control", "soap", "http"},
    "management": GROUND | _CORE | {"trace", "control", "journal"},
    "daemon": GROUND
    | _CORE
    | {"trace", "config", "journal", "control", "http", "messaging", "management"},
    "testing": GROUND | _CORE | {"trace", "config", "soap"},
    "lab": GROUND
    | _CORE
    | {"trace", "config", "control", "journal", "testing"}
    | {"backends/sim", "backends/sip", "backends/sim_pbx"},
    "cli": GROUND
    | _CORE
    | {"trace", "config", "soap", "journal", "management", "daemon", "lab", "backends/sim"},
    # The package's own file, the command, and two old places that plugins still import.
    "": frozenset(),
    "__main__": frozenset({"cli", "runtime"}),
    "clock": frozenset({"runtime"}),
    "number": frozenset({"sip"}),
}
"""
A room may import the rooms beside it, and no other.

The order is the one of the rows: a room imports only rooms that come before it.
"""

WITHOUT_TWISTED: Final = ("backend", "call", "config", "errors", "sip", "soap", "text", "timers")
"""Rooms that know no reactor: importing all of their modules loads no Twisted."""


def forbidden_imports(source: Source) -> Iterator[tuple[str, str]]:
    """Yield `(module, imported_module)` for each import that the table does not allow."""
    for (room, other), pairs in source.room_arrows().items():
        if other not in MAY_IMPORT.get(room, ()):
            yield from pairs


def cycles(graph: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Return the groups of nodes that import each other, directly or through others."""
    reached = {node: reachable(graph, node) for node in graph}
    groups = {
        frozenset(other for other in reached[node] if node in reached.get(other, ()))
        for node in graph
        if node in reached[node]
    }
    return sorted(sorted(group) for group in groups)


def reachable(graph: Mapping[str, frozenset[str]], start: str) -> set[str]:
    """Return the nodes that lead from `start` through one arrow or more."""
    found: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(graph.get(node, ()))
    return found
