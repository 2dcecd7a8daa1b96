"""
Sets what signals do to a process that has just started, until the daemon installs its own handlers.

A start takes half a second on a small machine, and a signal can arrive at any moment of it.
"""

from __future__ import annotations

import signal
from types import FrameType

# This module imports nothing else, not even typing: every import delays the first handler.

DAEMON_COMMANDS = ("serve", "demo")
"""The commands that run until a signal ends them."""


class HangupFlag:
    """A handler of SIGHUP that remembers whether the signal came."""

    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = True


def set_initial_handlers(command: str) -> None:
    """
    Set what signals do to a command from its first moment.

    SIGINT ends it without a traceback. A daemon ignores SIGHUP, SIGUSR1 and SIGUSR2 until it is
    ready, because other programs use them for "reload" and "reopen the log".
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if command in DAEMON_COMMANDS:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)


def remember_hangups() -> HangupFlag:
    """
    Remember SIGHUP from now on. Call this just before the configuration is read.

    A SIGHUP before this call needs no reload, because the file is read after it. One after this
    call may announce a change that was not read, so the daemon reloads once it is ready.
    """
    flag = HangupFlag()
    signal.signal(signal.SIGHUP, flag)
    return flag


def ignore_all() -> None:
    """Ignore the signals that could change the exit status, once it is decided."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def exit_on(number: signal.Signals, status: int) -> None:
    """Raise SystemExit when a signal comes, so that open files are closed; ignore repetitions."""

    def leave(_: int, __: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(status)

    signal.signal(number, leave)
