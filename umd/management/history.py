"""What is on record, for the commands: asked of the running umd, or read from its journal."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from umd.call.call import CallState
from umd.call.record import END_EVENTS, UnknownRecord, leg_of
from umd.journal.paths import find_path
from umd.journal.reader import JournalReader
from umd.journal.replay import record_to_json, replay_readable
from umd.journal.store import CannotOpen, Stored
from umd.management.client import Refusal, Unreachable, ask
from umd.text import iso_time
from umd.trace.summary import MessageSummary, read_summaries

PAGE: Final = 1000
MOST_OF_A_CALL: Final = 10_000
"""Records that are read of one call: it has fewer than ten, and one more for each restart."""
CANDIDATES_SHOWN: Final = 10


def events(
    socket: str | None, journal: str | None, after: int, call: str | None
) -> Iterator[dict[str, Any]]:
    """
    The records behind a position, of all calls or of one, each with its position.

    Args:
        socket: of the umd to ask; the one that is there by default.
        journal: the file to read where no umd runs, or where it is named.
        after: the position of the last one read.
        call: any id of a call, or a beginning that no other one has.

    Raises:
        Unreachable: neither a umd nor a journal is there.
        Refusal: there is no such call.
    """
    trouble = None
    if journal is None:
        try:
            yield from _ask_events(socket, after, call)
            return
        except Unreachable as error:
            trouble = error
    with opened_journal(journal, trouble) as reader:
        whole = None if call is None else _one_of(reader, call)
        while stored := reader.read(after, PAGE, whole):
            yield from map(record_to_json, stored)
            after = stored[-1].position


def story(
    socket: str | None, journal: str | None, call: str
) -> tuple[list[dict[str, Any]], list[MessageSummary]]:
    """
    The records of one call, and what went over the wire as far as that is known.

    Args and raises as `events`.
    """
    trouble = None
    if journal is None:
        try:
            return _ask_story(socket, call)
        except Unreachable as error:
            trouble = error
    with opened_journal(journal, trouble) as reader:
        stored = reader.read(0, MOST_OF_A_CALL, _one_of(reader, call))
    records = [record_to_json(one) for one in stored]
    ends = [
        read_summaries(one.extra)
        for one, record in zip(stored, records, strict=True)
        if record["event"] in END_EVENTS
    ]
    return records, ends[-1] if ends else []


def calls(socket: str | None, journal: str | None) -> tuple[list[dict[str, Any]], bool]:
    """
    The live calls: those of the running umd, or those that had not ended when it did.

    Returns:
        What `umd.management.requests` tells of each, and whether a umd that runs told it.

    Raises:
        Unreachable: neither a umd nor a journal is there.
    """
    trouble = None
    if journal is None:
        try:
            return [reply["call"] for reply in ask("calls", socket)], True
        except Unreachable as error:
            trouble = error
    with opened_journal(journal, trouble) as reader:
        return [_described(records) for records in reader.live()], False


@contextmanager
def opened_journal(
    journal: str | None, trouble: Unreachable | None = None
) -> Iterator[JournalReader]:
    """
    A journal that no umd has open.

    Raises:
        Unreachable: it cannot be read, while it is.
    """
    reader = JournalReader(journal or find_path())
    try:
        with closing(reader):
            reader.open()
            yield reader
    except (CannotOpen, UnknownRecord) as error:
        why = f"{trouble}\nNor can its journal be read: " if trouble is not None else ""
        raise Unreachable(f"{why}{str(error).rstrip('.?')}.") from error
    except sqlite3.DatabaseError as error:
        raise Unreachable(
            f"{reader.path} cannot be read: {error}; `umd serve` sets a damaged one aside."
        ) from error


def _described(stored: Sequence[Stored]) -> dict[str, Any]:
    """A call that nobody carries at the moment, as the console tells of one."""
    call, _ = replay_readable(stored[0].call, stored, _say_nothing)
    return {
        "id": call.id,
        "leg": call.leg,
        "to": call.number,
        "state": call.state.value,
        "backend": call.backend,
        "owner": call.owner,
        "began_at": iso_time(call.began_at),
        "asked_at": iso_time(call.asked_at) if call.asked_at else None,
        "ended_at": None,
        "overdue": call.state is CallState.DISCONNECTING,
    }


def _say_nothing(stored: Stored, why: UnknownRecord) -> None:
    """The next umd tells of it when it takes the calls over."""


def beginnings(text: str) -> list[str]:
    """The beginnings of a CallId that this may be: its own, or that of the leg in it."""
    # A CallId is base64 of LEG@NODE: three octets of the leg are four characters of it.
    octets = text.encode(errors="replace")
    return [text, base64.b64encode(octets[: len(octets) // 3 * 3]).decode()]


def is_named(call: str, text: str) -> bool:
    """Whether a CallId, or the leg in it, begins like this."""
    if call.startswith(text):
        return True
    try:
        return base64.b64decode(call, validate=True).startswith(text.encode(errors="replace"))
    except ValueError:
        return False


def _ask_events(
    socket: str | None, after: int, call: str | None
) -> Iterator[dict[str, Any]]:
    while True:
        found = [one["event"] for one in ask("events", socket, after=after, limit=PAGE, call=call)]
        yield from found
        if len(found) < PAGE:
            return
        after = found[-1]["position"]


def _ask_story(socket: str | None, call: str) -> tuple[list[dict[str, Any]], list[MessageSummary]]:
    records: list[dict[str, Any]] = []
    crossed: list[MessageSummary] = []
    for reply in ask("events", socket, limit=MOST_OF_A_CALL, call=call, wire=True):
        if "event" in reply:
            records.append(reply["event"])
        for one in reply.get("wire", ()):
            crossed.append(MessageSummary(**one))
    return records, crossed


def _one_of(reader: JournalReader, text: str) -> str:
    text = text.encode(errors="replace").decode()  # what was no UTF-8 on the command line
    found = {
        call
        for beginning in beginnings(text)
        for call in reader.find(beginning, 1000)
        if is_named(call, text)
    }
    if text in found:
        return text
    if not found:
        raise Refusal({"error": f"no call begins with {text!r}", "kind": "no-such-call"})
    if len(found) > 1:
        candidates = [
            {"id": call, "leg": leg_of(call)}
            for call in sorted(found)[:CANDIDATES_SHOWN]
        ]
        words = f"{len(found)} calls begin with {text!r}"
        raise Refusal({"error": words, "kind": "ambiguous", "candidates": candidates})
    return found.pop()
