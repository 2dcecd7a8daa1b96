"""
The journal as control sees it, and a journal that keeps nothing.

Control appends each lifecycle event and goes on in the callback. With a real journal the callback
comes in a later reactor turn, once the record is durable. `NullJournal` calls back before `append`
returns.
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

    Each callback comes once, in the order of the calls of `append` and `flush` that registered it.
    A journal that cannot write keeps the events, and calls back when it can write again. Its owner
    calls `Control.journal_failed` meanwhile.
    """

    @property
    def durable(self) -> bool:
        """Whether the records survive a restart. Only then do backends restore legs."""

    @property
    def refusing(self) -> str | None:
        """Why requests are refused, as they cannot be recorded now; None: they can be."""

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

    def begin(self, leg: str, sip_call_id: str = "", /) -> None:
        """
        Summarise the messages of this leg from now on; a repetition changes nothing.

        Args:
            leg: its name, which is the Call-ID of its messages,
            sip_call_id: unless that is given here.
        """

    def take(self, leg: str, /) -> bytes | None:
        """Stop summarising a leg, and return its messages as bytes for the journal; None: none."""

    def current(self, leg: str, /) -> bytes | None:
        """Return the messages of a live leg so far; None: none."""


def require_recordable(journal: CallJournal) -> None:
    """
    Raises:
        JournalUnavailable: the journal cannot record a request now.
    """
    refusing = journal.refusing
    if refusing is not None:
        raise JournalUnavailable(refusing)


class NullJournal:
    """
    Keeps nothing, and calls back at once.

    Args:
        record: called with each call and event first, for example to log it.
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
        finally:  # also if the log fails, since a client may wait
            if then is not None:
                then(argument)

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        then(argument)
