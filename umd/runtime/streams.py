"""
Makes the standard streams of a command safe: closed streams, full disks, readers that are gone.

A failure of standard output raises `OutputLost`, once. A failure of standard error is ignored,
because there is no other stream to report it on.
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
        """Whether the reader has closed the pipe, which is no error of the command."""


def protect() -> None:
    """Replace the standard streams of the process by ones that never fail with a traceback."""
    _open_closed_descriptors()
    sys.stdout = _text_stream(sys.stdout, _Output(1, "wb", closefd=False))
    sys.stderr = _text_stream(sys.stderr, _IgnoringOutput(2, "wb", closefd=False))


def check_reader(timeout: float) -> None:
    """
    Wait for `timeout` seconds, or until the reader of standard output is gone.

    Raises:
        OutputLost: the reader is gone.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # poll always reports POLLERR and POLLHUP
    if any(state & select.POLLERR for _, state in poll.poll(timeout * 1000)):
        raise OutputLost(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def _open_closed_descriptors() -> None:
    """Open /dev/null in place of a closed standard stream; else the next file would replace it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def _text_stream(original: TextIO | None, raw: FileIO) -> TextIO:
    """Return a text stream to `raw` in the encoding of `original`; it escapes other characters."""
    return TextIOWrapper(
        BufferedWriter(raw),
        encoding=getattr(original, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


class _Output(FileIO):
    """Raises `OutputLost` at the first failure, and discards everything after it."""

    failed = False

    def write(self, octets: bytes, /) -> int:  # type: ignore[override]
        if not self.failed:
            try:
                return self._write(octets)
            except OSError as error:
                self.failed = True
                self.on_failure(error)
        return len(octets)

    def on_failure(self, error: OSError) -> None:
        raise OutputLost(error) from None

    def _write(self, octets: bytes) -> int:
        # The reader of a pipe may have set O_NONBLOCK, which is shared with this end.
        while (written := super().write(octets)) is None:
            poll = select.poll()
            poll.register(self.fileno(), select.POLLOUT)
            poll.poll()
        return written


class _IgnoringOutput(_Output):
    """Ignores the first failure, too."""

    def on_failure(self, error: OSError) -> None:
        pass
