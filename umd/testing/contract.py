"""
The contract of the backend door, as a trial mixin: one suite, run against every backend.

::

    class MyBackendTests(LegBackendContract, TestCase):
        number_that_answers = "100"
        number_that_rings = "101"
        ...
        def make_backend(self):
            return MyBackend("mine", MySection(), self.clock)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase

from umd.backend import Answered, Ended, LegBackend, LegId, NoSuchLeg, Progressed, ShowsMessages
from umd.call.call import CallState
from umd.call.cause import NORMAL_CLEARING, Cause, EndedBy
from umd.testing.fakes import RecordingSink
from umd.trace.capture import Capture, sip_call_id

if TYPE_CHECKING:
    _Base = TestCase
else:
    # Not a TestCase by itself: trial would run it wherever it is imported.
    _Base = object


class LegBackendContract(_Base):
    """
    Mix into a trial TestCase, and say which numbers of your backend behave how.

    It cannot see two rules: that no method blocks, and what happens while the peer of a backend
    cannot be reached.

    Time is a Clock that the mixin advances. A backend that needs real time sets `clock` to the
    reactor and overrides `wait` by one that lets it pass.
    """

    number_that_answers: str
    number_that_rings: str
    """It never answers."""
    number_that_rejects: str
    number_that_hangs_up: str | None = None
    """It answers, then ends by itself; None where no peer can be made to: the test is skipped."""
    number_silent_to_bye: str | None = None
    """It answers, then never confirms its end; None where no peer can be made to."""
    patience = 40.0
    """Seconds within which anything that is to happen happens."""
    quiet = 2.0
    """Seconds that are watched for what must not happen."""
    has_clock_alone = True
    """Whether nothing else sets timers on the Clock; then none may be left after `stop`."""
    step = 0.05
    """Seconds between two looks."""

    clock: Any
    backend: LegBackend
    sink: RecordingSink

    def make_backend(self) -> LegBackend:
        """Make the backend, not started, on `self.clock`."""
        raise NotImplementedError(f"{type(self).__name__} must define make_backend")

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self._check_numbers()
        if not hasattr(self, "clock"):
            self.clock = Clock()
        self.backend = self.make_backend()
        self.sink = RecordingSink()
        self.capture = Capture(1000, self.clock.seconds)
        if isinstance(self.backend, ShowsMessages):
            self.backend.capture_to(self.capture.tap)
        await self.backend.start(self.sink)
        self._started = True
        self.addCleanup(self._stop)

    async def _stop(self) -> None:
        if not self._started:
            return
        self._started = False
        await self.backend.stop()
        self.assertEqual(self.sink.wrong, [])
        if self.has_clock_alone and isinstance(self.clock, Clock):
            left = self.clock.getDelayedCalls()
            self.assertEqual(left, [], "timers are left on the clock after stop")

    # -- placing

    async def test_a_call_is_answered(self) -> None:
        """The far end rings or not, then answers, and the leg stays."""
        leg = self._place(self.number_that_answers)
        await self._until(lambda: Answered(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.of(leg)[-1], Answered(leg))
        self.assertLessEqual(self.sink.of(leg).count(Answered(leg)), 1)

    async def test_a_call_rings(self) -> None:
        leg = self._place(self.number_that_rings)
        await self._until(lambda: Progressed(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(set(self.sink.of(leg)), {Progressed(leg)})

    async def test_a_call_is_rejected(self) -> None:
        """It ends once, by the far end, with a cause that is not normal clearing."""
        leg = self._place(self.number_that_rejects)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WHO_ENDED)
        why = "a rejection is no normal clearing: pass on what the far end said"
        self.assertNotEqual(ended.cause.q850, NORMAL_CLEARING, why)

    async def test_a_far_end_hangs_up_by_itself(self) -> None:
        leg = self._place(self._number("number_that_hangs_up"))
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WHO_ENDED)

    # -- what it may do beside

    async def test_the_messages_it_shows_have_the_name_of_their_leg(self) -> None:
        """So that `umd trace` finds them; a backend that shows none is right too."""
        leg = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(leg)
        if isinstance(self.backend, ShowsMessages):
            shown = [m for *_, m in self.capture.messages() if sip_call_id(m) == leg]
            self.assertTrue(shown, f"no message with Call-ID {leg} was shown")

    # -- hanging up

    async def test_hang_up_what_was_just_placed(self) -> None:
        """Before anything has come back, and whatever then comes first."""
        leg = self._place(self.number_that_answers)
        await self._hang_up_and_check(leg)

    async def test_hang_up_what_rings(self) -> None:
        leg = self._place(self.number_that_rings)
        await self._until(lambda: Progressed(leg) in self.sink.events)
        await self._hang_up_and_check(leg)

    async def test_hang_up_what_talks(self) -> None:
        leg = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(leg)

    async def test_hang_up_twice_is_one_end(self) -> None:
        """The second joins, or finds the leg gone already."""
        leg = await self._connected(self.number_that_answers)
        self.backend.hang_up(leg, CLIENT)
        try:
            self.backend.hang_up(leg, CLIENT)
        except NoSuchLeg:
            self.assertEqual(len(self.sink.ends(leg)), 1)
        await self._end_of(leg)

    async def test_hang_up_an_unknown_leg(self) -> None:
        """It is refused, never taken for success, and nothing is reported."""
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(LegId(str(uuid4())), CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, [], "nothing is known of this leg to report")

    async def test_hang_up_an_ended_leg(self) -> None:
        leg = self._place(self.number_that_rejects)
        await self._end_of(leg)
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(len(self.sink.ends(leg)), 1)

    async def test_hang_up_a_silent_far_end(self) -> None:
        """It is never called confirmed, and given up within `patience`."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        why = "an accepted command is no end: wait until the far end shows it"
        self.assertEqual(self.sink.ends(leg), [], why)
        ended = await self._end_of(leg)
        self.assertFalse(ended.confirmed, "the far end has confirmed nothing")

    async def test_one_end_does_not_touch_another(self) -> None:
        stays = await self._connected(self.number_that_answers)
        goes = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(goes)
        self.assertEqual(self.sink.ends(stays), [], "nobody asked for the end of this leg")

    # -- the backend itself

    async def test_live_legs_are_listed(self) -> None:
        """As they are, and only while they live."""
        talks = await self._connected(self.number_that_answers)
        gone = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(gone)
        states = {found.leg: found.state for found in await self.backend.legs()}
        self.assertEqual(states.get(talks), CallState.CONNECTED, "legs() must list live legs")
        self.assertNotIn(gone, states, "legs() must not list ended legs")

    async def test_stopped_it_is_silent_and_started_again_it_serves(self) -> None:
        self._place(self.number_that_answers)
        await self._stop()
        before = list(self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, before, "nothing is reported after stop")
        await self.backend.start(self.sink)
        self._started = True
        await self.backend.legs()
        await self._hang_up_and_check(await self._connected(self.number_that_answers))

    # -- helpers

    def _check_numbers(self) -> None:
        for name in ("number_that_answers", "number_that_rings", "number_that_rejects"):
            if not hasattr(self, name):
                self.fail(f"{type(self).__name__} must name a {name}")

    def _number(self, name: str) -> str:
        number: str | None = getattr(self, name)
        if number is None:
            raise SkipTest(f"{type(self).__name__} names no {name}")
        return number

    def _place(self, number: str) -> LegId:
        leg = LegId(str(uuid4()))
        self.backend.place(leg, number)
        return leg

    async def _connected(self, number: str) -> LegId:
        leg = self._place(number)
        await self._until(lambda: Answered(leg) in self.sink.events)
        return leg

    async def _hang_up_and_check(self, leg: LegId) -> None:
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.CLIENT, True), WHO_ENDED)

    async def _end_of(self, leg: LegId) -> Ended:
        """Wait for the end of a leg, and see that nothing follows it."""
        await self._until(lambda: bool(self.sink.ends(leg)))
        await self.wait(self.quiet)
        told = f"a leg ends exactly once; of this one was reported {self.sink.of(leg)}"
        self.assertEqual(len(self.sink.ends(leg)), 1, told)
        last = self.sink.of(leg)[-1]
        assert isinstance(last, Ended), self.sink.of(leg)
        return last

    async def _until(self, happened: Callable[[], bool]) -> None:
        waited = 0.0
        while not happened():
            if waited > self.patience:
                self.fail(
                    f"nothing more within {self.patience} s of the clock that the backend was "
                    f"given; reported: {self.sink.events}"
                )
            await self.wait(self.step)
            waited += self.step


WHO_ENDED = "the cause must say who ended the leg, and `confirmed` whether the far end showed it"
CLIENT = Cause(by=EndedBy.CLIENT)
