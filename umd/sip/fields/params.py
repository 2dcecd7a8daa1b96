"""The parameters of URIs and header fields: `;name=value` or `;name` (RFC 3261 §25.1)."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from umd.sip.fields.syntax import QUOTED, unquote
from umd.sip.names import TOKEN

Params: TypeAlias = tuple[tuple[str, str | None], ...]
"""
Parameters in their order: name, and value as written (with its quotes) or None.

Names are in lower case, since they are compared without case (RFC 3261 §7.3.1).
"""

MAX_PARAMS: Final = 64
"""Parameters of one value: a bound for the work, far above what any known sender writes."""

PARAM_VALUE: Final = r"[!#-+\--:=?-\[\]-~]+"
"""
The value of a parameter that is not a quoted string, as a pattern.

Wider than `gen-value`: some senders write "/", "=" or "@" in branches and tags, and none of these
is a separator here.
"""
PARAMS: Final = rf"(?:;{TOKEN}(?:=(?:{PARAM_VALUE}|{QUOTED}))?)*"
"""All parameters of a value, as a pattern."""

_each_param: Final = re.compile(rf";({TOKEN})(?:=({PARAM_VALUE}|{QUOTED}))?", re.DOTALL).finditer


def split_params(text: str) -> Params:
    """Return the parameters in a text that matches `PARAMS`."""
    if not text:
        return ()
    if '"' in text:
        return tuple((m.group(1).lower(), m.group(2)) for m in _each_param(text))
    pairs = []
    for part in text[1:].split(";"):
        name, has_value, value = part.partition("=")
        pairs.append((name.lower(), value if has_value else None))
    return tuple(pairs)


def join_params(params: Params) -> str:
    """Return the parameters as text, each with its semicolon."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def param(params: Params, name: str) -> str | None:
    """Return the value of a parameter without its quotes; None if it is absent or has no value."""
    for key, value in params:
        if key == name:
            return unquote(value) if value else value
    return None


def has_param(params: Params, name: str) -> bool:
    """Whether the parameter is present, with a value or without."""
    return any(key == name for key, _ in params)


def with_params(params: Params, changes: dict[str, str | None]) -> Params:
    """Return the parameters with these set: in their place if present, else at the end."""
    kept = tuple((key, changes.get(key, value)) for key, value in params)
    names = {key for key, _ in params}
    return kept + tuple(item for item in changes.items() if item[0] not in names)
