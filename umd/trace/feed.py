"""
Takes the messages that PBXs show: the witness follows them, `umd trace` keeps those of umd's calls.

The first messages of a call often arrive before the PBX has reported the call. So the latest
messages of unknown calls are held, and kept once the call is known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from umd.sip.message import Message
from umd.sip.transaction import Hop
from umd.trace.capture import Capture, CapturedMessage, sip_call_id
from umd.trace.summary import CallSummaries
from umd.trace.witness import Witness

MAX_HELD: Final = 2048
"""Messages of unknown calls that are held, of all calls together."""
MAX_HELD_OF_CALL: Final = 16
"""Of one call: INVITE, 100, 180 and 200 on two hops, twice."""


class MessageFeed:
    """
    The way of a message that a PBX shows.

    Args:
        witness: follows all messages.
        capture: keeps the messages of known calls.
        summaries: of the messages of each call, for the journal; None: there are none.
        knows: whether a call of a PBX has this Call-ID, and umd does not capture its messages
            itself.
    """

    def __init__(
        self,
        witness: Witness,
        capture: Capture,
        summaries: CallSummaries | None,
        knows: Callable[[str], bool],
    ) -> None:
        self._witness = witness
        self._capture = capture
        self._knows = knows
        self._held: OrderedDict[str, list[CapturedMessage]] = OrderedDict()
        self._held_count = 0
        self._at = 0.0
        """When the message was captured that is summarised now."""
        self._summarise = None if summaries is None else summaries.make_tap(lambda: self._at)

    @property
    def held(self) -> int:
        """How many messages of unknown calls are held."""
        return self._held_count

    def take(
        self, source: Hop, target: Hop, message: Message, captured_at: float, now: float
    ) -> None:
        """Take a message; the arguments are those of `Witness.take`."""
        call_id = sip_call_id(message)
        if call_id:
            self._keep(call_id, (captured_at, source, target, message))
        # After that, since a proof ends the call, and with it the summary of its messages.
        self._witness.take(source, target, message, captured_at, now)

    def _keep(self, call_id: str, captured: CapturedMessage) -> None:
        if self._knows(call_id):
            held = self._held.pop(call_id, None)
            if held is not None:
                self._held_count -= len(held)
                for earlier in held:
                    self._record(earlier)
            self._record(captured)
        elif self._capture.size or self._summarise is not None:
            self._hold(call_id, captured)

    def _hold(self, call_id: str, captured: CapturedMessage) -> None:
        held = self._held.setdefault(call_id, [])
        if len(held) >= MAX_HELD_OF_CALL:
            return
        held.append(captured)
        self._held_count += 1
        while self._held_count > MAX_HELD:
            self._held_count -= len(self._held.popitem(last=False)[1])

    def _record(self, captured: CapturedMessage) -> None:
        self._at, source, target, message = captured
        self._capture.add(captured)
        if self._summarise is not None:
            self._summarise(source, target, message)
