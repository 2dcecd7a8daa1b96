"""The behaviours of `legs`."""

from __future__ import annotations

from math import isfinite

from umd.backend import Answered, Direction, FoundLeg
from umd.call.call import CallState
from umd.testing.contract.base import CLIENT, ContractCase
from umd.testing.contract.behaviour import behaviour

MAX_NAME_LENGTH = 255
LIVE_STATES = (CallState.CONNECTING, CallState.ALERTING, CallState.CONNECTED)


class ListingRules(ContractCase):
    """What `legs` returns."""

    @behaviour("list.live")
    async def test_live_legs_are_listed(self) -> None:
        """`legs` returns the legs that live, with their state, and no others."""
        talks = await self._talking()
        gone = await self._talking()
        await self._hang_up_and_check(gone)
        states = await self._states()
        self.assertEqual(states.get(talks), CallState.CONNECTED, "legs() must list live legs")
        self.assertNotIn(gone, states, "legs() must not list ended legs")

    @behaviour("list.placed")
    async def test_a_leg_is_listed_from_its_beginning(self) -> None:
        """`legs` returns a leg from `place` on, although nothing has come back yet."""
        leg = self._place(self._number("number_that_rings"))
        self.assertIn((await self._states()).get(leg), LIVE_STATES, "legs() must list it at once")

    @behaviour("list.ringing")
    async def test_a_ringing_leg_is_listed(self) -> None:
        """`legs` returns a leg that rings as alerting."""
        leg = await self._ringing()
        self.assertIs((await self._states()).get(leg), CallState.ALERTING)

    @behaviour("list.ending")
    async def test_a_leg_is_listed_until_its_end(self) -> None:
        """`legs` returns a leg until its end is reported: umd takes a missing leg for lost."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.assertIn(leg, await self._listed(), "the leg has not ended")
        await self._end_of(leg)
        self.assertNotIn(leg, await self._listed())

    @behaviour("list.rejected")
    async def test_a_rejected_leg_is_not_listed(self) -> None:
        """`legs` does not return a leg that the far end has rejected."""
        leg = self._place(self._number("number_that_rejects"))
        await self._end_of(leg)
        self.assertNotIn(leg, await self._listed())

    @behaviour("list.ended-event")
    async def test_an_ended_leg_is_not_listed_from_its_event_on(self) -> None:
        """`legs` does not return a leg any more when its end has just been reported."""
        leg = await self._talking()
        self.backend.hang_up(leg, CLIENT)
        await self._until(lambda: bool(self.sink.ends(leg)))
        self.assertNotIn(leg, await self._listed())

    @behaviour("list.fields")
    async def test_what_is_listed_can_be_a_call(self) -> None:
        """Each leg of `legs` has a name, a state and a number of which umd can make a call."""
        legs = {await self._talking(), await self._ringing()}
        listed = await self._listed()
        self.assertLessEqual(legs, set(listed))
        for found in listed.values():
            self._check_found(found)

    @behaviour("list.again")
    async def test_the_list_can_be_asked_for_again(self) -> None:
        """`legs` can be called at any time and any number of times, and changes nothing."""
        leg = await self._talking()
        first, second = await self._listed(), await self._listed()
        self.assertEqual(first, second)
        self.assertEqual(self.sink.of(leg).count(Answered(leg)), int(self.can_place))
        await self._hang_up_and_check(leg)

    def _check_found(self, found: FoundLeg) -> None:
        """Check what umd requires of a leg that it takes over."""
        self.assertTrue(0 < len(found.leg) <= MAX_NAME_LENGTH, "a name has 1 to 255 characters")
        self.assertIn(found.state, LIVE_STATES, "a live leg is connecting, alerting or connected")
        self.assertIsInstance(found.number, str)
        self.assertIsInstance(found.owner, str)
        self.assertTrue(found.direction is None or isinstance(found.direction, Direction))
        self.assertTrue(isfinite(found.began_at) and found.began_at >= 0)
        self.assertNotIn(found.leg, found.partners, "a leg is no partner of itself")
        self.assertEqual(self.sink.faults_of(found), [])
