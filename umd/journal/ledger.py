"""Writes each lifecycle event down, encoded once: a line for the log, a record for the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from structlog.typing import FilteringBoundLogger

from umd.call.call import Call
from umd.call.events import Disconnected, LifecycleEvent, Lost, Placed, Resumed
from umd.call.record import NewerRecord, UnknownRecord, decode, encode, replay
from umd.journal.replay import replay_readable
from umd.journal.store import Row, Step, Store, Stored
from umd.runtime.log import json_line_writer

_STEP_OF = {
    Placed: Step.BEGINS,
    Resumed: Step.BEGINS,
    Disconnected: Step.ENDS,
    Lost: Step.ENDS,
}


class CallLog:
    """The lifecycle events in the log: a line each, and the last one tells the whole story."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._wanted = log.is_enabled_for(logging.INFO)
        self.write: Callable[[bytes], None] = json_line_writer(log) or self._write_fields
        """Writes what `encode` gave."""

    def record(self, call: Call, event: LifecycleEvent) -> None:
        if self._wanted:
            self.write(encode(call, event))

    def _write_fields(self, line: bytes) -> None:
        if self._wanted:
            fields = dict(decode(line))
            del fields["at"], fields["level"]
            self._log.info(fields.pop("event"), **fields)


class Ledger:
    """
    The lifecycle events in the journal, and in the log; a `CallJournal` for control.

    Args:
        store: keeps the records.
        log: has the lines.
        insist: whether nothing may begin that cannot be put on record.
    """

    durable = True

    def __init__(self, store: Store, log: CallLog, insist: bool) -> None:
        self._store = store
        self._log = log
        self._insist = insist

    @property
    def refusing(self) -> str | None:
        trouble = self._store.trouble
        if trouble is None or not self._insist:
            return None
        return f"the journal cannot be written: {trouble}"

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        record = encode(call, event)
        kind = type(event)
        if kind is Resumed and event.seq > 1:
            # It goes on after a restart: the log has one line for all of these.
            step = Step.GOES_ON
        else:
            step = _STEP_OF.get(kind, Step.GOES_ON)
            self._log.write(record)
        self._store.append(Row(call.id, step, event.at, record, extra), then, argument)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        self._store.flush(then, argument)


Tell: TypeAlias = Callable[[Stored, UnknownRecord], None]
"""Is told of a record that cannot be read, and why."""


def _raise(stored: Stored, why: UnknownRecord) -> None:
    raise why


def live_calls(
    store: Store, tell: Tell = _raise
) -> Iterator[tuple[Call, bytes | None, float]]:
    """
    Each call of the journal that has begun and not ended, the last record of its leg, and when it
    was last heard of, wall time in seconds since the epoch.

    A record that cannot be read costs no other call: `tell` is told, and the rest counts.

    Raises:
        NewerRecord
    """
    for records in store.live():
        call, read = replay_readable(records[0].call, records, tell)
        leg_record = None
        for stored in records:
            leg_record = stored.extra or leg_record
        heard_at = 0.0
        for stored, record in read:
            # To go on after a restart is umd's own word, to be found is its backend's.
            if record["seq"] == 1 or record["event"] != "call.resumed":
                heard_at = stored.at
        yield call, leg_record, heard_at


def ended_calls(
    store: Store, since: float, limit: int, tell: Tell = _raise
) -> Iterator[Call]:
    """
    The calls of the journal that ended last, the oldest first; those that can be read.

    Raises:
        NewerRecord
    """
    for stored in store.ended(since, limit):
        try:
            yield replay(None, decode(stored.record), stored.at)
        except NewerRecord:
            raise
        except UnknownRecord as error:
            tell(stored, error)
