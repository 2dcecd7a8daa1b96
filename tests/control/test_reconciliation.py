"""umd compares its calls with what a PBX lists, and makes them agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.backend import (
    BackendUnavailable,
    Changed,
    Ended,
    FollowsPbx,
    FoundLeg,
    LegId,
    LegSink,
    Proof,
)
from umd.call.call import Call, CallState
from umd.call.cause import Cause, EndedBy
from umd.call.events import Lost
from umd.control.outcome import Outcome
from umd.control.reconciliation import MAX_LEGS_PER_TURN
from umd.control.settings import ControlSettings
from umd.testing import FakeBackend

A, B, C = LegId("chan-a"), LegId("chan-b"), LegId("chan-c")
FAR_END = Cause(by=EndedBy.FAR_END)
INTERVAL = 60.0


def listed(leg: LegId, state: CallState = CallState.CONNECTED, **more: Any) -> FoundLeg:
    return FoundLeg(leg=leg, state=state, number="100", **more)


class FollowingFake(FakeBackend, FollowsPbx):
    """A fake whose list and second look are what the test says."""

    def __init__(self, clock: Any) -> None:
        super().__init__("pbx", clock=clock)
        self.list: list[FoundLeg] = []
        self.there: dict[LegId, FoundLeg] = {}
        """What `look_up` finds."""
        self.looks: list[LegId] = []
        self.waiting: Deferred[list[FoundLeg]] | None = None
        """If set, `legs` waits for it."""
        self.lists = 0

    async def start(self, sink: LegSink) -> None:
        self.found = self.list
        await super().start(sink)

    async def legs(self) -> Sequence[FoundLeg]:
        self._check_reachable()
        self.lists += 1
        return self.list if self.waiting is None else await self.waiting

    async def look_up(self, leg: LegId) -> FoundLeg | None:
        self._check_reachable()
        self.looks.append(leg)
        return self.there.get(leg)


class ReconciliationCase(SynchronousTestCase):
    settings = ControlSettings(reconcile=INTERVAL)

    def setUp(self) -> None:
        self.room = ControlRoom(settings=self.settings)
        self.clock = self.room.clock
        self.pbx = FollowingFake(self.clock)
        self.room = ControlRoom({"pbx": self.pbx}, self.settings, self.clock)
        self.control = self.room.control
        self.pbx.list = [listed(A), listed(B)]
        self.successResultOf(ensureDeferred(self.control.start()))
        self.a, self.b = self.control.resolve(A), self.control.resolve(B)

    def pass_interval(self) -> None:
        self.clock.advance(INTERVAL)

    def live(self) -> set[str]:
        return {call.leg for call in self.control.live_calls()}

    def reasons(self, call: Call) -> list[str]:
        events = [event for event in self.room.events if event.call == call.id]
        return [event.reason for event in events if isinstance(event, Lost)]


class IntervalTests(ReconciliationCase):
    def test_nothing_has_changed(self) -> None:
        """No event, no log line."""
        before = list(self.room.events)
        self.pass_interval()
        self.assertEqual(self.pbx.lists, 2)
        self.assertEqual(self.room.events, before)
        self.assertNotIn("backend.reconciled", self.room.logged())

    def test_a_call_that_umd_missed_appears(self) -> None:
        self.pbx.list.append(listed(C, aliases={"sip-call-id": "c@pbx"}))
        self.pass_interval()
        call = self.control.resolve("c@pbx")
        self.assertEqual(self.room.event_names(call), ["Found"])

    def test_an_end_that_umd_missed_is_found_by_a_second_look(self) -> None:
        del self.pbx.list[0]
        self.pass_interval()
        self.assertEqual(self.pbx.looks, [A])
        self.assertEqual(self.reasons(self.a), ["backend pbx does not carry it any more"])
        self.assertEqual(self.live(), {B})

    def test_a_list_that_lacks_a_live_leg_costs_no_call(self) -> None:
        """A stale list is not the truth: the second look finds the leg."""
        del self.pbx.list[0]
        self.pbx.there[A] = listed(A)
        self.pass_interval()
        self.assertEqual(self.live(), {A, B})

    def test_what_umd_missed_is_taken_over(self) -> None:
        self.pbx.list[0] = listed(A, aliases={"channel": "x"}, partners=(B,), labels=("ci",))
        self.pbx.list[1] = listed(B, partners=(A,))
        self.pass_interval()
        self.assertEqual(self.control.resolve("x"), self.a)
        self.assertEqual((self.a.partners, self.b.partners), ((self.b.id,), (self.a.id,)))
        self.pass_interval()
        self.assertEqual(self.room.event_names(self.a), ["Resumed", "Changed"])

    def test_an_answer_that_umd_missed(self) -> None:
        assert self.pbx.sink is not None
        self.pbx.sink.leg_found(listed(C, CallState.ALERTING))
        self.pbx.list.append(listed(C))
        call = self.control.resolve(C)
        self.pass_interval()
        self.pass_interval()
        self.assertEqual(self.room.event_names(call), ["Found", "Connected"])

    def test_an_odd_leg_is_logged_once_and_does_not_spoil_the_others(self) -> None:
        self.pbx.list.insert(0, listed(LegId("")))
        self.pbx.list.append(listed(C))
        self.pass_interval()
        self.pass_interval()
        self.assertEqual(self.live(), {A, B, C})
        self.assertEqual(self.room.logged().count("backend.leg-refused"), 1)

    def test_odd_values_of_a_leg_do_not_spoil_the_others(self) -> None:
        """A backend passes on what it got from elsewhere, in a list and in a second look."""
        odd: Any
        for odd in (
            listed(A, labels=([],)), listed(A, aliases={"channel": []}), listed(A, call_id=7),
            listed(A, call_id=""), listed(A, aliases=None), listed(A, labels=None),
            listed(A, partners=([], 7)), 7,
        ):  # fmt: skip
            self.setUp()
            self.pbx.list = [odd, listed(C)]
            self.pbx.there = {A: odd}
            self.pass_interval()
            self.assertEqual(self.live(), {A, C}, odd)
            self.assertEqual(self.reasons(self.b), ["backend pbx does not carry it any more"])

    def test_an_odd_leg_that_appears_meanwhile(self) -> None:
        self.pbx.waiting = Deferred()
        self.pass_interval()
        assert self.pbx.sink is not None
        self.pbx.sink.leg_found(listed([]))  # type: ignore[arg-type]
        self.pbx.waiting.callback([listed(A), listed(B), listed(C)])
        self.assertEqual(self.live(), {A, B, C})

    def test_the_interval_ends_with_umd(self) -> None:
        self.successResultOf(ensureDeferred(self.control.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reload_can_stop_and_start_it(self) -> None:
        self.control.settings = ControlSettings(reconcile=None)
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(self.pbx.lists, 1)
        self.control.settings = ControlSettings(reconcile=5.0)
        self.clock.advance(5.0)
        self.assertEqual(self.pbx.lists, 2)


class RaceTests(ReconciliationCase):
    """What happens while the list is on its way is newer than the list."""

    def ask(self) -> Deferred[list[FoundLeg]]:
        waiting: Deferred[list[FoundLeg]] = Deferred()
        self.pbx.waiting = waiting
        self.pass_interval()
        return waiting

    def report(self, event: Any) -> None:
        assert self.pbx.sink is not None
        self.pbx.sink.leg_event(event)

    def test_a_listed_leg_whose_call_is_over_ends_again(self) -> None:
        """A list may be old; the backend then reports the end of the leg, which is no fault."""
        self.report(Ended(A, FAR_END))
        self.pass_interval()
        self.report(Ended(A, FAR_END))
        self.assertEqual(self.control.counts().refused_events, 0)
        self.pbx.list = [listed(B)]
        self.pass_interval()
        self.report(Ended(A, FAR_END))
        self.assertEqual(self.control.counts().refused_events, 1)

    def test_a_call_that_ends_meanwhile_does_not_come_back(self) -> None:
        waiting = self.ask()
        self.report(Ended(A, FAR_END, shown_by=Proof.PBX))
        waiting.callback(list(self.pbx.list))
        self.assertEqual(self.live(), {B})
        self.assertEqual(self.room.event_names(self.a), ["Resumed", "Disconnected"])

    def test_a_call_that_appears_meanwhile_is_not_lost(self) -> None:
        waiting = self.ask()
        assert self.pbx.sink is not None
        self.pbx.sink.leg_found(listed(C))
        waiting.callback(list(self.pbx.list))
        self.assertEqual(self.live(), {A, B, C})
        self.assertEqual(self.pbx.looks, [])

    def test_a_call_that_is_placed_meanwhile_is_not_lost(self) -> None:
        waiting = self.ask()
        placed = self.control.place(ALICE, "rings")
        waiting.callback(list(self.pbx.list))
        self.assertFalse(placed.ended)

    def test_a_change_meanwhile_is_newer_than_the_list(self) -> None:
        self.pbx.list[0] = listed(A, aliases={"channel": "old"})
        waiting = self.ask()
        self.report(Changed(leg=A, aliases={"channel": "new"}))
        waiting.callback(list(self.pbx.list))
        self.assertEqual(dict(self.a.aliases), {"channel": "new"})

    def test_a_call_heard_of_during_the_second_look_is_not_lost(self) -> None:
        looked: Deferred[FoundLeg | None] = Deferred()

        async def look_up(leg: LegId) -> FoundLeg | None:
            return await looked

        self.pbx.look_up = look_up  # type: ignore[method-assign]
        self.pbx.list = [listed(B)]
        self.pass_interval()
        self.report(Ended(A, FAR_END))
        looked.callback(None)
        self.assertEqual(self.room.event_names(self.a), ["Resumed", "Disconnected"])

    def test_the_connection_is_lost_meanwhile(self) -> None:
        """Events were lost after the list was made, so umd asks for another."""
        waiting = self.ask()
        assert self.pbx.sink is not None
        self.pbx.sink.backend_down("gone")
        self.pbx.sink.backend_up()
        old, self.pbx.list, self.pbx.waiting = self.pbx.list, [listed(B)], None
        waiting.callback(old)
        self.assertEqual(self.pbx.lists, 3)
        self.assertEqual(self.live(), {B})

    def test_two_comparisons_never_overlap(self) -> None:
        waiting = self.ask()
        self.pass_interval()
        self.pass_interval()
        self.assertEqual(self.pbx.lists, 2)
        self.pbx.waiting = None
        waiting.callback(list(self.pbx.list))
        self.assertEqual(self.pbx.lists, 3)


class SecondLookTests(ReconciliationCase):
    def setUp(self) -> None:
        super().setUp()
        self.looked: dict[LegId, Deferred[FoundLeg | None]] = {A: Deferred(), B: Deferred()}

        async def look_up(leg: LegId) -> FoundLeg | None:
            return await self.looked[leg]

        self.pbx.look_up = look_up  # type: ignore[method-assign]
        self.pbx.list = []
        self.pass_interval()

    def test_a_look_that_fails_spoils_no_other(self) -> None:
        """The call stays, and the next comparison looks again."""
        self.looked[A].errback(ValueError("a bug of the backend"))
        self.looked[B].callback(None)
        self.assertEqual(self.live(), {A})
        self.assertIn("backend.failed", self.room.logged())

    def test_an_answer_from_before_an_outage_proves_nothing(self) -> None:
        self.looked[A].callback(None)
        assert self.pbx.sink is not None
        self.pbx.sink.backend_down("gone")
        self.pbx.list = [listed(A), listed(B)]
        self.pbx.sink.backend_up()
        self.looked[B].callback(None)
        self.assertEqual(self.live(), {A, B})

    def test_the_pbx_goes_away_during_the_look(self) -> None:
        self.looked[A].callback(None)
        self.looked[B].errback(BackendUnavailable("gone"))
        self.assertIn("backend.down", self.room.logged())
        self.assertIn(B, self.live())


class OutageTests(ReconciliationCase):
    def test_calls_that_ended_during_an_outage_are_lost(self) -> None:
        """Also those whose end was requested: nothing confirms it."""
        assert self.pbx.sink is not None
        self.pbx.reachable = False
        answer = ensureDeferred(self.control.disconnect(ALICE, self.a.id))
        self.failureResultOf(answer, BackendUnavailable)
        self.pbx.list, self.pbx.reachable, self.pbx.confirms = [], True, False
        again = ensureDeferred(self.control.disconnect(ALICE, self.a.id))
        self.assertEqual(self.successResultOf(again), Outcome.ENDED_UNCONFIRMED)
        self.assertEqual(self.live(), set())
        self.assertEqual([len(self.reasons(call)) for call in (self.a, self.b)], [1, 1])

    def test_the_pbx_cannot_be_asked(self) -> None:
        """The calls stay; the backend is down until it reports otherwise."""
        self.pbx.reachable = False
        self.pass_interval()
        self.assertEqual(self.live(), {A, B})
        self.assertIn("backend.down", self.room.logged())
        self.pass_interval()
        self.assertEqual(self.room.logged().count("backend.down"), 1)

    def test_a_backend_that_fails_is_asked_again(self) -> None:
        def fail() -> Any:
            raise ValueError("a bug of the backend")

        legs, self.pbx.legs = self.pbx.legs, fail  # type: ignore[method-assign]
        self.pass_interval()
        self.assertIn("backend.failed", self.room.logged())
        self.pbx.legs = legs  # type: ignore[method-assign]
        self.pbx.list.append(listed(C))
        self.pass_interval()
        self.assertEqual(self.live(), {A, B, C})


class ManyTests(ReconciliationCase):
    def test_every_difference_of_many_is_found_in_several_turns(self) -> None:
        many = [listed(LegId(f"leg-{number}")) for number in range(5 * MAX_LEGS_PER_TURN)]
        self.pbx.list += many
        self.pass_interval()
        self.assertEqual(len(self.live()), len(many) + 2)
        gone = {found.leg for found in many[::7]}
        self.pbx.list = [found for found in self.pbx.list if found.leg not in gone]
        self.pass_interval()
        self.assertEqual(self.live(), {found.leg for found in self.pbx.list})
