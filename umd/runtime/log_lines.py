"""Renders log events as lines: JSON for programs, aligned and coloured for a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from umd.text import iso_time, json_safe

_TERMINAL_CONTROLS: Final = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""C1 controls, line separators and direction overrides, which JSON does not escape."""
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f]|" + _TERMINAL_CONTROLS.pattern)


def add_time_and_level(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Put the keys that every line has first: `at`, `level` and `event` (structlog processor)."""
    return {"at": iso_time(time.time()), "level": level, "event": event.pop("event"), **event}


def format_exception(logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """
    Replace `exc_info` by the traceback's text under `exception` (structlog processor).

    An exception whose own `__str__` raises is named by its class.
    """
    try:
        return structlog.processors.format_exc_info(logger, level, event)
    except Exception as error:
        event.pop("exc_info", None)
        return {**event, "exception": f"cannot be told: {type(error).__name__}"}


def json_line(_: WrappedLogger, level: str, event: EventDict) -> bytes:
    """Render an event as one JSON object without a line feed (structlog renderer)."""
    try:
        line = orjson.dumps(event, default=repr)
    except Exception:
        # A lone surrogate, a key that is not a string, an integer over 64 bits, a repr that raises.
        line = orjson.dumps(json_safe(event))
    return escape_controls(line)


def console_renderer(colors: bool) -> Callable[[WrappedLogger, str, EventDict], bytes]:
    """Return the structlog renderer for a terminal; an event that it fails on becomes JSON."""
    # Values are rendered by `repr`, so that text from the network cannot control the terminal.
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, repr_native_str=True, timestamp_key="at", pad_event_to=28
    )

    def render(logger: WrappedLogger, level: str, event: EventDict) -> bytes:
        try:
            if "exception" in event:
                # The renderer writes a traceback without `repr`.
                event["exception"] = _UNPRINTABLE.sub(_escape, event["exception"])
            return str(renderer(logger, level, {**event})).encode(errors="backslashreplace")
        except Exception:
            return json_line(logger, level, event)

    return render


def escape_controls(line: bytes) -> bytes:
    """Escape in a JSON line the characters that would control a terminal that shows it."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _TERMINAL_CONTROLS.sub(_escape, line.decode()).encode()


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
