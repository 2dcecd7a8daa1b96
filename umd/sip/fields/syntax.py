"""
The lexical rules that header fields share: quoted strings, lists, blanks, limits (RFC 3261 §25.1).

A header field is matched first as most senders write it. If that fails, the optional blanks around
its separators (SEMI, EQUAL, SLASH, COLON) are removed, and it is matched again. All patterns take
linear time: no repetition has two ways to match the same text.
"""

from __future__ import annotations

import re
from typing import Final

from umd.errors import UmdError

MAX_VALUE_CHARACTERS: Final = 8192
"""Longest value that is read leniently. A line of a message has no more (`MAX_LINE_CHARACTERS`)."""
MAX_SEPARATORS: Final = 512
"""Quotes, blanks, semicolons, brackets and equals signs in a value that is read leniently."""
MAX_VALUES: Final = 256
"""Elements of one comma-separated list, and values of one header field name in a message."""

QUOTED: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
"""`quoted-string`, as a pattern."""
HOST: Final = r"[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.]+\]"
"""`host`, as a pattern. The underscore is not allowed in host names, but many networks use it."""
SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.\-]*"
"""`scheme`, as a pattern."""

# Splits at quoted strings and <addresses>, including one that is not closed.
_split_at_quoted: Final = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*"?|<[^<>]*)', re.DOTALL).split
_blanks: Final = re.compile(r"[ \t]+").sub
_empty_params: Final = re.compile(r";(?:[ \t]*;)+").sub
# Matches up to a comma, or up to a quote or bracket that is not closed; also the empty text.
_list_element: Final = re.compile(
    rf'[^",<]*(?:(?:{QUOTED}|<[^>]*>)[^",<]*)*', re.DOTALL
).match


class FieldError(UmdError):
    """A text is not a valid value of its header field."""


class ListError(FieldError):
    """A value is not a comma-separated list, or the list has too many elements."""


def check_effort(text: str, error: type[FieldError]) -> None:
    """
    Bound the work for a value that is about to be read leniently.

    Raises:
        FieldError: an `error`; the value is too long or has too many separators.
    """
    if len(text) <= MAX_SEPARATORS:
        return
    if len(text) > MAX_VALUE_CHARACTERS:
        raise error(f"longer than {MAX_VALUE_CHARACTERS} characters")
    if sum(map(text.count, '" \t;<=')) > MAX_SEPARATORS:
        raise error(f"more than {MAX_SEPARATORS} separators")


def remove_blanks(text: str, separators: str) -> str:
    """
    Remove the blanks around these separators and reduce all others to one SP.

    Quoted strings and addresses in brackets stay as they are.
    """
    parts = _split_at_quoted(text)
    for index in range(0, len(parts), 2):
        part = _blanks(" ", parts[index])
        for separator in separators:
            part = part.replace(f" {separator}", separator).replace(f"{separator} ", separator)
        parts[index] = part
    return "".join(parts).strip(" ")


def remove_empty_params(text: str) -> str:
    """Remove semicolons without a parameter, such as one of `;;` and one at the end."""
    parts = _split_at_quoted(text)
    for index in range(0, len(parts), 2):
        part = _empty_params(";", parts[index])
        parts[index] = part if index + 1 < len(parts) else part.rstrip("; \t")
    return "".join(parts)


def unquote(text: str) -> str:
    """Return the content of a quoted string with its escapes resolved, other text unchanged."""
    if len(text) < 2 or text[0] != '"':
        return text
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner


def quote(text: str) -> str:
    """Return the text as a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_list(text: str) -> list[str]:
    """
    Split a comma-separated list; empty elements are kept.

    Commas in a quoted string or between < and > do not separate elements.

    Raises:
        ListError: a quote or bracket is not closed, or there are more than `MAX_VALUES` elements.
    """
    if text.count(",") >= MAX_VALUES:
        raise ListError(f"more than {MAX_VALUES} elements")
    if '"' not in text and "<" not in text:
        return [element.strip(" \t") for element in text.split(",")]
    if text.count('"') + text.count("<") > 2 * MAX_SEPARATORS:
        raise ListError("too many quoted strings or brackets")
    elements, at, end = [], 0, len(text)
    while True:
        element = _list_element(text, at)
        assert element is not None
        elements.append(element.group().strip(" \t"))
        at = element.end()
        if at == end:
            return elements
        if text[at] != ",":
            raise ListError(f"{text[at]} is not closed")
        at += 1


def excerpt(text: str) -> str:
    """Return the beginning of a value, quoted, for an error text."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
