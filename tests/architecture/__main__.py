"""
Print the numbers of the source, and what breaks the plan:

    python -m tests.architecture [TOP]

TOP is the directory of another checkout, to compare with.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.architecture import numbers
from tests.architecture.imports import Source
from tests.architecture.rooms import cycles, forbidden_imports


def main(top: Path) -> None:
    source = Source(top)
    for name, figure in numbers.structure(source).items():
        print(f"{name:40} {figure}")
    print_vague_words(top)
    for group in cycles(source.imports):
        print("import cycle:", " <-> ".join(group))
    for module, imported in forbidden_imports(source):
        print("forbidden import:", module, "->", imported)
    for lines, name in sorted(numbers.file_lines(source), reverse=True):
        if lines > numbers.MAX_FILE_LINES:
            print(f"large file: {name}, {lines} lines")
    for lines, name in sorted(numbers.class_lines(source), reverse=True):
        if lines > numbers.MAX_CLASS_LINES:
            print(f"large class: {name}, {lines} lines")
    for lines, name in sorted(numbers.function_lines(source), reverse=True):
        if lines > numbers.MAX_FUNCTION_LINES:
            print(f"long function: {name}, {lines} lines")


def print_vague_words(top: Path) -> None:
    counts: dict[str, tuple[int, int]] = {}
    for file in numbers.prose_files(top):
        folder = "/".join(file.relative_to(top).parts[:-1][:2])
        found, words = counts.get(folder, (0, 0))
        more, length = numbers.vague_words([numbers.prose(file)])
        counts[folder] = (found + more, words + length)
    counts["all"] = (sum(count[0] for count in counts.values()), sum(c[1] for c in counts.values()))
    for folder, (found, words) in sorted(counts.items()):
        rate = 1000 * found / max(words, 1)
        print(f"vague words per 1,000, {folder or '.':20} {rate:5.2f} ({found})")


main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
