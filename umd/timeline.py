"""What happened to a call, from the records of the journal, in words for a screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from umd.screen import STATES, short_name

Record = Mapping[str, Any]


def line_of(record: Record) -> str:
    """One event of any call: its cursor, when it was, which call, what."""
    at = record["at"][:-1].replace("T", " ")
    return f"{record['position']:>8}  {at}  {short_name(record['leg']):8}  {words_of(record)}"


def story_of(records: Iterable[Record]) -> Iterator[str]:
    """All that is known of one call, a line each: the heading, what happened, and why it ended."""
    last: Record = {}
    for record in records:
        if not last:
            owner = record.get("owner") or "-"
            yield f"{record['leg']}   owner {owner}   backend {record.get('backend', '-')}"
            yield f"CallId {record['call']}"
            yield ""
        last = record
        yield f" {record['at'][11:23]}  {words_of(record)}"
    if "event_cause" in last:
        status = last["sip_status"]
        yield ""
        yield (
            f" cause   SIP {'-' if status is None else status}  Q.850 {last['cause']}  "
            f"UM {last['event_cause']}  EWS {last['event_cause']}   by {last['by']}"
        )
        for reason in last["reasons"]:
            yield f"         Reason: {reason}"


def words_of(record: Record) -> str:
    """What happened, in words; a record of another version is shown by its name."""
    name = record["event"]
    word, tell = _WORDS.get(name, (name, _nothing))
    return f"{word:14} {tell(record)}".rstrip()


def _nothing(record: Record) -> str:
    return ""


def _placed(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    return f"{record['owner']} to {record['number']}{request}"


def _resumed(record: Record) -> str:
    how = "found" if record["seq"] == 1 else "after a restart"
    return f"{how}, {STATES.get(record['state'], record['state'])}"


def _connected(record: Record) -> str:
    return f"after {record['setup_s']:g} s"


def _asked(record: Record) -> str:
    request = f", request {record['request_id']}" if record["request_id"] else ""
    return f"{record['principal']}{request}"


def _ended(record: Record) -> str:
    took = f" after {record['took_ms']:g} ms" if "took_ms" in record else ""
    sure = "" if record["confirmed"] else ", and the far end never confirmed it"
    return f"{record['outcome']}{took}{sure}"


def _lost(record: Record) -> str:
    return str(record["reason"])


_WORDS: Final = {
    "call.placed": ("placed", _placed),
    "call.resumed": ("resumed", _resumed),
    "call.alerting": ("ringing", _nothing),
    "call.connected": ("connected", _connected),
    "call.disconnect-requested": ("asked to end", _asked),
    "call.disconnected": ("ended", _ended),
    "call.lost": ("lost", _lost),
}
