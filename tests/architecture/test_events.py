"""docs/events.md lists every log event and lifecycle event with its keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture.events import log_events
from tests.architecture.imports import Source
from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.cause import Cause, EndedBy
from umd.call.events import (
    Alerting,
    Changed,
    Connected,
    Disconnected,
    DisconnectRequested,
    Forgotten,
    Found,
    LeaseRenewed,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.leg import Direction, LegId, MediaCount, Proof
from umd.call.record import encode

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
LIFECYCLE = {
    "call.placed", "call.resumed", "call.found", "call.alerting", "call.connected", "call.changed",
    "call.lease-renewed", "call.disconnect-requested", "call.disconnected", "call.lost",
    "call.forgotten",
}  # fmt: skip
WRITTEN_ELSEWHERE = {"log.lost", "twisted.said"}
"""Events that no call of a logger names: the log itself makes them."""


def rows() -> dict[str, list[str]]:
    """Return the cells of each row of the page by the names of its events."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([a-z0-9-]+\.[a-z0-9-]+)`", cells[0]):
            if line.startswith("|"):
                found[name] = cells[1:]
    return found


def keys_in(cell: str) -> tuple[set[str], set[str]]:
    """Return the keys of a cell that are always there, and those in brackets."""
    optional = " ".join(re.findall(r"\[([^]]*)\]", cell))
    always = re.sub(r"\[[^]]*\]", "", cell)
    return set(re.findall(r"`(\w+)`", always)), set(re.findall(r"`(\w+)`", optional))


class EventTests(SynchronousTestCase):
    events = log_events(Source())
    page = rows()

    def test_every_event_has_its_row(self) -> None:
        expected = set(self.events) | LIFECYCLE | WRITTEN_ELSEWHERE
        self.assertEqual(set(self.page), expected)

    def test_each_row_has_the_level_and_the_keys(self) -> None:
        for name, event in self.events.items():
            level, keys = self.page[name][:2]
            self.assertEqual({level}, event.levels, name)
            always, optional = keys_in(keys)
            self.assertEqual(event.keys - always - optional, set(), f"{name}: keys not documented")
            if not event.open:
                self.assertEqual(always - event.keys, set(), f"{name}: keys that are never there")

    def test_each_lifecycle_event_has_its_keys(self) -> None:
        for lease in (None, 60.0):
            for event in lifecycle_events(lease):
                line = json.loads(encode(CALL, event))
                always, optional = keys_in(self.page[line.pop("event")][0])
                del line["at"], line["level"]
                keys = set(line)
                self.assertEqual((always - keys, keys - always - optional), (set(), set()))


CALL = Call(id=CallId("id"), leg=LegId("leg"), backend="sim", number="1", owner="alice", at=1.0)


def lifecycle_events(lease: float | None) -> list[LifecycleEvent]:
    """Return one event of each kind, with all of its optional parts if `lease` is one."""
    call: dict[str, Any] = {"call": CALL.id, "seq": 1, "at": 2.0}
    placed: dict[str, Any] = {
        **call, "leg": CALL.leg, "backend": "sim", "number": "1", "owner": "alice",
        "max_age": lease, "ring_time": lease,
    }  # fmt: skip
    cause = Cause(by=EndedBy.DAEMON)
    more = lease is not None
    CALL.connected_at = CALL.asked_at = 1.5 if more else 0.0
    aliases = {"sip-call-id": "a"} if more else {}
    labels = ("ci",) if more else ()
    partner = CallId("other") if more else None
    partners = (CallId("other"),) if more else ()
    CALL.change(2.0, aliases=aliases, labels=labels, partners=partners)
    found: dict[str, Any] = {
        **placed, "state": "connected", "aliases": aliases, "labels": labels,
        "direction": Direction.INBOUND if more else None,
    }  # fmt: skip
    by: dict[str, Any] = {"principal": "alice", "request_id": "r-1"}
    return [
        Placed(**placed, request_id="r-1", labels=labels, lease=lease),
        Resumed(**found),
        Found(**found),
        Alerting(**call),
        Connected(**call),
        Changed(**call, aliases=aliases, partners=partners, labels=labels, number="2"),
        LeaseRenewed(**call, **by, lease=60.0),
        DisconnectRequested(
            **call, **by, cause=cause, limit="max_age" if more else None, caused_by=partner
        ),
        Disconnected(
            **call,
            cause=cause,
            confirmed=True,
            shown_by=Proof.FAR_END,
            caused_by=partner,
            superseded=cause if more else None,
            media=MediaCount(sent=1, received=1) if more else None,
        ),
        Lost(**call, cause=cause, reason="the backend does not know it"),
        Forgotten(**call, **by, cause=cause, reason="its PBX was replaced"),
    ]
