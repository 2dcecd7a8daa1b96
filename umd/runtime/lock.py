"""A lock that lives as long as its process, however that dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from umd.errors import UmdError


class Held(UmdError):
    """Another process holds the lock."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"process {pid or 'unknown'} holds it")
        self.pid = pid or "unknown"


class FileLock:
    """
    Held for a path from now on, by a file beside it: `PATH.lock`.

    Raises:
        Held, OSError
    """

    def __init__(self, path: str) -> None:
        self._path = path + ".lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self._file = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.read(self._file, 20).decode("ascii", "replace").strip()
                os.close(self._file)
                raise Held(pid) from None
            if self.is_there():
                break
            os.close(self._file)  # its last holder removed it just now
        os.ftruncate(self._file, 0)
        with suppress(OSError):  # whose it is is a courtesy; a full disk must not keep it from us
            os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let go of it, and leave nothing behind."""
        if self.is_there():
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self._file)

    def leave(self) -> None:
        """Let go of it, and leave the file."""
        os.close(self._file)

    def is_there(self) -> bool:
        """Whether the file that is locked is still the one that others would lock."""
        try:
            there = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._file))
