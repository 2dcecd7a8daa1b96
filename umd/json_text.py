"""
JSON of text that came from strangers: what orjson cannot write is written all the same.

Text of the wire is UTF-8 with `surrogateescape` (PEP 383): an octet that is no UTF-8 is a lone
surrogate, which orjson neither writes nor reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

DEEPEST: Final = 8
"""Values within values that `plain` keeps."""


def write_exactly(value: Any) -> bytes:
    """
    Strings, numbers and lists of these as JSON that `read_exactly` gives back as they were.

    A lone surrogate is written as its escape, which orjson and other strict readers refuse.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode("ascii")


def read_exactly(octets: bytes) -> Any:
    """
    Read what `write_exactly` wrote.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(octets)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(octets)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def plain(value: object, depth: int = DEEPEST) -> Any:
    """Something like `value` that every reader of JSON takes, whatever it is."""
    try:
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int) and abs(value) < 1 << 63:
            return int(value)
        if depth and isinstance(value, Mapping):
            return {plain(str(key)): plain(one, depth - 1) for key, one in value.items()}
        if depth and isinstance(value, (list, tuple)):
            return [plain(one, depth - 1) for one in value]
        text = value if isinstance(value, str) else repr(value)
        return text.encode(errors="backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__} that cannot be told>"
