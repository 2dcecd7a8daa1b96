"""Runs the daemon as a process: its signals, its watchdog and its exit status."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import LoopingCall

from umd.config import Settings
from umd.daemon.daemon import CannotStart, Daemon
from umd.runtime import systemd
from umd.runtime.log import Tap, adopt_twisted, configure
from umd.runtime.reactor import install
from umd.runtime.signals import HangupFlag

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SPARE_DESCRIPTORS: Final = 200
"""File descriptors beside those of client connections: files, sockets and pipes of umd itself."""
NO_THREADS: Final = (
    "the system gives it no thread; raise TasksMax= of the unit, pids.max of its control group, "
    "or ulimit -u"
)


def run(
    read: Callable[[], Settings],
    settings: Settings,
    *,
    hangups: HangupFlag,
    on_started: Callable[[Daemon], None] | None = None,
    tap: Tap | None = None,
) -> int:
    """
    Run a daemon until a signal ends it.

    SIGTERM and SIGINT drain; a second one ends the process at once. SIGHUP reloads.

    Args:
        read: reads the configuration again, for a reload.
        settings: the configuration as it has been read for the start.
        hangups: remembers a SIGHUP since before `settings` were read.
        on_started: called with the daemon once it serves.
        tap: sees every log event before it is written; see `umd.runtime.log.configure`.

    Returns:
        The exit status: 0, or 1 if the daemon could not start or failed.
    """
    reactor = install()
    log = configure(settings.log.level, settings.log.format, tap=tap, reactor=reactor)
    adopt_twisted(log)
    if not _can_start_threads():
        log.error("daemon.cannot-start", why=NO_THREADS)
        return 1
    try:
        daemon = Daemon(settings, reactor, log)
    except Exception as error:
        log.exception("daemon.cannot-start", why=f"a backend cannot be made: {error!r}")
        return 1
    _allow_descriptors(settings.http.max_connections, log)
    process = _Process(daemon, reactor, log, read, on_started, hangups)
    reactor.callWhenRunning(process.begin)
    # `reactor.run` installs Twisted's own handlers, and `begin` replaces them. Blocked until then,
    # a signal cannot stop the reactor while the daemon is half built.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    reactor.run()
    return process.status


def _can_start_threads() -> bool:
    """Try to start a thread now: a failure in the middle of the start is harder to explain."""
    thread = threading.Thread(target=int)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def _allow_descriptors(max_connections: int, log: FilteringBoundLogger) -> None:
    """Raise the soft limit of file descriptors for `max_connections`, if the system allows it."""
    wanted = max_connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    except (OSError, ValueError):
        allowed = soft
    if allowed < wanted:
        log.warning(
            "http.few-descriptors",
            allowed=allowed,
            wanted=wanted,
            hint="raise LimitNOFILE= of the unit, or lower http.max_connections",
        )


class _Process:
    """The daemon as a process: starts it, and acts on signals; sets the exit status."""

    def __init__(
        self,
        daemon: Daemon,
        reactor: Any,
        log: FilteringBoundLogger,
        read: Callable[[], Settings],
        on_started: Callable[[Daemon], None] | None,
        hangups: HangupFlag,
    ) -> None:
        self.status = 0
        """The exit status."""
        self._daemon = daemon
        self._reactor = reactor
        self._log = log
        self._read = read
        self._on_started = on_started
        self._hangups = hangups
        self._starting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._reload_pending = False
        self._ended = False

    def begin(self) -> None:
        """Take over the signals, feed the watchdog, and start the daemon."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        interval = systemd.watchdog_interval()
        if interval is not None:
            watchdog = LoopingCall(systemd.notify, "WATCHDOG=1")
            watchdog.clock = self._reactor
            self._end_if_failed(watchdog.start(interval))
        self._starting = ensureDeferred(self._start())
        self._end_if_failed(self._starting)

    async def _start(self) -> None:
        try:
            await self._daemon.start()
        except CannotStart as error:
            self._log.error("daemon.cannot-start", why=str(error))
            self._end(1)
            return
        except CancelledError:
            return  # `_stop` has cancelled the start, and stops the daemon
        self._daemon.collector.start()
        if self._on_started is not None:
            self._on_started(self._daemon)
        # The handler is set before the look at `hangups`: a SIGHUP between the two causes at most
        # a second reload, while the other order could lose it.
        signal.signal(signal.SIGHUP, self._on_reload_signal)
        if self._hangups.came:
            self._on_reload_signal(signal.SIGHUP, None)

    # -- signals; their handlers run between any two instructions, so the reactor does the work

    def _on_stop_signal(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._stop, signal.Signals(number).name)

    def _on_reload_signal(self, number: int, frame: object) -> None:
        # One reload serves all signals that come before it.
        if not self._reload_pending:
            self._reload_pending = True
            self._reactor.callFromThread(self._reload)

    def _stop(self, signal_name: str) -> None:
        self._log.info("daemon.signalled", signal=signal_name)
        if self._stopping is not None:
            self._end(self.status)
            return
        if self._starting is not None:
            self._starting.cancel()
        self._stopping = ensureDeferred(self._daemon.stop())
        self._end_if_failed(self._stopping.addBoth(self._stopped))

    def _stopped(self, result: Any) -> Any:
        self._end(self.status)
        return result

    def _reload(self) -> None:
        self._reload_pending = False
        if self._daemon.ready:
            self._daemon.reload(self._read)

    # -- the end

    def _end(self, status: int) -> None:
        """End the process; only the first call counts."""
        if not self._ended:
            self._ended = True
            self.status = status
            self._reactor.stop()

    def _end_if_failed(self, work: Deferred[Any]) -> None:
        """End the process if `work` fails: no caller handles its failure, so it is a bug."""

        def failed(failure: Any) -> None:
            self._log.error(
                "daemon.failed",
                exc_info=(failure.type, failure.value, failure.getTracebackObject()),
            )
            self._end(1)

        _ = work.addErrback(failed)
