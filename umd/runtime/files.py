"""Reads the files that the configuration names: never waits for one, never reads without end."""

from __future__ import annotations

import os
import stat
from typing import Final

from umd.errors import UmdError

MAX_SOCKET_PATH_OCTETS: Final = 107
"""The longest path of a UNIX socket: `sockaddr_un` has no room for more (unix(7))."""


class CannotRead(UmdError):
    """The file cannot be read; the text says why and leaves out the path."""


def read_file(path: str, most: int) -> bytes:
    """
    Read a regular file.

    Args:
        most: how many octets it may have; whole MiB.

    Raises:
        CannotRead
    """
    try:
        # Without O_NONBLOCK, to open a FIFO would wait for a writer.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise CannotRead("not a regular file")
            with open(opened, "rb", closefd=False) as file:
                octets = file.read(most + 1)
        finally:
            os.close(opened)
    except OSError as error:
        raise CannotRead(str(error.strerror)) from None
    except ValueError:  # a path with a NUL character, or with a lone surrogate
        raise CannotRead("not a path") from None
    if len(octets) > most:
        raise CannotRead(f"longer than {most // 1024**2} MiB")
    return octets
