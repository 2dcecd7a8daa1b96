"""Writes each lifecycle event, encoded once, to the log and to the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from umd.call.call import Call
from umd.call.events import (
    Alerting,
    Changed,
    Connected,
    Disconnected,
    DisconnectRequested,
    Forgotten,
    Found,
    LeaseRenewed,
    LifecycleEvent,
    Lost,
    Placed,
    Resumed,
)
from umd.call.record import decode, encode
from umd.journal.store import Row, Step, Store
from umd.runtime.log import json_line_writer

_STEP_OF: Final[Mapping[type[LifecycleEvent], Step]] = {
    Placed: Step.BEGINS,
    Resumed: Step.BEGINS,
    Found: Step.BEGINS,
    Alerting: Step.GOES_ON,
    Connected: Step.GOES_ON,
    Changed: Step.GOES_ON,
    LeaseRenewed: Step.GOES_ON,
    DisconnectRequested: Step.GOES_ON,
    Disconnected: Step.ENDS,
    Lost: Step.ENDS,
    Forgotten: Step.ENDS,
}
"""The part of each event in the life of its call. The journal knows live calls only by it."""


class CallLog:
    """Writes lifecycle events to the log, one line each."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._enabled = log.is_enabled_for(logging.INFO)
        self.write: Callable[[bytes], None] = json_line_writer(log) or self._write_fields
        """Writes an event that is encoded already."""

    def record(self, call: Call, event: LifecycleEvent) -> None:
        """Write an event of a call."""
        if self._enabled:
            self.write(encode(call, event))

    def _write_fields(self, line: bytes) -> None:
        if self._enabled:
            fields = dict(decode(line))
            del fields["at"], fields["level"]
            self._log.info(fields.pop("event"), **fields)


class Ledger:
    """
    Writes lifecycle events to the journal and to the log; a `CallJournal` for control.

    Args:
        store: keeps the records.
        log: writes the log lines.
        refuse_on_error: whether requests are refused while nothing can be written.
    """

    durable = True

    def __init__(self, store: Store, log: CallLog, refuse_on_error: bool) -> None:
        self._store = store
        self._log = log
        self._refuse_on_error = refuse_on_error

    @property
    def refusing(self) -> str | None:
        """Why requests that need a record are refused; None: they are not."""
        trouble = self._store.trouble
        if trouble is None or not self._refuse_on_error:
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
        """Write an event of a call; `then(argument)` is called once it is durable."""
        record = encode(call, event)
        kind = type(event)
        if kind is Resumed and event.seq > 1:
            # The call was known before a restart. One log line counts all of these.
            step = Step.GOES_ON
        else:
            step = _STEP_OF[kind]
            self._log.write(record)
        store = self._store
        position = store.next_position
        if step is Step.BEGINS:
            call.begun = position
        row = Row(position, call.id, step, event.at, record, extra, call.begun or position)
        store.append(row, then, argument)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        """Call `then(argument)` once all events appended so far are durable."""
        self._store.flush(then, argument)
