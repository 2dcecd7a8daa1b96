"""Finds the call that a text names: by any of its ids, or by a prefix that only one call has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.record import leg_of
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.journal.store import Store
from umd.management.id_prefix import encoded_prefixes, has_prefix
from umd.management.refusals import Ambiguous, NoMessages, no_such_call
from umd.trace.capture import Capture, CapturedMessage, sip_call_id, valid_text

T = TypeVar("T")
Pause: TypeAlias = Callable[[], Awaitable[object]]
"""Lets the reactor do other work; the awaitable ends when it has."""

MAX_ITEMS_PER_TURN: Final = 2000
"""Items that a search looks at between two pauses: a millisecond or less."""
MAX_RECORDED_MATCHES: Final = 1000
"""CallIds with the same prefix that are read from the journal."""


@dataclass(frozen=True, slots=True)
class FoundCall:
    """The call that a text names."""

    sip_call_id: str
    call: Call | None
    """None if umd does not know the call, or no longer, but has some of its SIP messages."""

    def summary(self) -> dict[str, Any]:
        """Return the call as a candidate of an ambiguous prefix."""
        if self.call is None:
            return {"leg": valid_text(self.sip_call_id)}
        return call_summary(self.call)


def call_summary(call: Call) -> dict[str, Any]:
    """Return the keys by which a reply names a call."""
    return {
        "id": call.id,
        "leg": call.leg,
        "to": call.number,
        "state": call.state,
        "backend": call.backend,
    }


async def in_turns(items: Sequence[T], pause: Pause) -> AsyncGenerator[Sequence[T], None]:
    """Yield the items in slices, with a pause for other work between two of them."""
    for start in range(0, len(items), MAX_ITEMS_PER_TURN):
        if start:
            await pause()
        yield items[start : start + MAX_ITEMS_PER_TURN]


class CallSearch:
    """
    Searches the calls of a daemon, and the SIP messages it has captured.

    Args:
        control: has the calls.
        capture: has the messages.
        pause: called again and again during a long search.
    """

    def __init__(self, control: Control, capture: Capture, pause: Pause) -> None:
        self._control = control
        self._capture = capture
        self._pause = pause

    async def find(self, text: str) -> FoundCall:
        """
        Find what an id or a prefix names. A complete id takes precedence over a prefix.

        Raises:
            NoSuchCall: no id begins with the text.
            Ambiguous: several do.
        """
        try:
            call = self._control.find(CallId(text))
            return FoundCall(call.leg, call)
        except NoSuchCall:
            pass
        exact: dict[object, FoundCall] = {}
        prefixed: dict[object, FoundCall] = {}
        legs: set[str] = set()
        async for calls in in_turns(self._control.known_calls(), self._pause):
            for call in calls:
                legs.add(call.leg)
                if call.leg == text:
                    exact[call.id] = FoundCall(call.leg, call)
                elif call.leg.startswith(text) or call.id.startswith(text):
                    prefixed[call.id] = FoundCall(call.leg, call)
        async for messages in in_turns(self._capture.messages(), self._pause):
            for _, _, _, message in messages:
                name = sip_call_id(message)
                if name.startswith(text) and name not in legs:
                    (exact if name == text else prefixed)[name] = FoundCall(name, None)
        found = list((exact or prefixed).values())
        if not found:
            raise no_such_call(text)
        if len(found) > 1:
            raise Ambiguous(text, [match.summary() for match in found])
        return found[0]

    async def find_call(self, text: str) -> Call:
        """
        Find a call that umd still knows.

        Raises:
            NoSuchCall, Ambiguous
        """
        found = await self.find(text)
        if found.call is None:
            raise no_such_call(text)
        return found.call

    async def find_recorded(self, store: Store, text: str) -> str:
        """
        Return the CallId of a call that umd knows or the journal has records of.

        Raises:
            NoSuchCall, Ambiguous
        """
        try:
            return (await self.find_call(text)).id
        except NoSuchCall:
            pass
        call_ids = {
            call_id
            for prefix in encoded_prefixes(text)
            for call_id in await store.find(prefix, MAX_RECORDED_MATCHES)
            if has_prefix(call_id, text)
        }
        if text in call_ids:
            return text
        if not call_ids:
            raise no_such_call(text)
        if len(call_ids) > 1:
            found = [FoundCall(leg_of(call_id), None) for call_id in sorted(call_ids)]
            raise Ambiguous(text, [match.summary() for match in found])
        return call_ids.pop()

    async def messages(self, found: FoundCall) -> list[CapturedMessage]:
        """
        Return the captured SIP messages of a call, in the order they crossed.

        Raises:
            NoMessages: none is captured; the text says why.
        """
        captured: list[CapturedMessage] = []
        async for messages in in_turns(self._capture.messages(), self._pause):
            captured += [
                message for message in messages if sip_call_id(message[3]) == found.sip_call_id
            ]
        if captured:
            return captured
        if not self._capture.size:
            raise NoMessages("SIP messages are not kept: trace.messages = 0 in the configuration")
        raise NoMessages(
            f"no SIP message of call {found.sip_call_id} is kept: only the last "
            f"{self._capture.size} of all calls are (trace.messages), and only of backends that "
            "show theirs"
        )
