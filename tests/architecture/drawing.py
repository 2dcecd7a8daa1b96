"""
Draw the rooms from the imports, and write the drawing into docs/architecture.md:

    python -m tests.architecture.drawing
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.architecture.imports import Source, room_of
from tests.architecture.rooms import GROUND, MAY_IMPORT, reachable

PAGE: Final = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN: Final = "<!-- begin: written by python -m tests.architecture.drawing -->\n"
END: Final = "<!-- end -->\n"

_NOT_DRAWN: Final = frozenset({"", "__main__", "clock", "number"})
"""The package's own file, the command's entry, and two aliases for plugins."""


def drawing(source: Source) -> str:
    """Return the diagram of the rooms and the table of what each is for, as Markdown."""
    return "\n".join([*_diagram(source), "", *_table(source), ""])


def with_drawing(page: str, drawn: str) -> str:
    """Return the page with `drawn` between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + drawn + END + after


def _diagram(source: Source) -> Iterator[str]:
    """
    Yield a Mermaid flowchart.

    An arrow that follows from two others is left out, and so are those to the ground modules,
    which every room may import.
    """
    imports = {
        room: frozenset(others) - GROUND - _NOT_DRAWN
        for room, others in _imports_of_rooms(source).items()
        if room not in GROUND | _NOT_DRAWN
    }
    yield "```mermaid"
    yield "flowchart TD"
    for room in reversed(list(MAY_IMPORT)):
        for other in sorted(_direct(room, imports)):
            yield f"    {_node(room)} --> {_node(other)}"
    yield "```"


def _direct(room: str, imports: Mapping[str, frozenset[str]]) -> set[str]:
    """Return the rooms that `room` imports and reaches through no other room."""
    others = imports.get(room, frozenset())
    return {
        other
        for other in others
        if not any(other in reachable(imports, between) for between in others - {other})
    }


def _node(room: str) -> str:
    return room if "/" not in room else f'{room.replace("/", "_")}["{room}"]'


def _table(source: Source) -> Iterator[str]:
    """Yield a table: each room, what it is responsible for, and what it imports."""
    imports = _imports_of_rooms(source)
    yield "| room | responsible for | imports |"
    yield "| --- | --- | --- |"
    order = list(MAY_IMPORT)
    for room in order:
        if room in _NOT_DRAWN:
            continue
        others = sorted(imports.get(room, ()), key=order.index)
        listed = ", ".join(f"`{other}`" for other in others) or "nothing"
        yield f"| `{room}` | {_purpose(source, room)} | {listed} |"


def _imports_of_rooms(source: Source) -> dict[str, set[str]]:
    imports: dict[str, set[str]] = {}
    for room, other in source.room_arrows():
        imports.setdefault(room, set()).add(other)
    return imports


def _purpose(source: Source, room: str) -> str:
    """Return the first line of the docstring of a room."""
    module = "umd." + room.replace("/", ".")
    docstring = ast.get_docstring(source.trees[module]) or ""
    assert room_of(module) == room and docstring, f"{module} has no docstring"
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    PAGE.write_text(with_drawing(PAGE.read_text(), drawing(Source())))
