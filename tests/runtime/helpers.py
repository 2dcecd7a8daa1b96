"""Stand-ins for what a log is written to, and for the reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock


class FakeSink:
    """Takes as much as there is room for."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.error: OSError | None = None
        self.written: list[bytes] = []

    def write(self, octets: bytes, /) -> int | None:
        if self.error is not None:
            raise self.error
        taken = octets[: self.room]
        self.room -= len(taken)
        if taken:
            self.written.append(taken)
        return len(taken) or None

    def fileno(self) -> int:
        return -1

    def isatty(self) -> bool:
        return False


class FakeReactor(Clock):
    """The part of a reactor that `LineWriter` uses."""

    running = False

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[Any] = []

    def addWriter(self, writer: Any) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.remove(writer)
