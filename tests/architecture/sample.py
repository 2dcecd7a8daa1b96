"""
Draw docstrings and comments of the configuration at random, for a reader who knows nothing of umd:

    python -m tests.architecture.sample SEED

The reader explains each in their own words without any other file. What they cannot explain is
rewritten.
"""

from __future__ import annotations

import ast
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.imports import Source

TOP: Final = Path(__file__).parents[2]
CONFIGURATIONS: Final = ("conf/umd.toml", "conf/umd-sip.toml")
SAMPLES: Final = 20


def docstrings(source: Source) -> Iterator[tuple[str, str]]:
    """Yield `(name, docstring)` of every module, class and function that has one."""
    for module, tree in source.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if text := ast.get_docstring(node):
                    name = getattr(node, "name", "")
                    yield f"{module}.{name}".rstrip("."), text


def comments(file: Path) -> Iterator[tuple[str, str]]:
    """Yield `(line, comment_and_key)` of each block of comments and the key that follows it."""
    block: list[str] = []
    began = 0
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            block = []
        elif line.startswith("# "):
            began = number if not block else began
            block.append(line)
        elif block:
            yield f"{file.name}:{began}", "\n".join([*block, line])
            block = []


def main(seed: int) -> None:
    """Print the samples of a seed."""
    chance = random.Random(seed)
    found = [comment for name in CONFIGURATIONS for comment in comments(TOP / name)]
    for title, items in (("Docstrings", sorted(docstrings(Source()))), ("Configuration", found)):
        print(f"# {title}, seed {seed}\n")
        for number, (name, text) in enumerate(chance.sample(items, SAMPLES), 1):
            print(f"## {number}. {name}\n\n{text}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
