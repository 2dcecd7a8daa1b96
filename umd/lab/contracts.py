"""The contracts of the built-in backends, which `umd backend-contract` runs."""

from __future__ import annotations

from twisted.internet.task import Clock

from umd.backend import CarriesMedia, ChecksFiles, FollowsPbx
from umd.backends.sim.section import SimSection
from umd.lab.clock import ProcessReactor, VirtualClock
from umd.lab.virtual_udp import PEER_ADDRESS, UMD_ADDRESS, UdpNetwork
from umd.testing.contract import LegBackendContract


class _BuiltIn(LegBackendContract):
    """The numbers of the far ends of the simulator."""

    number_that_answers = "+1 555 0100"
    number_that_rings = "+1 555 0180"
    number_that_rejects = "+1 555 0186"
    number_that_hangs_up = "+1 555 0120"
    number_silent_to_bye = "+1 555 0199"


class SimContract(_BuiltIn):
    """The contract of the backend `sim`."""

    backend_type = "sim"
    not_offered = (ChecksFiles, FollowsPbx)


class SipContract(_BuiltIn):
    """The contract of the backend `sip`, with the simulator's far ends over a virtual UDP."""

    backend_type = "sip"
    section = {
        "listen": f"udp:{UMD_ADDRESS.host}:{UMD_ADDRESS.port}",
        "peer": f"udp:{PEER_ADDRESS.host}:{PEER_ADDRESS.port}",
    }
    fixed_keys = ("listen", "peer")
    not_offered = (CarriesMedia, FollowsPbx)
    has_clock_alone = False  # the far ends and the network are on it too

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        self._time: Clock = VirtualClock()
        udp = UdpNetwork(SimSection(), self._time)
        self.clock = ProcessReactor(self._time, udp.port)
        await super().setUp()

    async def wait(self, seconds: float) -> None:
        self._time.advance(seconds)
