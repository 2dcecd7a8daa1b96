"""The contract of the backend door, run against what umd ships."""

from twisted.trial.unittest import SynchronousTestCase, TestCase

from umd.backend import LegBackend, UnknownBackendType, backend_types, load_backend_type
from umd.backends.sim import SimBackend, SimSection
from umd.testing import FakeBackend, LegBackendContract


class SimBackendTests(LegBackendContract, TestCase):
    number_that_answers = "+1 555 0100"
    number_that_rings = "+1 555 0180"
    number_that_rejects = "+1 555 0186"
    number_that_hangs_up = "+1 555 0120"
    number_silent_to_bye = "+1 555 0199"

    def make_backend(self) -> LegBackend:
        return SimBackend("sim", SimSection(), self.clock)


class FakeBackendTests(LegBackendContract, TestCase):
    number_that_answers = "answers"
    number_that_rings = "rings"
    number_that_rejects = "rejects"
    number_that_hangs_up = "hangs up"
    number_silent_to_bye = "silent"

    def make_backend(self) -> LegBackend:
        return FakeBackend(clock=self.clock)


class EntryPointTests(SynchronousTestCase):
    def test_the_simulator_is_found_as_any_plugin_is(self) -> None:
        self.assertIs(load_backend_type("sim"), SimBackend)
        self.assertIn("sim", backend_types())

    def test_an_unknown_type_names_what_there_is(self) -> None:
        with self.assertRaisesRegex(UnknownBackendType, "'simm'.*there is: .*sim"):
            load_backend_type("simm")
