"""Compares the replies to clients, the journal, and the log of the far end."""

from __future__ import annotations

import shutil
import sqlite3
from base64 import b64decode
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from tests.faults.clients import ClientLog

ENDS: Final = ("call.disconnected", "call.lost")
REQUESTED: Final = "call.disconnect-requested"


class Journal:
    """
    The records of a journal, read without the code of umd; no umd has it open.

    Args:
        path: the path of the journal; a copy of it is read.
        scratch: a directory for the copy.
    """

    def __init__(self, path: Path, scratch: Path) -> None:
        self.events: dict[str, list[str]] = defaultdict(list)
        """The names of the events of each call, in order."""
        self.missing = 0
        """Records that are missing although a later one of their call is there."""
        self.records = 0
        copy = scratch / "copy.db"
        for suffix in ("", "-wal"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
            if Path(f"{path}{suffix}").exists():
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        db = sqlite3.connect(copy)
        try:
            self.integrity = str(db.execute("PRAGMA integrity_check").fetchone()[0])
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                rows = db.execute("SELECT call, record FROM events ORDER BY position")
                for call, record in rows:
                    self._take(call, orjson.loads(record))
        finally:
            db.close()

    def _take(self, call: str, record: Mapping[str, Any]) -> None:
        events = self.events[call]
        events.append(record["event"])
        self.missing += record["seq"] != len(events)
        self.records += 1

    def ended(self, call: str) -> bool:
        return any(end in self.events.get(call, ()) for end in ENDS)


def check_promises(journal: Journal, log: ClientLog) -> Counter[str]:
    """Count the broken promises that must hold at any time, even after a crash; all must be 0."""
    return Counter(
        acknowledged_ends_lost=sum(not journal.ended(call) for call in log.ended),
        acknowledged_requests_lost=sum(
            REQUESTED not in journal.events.get(call, ()) for call in log.unconfirmed - log.ended
        ),
        calls_unknown_to_the_journal=sum(call not in journal.events for call in log.placed),
        calls_denied=len(log.denied),
        records_missing=journal.missing,
        damaged=int(journal.integrity != "ok"),
    )


def check_ends(journal: Journal) -> Counter[str]:
    """Count the broken promises that must hold once all calls have ended; all must be 0."""
    found: Counter[str] = Counter()
    for events in journal.events.values():
        ends = sum(event in ENDS for event in events)
        found["calls_without_an_end"] += ends == 0
        found["calls_with_two_ends"] += ends > 1
        found["calls_asked_for_twice"] += events.count(REQUESTED) > 1
        found["calls_lost"] += "call.lost" in events
        found["events_after_the_end"] += ends > 0 and events[-1] not in ENDS
    return found


def check_far_end(
    heard: Sequence[Mapping[str, Any]], journal: Journal, log: ClientLog, crashes: Sequence[float]
) -> tuple[Counter[str], Counter[str]]:
    """
    Check what the far end of the backend "pbx" received, once all calls have ended.

    Args:
        heard: the requests, see `tests.faults.far_end.FarEnd.heard`.
        journal: the journal of the umd.
        log: what the clients sent and received.
        crashes: when umd was started after each crash, by `time.monotonic`, in order.

    Returns:
        The counts that must be 0, and counts that only inform.
    """
    call_of = {_leg_name(call): call for call in journal.events}
    legs: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for request in heard:
        legs[request["call"]].append(request)
    wrong, seen = Counter(far_end_requests_refused=0), Counter(far_end_legs=len(legs))
    for leg, requests in legs.items():
        byes = _transactions(requests, "BYE")
        cancels = _transactions(requests, "CANCEL")
        answered = any(request["method"] == "ACK" for request in requests) and not cancels
        confirmed = [said for _, said in byes.values() if said == "200"]
        call = call_of.get(leg)
        wrong["far_end_calls_unknown_to_the_journal"] += call is None
        wrong["far_end_answered_and_no_bye"] += answered and not confirmed
        wrong["far_end_neither_bye_nor_cancel"] += not byes and not cancels
        wrong["far_end_ends_not_requested"] += any(
            at < log.asked.get(call or "", float("inf")) for at, _ in (byes | cancels).values()
        )
        wrong["far_end_two_byes_and_no_crash"] += not _apart(byes, crashes)
        wrong["far_end_two_invites"] += len(_transactions(requests, "INVITE")) > 1
        wrong["far_end_requests_refused"] += sum(
            request["said"] == "481"
            for request in requests
            if request["at"] < _first_end(byes, cancels)
        )
        seen["far_end_answered"] += answered
        seen["far_end_cancelled"] += bool(cancels)
        seen["far_end_byes"] += len(byes)
        seen["far_end_bye_sent_anew_after_a_crash"] += len(byes) > 1
    return wrong, seen


def _leg_name(call: str) -> str:
    return b64decode(call).decode().rpartition("@")[0]


Transactions = dict[str, tuple[float, str]]


def _transactions(requests: Sequence[Mapping[str, Any]], method: str) -> Transactions:
    """Return when each transaction of a method began, and its last response, by branch."""
    found: Transactions = {}
    for request in requests:
        if request["method"] == method:
            began = found.get(request["branch"], (request["at"], ""))[0]
            found[request["branch"]] = began, request["said"]
    return found


def _first_end(byes: Transactions, cancels: Transactions) -> float:
    return min((at for at, _ in (byes | cancels).values()), default=float("inf"))


def _apart(byes: Transactions, crashes: Sequence[float]) -> bool:
    """Return whether umd crashed between every two BYEs of a call."""
    times = sorted(at for at, _ in byes.values())
    return all(
        bisect_left(crashes, first) != bisect_left(crashes, second)
        for first, second in zip(times, times[1:])
    )
