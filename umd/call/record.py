"""
Encodes lifecycle events as JSON, for the log and for the journal, and replays them.

The keys are a public contract: programs read the log, and a later umd reads the journal. A key may
be added, but never changed or removed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, Final

import orjson

from umd.call.alias import NO_ALIASES
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, InvalidCallId, split_call_id
from umd.call.cause import Cause, EndedBy
from umd.call.events import (
    Alerting,
    Changed,
    Connected,
    Disconnected,
    DisconnectRequested,
    EndEvent,
    Forgotten,
    Found,
    LeaseRenewed,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.leg import Direction, LegId, Proof
from umd.errors import UmdError
from umd.text import iso_time, json_safe

Record = Mapping[str, Any]
"""The fields of an event, as `decode` returns them."""

_STATES: Final = {state.value: state for state in CallState}
_DIRECTIONS: Final = {direction.value: direction for direction in Direction}


class UnknownRecord(UmdError):
    """The octets are not a record, or a damaged one."""


class NewerRecord(UnknownRecord):
    """A newer umd wrote the record, so its effect on the call is not known here."""


def encode(call: Call, event: LifecycleEvent) -> bytes:
    """
    Encode an event as a line of JSON, without a line feed.

    Args:
        call: the call, after the event was applied to it.
        event: the event.
    """
    name, add_fields = _FIELDS[type(event)]
    line = {
        "at": iso_time(event.at),
        "level": "info",
        "event": name,
        "call": call.id,
        "leg": call.leg,
        "seq": event.seq,
    }
    add_fields(line, call, event)
    try:
        return orjson.dumps(line)
    except orjson.JSONEncodeError:
        return _encode_with_octets(line)


def _encode_with_octets(line: Mapping[str, Any]) -> bytes:
    """
    Encode a line with values that JSON does not have, such as octets that are not UTF-8.

    Such octets are written as escapes, for people. The key `octets` has the original octets of each
    such value in base64, for `decode`.
    """
    octets_by_key = {
        key: octets for key, value in line.items() if (octets := _octets_of(value)) is not None
    }
    safe = json_safe(line)
    return orjson.dumps({**safe, "octets": octets_by_key} if octets_by_key else safe)


def _octets_of(value: object) -> Any:
    """Return the octets of a text that is not Unicode, or of such texts in a list, in base64."""
    if isinstance(value, (list, tuple)):
        octets_of_items = [_octets_of(item) for item in value]
        return octets_of_items if any(octets_of_items) else None
    if not isinstance(value, str):
        return None
    octets = value.encode("utf-8", "surrogatepass")
    if octets == value.encode("utf-8", "replace"):
        return None
    try:
        return b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")
    except UnicodeEncodeError:  # a surrogate that does not come from an octet
        return None


def _with_octets(safe: Any, octets: Any) -> Any:
    """Return the original of a value, from its safe form and what `_octets_of` returned for it."""
    if isinstance(octets, str):
        return b64decode(octets).decode("utf-8", "surrogateescape")
    if isinstance(octets, list) and isinstance(safe, list):
        return [_with_octets(*pair) for pair in zip(safe, octets, strict=True)]
    return safe


def decode(octets: bytes) -> Record:
    """
    Read a record that `encode` wrote.

    Raises:
        NewerRecord: a newer umd wrote it.
        UnknownRecord: the octets are not a record.
    """
    try:
        record = orjson.loads(octets)
        name = record["event"]
        if not isinstance(name, str):
            raise TypeError("the name of an event is a text")
        octets_by_key = record.pop("octets", None)
        if octets_by_key:
            record.update(
                (key, _with_octets(record.get(key), octets_by_key[key])) for key in octets_by_key
            )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnknownRecord(f"not a record of an event: {octets[:80]!r}") from None
    if name not in _REPLAY:
        raise NewerRecord(
            f"a record of {name!r}, which this umd does not know: a newer umd wrote it; start that"
        )
    known: Record = record
    return known


def seq_of(octets: bytes) -> int:
    """
    Return the number that a record has among the records of its call, from 1.

    Records with events of a newer umd have it too.

    Raises:
        ValueError: the octets are not a record.
    """
    try:
        seq = orjson.loads(octets)["seq"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"not a record of an event: {octets[:80]!r}") from None
    if type(seq) is not int:
        raise ValueError(f"a record without its number: {octets[:80]!r}")
    return seq


def replay(call: Call | None, record: Record, at: float) -> Call:
    """
    Return a call as it was after an event.

    Args:
        call: the call as it was before; it is changed. None: the record is its first.
        record: the fields of the event.
        at: wall time of the event, in seconds since the epoch.

    Raises:
        UnknownRecord: the record lacks a field, or a value is not valid.
    """
    try:
        if call is None:
            call = Call(
                id=CallId(record["call"]),
                leg=LegId(record["leg"]),
                # A million calls share a few backends and owners: interned, each is in memory once.
                backend=intern(record["backend"]),
                number=record["number"],
                owner=intern(record.get("owner", "")),
                at=at,
                state=_STATES[record.get("state", "connecting")],
                max_age=record.get("max_age_s"),
                ring_time=record.get("ring_time_s"),
                aliases=record.get("aliases") or NO_ALIASES,
                labels=tuple(map(intern, record.get("labels", ()))),
                direction=_DIRECTIONS.get(record.get("direction", "")),
                lease=record.get("lease_s"),
            )
        call.seq = int(record["seq"])
        _REPLAY[record["event"]](call, record, at)
        return call
    except (KeyError, ValueError, TypeError) as error:
        raise UnknownRecord(f"the record {dict(record)!r:.200} does not fit: {error!r}") from None


def leg_of(call_id: str) -> str:
    """Return the name of the leg in a CallId; an id that umd did not make is returned as it is."""
    try:
        return split_call_id(call_id)[0]
    except InvalidCallId:
        return call_id


# -- the fields of each event


def _add_placed(line: dict[str, Any], call: Call, event: Placed) -> None:
    line["backend"] = event.backend
    line["number"] = event.number
    line["owner"] = event.owner
    line["request_id"] = event.request_id
    _add_limits(line, event)
    if event.labels:
        line["labels"] = event.labels
    if event.lease is not None:
        line["lease_s"] = event.lease


def _add_limits(line: dict[str, Any], event: Placed | Resumed) -> None:
    if event.max_age is not None:
        line["max_age_s"] = event.max_age
    if event.ring_time is not None:
        line["ring_time_s"] = event.ring_time


def _add_resumed(line: dict[str, Any], call: Call, event: Resumed) -> None:
    line["backend"] = event.backend
    line["number"] = event.number
    line["owner"] = event.owner
    line["state"] = event.state
    _add_limits(line, event)
    if event.aliases:
        line["aliases"] = dict(event.aliases)
    if event.labels:
        line["labels"] = event.labels
    if event.direction is not None:
        line["direction"] = event.direction


def _add_changed(line: dict[str, Any], call: Call, event: Changed) -> None:
    if event.aliases is not None:
        line["aliases"] = dict(event.aliases)
    if event.partners is not None:
        line["partners"] = event.partners
    if event.labels is not None:
        line["labels"] = event.labels
    if event.number is not None:
        line["number"] = event.number


def _add_lease_renewed(line: dict[str, Any], call: Call, event: LeaseRenewed) -> None:
    line["lease_s"] = event.lease
    line["principal"] = event.principal
    line["request_id"] = event.request_id


def _add_alerting(line: dict[str, Any], call: Call, event: Alerting) -> None:
    pass


def _add_connected(line: dict[str, Any], call: Call, event: Connected) -> None:
    line["setup_s"] = _duration(call.began_at, event.at)


def _add_requested(line: dict[str, Any], call: Call, event: DisconnectRequested) -> None:
    line["by"] = event.cause.by
    line["cause"] = event.cause.q850
    line["principal"] = event.principal
    line["request_id"] = event.request_id
    if event.limit is not None:
        line["limit"] = event.limit
    if event.caused_by is not None:
        line["caused_by"] = event.caused_by


def _add_disconnected(line: dict[str, Any], call: Call, event: Disconnected) -> None:
    line["outcome"] = "ended" if event.confirmed else "ended-unconfirmed"
    line["confirmed"] = event.confirmed
    line["shown_by"] = event.shown_by
    _add_final_fields(line, call, event)
    if event.caused_by is not None:
        line["caused_by"] = event.caused_by
    if event.media is not None:
        line["media_sent"] = event.media.sent
        line["media_received"] = event.media.received
    if event.superseded is not None:
        line["superseded_by"] = event.superseded.by
        line["superseded_cause"] = event.superseded.q850
        line["superseded_sip_status"] = event.superseded.sip_status
        line["superseded_reasons"] = event.superseded.reasons


def _add_lost(line: dict[str, Any], call: Call, event: Lost) -> None:
    line["outcome"] = "lost"
    line["reason"] = event.reason
    line["confirmed"] = False
    _add_final_fields(line, call, event)


def _add_forgotten(line: dict[str, Any], call: Call, event: Forgotten) -> None:
    line["outcome"] = "forgotten"
    line["reason"] = event.reason
    line["principal"] = event.principal
    line["request_id"] = event.request_id
    line["confirmed"] = False
    line["shown_by"] = Proof.NONE
    _add_final_fields(line, call, event)


def _add_final_fields(line: dict[str, Any], call: Call, event: EndEvent) -> None:
    cause = event.cause
    line["backend"] = call.backend
    line["number"] = call.number
    line["owner"] = call.owner
    line["by"] = cause.by
    line["cause"] = cause.q850
    line["event_cause"] = cause.event_cause
    line["sip_status"] = cause.sip_status
    line["reasons"] = cause.reasons
    line["events"] = event.seq
    line["lived_s"] = _duration(call.began_at, event.at)
    if call.connected_at:
        line["talked_s"] = _duration(call.connected_at, event.at)
    if call.asked_at:
        line["took_ms"] = round(max(0.0, event.at - call.asked_at) * 1000, 3)
    # A later umd restores an ended call from this record alone.
    if call.aliases:
        line["aliases"] = dict(call.aliases)
    if call.labels:
        line["labels"] = call.labels
    if call.partners:
        line["partners"] = call.partners


_FIELDS: Final[
    Mapping[type[LifecycleEvent], tuple[str, Callable[[dict[str, Any], Call, Any], None]]]
] = {
    Placed: ("call.placed", _add_placed),
    Resumed: ("call.resumed", _add_resumed),
    Found: ("call.found", _add_resumed),
    Alerting: ("call.alerting", _add_alerting),
    Connected: ("call.connected", _add_connected),
    Changed: ("call.changed", _add_changed),
    LeaseRenewed: ("call.lease-renewed", _add_lease_renewed),
    DisconnectRequested: ("call.disconnect-requested", _add_requested),
    Disconnected: ("call.disconnected", _add_disconnected),
    Lost: ("call.lost", _add_lost),
    Forgotten: ("call.forgotten", _add_forgotten),
}
"""The name of each event, and the function that adds its own fields to the line."""


def _duration(since: float, until: float) -> float:
    """Return the seconds between two wall times; 0.0 if the clock was set back in between."""
    return round(until - since, 3) if until > since else 0.0


END_EVENTS: Final = frozenset(_FIELDS[kind][0] for kind in (Disconnected, Lost, Forgotten))
"""The names of the events that end a call."""


# -- how each event changes a call


def _replay_placed(call: Call, record: Record, at: float) -> None:
    pass


def _replay_resumed(call: Call, record: Record, at: float) -> None:
    if call.state is not CallState.DISCONNECTING:
        call.state = _STATES[record["state"]]
        if call.state is CallState.CONNECTED and not call.connected_at:
            call.connected_at = at


def _replay_alerting(call: Call, record: Record, at: float) -> None:
    call.state = CallState.ALERTING


def _replay_connected(call: Call, record: Record, at: float) -> None:
    if call.state is not CallState.DISCONNECTING:
        call.state = CallState.CONNECTED
    call.connected_at = at


def _replay_changed(call: Call, record: Record, at: float) -> None:
    if "aliases" in record:
        call.aliases = record["aliases"] or NO_ALIASES
    if "partners" in record:
        call.partners = tuple(map(CallId, record["partners"]))
    if "labels" in record:
        call.labels = tuple(map(intern, record["labels"]))
    if "number" in record:
        call.number = record["number"]


def _replay_lease_renewed(call: Call, record: Record, at: float) -> None:
    call.lease, call.leased_at = float(record["lease_s"]), at


def _replay_requested(call: Call, record: Record, at: float) -> None:
    call.state = CallState.DISCONNECTING
    call.asked_at = at
    call.cause = Cause(by=EndedBy(record["by"]), q850=int(record["cause"]))
    call.caused_by = record.get("caused_by")


def _replay_end(call: Call, record: Record, at: float) -> None:
    call.state = CallState.DISCONNECTED
    call.began_at = at - record["lived_s"]
    call.connected_at = at - record["talked_s"] if "talked_s" in record else 0.0
    call.asked_at = at - record["took_ms"] / 1000 if "took_ms" in record else 0.0
    call.ended_at = at
    call.confirmed = record["confirmed"]
    call.cause = Cause(
        by=EndedBy(record["by"]),
        q850=int(record["cause"]),
        sip_status=record["sip_status"],
        reasons=tuple(record["reasons"]),
    )
    call.shown_by = _proof_of(record)
    call.caused_by = record.get("caused_by", call.caused_by)
    # An earlier record that had them may be damaged, or pruned.
    _replay_changed(call, record, at)


def _replay_forgotten(call: Call, record: Record, at: float) -> None:
    _replay_end(call, record, at)
    call.forgotten = True


def _proof_of(record: Record) -> Proof | None:
    """Return what shows the end of a call; a umd before 0.2 wrote only whether it is confirmed."""
    shown_by = record.get("shown_by")
    if shown_by is not None:
        return Proof(shown_by)
    if record["event"] == "call.lost":
        return None
    return Proof.FAR_END if record["confirmed"] else Proof.NONE


_REPLAY: Final[Mapping[str, Callable[[Call, Record, float], None]]] = {
    "call.placed": _replay_placed,
    "call.resumed": _replay_resumed,
    "call.found": _replay_resumed,
    "call.alerting": _replay_alerting,
    "call.connected": _replay_connected,
    "call.changed": _replay_changed,
    "call.lease-renewed": _replay_lease_renewed,
    "call.disconnect-requested": _replay_requested,
    "call.disconnected": _replay_end,
    "call.lost": _replay_end,
    "call.forgotten": _replay_forgotten,
}
"""The function that changes a call as an event did, by the name of the event."""
