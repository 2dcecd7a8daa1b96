"""Events become lines: structlog on standard error, Twisted's own log through the same pipe."""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from io import FileIO
from typing import Any, Final, Protocol, TypeAlias

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogBeginner
from zope.interface import implementer

from umd.text import iso_time, json_safe

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


AT_ONCE: Final = 1 << 16
"""Octets that are handed to the system in one call, or some more."""


class Sink(Protocol):
    """What lines go to: `write` takes what it can and says how much, None when it would block."""

    def write(self, octets: bytes, /) -> int | None: ...

    def fileno(self) -> int: ...

    def isatty(self) -> bool: ...


class Lines:
    """
    Writes whole lines, and loses them rather than stop what umd is there for.

    What a slow reader has not taken yet is kept up to `backlog` octets. Then lines are lost until
    it has taken what is kept, and one line tells how many.

    Args:
        sink: see `unblocked`.
        notice: writes the line that tells how many were lost.
        reactor: says when the sink takes more; without one, the next line finds out.
        backlog: in octets; a burst of a few thousand lines is no reason to lose any.
    """

    def __init__(
        self,
        sink: Sink,
        notice: Callable[[int], bytes] = b"(%d lines lost)".__mod__,
        reactor: Any = None,
        backlog: int = 1 << 20,
    ) -> None:
        self.lost = 0
        """Lines that could not be written: nobody read the pipe or it was closed, the disk full."""
        self.takes_json = False
        """Whether a line is JSON, one of level info is written, and nobody else sees it before."""
        self._sink = sink
        self._notice = notice
        self._reactor = reactor
        self._limit = backlog
        self._kept: deque[tuple[bytes, int]] = deque()
        """`(octets, 0)` for a line, `(octets, count)` for the notice of so many lost."""
        self._size = 0
        self._cut = False
        """The first one kept has been written in part; its end must follow, whatever comes."""
        self._untold = 0
        self._watched = False
        self._soon = False
        """Somebody will write what is kept when this turn of the reactor is over."""

    def write(self, line: bytes) -> None:
        """Write a line at once."""
        if self._kept:
            self._flush()
        self._add(line)
        self._flush()

    def write_soon(self, line: bytes) -> None:
        """Write a line with the others of this turn of the reactor: a call of write costs more."""
        if self._untold or self._reactor is None or not self._reactor.running:
            self.write(line)
            return
        if self._size >= AT_ONCE:
            self._flush()
            self._add(line)
        else:
            self._keep(line, 0)
        if not self._soon:
            self._soon = True
            self._reactor.callLater(0, self._turn_over)

    # structlog calls the method named like the level.
    debug = info = msg = write_soon
    warning = error = critical = write

    def _turn_over(self) -> None:
        self._soon = False
        self._flush()

    def _add(self, line: bytes) -> None:
        if self._kept and (self._untold or self._size + len(line) > self._limit):
            self._lose(0)
            return
        self._tell()
        self._keep(line, 0)

    def finish(self, patience: float = 2.0) -> None:
        """Write what is kept, at the end of the process; waits for a reader so many seconds."""
        self._unwatch()
        self._reactor = None
        self._flush()
        if not self._kept:
            return
        until = time.monotonic() + patience
        poll = select.poll()
        poll.register(self._sink.fileno(), select.POLLOUT)
        while self._kept and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            before = self._size
            self._flush()
            if self._size == before:
                return

    def _keep(self, line: bytes, told: int) -> None:
        self._kept.append((line + b"\n", told))
        self._size += len(line) + 1

    def _tell(self) -> None:
        if self._untold:
            self._keep(self._notice(self._untold), self._untold)
            self._untold = 0

    def _lose(self, told: int) -> None:
        self.lost += not told
        self._untold += told or 1

    def _flush(self) -> None:
        while self._kept:
            try:
                taken = self._sink.write(self._first())
            except (OSError, ValueError):
                self._drop()
                break
            if not taken:
                self._watch()
                return
            self._take_off(taken)
            if not self._kept:
                self._tell()
        self._unwatch()

    def _first(self) -> bytes:
        """As many of the lines that are kept as are written at once."""
        if self._size <= AT_ONCE:
            return b"".join([line for line, _ in self._kept])
        octets: list[bytes] = []
        size = 0
        for line, _ in self._kept:
            octets.append(line)
            size += len(line)
            if size >= AT_ONCE:
                break
        return b"".join(octets)

    def _take_off(self, taken: int) -> None:
        self._size -= taken
        self._cut = False
        if self._size == 0:
            self._kept.clear()
            return
        while taken:
            octets, told = self._kept[0]
            if taken < len(octets):
                self._kept[0] = (octets[taken:], told)
                self._cut = True
                return
            self._kept.popleft()
            taken -= len(octets)

    def _drop(self) -> None:
        while len(self._kept) > self._cut:
            octets, told = self._kept.pop()
            self._size -= len(octets)
            self._lose(told)

    # -- what the reactor calls (IWriteDescriptor)

    def fileno(self) -> int:
        return self._sink.fileno()

    def logPrefix(self) -> str:
        return "log"

    def doWrite(self) -> None:
        self._flush()

    def connectionLost(self, reason: object) -> None:
        self._watched = False
        # Either nobody reads any more, which the attempt tells, or the reactor stops.
        reactor, self._reactor = self._reactor, None
        self._flush()
        self._reactor = reactor

    def _watch(self) -> None:
        if self._reactor is not None and not self._watched:
            self._reactor.addWriter(self)
            self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._reactor.removeWriter(self)


def unblocked(stream: Any) -> Sink:
    """
    A way to write to the descriptor of a stream that does not wait for who reads it.

    O_NONBLOCK is a flag of the open file, which we share with the shell and our siblings, so it is
    not set there: a pipe is opened once more, a socket is told with each octet string. Regular
    files and terminals are written to as they are.
    """
    if stream is None:
        return open(os.devnull, "wb", buffering=0)
    descriptor = stream.fileno()
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(descriptor)
    if stat.S_ISFIFO(mode):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return FileIO(os.open(f"/proc/self/fd/{descriptor}", flags), "wb")
        except OSError:
            # No /proc, a pipe of another user, or nobody reads it any more.
            return _Pipe(descriptor)
    return FileIO(descriptor, "wb", closefd=False)


class _Socket:
    """Such as systemd's journal gives to a service."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def write(self, octets: bytes, /) -> int | None:
        try:
            return self._socket.send(octets, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return None

    def fileno(self) -> int:
        return self._socket.fileno()

    def isatty(self) -> bool:
        return False


class _Pipe:
    """A pipe that cannot be opened once more: a writable one takes PIPE_BUF without waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, octets: bytes, /) -> int | None:
        if not self._poll.poll(0):
            return None
        return os.write(self._descriptor, octets[: select.PIPE_BUF])

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False


Tap: TypeAlias = Callable[[EventDict], bool]
"""Sees each event, of whatever level, before it is written; True when that is not needed."""


def configure(
    level: str,
    format: str = "auto",
    sink: Sink | None = None,
    tap: Tap | None = None,
    reactor: Any = None,
) -> FilteringBoundLogger:
    """
    Set up logging for the process; called by the wiring, nowhere else.

    Nothing that is logged raises an error in whoever logs it, or makes it wait.

    Args:
        level: the least one that is written.
        format: "json", "console", or "auto": colours on a terminal, JSON elsewhere.
        sink: standard error by default.
        tap: for a screen of its own.
        reactor: writes on when a slow reader takes more, and writes the rest when it stops.

    Returns:
        The logger to hand to whoever logs.
    """
    sink = unblocked(sys.stderr) if sink is None else sink
    terminal = sink.isatty()
    if format == "auto":
        format = "console" if terminal else "json"
    render = _json_line if format == "json" else _console_line(terminal)

    def notice(lost: int) -> bytes:
        return render(None, "warning", _begin_line(None, "warning", _lost(lost)))

    lines = Lines(sink, notice, reactor)
    if reactor is not None:
        reactor.addSystemEventTrigger("after", "shutdown", lines.finish)
    least = LEVELS[level]
    lines.takes_json = format == "json" and tap is None and least <= logging.INFO
    structlog.configure(
        processors=[
            _begin_line,
            _exception_told,
            *([_tapped(tap), _at_least(least)] if tap else []),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET if tap else least),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    log: FilteringBoundLogger = structlog.get_logger().bind()
    return log


def _lost(lines: int) -> EventDict:
    return {"event": "log.lost", "lines": lines}


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


def json_lines(log: FilteringBoundLogger) -> Callable[[bytes], None] | None:
    """
    Where JSON lines of level info can be written as they are; None where lines are not like that.

    Args:
        log: as `configure` gave it.
    """
    lines = getattr(log, "_logger", None)
    if not isinstance(lines, Lines) or not lines.takes_json:
        return None
    write = lines.write_soon

    def write_safe(line: bytes) -> None:
        write(line if line.isascii() and b"\x7f" not in line else _safe(line))

    return write_safe


def quick_info(log: FilteringBoundLogger) -> Callable[[str, EventDict], None] | None:
    """
    Writes an event of level info with its keys as `log.info` does, in a third of the time.

    Args:
        log: as `configure` gave it.

    Returns:
        None where such an event is not written at all.
    """
    if not log.is_enabled_for(logging.INFO):
        return None
    write = json_lines(log)

    def info(event: str, keys: EventDict) -> None:
        if write is not None:
            try:
                line = {"at": iso_time(time.time()), "level": "info", "event": event, **keys}
                write(orjson.dumps(line))
                return
            except TypeError:
                pass  # what JSON cannot hold as it is
        log.info(event, **keys)

    return info


def _safe(line: bytes) -> bytes:
    return _DRIVES_A_TERMINAL.sub(_escape, line.decode()).encode()


def _begin_line(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
    """Put what every line has where the eye finds it: when, how bad, what."""
    return {"at": iso_time(time.time()), "level": level, "event": event.pop("event"), **event}


def _exception_told(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    try:
        return structlog.processors.format_exc_info(logger, name, event)
    except Exception as error:
        event.pop("exc_info", None)
        return {**event, "exception": f"cannot be told: {type(error).__name__}"}


def _tapped(tap: Tap) -> Processor:
    def show(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        try:
            done = tap(event)
        except Exception:
            done = False  # a mistake of the screen's is nothing to whoever logs
        if done:
            raise structlog.DropEvent
        return event

    return show


def _at_least(least: int) -> Processor:
    """Drop what is below a level where the bound logger lets everything through, to the tap."""

    def drop(_: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if LEVELS.get(level, logging.CRITICAL) < least:
            raise structlog.DropEvent
        return event

    return drop


_DRIVES_A_TERMINAL: Final = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""C1 controls, line separators and changes of direction: JSON lets them through as they are."""
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f]|" + _DRIVES_A_TERMINAL.pattern)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _json_line(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    try:
        line = orjson.dumps(event, default=repr)
    except Exception:
        # A lone surrogate, a key that is no string, an integer of 65 bits, a repr that raises.
        line = orjson.dumps(json_safe(event))
    return line if line.isascii() and b"\x7f" not in line else _safe(line)


def _console_line(colors: bool) -> Callable[[WrappedLogger, str, EventDict], bytes]:
    # Values are written as their repr: a stranger's octets must not drive somebody's terminal.
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, repr_native_str=True, timestamp_key="at", pad_event_to=28
    )

    def render(logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        try:
            if "exception" in event:
                # Written as it is, in many lines.
                event["exception"] = _UNPRINTABLE.sub(_escape, event["exception"])
            return str(renderer(logger, name, {**event})).encode(errors="backslashreplace")
        except Exception:
            return _json_line(logger, name, event)

    return render
