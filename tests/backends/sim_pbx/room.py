"""A `Control` that follows a simulated PBX, and judges each end by what the far ends know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.backends.sim_pbx import SimPbxBackend
from umd.backends.sim_pbx.messages import Lie
from umd.backends.sim_pbx.section import SimPbxSection
from umd.call.call import Call
from umd.call.events import Disconnected, LifecycleEvent, Lost
from umd.control.outcome import Outcome

STEP = 0.05
"""Seconds of virtual time from one look to the next."""
LONGEST_DELAY = 3.5
"""Seconds after which every event of a PBX has come, whatever it does."""
NUMBER = "5550100"
SILENT = "5550199"


class PbxRoom(ControlRoom):
    """Keeps what is wrong: a second end, or a confirmed end while the far end is in its call."""

    def __init__(self, **keys: Any) -> None:
        clock = Clock()
        self.backend = SimPbxBackend("pbx", SimPbxSection(**keys), clock)
        self.pbx = self.backend.pbx
        self.wrong: list[str] = []
        super().__init__(backends={"pbx": self.backend}, clock=clock)

    def on_event(self, call: Call, event: LifecycleEvent) -> None:
        super().on_event(call, event)
        if isinstance(event, Disconnected) and event.confirmed and self.pbx.holds(call.leg):
            self.wrong.append(f"confirmed, and the far end is in the call: {event}")
        if isinstance(event, (Disconnected, Lost)) and len(self.ends_of(call)) > 1:
            self.wrong.append(f"ended twice: {self.ends_of(call)}")

    def ends_of(self, call: Call) -> list[Disconnected | Lost]:
        ends = [event for event in self.events if isinstance(event, (Disconnected, Lost))]
        return [event for event in ends if event.call == call.id]

    def advance(self, seconds: float) -> None:
        self.clock.pump([STEP] * round(seconds / STEP))


class StoryCase(SynchronousTestCase):
    """Tells stories of a PBX. After each, every end was the only one of its call, and true."""

    def open(self, *lies: Lie, is_reachable: bool = True, **keys: Any) -> PbxRoom:
        """Start umd beside a PBX with these lies and keys of its section."""
        room = self.room = PbxRoom(lies=list(lies), **keys)
        self.pbx = room.pbx
        self.pbx.is_reachable = is_reachable
        self.successResultOf(ensureDeferred(room.control.start()))
        self.addCleanup(self.close, room)
        return room

    def close(self, room: PbxRoom) -> None:
        self.assertEqual(room.wrong, [])
        faults = ("backend.illegal-event", "backend.failed", "backend.leg-refused")
        self.assertEqual([line for line in room.lines if line["event"] in faults], [])
        self.successResultOf(ensureDeferred(room.control.stop()))

    def call(self, number: str = NUMBER) -> Call:
        """Let the PBX begin a call that is answered; return it as umd found it."""
        return self.found(self.pbx.new_call(number))

    def ringing(self, number: str = NUMBER) -> Call:
        """Let the PBX begin a call that rings."""
        return self.found(self.pbx.ring(number))

    def pair(self) -> tuple[Call, Call]:
        """Let the PBX begin two calls, and join them."""
        first, second = self.call(), self.call()
        self.pbx.bridge(first.leg, second.leg)
        self.room.advance(LONGEST_DELAY)
        self.assertEqual((first.partners, second.partners), ((second.id,), (first.id,)))
        return first, second

    def found(self, channel: str) -> Call:
        self.room.advance(LONGEST_DELAY)
        return self.room.control.resolve(channel)

    def end(self, call: Call) -> list[Outcome | Failure]:
        """Let a client end a call; return the list that gets its answer."""
        answers: list[Outcome | Failure] = []
        ended = ensureDeferred(self.room.control.disconnect(ALICE, call.id, "r-1"))
        _ = ended.addBoth(answers.append)
        return answers

    def the_end(self, call: Call, within: float = 40.0) -> Disconnected | Lost:
        """Let time pass until a call has ended; return its end, which must be the only one."""
        waited = 0.0
        while not self.room.ends_of(call) and waited < within:
            self.room.advance(STEP)
            waited += STEP
        self.room.advance(5.0)
        ends = self.room.ends_of(call)
        self.assertEqual(len(ends), 1, ends)
        return ends[0]

    def confirmed_end(self, call: Call, within: float = 40.0) -> Disconnected:
        end = self.the_end(call, within)
        assert isinstance(end, Disconnected), end
        self.assertTrue(end.confirmed, end)
        return end

    def unconfirmed_end(self, call: Call, within: float = 40.0) -> Disconnected:
        end = self.the_end(call, within)
        assert isinstance(end, Disconnected), end
        self.assertFalse(end.confirmed, end)
        return end

    def check_over(self, calls: Iterable[Call]) -> None:
        """Check that each call has ended once, and that no far end is in one."""
        for call in calls:
            self.the_end(call)
            self.assertFalse(self.pbx.holds(call.leg), call.leg)
