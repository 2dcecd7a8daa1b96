"""The behaviours of a backend whose connection to its PBX breaks and is made again."""

from __future__ import annotations

from umd.backend import BackendUnavailable, CannotPlace, FollowsPbx, LegId
from umd.call.cause import EndedBy
from umd.testing.contract.base import CLIENT, PBX_NUMBER
from umd.testing.contract.behaviour import behaviour
from umd.testing.contract.following import FollowingRules


class OutageRules(FollowingRules):
    """`backend_down`, `backend_up`, and what umd can rely on between and after them."""

    @behaviour("down.reported")
    async def test_an_outage_is_reported_once(self) -> None:
        """A broken connection is reported once, by `backend_down` with a reason; no leg ends."""
        legs = await self._legs_before_outage()
        await self._go_down()
        await self.wait(self.quiet)
        (report,) = self.sink.health
        self.assertRegex(report, "^down: .+")
        self.assertEqual([leg for leg in legs if self.sink.ends(leg)], [])

    @behaviour("down.hang-up")
    async def test_hang_up_during_an_outage(self) -> None:
        """`hang_up` during an outage raises BackendUnavailable, and no command follows it later."""
        leg, *_ = await self._legs_before_outage()
        before = self.pbx_commands()
        await self._go_down()
        with self.assertRaises(BackendUnavailable):
            self.backend.hang_up(leg, CLIENT)
        await self._come_up()
        await self.wait(self.quiet)
        self.assertEqual(self.pbx_commands(), before, "umd repeats the command, not the backend")
        self.assertTrue(self.pbx_has(leg))
        self.assertEqual(self.sink.ends(leg), [])

    @behaviour("down.place")
    async def test_place_during_an_outage(self) -> None:
        """`place` during an outage raises BackendUnavailable, and no event follows."""
        await self._go_down()
        leg = LegId("placed-during-outage")
        with self.assertRaises((BackendUnavailable, CannotPlace)):
            self.backend.place(leg, PBX_NUMBER)
        await self._come_up()
        await self.wait(self.quiet)
        self.assertEqual(self.sink.of(leg), [])
        self.assertNotIn(leg, await self._listed())

    @behaviour("down.legs")
    async def test_legs_are_not_known_during_an_outage(self) -> None:
        """`legs` and `look_up` during an outage raise BackendUnavailable: nothing is known then."""
        leg, *_ = await self._legs_before_outage()
        await self._go_down()
        # As a coroutine, since assertRaises of trial takes a Deferred only.
        with self.assertRaises(BackendUnavailable):
            await self.backend.legs()
        if isinstance(self.backend, FollowsPbx):
            with self.assertRaises(BackendUnavailable):
                await self.backend.look_up(leg)

    @behaviour("down.teardown")
    async def test_an_outage_during_a_teardown(self) -> None:
        """A connection that breaks while a leg ends confirms nothing by itself."""
        leg, *_ = await self._legs_before_outage()
        await self.pbx_deny_hang_ups()
        self.backend.hang_up(leg, CLIENT)
        await self._go_down()
        await self.wait(self.quiet)
        self.assertEqual([end for end in self.sink.ends(leg) if end.confirmed], [])
        self.assertTrue(self.pbx_has(leg))

    @behaviour("down.stop")
    async def test_stop_during_an_outage(self) -> None:
        """`stop` during an outage raises nothing, and the backend does not come up after it."""
        await self._go_down()
        await self._stop()
        before = list(self.sink.health)
        await self.pbx_reconnect()
        await self._wait_in_vain()
        self.assertEqual(self.sink.health, before, "nothing is reported after stop")

    @behaviour("up.reported")
    async def test_each_outage_has_its_end(self) -> None:
        """`backend_down` and `backend_up` take turns, one of each for each outage."""
        for _ in range(2):
            await self._go_down()
            await self.wait(self.quiet)
            await self._come_up()
            await self.wait(self.quiet)
        self.assertEqual(
            [report.partition(":")[0] for report in self.sink.health], ["down", "up"] * 2
        )

    @behaviour("up.legs")
    async def test_the_legs_after_an_outage(self) -> None:
        """After `backend_up`, `legs` has the calls that stayed and those that began meanwhile."""
        legs = await self._legs_before_outage()
        await self._go_down()
        began = await self.pbx_call(PBX_NUMBER)
        await self._come_up()
        self.assertEqual(set(await self._listed()), {*legs, began})
        await self.wait(self.quiet)
        self.assertEqual([leg for leg in legs if self.sink.ends(leg)], [])

    @behaviour("up.ended")
    async def test_what_ended_during_an_outage(self) -> None:
        """A leg that ended during an outage is reported before `backend_up`, or is not listed."""
        ended, stays = await self._legs_before_outage()
        await self._go_down()
        await self.pbx_hang_up(ended, q850=16)
        await self._come_up()
        reported = len(self._last_events(ended))
        self.assertEqual(set(await self._listed()), {stays})
        await self.wait(self.quiet)
        self.assertLessEqual(len(self._last_events(ended)), 1)
        self.assertEqual(len(self._last_events(ended)), reported, "report it before backend_up")

    @behaviour("up.silent")
    async def test_nothing_is_confirmed_by_an_outage(self) -> None:
        """A leg that ended during an outage is not confirmed as ended by umd's request."""
        leg, _ = await self._legs_before_outage()
        await self._go_down()
        await self.pbx_hang_up(leg, q850=16)
        await self._come_up()
        await self.wait(self.quiet)
        for end in self.sink.ends(leg):
            self.assertIsNot(end.cause.by, EndedBy.CLIENT)

    @behaviour("up.hang-up")
    async def test_hang_up_after_an_outage(self) -> None:
        """After `backend_up`, `hang_up` ends legs of before the outage and of the outage."""
        leg, _ = await self._legs_before_outage()
        await self._go_down()
        began = await self.pbx_call(PBX_NUMBER)
        await self._come_up()
        await self._listed()
        for ending in (leg, began):
            await self._hang_up_and_check(ending)
            self.assertFalse(self.pbx_has(ending))

    @behaviour("up.follows")
    async def test_calls_are_found_after_an_outage(self) -> None:
        """After `backend_up`, a call that appears is found, and one that ends has its end."""
        leg, _ = await self._legs_before_outage()
        await self._go_down()
        await self._come_up()
        await self._listed()
        await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_hang_up(leg, q850=16)
        await self._end_of(leg)

    @behaviour("up.changes")
    async def test_what_changed_during_an_outage(self) -> None:
        """After `backend_up`, `legs` has the partners that changed during the outage."""
        first, second = await self._legs_before_outage()
        await self._go_down()
        await self.pbx_bridge(first, second)
        await self._come_up()
        listed = await self._listed()
        self.assertEqual(listed[first].partners, (second,))
        self.assertEqual(listed[second].partners, (first,))

    @behaviour("up.pbx-restarted")
    async def test_the_pbx_was_restarted(self) -> None:
        """After a restart of the PBX its calls are gone: not listed, and not confirmed as ended."""
        legs = await self._legs_before_outage()
        await self.pbx_restart()
        await self._until(lambda: "up" in self.sink.health)
        self.assertEqual(set(await self._listed()), set())
        await self.wait(self.quiet)
        for leg in legs:
            self.assertLessEqual(len(self._last_events(leg)), 1)
            self.assertEqual([end for end in self.sink.ends(leg) if end.confirmed], [])

    @behaviour("snapshot.at-start")
    async def test_calls_of_before_the_start(self) -> None:
        """Calls that begin while umd is stopped are in `legs` after the start, and are followed."""
        await self._stop()
        leg = await self.pbx_call(PBX_NUMBER)
        await self._start()
        await self._until_up()
        self.assertIn(leg, await self._listed())
        await self.pbx_hang_up(leg, q850=16)
        await self._end_of(leg)

    @behaviour("snapshot.no-gap")
    async def test_a_call_between_start_and_list(self) -> None:
        """A call that begins between `start` and `legs` is listed or found, so none is missed."""
        await self._stop()
        await self._start(lists=False)
        earlier = await self.pbx_call(PBX_NUMBER)
        await self.wait(self.step)
        await self._until_up()
        legs = {earlier, await self.pbx_call(PBX_NUMBER)}
        listed = set(await self._listed())
        await self._until(lambda: legs <= listed | {found.leg for found in self.sink.found})
        await self.wait(self.quiet)
        for leg in legs:
            await self._hang_up_and_check(leg)

    @behaviour("snapshot.no-double")
    async def test_a_call_that_ends_between_start_and_list(self) -> None:
        """A call that ends between `start` and `legs` is not listed, and not found after it."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self._stop()
        await self._start(lists=False)
        await self._until_up()
        await self.pbx_hang_up(leg, q850=16)
        await self.wait(self.quiet)
        self.assertNotIn(leg, await self._listed())
        self.assertLessEqual(len(self._last_events(leg)), 1)

    # -- helpers

    async def _legs_before_outage(self) -> tuple[LegId, LegId]:
        """Return two legs that the backend follows when the connection breaks."""
        first = await self._found(await self.pbx_call(PBX_NUMBER))
        return first, await self._found(await self.pbx_call(PBX_NUMBER))

    async def _go_down(self) -> None:
        """Break the connection, and wait until the backend has noticed."""
        before = len(self.sink.health)
        await self.pbx_disconnect()
        await self._until(lambda: len(self.sink.health) > before)

    async def _come_up(self) -> None:
        """Let the backend connect again, and wait until it has."""
        await self.pbx_reconnect()
        await self._until_up()

    async def _until_up(self) -> None:
        await self._until(lambda: not self.sink.health or self.sink.health[-1] == "up")
