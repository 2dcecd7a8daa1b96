"""Reads the files that the configuration names, without blocking and with a limit on their size."""

from __future__ import annotations

import os
import stat
from typing import Final

from umd.errors import UmdError

MAX_SOCKET_PATH_OCTETS: Final = 107
"""The longest path of a UNIX socket: `sockaddr_un` has no room for more (unix(7))."""


class CannotRead(UmdError):
    """The file cannot be read; the text says why, without the path."""


def read_file(path: str, max_octets: int) -> bytes:
    """
    Read a regular file.

    Args:
        path: of the file.
        max_octets: the limit on its size; a multiple of 1 MiB.

    Raises:
        CannotRead: it is no regular file, too long, or not readable.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CannotRead("not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                octets = file.read(max_octets + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CannotRead(str(error.strerror)) from None
    except ValueError:  # a path with a NUL character or a lone surrogate
        raise CannotRead("not a path") from None
    if len(octets) > max_octets:
        raise CannotRead(f"longer than {max_octets // 1024**2} MiB")
    return octets


def read_secret(path: str) -> str:
    """
    Return a password: the first line of this file.

    Raises:
        CannotRead: the file cannot be used. The text does not name the path.
    """
    try:
        secret = read_file(path, 1024**2).decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise CannotRead("not UTF-8") from None
    if not secret:
        raise CannotRead("its first line is empty")
    return secret
