"""The contract of backends catches each backend that breaks one rule."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.backends import mutants
from tests.backends.mutants_following import NeverGivesUpOnPbx
from tests.backends.pbx import FollowingBackend, FollowingContract
from umd.backends.sim import SimBackend
from umd.backends.sip import SipBackend
from umd.testing import FakeBackend, LegBackendContract
from umd.testing.contract.behaviour import behaviours
from umd.testing.matrix import Result, run_contract


class MutantTests(SynchronousTestCase):
    def test_each_mutant_is_caught(self) -> None:
        """Each broken rule makes the behaviours fail that are about it."""
        for mutant in mutants.mutants():
            missed = set(mutant.caught_by) - set(mutants.failing(mutant.contract))
            self.assertEqual(missed, set(), f"{mutant.name}: {mutant.breaks}")

    def test_each_mutant_breaks_one_rule(self) -> None:
        """There are many, and each says what it breaks."""
        found = list(mutants.mutants())
        self.assertGreaterEqual(len(found), 70)
        self.assertEqual(len({mutant.name for mutant in found}), len(found))
        ids = {behaviour.id for behaviour in behaviours(LegBackendContract)}
        for mutant in found:
            self.assertTrue(mutant.breaks.endswith("."), mutant.name)
            self.assertTrue(mutant.caught_by and ids.issuperset(mutant.caught_by), mutant.name)

    def test_each_behaviour_that_a_mutant_breaks_passes_without_it(self) -> None:
        """The backends that the mutants are made of fail nothing."""
        for base, kind in (
            (mutants.FakeContract, FakeBackend),
            (mutants.SimMutantContract, SimBackend),
            (mutants.SipMutantContract, SipBackend),
            (FollowingContract, FollowingBackend),
        ):
            sound = type("Sound", (base,), {"kind": kind})
            self.assertEqual(mutants.failing(sound), [], kind.__name__)

    def test_each_behaviour_catches_a_mutant(self) -> None:
        """No behaviour passes whatever a backend does."""
        caught = {id for mutant in mutants.mutants() for id in mutants.failing(mutant.contract)}
        ids = [behaviour.id for behaviour in behaviours(LegBackendContract)]
        self.assertEqual([id for id in ids if id not in caught], [])

    def test_the_table(self) -> None:
        """The printed table has a row for each mutant, with the behaviours that fail."""
        for name in ("FAKE_MUTANTS", "SIM_MUTANTS", "SIP_MUTANTS"):
            self.patch(mutants, name, {})
        self.patch(mutants, "FOLLOWING_MUTANTS", {NeverGivesUpOnPbx: ("follow.denied",)})
        self.assertEqual(
            list(mutants.table())[2:],
            [
                "| NeverGivesUpOnPbx | Waits for ever for a PBX that accepts a command and does "
                "nothing. | follow.denied |"
            ],
        )

    def test_ctrl_c_ends_the_run(self) -> None:
        class Interrupted(FollowingContract):
            async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
                raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            list(run_contract(Interrupted))

    def test_an_error_is_told_in_one_line(self) -> None:
        class Failing(FollowingContract):
            async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
                raise ValueError("first\nsecond")

        row = next(run_contract(Failing))
        self.assertIs(row.result, Result.FAIL)
        self.assertEqual(row.why, "ValueError: first second")
