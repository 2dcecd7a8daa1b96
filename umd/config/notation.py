"""How messages write keys and values, and the exception that carries the messages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from umd.errors import UmdError

KeyPath: TypeAlias = tuple[str, ...]
"""The parts of a key from the top of the file: `("call", "deadline")`."""

MAX_SHOWN_CHARACTERS: Final = 60
"""A longer key or value is cut, so that a message stays readable."""
_BARE_KEY: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_SHOWN_CHARACTERS}}}")
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class ConfigError(UmdError):
    """
    A configuration has mistakes.

    Args:
        mistakes: one message for each, with the place of the mistake.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(one_line(mistake) for mistake in mistakes)
        super().__init__("\n".join(self.mistakes))


def dotted(path: KeyPath) -> str:
    """Return a key as TOML writes it, such as `backend."a b".delay`."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else quote(part) for part in path)


def quote(text: str) -> str:
    """Return a text as a TOML string in double quotes; a long text is cut."""
    text = shorten(text, MAX_SHOWN_CHARACTERS)
    return '"' + one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def show_value(value: Any) -> str:
    """Return a value of TOML on one line; a long one is cut."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # `default` is for dates and times, which TOML has and JSON does not.
    return shorten(json.dumps(value, ensure_ascii=True, default=str), MAX_SHOWN_CHARACTERS)


def shorten(text: str, max_characters: int) -> str:
    """Return a text, cut to `max_characters` and marked with `...` if it is longer."""
    return text if len(text) <= max_characters else text[: max_characters - 3] + "..."


def one_line(text: str) -> str:
    """Return a text with its control characters escaped, which could act on a terminal."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    long_escape = f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
    return _SHORT_ESCAPES.get(character, long_escape)
