"""The contract of the backend door, run against the backends of umd and against broken ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.backends.pbx import FollowingContract
from tests.backends.sip.memory import captured_log
from tests.helpers import EntryPointStub
from umd import backend
from umd.backend import (
    CarriesMedia,
    ChecksFiles,
    Ended,
    FollowsPbx,
    FoundLeg,
    KnownLeg,
    LegBackend,
    LegEvent,
    LegId,
    Media,
    MediaCount,
    MessageTap,
    RestoresLegs,
    ShowsMessages,
    UnknownBackendType,
    backend_types,
    load_backend_type,
)
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.backends.sip import SipBackend
from umd.call.cause import Cause, EndedBy
from umd.testing import FakeBackend, LegBackendContract, RecordingSink


class SimBackendTests(LegBackendContract, TestCase):
    number_that_answers = "+1 555 0100"
    number_that_rings = "+1 555 0180"
    number_that_rejects = "+1 555 0186"
    number_that_hangs_up = "+1 555 0120"
    number_silent_to_bye = "+1 555 0199"
    not_offered = (ChecksFiles, FollowsPbx)

    def make_backend(self) -> LegBackend:
        captured_log(self)
        return SimBackend("sim", SimSection(), self.clock)

    async def test_a_number_that_cannot_be_dialled_ends_as_with_a_pbx(self) -> None:
        sink = RecordingSink()
        backend = SimBackend("sim", SimSection(), self.clock)
        await backend.start(sink)
        self.addCleanup(backend.stop)
        for number in ("", "sips:5550100@far.sim", "5550100\x00"):
            leg = LegId(f"leg {number}")
            backend.place(leg, number)
            (ended,) = sink.ends(leg)
            self.assertEqual((ended.cause.by, ended.cause.q850), (EndedBy.DAEMON, 28))
        # An extension makes no other far end of a number.
        backend.place(LegId("busy"), "tel:+1-555-0186;ext=5550100")
        self.clock.pump([0.1] * 50)
        self.assertEqual(sink.ends(LegId("busy"))[0].cause.sip_status, 486)


class SimWithoutDelayTests(SimBackendTests):
    """Messages of the simulator take no time: each request is answered within one reactor turn."""

    def make_backend(self) -> LegBackend:
        captured_log(self)
        return SimBackend("sim", SimSection(delay="0s"), self.clock)  # type: ignore[arg-type]


class FakeBackendTests(LegBackendContract, TestCase):
    number_that_answers = "answers"
    number_that_rings = "rings"
    number_that_rejects = "rejects"
    number_that_hangs_up = "hangs up"
    number_silent_to_bye = "silent"
    not_offered = (CarriesMedia, ChecksFiles, FollowsPbx, RestoresLegs, ShowsMessages)

    def make_backend(self) -> LegBackend:
        return FakeBackend(clock=self.clock)


class FollowingBackendTests(FollowingContract, TestCase):
    """The backend that follows a PBX in memory passes the contract of backends."""


class Loose(SimBackend):
    """Lets the ACK leave at once, before the answer is recorded."""

    def _when_recorded(self, leg: LegId) -> None:
        self._let_go(leg)


class Recordless(SimBackend):
    """Has no leg record."""

    def leg_record(self, leg: LegId) -> bytes | None:
        return None


class Verbose(SimBackend):
    """Has a leg record that is too large."""

    def leg_record(self, leg: LegId) -> bytes | None:
        return b"x" * (64 * 1024 + 1)


class Forgetful(SimBackend):
    """Restores nothing."""

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        list(known)


class Fragile(SimBackend):
    """Restores no leg once the record of one is damaged."""

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        for leg in known:
            self._restore(leg, self._clock.seconds())


class Credulous(SimBackend):
    """Lists legs that it could not restore."""

    def restore(self, known: Iterable[KnownLeg], *, anew: bool) -> None:
        self._claimed = [
            FoundLeg(leg=leg.leg, state=leg.state, number=leg.number) for leg in known
        ]

    async def legs(self) -> Sequence[FoundLeg]:
        return [*await super().legs(), *self._claimed]


class Mute(SimBackend):
    """Carries no media although it says so."""

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        self.place(leg, number)


class Hasty(SimBackend):
    """Hangs up when the prompt is over."""

    def place_with_media(self, leg: LegId, number: str, media: Media) -> None:
        super().place_with_media(leg, number, media)
        self._clock.callLater(media.prompt_s + 0.5, self.hang_up, leg, self.cause)

    cause = Cause(by=EndedBy.DAEMON)


class Deaf(SimBackend):
    """Counts packets although nothing is recorded."""

    def _report(self, event: LegEvent) -> None:
        if self._sink is not None:
            if isinstance(event, Ended):
                event.media = MediaCount(sent=1, received=1)
            self._sink.leg_event(event)


class Nameless(SimBackend):
    """Shows no messages although it says so."""

    def capture_to(self, tap: MessageTap) -> None:
        pass


class BrokenPluginTests(SynchronousTestCase):
    """The contract finds each mistake that a backend can make with what it offers besides."""

    def check(self, backend_type: type[SimBackend], test: str, reason: str) -> None:
        """Assert that this test of the contract fails for the backend, for this reason."""

        class Contract(SimBackendTests):
            def make_backend(self) -> LegBackend:
                captured_log(self)
                return backend_type("sim", SimSection(), self.clock)

        for broken, expected in ((backend_type, 1), (SimBackend, 0)):
            backend_type = broken
            result = TestResult()
            Contract(test).run(result)
            failures = [str(failure) for _, failure in result.failures + result.errors]
            self.assertEqual(len(failures), expected, failures)
            if expected:
                self.assertIn(reason, failures[0])

    def test_an_ack_before_the_record(self) -> None:
        self.check(Loose, "test_an_answer_waits_until_it_is_recorded", "wait for when_recorded")

    def test_no_leg_record(self) -> None:
        self.check(Recordless, "test_an_answered_leg_has_a_record", "must return bytes")

    def test_a_leg_record_that_is_too_large(self) -> None:
        self.check(Verbose, "test_an_answered_leg_has_a_record", "is too large")

    def test_legs_that_are_not_restored(self) -> None:
        self.check(Forgetful, "test_an_answered_leg_is_restored", "must list a restored leg")

    def test_a_damaged_record_that_stops_the_others(self) -> None:
        test = "test_a_leg_that_cannot_be_restored_is_not_listed"
        self.check(Fragile, test, "Error")

    def test_a_lost_leg_that_is_listed(self) -> None:
        test = "test_a_leg_that_cannot_be_restored_is_not_listed"
        self.check(Credulous, test, "is lost: do not list it")

    def test_media_that_are_not_counted(self) -> None:
        self.check(Mute, "test_the_media_of_a_leg_are_counted", "must have `media`")

    def test_a_leg_that_ends_with_its_prompt(self) -> None:
        self.check(Hasty, "test_the_media_of_a_leg_are_counted", "goes on after its prompt")

    def test_packets_that_were_not_recorded(self) -> None:
        self.check(Deaf, "test_the_media_of_a_leg_are_counted", "do not count")

    def test_messages_that_are_not_shown(self) -> None:
        test = "test_the_messages_it_shows_have_the_name_of_their_leg"
        self.check(Nameless, test, "no message with Call-ID")


class EntryPointTests(SynchronousTestCase):
    def test_the_built_in_backends_are_found_by_entry_points(self) -> None:
        for name, kind in (("sim", SimBackend), ("sip", SipBackend)):
            self.assertIs(load_backend_type(name), kind)
            self.assertIn(name, backend_types())

    def test_an_entry_point_that_is_no_backend_is_refused(self) -> None:
        class Bare(LegBackend):
            Settings = SimSection

        class NoSettings(SimBackend):
            Settings = None  # type: ignore[assignment]

        for offered, why in (
            (lambda: None, "is not a class"),
            (Bare, "has no hang_up, legs, place, start, stop"),
            (object, "has no start, stop, legs, place, hang_up"),
            (NoSettings, "has no Settings derived from umd.config.Section"),
            (ImportError("no module named x"), "cannot be loaded: no module named x"),
        ):
            self.patch(backend, "entry_points", lambda **_: [EntryPointStub(offered)])  # noqa: B023
            with self.assertRaisesRegex(UnknownBackendType, why):
                load_backend_type("any")

    def test_the_error_for_an_unknown_type_lists_the_known_ones(self) -> None:
        with self.assertRaisesRegex(UnknownBackendType, "'simm'.*there is: .*sim"):
            load_backend_type("simm")
