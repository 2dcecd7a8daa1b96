"""The behaviours of `start` and `stop`."""

from __future__ import annotations

from umd.testing.contract.base import CLIENT, ContractCase
from umd.testing.contract.behaviour import behaviour


class StoppingRules(ContractCase):
    """`start` and `stop`, again and again."""

    @behaviour("stop.silent")
    async def test_stopped_it_is_silent_and_started_again_it_serves(self) -> None:
        """After `stop` nothing is reported, and a second `start` serves new calls."""
        await self._begin_leg()
        await self._stop()
        before = list(self.sink.reports)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.reports, before, "nothing is reported after stop")
        await self._start()
        await self._hang_up_and_check(await self._talking())

    @behaviour("stop.during-teardown")
    async def test_stop_while_a_leg_ends(self) -> None:
        """`stop` while a leg ends raises nothing, and the end is not reported after it."""
        leg = await self._talking()
        self.backend.hang_up(leg, CLIENT)
        await self._stop()
        before = list(self.sink.reports)
        await self._wait_in_vain()
        self.assertEqual(self.sink.reports, before, "nothing is reported after stop")

    @behaviour("stop.silent-teardown")
    async def test_stop_while_a_far_end_is_silent(self) -> None:
        """`stop` while a far end stays silent forgets the deadline of its end."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        await self._stop()
        before = list(self.sink.reports)
        await self._wait_in_vain()
        self.assertEqual(self.sink.reports, before, "nothing is reported after stop")

    @behaviour("stop.twice")
    async def test_stop_twice(self) -> None:
        """A second `stop` changes nothing."""
        await self._begin_leg()
        await self._stop()
        await self.backend.stop()

    @behaviour("stop.never-started")
    async def test_stop_without_a_start(self) -> None:
        """`stop` of a backend that was never started raises nothing."""
        await self._stop()
        await self.make_backend().stop()

    @behaviour("start.again")
    async def test_start_again_and_again(self) -> None:
        """A backend that was stopped can be started any number of times."""
        for _ in range(3):
            await self._hang_up_and_check(await self._talking())
            await self._stop()
            await self._start()
        await self._hang_up_and_check(await self._talking())

    async def _begin_leg(self) -> None:
        """Begin a leg that `stop` interrupts."""
        if self.can_place:
            self._place(self._number("number_that_answers"))
        else:
            await self._talking()
