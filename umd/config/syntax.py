"""Reads TOML within limits: the file, and the `key=value` overrides of the command line."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, TypeAlias

from umd.config.words import ConfigError, KeyPath, dotted
from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_file

Tree: TypeAlias = dict[str, Any]
MAX_FILE_OCTETS: Final = 1024**2
MAX_LEVELS: Final = 16
"""Of brackets in a value, and of parts in a key: the tree is walked by recursion."""
MAX_DIGITS: Final = 100


def read_text(file: str) -> str:
    """The text with line feeds alone at the ends of its lines."""
    if not file:
        raise ConfigError(['"": expected the path of a configuration file'])
    try:
        octets = read_file(file, MAX_FILE_OCTETS)
    except CannotRead as error:
        raise ConfigError([f"{file}: {error}"]) from None
    try:
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: not UTF-8 at octet {error.start}"]) from None


def read_toml(text: str, file: str | None) -> Tree:
    try:
        scan_heads(text)
        return tomllib.loads(text)
    except BeyondLimits as error:
        raise ConfigError([f"{file}:{error.line}: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(f"{file}", text, str(error))]) from None


def _syntax_error(file: str, text: str, said: str) -> str:
    match = re.search(r" \(at line (\d+), column \d+\)$", said)
    if match:
        return f"{file}:{match[1]}: {said[: match.start()]}"
    return f"{file}:{text.count(chr(10)) + 1}: {said}"


def override_key(tree: Tree, override: str) -> KeyPath:
    """Put a value into the tree, and tell which key it is the value of."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError([f"{option(override)}: expected key=value, such as call.deadline=2s"])
    if len(path) > MAX_LEVELS:
        raise ConfigError([f"{option(override)}: a key of more than {MAX_LEVELS} parts"])
    node = tree
    for part in path[:-1]:
        below = node.setdefault(part, {})
        if not isinstance(below, dict):
            said = f"{dotted(path)} lies below a value, not a section"
            raise ConfigError([f"{option(override)}: {said}"])
        node = below
    node[path[-1]] = _override_value(override, text)
    return path


def _override_value(override: str, text: str) -> Any:
    toml = f"value = {text}"
    try:
        scan_heads(toml)
        read = tomllib.loads(toml)
    except BeyondLimits as error:
        raise ConfigError([f"{option(override)}: {error}"]) from None
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text


def option(override: str) -> str:
    return "-o " + (override if len(override) <= 100 else override[:97] + "...")


class BeyondLimits(UmdError):
    """The text holds what would cost too much to read."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


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
    | (?P<endless> ["'] )
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
    Each `[header]` and each key before a `=`, raw, with its line, in one pass over the text.

    A text that is no TOML is followed for as long as it makes sense.

    Raises:
        BeyondLimits: tomllib would fail otherwise than by TOMLDecodeError, or take very long.
    """
    heads: list[tuple[int, str]] = []
    line = first = 1
    depth = dots = 0
    start: int | None = None  # of the head, until a value or the end of a line follows it
    told = False  # the head of this line is complete
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "blank":
            continue
        if kind == "endless":
            break  # tomllib says it better
        if kind == "newline":
            line += 1
            dots = 0
            if not depth:
                start, told = None, False
            continue
        if start is None:
            start, first = token.start(), line
        if kind == "string":
            line += token[0].count("\n")
        elif kind == "dot":
            # Beside brackets, a value with dots is none of TOML.
            dots += not told or depth > 0
            if dots >= MAX_LEVELS:
                raise BeyondLimits(line, f"a key of more than {MAX_LEVELS} parts")
        elif kind == "word":
            if len(token[0]) > MAX_DIGITS and _LONG_NUMBER.search(token[0]):
                raise BeyondLimits(line, f"a number of more than {MAX_DIGITS} digits")
        else:
            dots = 0
        if kind == "open":
            depth += 1
            if depth > MAX_LEVELS:
                raise BeyondLimits(line, f"a value nested more than {MAX_LEVELS} deep")
        elif kind == "close":
            depth = max(depth - 1, 0)
        if not told and not depth:
            if kind == "equals":
                heads.append((first, text[start : token.start()]))
                told = True
            elif kind == "close":
                heads.append((first, text[start : token.end()]))
                told = True
    return heads
