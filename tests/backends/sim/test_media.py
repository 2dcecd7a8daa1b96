"""The RTP packets of simulated calls are counted."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.backend import Ended, LegId, Media, MediaCount
from umd.backends.sim import SimBackend
from umd.backends.sim.media import MediaCounter
from umd.backends.sim.section import SimSection
from umd.call.cause import Cause, EndedBy
from umd.testing import RecordingSink

CAUSE = Cause(by=EndedBy.CLIENT)
LEG = LegId("leg")


class SimulatedMediaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.backend = SimBackend("sim", SimSection(), self.clock)
        self.sink = RecordingSink()
        self.successResultOf(ensureDeferred(self.backend.start(self.sink)))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def count(self, media: Media, seconds: float, number: str = "5550101") -> MediaCount | None:
        """Return the packet counts of a call that was ended this long after it was placed."""
        self.backend.place_with_media(LEG, number, media)
        self.pass_time(seconds)
        self.backend.hang_up(LEG, CAUSE)
        self.pass_time(1.0)
        (ended,) = self.sink.ends(LEG)
        return ended.media

    def test_complete_prompt(self) -> None:
        count = self.count(Media(prompt="x.wav", prompt_s=0.5), 10.0)
        self.assertEqual(count, MediaCount(sent=25, received=0))

    def test_interrupted_prompt(self) -> None:
        count = self.count(Media(prompt="x.wav", prompt_s=60.0), 10.0)
        assert count is not None
        self.assertTrue(495 <= count.sent <= 500, count)

    def test_recording_after_the_prompt(self) -> None:
        count = self.count(Media(prompt="x.wav", prompt_s=4.0, record_to="y.wav"), 10.0)
        assert count is not None
        self.assertEqual(count.sent, 200)
        self.assertTrue(295 <= count.received <= 300, count)

    def test_unanswered_call(self) -> None:
        media = Media(prompt="x.wav", prompt_s=4.0, record_to="y.wav")
        self.assertEqual(self.count(media, 10.0, "5550180"), MediaCount(sent=0, received=0))

    def test_call_without_media(self) -> None:
        self.backend.place(LEG, "5550101")
        self.pass_time(1.0)
        self.backend.hang_up(LEG, CAUSE)
        self.pass_time(1.0)
        self.assertEqual([ended.media for ended in self.sink.ends(LEG)], [None])

    def test_ended_leg_is_forgotten(self) -> None:
        counter = MediaCounter()
        counter.expect(LEG, Media(prompt="x.wav", prompt_s=4.0))
        counter.count(Ended(LEG, CAUSE), 0.0)
        again = Ended(LEG, CAUSE)
        self.assertIs(counter.count(again, 0.0), again)
