"""Restores the calls of an earlier umd from the journal."""

from __future__ import annotations

import sqlite3
import time

from structlog.typing import FilteringBoundLogger

from umd.call.record import UnknownRecord
from umd.config import Settings
from umd.control.control import Control
from umd.journal.replay import ended_calls, live_calls
from umd.journal.sqlite import SqliteStore
from umd.journal.store import Stored


def restore_calls(
    store: SqliteStore, control: Control, settings: Settings, log: FilteringBoundLogger
) -> None:
    """
    Open the journal and give `control` the calls in it, the ended ones first.

    Live calls are always restored; ended ones only while `[call]` says that they are remembered.

    Raises:
        CannotOpen: the journal cannot be used.
    """
    began = time.monotonic()

    def log_unreadable(stored: Stored, error: UnknownRecord) -> None:
        log.error(
            "journal.record-unreadable",
            position=stored.position,
            call=stored.call,
            why=str(error),
        )

    store.open()
    oldest_end = time.time() - settings.call.retention
    for ended in ended_calls(store, oldest_end, settings.call.retained, log_unreadable):
        control.recover(ended, None)
    for live, leg_record, last_heard_at in live_calls(store, log_unreadable):
        control.recover(live, leg_record, last_heard_at)
    store.begin()
    live_count = control.counts().live
    log.info(
        "journal.opened",
        path=store.path,
        durability=settings.journal.durability,
        live_calls=live_count,
        ended_calls=len(control.known_calls()) - live_count,
        records=store.last,
        sqlite=sqlite3.sqlite_version,
        took_ms=round((time.monotonic() - began) * 1000, 3),
    )
