"""Rebuilds calls from their stored records, and shows a stored record to people and programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.leg import LegId
from umd.call.record import NewerRecord, Record, UnknownRecord, decode, leg_of, replay
from umd.text import iso_time

if TYPE_CHECKING:
    from umd.journal.store import Store, Stored

OnUnreadable: TypeAlias = "Callable[[Stored, UnknownRecord], None]"
"""Called with a record that cannot be read, and with the reason."""


def live_calls(
    store: Store, on_unreadable: OnUnreadable
) -> Iterator[tuple[Call, bytes | None, float]]:
    """
    Yield each call of the journal that has begun and not ended.

    A call is rebuilt from the records that can be read. `on_unreadable` is called for the others.

    Yields:
        The call; the last record of its leg, which its backend wrote; and when its backend last
        reported something of it, as wall time in seconds since the epoch.

    Raises:
        NewerRecord: a newer umd wrote a record.
    """
    for begun, records in store.live():
        call, readable = replay_readable(records[0].call, records, on_unreadable)
        call.begun = begun
        leg_record = None
        for stored in records:
            leg_record = stored.extra or leg_record
        last_heard_at = 0.0
        for stored, record in readable:
            # umd itself resumes a call after a restart; only the first record of a found call
            # comes from its backend.
            if record["seq"] == 1 or record["event"] != "call.resumed":
                last_heard_at = stored.at
        yield call, leg_record, last_heard_at


def ended_calls(
    store: Store, since: float, limit: int, on_unreadable: OnUnreadable
) -> Iterator[Call]:
    """
    Yield the calls of the journal that ended most recently, the oldest first.

    Args:
        store: the journal, open.
        since: wall time in seconds since the epoch; calls that ended before it do not count.
        limit: how many calls at most.
        on_unreadable: called for each end that cannot be read; its call is left out.

    Raises:
        NewerRecord: a newer umd wrote a record.
    """
    for stored in store.ended(since, limit):
        try:
            yield replay(None, decode(stored.record), stored.at)
        except NewerRecord:
            raise
        except UnknownRecord as error:
            on_unreadable(stored, error)


def replay_readable(
    call_id: str, records: Sequence[Stored], on_unreadable: OnUnreadable
) -> tuple[Call, list[tuple[Stored, Record]]]:
    """
    Rebuild a call from those of its records that can be read.

    Args:
        call_id: the id of the call.
        records: all records of the call, in their order; at least one.
        on_unreadable: called with each record that cannot be read, and with the reason.

    Returns:
        The call, and the records that were read, each with its fields. If the first record cannot
        be read, the backend of the call is unknown and empty.

    Raises:
        NewerRecord: a newer umd wrote a record, so the state of the call cannot be known here.
    """
    call: Call | None = None
    readable = []
    for stored in records:
        try:
            record = decode(stored.record)
            call = replay(call, record, stored.at)
        except NewerRecord:
            raise
        except UnknownRecord as error:
            on_unreadable(stored, error)
        else:
            readable.append((stored, record))
    if call is None:
        call = _unreadable_call(call_id, records)
    return call, readable


def _unreadable_call(call_id: str, records: Sequence[Stored]) -> Call:
    """Return a live call of which only the id and the time of the first record are known."""
    leg, began_at = LegId(leg_of(call_id)), records[0].at
    call = Call(id=CallId(call_id), leg=leg, backend="", number="", owner="", at=began_at)
    call.seq = len(records)
    return call


def record_to_json(stored: Stored) -> dict[str, Any]:
    """
    Return the fields of a stored record and its position.

    A damaged record becomes the event `record.unreadable`, with what the store knows beside it.
    """
    try:
        record = orjson.loads(stored.record)
        name, at, call, leg = (record[key] for key in ("event", "at", "call", "leg"))
        if all(isinstance(text, str) for text in (name, at, call, leg)):
            return {"position": stored.position, **record}
    except (ValueError, TypeError, KeyError):
        pass
    return {
        "position": stored.position,
        "at": iso_time(stored.at),
        "event": "record.unreadable",
        "call": stored.call,
        "leg": leg_of(stored.call),
    }
