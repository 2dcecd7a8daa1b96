"""A lock between processes, which the kernel releases when its holder dies."""

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
    An exclusive lock for a path, held from construction on, by a file beside it: `PATH.lock`.

    Raises:
        Held: another process holds it.
        OSError: the lock file cannot be made or written.
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
            if self.is_effective():
                break
            os.close(self._file)  # the last holder removed the file after it was opened here
        os.ftruncate(self._file, 0)
        with suppress(OSError):  # the process id is for people; a full disk must not stop umd
            os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self.is_effective():
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self._file)

    def release_and_keep_file(self) -> None:
        """Release the lock and leave its file."""
        os.close(self._file)

    def is_effective(self) -> bool:
        """Return whether the locked file is still the one that another process would lock."""
        try:
            current = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(current, os.fstat(self._file))
