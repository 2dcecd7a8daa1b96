"""What happened to a call, from the records of the journal, in words for a screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from umd.cli.terminal_text import STATE_LABELS, shorten_name
from umd.sip.build import reason_for
from umd.text import iso_time
from umd.trace.summary import MessageSummary

Record = Mapping[str, Any]


def line_of(record: Record) -> str:
    """One event of any call: its cursor, when it was, which call, what."""
    at = record["at"][:-1].replace("T", " ")
    return f"{record['position']:>8}  {at}  {shorten_name(record['leg']):8}  {words_of(record)}"


def story_of(records: Sequence[Record], crossed: Sequence[MessageSummary] = ()) -> Iterator[str]:
    """All that is known of one call, a line each: the heading, what happened, and why it ended."""
    if not records:
        return
    first, last = records[0], records[-1]
    owner = first.get("owner") or "-"
    yield f"{first['leg']}   owner {owner}   backend {first.get('backend', '-')}"
    yield f"CallId {first['call']}"
    yield ""
    for at, words in _in_order(records, _wire_lines(crossed, _ours(crossed, last))):
        yield f" {at[11:23]}  {words}"
    if "event_cause" in last:
        yield ""
        yield from _cause_lines(last)


def _cause_lines(last: Record) -> Iterator[str]:
    status = last.get("sip_status")
    yield (
        f" cause   SIP {'-' if status is None else status}  Q.850 {last.get('cause', '-')}  "
        f"UM {last['event_cause']}  EWS {last['event_cause']}   by {last.get('by', '-')}"
    )
    for reason in last.get("reasons") or ():
        yield f"         Reason: {reason}"


def _in_order(
    records: Sequence[Record], messages: Sequence[tuple[str, bool, str]]
) -> Iterator[tuple[str, str]]:
    """
    Records and messages by their time; messages of one millisecond as they crossed.

    A record knows its time to the millisecond only. There, what was asked for comes before what
    left for it, and what has happened behind the last message that may have told so.
    """
    told_by = {at: number for number, (at, came, _) in enumerate(messages) if came}
    lines = [
        (
            record["at"],
            -1.0 if record["event"] in _ASKED_FOR else told_by.get(record["at"], -1) + 0.5,
            words_of(record),
        )
        for record in records
    ]
    lines += [(at, number, words) for number, (at, _, words) in enumerate(messages)]
    for at, _, words in sorted(lines, key=itemgetter(0, 1)):
        yield at, words


def _wire_lines(crossed: Sequence[MessageSummary], ours: str | None) -> list[tuple[str, bool, str]]:
    """`(time, whether it may have come to umd, words)` of each message; repetitions in one."""
    first: dict[tuple[str, str, str, int | None], MessageSummary] = {}
    again: dict[tuple[str, str, str, int | None], list[str]] = {}
    for one in crossed:
        key = (one.source, one.target, one.method, one.status)
        if key in first:
            again[key].append(f"+{one.at - first[key].at:.3g}")
        else:
            first[key], again[key] = one, []
    lines = []
    for key, one in first.items():
        name = one.method
        if one.status is not None:
            name = f"{one.status} {reason_for(one.status)}".rstrip()
            name += "" if one.method == "INVITE" else f" ({one.method})"
        if ours is None:
            way = f"{one.source} -> {one.target}  {name}"
        elif one.source == ours:
            way = f"-> {name:24} {one.target}"
        else:
            way = f"<- {name:24} {one.source}"
        repeated = f"   again at {' '.join(again[key])} s" if again[key] else ""
        lines.append((iso_time(one.at), one.source != ours, way + repeated))
    return lines


def _ours(crossed: Sequence[MessageSummary], last: Record) -> str | None:
    """Which end was umd's: it sends the INVITE, the ACK and the CANCEL; None: it cannot be told."""
    for one in crossed:
        if one.method in ("INVITE", "ACK", "CANCEL"):
            return one.source if one.status is None else one.target
    for one in crossed:
        if one.method == "BYE" and one.status is None and "by" in last:
            return one.target if last["by"] == "far-end" else one.source
    return None


def words_of(record: Record) -> str:
    """What happened, in words; a record of another version is shown by its name."""
    name = record["event"]
    word, tell = _WORDS.get(name, (name, _nothing))
    try:
        return f"{word:14} {tell(record)}".rstrip()
    except (KeyError, TypeError, ValueError):  # it lacks what every umd so far has written
        return word


def _nothing(record: Record) -> str:
    return ""


def _placed(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    return f"{record['owner']} to {record['number']}{request}"


def _resumed(record: Record) -> str:
    how = "found" if record["seq"] == 1 else "after a restart"
    return f"{how}, {STATE_LABELS.get(record['state'], record['state'])}"


def _connected(record: Record) -> str:
    return f"after {record['setup_s']:g} s"


def _asked(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    if "limit" in record:
        return f"umd, {record['limit']}"
    return f"{record['principal']}{request}"


def _ended(record: Record) -> str:
    took = f" after {record['took_ms']:g} ms" if "took_ms" in record else ""
    sure = "" if record["confirmed"] else ", and the far end never confirmed it"
    return f"{record['outcome']}{took}{sure}"


def _lost(record: Record) -> str:
    return str(record["reason"])


_ASKED_FOR: Final = frozenset(("call.placed", "call.resumed", "call.disconnect-requested"))
"""What nobody's message has told umd."""
_WORDS: Final = {
    "call.placed": ("placed", _placed),
    "call.resumed": ("resumed", _resumed),
    "call.alerting": ("ringing", _nothing),
    "call.connected": ("connected", _connected),
    "call.disconnect-requested": ("asked to end", _asked),
    "call.disconnected": ("ended", _ended),
    "call.lost": ("lost", _lost),
}
