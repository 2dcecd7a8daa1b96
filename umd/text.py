"""Text shared by several rooms: wall time, JSON of text from the network, mail addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Final

import orjson

MAX_JSON_DEPTH: Final = 8
"""How many containers within each other `json_safe` keeps; a deeper one becomes its `repr`."""

# Text from the network is UTF-8 decoded with `surrogateescape` (PEP 383): a byte that is not valid
# UTF-8 becomes a lone surrogate. orjson refuses to write or to read a lone surrogate.


def iso_time(at: float) -> str:
    """
    Return a time in ISO 8601, in UTC, with milliseconds.

    Args:
        at: seconds since the epoch.
    """
    second = int(at)
    micro = round((at - second) * 1e6)
    if micro == 1_000_000:
        second, micro = second + 1, 0
    return f"{_date_and_time(second)}.{micro // 1000:03d}Z"


# Most times that umd writes are the current time, so consecutive ones share their second.
@lru_cache(maxsize=8)
def _date_and_time(second: int) -> str:
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def dump_json(value: Any) -> bytes:
    """
    Write strings, numbers and lists of them as JSON from which `load_json` restores the same value.

    A lone surrogate is written as an escape (`\\udcff`). Strict readers, orjson among them, refuse
    such JSON; use `json_safe` for JSON that others read.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value).encode("ascii")


def load_json(octets: bytes) -> Any:
    """
    Read JSON, lone surrogates included.

    Raises:
        ValueError: the octets are not JSON, or its values are nested too deeply.
    """
    try:
        return orjson.loads(octets)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(octets)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def json_safe(value: object, depth: int = MAX_JSON_DEPTH) -> Any:
    """
    Return a copy of any value that can be written as JSON for every reader.

    Bytes that were not UTF-8 become visible escapes (`\\udcff`), and a value that JSON does not
    have becomes its `repr`.

    Args:
        value: the value, of any type.
        depth: how many containers within each other to keep.
    """
    try:
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int) and abs(value) < 1 << 63:
            return int(value)
        if depth and isinstance(value, Mapping):
            return {json_safe(str(key)): json_safe(item, depth - 1) for key, item in value.items()}
        if depth and isinstance(value, (list, tuple)):
            return [json_safe(item, depth - 1) for item in value]
        text = value if isinstance(value, str) else repr(value)
        return text.encode(errors="backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__} without a text>"


# RFC 5322 section 3.4.1, dot-atoms alone; the longest address is that of RFC 5321 section 4.5.3.1.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_MAIL_ADDRESS: Final = re.compile(
    rf"(?=.{{1,254}}\Z){_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)


def is_mail_address(text: str) -> bool:
    """Tell whether `text` is one plain mail address, without a display name or a quoted part."""
    return _MAIL_ADDRESS.fullmatch(text) is not None
