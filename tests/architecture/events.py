"""Finds every log event in the source: its name, its level and its keys."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.architecture.imports import Source

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9.-]*")
_LEVELS: Final = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error",
}  # fmt: skip
"""The level of a line by the method of the logger that writes it."""


@dataclass
class LogEvent:
    """What the calls of a logger say about one event."""

    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)
    """`module:line` of each call."""
    open: bool = False
    """Whether a call passes more keys by `**`, in a dict, or later."""


def log_events(source: Source) -> dict[str, LogEvent]:
    """Return the log events of the package by name."""
    events: dict[str, LogEvent] = {}
    for module, tree in source.trees.items():
        for call in _log_calls(tree):
            event = events.setdefault(_name_in(call), LogEvent())
            event.places.append(f"{module}:{call.lineno}")
            event.levels.add(_level_of(call))
            event.keys |= {word.arg for word in call.keywords if word.arg not in (None, "exc_info")}
            event.open |= len(call.args) > 1 or any(word.arg is None for word in call.keywords)
    return dict(sorted(events.items()))


def _log_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield calls such as `log.info("soap.answered", ...)` and `Limited(log.info, "x.y", ...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_in(node) and _level_of(node):
            yield node


def _name_in(call: ast.Call) -> str:
    """Return the event's name: the first or the second argument of the call."""
    for argument in call.args[:2]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value if _NAME.fullmatch(argument.value) else ""
    return ""


def _level_of(call: ast.Call) -> str:
    """Return the level: the name of the method that is called, or that is the first argument."""
    for method in (call.func, call.args[0]):
        if isinstance(method, ast.Attribute):
            name = method.attr.removeprefix("_")
            if name in _LEVELS:
                return _LEVELS[name]
    return ""
