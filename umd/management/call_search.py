"""Finds the call that a text names: by any of its ids, or by a prefix that only one call has."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from umd.call.alias import SIP_CALL_ID
from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.record import leg_of
from umd.control.alias_index import names_of
from umd.control.control import Control
from umd.control.errors import AmbiguousId, NoSuchCall
from umd.journal.store import Store
from umd.management.call_fields import call_summary
from umd.management.id_prefix import encoded_prefixes, has_prefix
from umd.management.refusals import Ambiguous, NoMessages, NotComplete, no_such_call
from umd.runtime.turns import Pause, in_turns
from umd.trace.capture import Capture, CapturedMessage, sip_call_id, valid_text

MAX_RECORDED_MATCHES: Final = 1000
"""CallIds with the same prefix that are read from the journal."""


@dataclass(frozen=True, slots=True)
class FoundCall:
    """The call that a text names."""

    sip_call_id: str
    call: Call | None
    """None if umd does not know the call, or no longer, but has some of its SIP messages."""

    @classmethod
    def of(cls, call: Call) -> FoundCall:
        """Return a call that umd knows, with the Call-ID of its SIP messages."""
        return cls(call.aliases.get(SIP_CALL_ID, call.leg), call)

    @property
    def sip_call_ids(self) -> tuple[str, ...]:
        """The Call-IDs that its SIP messages may have: the alias, and the name of the leg."""
        if self.call is None or self.call.leg == self.sip_call_id:
            return (self.sip_call_id,)
        return (self.sip_call_id, self.call.leg)

    def summary(self) -> dict[str, Any]:
        """Return the call as a candidate of an ambiguous prefix."""
        if self.call is None:
            return {"leg": valid_text(self.sip_call_id)}
        return call_summary(self.call)


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
        Find what an id or a prefix names, for reading. A complete id takes precedence.

        An id is a CallId, the name of a leg, a SIP Call-ID, another alias, or a label.

        Raises:
            NoSuchCall: no id begins with the text.
            Ambiguous: several do.
        """
        call = self._resolve(text)
        if call is not None:
            return FoundCall.of(call)
        exact: dict[object, FoundCall] = {}
        prefixed: dict[object, FoundCall] = {}
        sip_call_ids: set[str] = set()
        async for calls in in_turns(self._control.known_calls(), self._pause):
            for call in calls:
                sip_call_ids.add(call.leg)
                if SIP_CALL_ID in call.aliases:
                    sip_call_ids.add(call.aliases[SIP_CALL_ID])
                if _has_prefix(call, text):
                    (exact if call.leg == text else prefixed)[call.id] = FoundCall.of(call)
        async for messages in in_turns(self._capture.messages(), self._pause):
            for _, _, _, message in messages:
                name = sip_call_id(message)
                if name.startswith(text) and name not in sip_call_ids:
                    (exact if name == text else prefixed)[name] = FoundCall(name, None)
        matches = list((exact or prefixed).values())
        if not matches:
            raise no_such_call(text)
        if len(matches) > 1:
            raise Ambiguous(text, [match.summary() for match in matches])
        return matches[0]

    async def find_call(self, text: str) -> Call:
        """
        Find a call that umd still knows, for reading.

        Raises:
            NoSuchCall, Ambiguous
        """
        found = await self.find(text)
        if found.call is None:
            raise no_such_call(text)
        return found.call

    async def find_exactly(self, text: str) -> Call:
        """
        Find a call by a complete id, for a request that changes something.

        Raises:
            NotComplete: no call has this id, but ids of calls begin with it.
            NoSuchCall: no id begins with it either.
            Ambiguous: several live calls have it, such as a label.
        """
        call = self._resolve(text)
        if call is not None:
            return call
        begun: list[Call] = []
        async for calls in in_turns(self._control.known_calls(), self._pause):
            begun += [call for call in calls if _has_prefix(call, text)]
        ended = [call for call in begun if call.leg == text]
        if ended:
            return max(ended, key=attrgetter("ended_at"))
        if begun:
            raise NotComplete(text, [call_summary(call) for call in begun])
        raise no_such_call(text)

    def recorded(self, call_id: str) -> FoundCall:
        """Return the call of a CallId, or what the CallId says of a call that umd has forgotten."""
        try:
            return FoundCall.of(self._control.find(CallId(call_id)))
        except NoSuchCall:
            return FoundCall(leg_of(call_id), None)

    def _resolve(self, text: str) -> Call | None:
        """
        Return the call that has this complete id; None: there is none.

        Raises:
            Ambiguous: several live calls have it.
        """
        try:
            return self._control.resolve(text)
        except AmbiguousId as error:
            calls = [self._control.find(call_id) for call_id in error.candidates]
            raise Ambiguous(
                text, [call_summary(call) for call in calls], "have the id"
            ) from None
        except NoSuchCall:
            return None

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
        sip_call_ids = found.sip_call_ids
        captured: list[CapturedMessage] = []
        async for messages in in_turns(self._capture.messages(), self._pause):
            captured += [
                message for message in messages if sip_call_id(message[3]) in sip_call_ids
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


def _has_prefix(call: Call, text: str) -> bool:
    """Return whether one of the ids of a call begins with a text."""
    if call.leg.startswith(text) or call.id.startswith(text):
        return True
    if not (call.aliases or call.labels):
        return False
    return any(name.startswith(text) for name in names_of(call))
