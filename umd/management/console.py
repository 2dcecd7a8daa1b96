"""Carries out the requests of the control socket and yields their replies."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from itertools import count
from typing import Any, Final
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError

from umd.call.call import Call, CallState
from umd.call.cause import EndedBy
from umd.call.principal import Principal
from umd.call.record import END_EVENTS
from umd.control.control import Control
from umd.journal.replay import record_to_json
from umd.journal.store import Store
from umd.management.call_fields import describe_call
from umd.management.call_search import CallSearch
from umd.management.journal_requests import (
    NO_JOURNAL,
    check_journal,
    copy_journal,
    require_file,
)
from umd.management.many_calls import end_choice, list_choice
from umd.management.refusals import NoJournal, NoMessages, Reply, error_reply
from umd.management.requests import (
    CallsRequest,
    CheckRequest,
    ControlRequest,
    CopyRequest,
    EndManyRequest,
    EndRequest,
    EventsRequest,
    ForgetRequest,
    LeaseRenewRequest,
    PlaceRequest,
    StatusRequest,
    TraceRequest,
    read_request,
)
from umd.runtime.turns import Pause, in_turns
from umd.sip.number import require_dialable
from umd.trace.capture import Capture, ladder_steps, message_octets, valid_text
from umd.trace.summary import MessageSummary, read_summaries, summaries_to_json

OPERATOR: Final = Principal("operator", "control socket")
"""The principal of every client of the control socket."""
MAX_REASON_CHARACTERS: Final = 200
"""Characters of an error's text in the log."""


class Console:
    """
    Answers requests.

    Args:
        control: has the calls.
        capture: has the SIP messages.
        wall: returns the wall time, in seconds since the epoch.
        pause: called again and again during long requests, so that the daemon does other work.
        store: the journal; None if the daemon keeps none.
        log: gets a line for each request that ends or places a call, whatever its outcome.
        status: returns the figures of the daemon.
    """

    def __init__(
        self,
        control: Control,
        capture: Capture,
        wall: Callable[[], float],
        pause: Pause,
        store: Store | None = None,
        log: FilteringBoundLogger | None = None,
        status: Callable[[], Reply] = dict,
    ) -> None:
        self._control = control
        self._log = log
        # Unique across restarts, as the ids of HTTP requests are.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))
        self._search = CallSearch(control, capture, pause)
        self._wall = wall
        self._pause = pause
        self._store = store
        self._status = status

    async def answer(self, line: bytes) -> AsyncGenerator[Reply, None]:
        """
        Yield the replies to one request, `done` as the last one.

        Raises:
            UmdError: `error_reply` turns it into the last reply.
        """
        request = read_request(line)
        replies_sent = 0
        async with aclosing(ANSWERS[type(request)](self, request)) as replies:
            async for reply in replies:
                replies_sent += 1
                yield reply
        yield {"done": {"count": replies_sent}}

    async def calls(self, request: CallsRequest) -> AsyncGenerator[Reply, None]:
        """Yield each live call that is selected."""
        selection = request.selection()
        async for calls in in_turns(list(self._control.live_calls()), self._pause):
            for call in calls:
                # A call that has ended during a pause is not selected.
                if self._control.is_selected(selection, call):
                    yield {"call": self._describe(call)}

    async def status(self, request: StatusRequest) -> AsyncGenerator[Reply, None]:
        """Yield the figures of the daemon and the counts of calls."""
        suspect_calls = 0
        async for calls in in_turns(list(self._control.live_calls()), self._pause):
            suspect_calls += sum(
                not call.ended and self._control.suspicion_of(call) is not None for call in calls
            )
        counts = self._control.counts()
        yield {
            "status": {
                "suspect_calls": suspect_calls,
                **self._status(),
                "calls_begun": counts.begun,
                "calls_ended": counts.ended,
                "calls_live": counts.live,
                "events_refused": counts.refused_events,
                "counts_agree": counts.right,
            }
        }

    async def trace(self, request: TraceRequest) -> AsyncGenerator[Reply, None]:
        """Yield the call, then each of its captured messages."""
        found = await self._search.find(request.call)
        messages = await self._search.messages(found)
        description = {} if found.call is None else self._describe(found.call)
        yield {"call": {**description, "sip_call_id": valid_text(found.sip_call_id)}}
        for step, (_, _, _, message) in zip(ladder_steps(messages), messages, strict=True):
            fields = step.to_json()
            if request.octets:
                octets = message_octets(message)
                fields["octets"] = octets and b64encode(octets).decode()
            yield {"message": fields}

    async def events(self, request: EventsRequest) -> AsyncGenerator[Reply, None]:
        """Yield the records after a position, then the message summaries if they are wanted."""
        store = self._store
        if store is None:
            raise NoJournal(NO_JOURNAL)
        call_id = None
        if request.call is not None:
            call_id = await self._search.find_recorded(store, request.call)
        summaries: list[MessageSummary] = []
        for stored in await store.read(request.after, request.limit, call_id):
            record = record_to_json(stored)
            yield {"event": record}
            if request.wire and record["event"] in END_EVENTS:
                summaries = read_summaries(stored.extra)
        if request.wire and call_id is not None:
            summaries = summaries or await self._summaries_of(call_id)
            yield {"wire": summaries_to_json(summaries)}

    async def copy(self, request: CopyRequest) -> AsyncGenerator[Reply, None]:
        """Yield every record of the journal."""
        async with aclosing(copy_journal(require_file(self._store))) as replies:
            async for reply in replies:
                yield reply

    async def check(self, request: CheckRequest) -> AsyncGenerator[Reply, None]:
        """Yield the result of a check of the journal."""
        async with aclosing(check_journal(require_file(self._store), self._wall)) as replies:
            async for reply in replies:
                yield reply

    async def end(self, request: EndRequest) -> AsyncGenerator[Reply, None]:
        """End a call, wait until its end is known, and yield the outcome."""
        with self._logged("end") as log_fields:
            call = await self._search.find_exactly(request.call)
            log_fields["call"] = call.id
            state_before = call.state
            outcome = await self._control.disconnect(
                OPERATOR, call.id, log_fields["request_id"], EndedBy.OPERATOR
            )
            log_fields["outcome"] = outcome
        # A call that has ended before may have ended unconfirmed.
        confirmed = call.ended and call.confirmed
        yield {
            "end": {
                **self._describe(call),
                "was": state_before,
                "outcome": outcome,
                "confirmed": confirmed,
            }
        }

    async def forget(self, request: ForgetRequest) -> AsyncGenerator[Reply, None]:
        """End the record of a call that umd cannot end, and yield the call."""
        with self._logged("forget") as log_fields:
            call = await self._search.find_exactly(request.call)
            log_fields["call"] = call.id
            state_before = call.state
            self._control.forgetting.forget(
                OPERATOR, call, request.reason, log_fields["request_id"]
            )
            log_fields["outcome"] = "forgotten"
        yield {"forget": {**self._describe(call), "was": state_before, "outcome": "forgotten"}}

    async def end_many(self, request: EndManyRequest) -> AsyncGenerator[Reply, None]:
        """End the selected calls and yield what became of each, or list and count them."""
        bulk_end = self._control.bulk_end
        if request.dry_run:
            choice = await bulk_end.choose(OPERATOR, request.selection())
            replies = list_choice(choice, self._describe, self._pause)
            async with aclosing(replies):
                async for reply in replies:
                    yield reply
            return
        with self._logged("end-many") as log_fields:
            choice = await bulk_end.choose(OPERATOR, request.selection())
            replies = end_choice(bulk_end, choice, request, OPERATOR, log_fields)
            async with aclosing(replies):
                async for reply in replies:
                    yield reply

    async def place(self, request: PlaceRequest) -> AsyncGenerator[Reply, None]:
        """Dial a number, and yield the call."""
        with self._logged("place") as log_fields:
            number = str(require_dialable(request.number))
            call = self._control.place(
                OPERATOR,
                number,
                backend=request.backend,
                request_id=log_fields["request_id"],
                labels=request.labels,
                lease=request.lease_s,
            )
            log_fields["call"] = call.id
            await self._control.dialled(call)
        yield {"call": self._describe(call)}

    async def lease_renew(self, request: LeaseRenewRequest) -> AsyncGenerator[Reply, None]:
        """Renew the leases of the calls with a label, and yield how many and which."""
        renewal = self._control.lease_renewal
        renewed: list[Call] = []
        with self._logged("lease-renew") as log_fields:
            log_fields["label"] = request.label
            try:
                selected = renewal.select(OPERATOR, request.label)
                async for calls in in_turns(selected, self._pause):
                    for call in calls:
                        if renewal.renew(OPERATOR, call, log_fields["request_id"]):
                            renewed.append(call)
                await renewal.recorded()
            finally:
                log_fields["renewed"] = len(renewed)
        yield {"renewed": {"label": request.label, "count": len(renewed)}}
        async for calls in in_turns(renewed, self._pause):
            for call in calls:
                yield {"call": self._describe(call)}

    @contextmanager
    def _logged(self, operation: str) -> Iterator[dict[str, Any]]:
        """Log a request that changes a call when it is over; yields the fields of the line."""
        log_fields: dict[str, Any] = {
            "request_id": next(self._request_ids),
            "principal": OPERATOR.name,
            "address": OPERATOR.address,
            "operation": operation,
            "outcome": "ok",
        }
        try:
            yield log_fields
        except (CancelledError, GeneratorExit):
            log_fields["outcome"] = "client-gone"
            raise
        except Exception as error:
            reply = error_reply(error)
            log_fields["outcome"] = reply["kind"] if reply else "internal-error"
            log_fields["why"] = str(error)[:MAX_REASON_CHARACTERS]
            raise
        finally:
            if self._log is not None:
                self._log.info("control.answered", **log_fields)

    async def _summaries_of(self, call_id: str) -> list[MessageSummary]:
        """Return the summaries of a call whose end record, if there is one, has none."""
        found = self._search.recorded(call_id)
        summaries = self._control.summaries
        if summaries is not None:
            for name in found.sip_call_ids:
                current = read_summaries(summaries.current(name))
                if current:
                    return current
        try:
            messages = await self._search.messages(found)
        except NoMessages:
            return []
        return [
            MessageSummary(
                at=step.at,
                source=step.source,
                target=step.target,
                method=step.cseq.rpartition(" ")[2],
                status=step.status,
            )
            for step in ladder_steps(messages)
        ]

    def _describe(self, call: Call) -> dict[str, Any]:
        ending = call.state is CallState.DISCONNECTING
        deadline = self._control.settings.deadline
        overdue = ending and self._wall() - call.asked_at > deadline
        suspect = None if call.ended else self._control.suspicion_of(call)
        return describe_call(call, overdue=overdue, suspect=suspect)


ANSWERS: Final[
    Mapping[type[ControlRequest], Callable[[Console, Any], AsyncGenerator[Reply, None]]]
] = {
    CallsRequest: Console.calls,
    CheckRequest: Console.check,
    CopyRequest: Console.copy,
    EndManyRequest: Console.end_many,
    EndRequest: Console.end,
    EventsRequest: Console.events,
    ForgetRequest: Console.forget,
    LeaseRenewRequest: Console.lease_renew,
    PlaceRequest: Console.place,
    StatusRequest: Console.status,
    TraceRequest: Console.trace,
}
"""The method for each type of request; it yields every reply but the last."""
