"""The example plugin of umd 0.1, kept as it was: it runs with this umd without a change."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import TestResult

from twisted.trial.unittest import SynchronousTestCase

from umd.testing import LegBackendContract
from umd.testing.contract.behaviour import behaviours

PLUGIN = Path(__file__).parents[1] / "data" / "plugins" / "loopback-0.1"
TESTS_OF_0_1 = (
    *("a_call_is_answered", "a_call_rings", "a_call_is_rejected"),
    *("a_far_end_hangs_up_by_itself", "hang_up_what_was_just_placed", "hang_up_what_rings"),
    *("hang_up_what_talks", "hang_up_twice_is_one_end", "hang_up_an_unknown_leg"),
    *("hang_up_an_ended_leg", "hang_up_a_silent_far_end", "one_end_does_not_touch_another"),
    *("live_legs_are_listed", "stopped_it_is_silent_and_started_again_it_serves"),
    *("the_messages_it_shows_have_the_name_of_their_leg", "the_media_of_a_leg_are_counted"),
    *("an_answer_waits_until_it_is_recorded", "an_answered_leg_has_a_record"),
    *("an_answered_leg_is_restored", "a_leg_that_cannot_be_restored_is_not_listed"),
)
"""The tests of the contract of umd 0.1, by which a plugin may skip one."""


class OldPluginTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Import the plugin in place of the one that is installed, until the test ends."""
        installed = _forget_plugin()
        self.addCleanup(sys.modules.update, installed)
        self.addCleanup(_forget_plugin)
        self.patch(sys, "path", [str(PLUGIN), *sys.path])

    def contract(self) -> Any:
        tests: ModuleType = import_module("umd_loopback.test_umd_loopback")
        self.assertTrue(str(tests.__file__).startswith(str(PLUGIN)))
        return tests.LoopbackContractTests

    def test_it_passes_the_contract_of_this_umd(self) -> None:
        contract, passed = self.contract(), []
        for behaviour in behaviours(contract):
            result = TestResult()
            contract(behaviour.test).run(result)
            failures = [text for _, text in result.failures + result.errors]
            self.assertEqual(failures, [], behaviour.id)
            if not result.skipped:
                passed.append(behaviour.test.removeprefix("test_"))
        self.assertLessEqual(set(TESTS_OF_0_1), set(passed))
        self.assertGreaterEqual(len(passed), 40)

    def test_the_tests_of_the_old_contract_keep_their_names(self) -> None:
        for name in TESTS_OF_0_1:
            self.assertTrue(hasattr(LegBackendContract, f"test_{name}"), name)


def _forget_plugin() -> dict[str, ModuleType]:
    """Remove the plugin from the imported modules; return what was removed."""
    names = [name for name in sys.modules if name.split(".")[0] == "umd_loopback"]
    return {name: sys.modules.pop(name) for name in names}
