"""A disk whose power can be cut: XFS on a loop device, which forgets what was not synced."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tests.helpers import missing, program

SIZE = 320 << 20  # octets; XFS takes no less than 300 MiB


class Disk:
    """
    A context manager that makes and mounts the disk.

    Args:
        directory: where the image and the mount point are made.

    Raises:
        SkipTest: this machine does not allow the mount; see `tests.helpers.missing`.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self._image = directory / "disk.img"

    def __enter__(self) -> Disk:
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE)
        _run("mkfs.xfs", "-q", "-l", "size=64m", str(self._image))
        mounted = _try("mount", "-o", "loop", str(self._image), str(self.path))
        if mounted.returncode:
            missing(f"the right to mount a loop device: {mounted.stderr.strip()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unmount()

    def cut(self, process: int) -> None:
        """
        Cut the power: from now on nothing is written, and what is not on the disk is lost.

        The process that writes to the disk is stopped first, between two system calls; kill it
        afterwards. An fdatasync during the shut-down of XFS can return 0 although nothing has
        reached the disk (Linux 6.18; 14 of 300 times in a program that does nothing else), which
        no disk without power does.

        Args:
            process: the id of the process that writes.
        """
        os.kill(process, signal.SIGSTOP)
        until = time.monotonic() + 30
        while not _is_stopped(process):
            if time.monotonic() > until:
                raise AssertionError(f"process {process} does not stop")
            time.sleep(0.001)
        _run("xfs_io", "-x", "-c", "shutdown", str(self.path))

    def restore(self) -> None:
        """Mount the disk again, after the processes that used it have ended."""
        self._unmount()
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def freeze(self) -> None:
        """Block all writes until `thaw`, as a disk that hangs."""
        _run("fsfreeze", "-f", str(self.path))

    def thaw(self) -> None:
        """Let writes continue."""
        _run("fsfreeze", "-u", str(self.path))

    def _unmount(self) -> None:
        # A process that was just killed may hold the disk for a moment.
        until = time.monotonic() + 10
        while (unmounted := _try("umount", str(self.path))).returncode:
            if time.monotonic() > until:
                raise AssertionError(f"umount: {unmounted.stderr}")
            time.sleep(0.02)


def _is_stopped(process: int) -> bool:
    """Return whether each thread of a process is stopped."""
    stats = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] in "TtZX" for stat in stats)


_PACKAGES = {"mkfs.xfs": "xfsprogs", "xfs_io": "xfsprogs", "fsfreeze": "util-linux"}


def _try(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = program(name, _PACKAGES.get(name, "mount"))
    return subprocess.run([path, *arguments], capture_output=True, text=True)


def _run(name: str, *arguments: str) -> None:
    done = _try(name, *arguments)
    if done.returncode:
        raise AssertionError(f"{name} {' '.join(arguments)}: {done.stderr.strip()}")
