"""
Lifecycle events as lines of JSON: one encoding, for the log and for the journal.

What is written here is a public contract: the events of a log, and the records of a journal that
another umd reads years later. Keys are added, never changed.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, Final

import orjson

from umd.call.call import Call, CallState
from umd.call.call_id import CallId, InvalidCallId, split_call_id
from umd.call.cause import Cause, EndedBy
from umd.call.events import (
    Alerting,
    Connected,
    Disconnected,
    DisconnectRequested,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.leg import LegId
from umd.errors import UmdError
from umd.text import iso_time, json_safe

Record = Mapping[str, Any]

_STATES: Final = {state.value: state for state in CallState}


class UnknownRecord(UmdError):
    """A record that this umd cannot read: it is damaged, or none at all."""


class NewerRecord(UnknownRecord):
    """A newer umd has written it: what it means for the call is not known here."""


def encode(call: Call, event: LifecycleEvent) -> bytes:
    """One event of a call, which has been applied to it, as a line of JSON."""
    name, fields = _TOLD[type(event)]
    line = {
        "at": iso_time(event.at),
        "level": "info",
        "event": name,
        "call": call.id,
        "leg": call.leg,
        "seq": event.seq,
    }
    fields(line, call, event)
    try:
        return orjson.dumps(line)
    except orjson.JSONEncodeError:
        return _encode_odd(line)


def _encode_odd(line: Mapping[str, Any]) -> bytes:
    """
    A line with what JSON cannot hold, such as octets of a far end that are no UTF-8.

    Every reader of JSON must read it, so those are written as escapes, for people; the key `octets`
    has the octets themselves, in base64.
    """
    odd = {key: octets for key, value in line.items() if (octets := _octets_of(value)) is not None}
    readable = json_safe(line)
    return orjson.dumps({**readable, "octets": odd} if odd else readable)


def _octets_of(value: object) -> Any:
    """A text that is no Unicode in base64, also within a list; None where there is none."""
    if isinstance(value, (list, tuple)):
        found = [_octets_of(one) for one in value]
        return found if any(found) else None
    if not isinstance(value, str):
        return None
    octets = value.encode("utf-8", "surrogatepass")
    if octets == value.encode("utf-8", "replace"):
        return None
    try:
        return b64encode(value.encode("utf-8", "surrogateescape")).decode("ascii")
    except UnicodeEncodeError:  # a surrogate that stands for no octet
        return None


def _with_octets(readable: Any, odd: Any) -> Any:
    """The inverse: a text as it was, also within a list."""
    if isinstance(odd, str):
        return b64decode(odd).decode("utf-8", "surrogateescape")
    if isinstance(odd, list) and isinstance(readable, list):
        return [_with_octets(*pair) for pair in zip(readable, odd, strict=True)]
    return readable


def decode(octets: bytes) -> Record:
    """
    Read what `encode` wrote.

    Raises:
        UnknownRecord
    """
    try:
        record = orjson.loads(octets)
        name = record["event"]
        if not isinstance(name, str):
            raise TypeError("an event has a name")
        odd = record.pop("octets", None)
        if odd:
            record.update((key, _with_octets(record.get(key), odd[key])) for key in odd)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnknownRecord(f"not a record of an event: {octets[:80]!r}") from None
    if name not in _REPLAYED:
        raise NewerRecord(
            f"a record of {name!r}, which this umd does not know: a newer one wrote it; use that"
        )
    known: Record = record
    return known


def seq_of(octets: bytes) -> int:
    """
    The number of a record among those of its call; of one that a newer umd wrote, too.

    Raises:
        ValueError: it cannot be read.
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
    Let a call be as it was after an event.

    Args:
        call: as the events before have left it; None before the first.
        record: of the event.
        at: when that was, wall time in seconds since the epoch.

    Raises:
        UnknownRecord: it does not fit.
    """
    try:
        if call is None:
            call = Call(
                id=CallId(record["call"]),
                leg=LegId(record["leg"]),
                # Of a million calls these are a few different ones.
                backend=intern(record["backend"]),
                number=record["number"],
                owner=intern(record.get("owner", "")),
                at=at,
                state=_STATES[record.get("state", "connecting")],
                max_age=record.get("max_age_s"),
                ring_time=record.get("ring_time_s"),
            )
        call.seq = int(record["seq"])
        _REPLAYED[record["event"]](call, record, at)
        return call
    except (KeyError, ValueError, TypeError) as error:
        raise UnknownRecord(f"the record {dict(record)!r:.200} does not fit: {error!r}") from None


def leg_of(call_id: str) -> str:
    """The leg that a CallId names; one that umd did not make is its own name."""
    try:
        return split_call_id(call_id)[0]
    except InvalidCallId:
        return call_id


# -- what each event tells


def _placed(line: dict[str, Any], call: Call, event: Placed) -> None:
    line["backend"] = event.backend
    line["number"] = event.number
    line["owner"] = event.owner
    line["request_id"] = event.request_id
    _leases(line, event)


def _leases(line: dict[str, Any], event: Placed | Resumed) -> None:
    if event.max_age is not None:
        line["max_age_s"] = event.max_age
    if event.ring_time is not None:
        line["ring_time_s"] = event.ring_time


def _resumed(line: dict[str, Any], call: Call, event: Resumed) -> None:
    line["backend"] = event.backend
    line["number"] = event.number
    line["owner"] = event.owner
    line["state"] = event.state
    _leases(line, event)


def _alerting(line: dict[str, Any], call: Call, event: Alerting) -> None:
    pass


def _connected(line: dict[str, Any], call: Call, event: Connected) -> None:
    line["setup_s"] = _lasted(call.began_at, event.at)


def _requested(line: dict[str, Any], call: Call, event: DisconnectRequested) -> None:
    line["by"] = event.cause.by
    line["cause"] = event.cause.q850
    line["principal"] = event.principal
    line["request_id"] = event.request_id
    if event.limit is not None:
        line["limit"] = event.limit


def _disconnected(line: dict[str, Any], call: Call, event: Disconnected) -> None:
    line["outcome"] = "ended" if event.confirmed else "ended-unconfirmed"
    line["confirmed"] = event.confirmed
    _story(line, call, event)
    if event.media is not None:
        line["media_sent"] = event.media.sent
        line["media_received"] = event.media.received
    if event.superseded is not None:
        line["superseded_by"] = event.superseded.by
        line["superseded_cause"] = event.superseded.q850
        line["superseded_sip_status"] = event.superseded.sip_status
        line["superseded_reasons"] = event.superseded.reasons


def _lost(line: dict[str, Any], call: Call, event: Lost) -> None:
    line["outcome"] = "lost"
    line["reason"] = event.reason
    line["confirmed"] = False
    _story(line, call, event)


def _story(line: dict[str, Any], call: Call, event: Disconnected | Lost) -> None:
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
    line["lived_s"] = _lasted(call.began_at, event.at)
    if call.connected_at:
        line["talked_s"] = _lasted(call.connected_at, event.at)
    if call.asked_at:
        line["took_ms"] = round(max(0.0, event.at - call.asked_at) * 1000, 3)


_TOLD: Final[
    Mapping[type[LifecycleEvent], tuple[str, Callable[[dict[str, Any], Call, Any], None]]]
] = {
    Placed: ("call.placed", _placed),
    Resumed: ("call.resumed", _resumed),
    Alerting: ("call.alerting", _alerting),
    Connected: ("call.connected", _connected),
    DisconnectRequested: ("call.disconnect-requested", _requested),
    Disconnected: ("call.disconnected", _disconnected),
    Lost: ("call.lost", _lost),
}


def _lasted(since: float, until: float) -> float:
    """Seconds of wall time; no less than none, also when the clock was set back meanwhile."""
    return round(until - since, 3) if until > since else 0.0


ENDS: Final = frozenset((_TOLD[Disconnected][0], _TOLD[Lost][0]))
"""The names of the events with which a call is over."""


# -- what each event does to a call that is read again


def _be_placed(call: Call, record: Record, at: float) -> None:
    pass


def _be_resumed(call: Call, record: Record, at: float) -> None:
    if call.state is not CallState.DISCONNECTING:
        call.state = _STATES[record["state"]]
        if call.state is CallState.CONNECTED and not call.connected_at:
            call.connected_at = at


def _be_alerting(call: Call, record: Record, at: float) -> None:
    call.state = CallState.ALERTING


def _be_connected(call: Call, record: Record, at: float) -> None:
    if call.state is not CallState.DISCONNECTING:
        call.state = CallState.CONNECTED
    call.connected_at = at


def _be_disconnecting(call: Call, record: Record, at: float) -> None:
    call.state = CallState.DISCONNECTING
    call.asked_at = at
    call.cause = Cause(by=EndedBy(record["by"]), q850=int(record["cause"]))


def _be_over(call: Call, record: Record, at: float) -> None:
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


_REPLAYED: Final[Mapping[str, Callable[[Call, Record, float], None]]] = {
    "call.placed": _be_placed,
    "call.resumed": _be_resumed,
    "call.alerting": _be_alerting,
    "call.connected": _be_connected,
    "call.disconnect-requested": _be_disconnecting,
    "call.disconnected": _be_over,
    "call.lost": _be_over,
}
