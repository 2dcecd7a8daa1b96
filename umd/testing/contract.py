"""
The rules of the backend door as tests: a mixin for trial, run against every backend.

::

    class MyBackendTests(LegBackendContract, TestCase):
        number_that_answers = "100"
        number_that_rings = "101"
        ...
        def make_backend(self):
            return MyBackend("mine", MySection(), self.clock)
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase

from umd.backend import (
    Answered,
    CarriesMedia,
    Ended,
    KnownLeg,
    LegBackend,
    LegId,
    Media,
    NoSuchLeg,
    Progressed,
    RestoresLegs,
    ShowsMessages,
)
from umd.call.call import CallState
from umd.call.cause import NORMAL_CLEARING, Cause, EndedBy
from umd.testing.fakes import RecordingSink
from umd.trace.capture import Capture, sip_call_id

if TYPE_CHECKING:
    _Base = TestCase
else:
    # Not a TestCase by itself: trial would run it wherever it is imported.
    _Base = object

MAX_LEG_RECORD_OCTETS: Final = 64 * 1024
CAPTURED_MESSAGES: Final = 1000
PROMPT_SECONDS: Final = 1.0


class LegBackendContract(_Base):
    """
    Tests a backend by the rules of `umd.backend`; mix it into a trial TestCase.

    The class attributes say which numbers of the backend behave how. What a backend offers besides
    (`ShowsMessages`, `CarriesMedia`, `RestoresLegs`) is tested if it offers it; else the test is
    skipped, or passes if `not_offered` names the option. Two rules cannot be tested here: that no
    method blocks, and what the backend does while its peer cannot be reached.

    Time is a Clock that the tests advance. For a backend that needs real time, set `clock` to the
    reactor and override `wait`.
    """

    number_that_answers: str
    """A number that answers, and stays until it is hung up."""
    number_that_rings: str
    """A number that rings and never answers."""
    number_that_rejects: str
    """A number that rejects the call, for example because it is busy."""
    number_that_hangs_up: str | None = None
    """A number that answers, then hangs up by itself; None: none, its test is skipped."""
    number_silent_to_bye: str | None = None
    """A number that answers and never confirms its end; None: none, its test is skipped."""
    not_offered: tuple[type, ...] = ()
    """The options that the backend does not offer on purpose."""
    patience = 40.0
    """Seconds within which every expected event comes."""
    quiet = 2.0
    """Seconds during which the tests watch for events that must not come."""
    has_clock_alone = True
    """Whether only the backend sets timers on the Clock; then `stop` must leave none."""
    step = 0.05
    """Seconds from one look at the events to the next."""

    clock: Any
    backend: LegBackend
    sink: RecordingSink

    def make_backend(self) -> LegBackend:
        """
        Return a new backend on `self.clock`, not started.

        The tests of `RestoresLegs` call it a second time, for the backend after a restart: the
        second one must reach the same peer.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_backend")

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self._check_numbers()
        if not hasattr(self, "clock"):
            self.clock = Clock()
        self._make_backend()
        await self.backend.start(self.sink)
        self._started = True
        self.addCleanup(self._stop)

    def _make_backend(self) -> None:
        self.backend = self.make_backend()
        self.sink = RecordingSink(self.backend)
        self.capture = Capture(CAPTURED_MESSAGES, self.clock.seconds)
        if isinstance(self.backend, ShowsMessages):
            self.backend.capture_to(self.capture.tap)

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
        """The far end may ring; it answers once, and the leg stays."""
        leg = self._place(self.number_that_answers)
        await self._until(lambda: Answered(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.of(leg)[-1], Answered(leg))
        self.assertLessEqual(self.sink.of(leg).count(Answered(leg)), 1)

    async def test_a_call_rings(self) -> None:
        """Ringing is reported, and nothing else."""
        leg = self._place(self.number_that_rings)
        await self._until(lambda: Progressed(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(set(self.sink.of(leg)), {Progressed(leg)})

    async def test_a_call_is_rejected(self) -> None:
        """The far end ends the leg, once, with a cause that is not normal clearing."""
        leg = self._place(self.number_that_rejects)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WRONG_END)
        why = "a rejection is no normal clearing: pass on the cause of the far end"
        self.assertNotEqual(ended.cause.q850, NORMAL_CLEARING, why)

    async def test_a_far_end_hangs_up_by_itself(self) -> None:
        """The far end ends the leg."""
        leg = self._place(self._number("number_that_hangs_up"))
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WRONG_END)

    # -- hanging up

    async def test_hang_up_what_was_just_placed(self) -> None:
        """A leg ends although nothing has come back yet, whatever comes back then."""
        leg = self._place(self.number_that_answers)
        await self._hang_up_and_check(leg)

    async def test_hang_up_what_rings(self) -> None:
        """A ringing leg ends."""
        leg = self._place(self.number_that_rings)
        await self._until(lambda: Progressed(leg) in self.sink.events)
        await self._hang_up_and_check(leg)

    async def test_hang_up_what_talks(self) -> None:
        """An answered leg ends."""
        leg = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(leg)

    async def test_hang_up_twice_is_one_end(self) -> None:
        """A second `hang_up` joins the first, or raises NoSuchLeg if the leg has ended already."""
        leg = await self._connected(self.number_that_answers)
        self.backend.hang_up(leg, CLIENT)
        try:
            self.backend.hang_up(leg, CLIENT)
        except NoSuchLeg:
            self.assertEqual(len(self.sink.ends(leg)), 1)
        await self._end_of(leg)

    async def test_hang_up_an_unknown_leg(self) -> None:
        """It raises NoSuchLeg, and nothing is reported."""
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(LegId(str(uuid4())), CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, [], "nothing is known of this leg to report")

    async def test_hang_up_an_ended_leg(self) -> None:
        """It raises NoSuchLeg, and no second end is reported."""
        leg = self._place(self.number_that_rejects)
        await self._end_of(leg)
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(len(self.sink.ends(leg)), 1)

    async def test_hang_up_a_silent_far_end(self) -> None:
        """The end is reported within `patience`, and not as confirmed."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        why = "an accepted command is no end: wait until the far end confirms it"
        self.assertEqual(self.sink.ends(leg), [], why)
        ended = await self._end_of(leg)
        self.assertFalse(ended.confirmed, "the far end has confirmed nothing")

    async def test_one_end_does_not_touch_another(self) -> None:
        """The end of one leg leaves another to the same number as it is."""
        stays = await self._connected(self.number_that_answers)
        goes = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(goes)
        self.assertEqual(self.sink.ends(stays), [], "the end of this leg was not requested")

    # -- the backend itself

    async def test_live_legs_are_listed(self) -> None:
        """`legs` returns the legs that live, with their state, and no others."""
        talks = await self._connected(self.number_that_answers)
        gone = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(gone)
        states = await self._states()
        self.assertEqual(states.get(talks), CallState.CONNECTED, "legs() must list live legs")
        self.assertNotIn(gone, states, "legs() must not list ended legs")

    async def test_stopped_it_is_silent_and_started_again_it_serves(self) -> None:
        """After `stop` nothing is reported, and a second `start` serves new calls."""
        self._place(self.number_that_answers)
        await self._stop()
        before = list(self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, before, "nothing is reported after stop")
        await self.backend.start(self.sink)
        self._started = True
        await self.backend.legs()
        await self._hang_up_and_check(await self._connected(self.number_that_answers))

    # -- what it may offer besides

    async def test_the_messages_it_shows_have_the_name_of_their_leg(self) -> None:
        """`ShowsMessages`: the Call-ID of a message is the leg's name, so `umd trace` finds it."""
        if not self._offers(ShowsMessages):
            return
        leg = await self._connected(self.number_that_answers)
        await self._hang_up_and_check(leg)
        self.assertTrue(self._messages_of(leg), f"no message with Call-ID {leg} was shown")

    async def test_the_media_of_a_leg_are_counted(self) -> None:
        """`CarriesMedia`: a leg goes on after its prompt, and its `Ended` counts the packets."""
        if not self._offers(CarriesMedia):
            return
        assert isinstance(self.backend, CarriesMedia)
        leg = LegId(str(uuid4()))
        media = Media(prompt=self._make_prompt(), prompt_s=PROMPT_SECONDS)
        self.backend.place_with_media(leg, self.number_that_answers, media)
        await self._until(lambda: Answered(leg) in self.sink.events)
        for _ in range(10):  # in steps, since each message needs a turn of a Clock
            await self.wait((PROMPT_SECONDS + self.quiet) / 10)
        self.assertEqual(self.sink.ends(leg), [], "a leg goes on after its prompt")
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        assert ended.media is not None, "the Ended of a leg with media must have `media`"
        self.assertGreater(ended.media.sent, 0, "the prompt was sent: count its packets")
        self.assertEqual(ended.media.received, 0, "packets that are not recorded do not count")

    async def test_an_answer_waits_until_it_is_recorded(self) -> None:
        """`RestoresLegs`: the ACK is sent only after the callback of `when_recorded`."""
        if not self._offers(RestoresLegs):
            return
        await self._start_with_journal([], anew=True)
        self.sink.holds = True
        leg = await self._connected(self.number_that_answers)
        await self.wait(self.quiet)
        self.assertTrue(
            self.sink.held,
            "report Answered, then wait for when_recorded before the far end gets its ACK",
        )
        if isinstance(self.backend, ShowsMessages):
            self.assertNotIn("ACK", self._methods_of(leg), "the ACK left before the record")
        self.sink.release()
        if isinstance(self.backend, ShowsMessages):
            await self._until(lambda: "ACK" in self._methods_of(leg))
        await self._hang_up_and_check(leg)

    async def test_an_answered_leg_has_a_record(self) -> None:
        """`RestoresLegs`: `leg_record` returns octets, at most 64 KiB, when a leg is answered."""
        if not self._offers(RestoresLegs):
            return
        await self._start_with_journal([], anew=True)
        leg = await self._connected(self.number_that_answers)
        record = self.sink.leg_records.get(leg)
        assert isinstance(record, bytes), (
            f"leg_record must return bytes for an answered leg, not {record!r}: without a record "
            "no umd can end it after a restart"
        )
        self.assertLessEqual(len(record), MAX_LEG_RECORD_OCTETS, "a leg record is too large")

    async def test_an_answered_leg_is_restored(self) -> None:
        """`RestoresLegs`: after a restart an answered leg is listed, and can be ended."""
        if not self._offers(RestoresLegs):
            return
        await self._start_with_journal([], anew=True)
        leg = await self._connected(self.number_that_answers)
        record = self.sink.leg_records.get(leg)
        await self._start_with_journal([self._known(leg, record)], anew=False)
        why = "legs() must list a restored leg"
        self.assertEqual((await self._states()).get(leg), CallState.CONNECTED, why)
        await self._hang_up_and_check(leg)

    async def test_a_leg_that_cannot_be_restored_is_not_listed(self) -> None:
        """`RestoresLegs`: a leg with a damaged or missing record is lost, and no other."""
        if not self._offers(RestoresLegs):
            return
        await self._start_with_journal([], anew=True)
        leg = await self._connected(self.number_that_answers)
        record = self.sink.leg_records.get(leg)
        damaged, unrecorded = LegId("damaged"), LegId("unrecorded")
        await self._start_with_journal(
            [
                self._known(damaged, b"\xff not a leg record"),
                self._known(unrecorded, None),
                self._known(leg, record),
            ],
            anew=False,
        )
        states = await self._states()
        self.assertNotIn(damaged, states, "a leg whose record is damaged is lost: do not list it")
        self.assertNotIn(unrecorded, states, "an answered leg without a record is lost")
        self.assertIn(leg, states, "one leg that is lost must not keep the others from restoring")
        self.assertEqual(self.sink.ends(damaged) + self.sink.ends(unrecorded), [])

    async def _start_with_journal(self, known: list[KnownLeg], *, anew: bool) -> None:
        """Start a new backend in place of the one that runs, as a umd with a journal does."""
        await self._stop()
        self._make_backend()
        assert isinstance(self.backend, RestoresLegs)
        self.backend.restore(known, anew=anew)
        await self.backend.start(self.sink)
        self._started = True

    def _known(self, leg: LegId, record: bytes | None) -> KnownLeg:
        return KnownLeg(
            leg=leg,
            state=CallState.CONNECTED,
            number=self.number_that_answers,
            age=1.0,
            record=record,
        )

    def _messages_of(self, leg: LegId) -> list[Any]:
        return [message for *_, message in self.capture.messages() if sip_call_id(message) == leg]

    def _methods_of(self, leg: LegId) -> list[str]:
        return [getattr(message, "method", "") for message in self._messages_of(leg)]

    def _make_prompt(self) -> str:
        """Write a silent WAV file of `PROMPT_SECONDS`: 8 kHz, mono, 16 bits."""
        path = str(self.mktemp())
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(int(8000 * PROMPT_SECONDS) * 2))
        return path

    async def _states(self) -> dict[LegId, CallState]:
        return {found.leg: found.state for found in await self.backend.legs()}

    # -- helpers

    def _check_numbers(self) -> None:
        for name in ("number_that_answers", "number_that_rings", "number_that_rejects"):
            if not hasattr(self, name):
                self.fail(f"{type(self).__name__} must set {name}")

    def _offers(self, option: type) -> bool:
        """Return whether to test an option. Skip the test if nothing says that it is missing."""
        if option in self.not_offered:
            self.assertFalse(isinstance(self.backend, option), f"it offers {option.__name__}")
            return False
        if not isinstance(self.backend, option):
            raise SkipTest(f"the backend does not offer {option.__name__}; see not_offered")
        return True

    def _number(self, name: str) -> str:
        number: str | None = getattr(self, name)
        if number is None:
            raise SkipTest(f"{type(self).__name__} has no {name}")
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
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.CLIENT, True), WRONG_END)

    async def _end_of(self, leg: LegId) -> Ended:
        """Wait for the end of a leg, and check that nothing follows it."""
        await self._until(lambda: bool(self.sink.ends(leg)))
        await self.wait(self.quiet)
        why = f"a leg ends exactly once; reported of this one: {self.sink.of(leg)}"
        self.assertEqual(len(self.sink.ends(leg)), 1, why)
        last = self.sink.of(leg)[-1]
        assert isinstance(last, Ended), self.sink.of(leg)
        return last

    async def _until(self, happened: Callable[[], bool]) -> None:
        waited = 0.0
        while not happened():
            if waited > self.patience:
                self.fail(
                    f"nothing more was reported within {self.patience} s of the backend's clock; "
                    f"reported: {self.sink.events}"
                )
            await self.wait(self.step)
            waited += self.step


WRONG_END = (
    "the cause must say which side ended the leg, and `confirmed` whether the far end confirmed it"
)
CLIENT = Cause(by=EndedBy.CLIENT)
