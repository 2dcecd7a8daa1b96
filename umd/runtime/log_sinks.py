"""
Writes log lines to a descriptor that may block or fail, and never waits for its reader.

A slow reader or a full disk must not stop call control: lines wait in a bounded backlog, and lines
beyond it are dropped and counted.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from io import FileIO
from typing import Any, Final, Protocol

MAX_OCTETS_PER_WRITE: Final = 1 << 16
"""Octets per `write` call; the last line may exceed it, because a line is not split."""


class Sink(Protocol):
    """
    A destination for log lines.

    `write` returns how many octets it took, which may be fewer than given. It returns None when it
    would block.
    """

    def write(self, octets: bytes, /) -> int | None: ...

    def fileno(self) -> int: ...

    def isatty(self) -> bool: ...


class LineWriter:
    """
    Writes whole lines to a sink and never waits for it; serves structlog as its logger.

    Lines that a slow reader has not taken yet wait in a backlog. When the backlog is full, further
    lines are dropped until the reader has taken all of it. One line then reports how many were
    dropped. A line whose beginning was written is always completed.

    Args:
        sink: see `nonblocking_sink`.
        loss_notice: renders the line that reports the given number of dropped lines.
        reactor: reports when the sink is writable again. Without one, the next line tries.
        max_backlog: octets. The default holds a burst of a few thousand lines.
    """

    def __init__(
        self,
        sink: Sink,
        loss_notice: Callable[[int], bytes] = b"(%d lines lost)".__mod__,
        reactor: Any = None,
        max_backlog: int = 1 << 20,
    ) -> None:
        self.lines_lost = 0
        """Lines dropped so far: the reader is too slow or gone, or the disk is full."""
        self.accepts_json = False
        """Whether `write_soon` may be given JSON lines of level info that bypass structlog."""
        self._sink = sink
        self._loss_notice = loss_notice
        self._reactor = reactor
        self._max_backlog = max_backlog
        self._backlog: deque[tuple[bytes, int]] = deque()
        """`(octets, 0)` for a line, `(octets, count)` for the notice of `count` dropped lines."""
        self._backlog_octets = 0
        self._partly_written = False
        """The first line of the backlog has been written in part, so its rest must follow."""
        self._unreported_losses = 0
        self._watching = False
        self._flush_scheduled = False

    def write(self, line: bytes) -> None:
        """Write a line at once."""
        if self._backlog:
            self._flush()
        self._add(line)
        self._flush()

    def write_soon(self, line: bytes) -> None:
        """Write a line at the end of this reactor turn: one system call for all lines of a turn."""
        if self._unreported_losses or self._reactor is None or not self._reactor.running:
            self.write(line)
            return
        if self._backlog_octets >= MAX_OCTETS_PER_WRITE:
            self._flush()
            self._add(line)
        else:
            self._append(line, 0)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._reactor.callLater(0, self._end_turn)

    # structlog calls the method that has the name of the level.
    debug = info = msg = write_soon
    warning = error = critical = write

    def _end_turn(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _add(self, line: bytes) -> None:
        full = self._backlog_octets + len(line) > self._max_backlog
        if self._backlog and (self._unreported_losses or full):
            self._count_loss(0)
            return
        self._report_losses()
        self._append(line, 0)

    def finish(self, timeout: float = 2.0) -> None:
        """Write the backlog at the end of the process; wait at most `timeout` seconds for it."""
        self._stop_watching()
        self._reactor = None
        self._flush()
        if not self._backlog:
            return
        until = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._sink.fileno(), select.POLLOUT)
        while self._backlog and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            before = self._backlog_octets
            self._flush()
            if self._backlog_octets == before:
                return

    def _append(self, line: bytes, reported_losses: int) -> None:
        self._backlog.append((line + b"\n", reported_losses))
        self._backlog_octets += len(line) + 1

    def _report_losses(self) -> None:
        if self._unreported_losses:
            self._append(self._loss_notice(self._unreported_losses), self._unreported_losses)
            self._unreported_losses = 0

    def _count_loss(self, reported_losses: int) -> None:
        """Count a dropped line, or the losses that a dropped notice would have reported."""
        self.lines_lost += not reported_losses
        self._unreported_losses += reported_losses or 1

    def _flush(self) -> None:
        while self._backlog:
            try:
                written = self._sink.write(self._next_octets())
            except (OSError, ValueError):
                self._drop_backlog()
                break
            if not written:
                self._watch()
                return
            self._remove(written)
            if not self._backlog:
                self._report_losses()
        self._stop_watching()

    def _next_octets(self) -> bytes:
        """Return the first lines of the backlog, as many as go into one `write` call."""
        if self._backlog_octets <= MAX_OCTETS_PER_WRITE:
            return b"".join([line for line, _ in self._backlog])
        lines: list[bytes] = []
        size = 0
        for line, _ in self._backlog:
            lines.append(line)
            size += len(line)
            if size >= MAX_OCTETS_PER_WRITE:
                break
        return b"".join(lines)

    def _remove(self, written: int) -> None:
        """Remove the octets that the sink took from the beginning of the backlog."""
        self._backlog_octets -= written
        self._partly_written = False
        if self._backlog_octets == 0:
            self._backlog.clear()
            return
        while written:
            octets, reported_losses = self._backlog[0]
            if written < len(octets):
                self._backlog[0] = (octets[written:], reported_losses)
                self._partly_written = True
                return
            self._backlog.popleft()
            written -= len(octets)

    def _drop_backlog(self) -> None:
        while len(self._backlog) > self._partly_written:
            octets, reported_losses = self._backlog.pop()
            self._backlog_octets -= len(octets)
            self._count_loss(reported_losses)

    # -- IWriteDescriptor, called by the reactor

    def fileno(self) -> int:
        return self._sink.fileno()

    def logPrefix(self) -> str:
        return "log"

    def doWrite(self) -> None:
        self._flush()

    def connectionLost(self, reason: object) -> None:
        self._watching = False
        # Either the reader is gone, which the write below finds out, or the reactor stops.
        reactor, self._reactor = self._reactor, None
        self._flush()
        self._reactor = reactor

    def _watch(self) -> None:
        if self._reactor is not None and not self._watching:
            self._reactor.addWriter(self)
            self._watching = True

    def _stop_watching(self) -> None:
        if self._watching:
            self._watching = False
            self._reactor.removeWriter(self)


def nonblocking_sink(stream: Any) -> Sink:
    """
    Return a sink for the descriptor of a stream whose writes do not wait for the reader.

    O_NONBLOCK is a flag of the open file description, which umd shares with the shell and with
    other processes. So the flag stays as it is: a pipe is opened a second time, and a socket gets
    MSG_DONTWAIT with each call. Writes to regular files and terminals do block.

    Args:
        stream: such as `sys.stderr`; None discards every line.
    """
    if stream is None:
        return open(os.devnull, "wb", buffering=0)
    descriptor = stream.fileno()
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _SocketSink(descriptor)
    if stat.S_ISFIFO(mode):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return FileIO(os.open(f"/proc/self/fd/{descriptor}", flags), "wb")
        except OSError:
            # There is no /proc, another user owns the pipe, or its reader is gone.
            return _PipeSink(descriptor)
    return FileIO(descriptor, "wb", closefd=False)


class _SocketSink:
    """A stream socket, such as systemd gives to a service for its journal."""

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


class _PipeSink:
    """
    A pipe that cannot be opened a second time.

    A pipe that `poll` calls writable takes PIPE_BUF octets without blocking (pipe(7)).
    """

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
