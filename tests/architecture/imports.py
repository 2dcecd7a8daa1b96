"""Reads from the source which module of umd imports which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import umd

PACKAGE: Final = "umd"
INSTALLED: Final = Path(umd.__file__).parents[1]
"""The directory that holds the package under test: the checkout, or where umd is installed."""


@dataclass(frozen=True)
class Source:
    """The source of the package below the directory `top`."""

    top: Path = INSTALLED

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each module, by the module's dotted name."""
        files = {}
        for file in sorted((self.top / PACKAGE).rglob("*.py")):
            parts = file.relative_to(self.top).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
        return files

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The syntax tree of each module."""
        return {name: ast.parse(file.read_text()) for name, file in self.files.items()}

    @cached_property
    def imports(self) -> dict[str, frozenset[str]]:
        """
        The modules of the package that each module imports.

        An import inside a function, or for type checkers alone, counts like any other.
        """
        return {
            name: frozenset(self._imported_by(name)) - {name, PACKAGE} for name in self.files
        }

    def external_imports(self, module: str) -> set[str]:
        """The top-level packages outside umd that `module` imports anywhere in its source."""
        names = {name.partition(".")[0] for name in _imported_names(self.trees[module])}
        return names - {PACKAGE}

    def room_arrows(self) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """The imports between rooms: `(from_room, to_room)` to the pairs of modules."""
        arrows: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for module, imported in sorted(self.imports.items()):
            for other in sorted(imported):
                if (pair := (room_of(module), room_of(other)))[0] != pair[1]:
                    arrows.setdefault(pair, []).append((module, other))
        return arrows

    def _imported_by(self, module: str) -> Iterator[str]:
        for name in _imported_names(self.trees[module]):
            while name and name not in self.files:
                name = name.rpartition(".")[0]
            if name:
                yield name


def room_of(module: str) -> str:
    """
    The room of a module: the package below `umd`, or the module itself in the root.

    Each backend is a room of its own, as no backend may import another.
    """
    parts = module.split(".")[1:3]
    return "/".join(parts) if parts[:1] == ["backends"] else "".join(parts[:1])


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
