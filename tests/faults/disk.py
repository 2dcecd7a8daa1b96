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
    Mounted until it is left.

    Args:
        directory: where its image and its mount point are made.

    Raises:
        SkipTest: this machine does not let it be mounted, and is not the one that checks every
            change; see `tests.helpers.missing`.
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
        Cut the power: nothing is written any more, and what is not on the disk is gone.

        Args:
            process: who writes to it. It is stopped before, between two system calls, and is to be
                killed afterwards: an fdatasync that the shut-down overtakes returns 0 although
                nothing has reached the disk (Linux 6.18; 14 of 300 times in a program of ten lines
                that does nothing else). No disk that loses its power answers like that.
        """
        os.kill(process, signal.SIGSTOP)
        until = time.monotonic() + 30
        while not _stands_still(process):
            if time.monotonic() > until:
                raise AssertionError(f"process {process} does not stop")
            time.sleep(0.001)
        _run("xfs_io", "-x", "-c", "shutdown", str(self.path))

    def restore(self) -> None:
        """The power is back: the file system is mounted again, after whoever used it has ended."""
        self._unmount()
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def freeze(self) -> None:
        """Let whoever writes wait until `thaw`, as on a disk that takes its time."""
        _run("fsfreeze", "-f", str(self.path))

    def thaw(self) -> None:
        """Let it go on."""
        _run("fsfreeze", "-u", str(self.path))

    def _unmount(self) -> None:
        # A process that has just been killed may hold it for a moment.
        until = time.monotonic() + 10
        while (said := _try("umount", str(self.path))).returncode:
            if time.monotonic() > until:
                raise AssertionError(f"umount: {said.stderr}")
            time.sleep(0.02)


def _stands_still(process: int) -> bool:
    """Whether each of its threads has stopped."""
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
