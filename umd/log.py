"""Events become lines: structlog on standard error, Twisted's own log through the same pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, BinaryIO, Final, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import implementer

from umd.call.call import Call
from umd.call.events import (
    Alerting,
    Connected,
    Disconnected,
    DisconnectRequested,
    LifecycleEvent,
    Placed,
    Resumed,
)

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Lines:
    """Writes whole lines to a stream, and loses them rather than stop what umd is there for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.lost = 0
        """Lines that could not be written: the pipe was closed, the disk full."""

    def write(self, line: bytes) -> None:
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1

    # structlog calls the method named like the level.
    debug = info = warning = error = critical = msg = write


Tap: TypeAlias = Callable[[EventDict], bool]
"""Sees each event before it is written; True when that need not happen any more."""


def configure(
    level: str,
    format: str = "auto",
    stream: BinaryIO | None = None,
    tap: Tap | None = None,
) -> FilteringBoundLogger:
    """
    Set up logging for the process; called by the wiring, nowhere else.

    Args:
        level: the least one that is written.
        format: "json", "console", or "auto": colours on a terminal, JSON elsewhere.
        stream: standard error by default.
        tap: for a screen of its own.

    Returns:
        The logger to hand to whoever logs.
    """
    stream = stream or sys.stderr.buffer
    if format == "auto":
        format = "console" if stream.isatty() else "json"
    structlog.configure(
        processors=[
            _begin_line,
            structlog.processors.format_exc_info,
            *([_tapped(tap)] if tap else []),
            _json_line if format == "json" else _console_line(stream.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: Lines(stream),
        cache_logger_on_first_use=True,
    )
    log: FilteringBoundLogger = structlog.get_logger().bind()
    return log


def adopt_twisted(log: FilteringBoundLogger) -> None:
    """Send what Twisted itself logs through `log`."""

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        level = event["log_level"].name
        words = {"logger": event.get("log_namespace", "-"), "text": formatEvent(event)}
        failure = event.get("log_failure")
        if failure is not None:
            words["exc_info"] = (failure.type, failure.value, failure.getTracebackObject())
        # Twisted's info is what a debugger wants to know: ports opened, factories started.
        name = {"info": "debug", "warn": "warning"}.get(level, level)
        getattr(log, name)("twisted.said", **words)

    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)


def lifecycle_log(log: FilteringBoundLogger) -> Callable[[Call, LifecycleEvent], None]:
    """Make the writer of lifecycle events: a line each, and the last one tells the whole story."""

    def write(call: Call, event: LifecycleEvent) -> None:
        match event:
            case Placed():
                log.info(
                    "call.placed",
                    call=event.call,
                    leg=event.leg,
                    backend=event.backend,
                    number=event.number,
                    owner=event.owner,
                    request_id=event.request_id,
                )
            case Resumed():
                log.info(
                    "call.resumed",
                    call=event.call,
                    leg=event.leg,
                    backend=event.backend,
                    number=event.number,
                    state=event.state,
                )
            case Alerting():
                log.info("call.alerting", call=event.call, leg=call.leg)
            case Connected():
                setup_s = round(event.at - call.began_at, 3)
                log.info("call.connected", call=event.call, leg=call.leg, setup_s=setup_s)
            case DisconnectRequested():
                log.info(
                    "call.disconnect-requested",
                    call=event.call,
                    leg=call.leg,
                    by=event.cause.by,
                    principal=event.principal,
                    request_id=event.request_id,
                )
            case Disconnected():
                log.info("call.disconnected", **_story(call, event))

    return write


def _story(call: Call, event: Disconnected) -> dict[str, Any]:
    cause = event.cause
    story: dict[str, Any] = {
        "call": call.id,
        "leg": call.leg,
        "backend": call.backend,
        "number": call.number,
        "owner": call.owner,
        "outcome": "ended" if event.confirmed else "ended-unconfirmed",
        "confirmed": event.confirmed,
        "by": cause.by,
        "cause": cause.q850,
        "event_cause": cause.event_cause,
        "sip_status": cause.sip_status,
        "reasons": cause.reasons,
        "events": event.seq,
        "lived_s": round(event.at - call.began_at, 3),
    }
    if call.connected_at:
        story["talked_s"] = round(event.at - call.connected_at, 3)
    if call.asked_at:
        story["took_ms"] = round((event.at - call.asked_at) * 1000, 3)
    if event.superseded is not None:
        story["superseded_by"] = event.superseded.by
        story["superseded_cause"] = event.superseded.q850
        story["superseded_sip_status"] = event.superseded.sip_status
    return story


def _begin_line(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Put what every line has where the eye finds it: when, how bad, what."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    # structlog logs an exception as an error of that name.
    level = "error" if level == "exception" else level
    return {"at": now, "level": level, "event": event.pop("event"), **event}


def _tapped(tap: Tap) -> Processor:
    def show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if tap(event):
            raise structlog.DropEvent
        return event

    return show


def _json_line(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=repr)


def _console_line(colors: bool) -> Callable[[WrappedLogger, str, EventDict], bytes]:
    # Values are written as their repr: a stranger's octets must not drive somebody's terminal.
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, repr_native_str=True, timestamp_key="at", pad_event_to=28
    )

    def render(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        return str(renderer(logger, name, event)).encode(errors="backslashreplace")

    return render
