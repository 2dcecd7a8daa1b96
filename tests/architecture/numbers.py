"""Counts what tells how large and how readable the source is."""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.architecture.imports import Source
from tests.architecture.rooms import cycles

MAX_FUNCTION_LINES: Final = 45
MAX_CLASS_LINES: Final = 400
MAX_FILE_LINES: Final = 500
MAX_ROOT_MODULES: Final = 8
MAX_ROOM_ARROWS: Final = 119

TABLE_FILES: Final[frozenset[str]] = frozenset()
"""Modules that hold tables and may be longer than `MAX_FILE_LINES`."""

VAGUE_WORD: Final = re.compile(r"\b(?:whoever|somebody|nobody)\b", re.IGNORECASE)
MAX_VAGUE_WORDS_PER_1000: Final = 0.3

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def structure(source: Source) -> dict[str, str]:
    """Return the figures of the structure by what they count."""
    functions = sorted(lines for lines, _ in function_lines(source))
    classes, files = class_lines(source), file_lines(source)
    return {
        "modules": str(len(files)),
        "modules in the package's root": str(len(root_modules(source))),
        "functions": str(len(functions)),
        "median lines of a function": f"{statistics.median(functions):.0f}",
        "90th percentile lines of a function": str(functions[len(functions) * 9 // 10]),
        f"functions over {MAX_FUNCTION_LINES} lines": str(_over(MAX_FUNCTION_LINES, functions)),
        "largest class": "{} lines: {}".format(*max(classes)),
        f"classes over {MAX_CLASS_LINES} lines": str(
            _over(MAX_CLASS_LINES, (lines for lines, _ in classes))
        ),
        "largest file": "{} lines: {}".format(*max(files)),
        f"files over {MAX_FILE_LINES} lines": str(
            _over(MAX_FILE_LINES, (lines for lines, _ in files))
        ),
        "arrows between rooms": str(len(source.room_arrows())),
        "import cycles": str(len(cycles(source.imports))),
    }


def function_lines(source: Source) -> list[tuple[int, str]]:
    """Return the lines, with decorators and docstring, and the name of each function."""
    return [
        (_lines(node), f"{module}.{node.name}")
        for module, tree in source.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, _Function)
    ]


def class_lines(source: Source) -> list[tuple[int, str]]:
    """Return the lines and the name of each class."""
    return [
        (_lines(node), f"{module}.{node.name}")
        for module, tree in source.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]


def file_lines(source: Source) -> list[tuple[int, str]]:
    """Return the lines and the name of each module."""
    return [(len(file.read_text().splitlines()), name) for name, file in source.files.items()]


def root_modules(source: Source) -> set[str]:
    """Return the modules that lie in the package's own directory."""
    root = source.files["umd"].parent
    return {name for name, file in source.files.items() if file.parent == root}


def vague_words(texts: Iterable[str]) -> tuple[int, int]:
    """Return how often a vague word occurs in the texts, and how many words they have."""
    found = words = 0
    for text in texts:
        found += len(VAGUE_WORD.findall(text))
        words += len(text.split())
    return found, words


def prose(file: Path) -> str:
    """Return what a person reads in a file: a page whole, of source the docstrings and comments."""
    text = file.read_text()
    if file.suffix == ".py":
        return "\n".join([*_docstrings(ast.parse(text)), *_comments(text)])
    if file.suffix == ".toml":
        return "\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    return text


def prose_files(top: Path) -> list[Path]:
    """Return the files below `top` that people read: documents, configuration and source."""
    patterns = (
        *("*.md", "docs/*.md", "conf/*.toml", "umd/**/*.py", "umd/**/*.toml"),
        *("tests/**/*.py", "tests/**/*.md", "bench/*.py", "bench/*.md", "examples/**/*.*"),
    )
    found = {file for pattern in patterns for file in top.glob(pattern)}
    return sorted(file for file in found if file.suffix in {".md", ".py", ".toml"})


def _lines(node: _Function | ast.ClassDef) -> int:
    first = min(part.lineno for part in (node, *node.decorator_list))
    return (node.end_lineno or first) - first + 1


def _over(limit: int, lines: Iterable[int]) -> int:
    return sum(count > limit for count in lines)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield every string that is a statement: docstrings, and those under fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node.value.value


def _comments(text: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")
