"""The behaviours of `RestoresLegs`: a backend that carries its legs itself, over a restart."""

from __future__ import annotations

from typing import Final

from umd.backend import KnownLeg, LegId, RestoresLegs, ShowsMessages
from umd.call.call import CallState
from umd.testing.contract.base import CLIENT
from umd.testing.contract.behaviour import behaviour
from umd.testing.contract.options import OptionRules

MAX_LEG_RECORD_OCTETS: Final = 64 * 1024


class RestartRules(OptionRules):
    """What a backend with `RestoresLegs` keeps, and restores."""

    @behaviour("restore.waits-for-record")
    async def test_an_answer_waits_until_it_is_recorded(self) -> None:
        """`RestoresLegs`: the ACK is sent only after the callback of `when_recorded`."""
        await self._start_with_journal([], anew=True)
        self.sink.holds = True
        leg = await self._connected(self._number("number_that_answers"))
        await self.wait(self.quiet)
        self.assertTrue(
            self.sink.held,
            "report Answered, then wait for when_recorded before the far end gets its ACK",
        )
        if isinstance(self.backend, ShowsMessages):
            self.assertNotIn("ACK", self._methods_of(leg), "the ACK left before the record")
        self.sink.release()
        if isinstance(self.backend, ShowsMessages):
            await self._until(lambda: "ACK" in self._methods_of(leg))
        await self._hang_up_and_check(leg)

    @behaviour("restore.record")
    async def test_an_answered_leg_has_a_record(self) -> None:
        """`RestoresLegs`: `leg_record` returns octets, at most 64 KiB, when a leg is answered."""
        await self._start_with_journal([], anew=True)
        leg = await self._connected(self._number("number_that_answers"))
        record = self.sink.leg_records.get(leg)
        assert isinstance(record, bytes), (
            f"leg_record must return bytes for an answered leg, not {record!r}: without a record "
            "no umd can end it after a restart"
        )
        self.assertLessEqual(len(record), MAX_LEG_RECORD_OCTETS, "a leg record is too large")

    @behaviour("restore.no-record")
    async def test_the_record_of_an_unknown_leg_is_none(self) -> None:
        """`RestoresLegs`: `leg_record` returns None for a leg that never was."""
        await self._start_with_journal([], anew=True)
        assert isinstance(self.backend, RestoresLegs)
        self.assertIsNone(self.backend.leg_record(LegId("never-placed")))

    @behaviour("restore.answered")
    async def test_an_answered_leg_is_restored(self) -> None:
        """`RestoresLegs`: after a restart an answered leg is listed, and can be ended."""
        leg, record = await self._answered_before_restart()
        await self._start_with_journal([self._known(leg, record)], anew=False)
        why = "legs() must list a restored leg"
        self.assertEqual((await self._states()).get(leg), CallState.CONNECTED, why)
        await self._hang_up_and_check(leg)

    @behaviour("restore.damaged")
    async def test_a_leg_that_cannot_be_restored_is_not_listed(self) -> None:
        """`RestoresLegs`: a leg with a damaged or missing record is lost, and no other."""
        leg, record = await self._answered_before_restart()
        damaged, unrecorded = LegId("damaged"), LegId("unrecorded")
        await self._start_with_journal(
            [
                self._known(damaged, b"\xff not a leg record"),
                self._known(unrecorded, None),
                self._known(leg, record),
            ],
            anew=False,
        )
        states = await self._states()
        self.assertNotIn(damaged, states, "a leg whose record is damaged is lost: do not list it")
        self.assertNotIn(unrecorded, states, "an answered leg without a record is lost")
        self.assertIn(leg, states, "one leg that is lost must not keep the others from restoring")
        self.assertEqual(self.sink.ends(damaged) + self.sink.ends(unrecorded), [])

    @behaviour("restore.duplicate")
    async def test_a_leg_that_is_given_twice_is_restored_once(self) -> None:
        """`RestoresLegs`: a leg that `restore` is given twice is listed once and ends once."""
        leg, record = await self._answered_before_restart()
        known = self._known(leg, record)
        await self._start_with_journal([known, known], anew=False)
        self.assertIn(leg, await self._listed())
        await self._hang_up_and_check(leg)

    @behaviour("restore.ending")
    async def test_a_leg_that_was_ending_is_restored(self) -> None:
        """`RestoresLegs`: a leg that was ending is listed, and the repeated `hang_up` ends it."""
        leg, record = await self._answered_before_restart()
        known = self._known(leg, record, CallState.DISCONNECTING)
        await self._start_with_journal([known], anew=False)
        self.assertIn(leg, await self._listed())
        self.backend.hang_up(leg, CLIENT)
        self.assertTrue((await self._end_of(leg)).confirmed)

    @behaviour("restore.unanswered")
    async def test_a_leg_that_was_not_answered_is_lost_or_can_be_ended(self) -> None:
        """`RestoresLegs`: a leg that rang before the restart is not listed, or can be ended."""
        await self._start_with_journal([], anew=True)
        leg = await self._ringing()
        known = self._known(leg, None, CallState.ALERTING, self._number("number_that_rings"))
        await self._start_with_journal([known], anew=False)
        if leg in await self._listed():
            self.backend.hang_up(leg, CLIENT)
            await self._end_of(leg)

    @behaviour("restore.odd")
    async def test_odd_legs_do_not_stop_the_others(self) -> None:
        """`RestoresLegs`: odd names, numbers and records raise nothing and spoil no other leg."""
        leg, record = await self._answered_before_restart()
        odd = [
            KnownLeg(leg=LegId(name), state=state, number=number, age=age, record=odd_record)
            for name, number, age, odd_record in (
                ("\udcff", "\udcff", 0.0, b"\x00"),
                ("x" * 255, "", 1e9, b"[]"),
                ("a\r\nb", "☎", -1.0, b'["a", "b", -1, null]'),
            )
            for state in (CallState.CONNECTED, CallState.DISCONNECTING)
        ]
        await self._start_with_journal([*odd, self._known(leg, record)], anew=False)
        self.assertEqual(set(await self._listed()), {leg})
        await self._hang_up_and_check(leg)

    @behaviour("restore.stop-leaves-legs")
    async def test_stop_leaves_the_legs_that_can_be_restored(self) -> None:
        """`RestoresLegs`: `stop` ends no leg that the next umd can restore, and reports no end."""
        leg, record = await self._answered_before_restart()
        for _ in range(2):
            await self._start_with_journal([self._known(leg, record)], anew=False)
            await self.wait(self.quiet)
            self.assertEqual(self.sink.ends(leg), [])
            self.assertIn(leg, await self._listed())
        await self._hang_up_and_check(leg)

    async def _answered_before_restart(self) -> tuple[LegId, bytes | None]:
        """Return an answered leg of the umd before the restart, and its record."""
        await self._start_with_journal([], anew=True)
        leg = await self._connected(self._number("number_that_answers"))
        return leg, self.sink.leg_records.get(leg)

    async def _start_with_journal(self, known: list[KnownLeg], *, anew: bool) -> None:
        """Start a new backend in place of the one that runs, as a umd with a journal does."""
        self._need(RestoresLegs)
        await self._stop()
        self._make_backend()
        assert isinstance(self.backend, RestoresLegs)
        self.backend.restore(known, anew=anew)
        await self._start()

    def _known(
        self,
        leg: LegId,
        record: bytes | None,
        state: CallState = CallState.CONNECTED,
        number: str | None = None,
    ) -> KnownLeg:
        number = number or self._number("number_that_answers")
        return KnownLeg(leg=leg, state=state, number=number, age=1.0, record=record)
