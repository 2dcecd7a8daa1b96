"""The contract of the backend `sim-pbx`, which `umd backend-contract` runs."""

from __future__ import annotations

from umd.backend import CarriesMedia, ChecksFiles, LegId, RestoresLegs, ShowsMessages
from umd.backends.sim_pbx import SimPbxBackend
from umd.backends.sim_pbx.messages import Lie
from umd.backends.sim_pbx.pbx import Pbx
from umd.testing.contract import LegBackendContract


class SimPbxContract(LegBackendContract):
    """The contract of the backend `sim-pbx`; the hooks call its simulated PBX."""

    backend_type = "sim-pbx"
    number_that_answers = "+1 555 0100"
    number_that_rings = "+1 555 0180"
    number_that_rejects = "+1 555 0186"
    number_that_hangs_up = "+1 555 0120"
    number_silent_to_bye = "+1 555 0199"
    not_offered = (CarriesMedia, ChecksFiles, RestoresLegs, ShowsMessages)

    @property
    def pbx(self) -> Pbx:
        """The PBX that the backend follows."""
        assert isinstance(self.backend, SimPbxBackend)
        return self.backend.pbx

    async def pbx_call(self, number: str) -> LegId:
        return LegId(self.pbx.new_call(number))

    async def pbx_ring(self, number: str) -> LegId:
        return LegId(self.pbx.ring(number))

    async def pbx_answer(self, leg: LegId) -> None:
        self.pbx.answer(leg)

    async def pbx_bridge(self, leg: LegId, other: LegId) -> None:
        self.pbx.bridge(leg, other)

    async def pbx_unbridge(self, leg: LegId, other: LegId) -> None:
        self.pbx.unbridge(leg, other)

    async def pbx_rename(self, leg: LegId) -> None:
        self.pbx.masquerade(leg, self.pbx.new_call("5550100"))

    async def pbx_hang_up(self, leg: LegId, q850: int) -> None:
        self.pbx.far_end_hangs_up(leg, q850)

    async def pbx_lose(self, leg: LegId) -> None:
        self.pbx.lose(leg)

    async def pbx_deny_hang_ups(self) -> None:
        self.pbx.lies.add(Lie.OK_AND_NOTHING_DONE)

    async def pbx_disconnect(self) -> None:
        self.pbx.break_connection()

    async def pbx_reconnect(self) -> None:
        self.pbx.allow_connection()

    async def pbx_restart(self) -> None:
        self.pbx.restart()

    def pbx_has(self, leg: LegId) -> bool:
        return self.pbx.holds(leg)

    def pbx_commands(self) -> int:
        return self.pbx.commands
