"""What `umd status` and `systemctl status` show of the daemon."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from umd.control.control import Control
from umd.http.front import Front
from umd.journal.sqlite import SqliteStore
from umd.runtime.garbage_collection import IncrementalCollector
from umd.text import iso_time

MAX_SUMMARY_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """The result of reading the configuration again."""

    at: float
    """Wall time, seconds since the epoch."""
    mistakes: tuple[str, ...]
    """Why the configuration was refused; empty if it was applied."""

    @property
    def summary(self) -> str:
        """Why the configuration was refused, on one line; empty if it was applied."""
        if not self.mistakes:
            return ""
        first, *others = self.mistakes
        more = f" (and {len(others)} more)" if others else ""
        text = f"reload refused at {iso_time(self.at)}, nothing has changed: {first}{more}"
        return " ".join(text.split())[:MAX_SUMMARY_CHARACTERS]


def daemon_status(
    *,
    control: Control,
    front: Front,
    collector: IncrementalCollector,
    store: SqliteStore | None,
    reload: ReloadResult | None,
    hep: Mapping[str, object],
) -> dict[str, object]:
    """
    Return the values that `umd status` shows, by their names.

    A name that ends in `_seconds` or `_seconds_max` is a duration in seconds. `reload` is the
    latest reload, or None if there was none. `hep` has the figures of `[hep]`.
    """
    admission = front.state.admission
    return {
        "live_calls": control.counts().live,
        "known_calls": control.known,
        "connections": len(front.state.connections),
        "requests_waiting": front.state.pending_requests,
        "requests_put_off": admission.rejected,
        "reactor_stall_seconds_max": round(admission.max_seen_late, 4),
        "reactor_stalls": admission.stalls,
        "garbage_looks": collector.passes,
        "garbage_look_seconds_max": round(collector.longest_pass, 4),
        "memory_blocks": sys.getallocatedblocks(),
        "journal_waiting": 0 if store is None else store.waiting,
        "journal_records": 0 if store is None else store.last,
        "journal_trouble": None if store is None else store.trouble,
        "journal_set_aside": None if store is None else store.set_aside,
        "last_reload": reload and ("refused" if reload.mistakes else "done"),
        "last_reload_at": reload and iso_time(reload.at),
        "last_reload_why": reload and (reload.summary or None),
        **hep,
    }
