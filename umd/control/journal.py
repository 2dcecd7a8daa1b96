"""
What control needs of a journal, and the journal that keeps nothing.

Control has one path: it appends each lifecycle event, and goes on in the callback. With a real
journal the callback comes in a later turn, once the record is durable; `NullJournal` calls it
before `append` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from umd.call.call import Call
from umd.call.events import LifecycleEvent
from umd.control.errors import JournalUnavailable


class CallJournal(Protocol):
    """
    Makes lifecycle events durable, in the order in which they are appended.

    Callbacks come in the order of the calls that registered them, `append` and `flush` alike, each
    once. A journal that cannot write keeps what it was given and calls back when it can write
    again; `Control.journal_failed` tells control of that meanwhile.
    """

    @property
    def durable(self) -> bool:
        """Whether the records are there after a restart, so that backends restore legs by them."""

    @property
    def refusing(self) -> str | None:
        """Why no call may be placed or ended, as the request could not be recorded; else None."""

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        """
        Record an event.

        Args:
            extra: kept with the record: what the backend needs to restore the leg (None: nothing
                new), or, with the event that ends a call, the summaries of its messages.
            then: called with `argument` once the record is durable; None: nothing waits for it.
        """

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        """Call `then(argument)` once all that was appended before is durable."""


class MessageSummaries(Protocol):
    """Summaries of the messages of live calls; `umd.trace.summary.CallSummaries` makes them."""

    def begin(self, leg: str, /) -> None:
        """Summarise the messages of this leg from now on; a repetition changes nothing."""

    def take(self, leg: str, /) -> bytes | None:
        """Stop summarising a leg, and return its messages as bytes for the journal; None: none."""

    def current(self, leg: str, /) -> bytes | None:
        """Return the messages of a live leg so far; None: none."""


def require_recordable(journal: CallJournal) -> None:
    """
    Let a request pass only while it can be recorded.

    Raises:
        JournalUnavailable
    """
    refusing = journal.refusing
    if refusing is not None:
        raise JournalUnavailable(refusing)


class NullJournal:
    """
    Keeps nothing, so that nothing waits: every callback comes at once.

    Args:
        record: sees each event with its call, such as a log.
    """

    durable = False
    refusing: str | None = None

    def __init__(self, record: Callable[[Call, LifecycleEvent], None]) -> None:
        self._record = record

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        try:
            self._record(call, event)
        finally:  # a log that fails must not keep a client waiting
            if then is not None:
                then(argument)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        then(argument)
