"""
Ends that only a PBX has reported, held until a witness has seen the far end's answer.

A PBX reports the end of a call when its request leaves, whether the far end answers or not. Where a
witness sees the messages on the wire, the end waits for that answer, and is then confirmed by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from twisted.internet.interfaces import IReactorTime

from umd.call.alias import FAR_END_TAGS, SIP_CALL_ID
from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.cause import EndedBy
from umd.call.leg import Ended, Proof
from umd.control.links import BackendLink
from umd.runtime.clock import Alarms
from umd.timers import Timer

HELD_FOR: Final = 32.0
"""Seconds, 64 T1: after that a far end sends no more answer (RFC 3261 section 17.1.2.2)."""
UNSEEN_FOR: Final = 2.0
"""Seconds for which an end is held of whose call the witness has seen no message yet."""


class WireWitness(Protocol):
    """Sees the messages of a PBX, and so what its far ends answer."""

    def sees(self, call_id: str, /) -> bool:
        """Return whether a message of this Call-ID was seen; if not, its PBX may send no copies."""

    def watch(
        self, call_id: str, tags: tuple[str, ...], since: float, then: Callable[[int], None], /
    ) -> Callable[[], None]:
        """
        Wait for the answer that shows a call to be down.

        Args:
            call_id: its Call-ID on the wire.
            tags: the far ends that must be down; empty for a leg with one far end.
            since: when the PBX reported the end; wall time, seconds since the epoch.
            then: called once with the final status, perhaps before this returns.

        Returns:
            A function that ends the wait; harmless once `then` was called.
        """


Finish: TypeAlias = Callable[[BackendLink, Call, Ended, float], None]
"""Ends a call; the last argument is the wall time of its end."""


class _HeldEnd:
    __slots__ = ("link", "call", "ended", "since", "call_id", "unseen", "timer", "forget")

    def __init__(
        self, link: BackendLink, call: Call, ended: Ended, since: float, call_id: str
    ) -> None:
        self.link = link
        self.call = call
        self.ended = ended
        self.call_id = call_id
        """The Call-ID on the wire."""
        self.unseen = False
        """Whether the witness had seen no message of the call when it was last asked."""
        self.since = since
        """When the PBX reported the end; wall time."""
        self.timer: Timer[_HeldEnd] | None = None
        self.forget: Callable[[], None] | None = None
        """Ends the wait for the witness."""


class HeldEnds:
    """
    Holds ends until they are shown, or for `HELD_FOR` seconds.

    Args:
        witness: None: no end is held.
        clock: monotonic.
        wall: seconds since the epoch.
    """

    def __init__(
        self, witness: WireWitness | None, clock: IReactorTime, wall: Callable[[], float]
    ) -> None:
        self.finish: Finish = _no_finish
        """Called for each end once it is shown or no longer held."""
        self._witness = witness
        self._wall = wall
        self.by_call: dict[CallId, _HeldEnd] = {}
        """The held ends. Each event of a call looks here, so no method is called for that."""
        self._alarms: Alarms[_HeldEnd] = Alarms(clock, self._expire)

    @property
    def has_witness(self) -> bool:
        """Whether the messages of a PBX are seen."""
        return self._witness is not None

    def hold(self, link: BackendLink, call: Call, ended: Ended) -> bool:
        """
        Hold the end of a call if only the PBX shows it and the witness may show more.

        Returns:
            False if the end is not held: end the call now.
        """
        witness = self._witness
        if witness is None or ended.shown_by is not Proof.PBX:
            return False
        call_id = call.aliases.get(SIP_CALL_ID)
        if call_id is None:
            return False
        held = self.by_call[call.id] = _HeldEnd(link, call, ended, self._wall(), call_id)
        held.unseen = not witness.sees(call_id)
        held.timer = self._alarms.start(UNSEEN_FOR if held.unseen else HELD_FOR, held)
        tags = tuple(call.aliases[kind] for kind in FAR_END_TAGS if kind in call.aliases)
        forget = witness.watch(call_id, tags, held.since, lambda status: self._show(held, status))
        if call.id in self.by_call:
            held.forget = forget
        return True

    def release_all(self) -> None:
        """End all held calls by the word of the PBX, as umd is about to stop."""
        for held in list(self.by_call.values()):
            self._release(held)
        self._alarms.stop()

    def _show(self, held: _HeldEnd, status: int) -> None:
        """End a call whose far end has answered with a final status."""
        cause = held.ended.cause
        if cause.sip_status is None and (status >= 300 or cause.by is not EndedBy.FAR_END):
            cause = replace(cause, sip_status=status)
        ended = replace(held.ended, cause=cause, shown_by=Proof.FAR_END)
        self._end(held, ended, self._wall())

    def _expire(self, held: _HeldEnd) -> None:
        if held.unseen and self._witness is not None and self._witness.sees(held.call_id):
            held.unseen = False
            held.timer = self._alarms.start(HELD_FOR - UNSEEN_FOR, held)
            return
        self._release(held)

    def _release(self, held: _HeldEnd) -> None:
        """End a call by the word of its PBX."""
        # The call was over when the PBX said so, though a client may have asked for it since.
        self._end(held, held.ended, max(held.since, held.call.asked_at))

    def _end(self, held: _HeldEnd, ended: Ended, at: float) -> None:
        if self.by_call.pop(held.call.id, None) is None:
            return
        if held.timer is not None:
            held.timer.cancel()
        if held.forget is not None:
            held.forget()
        if not held.call.ended:  # an operator may have given it up meanwhile
            self.finish(held.link, held.call, ended, at)


def _no_finish(link: BackendLink, call: Call, ended: Ended, at: float) -> None:
    raise NotImplementedError
