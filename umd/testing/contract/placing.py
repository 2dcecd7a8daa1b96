"""The behaviours of legs that umd places."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from umd.backend import Answered, CannotPlace, Ended, LegEvent, LegId, LegInUse, Progressed
from umd.call.cause import NORMAL_CLEARING, EndedBy
from umd.testing.contract.base import CLIENT, WRONG_END, ContractCase
from umd.testing.contract.behaviour import NotOffered, behaviour

CALLS_AT_ONCE = 25


class PlacingRules(ContractCase):
    """Legs that umd places."""

    @behaviour("place.answered")
    async def test_a_call_is_answered(self) -> None:
        """The answer of a far end is reported once, and the leg stays."""
        leg = self._place(self._number("number_that_answers"))
        await self._until(lambda: Answered(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.of(leg)[-1], Answered(leg))
        self.assertLessEqual(self.sink.of(leg).count(Answered(leg)), 1)

    @behaviour("place.rings")
    async def test_a_call_rings(self) -> None:
        """A far end that rings is reported as ringing, and nothing else is."""
        leg = self._place(self._number("number_that_rings"))
        await self._until(lambda: Progressed(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(set(self.sink.of(leg)), {Progressed(leg)})

    @behaviour("place.rejected")
    async def test_a_call_is_rejected(self) -> None:
        """A rejection ends the leg once, by the far end, and not with normal clearing."""
        leg = self._place(self._number("number_that_rejects"))
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WRONG_END)
        why = "a rejection is no normal clearing: pass on the cause of the far end"
        self.assertNotEqual(ended.cause.q850, NORMAL_CLEARING, why)

    @behaviour("place.rejected-cause")
    async def test_the_cause_of_a_rejection_is_valid(self) -> None:
        """The cause of a rejection is one of Q.850, and its SIP status, if any, is a rejection."""
        ended = await self._end_of(self._place(self._number("number_that_rejects")))
        self.assertIn(ended.cause.q850, range(1, 128), "a cause of Q.850 is from 1 to 127")
        self.assertIsInstance(ended.cause.reasons, tuple)
        if ended.cause.sip_status is not None:
            self.assertIn(ended.cause.sip_status, range(300, 700), "this status rejects nothing")

    @behaviour("place.hangs-up")
    async def test_a_far_end_hangs_up_by_itself(self) -> None:
        """A far end that hangs up ends the leg, and the cause says so."""
        leg = self._place(self._number("number_that_hangs_up"))
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.FAR_END, True), WRONG_END)

    @behaviour("place.odd-numbers")
    async def test_odd_numbers(self) -> None:
        """A number that cannot be dialled raises nothing: its leg ends, and others go on."""
        self._number("number_that_answers")
        if not self.odd_numbers:
            raise NotOffered("the contract has no odd_numbers", on_purpose=True)
        stays = await self._connected(self._number("number_that_answers"))
        legs = [self._place(number) for number in self.odd_numbers]
        await self.wait(self.quiet)
        for leg in legs:
            if not self.sink.ends(leg):
                self.backend.hang_up(leg, CLIENT)
        for leg in legs:
            await self._end_of(leg)
        self.assertEqual(self.sink.ends(stays), [], "an odd number must not end another leg")
        await self._hang_up_and_check(stays)

    @behaviour("place.name-in-use")
    async def test_place_a_leg_whose_name_is_in_use(self) -> None:
        """A second `place` with the name of a live leg makes no second leg: one leg ends, once."""
        leg = await self._connected(self._number("number_that_answers"))
        with suppress(LegInUse):  # A backend may also ignore it.
            self.backend.place(leg, self._number("number_that_answers"))
        await self.wait(self.quiet)
        self.assertIn(leg, await self._listed())
        await self._hang_up_and_check(leg)
        self.assertNotIn(leg, await self._listed())

    @behaviour("place.within-event")
    async def test_place_from_within_an_event(self) -> None:
        """`place` works from within the report of another leg's end."""
        number = self._number("number_that_answers")
        next_leg = LegId(str(uuid4()))

        def place_next(event: LegEvent) -> None:
            if isinstance(event, Ended):
                self.sink.on_event = None
                self.backend.place(next_leg, number)

        self.sink.on_event = place_next
        await self._end_of(self._place(self._number("number_that_rejects")))
        await self._until(lambda: Answered(next_leg) in self.sink.events)
        await self._hang_up_and_check(next_leg)

    @behaviour("place.cannot")
    async def test_a_backend_that_only_watches_refuses_to_place(self) -> None:
        """A backend that cannot place calls raises CannotPlace, and reports no event."""
        if self.can_place:
            raise NotOffered("the backend places calls", on_purpose=True)
        leg = LegId(str(uuid4()))
        with self.assertRaises(CannotPlace):
            self.backend.place(leg, "5550100")
        await self.wait(self.quiet)
        self.assertEqual(self.sink.of(leg), [], "a call that was not placed has no events")

    @behaviour("place.many")
    async def test_many_calls_at_once(self) -> None:
        """Calls that are placed in one turn are answered, listed and ended each by itself."""
        number = self._number("number_that_answers")
        legs = [self._place(number) for _ in range(CALLS_AT_ONCE)]
        await self._until(lambda: all(Answered(leg) in self.sink.events for leg in legs))
        self.assertLessEqual(set(legs), set(await self._listed()))
        ending, staying = legs[::2], legs[1::2]
        for leg in ending:
            self.backend.hang_up(leg, CLIENT)
        await self._until(lambda: all(self.sink.ends(leg) for leg in ending))
        await self.wait(self.quiet)
        self.assertEqual([len(self.sink.ends(leg)) for leg in ending], [1] * len(ending))
        listed = await self._listed()
        self.assertEqual([leg for leg in staying if leg not in listed], [])
        self.assertEqual([leg for leg in ending if leg in listed], [])
        for leg in staying:
            self.backend.hang_up(leg, CLIENT)
        await self._until(lambda: all(self.sink.ends(leg) for leg in staying))
