"""The contract of the backend door, run against the backend `sim-pbx`."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from umd.backend import LegBackend, Proof
from umd.backends.sim_pbx import SimPbxBackend
from umd.backends.sim_pbx.section import SimPbxSection
from umd.lab.pbx_contract import SimPbxContract


class SimPbxTests(SimPbxContract, TestCase):
    def make_backend(self) -> LegBackend:
        return SimPbxBackend("pbx", SimPbxSection(), self.clock)


class SecondLookTests(SimPbxContract, TestCase):
    """The PBX mirrors no message, but lists a call until its far end has answered."""

    def make_backend(self) -> LegBackend:
        settings = SimPbxSection(witness=False, lists_until_answered=True)
        return SimPbxBackend("pbx", settings, self.clock)

    async def test_a_rejection_is_shown_by_the_far_end(self) -> None:
        """Without a mirrored message a second look shows that a rejected call is over."""
        ended = await self._end_of(self._place(self.number_that_rejects))
        self.assertIs(ended.shown_by, Proof.SECOND_LOOK)
