"""Describes the events of calls in words, for `umd events` and `umd why`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from umd.call.record import leg_of
from umd.cli.terminal_text import STATE_LABELS, shorten_name
from umd.sip.build import reason_for
from umd.text import iso_time
from umd.trace.summary import MessageSummary

Record: TypeAlias = Mapping[str, Any]
"""A record of the journal, as the control socket replies it."""


class MessageLine(NamedTuple):
    """One SIP message of a call report."""

    at: str
    """The time in ISO 8601, to the millisecond."""
    received: bool
    """Whether umd received it, as far as that is known."""
    text: str


def event_line(record: Record) -> str:
    """Return one event as a line: position, time, call, and what happened."""
    at = record["at"][:-1].replace("T", " ")
    leg = shorten_name(record["leg"])
    return f"{record['position']:>8}  {at}  {leg:8}  {describe_event(record)}"


def call_report(
    records: Sequence[Record], messages: Sequence[MessageSummary] = ()
) -> Iterator[str]:
    """
    Yield the lines that tell the whole story of one call.

    Args:
        records: of the call, oldest first; without any, there is no line.
        messages: the SIP messages of the call, if they are known.
    """
    if not records:
        return
    first, last = records[0], records[-1]
    owner = first.get("owner") or "-"
    yield f"{first['leg']}   owner {owner}   backend {first.get('backend', '-')}"
    yield f"CallId {first['call']}"
    yield from _name_lines(records)
    yield ""
    for at, text in _in_order(records, _message_lines(messages, _own_end(messages, last))):
        yield f" {at[11:23]}  {text}"
    if "event_cause" in last:
        yield ""
        yield from _cause_lines(last)


def describe_event(record: Record) -> str:
    """Return what happened in words; an event of another version of umd is shown by its name."""
    name = record["event"]
    label, describe = _DESCRIPTIONS.get(name, (name, _nothing))
    try:
        return f"{label:14} {describe(record)}".rstrip()
    except (KeyError, TypeError, ValueError):  # a key is missing that every version has written
        return label


def _name_lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield the other names of a call, as they were last."""
    last: dict[str, Any] = {}
    for record in records:
        last.update((key, record[key]) for key in _NAMES if key in record)
    for kind, value in (last.get("aliases") or {}).items():
        yield f"{kind} {value}"
    if last.get("labels"):
        yield f"labels {', '.join(last['labels'])}"
    for partner in last.get("partners") or ():
        yield f"partner {_partner(partner)}"
    if last.get("direction"):
        yield str(last["direction"])


def _cause_lines(last: Record) -> Iterator[str]:
    status = last.get("sip_status")
    yield (
        f" cause   SIP {'-' if status is None else status}  Q.850 {last.get('cause', '-')}  "
        f"UM {last['event_cause']}  EWS {last['event_cause']}   by {last.get('by', '-')}"
    )
    for reason in last.get("reasons") or ():
        yield f"         Reason: {reason}"


def _in_order(
    records: Sequence[Record], messages: Sequence[MessageLine]
) -> Iterator[tuple[str, str]]:
    """
    Yield `(time, text)` of records and messages in order.

    A record has its time only to the millisecond. Within one millisecond a request to umd comes
    before the messages it caused, and any other event after the last message that umd received.
    """
    last_received = {line.at: number for number, line in enumerate(messages) if line.received}
    lines = [
        (
            record["at"],
            -1.0 if record["event"] in _REQUESTS else last_received.get(record["at"], -1) + 0.5,
            describe_event(record),
        )
        for record in records
    ]
    lines += [(line.at, number, line.text) for number, line in enumerate(messages)]
    for at, _, text in sorted(lines, key=itemgetter(0, 1)):
        yield at, text


def _message_lines(messages: Sequence[MessageSummary], own_end: str | None) -> list[MessageLine]:
    """Return a line for each message; its retransmissions share the line."""
    originals: dict[tuple[str, str, str, int | None], MessageSummary] = {}
    repeated_after: dict[tuple[str, str, str, int | None], list[str]] = {}
    for message in messages:
        key = (message.source, message.target, message.method, message.status)
        if key in originals:
            repeated_after[key].append(f"+{message.at - originals[key].at:.3g}")
        else:
            originals[key], repeated_after[key] = message, []
    lines = []
    for key, message in originals.items():
        text = _message_text(message, own_end)
        if repeated_after[key]:
            text += f"   again at {' '.join(repeated_after[key])} s"
        lines.append(MessageLine(iso_time(message.at), message.source != own_end, text))
    return lines


def _message_text(message: MessageSummary, own_end: str | None) -> str:
    name = message.method
    if message.status is not None:
        name = f"{message.status} {reason_for(message.status)}".rstrip()
        name += "" if message.method == "INVITE" else f" ({message.method})"
    if own_end is None:
        return f"{message.source} -> {message.target}  {name}"
    if message.source == own_end:
        return f"-> {name:24} {message.target}"
    return f"<- {name:24} {message.source}"


def _own_end(messages: Sequence[MessageSummary], last: Record) -> str | None:
    """
    Return which of the two ends is umd; None if the messages do not show it.

    umd sends the INVITE, the ACK and the CANCEL. Without them, the party that ended the call has
    sent the BYE.
    """
    for message in messages:
        if message.method in ("INVITE", "ACK", "CANCEL"):
            return message.source if message.status is None else message.target
    for message in messages:
        if message.method == "BYE" and message.status is None and "by" in last:
            return message.target if last["by"] == "far-end" else message.source
    return None


def _nothing(record: Record) -> str:
    return ""


def _placed(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    return f"{record['owner']} to {record['number']}{request}"


def _resumed(record: Record) -> str:
    how = "found" if record["seq"] == 1 else "after a restart"
    return f"{how}, {STATE_LABELS.get(record['state'], record['state'])}"


def _found(record: Record) -> str:
    way = {"inbound": ", calls the PBX", "outbound": ", called by the PBX"}
    state = STATE_LABELS.get(record["state"], record["state"])
    number = f"{record['number']}, " if record["number"] else ""
    return f"on the PBX, {number}{state}{way.get(record.get('direction', ''), '')}"


def _changed(record: Record) -> str:
    changes = []
    if "partners" in record:
        partners = ", ".join(map(_partner, record["partners"]))
        changes.append(f"bridged with {partners}" if partners else "no longer bridged")
    if "aliases" in record:
        ids = " ".join(f"{kind} {value}" for kind, value in record["aliases"].items())
        changes.append(f"ids {ids or '-'}")
    if "labels" in record:
        changes.append(f"labels {', '.join(record['labels']) or '-'}")
    if "number" in record:
        changes.append(f"number {record['number'] or '-'}")
    return "; ".join(changes)


def _partner(call_id: str) -> str:
    return shorten_name(leg_of(call_id))


def _connected(record: Record) -> str:
    return f"after {record['setup_s']:g} s"


def _lease_renewed(record: Record) -> str:
    return f"for {record['lease_s']:g} s by {record['principal']}"


def _disconnect_requested(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    partner = _with_partner(record)
    if "limit" in record:
        return f"umd, {record['limit']}{partner}"
    return f"{record['principal']}{request}{partner}"


def _disconnected(record: Record) -> str:
    took = f" after {record['took_ms']:g} ms" if "took_ms" in record else ""
    if "shown_by" in record:
        proof = f", {PROOF_WORDS.get(record['shown_by'], record['shown_by'])}"
    else:  # an earlier version of umd wrote the record
        proof = "" if record["confirmed"] else f", {PROOF_WORDS['none']}"
    return f"{record['outcome']}{took}{proof}{_with_partner(record)}"


def _with_partner(record: Record) -> str:
    caused_by = record.get("caused_by")
    return f", with its partner {_partner(caused_by)}" if caused_by else ""


def _lost(record: Record) -> str:
    return str(record["reason"])


def _forgotten(record: Record) -> str:
    return f"by {record['principal']}: {record['reason']}; the PBX was not told"


PROOF_WORDS: Final[Mapping[str, str]] = {
    "far-end": "confirmed by the far end",
    "second-look": "the PBX no longer has the call",
    "not-dialled": "nothing was dialled",
    "pbx": "only the PBX says so",
    "none": "and the far end never confirmed it",
}
"""What shows the end of a call, in words; the keys are the values of `umd.call.leg.Proof`."""
_NAMES: Final = ("aliases", "labels", "partners", "direction")
_REQUESTS: Final = frozenset(
    ("call.placed", "call.resumed", "call.found", "call.disconnect-requested")
)
"""The first event of a call, and those that a request or a restart causes: no SIP message does."""
_DESCRIPTIONS: Final[Mapping[str, tuple[str, Callable[[Record], str]]]] = {
    "call.placed": ("placed", _placed),
    "call.resumed": ("resumed", _resumed),
    "call.alerting": ("ringing", _nothing),
    "call.connected": ("connected", _connected),
    "call.found": ("found", _found),
    "call.changed": ("changed", _changed),
    "call.lease-renewed": ("lease renewed", _lease_renewed),
    "call.disconnect-requested": ("asked to end", _disconnect_requested),
    "call.disconnected": ("ended", _disconnected),
    "call.lost": ("lost", _lost),
    "call.forgotten": ("forgotten", _forgotten),
}
"""For each event: its label, and the function that describes the rest."""
