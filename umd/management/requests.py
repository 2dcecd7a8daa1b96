"""
What can be asked over the control socket: a table of requests, each with its fields and its answer.

A request is an object with the name of the request and its fields: `{"request": "trace", "call":
"09df"}`. It is answered by any number of objects, of which the one key says what each is, and one
at the end: `{"done": {...}}`, or `{"error": "what and why", "kind": "no-such-call"}`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import count
from sqlite3 import DatabaseError
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from uuid import uuid4

from pydantic import Field, ValidationError
from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError

from umd.backend import BackendUnavailable
from umd.call.call import Call, CallState
from umd.call.call_id import CallId
from umd.call.cause import EndedBy
from umd.call.principal import Principal
from umd.call.record import END_EVENTS, leg_of, seq_of
from umd.config import Section
from umd.control.control import Control
from umd.control.errors import JournalUnavailable, NoSuchBackend, NoSuchCall, Stopping
from umd.errors import UmdError
from umd.journal.check import JournalCheck
from umd.journal.copy import row_to_json
from umd.journal.file import FileStore, JournalFile
from umd.journal.replay import record_to_json
from umd.journal.schema import EventRow
from umd.journal.store import Store
from umd.management.history import beginnings, is_named
from umd.sip.number import NotDialable, require_dialable
from umd.text import iso_time, load_json
from umd.trace.capture import (
    Capture,
    CapturedMessage,
    ladder_steps,
    message_octets,
    sip_call_id,
    valid_text,
)
from umd.trace.summary import MessageSummary, read_summaries, summaries_to_json

T = TypeVar("T")
Reply: TypeAlias = Mapping[str, Any]
Breathe: TypeAlias = Callable[[], Awaitable[object]]
"""Lets the daemon do other things, and goes on when it has."""

OPERATOR: Final = Principal("operator", "control socket")
"""Whoever can connect to the control socket."""
CANDIDATES_SHOWN: Final = 10
AT_ONCE: Final = 2000
"""Things that are looked at before others get their turn: a millisecond or less."""
RECORDS_COPIED_AT_ONCE: Final = 200
TELL_EVERY: Final = 2.0  # seconds between two words of a check that goes on


class Refused(UmdError):
    """A request is not carried out; the kind is for programs, the text for people."""

    kind = "bad-request"
    more: Mapping[str, Any] = {}


class NoMessages(Refused):
    """The call is known, its messages are not."""

    kind = "no-messages"


class NoJournal(Refused):
    """There is nothing to read."""

    kind = "no-journal"


class JournalChanged(Refused):
    """A copy of the journal would not be of one moment."""

    kind = "unavailable"


class JournalDamaged(Refused):
    """The file of the journal cannot be read."""

    kind = "damaged"


class Ambiguous(Refused):
    """Several calls begin like this."""

    kind = "ambiguous"

    def __init__(self, text: str, found: Sequence[Found]) -> None:
        super().__init__(f"{len(found)} calls begin with {text!r}")
        self.more = {"candidates": [_found(one) for one in found[:CANDIDATES_SHOWN]]}


@dataclass(frozen=True, slots=True)
class Found:
    """What an id led to."""

    sip_call_id: str
    call: Call | None
    """None: umd does not know it, or not any more; some of its messages are there."""


class CallsRequest(Section):
    """`calls`: those that have not ended."""


class StatusRequest(Section):
    """`status`: how umd itself is, what it has counted, and whether the counts agree."""


class TraceRequest(Section):
    """`trace`: the SIP messages of a call."""

    call: Annotated[str, Field(min_length=1, max_length=1024)]
    """A CallId, the name of a leg, a SIP Call-ID, or a beginning that only one of them has."""
    octets: bool = False
    """Whether to give each message as it was on the wire, in base64."""


class EventsRequest(Section):
    """`events`: what the journal has, behind a position."""

    after: Annotated[int, Field(ge=0, lt=2**63)] = 0
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    call: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    wire: bool = False
    """Whether to tell of that one call what went over the wire as well."""


class CopyRequest(Section):
    """`copy`: every record of the journal, to be written to another file."""


class CheckRequest(Section):
    """`check`: whether the journal is as it should be."""


class EndRequest(Section):
    """`end`: end a call, and wait for it."""

    call: Annotated[str, Field(min_length=1, max_length=1024)]


class PlaceRequest(Section):
    """`place`: dial a number."""

    number: str
    """As `umd.sip.number` reads it; the dial plan is the clients'."""
    backend: str | None = None


class Console:
    """
    Answers requests.

    Args:
        control: has the calls.
        capture: has the messages.
        wall: the time, seconds since the epoch.
        breathe: called again and again in whatever takes long.
        store: the journal; None where none is kept.
        log: one line for each request that ends or places a call, whatever comes of it.
        status: how the daemon is: names and numbers.
    """

    def __init__(
        self,
        control: Control,
        capture: Capture,
        wall: Callable[[], float],
        breathe: Breathe,
        store: Store | None = None,
        log: FilteringBoundLogger | None = None,
        status: Callable[[], Reply] = dict,
    ) -> None:
        self._control = control
        self._log = log
        # Unique across restarts, like those of requests by HTTP.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))
        self._capture = capture
        self._wall = wall
        self._breathe = breathe
        self._store = store
        self._status = status

    async def answer(self, line: bytes) -> AsyncGenerator[Reply, None]:
        """
        Answer one request.

        Raises:
            UmdError: `refusal` makes the last reply of it.
        """
        request_type, request = _read(line)
        given = 0
        async with aclosing(request_type.answer(self, request)) as replies:
            async for reply in replies:
                given += 1
                yield reply
        yield {"done": {"count": given}}

    async def calls(self, request: CallsRequest) -> AsyncGenerator[Reply, None]:
        async for some in self._in_turns(list(self._control.live_calls())):
            for call in some:
                if not call.ended:  # meanwhile
                    yield {"call": self._describe(call)}

    async def status(self, request: StatusRequest) -> AsyncGenerator[Reply, None]:
        counts = self._control.counts()
        yield {
            "status": {
                **self._status(),
                "calls_begun": counts.begun,
                "calls_ended": counts.ended,
                "calls_live": counts.live,
                "events_refused": counts.refused_events,
                "counts_agree": counts.right,
            }
        }

    async def trace(self, request: TraceRequest) -> AsyncGenerator[Reply, None]:
        found = await self._find(request.call)
        messages = await self._messages(found)
        about = {} if found.call is None else self._describe(found.call)
        yield {"call": {**about, "sip_call_id": valid_text(found.sip_call_id)}}
        for step, (_, _, _, message) in zip(ladder_steps(messages), messages, strict=True):
            fields = step.to_json()
            if request.octets:
                wire = message_octets(message)
                fields["octets"] = wire and b64encode(wire).decode()
            yield {"message": fields}

    async def events(self, request: EventsRequest) -> AsyncGenerator[Reply, None]:
        store = self._store
        if store is None:
            raise NoJournal("no journal is kept: journal.path in the configuration says where")
        call = None if request.call is None else await self._find_recorded(store, request.call)
        crossed: list[MessageSummary] = []
        for stored in await store.read(request.after, request.limit, call):
            record = record_to_json(stored)
            yield {"event": record}
            if request.wire and record["event"] in END_EVENTS:
                crossed = read_summaries(stored.extra)
        if request.wire and call is not None:
            yield {"wire": summaries_to_json(crossed or await self._crossed(leg_of(call)))}

    async def copy(self, request: CopyRequest) -> AsyncGenerator[Reply, None]:
        """The records that are durable when it is asked for; umd goes on meanwhile."""
        store = self._file_store()

        def begin(file: JournalFile) -> tuple[int, int]:
            return file.last, file.pruned

        def piece(file: JournalFile) -> tuple[list[EventRow], int]:
            return file.rows_after(after, RECORDS_COPIED_AT_ONCE), file.pruned

        last, pruned = await store.between_commits(begin)
        yield {"copy": {"last": last}}
        after = 0
        while after < last:
            try:
                records, pruned_now = await store.between_commits(piece)
            except DatabaseError as error:
                raise JournalDamaged(f"the journal cannot be read: {error}") from error
            if pruned_now != pruned:
                raise JournalChanged("the journal let go of old records meanwhile; ask again")
            if not records:
                break
            after = records[-1][0]
            yield {"records": [row_to_json(row) for row in records if row[0] <= last]}

    async def check(self, request: CheckRequest) -> AsyncGenerator[Reply, None]:
        """Looks at some records, then at some more; umd goes on meanwhile."""
        store = self._file_store()
        check = await store.between_commits(lambda file: JournalCheck(file, seq_of))
        told_at = self._wall()
        while await store.between_commits(lambda _: check.step()):
            if self._wall() - told_at >= TELL_EVERY:
                told_at = self._wall()
                yield {"checked": check.records}
        yield {"check": check.result()}

    def _file_store(self) -> FileStore:
        if self._store is None:
            raise NoJournal("no journal is kept: journal.path in the configuration says where")
        if not isinstance(self._store, FileStore):
            raise NoJournal("the journal of this umd is no file")
        return self._store

    async def _crossed(self, leg: str) -> list[MessageSummary]:
        """What went over the wire of a call, where its end is not on record with that."""
        summaries = self._control.summaries
        noted = [] if summaries is None else read_summaries(summaries.current(leg))
        if noted:
            return noted
        try:
            messages = await self._messages(Found(leg, None))
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

    async def end(self, request: EndRequest) -> AsyncGenerator[Reply, None]:
        with self._told("end") as told:
            call = await self._find_call(request.call)
            told["call"] = call.id
            before = call.state
            outcome = await self._control.disconnect(
                OPERATOR, call.id, told["request_id"], EndedBy.OPERATOR
            )
            told["outcome"] = outcome
        # A call that ended earlier may have ended unconfirmed.
        confirmed = call.ended and call.confirmed
        found = self._describe(call)
        yield {"end": {**found, "was": before, "outcome": outcome, "confirmed": confirmed}}

    async def place(self, request: PlaceRequest) -> AsyncGenerator[Reply, None]:
        with self._told("place") as told:
            number = str(require_dialable(request.number))
            call = self._control.place(
                OPERATOR, number, backend=request.backend, request_id=told["request_id"]
            )
            told["call"] = call.id
            await self._control.dialled(call)
        yield {"call": self._describe(call)}

    @contextmanager
    def _told(self, operation: str) -> Iterator[dict[str, str]]:
        """The keys of the line of a request that decides something; it is written at the end."""
        told = {
            "request_id": next(self._request_ids),
            "principal": OPERATOR.name,
            "address": OPERATOR.address,
            "operation": operation,
            "outcome": "ok",
        }
        try:
            yield told
        except (CancelledError, GeneratorExit):
            told["outcome"] = "client-gone"
            raise
        except Exception as error:
            last = refusal(error)
            told["outcome"] = last["kind"] if last else "internal-error"
            told["why"] = str(error)[:200]
            raise
        finally:
            if self._log is not None:
                self._log.info("control.answered", **told)

    # -- parts

    async def _find_recorded(self, store: Store, text: str) -> str:
        """The CallId that an id or the beginning of one names, of a call in the journal."""
        try:
            return (await self._find_call(text)).id
        except NoSuchCall:
            pass
        names = {
            name
            for beginning in beginnings(text)
            for name in await store.find(beginning, 1000)
            if is_named(name, text)
        }
        if text in names:
            return text
        if not names:
            raise NoSuchCall(f"no call begins with {text!r}")
        if len(names) > 1:
            raise Ambiguous(text, [Found(leg_of(name), None) for name in sorted(names)])
        return names.pop()

    async def _find_call(self, text: str) -> Call:
        found = await self._find(text)
        if found.call is None:
            raise NoSuchCall(f"no call begins with {text!r}")
        return found.call

    async def _find(self, text: str) -> Found:
        """
        What an id or the beginning of one names; a whole one goes before a beginning.

        Raises:
            NoSuchCall, Ambiguous
        """
        try:
            call = self._control.find(CallId(text))
            return Found(call.leg, call)
        except NoSuchCall:
            pass
        exact: dict[object, Found] = {}
        begins: dict[object, Found] = {}
        known: set[str] = set()
        async for calls in self._in_turns(self._control.known_calls()):
            for call in calls:
                known.add(call.leg)
                if call.leg == text:
                    exact[call.id] = Found(call.leg, call)
                elif call.leg.startswith(text) or call.id.startswith(text):
                    begins[call.id] = Found(call.leg, call)
        async for some in self._in_turns(self._capture.messages()):
            for _, _, _, message in some:
                name = sip_call_id(message)
                if name.startswith(text) and name not in known:
                    (exact if name == text else begins)[name] = Found(name, None)
        found = list((exact or begins).values())
        if not found:
            raise NoSuchCall(f"no call begins with {text!r}")
        if len(found) > 1:
            raise Ambiguous(text, found)
        return found[0]

    async def _messages(self, found: Found) -> list[CapturedMessage]:
        kept: list[CapturedMessage] = []
        async for some in self._in_turns(self._capture.messages()):
            kept += [one for one in some if sip_call_id(one[3]) == found.sip_call_id]
        if kept:
            return kept
        if not self._capture.size:
            raise NoMessages("SIP messages are not kept: trace.messages = 0 in the configuration")
        raise NoMessages(
            f"no SIP message of call {found.sip_call_id} is kept: only the last "
            f"{self._capture.size} of all calls are (trace.messages), and only of backends that "
            "show theirs"
        )

    def _describe(self, call: Call) -> dict[str, Any]:
        ending = call.state is CallState.DISCONNECTING
        deadline = self._control.settings.deadline
        return {
            **_brief(call),
            "owner": call.owner,
            "began_at": iso_time(call.began_at),
            "asked_at": iso_time(call.asked_at) if call.asked_at else None,
            "ended_at": iso_time(call.ended_at) if call.ended_at else None,
            "overdue": ending and self._wall() - call.asked_at > deadline,
        }

    async def _in_turns(self, items: Sequence[T]) -> AsyncGenerator[Sequence[T], None]:
        for start in range(0, len(items), AT_ONCE):
            if start:
                await self._breathe()
            yield items[start : start + AT_ONCE]


@dataclass(frozen=True, slots=True)
class RequestType:
    """One kind of request."""

    fields: type[Section]
    answer: Callable[[Console, Any], AsyncGenerator[Reply, None]]
    """An async generator of replies, all but the last one."""


REQUESTS: Final[Mapping[str, RequestType]] = {
    "calls": RequestType(CallsRequest, Console.calls),
    "check": RequestType(CheckRequest, Console.check),
    "copy": RequestType(CopyRequest, Console.copy),
    "end": RequestType(EndRequest, Console.end),
    "events": RequestType(EventsRequest, Console.events),
    "place": RequestType(PlaceRequest, Console.place),
    "status": RequestType(StatusRequest, Console.status),
    "trace": RequestType(TraceRequest, Console.trace),
}


def refusal(error: Exception) -> Reply | None:
    """The last reply to a request that ran into an error; None: the error is a mistake of ours."""
    if isinstance(error, NoSuchCall):
        return {"error": valid_text(str(error)), "kind": "no-such-call"}
    if isinstance(error, (BackendUnavailable, JournalUnavailable, Stopping)):
        return {"error": valid_text(str(error)), "kind": "unavailable"}
    if isinstance(error, NotDialable):
        return {"error": valid_text(str(error)), "kind": "not-dialable"}
    if isinstance(error, NoSuchBackend):
        return {"error": valid_text(str(error)), "kind": "bad-request"}
    if isinstance(error, Refused):
        return {"error": valid_text(str(error)), "kind": error.kind, **error.more}
    return None


def _read(line: bytes) -> tuple[RequestType, Section]:
    try:
        read = load_json(line)
    except ValueError as error:
        raise Refused(f"a request is a JSON object on a line of its own: {error}") from None
    if not isinstance(read, dict):
        raise Refused("a request is a JSON object on a line of its own")
    name = read.pop("request", None)
    request_type = REQUESTS.get(name) if isinstance(name, str) else None
    if request_type is None:
        raise Refused(f"there is no request {str(name)[:40]!r}; there is: {', '.join(REQUESTS)}")
    try:
        return request_type, request_type.fields.model_validate(read)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"request {name}, field {where[:40]!r}: {first['msg']}") from None


def _brief(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "leg": call.leg,
        "to": call.number,
        "state": call.state,
        "backend": call.backend,
    }


def _found(found: Found) -> dict[str, Any]:
    if found.call is None:
        return {"leg": valid_text(found.sip_call_id)}
    return _brief(found.call)
