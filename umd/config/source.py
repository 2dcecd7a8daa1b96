"""Reads the text of a configuration into a tree, and puts the command line's overrides into it."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, TypeAlias

from umd.config.notation import ConfigError, KeyPath, dotted, shorten
from umd.config.scanner import MAX_LEVELS, BeyondLimits, scan_heads
from umd.runtime.files import CannotRead, read_file

Tree: TypeAlias = dict[str, Any]
"""What TOML says: tables within tables, not validated yet."""

MAX_FILE_OCTETS: Final = 1024**2
MAX_OVERRIDE_CHARACTERS: Final = 100
"""A message shows so much of an override."""


def read_text(file: str) -> str:
    """
    Read a configuration file; line ends of CR LF become LF.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not UTF-8.
    """
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


def parse_toml(text: str, file: str | None) -> Tree:
    """
    Parse the text of a configuration file.

    Args:
        file: its path, for the message.

    Raises:
        ConfigError: the text is not TOML, or too costly to parse.
    """
    try:
        scan_heads(text)
        return tomllib.loads(text)
    except BeyondLimits as error:
        raise ConfigError([f"{file}:{error.line}: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(f"{file}", text, str(error))]) from None


def _syntax_error(file: str, text: str, message: str) -> str:
    """Move the line from the end of tomllib's message, if it has one, to the beginning."""
    match = re.search(r" \(at line (\d+), column \d+\)$", message)
    if match:
        return f"{file}:{match[1]}: {message[: match.start()]}"
    return f"{file}:{text.count(chr(10)) + 1}: {message}"


def apply_override(tree: Tree, override: str) -> KeyPath:
    """
    Put the value of one `-o key=value` into the tree.

    Returns:
        The key.

    Raises:
        ConfigError
    """
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(
            [f"{option_text(override)}: expected key=value, such as call.deadline=2s"]
        )
    if len(path) > MAX_LEVELS:
        raise ConfigError([f"{option_text(override)}: a key of more than {MAX_LEVELS} parts"])
    table = tree
    for part in path[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            reason = f"{dotted(path)} lies below a value, not a section"
            raise ConfigError([f"{option_text(override)}: {reason}"])
        table = below
    table[path[-1]] = _override_value(override, text)
    return path


def _override_value(override: str, text: str) -> Any:
    """Parse a value as TOML; text that is not TOML is a plain string."""
    document = f"value = {text}"
    try:
        scan_heads(document)
        tree = tomllib.loads(document)
    except BeyondLimits as error:
        raise ConfigError([f"{option_text(override)}: {error}"]) from None
    except tomllib.TOMLDecodeError:
        return text
    return tree["value"] if set(tree) == {"value"} else text


def option_text(override: str) -> str:
    """Return an override as it stands on the command line; a long one is cut."""
    return "-o " + shorten(override, MAX_OVERRIDE_CHARACTERS)
