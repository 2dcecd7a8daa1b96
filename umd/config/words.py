"""How keys and values are written in messages, and the error that carries the messages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from umd.errors import UmdError


class ConfigError(UmdError):
    """The configuration has mistakes; nothing was started."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(one_line(mistake) for mistake in mistakes)
        super().__init__("\n".join(self.mistakes))


def dotted(path: KeyPath) -> str:
    """A key as one would write it in TOML, such as `backend."a b".delay`."""
    return ".".join(part if _BARE.fullmatch(part) else quote(part) for part in path)


_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")


def quote(text: str) -> str:
    """A basic string of TOML, of which a long one shows its beginning."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return '"' + one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def one_line(text: str) -> str:
    """With whatever would move a terminal's cursor escaped as in TOML."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}")


_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
KeyPath: TypeAlias = tuple[str, ...]


def show_value(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # The rest is what TOML has and JSON has not: dates and times.
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
