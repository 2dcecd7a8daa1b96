"""Sets up the log of the process: structlog, and Twisted's own log through the same writer."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import implementer

from umd.runtime.log_lines import (
    add_time_and_level,
    console_renderer,
    escape_controls,
    format_exception,
    json_line,
)
from umd.runtime.log_sinks import LineWriter, Sink, nonblocking_sink
from umd.text import iso_time

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

Renderer: TypeAlias = Callable[[WrappedLogger, str, EventDict], bytes]
"""Renders an event of a level as a line (structlog's last processor)."""
Tap: TypeAlias = Callable[[EventDict], bool]
"""Is given each event of any level before it is written; returns True to keep it out of the log."""


def configure(
    level: str,
    format: str = "auto",
    sink: Sink | None = None,
    tap: Tap | None = None,
    reactor: Any = None,
) -> FilteringBoundLogger:
    """
    Set up logging for the process. Only the wiring calls this.

    A log call never raises and never waits for the reader of the log.

    Args:
        level: the lowest level that is written.
        format: "json", "console", or "auto": console on a terminal, JSON elsewhere.
        sink: standard error by default.
        tap: is given every event first; the demo shows its story with it.
        reactor: reports when a slow reader takes more. When it stops, the backlog is written.

    Returns:
        The logger of the process.
    """
    sink = nonblocking_sink(sys.stderr) if sink is None else sink
    terminal = sink.isatty()
    if format == "auto":
        format = "console" if terminal else "json"
    render = json_line if format == "json" else console_renderer(terminal)

    lowest = LEVELS[level]
    writer = _make_writer(sink, render, reactor)
    writer.accepts_json = format == "json" and tap is None and lowest <= logging.INFO
    structlog.configure(
        processors=[
            add_time_and_level,
            format_exception,
            *([_pass_to(tap), _drop_below(lowest)] if tap else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET if tap else lowest),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    log: FilteringBoundLogger = structlog.get_logger().bind()
    return log


def _make_writer(sink: Sink, render: Renderer, reactor: Any) -> LineWriter:
    """Make the writer of the log; it writes its backlog when the reactor stops."""

    def loss_notice(lost: int) -> bytes:
        event: EventDict = {"event": "log.lost", "lines": lost}
        return render(None, "warning", add_time_and_level(None, "warning", event))

    writer = LineWriter(sink, loss_notice, reactor)
    if reactor is not None:
        reactor.addSystemEventTrigger("after", "shutdown", writer.finish)
    return writer


def adopt_twisted(log: FilteringBoundLogger) -> None:
    """Send Twisted's own log events to `log`, as `twisted.said`."""

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event["log_level"].name
        keys = {"logger": event.get("log_namespace", "-"), "text": formatEvent(event)}
        failure = event.get("log_failure")
        if failure is not None:
            keys["exc_info"] = (failure.type, failure.value, failure.getTracebackObject())
        # Twisted's info is of interest to a debugger only: ports opened, factories started.
        method = {"info": "debug", "warn": "warning"}.get(level, level)
        getattr(log, method)("twisted.said", **keys)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)


def json_line_writer(log: FilteringBoundLogger) -> Callable[[bytes], None] | None:
    """
    Return a function that writes a rendered JSON line of level info and bypasses structlog.

    Args:
        log: made by `configure`.

    Returns:
        None when the log has another format, a higher level, or a tap.
    """
    writer = getattr(log, "_logger", None)
    if not isinstance(writer, LineWriter) or not writer.accepts_json:
        return None
    write = writer.write_soon

    def write_json(line: bytes) -> None:
        write(line if line.isascii() and b"\x7f" not in line else escape_controls(line))

    return write_json


def quick_info(log: FilteringBoundLogger) -> Callable[[str, EventDict], None] | None:
    """
    Return a function that writes an event as `log.info` does, in a third of the time.

    Args:
        log: made by `configure`.

    Returns:
        None when the log drops events of level info.
    """
    if not log.is_enabled_for(logging.INFO):
        return None
    write = json_line_writer(log)

    def info(event: str, keys: EventDict) -> None:
        if write is not None:
            try:
                line = {"at": iso_time(time.time()), "level": "info", "event": event, **keys}
                write(orjson.dumps(line))
                return
            except TypeError:
                pass  # a value that JSON has no type for
        log.info(event, **keys)

    return info


def _pass_to(tap: Tap) -> Processor:
    def pass_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        try:
            handled = tap(event)
        except Exception:
            handled = False  # an error of the tap must not reach the caller of the logger
        if handled:
            raise structlog.DropEvent
        return event

    return pass_event


def _drop_below(lowest: int) -> Processor:
    """Drop events below a level; needed where the logger passes all levels to the tap."""

    def drop(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if LEVELS.get(level, logging.CRITICAL) < lowest:
            raise structlog.DropEvent
        return event

    return drop
