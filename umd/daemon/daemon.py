"""The daemon: builds all parts from the settings, then starts, reloads, drains and stops them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import TimeoutError, ensureDeferred
from twisted.internet.interfaces import IListeningPort

from umd import __version__
from umd.config import ConfigError, Settings
from umd.config.settings import changes_for_restart
from umd.control.control import Control
from umd.daemon.auth import make_rules
from umd.daemon.build import (
    control_settings,
    http_limits,
    make_backends,
    make_call_journal,
    make_control_socket,
    make_store,
    tap_messages,
)
from umd.daemon.hep import Hep
from umd.daemon.listeners import Listeners
from umd.daemon.messaging import apply as apply_messaging
from umd.daemon.messaging import check as check_messaging
from umd.daemon.messaging import make_use_cases, make_users
from umd.daemon.recovery import restore_calls
from umd.daemon.status import ReloadResult, daemon_status
from umd.errors import UmdError
from umd.http.authentication import Authenticator
from umd.http.front import Front
from umd.http.hosts import allowed_hosts
from umd.messaging.service import SoapService
from umd.runtime import systemd
from umd.runtime.garbage_collection import IncrementalCollector
from umd.trace.capture import Capture
from umd.trace.summary import CallSummaries

if TYPE_CHECKING:
    from umd.http.tls import TlsServer

MEMORY_BLOCKS_PER_ITEM: Final = 100
"""More memory blocks than a connection takes, or a call together with its transactions."""
MEMORY_BLOCKS_PER_MESSAGE: Final = 30
"""More memory blocks than a captured SIP message takes."""


class CannotStart(UmdError):
    """The daemon could not start, and serves nothing; the text says why."""


class Daemon:
    """
    One umd: its backends, its calls, its journal, its HTTP server and its control socket.

    `start` and `stop` are each called once. In between, `reload` applies changed settings.

    Args:
        settings: what to build.
        reactor: the global reactor, whose clock is monotonic already.
        log: gets the events of all parts.
    """

    def __init__(self, settings: Settings, reactor: Any, log: FilteringBoundLogger) -> None:
        self.settings = settings
        self.ready = False
        """Whether the daemon has started and does not stop yet."""
        self._started_with = settings
        self._last_reload: ReloadResult | None = None
        self._reactor = reactor
        self._log = log
        self.store = make_store(settings.journal, reactor, log, self._journal_failed)
        self.capture = Capture(settings.trace.messages, time.time)
        keeps_trace = self.store is not None and settings.journal.trace
        summaries = CallSummaries(time.time) if keeps_trace else None
        backends = make_backends(settings, reactor)
        self.hep = Hep(
            settings, reactor, log, self.capture, summaries, lambda name: self.control.carries(name)
        )
        tap_messages(backends.values(), self.capture, summaries, self.hep.tap)
        self.control = Control(
            backends=backends,
            node=settings.node,
            clock=reactor,
            wall=time.time,
            journal=make_call_journal(self.store, log, settings.journal),
            log=log,
            settings=control_settings(settings.call),
            summaries=summaries,
            witness=self.hep.wire_witness,
        )
        self.users = make_users(settings.users, reactor)
        self.use_cases = make_use_cases(settings, self.control, self.users, reactor)
        self._soap = SoapService(self.use_cases, log, reactor.seconds)
        self._soap.soap12_sender_status = settings.um.soap12_sender_status
        self.front = Front(self._soap.serve, reactor, log, http_limits(settings.http))
        if self.store is not None:
            self.front.state.admission.probe = self.store.flush
        self._tls: TlsServer | None = None
        self._listeners = Listeners(reactor)
        self.collector = IncrementalCollector(reactor, log, self._expected_memory_blocks)
        self.control_socket = make_control_socket(
            settings,
            reactor,
            log,
            control=self.control,
            capture=self.capture,
            store=self.store,
            status=self.status,
        )

    @property
    def ports(self) -> list[IListeningPort]:
        """The ports of HTTP and HTTPS that listen now."""
        return self._listeners.ports

    # -- start

    async def start(self) -> None:
        """
        Restore the calls and start the backends, then listen, then report readiness.

        Raises:
            CannotStart: everything that had been started is stopped again.
        """
        try:
            check_messaging(self.settings)
            self._read_credentials(self.settings)
            await self.users.open()
            self.hep.open()
            await self._restore_calls()
            await self._listen()
            self._set_allowed_hosts()
            if self.control_socket is not None:
                self.control_socket.open()
        except UmdError as error:
            await self._close()
            raise CannotStart(str(error).replace("\n", "; ")) from error
        self.ready = True
        self._log_ready()
        self._warn_of_unserved_sockets()
        systemd.notify("READY=1", "STATUS=" + self._serving_text())

    async def _restore_calls(self) -> None:
        """Restore the calls from the journal, then let the backends report theirs."""
        # A million calls make many objects and no garbage: a collection would find nothing.
        gc.disable()
        try:
            if self.store is not None:
                restore_calls(self.store, self.control, self.settings, self._log)
            await self.control.start()
        finally:
            gc.enable()
        gc.freeze()

    async def _listen(self) -> None:
        http = self.settings.http
        open_to_all = http.allow_anonymous or self.front.state.authenticator is not None
        for endpoint in http.listen:
            await self._listeners.listen(
                "http.listen", endpoint, self.front, tls=False, open_to_all=open_to_all
            )
        for endpoint in http.listen_tls:
            assert self._tls is not None
            wrapped = self._tls.wrap(self.front)
            await self._listeners.listen(
                "http.listen_tls", endpoint, wrapped, tls=True, open_to_all=open_to_all
            )

    def _log_ready(self) -> None:
        """Log what serves where; warn if calls are simulated and no configuration says so."""
        settings = self.settings
        listeners = self._listeners.describe()
        control = None if self.control_socket is None else self.control_socket.path
        if control is not None:
            listeners.append({"address": control, "protocol": "control", "tls": False})
        if not settings.backend_configured:
            self._log.warning(
                "daemon.simulating",
                why="no backend is configured: calls are simulated, and none reaches a phone",
                hint='name one, such as [backend.pbx] with type = "sip", see conf/umd-sip.toml; '
                "if the simulator is wanted, say so: [backend.sim]",
            )
        self._log.info(
            "daemon.ready",
            version=__version__,
            listen=self._listeners.addresses,
            listeners=listeners,
            node=settings.node,
            backends=[
                {"name": backend.name, "type": backend.type_name} for backend in settings.backends
            ],
            simulating=all(backend.type_name == "sim" for backend in settings.backends),
            control=control,
            journal=None if self.store is None else self.store.path,
        )

    def _warn_of_unserved_sockets(self) -> None:
        """Log each socket of systemd that umd does not serve: its clients would wait for ever."""
        for index, socket in enumerate(systemd.inherited_sockets()):
            if not socket.served:
                self._log.warning("http.socket-not-served", index=index, name=socket.name)

    # -- reload

    def reload(self, read: Callable[[], Settings]) -> None:
        """
        Read the configuration again and apply it; if it has a mistake, log it and change nothing.

        What only a restart applies is named in the log; each section declares it, see
        `umd.config.sections`.

        Args:
            read: reads the configuration.
        """
        systemd.notify(*systemd.reloading())
        mistakes: Sequence[str] = ()
        try:
            self._apply(read())
        except UmdError as error:
            mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
            self._log.error("config.refused", mistakes=mistakes)
        except Exception as error:
            mistakes = [f"a bug in umd: {error!r}; its log has the traceback"]
            self._log.exception("config.refused", mistakes=mistakes)
        self._last_reload = ReloadResult(time.time(), tuple(mistakes))
        # systemd has no state for a reload that failed: the text is all it can show.
        refusal = self._last_reload.summary
        systemd.notify("READY=1", f"STATUS={refusal or self._serving_text()}")

    def _apply(self, settings: Settings) -> None:
        # What can fail comes first, so that a mistake changes nothing.
        check_messaging(settings)
        self._read_credentials(settings)
        needs_restart = changes_for_restart(self._started_with, settings)
        self.settings = settings
        self.control.settings = control_settings(settings.call)
        apply_messaging(settings, self.use_cases, self._reactor)
        self._soap.soap12_sender_status = settings.um.soap12_sender_status
        self.front.state.limits = http_limits(settings.http)
        self._set_allowed_hosts()
        if needs_restart:
            self._log.warning("config.needs-restart", keys=needs_restart)
        self._log.info("config.reloaded")

    # -- stop

    async def stop(self) -> None:
        """
        Finish the requests and teardowns that have begun, then close everything.

        New connections are not accepted; those to a socket of systemd wait for the next umd. Each
        open connection gets the answers to its requests. After `drain.deadline` seconds, requests
        that still wait get a fault that asks the client to try again.
        """
        self.ready = False
        deadline = self.settings.drain.deadline
        systemd.notify("STOPPING=1", "STATUS=finishing teardowns")
        self._log.info("daemon.stopping", deadline_s=deadline)
        if not await self._within(deadline, self._drain()):
            self._log.warning("daemon.drain-expired", deadline_s=deadline)
            self.control.dismiss()
        await self._close()
        live_calls = sum(1 for _ in self.control.live_calls())
        self._log.info("daemon.stopped", live_calls=live_calls)

    async def _drain(self) -> None:
        await self._listeners.close()
        self.front.close_idle()
        await self.control.drain()
        await self.front.answered()

    async def _close(self) -> None:
        """Stop every part, also one that was never started."""
        self.collector.stop()
        await self._listeners.close()
        await self.front.close()
        if self.front.state.authenticator is not None:
            self.front.state.authenticator.stop()
        if self.control_socket is not None:
            await self.control_socket.close()
        deadline = self.settings.drain.deadline
        if not await self._within(deadline, self.control.stop()):
            self._log.error("daemon.backend-does-not-stop", deadline_s=deadline)
        self.users.close()
        await self.hep.close()
        if self.store is not None and not await self._within(deadline, self._close_store()):
            self._log.error("journal.does-not-close", deadline_s=deadline)

    async def _close_store(self) -> None:
        assert self.store is not None
        await self.store.close()

    async def _within(self, seconds: float, work: Coroutine[Any, Any, None]) -> bool:
        """Await `work` for at most so many seconds, then cancel it and return False."""
        try:
            await ensureDeferred(work).addTimeout(seconds, self._reactor)
        except TimeoutError:
            return False
        return True

    # -- what the parts ask for

    def status(self) -> dict[str, object]:
        """Return the values that `umd status` shows, by their names."""
        return daemon_status(
            control=self.control,
            front=self.front,
            collector=self.collector,
            store=self.store,
            reload=self._last_reload,
            hep=self.hep.status(),
        )

    def _serving_text(self) -> str:
        """Return what `systemctl status` shows while umd serves."""
        text = "serving " + ", ".join(self._listeners.addresses)
        if not self._started_with.backend_configured:
            text += "; SIMULATING, no call reaches a phone"
        return text

    def _journal_failed(self, reason: str) -> None:
        self.control.journal_failed(reason)

    def _expected_memory_blocks(self) -> int:
        """Return how many memory blocks the calls, connections and messages may take."""
        items = self.control.known + len(self.front.state.connections)
        return items * MEMORY_BLOCKS_PER_ITEM + self.capture.size * MEMORY_BLOCKS_PER_MESSAGE

    # -- credentials and host names

    def _read_credentials(self, settings: Settings) -> None:
        """
        Read the files of `[auth]` and `[tls]` and use them; if one cannot be used, change nothing.

        Raises:
            UmdError: a file cannot be used.
        """
        rules = make_rules(settings.auth) if settings.auth.authenticates else None
        if settings.http.listen_tls:
            # Here, as they load OpenSSL, and umd starts faster without it.
            from umd.daemon.certificates import open_tls
            from umd.http.tls import TlsServer

            context, warnings = open_tls(settings)
            for warning in warnings:
                self._log.warning("tls.certificate-not-valid", why=warning)
            if self._tls is None:
                self._tls = TlsServer(context)
            else:
                self._tls.context = context
        if rules is None:
            return
        state = self.front.state
        if state.authenticator is None:
            state.authenticator = Authenticator(rules, self._reactor, self._log, state.busy)
        else:
            state.authenticator.rules = rules

    def _set_allowed_hosts(self) -> None:
        """Tell the front which host names a request may be addressed to."""
        authenticator = self.front.state.authenticator
        self.front.state.allowed_hosts = allowed_hosts(
            self.settings.http.hosts,
            trusts_local_clients=authenticator is None or authenticator.rules.trusts_local_clients,
            is_private=self._listeners.are_private,
        )
