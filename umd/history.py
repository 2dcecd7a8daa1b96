"""What is on record, for the commands: asked of the running umd, or read from its journal."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from umd.client import Refusal, Unreachable, ask
from umd.errors import UmdError
from umd.journal.address import find_path
from umd.journal.file import JournalReader
from umd.journal.store import CannotOpen, Stored

PAGE: Final = 1000
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
    if journal is None:
        try:
            yield from _ask_events(socket, after, call)
            return
        except Unreachable as error:
            trouble = error
    else:
        trouble = Unreachable("")
    reader = JournalReader(journal or find_path())
    try:
        reader.open()
    except CannotOpen as error:
        why = f"{trouble}\nNor can its journal be read: " if journal is None else ""
        raise Unreachable(f"{why}{error}.") from error
    with closing(reader):
        whole = None if call is None else _one_of(reader, call)
        while stored := reader.read(after, PAGE, whole):
            yield from map(_readable, stored)
            after = stored[-1].position


def live(journal: str | None) -> Iterator[list[dict[str, Any]]]:
    """
    The records of each call that had not ended when its umd did.

    Raises:
        CannotOpen
    """
    reader = JournalReader(journal or find_path())
    reader.open()
    with closing(reader):
        for records in reader.live():
            yield [_readable(stored) for stored in records]


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


def _one_of(reader: JournalReader, text: str) -> str:
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
            {"id": call, "leg": base64.b64decode(call).rpartition(b"@")[0].decode()}
            for call in sorted(found)[:CANDIDATES_SHOWN]
        ]
        words = f"{len(found)} calls begin with {text!r}"
        raise Refusal({"error": words, "kind": "ambiguous", "candidates": candidates})
    return found.pop()


def _readable(stored: Stored) -> dict[str, Any]:
    try:
        record = json.loads(stored.record)
    except ValueError as error:
        raise UmdError(f"record {stored.position} of the journal cannot be read") from error
    return {"position": stored.position, **record}
