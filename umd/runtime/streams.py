"""
The standard streams of a command: closed ones, full disks, readers that have gone.

A failure of standard output is an `OutputLost`, once. One of standard error goes unnoticed: there
is no place left to tell it.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TextIO

from umd.errors import UmdError


class OutputLost(UmdError):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {os.strerror(error.errno or 0)}")
        self.reader_gone = error.errno == errno.EPIPE


def arrange() -> None:
    """Make the standard streams of the process ones that cannot fail with a traceback."""
    _fill_descriptors()
    sys.stdout = _stream(sys.stdout, _Output(1, "wb", closefd=False))
    sys.stderr = _stream(sys.stderr, _Discarding(2, "wb", closefd=False))


def check_reader(timeout: float) -> None:
    """
    Wait for so many seconds, or until nobody reads standard output any more.

    Raises:
        OutputLost: nobody does.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR and POLLHUP are always told
    if any(state & select.POLLERR for _, state in poll.poll(timeout * 1000)):
        raise OutputLost(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def _fill_descriptors() -> None:
    """Open /dev/null where a standard stream was closed, or the next file opened would be it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, this one


def _stream(like: TextIO | None, raw: FileIO) -> TextIO:
    """A text stream to `raw` that can write any character; `like` says in which encoding."""
    return TextIOWrapper(
        BufferedWriter(raw),
        encoding=getattr(like, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


class _Output(FileIO):
    """Raises `OutputLost` once; what is written after that goes nowhere."""

    lost = False

    def write(self, octets: bytes, /) -> int:  # type: ignore[override]
        if not self.lost:
            try:
                return self._write(octets)
            except OSError as error:
                self.lost = True
                self.failed(error)
        return len(octets)

    def failed(self, error: OSError) -> None:
        raise OutputLost(error) from None

    def _write(self, octets: bytes) -> int:
        # A pipe that the reader has made non-blocking, at its own end of the same open file.
        while (written := super().write(octets)) is None:
            poll = select.poll()
            poll.register(self.fileno(), select.POLLOUT)
            poll.poll()
        return written


class _Discarding(_Output):
    """What cannot be written goes nowhere."""

    def failed(self, error: OSError) -> None:
        pass
