"""The behaviours of `hang_up`, and of the end that follows."""

from __future__ import annotations

from uuid import uuid4

from umd.backend import Answered, Ended, LegEvent, LegId, NoSuchLeg, Proof
from umd.call.cause import Cause, EndedBy
from umd.testing.contract.base import CLIENT, WRONG_END, ContractCase
from umd.testing.contract.behaviour import behaviour

TEMPORARY_FAILURE = 41  # Q.850
ODD_NAMES = ("", " ", "x" * 10_000, "é☎", "\udcff\udc80", "a\r\nb", "\x00", "../x", "%s{}")


class EndingRules(ContractCase):
    """Legs that umd ends."""

    @behaviour("end.just-placed")
    async def test_hang_up_what_was_just_placed(self) -> None:
        """A leg ends although nothing has come back yet, whatever comes back then."""
        leg = self._place(self._number("number_that_answers"))
        await self._hang_up_and_check(leg)

    @behaviour("end.ringing")
    async def test_hang_up_what_rings(self) -> None:
        """`hang_up` ends a leg that rings."""
        await self._hang_up_and_check(await self._ringing())

    @behaviour("end.talking")
    async def test_hang_up_what_talks(self) -> None:
        """`hang_up` ends a leg that was answered."""
        await self._hang_up_and_check(await self._talking())

    @behaviour("end.twice")
    async def test_hang_up_twice_is_one_end(self) -> None:
        """A second `hang_up` joins the first, or raises NoSuchLeg if the leg has ended already."""
        leg = await self._talking()
        self.backend.hang_up(leg, CLIENT)
        try:
            self.backend.hang_up(leg, CLIENT)
        except NoSuchLeg:
            self.assertEqual(len(self.sink.ends(leg)), 1)
        await self._end_of(leg)

    @behaviour("end.first-cause")
    async def test_the_first_hang_up_gives_the_cause(self) -> None:
        """The end has the cause of the first `hang_up`, whatever a second one says."""
        leg = await self._talking()
        self.backend.hang_up(leg, Cause(by=EndedBy.OPERATOR))
        try:
            self.backend.hang_up(leg, CLIENT)
        except NoSuchLeg:
            self.assertEqual(len(self.sink.ends(leg)), 1)
        self.assertIs((await self._end_of(leg)).cause.by, EndedBy.OPERATOR)

    @behaviour("end.cause")
    async def test_the_end_has_the_cause_of_hang_up(self) -> None:
        """The end has the side and the Q.850 cause that `hang_up` was given."""
        for by in (EndedBy.DAEMON, EndedBy.OPERATOR):
            leg = await self._talking()
            self.backend.hang_up(leg, Cause(by=by, q850=TEMPORARY_FAILURE))
            cause = (await self._end_of(leg)).cause
            self.assertEqual((cause.by, cause.q850), (by, TEMPORARY_FAILURE))

    @behaviour("end.unknown")
    async def test_hang_up_an_unknown_leg(self) -> None:
        """`hang_up` of a leg that never was raises NoSuchLeg, and nothing is reported."""
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(LegId(str(uuid4())), CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, [], "nothing is known of this leg to report")

    @behaviour("end.odd-names")
    async def test_hang_up_odd_names(self) -> None:
        """`hang_up` of a name that cannot be one, such as octets without UTF-8, is NoSuchLeg."""
        for name in ODD_NAMES:
            with self.assertRaises(NoSuchLeg, msg=ascii(name[:20])):
                self.backend.hang_up(LegId(name), CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(self.sink.events, [])

    @behaviour("end.ended")
    async def test_hang_up_an_ended_leg(self) -> None:
        """`hang_up` of an ended leg raises NoSuchLeg, and no second end is reported."""
        leg = await self._talking()
        await self._hang_up_and_check(leg)
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(len(self.sink.ends(leg)), 1)

    @behaviour("end.rejected")
    async def test_hang_up_a_rejected_leg(self) -> None:
        """`hang_up` of a leg that the far end has rejected raises NoSuchLeg."""
        leg = self._place(self._number("number_that_rejects"))
        await self._end_of(leg)
        with self.assertRaises(NoSuchLeg):
            self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.assertEqual(len(self.sink.ends(leg)), 1)

    @behaviour("end.silent")
    async def test_hang_up_a_silent_far_end(self) -> None:
        """The end of a leg whose far end stays silent is reported in time, and not as confirmed."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        why = "an accepted command is no end: wait until the far end confirms it"
        self.assertEqual(self.sink.ends(leg), [], why)
        ended = await self._end_of(leg)
        self.assertFalse(ended.confirmed, "the far end has confirmed nothing")

    @behaviour("end.silent-again")
    async def test_hang_up_a_silent_far_end_again(self) -> None:
        """A second `hang_up` while the far end is silent raises nothing and delays nothing."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        await self.wait(self.quiet)
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.CLIENT, False), WRONG_END)

    @behaviour("end.others-stay")
    async def test_one_end_does_not_touch_another(self) -> None:
        """The end of one leg leaves another to the same number as it is."""
        stays = await self._talking()
        goes = await self._talking()
        await self._hang_up_and_check(goes)
        self.assertEqual(self.sink.ends(stays), [], "the end of this leg was not requested")

    @behaviour("end.within-event")
    async def test_hang_up_from_within_an_event(self) -> None:
        """`hang_up` works from within the report that the leg was answered."""

        def hang_up(event: LegEvent) -> None:
            if isinstance(event, Answered):
                self.sink.on_event = None
                self.backend.hang_up(event.leg, CLIENT)

        number = self._number("number_that_answers")
        self.sink.on_event = hang_up
        leg = self._place(number)
        ended = await self._end_of(leg)
        self.assertEqual((ended.cause.by, ended.confirmed), (EndedBy.CLIENT, True), WRONG_END)

    @behaviour("end.crosses")
    async def test_both_sides_hang_up(self) -> None:
        """If the far end hangs up at the same time, the leg ends once, by one of the two."""

        def hang_up(event: LegEvent) -> None:
            if isinstance(event, Answered):
                self.sink.on_event = None
                self.backend.hang_up(event.leg, CLIENT)

        number = self._number("number_that_hangs_up")
        self.sink.on_event = hang_up
        ended = await self._end_of(self._place(number))
        self.assertIn(ended.cause.by, (EndedBy.CLIENT, EndedBy.FAR_END))

    @behaviour("end.lone")
    async def test_the_end_of_a_lone_leg_names_no_other(self) -> None:
        """The end of a leg without partner names no other leg that caused it."""
        ended = await self._hang_up_and_check(await self._talking())
        self.assertIsNone(ended.caused_by)

    @behaviour("proof.confirmed")
    async def test_a_confirmed_end_says_what_shows_it(self) -> None:
        """A confirmed end is shown by the far end or by a second look, not by the PBX's word."""
        ended = await self._hang_up_and_check(await self._talking())
        self.assertIn(ended.shown_by, (Proof.FAR_END, Proof.SECOND_LOOK))

    @behaviour("proof.rejected")
    async def test_a_rejection_is_shown_by_the_far_end(self) -> None:
        """A rejection is shown by the far end, which answered."""
        ended = await self._end_of(self._place(self._number("number_that_rejects")))
        self.assertIs(ended.shown_by, Proof.FAR_END)

    @behaviour("proof.silent")
    async def test_a_silent_far_end_shows_nothing(self) -> None:
        """The end of a leg whose far end stays silent is shown by nothing, or by the PBX's word."""
        leg = await self._connected(self._number("number_silent_to_bye"))
        self.backend.hang_up(leg, CLIENT)
        ended = await self._end_of(leg)
        self.assertIn(ended.shown_by, (Proof.PBX, Proof.NONE))

    @behaviour("proof.status")
    async def test_an_end_at_the_far_end_has_a_status_that_ends_it(self) -> None:
        """The SIP status of a confirmed end is a final one, if the backend knows a status."""
        ended = await self._hang_up_and_check(await self._talking())
        assert isinstance(ended, Ended)
        if ended.cause.sip_status is not None:
            self.assertIn(ended.cause.sip_status, range(200, 700))
