"""Reads calls and events for the commands: from the running umd, or from its journal file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import Any, Final

from umd.call.call import Call, CallState
from umd.call.record import END_EVENTS, UnknownRecord, leg_of
from umd.control.alias_index import names_of
from umd.control.selection import InvalidSelection, Selection
from umd.journal.paths import find_path
from umd.journal.reader import JournalReader
from umd.journal.replay import record_to_json, replay_readable
from umd.journal.store import CannotOpen, Stored
from umd.management.call_fields import describe_call
from umd.management.client import Refusal, Unreachable, ask
from umd.management.id_prefix import encoded_prefixes, has_prefix
from umd.trace.summary import MessageSummary, read_summaries

RECORDS_PER_QUERY: Final = 1000
MAX_RECORDS_PER_CALL: Final = 10_000
"""Records read of one call. A call has fewer than ten, and one more for each restart of umd."""
MAX_MATCHES: Final = 1000
"""CallIds with the same prefix that are read from the journal."""
MAX_ENDED_SEARCHED: Final = 200_000
"""Ended calls whose aliases and labels are searched; the last ones."""
NO_SELECTORS: Final[Mapping[str, Any]] = MappingProxyType({})
MAX_CANDIDATES: Final = 10
"""Calls that the refusal of an ambiguous prefix lists."""


def read_events(
    socket: str | None, journal: str | None, after: int, call: str | None
) -> Iterator[dict[str, Any]]:
    """
    Yield the records after a position, of all calls or of one, each with its position.

    Args:
        socket: the control socket to ask; None for the default one.
        journal: the journal file to read; None asks the running umd first.
        after: the position of the last record that the caller has.
        call: any id of a call, or a prefix that only one call has.

    Raises:
        Unreachable: no umd is running, and no journal can be read.
        Refusal: no call or several calls have this prefix.
    """
    not_running = None
    if journal is None:
        try:
            yield from _ask_events(socket, after, call)
            return
        except Unreachable as error:
            not_running = error
    with opened_journal(journal, not_running) as reader:
        call_id = None if call is None else _find_call_id(reader, call)
        while stored := reader.read(after, RECORDS_PER_QUERY, call_id):
            yield from map(record_to_json, stored)
            after = stored[-1].position


def read_call_history(
    socket: str | None, journal: str | None, call: str
) -> tuple[list[dict[str, Any]], list[MessageSummary]]:
    """
    Return the records of one call, and the summaries of its SIP messages.

    The summaries are empty if umd has none. Args and raises as `read_events`.
    """
    not_running = None
    if journal is None:
        try:
            return _ask_call_history(socket, call)
        except Unreachable as error:
            not_running = error
    with opened_journal(journal, not_running) as reader:
        stored_records = reader.read(0, MAX_RECORDS_PER_CALL, _find_call_id(reader, call))
    records = [record_to_json(stored) for stored in stored_records]
    ends = [
        read_summaries(stored.extra)
        for stored, record in zip(stored_records, records, strict=True)
        if record["event"] in END_EVENTS
    ]
    return records, ends[-1] if ends else []


def read_calls(
    socket: str | None, journal: str | None, selectors: Mapping[str, Any] = NO_SELECTORS
) -> tuple[list[dict[str, Any]], bool]:
    """
    Return the live calls that are selected, and whether a running umd listed them.

    Args:
        socket: the control socket to ask; None for the default one.
        journal: the journal file to read; None asks the running umd first.
        selectors: fields of the request `calls`.

    Raises:
        Unreachable: no umd is running, and no journal can be read.
        Refusal: a selector has a wrong value.
    """
    not_running = None
    if journal is None:
        try:
            return [reply["call"] for reply in ask("calls", socket, **selectors)], True
        except Unreachable as error:
            not_running = error
    try:
        selection = Selection(**selectors)
        if selection.suspect is not None:
            raise InvalidSelection("suspect: only a running umd knows which calls are suspect")
    except InvalidSelection as error:
        raise Refusal({"error": str(error), "kind": "bad-request"}) from None
    with opened_journal(journal, not_running) as reader:
        calls = [_replay(records) for _, records in reader.live()]
        return [_describe(call) for call in calls if selection.matches(call, time.time())], False


@contextmanager
def opened_journal(
    journal: str | None, not_running: Unreachable | None = None
) -> Iterator[JournalReader]:
    """
    Open a journal that no running umd has open, and close it at the end.

    Args:
        journal: the file; None for that of the service.
        not_running: why no running umd could be asked; its text begins that of the error.

    Raises:
        Unreachable: the file cannot be opened or read.
    """
    reader = JournalReader(journal or find_path())
    try:
        with closing(reader):
            reader.open()
            yield reader
    except (CannotOpen, UnknownRecord) as error:
        why = f"{not_running}\nNor can its journal be read: " if not_running is not None else ""
        raise Unreachable(f"{why}{str(error).rstrip('.?')}.") from error
    except sqlite3.DatabaseError as error:
        raise Unreachable(
            f"{reader.path} cannot be read: {error}; `umd serve` sets a damaged one aside."
        ) from error


def _replay(records: Sequence[Stored]) -> Call:
    """Return a call of the journal: a live one from all records, an ended one from its last."""
    return replay_readable(records[0].call, records, _ignore_unknown)[0]


def _describe(call: Call) -> dict[str, Any]:
    return describe_call(call, overdue=call.state is CallState.DISCONNECTING)


def _ignore_unknown(stored: Stored, why: UnknownRecord) -> None:
    """Pass over a record of another version; the next umd logs it when it takes over the calls."""


def _ask_events(
    socket: str | None, after: int, call: str | None
) -> Iterator[dict[str, Any]]:
    while True:
        replies = ask("events", socket, after=after, limit=RECORDS_PER_QUERY, call=call)
        records = [reply["event"] for reply in replies]
        yield from records
        if len(records) < RECORDS_PER_QUERY:
            return
        after = records[-1]["position"]


def _ask_call_history(
    socket: str | None, call: str
) -> tuple[list[dict[str, Any]], list[MessageSummary]]:
    records: list[dict[str, Any]] = []
    summaries: list[MessageSummary] = []
    for reply in ask("events", socket, limit=MAX_RECORDS_PER_CALL, call=call, wire=True):
        if "event" in reply:
            records.append(reply["event"])
        summaries += [MessageSummary(**summary) for summary in reply.get("wire", ())]
    return records, summaries


def _find_call_id(reader: JournalReader, text: str) -> str:
    text = text.encode(errors="replace").decode()  # arguments of a command may not be UTF-8
    found = {
        call_id
        for prefix in encoded_prefixes(text)
        for call_id in reader.find(prefix, MAX_MATCHES)
        if has_prefix(call_id, text)
    }
    if text in found:
        return text
    if not found:
        found = _find_by_name(reader, text)
    if not found:
        raise Refusal({"error": f"no call begins with {text!r}", "kind": "no-such-call"})
    if len(found) > 1:
        candidates = [
            {"id": call_id, "leg": leg_of(call_id)} for call_id in sorted(found)[:MAX_CANDIDATES]
        ]
        why = f"{len(found)} calls begin with {text!r}"
        raise Refusal({"error": why, "kind": "ambiguous", "candidates": candidates})
    return found.pop()


def _find_by_name(reader: JournalReader, text: str) -> set[str]:
    """
    Return the calls with an alias or a label that is, or else begins with, a text.

    As for a running umd, a live call takes precedence over ended ones that have the same name, and
    of several ended ones the last counts.
    """
    live = [_replay(records) for _, records in reader.live()]
    ended = [_replay([stored]) for stored in reader.ended(0.0, MAX_ENDED_SEARCHED)]
    exact = [call.id for call in live if text in names_of(call)]
    if exact:
        return set(exact)
    exact = [call.id for call in ended if text in names_of(call)]
    if exact:
        return {exact[-1]}
    return {
        call.id
        for call in (*live, *ended)
        if any(name.startswith(text) for name in names_of(call))
    }
