"""The contract in real time, for a backend whose peer is a real one."""

from __future__ import annotations

from twisted.internet.task import deferLater

from umd.testing.contract.contract import LegBackendContract


class RealTimeContract(LegBackendContract):
    """Runs on the reactor, in real time, so that a backend can reach a PBX over the network."""

    has_clock_alone = False

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits it
        from twisted.internet import reactor

        self.clock = reactor
        await super().setUp()

    async def wait(self, seconds: float) -> None:
        await deferLater(self.clock, seconds)
