"""
Scans TOML for its keys and their lines, and refuses text that would be too costly to parse.

`tomllib` keeps no line numbers. It also recurses for each level of nesting, and takes quadratic
time for a number of many digits.
"""

from __future__ import annotations

import re
from typing import Final

from umd.errors import UmdError

MAX_LEVELS: Final = 16
"""Nested brackets in a value, and parts of a key: values are walked by recursion."""
MAX_DIGITS: Final = 100
"""Digits of one number."""


class BeyondLimits(UmdError):
    """
    The text has a number, a key or a value that would be too costly to parse.

    Args:
        line: the line of it, from 1.
        reason: which limit it exceeds.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


# The quantifiers with a second `+` are possessive: a long text is never scanned twice.
_TOKEN: Final = re.compile(
    r"""
    (?P<newline> \n )
    | (?P<blank> [^\S\n]++ | \#[^\n]*+ )
    | (?P<string>
        \"{3} (?: [^"\\]++ | \\. | \"{1,2}(?!") )*+ \"{3,5}
        | '{3} (?: [^']++ | '{1,2}(?!') )*+ '{3,5}
        | "(?!"") (?: [^"\\\n]++ | \\[^\n] )*+ "
        | '(?!'') [^'\n]*+ '
    )
    | (?P<unclosed> ["'] )
    | (?P<open> [\[{] )
    | (?P<close> [\]}] )
    | (?P<dot> \. )
    | (?P<equals> = )
    | (?P<comma> , )
    | (?P<word> [^\s"'\#\[\]{}=.,]++ )
    """,
    re.VERBOSE | re.DOTALL,
)
_LONG_NUMBER: Final = re.compile(
    rf"[0-9][0-9_]{{{MAX_DIGITS}}}|0[xob][0-9A-Fa-f_]{{{MAX_DIGITS}}}"
)


def scan_heads(text: str) -> list[tuple[int, str]]:
    """
    Find each `[header]`, and each key that a `=` follows at the top level of the text.

    In a text that is not valid TOML, scanning goes on as far as it makes sense; the parser reports
    the error.

    Returns:
        `(line, source_text)` of each, in the order of the text.

    Raises:
        BeyondLimits
    """
    return _Scanner(text).scan()


class _Scanner:
    """Goes through the tokens of a text once, and counts lines, brackets and dots."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._heads: list[tuple[int, str]] = []
        self._line = 1
        self._depth = 0  # of open brackets
        self._dots = 0  # of the key that is being read
        self._head_start: int | None = None  # offset in the text; None between two heads
        self._head_line = 1
        self._head_complete = False

    def scan(self) -> list[tuple[int, str]]:
        for token in _TOKEN.finditer(self._text):
            kind = token.lastgroup
            if kind == "unclosed":
                break  # the parser's message about it is better than one made here
            if kind == "newline":
                self._end_line()
            elif kind != "blank":
                if self._head_start is None:
                    self._head_start, self._head_line = token.start(), self._line
                self._count(kind, token[0])
                self._find_end_of_head(kind, token)
        return self._heads

    def _end_line(self) -> None:
        self._line += 1
        self._dots = 0
        if not self._depth:
            self._head_start, self._head_complete = None, False

    def _count(self, kind: str | None, text: str) -> None:
        """Count what the limits are about, and raise BeyondLimits at the first excess."""
        if kind == "string":
            self._line += text.count("\n")
        elif kind == "word":
            if len(text) > MAX_DIGITS and _LONG_NUMBER.search(text):
                raise BeyondLimits(self._line, f"a number of more than {MAX_DIGITS} digits")
        elif kind == "dot":
            # A dot in a value outside of brackets belongs to a number, not to a key.
            self._dots += not self._head_complete or self._depth > 0
            if self._dots >= MAX_LEVELS:
                raise BeyondLimits(self._line, f"a key of more than {MAX_LEVELS} parts")
        else:
            self._dots = 0
        if kind == "open":
            self._depth += 1
            if self._depth > MAX_LEVELS:
                raise BeyondLimits(self._line, f"a value nested more than {MAX_LEVELS} deep")
        elif kind == "close":
            self._depth = max(self._depth - 1, 0)

    def _find_end_of_head(self, kind: str | None, token: re.Match[str]) -> None:
        if self._head_complete or self._depth or kind not in ("equals", "close"):
            return
        end = token.start() if kind == "equals" else token.end()
        self._heads.append((self._head_line, self._text[self._head_start : end]))
        self._head_complete = True
