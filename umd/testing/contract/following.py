"""The behaviours of legs that umd did not place: they appear, change and end on the PBX."""

from __future__ import annotations

from typing import Final

from umd.backend import (
    Answered,
    Ended,
    FollowsPbx,
    FoundLeg,
    Gone,
    LegEvent,
    LegId,
    NoSuchLeg,
    Proof,
)
from umd.call.call import CallState
from umd.call.cause import EndedBy
from umd.testing.contract.base import CLIENT, PBX_NUMBER
from umd.testing.contract.behaviour import behaviour
from umd.testing.contract.listing import ListingRules

USER_BUSY: Final = 17  # Q.850
NO_ROUTE: Final = 3  # Q.850


class FollowingRules(ListingRules):
    """Calls of the PBX's own; the hooks of `PbxHooks` make it begin, change and end them."""

    @behaviour("follow.found")
    async def test_a_call_of_the_pbx_is_found(self) -> None:
        """A call that appears while umd runs is reported by `leg_found`, before any other event."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.wait(self.quiet)
        self.assertIsInstance(self.sink.all_of(leg)[0], FoundLeg, "leg_found comes first")
        self.assertEqual(self.sink.ends(leg), [])

    @behaviour("follow.found-fields")
    async def test_what_is_found_can_be_a_call(self) -> None:
        """A leg that is found has a name, a state, aliases and labels of which umd makes a call."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self._hang_up_and_check(leg)
        for found in self.sink.found:
            self._check_found(found)

    @behaviour("follow.listed")
    async def test_a_found_leg_is_listed(self) -> None:
        """`legs` returns a leg that was found, with the values that were reported of it."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.wait(self.quiet)
        await self._check_view(leg)

    @behaviour("follow.ringing")
    async def test_a_ringing_call_of_the_pbx_is_answered(self) -> None:
        """A found leg that rings is alerting, and its answer is reported."""
        leg = await self._found(await self.pbx_ring(PBX_NUMBER))
        await self.wait(self.quiet)
        self.assertIs((await self._states()).get(leg), CallState.ALERTING)
        await self.pbx_answer(leg)
        await self._until(lambda: Answered(leg) in self.sink.events)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events.count(Answered(leg)), 1)
        await self._check_view(leg)

    @behaviour("follow.hung-up")
    async def test_a_far_end_of_the_pbx_hangs_up(self) -> None:
        """A call that ends on the PBX ends once, by the far end."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_hang_up(leg, q850=16)
        self.assertIs((await self._end_of(leg)).cause.by, EndedBy.FAR_END)
        self.assertNotIn(leg, await self._listed())

    @behaviour("follow.cause")
    async def test_the_cause_of_the_pbx_passes_through(self) -> None:
        """The Q.850 cause of a call that ends on the PBX is passed on."""
        for q850 in (USER_BUSY, NO_ROUTE):
            leg = await self._found(await self.pbx_call(PBX_NUMBER))
            await self.pbx_hang_up(leg, q850=q850)
            self.assertEqual((await self._end_of(leg)).cause.q850, q850)

    @behaviour("follow.end")
    async def test_umd_ends_a_call_of_the_pbx(self) -> None:
        """`hang_up` ends a found leg, and its far end is down when a confirmed end is reported."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        self.assertTrue(self.pbx_has(leg))
        was_up: list[bool] = []

        def look(event: LegEvent) -> None:
            if isinstance(event, Ended):
                was_up.append(self.pbx_has(leg))

        self.sink.on_event = look
        await self._hang_up_and_check(leg)
        self.assertEqual(was_up, [False], "a confirmed end, and the far end is in the call")

    @behaviour("follow.end-ringing")
    async def test_umd_ends_a_ringing_call_of_the_pbx(self) -> None:
        """`hang_up` ends a found leg that rings."""
        leg = await self._found(await self.pbx_ring(PBX_NUMBER))
        ended = await self._hang_up_and_check(leg)
        self.assertIs(ended.cause.by, EndedBy.CLIENT)
        self.assertFalse(self.pbx_has(leg))

    @behaviour("follow.end-once")
    async def test_many_requests_are_one_command(self) -> None:
        """A second `hang_up` of a found leg sends no second command to the PBX."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        before = self.pbx_commands()
        for _ in range(3):
            try:
                self.backend.hang_up(leg, CLIENT)
            except NoSuchLeg:
                self.assertEqual(len(self.sink.ends(leg)), 1)
        await self._end_of(leg)
        self.assertEqual(self.pbx_commands() - before, 1)

    @behaviour("follow.no-stray-command")
    async def test_no_command_for_a_leg_that_is_not_there(self) -> None:
        """`hang_up` of an unknown or an ended leg sends nothing to the PBX."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self._hang_up_and_check(leg)
        before = self.pbx_commands()
        for name in (leg, LegId("never-there")):
            with self.assertRaises(NoSuchLeg):
                self.backend.hang_up(name, CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(self.pbx_commands(), before)

    @behaviour("follow.never-unknown")
    async def test_a_reported_leg_is_known_until_its_end_is_reported(self) -> None:
        """`hang_up` of a leg whose end is not reported yet never raises NoSuchLeg."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_hang_up(leg, q850=16)
        try:
            self.backend.hang_up(leg, CLIENT)
        except NoSuchLeg:
            self.assertEqual(len(self.sink.ends(leg)), 1, "its end was not reported yet")
        ended = await self._end_of(leg)
        self.assertIn(ended.cause.by, (EndedBy.CLIENT, EndedBy.FAR_END))

    @behaviour("follow.lost")
    async def test_a_call_that_the_pbx_lost(self) -> None:
        """`hang_up` of a leg that the PBX lost without a word is no NoSuchLeg, and the leg ends."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_lose(leg)
        if not self._last_events(leg):
            self.backend.hang_up(leg, CLIENT)
        await self._until(lambda: bool(self._last_events(leg)))
        await self.wait(self.quiet)
        self.assertEqual(len(self._last_events(leg)), 1)
        self.assertNotIn(leg, await self._listed())

    @behaviour("follow.denied")
    async def test_the_word_of_the_pbx_is_no_proof(self) -> None:
        """If the PBX accepts a command and ends nothing, no end is reported as confirmed."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_deny_hang_ups()
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        await self._until(lambda: bool(self.sink.ends(leg)))
        (ended,) = self.sink.ends(leg)
        self.assertTrue(self.pbx_has(leg))
        self.assertFalse(ended.confirmed, "the far end is in the call, whatever the PBX replied")
        self.assertIn(ended.shown_by, (Proof.PBX, Proof.NONE))

    @behaviour("follow.not-again")
    async def test_an_ended_leg_is_not_found_again(self) -> None:
        """A leg that has ended is neither listed nor reported again, whatever else begins."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self._hang_up_and_check(leg)
        await self._found(await self.pbx_call(PBX_NUMBER))
        await self.wait(self.quiet)
        self.assertIsInstance(self.sink.all_of(leg)[-1], Ended)
        self.assertNotIn(leg, await self._listed())

    @behaviour("follow.others-stay")
    async def test_other_calls_of_the_pbx_stay(self) -> None:
        """The end of one found leg leaves the others as they are, on the PBX too."""
        legs = [await self._found(await self.pbx_call(PBX_NUMBER)) for _ in range(3)]
        await self._hang_up_and_check(legs[1])
        for leg in (legs[0], legs[2]):
            self.assertEqual(self.sink.ends(leg), [])
            self.assertTrue(self.pbx_has(leg))
            await self._check_view(leg)

    @behaviour("follow.odd-numbers")
    async def test_odd_numbers_of_the_pbx(self) -> None:
        """A call of the PBX with an odd number is found and can be ended, as any other."""
        for number in ("", "zwölf ☎", "sip:a@b;x=\udcff", "0" * 300):
            leg = await self._found(await self.pbx_call(number))
            await self._hang_up_and_check(leg)

    @behaviour("change.bridged")
    async def test_bridged_legs_are_partners_of_each_other(self) -> None:
        """Two legs that are joined are reported as partners of each other, in events and lists."""
        first, second = await self._bridged()
        await self.wait(self.quiet)
        await self._check_view(first)
        await self._check_view(second)

    @behaviour("change.parted")
    async def test_parted_legs_have_no_partner(self) -> None:
        """Two legs that are parted are reported without a partner, and both go on."""
        first, second = await self._bridged()
        await self.pbx_unbridge(first, second)
        await self._until(lambda: self._partners(first) == self._partners(second) == ())
        await self.wait(self.quiet)
        for leg in (first, second):
            self.assertEqual(self.sink.ends(leg), [])
            await self._check_view(leg)

    @behaviour("change.bridge-ends")
    async def test_the_end_of_a_partner_says_what_caused_it(self) -> None:
        """If the end of a leg ends its partner too, the partner's end names that leg, or none."""
        first, second = await self._bridged()
        self.backend.hang_up(first, CLIENT)
        ended = await self._end_of(first)
        self.assertIsNone(ended.caused_by, "the end of this leg was requested")
        for end in self.sink.ends(second):
            self.assertIn(end.caused_by, (first, None))
        if not self.sink.ends(second):
            self.assertNotIn(first, self._partners(second), "an ended leg is no partner any more")
            await self._hang_up_and_check(second)

    @behaviour("change.both-end")
    async def test_both_legs_of_a_bridge_are_ended_at_once(self) -> None:
        """If both legs of a bridge are ended at once, each ends once, and its far end is down."""
        legs = await self._bridged()
        for leg in legs:
            try:
                self.backend.hang_up(leg, CLIENT)
            except NoSuchLeg:
                self.assertEqual(len(self.sink.ends(leg)), 1)
        for leg in legs:
            await self._end_of(leg)
            self.assertFalse(self.pbx_has(leg))

    @behaviour("change.renamed")
    async def test_a_leg_whose_ids_change_stays_the_same_leg(self) -> None:
        """A change of ids is reported with all aliases of the leg, which keeps its name."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        before = dict(self.sink.view(leg).aliases)
        await self.pbx_rename(leg)
        await self._until(lambda: dict(self.sink.view(leg).aliases) != before)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.ends(leg), [])
        await self._check_view(leg)

    @behaviour("change.renamed-end")
    async def test_a_leg_whose_ids_have_changed_can_be_ended(self) -> None:
        """`hang_up` ends a leg whose ids have changed, by the name that it was found with."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_rename(leg)
        await self._hang_up_and_check(leg)
        self.assertFalse(self.pbx_has(leg), "the party that is on the line now must be down")

    @behaviour("look-up.live")
    async def test_look_up_a_live_leg(self) -> None:
        """`look_up` returns a live leg as `legs` does."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        self.assertEqual(await self._look_up(leg), (await self._listed())[leg])

    @behaviour("look-up.ended")
    async def test_look_up_an_ended_leg(self) -> None:
        """`look_up` returns None for a leg that has ended."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self._hang_up_and_check(leg)
        self.assertIsNone(await self._look_up(leg))

    @behaviour("look-up.lost")
    async def test_look_up_a_leg_that_the_pbx_lost(self) -> None:
        """`look_up` asks the PBX: it returns None for a leg that was lost without a word."""
        leg = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_lose(leg)
        self.assertIsNone(await self._look_up(leg))

    @behaviour("look-up.unknown")
    async def test_look_up_an_unknown_leg(self) -> None:
        """`look_up` returns None for a leg that never was, and for a name that cannot be one."""
        for name in ("never-there", "", "\udcff", "a\r\nb", "x" * 10_000):
            self.assertIsNone(await self._look_up(LegId(name)), ascii(name[:20]))
        self.assertEqual(self.sink.reports, [])

    # -- helpers

    async def _bridged(self) -> tuple[LegId, LegId]:
        """Return two legs that the PBX has joined, once both are reported as partners."""
        first = await self._found(await self.pbx_call(PBX_NUMBER))
        second = await self._found(await self.pbx_call(PBX_NUMBER))
        await self.pbx_bridge(first, second)
        await self._until(
            lambda: second in self._partners(first) and first in self._partners(second)
        )
        return first, second

    def _partners(self, leg: LegId) -> tuple[LegId, ...]:
        return self.sink.view(leg).partners

    async def _look_up(self, leg: LegId) -> FoundLeg | None:
        self._need(FollowsPbx)
        assert isinstance(self.backend, FollowsPbx)
        return await self.backend.look_up(leg)

    async def _check_view(self, leg: LegId) -> None:
        """Check that `legs` lists a leg with the values that the reports of it add up to."""
        listed = (await self._listed()).get(leg)
        assert listed is not None, f"legs() must list {leg}"
        view = self.sink.view(leg)
        for name in ("state", "number", "aliases", "partners", "labels"):
            reported, value = getattr(view, name), getattr(listed, name)
            why = f"{name} of {leg}: reported {reported!r}, listed {value!r}"
            self.assertEqual(_comparable(reported), _comparable(value), why)

    def _last_events(self, leg: LegId) -> list[Ended | Gone]:
        return [event for event in self.sink.of(leg) if isinstance(event, (Ended, Gone))]


def _comparable(value: object) -> object:
    """Return a value without the order of what has none."""
    return sorted(value) if isinstance(value, tuple) else value
