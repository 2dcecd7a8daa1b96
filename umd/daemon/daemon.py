"""The wiring: builds everything from the settings, and starts, reloads, drains and stops it."""

from __future__ import annotations

import gc
import os
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import Any

from structlog.typing import FilteringBoundLogger
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater

from umd import __version__
from umd.backend import MessageTap, ShowsMessages
from umd.call.record import UnknownRecord
from umd.config import ConfigError, Settings
from umd.config.endpoints import endpoint_fields
from umd.config.sections import CallSection, HttpSection, JournalSection
from umd.control.control import Control
from umd.control.journal import CallJournal, NullJournal
from umd.control.settings import ControlSettings
from umd.daemon.auth import make_rules
from umd.daemon.certificates import open_tls
from umd.daemon.messaging import apply
from umd.daemon.messaging import check as check_messaging
from umd.daemon.messaging import make_use_cases, make_users
from umd.errors import UmdError
from umd.http.authentication import Identity
from umd.http.front import Front
from umd.http.hosts import hosts_asked_for
from umd.http.limits import Limits
from umd.http.tls import TlsServer
from umd.journal.address import default_path as default_journal
from umd.journal.file import JournalFile
from umd.journal.ledger import CallLog, Ledger, ended_calls, live_calls
from umd.journal.sqlite import SqliteStore
from umd.journal.store import Stored
from umd.management.address import default_path
from umd.management.requests import Console
from umd.management.socket import ControlSocket
from umd.messaging.service import SoapService
from umd.runtime import systemd
from umd.runtime.activation import adopt
from umd.runtime.garbage import Garbage
from umd.sip.message import Message
from umd.sip.transaction import Hop
from umd.text import iso_time
from umd.trace.capture import Capture
from umd.trace.wire import WireLog

SPARE_DESCRIPTORS = 200
"""Files, sockets and pipes that are no connection of a client."""
BLOCKS_OF_ONE = 100
"""Blocks of memory: more than a call takes, its transactions with it, or a connection."""
BLOCKS_OF_MESSAGE = 30
"""More than a SIP message takes that is remembered."""


class CannotStart(UmdError):
    """Nothing is served; the text says what is in the way."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of reading the configuration again."""

    at: float
    """Wall time, seconds since the epoch."""
    mistakes: tuple[str, ...]
    """Why it was refused; none: it was taken over."""

    @property
    def summary(self) -> str:
        """Why it was refused, on one line; empty if it was not."""
        if not self.mistakes:
            return ""
        first, *others = self.mistakes
        more = f" (and {len(others)} more)" if others else ""
        text = f"reload refused at {iso_time(self.at)}, nothing has changed: {first}{more}"
        return " ".join(text.split())[:500]


class Daemon:
    """
    One umd.

    Args:
        settings: what to build.
        reactor: the global one, its clock monotonic already.
        log: for everybody.
    """

    def __init__(self, settings: Settings, reactor: Any, log: FilteringBoundLogger) -> None:
        self.settings = settings
        self.ports: list[IListeningPort] = []
        self._tls_ports: list[IListeningPort] = []
        self.ready = False
        self._last_reload: Reload | None = None
        self._built_from = settings
        self._reactor = reactor
        self._log = log
        self.capture = Capture(settings.trace.messages, time.time)
        backends = {
            one.name: one.type(one.name, one.settings, reactor) for one in settings.backends
        }
        call_log = CallLog(log)
        self.store = self._make_store(settings.journal)
        kept = self.store is not None and settings.journal.trace
        wire = WireLog(time.time) if kept else None
        tap = _tap(self.capture, wire)
        for backend in backends.values():
            if tap is not None and isinstance(backend, ShowsMessages):
                backend.capture_to(tap)
        self.control = Control(
            backends=backends,
            node=settings.node,
            clock=reactor,
            wall=time.time,
            journal=self._journal(call_log),
            log=log,
            settings=_control_settings(settings.call),
            wire=wire,
        )
        self.users = make_users(settings.users, reactor)
        self.use_cases = make_use_cases(settings, self.control, self.users, reactor)
        self._soap = SoapService(self.use_cases, log, reactor.seconds)
        self._soap.soap12_sender_status = settings.um.soap12_sender_status
        self.front = Front(self._soap.serve, reactor, log, _http_limits(settings.http))
        self.garbage = Garbage(reactor, log, self._blocks_explained)
        if self.store is not None:
            self.front.admission.probe = self.store.flush
        self._tls: TlsServer | None = None
        self.control_socket = self._control_socket(settings.control.socket)

    async def start(self) -> None:
        """
        Start the backends, then listen, then say so.

        Raises:
            CannotStart
        """
        self._allow_descriptors()
        try:
            check_messaging(self.settings)
            self._identify(self.settings)
            await self.users.open()
            await self._take_over_calls()
            for listen in self.settings.http.listen:
                await self._listen(listen, self.front)
            for listen in self.settings.http.listen_tls:
                assert self._tls is not None
                wrapped = self._tls.wrap(self.front)
                self._tls_ports += await self._listen(listen, wrapped, "http.listen_tls")
            self._check_hosts()
            if self.control_socket is not None:
                self.control_socket.open()
        except UmdError as error:
            await self._close()
            raise CannotStart(str(error).replace("\n", "; ")) from error
        self.ready = True
        self._tell_ready()

    def _tell_ready(self) -> None:
        """Say what serves where; loudly if calls are simulated and nobody has asked for that."""
        settings = self.settings
        listeners = [_listener(port, port in self._tls_ports) for port in self.ports]
        control = None if self.control_socket is None else self.control_socket.path
        if control is not None:
            listeners.append({"address": control, "protocol": "control", "tls": False})
        if not settings.backend_configured:
            self._log.warning(
                "daemon.simulating",
                why="no backend is configured: calls are simulated, and none reaches anybody",
                hint='name one, such as [backend.pbx] with type = "sip", see conf/umd-sip.toml; '
                "if the simulator is wanted, say so: [backend.sim]",
            )
        self._log.info(
            "daemon.ready",
            version=__version__,
            listen=self._addresses(),
            listeners=listeners,
            node=settings.node,
            backends=[{"name": one.name, "type": one.type_name} for one in settings.backends],
            simulating=all(one.type_name == "sim" for one in settings.backends),
            control=control,
            journal=None if self.store is None else self.store.path,
        )
        self._tell_idle_sockets()
        systemd.notify("READY=1", "STATUS=" + self._serving())

    def _addresses(self) -> list[str]:
        return [_name_of(port.getHost()) for port in self.ports]

    def _serving(self) -> str:
        """What `systemctl status` shows."""
        simulating = "; SIMULATING, no call reaches anybody"
        configured = self._built_from.backend_configured
        return "serving " + ", ".join(self._addresses()) + ("" if configured else simulating)

    async def stop(self) -> None:
        """
        Finish what was asked for, within the drain deadline, then close everything.

        Nobody new is let in: under systemd's socket they wait for the next umd. Who is connected is
        still served, each with a last answer.
        """
        self.ready = False
        deadline = self.settings.drain.deadline
        systemd.notify("STOPPING=1", "STATUS=finishing teardowns")
        self._log.info("daemon.stopping", deadline_s=deadline)
        if not await self._within(deadline, self._drain()):
            self._log.warning("daemon.drain-expired", deadline_s=deadline)
            # Better a fault that says to ask again than no answer.
            self.control.dismiss()
        await self._close()
        live = sum(1 for _ in self.control.live_calls())
        self._log.info("daemon.stopped", live_calls=live)

    def reload(self, read: Callable[[], Settings]) -> None:
        """
        Take over a changed configuration; a wrong one is told and changes nothing.

        `call`, `um`, `dial`, `prompts`, `users` but for its store, `pin`, `drain` and the limits of
        `http` change at once; what else has changed is named in the log, and needs a restart.
        """
        systemd.notify(*systemd.reloading())
        mistakes: Sequence[str] = ()
        try:
            self._take_over(read())
        except UmdError as error:
            mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
            self._log.error("config.refused", mistakes=mistakes)
        except Exception as error:
            mistakes = [f"a mistake of umd's own: {error!r}; its log tells more"]
            self._log.exception("config.refused", mistakes=mistakes)
        self._last_reload = Reload(time.time(), tuple(mistakes))
        # systemd knows no reload that failed: the text is all it can show.
        refused = self._last_reload.summary
        systemd.notify("READY=1", f"STATUS={refused or self._serving()}")

    def status(self) -> dict[str, object]:
        """What an operator watches; durations in seconds, as their names say."""
        admission, store, reload = self.front.admission, self.store, self._last_reload
        return {
            "live_calls": self.control.live,
            "known_calls": self.control.known,
            "connections": len(self.front.connections),
            "requests_waiting": self.front.waiting,
            "requests_put_off": admission.put_off,
            "reactor_stall_seconds_max": round(admission.longest, 4),
            "reactor_stalls": admission.stalls,
            "garbage_looks": self.garbage.looks,
            "garbage_look_seconds_max": round(self.garbage.longest, 4),
            "memory_blocks": sys.getallocatedblocks(),
            "journal_waiting": 0 if store is None else store.waiting,
            "journal_records": 0 if store is None else store.last,
            "journal_trouble": None if store is None else store.trouble,
            "journal_set_aside": None if store is None else store.set_aside,
            "last_reload": reload and ("refused" if reload.mistakes else "done"),
            "last_reload_at": reload and iso_time(reload.at),
            "last_reload_why": reload and (reload.summary or None),
        }

    # -- parts

    def _identify(self, settings: Settings) -> None:
        """
        Read who is who, and the certificate; nothing changes where one of them is wrong.

        Raises:
            UmdError
        """
        rules = make_rules(settings.auth) if settings.auth.identifies else None
        if settings.http.listen_tls:
            context, warnings = open_tls(settings)
            for warning in warnings:
                self._log.warning("tls.certificate-not-valid", why=warning)
            if self._tls is None:
                self._tls = TlsServer(context)
            else:
                self._tls.context = context
        if rules is None:
            return
        if self.front.identity is None:
            self.front.identity = Identity(rules, self._reactor, self._log, self.front.busy)
        else:
            self.front.identity.rules = rules

    def _check_hosts(self) -> None:
        """Let requests ask by the names that are umd's."""
        identity = self.front.identity
        self.front.hosts = hosts_asked_for(
            self.settings.http.hosts,
            trusting=identity is None or identity.rules.believes_this_machine,
            private=all(_is_private(port.getHost()) for port in self.ports),
        )

    def _blocks_explained(self) -> int:
        """How many blocks of memory the calls, connections and messages that are there may take."""
        ones = self.control.known + len(self.front.connections)
        return ones * BLOCKS_OF_ONE + self.capture.size * BLOCKS_OF_MESSAGE

    def _allow_descriptors(self) -> None:
        """Let there be as many open connections as are allowed, if the system does."""
        wanted = self.settings.http.max_connections + SPARE_DESCRIPTORS
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
            except (OSError, ValueError):
                allowed = soft
            if allowed < wanted:
                self._log.warning(
                    "http.few-descriptors",
                    allowed=allowed,
                    wanted=wanted,
                    hint="raise LimitNOFILE= of the unit, or lower http.max_connections",
                )

    def _make_store(self, journal: JournalSection) -> SqliteStore | None:
        path = default_journal() if journal.path == "auto" else journal.path
        if journal.durability == "off" or path is None or path == "none":
            return None
        file = JournalFile(path, journal.durability, journal.keep, journal.max_size)

        def told(trouble: str | None) -> None:
            if trouble is not None and journal.on_error == "refuse":
                self.control.journal_failed(trouble)

        return SqliteStore(
            file,
            self._reactor.callFromThread,
            self._log,
            insist=journal.on_error == "refuse",
            told=told,
        )

    def _journal(self, call_log: CallLog) -> CallJournal:
        """What control writes to: the store and the log, or the log alone."""
        if self.store is None:
            return NullJournal(call_log.record)
        return Ledger(self.store, call_log, self.settings.journal.on_error == "refuse")

    async def _take_over_calls(self) -> None:
        """Let the journal and the backends tell what calls there are."""
        # A million calls make many objects and no garbage.
        gc.disable()
        try:
            self._recover()
            await self.control.start()
        finally:
            gc.enable()
        gc.freeze()

    def _recover(self) -> None:
        """Open the journal, and take over the calls it knows."""
        store = self.store
        if store is None:
            return
        began = time.monotonic()
        store.open()
        call = self.settings.call
        since = time.time() - call.retention
        for ended in ended_calls(store, since, call.retained, self._record_unreadable):
            self.control.recover(ended, None)
        for live, leg_record, heard_at in live_calls(store, self._record_unreadable):
            self.control.recover(live, leg_record, heard_at)
        store.begin()
        self._log.info(
            "journal.opened",
            path=store.path,
            durability=self.settings.journal.durability,
            live_calls=self.control.begun,
            ended_calls=len(self.control.known_calls()) - self.control.begun,
            records=store.last,
            sqlite=sqlite3.sqlite_version,
            took_ms=round((time.monotonic() - began) * 1000, 3),
        )

    def _record_unreadable(self, stored: Stored, why: UnknownRecord) -> None:
        self._log.error(
            "journal.record-unreadable",
            position=stored.position,
            call=stored.call,
            why=str(why),
        )

    def _control_socket(self, socket: str) -> ControlSocket | None:
        if socket == "none":
            return None
        path = default_path() if socket == "auto" else socket

        def breathe() -> Deferred[None]:
            return deferLater(self._reactor, 0)

        console = Console(
            self.control, self.capture, time.time, breathe, self.store, self._log, self.status
        )
        return ControlSocket(path, console, self._reactor, self._log)

    async def _listen(
        self, listen: str, factory: IProtocolFactory, key: str = "http.listen"
    ) -> list[IListeningPort]:
        """
        Serve at an endpoint. Its ports are in `ports` then, for one to be stopped that is refused.

        Raises:
            CannotStart
        """
        try:
            if listen.startswith("systemd:"):
                handed = systemd.handed_over()
                ports = adopt(endpoint_fields(listen), handed, factory, self._reactor)
            else:
                ports = [await serverFromString(self._reactor, listen).listen(factory)]
        except CannotListenError as error:
            why = str(getattr(error.socketError, "strerror", None) or error.socketError)
            raise CannotStart(f"{key} = {listen!r}: {why}") from error
        except Exception as error:
            raise CannotStart(f"{key} = {listen!r}: {error}") from error
        self.ports += ports
        asked = self.settings.http.allow_anonymous or self.front.identity is not None
        if not (asked or all(_is_private(port.getHost()) for port in ports)):
            raise CannotStart(
                f"{key} = {listen!r}: whoever reaches this address could end any call, as "
                "nobody is asked who they are; listen on loopback or a unix: socket, or set "
                "http.allow_anonymous = true"
            )
        return ports

    def _tell_idle_sockets(self) -> None:
        """Clients of a socket that nobody serves wait for ever."""
        for index, one in enumerate(systemd.handed_over()):
            if not one.served:
                self._log.warning("http.socket-not-served", index=index, name=one.name)

    async def _drain(self) -> None:
        await self._stop_listening()
        self.front.close_idle()
        await self.control.drain()
        await self.front.answered()

    async def _close(self) -> None:
        self.garbage.stop()
        await self._stop_listening()
        await self.front.close()
        if self.front.identity is not None:
            self.front.identity.stop()
        if self.control_socket is not None:
            await self.control_socket.close()
        deadline = self.settings.drain.deadline
        if not await self._within(deadline, self.control.stop()):
            self._log.error("daemon.backend-does-not-stop", deadline_s=deadline)
        self.users.close()
        if self.store is not None and not await self._within(deadline, self._close_store()):
            self._log.error("journal.does-not-close", deadline_s=deadline)

    async def _close_store(self) -> None:
        assert self.store is not None
        await self.store.close()

    async def _within(self, seconds: float, work: Coroutine[Any, Any, None]) -> bool:
        """Do something, but not for ever; False when it was given up."""
        try:
            await ensureDeferred(work).addTimeout(seconds, self._reactor)
        except TimeoutError:
            return False
        return True

    async def _stop_listening(self) -> None:
        ports, self.ports = self.ports, []
        for port in ports:
            closed = port.stopListening()
            if closed is not None:
                await closed

    def _take_over(self, settings: Settings) -> None:
        check_messaging(settings)
        self._identify(settings)
        restart = _need_restart(self._built_from, settings)
        self.settings = settings
        self.control.settings = _control_settings(settings.call)
        apply(settings, self.use_cases, self._reactor)
        self._soap.soap12_sender_status = settings.um.soap12_sender_status
        self.front.limits = _http_limits(settings.http)
        self._check_hosts()
        if restart:
            self._log.warning("config.needs-restart", keys=restart)
        self._log.info("config.reloaded")


def _tap(capture: Capture, wire: WireLog | None) -> MessageTap | None:
    """Whoever wants to see the messages; None where nobody does."""
    if wire is None:
        return capture.tap if capture.size else None
    if not capture.size:
        return wire.tap
    last_ones, of_calls = capture.tap, wire.tap

    def tap(source: Hop, target: Hop, message: Message) -> None:
        last_ones(source, target, message)
        of_calls(source, target, message)

    return tap


def _http_limits(http: HttpSection) -> Limits:
    return Limits(**{limit.name: getattr(http, limit.name) for limit in fields(Limits)})


def _control_settings(call: CallSection) -> ControlSettings:
    return ControlSettings(
        deadline=call.deadline,
        retention=call.retention,
        retained_calls=call.retained,
        max_age=call.max_age,
        ring_time=call.ring_time,
        ended_is_success=call.ended_is == "success",
    )


def _need_restart(old: Settings, new: Settings) -> list[str]:
    keys = []
    if old.node != new.node:
        keys.append("node")
    for name in ("listen", "listen_tls", "allow_anonymous"):
        if getattr(old.http, name) != getattr(new.http, name):
            keys.append(f"http.{name}")
    if old.auth.identifies != new.auth.identifies:
        keys.append("auth")
    if old.users.store != new.users.store:
        keys.append("users.store")
    if old.backends != new.backends:
        keys.append("backend")
    for name in ("log", "trace", "control", "journal"):
        if getattr(old, name) != getattr(new, name):
            keys.append(name)
    return keys


def _is_private(address: object) -> bool:
    """Whether only this machine's own users reach an address."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        return ip_address(address.host).is_loopback
    return True  # a socket in the file system has its owner and mode


def _listener(port: IListeningPort, tls: bool) -> dict[str, object]:
    return {"address": _name_of(port.getHost()), "protocol": "http", "tls": tls}


def _name_of(address: Any) -> str:
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    name = getattr(address, "name", address)
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
