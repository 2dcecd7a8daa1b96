"""Builds the parts of the daemon from the sections of the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from umd.backend import LegBackend, MessageTap, ShowsMessages
from umd.config import Settings
from umd.config.sections import CallSection, HttpSection, JournalSection
from umd.control.control import Control
from umd.control.journal import CallJournal, NullJournal
from umd.control.settings import ControlSettings
from umd.daemon.paths import control_socket_path, journal_path
from umd.http.limits import Limits
from umd.journal.file import JournalFile
from umd.journal.ledger import CallLog, Ledger
from umd.journal.sqlite import SqliteStore
from umd.management.console import Console
from umd.management.socket import ControlSocket
from umd.sip.message import Message
from umd.sip.transaction import Hop
from umd.trace.capture import Capture
from umd.trace.summary import CallSummaries


def make_backends(settings: Settings, reactor: Any) -> dict[str, LegBackend]:
    """Make each configured backend, by its name; the first one dials by default."""
    return {
        backend.name: backend.type(backend.name, backend.settings, reactor)
        for backend in settings.backends
    }


def tap_messages(
    backends: Iterable[LegBackend],
    capture: Capture,
    summaries: CallSummaries | None,
    collectors: MessageTap | None = None,
) -> None:
    """
    Pass each SIP message of the backends on.

    Args:
        backends: those that show their messages are tapped.
        capture: gets them if it has room.
        summaries: gets them; None: there are none.
        collectors: sends them to HEP collectors; None: there are none.
    """
    tap = _message_tap(capture, summaries)
    if collectors is not None:
        tap = collectors if tap is None else _both(tap, collectors)
    for backend in backends:
        if tap is not None and isinstance(backend, ShowsMessages):
            backend.capture_to(tap)


def _both(first: MessageTap, second: MessageTap) -> MessageTap:
    def tap(source: Hop, target: Hop, message: Message) -> None:
        first(source, target, message)
        second(source, target, message)

    return tap


def _message_tap(capture: Capture, summaries: CallSummaries | None) -> MessageTap | None:
    # The common cases call one function for each message, without another one around it.
    if summaries is None:
        return capture.tap if capture.size else None
    if not capture.size:
        return summaries.tap
    capture_message, summarise = capture.tap, summaries.tap

    def tap(source: Hop, target: Hop, message: Message) -> None:
        capture_message(source, target, message)
        summarise(source, target, message)

    return tap


def make_store(
    journal: JournalSection,
    reactor: Any,
    log: FilteringBoundLogger,
    on_failure: Callable[[str], None],
) -> SqliteStore | None:
    """
    Make the store of the journal, not open yet; None if umd keeps no journal.

    Args:
        on_failure: called with the reason when the journal cannot be written and
            `journal.on_error` is "refuse".
    """
    path = journal_path(journal)
    if path is None or journal.durability == "off":
        return None
    refuses = journal.on_error == "refuse"

    def report(trouble: str | None) -> None:
        if trouble is not None and refuses:
            on_failure(trouble)

    file = JournalFile(path, journal.durability, journal.keep, journal.max_size)
    return SqliteStore(
        file, reactor.callFromThread, log, refuse_on_error=refuses, on_trouble=report
    )


def make_call_journal(
    store: SqliteStore | None, log: FilteringBoundLogger, journal: JournalSection
) -> CallJournal:
    """Make what records the events of calls: in the store and the log, or in the log alone."""
    call_log = CallLog(log)
    if store is None:
        return NullJournal(call_log.record)
    return Ledger(store, call_log, journal.on_error == "refuse")


def control_settings(call: CallSection) -> ControlSettings:
    """Translate `[call]` for the control room."""
    return ControlSettings(
        deadline=call.deadline,
        retention=call.retention,
        retained_calls=call.retained,
        max_age=call.max_age,
        ring_time=call.ring_time,
        ended_is_success=call.ended_is == "success",
        protected_labels=tuple(call.protected_labels),
        reconcile=call.reconcile,
        suspect_age=call.suspect_age,
        owners=call.owners,
    )


def http_limits(http: HttpSection) -> Limits:
    """Translate the limits of `[http]` for the HTTP room; each has the same name in both."""
    return Limits(**{limit.name: getattr(http, limit.name) for limit in fields(Limits)})


def make_control_socket(
    settings: Settings,
    reactor: Any,
    log: FilteringBoundLogger,
    *,
    control: Control,
    capture: Capture,
    store: SqliteStore | None,
    status: Callable[[], dict[str, object]],
) -> ControlSocket | None:
    """Make the control socket, not open yet; None if the configuration wants none."""
    path = control_socket_path(settings.control)
    if path is None:
        return None

    def let_others_run() -> Deferred[None]:
        return deferLater(reactor, 0)

    console = Console(control, capture, time.time, let_others_run, store, log, status)
    return ControlSocket(path, console, reactor, log)
