"""Random walks: whatever a PBX and its clients do, each call ends once, and no end is false."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.backends.sim_pbx.room import NUMBER, SILENT, PbxRoom, StoryCase
from umd.backends.sim_pbx.messages import ChannelState, Lie
from umd.backends.sim_pbx.pbx import Pbx
from umd.call.call import Call

WALKS: Final = 150
LONGEST_WALK: Final = 25
SLOW: Final = "5550102"
"""A far end that answers a BYE after 4 s."""
NUMBERS: Final = (NUMBER, SILENT, SLOW, "5550181")
PAUSES: Final = (0.05, 0.1, 0.5, 1.0, 3.0, 10.0, 40.0)
UNTIL_NOTICED: Final = 240.0
"""Seconds in which umd compares, gives up, and finds what the PBX still has."""


class Walk:
    """One walk: each step is a thing that the PBX, a far end, a client or time does."""

    def __init__(self, random: Random, case: StoryCase) -> None:
        self.random = random
        self.case = case
        lies = [lie for lie in Lie if random.random() < 0.25]
        self.room: PbxRoom = case.open(
            *lies,
            witness=random.random() < 0.6,
            lists_until_answered=random.random() < 0.5,
            far_end={SLOW: {"answer_after": "0.1s", "bye_after": "4s"}},
        )
        self.pbx: Pbx = self.room.pbx
        self.asked: list[Call] = []
        self.steps: list[str] = []
        """The steps so far, for the message of a failure."""

    def take(self) -> None:
        """Take one step, perhaps without time before the next."""
        step: Callable[[], None] = self.random.choice(
            [self.begin, self.begin, self.change, self.end, self.lose, self.move, self.wait]
            + [self.ask] * 3
        )
        self.steps.append(step.__name__)
        step()
        if self.random.random() < 0.5:
            self.room.advance(0.05)

    def begin(self) -> None:
        number = self.random.choice(NUMBERS)
        if self.random.random() < 0.7:
            self.pbx.new_call(number)
            return
        channel = self.pbx.ring(number)
        if self.random.random() < 0.5:
            self.pbx.answer(channel)

    def change(self) -> None:
        live = [name for name in self.pbx.channels if self.can_change(name)]
        if len(live) < 2:
            return
        channel, other = self.random.sample(live, 2)
        partners = [self.pbx.channels[name].partner for name in (channel, other)]
        if partners == [None, None]:
            self.random.choice([self.pbx.bridge, self.pbx.masquerade])(channel, other)
        elif partners[0] in self.pbx.channels and partners[0] != other:
            if partners[1] in self.pbx.channels:
                self.pbx.transfer_attended(channel, other)
            else:
                self.pbx.transfer_blind(channel, self.random.choice(NUMBERS))
        elif partners[0] == other:
            self.pbx.unbridge(channel, other)

    def can_change(self, channel: str) -> bool:
        return self.pbx.channels[channel].state is not ChannelState.ENDING

    def end(self) -> None:
        if self.pbx.channels:
            channel = self.random.choice(list(self.pbx.channels))
            end = self.random.choice([self.pbx.far_end_hangs_up, self.pbx.end, self.pbx.lose])
            end(channel)

    def lose(self) -> None:
        """Lose events or messages from now on, or no longer."""
        self.pbx.loses_events = self.random.random() < 0.3
        self.pbx.mirrors = self.random.random() < 0.8
        self.pbx.lies ^= {self.random.choice(list(Lie))}

    def move(self) -> None:
        """Break the connection, make it again, or restart the PBX."""
        if self.random.random() < 0.2:
            self.pbx.restart()
        elif self.pbx.is_reachable:
            self.pbx.break_connection(reachable=self.random.random() < 0.5)
        else:
            self.pbx.allow_connection()

    def wait(self) -> None:
        self.room.advance(self.random.choice(PAUSES))

    def ask(self) -> None:
        live = list(self.room.control.live_calls())
        if live:
            call = self.random.choice(live)
            self.asked.append(call)
            self.case.end(call)


class WalkTests(StoryCase):
    def test_walks(self) -> None:
        """Requested calls end, calls that the PBX no longer has end, and it has no unknown one."""
        ended = 0
        for seed in range(WALKS):
            walk = Walk(Random(seed), self)
            for _ in range(walk.random.randint(4, LONGEST_WALK)):
                walk.take()
            walk.pbx.allow_connection()
            walk.room.advance(UNTIL_NOTICED)
            self.judge(walk, f"walk {seed}: {walk.steps}")
            ended += sum(call.ended for call in walk.room.control.known_calls())
        self.assertGreater(ended, WALKS)

    def judge(self, walk: Walk, steps: str) -> None:
        room, pbx = walk.room, walk.pbx
        self.assertEqual(room.wrong, [], steps)
        for call in room.control.known_calls():
            self.assertEqual(len(room.ends_of(call)), int(call.ended), steps)
        self.assertEqual([call.leg for call in walk.asked if not call.ended], [], steps)
        live = {call.leg for call in room.control.live_calls()}
        self.assertLessEqual(live, set(pbx.channels), steps)
        if Lie.STALE_LIST not in pbx.lies:
            listed = {name for name in pbx.channels if walk.can_change(name)}
            self.assertLessEqual(listed, live, steps)
