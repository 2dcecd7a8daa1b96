"""The contract of the backend door, run against the backends of umd and against broken ones."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.backends.pbx import FollowingContract
from tests.backends.sip.memory import captured_log
from tests.helpers import EntryPointStub
from umd import backend
from umd.backend import (
    CarriesMedia,
    ChecksFiles,
    FollowsPbx,
    LegBackend,
    LegId,
    RestoresLegs,
    ShowsMessages,
    UnknownBackendType,
    backend_types,
    load_backend_type,
)
from umd.backends.sim import SimBackend
from umd.backends.sim.section import SimSection
from umd.backends.sip import SipBackend
from umd.call.cause import EndedBy
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
