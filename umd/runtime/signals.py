"""
What signals do to a process that has just begun, before its own handlers are there.

A signal can come at any moment of a start, which takes half a second on a small machine.
"""

from __future__ import annotations

import signal
from types import FrameType

# Nothing else is imported here, not even typing: it all comes before the first line of `arrange`.

SERVING = ("serve", "demo")
"""The commands that go on until a signal ends them."""


class Hangups:
    """Remembers whether SIGHUP came."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True


def arrange(command: str) -> None:
    """
    Say what signals do to a command that begins.

    SIGINT ends it, without a traceback of Python's. A daemon ignores what others take for "reload"
    and "open your log anew".
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if command in SERVING:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)


def remember_hangups() -> Hangups:
    """
    Remember SIGHUP from now on; called just before the configuration is read.

    One that came before changes nothing, as the file is read after it. One that comes later may
    tell of a change that was not read: whoever serves reads the file again once it is ready.
    """
    hangups = Hangups()
    signal.signal(signal.SIGHUP, hangups)
    return hangups


def ignore_all() -> None:
    """Let no signal change how the process ends: all that is left to do is to exit."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def exit_at(number: signal.Signals, status: int) -> None:
    """Leave by SystemExit when a signal comes, so that what is open gets closed; once."""

    def leave(_: int, __: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(status)

    signal.signal(number, leave)
