"""The messages of RFC 4475 as test input; data/rfc4475/README.md gives their origin."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "data" / "rfc4475"


@dataclass(frozen=True)
class Row:
    """One line of MANIFEST.tsv."""

    name: str
    expect: str
    layer: str
    answer: str

    @property
    def octets(self) -> bytes:
        """The octets of the message."""
        return (DIRECTORY / f"{self.name}.dat").read_bytes()


def rows(expect: str = "") -> list[Row]:
    """Return the rows of the manifest: all, or those of one expectation."""
    found = []
    for line in (DIRECTORY / "MANIFEST.tsv").read_text("utf-8").splitlines()[1:]:
        name, _section, expected, layer, answer, *_ = line.split("\t")
        if expect in ("", expected):
            found.append(Row(name, expected, layer, answer))
    return found


def expected_values() -> dict[str, dict[str, Any]]:
    """Return the values in the 27 good messages, computed by other implementations."""
    values: dict[str, dict[str, Any]] = json.loads((DIRECTORY / "expected.json").read_text("utf-8"))
    return values
