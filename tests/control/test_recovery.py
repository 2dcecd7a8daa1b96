"""What becomes of the calls in the journal, and of found legs, at a start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from tests.control.journalled import WALL, HandJournal, JournalCase
from tests.helpers import ALICE
from umd.backend import BackendUnavailable, FoundLeg, LegId
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, split_call_id
from umd.call.cause import EndedBy
from umd.call.events import Placed, Resumed
from umd.call.record import encode
from umd.control.control import Control
from umd.control.errors import NoSuchCall
from umd.control.outcome import Outcome
from umd.control.recovery import MAX_RESUMED_PER_TURN


class RecoveryTests(JournalCase):
    def restarted(self, found: list[FoundLeg]) -> Control:
        """Start a second umd on the journal of the first."""
        journal = HandJournal()
        control, fake = self.make_control(journal)
        fake.found = found
        for call in self.journal.calls():
            control.recover(call, None)
        self.successResultOf(ensureDeferred(control.start()))
        journal.settle()
        self.control, self.fake, self.journal = control, fake, journal
        return control

    def leg(self, call: Call, state: CallState = CallState.CONNECTED) -> FoundLeg:
        return FoundLeg(leg=call.leg, state=state, number=call.number)

    def test_a_call_goes_on(self) -> None:
        before = self.placed()
        control = self.restarted([self.leg(before)])
        call = control.find(before.id)
        self.assertEqual(self.journal.event_names(call), ["Resumed"])
        self.assertEqual((call.owner, call.seq), ("alice", before.seq + 1))
        answer = self.disconnect(call)
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assert_counts_agree()

    def recover(self, *calls: Call) -> Control:
        """Start a umd on a journal with these calls; all legs of live ones are found."""
        self.journal = HandJournal()
        self.control, self.fake = self.make_control(self.journal)
        for call in calls:
            self.control.recover(call, None)
        live = {call.id: call for call in calls if not call.ended}
        self.fake.found = [self.leg(call) for call in live.values()]
        self.successResultOf(ensureDeferred(self.control.start()))
        self.journal.settle()
        return self.control

    def new_call(self) -> Call:
        return Call(
            id=CallId("id"), leg=LegId("leg"), backend="fake", number="1", owner="alice", at=WALL
        )

    def test_a_call_that_ended_and_began_again_is_live(self) -> None:
        """Once the end of its first life, when it was old enough, made umd forget the second."""
        first, second = self.new_call(), self.new_call()
        first.lose("it was not found", WALL)
        control = self.recover(first, second)
        control.settings = replace(control.settings, retained_calls=0)
        other = self.placed()
        _ = self.disconnect(other)
        self.journal.settle()
        self.assertRaises(NoSuchCall, control.find, other.id)
        self.assertFalse(control.find(second.id).ended)
        self.assert_counts_agree()

    def test_a_damaged_journal_with_two_live_calls_of_one_id(self) -> None:
        """The end of the first was deleted. The call is there once, and can be ended."""
        control = self.recover(self.new_call(), self.new_call())
        answer = self.disconnect(control.find(CallId("id")))
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assert_counts_agree()

    def test_the_ids_of_a_found_call_lead_to_it(self) -> None:
        """Also if the backend does not repeat them, and after the call has ended."""
        found = FoundLeg(
            leg=LegId("chan-1"), state=CallState.CONNECTED, number="1",
            aliases={"sip-call-id": "a@pbx"}, labels=("ci",),
        )  # fmt: skip
        self.fake.appear(found)
        self.journal.settle()
        before = self.control.resolve("a@pbx")
        control = self.restarted([self.leg(before)])
        for name in ("a@pbx", "ci", "chan-1", before.id):
            self.assertEqual(control.resolve(name).id, before.id)
        answer = ensureDeferred(control.disconnect(ALICE, CallId("a@pbx"), accept_alias=True))
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        control = self.restarted([])
        for name in ("a@pbx", "ci", "chan-1"):
            self.assertTrue(control.resolve(name).ended)

    def test_many_calls_that_go_on_are_recorded_in_batches(self) -> None:
        """A call can be ended at once; its records do not wait for those of all the others."""
        before = [self.placed() for _ in range(3 * MAX_RESUMED_PER_TURN)]
        journal = HandJournal()
        control, fake = self.make_control(journal)
        fake.found = [self.leg(call) for call in before]
        for call in self.journal.calls():
            control.recover(call, None)
        self.successResultOf(ensureDeferred(control.start()))
        self.assertEqual(len(journal.events), MAX_RESUMED_PER_TURN)
        last = control.find(before[-1].id)
        answer = ensureDeferred(control.disconnect(ALICE, last.id))
        journal.commit()
        journal.commit()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        journal.settle()
        self.assertEqual(journal.event_names(last), ["DisconnectRequested", "Disconnected"])
        others = {call.id for call in before} - {last.id}
        resumed = [event.call for event in journal.events if isinstance(event, Resumed)]
        self.assertEqual(sorted(resumed), sorted(others))
        self.assertEqual(control.counts().miscounts, 0)

    def test_a_request_from_before_the_restart_is_carried_out_once(self) -> None:
        before = self.placed()
        _ = self.disconnect(before).addErrback(lambda failure: None)
        control = self.restarted([self.leg(before)])
        call = control.find(before.id)
        self.assertEqual(self.fake.commands, [("hang_up", call.leg)])
        self.assertEqual(self.journal.event_names(call), ["Resumed", "Disconnected"])
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assert_counts_agree()

    def test_legs_that_are_ending_already(self) -> None:
        """A requested end is carried out, a call goes on until its end, a new leg is no call."""
        requested, connected = self.placed(), self.placed()
        _ = self.disconnect(requested).addErrback(lambda failure: None)
        ending = CallState.DISCONNECTING
        new = FoundLeg(leg=LegId("new"), state=ending, number="1")
        control = self.restarted([self.leg(requested, ending), self.leg(connected, ending), new])
        self.assertTrue(control.find(requested.id).ended)
        self.assertEqual(list(control.live_calls()), [control.find(connected.id)])
        answer = self.disconnect(control.find(connected.id))
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assert_counts_agree()

    def test_a_call_without_its_leg_is_lost_with_a_reason(self) -> None:
        before = self.placed()
        control = self.restarted([])
        call = control.find(before.id)
        self.assertEqual(self.journal.event_names(call), ["Lost"])
        (lost,) = self.journal.events
        self.assertIn("backend fake does not carry it", getattr(lost, "reason", ""))
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assert_counts_agree()

    def test_the_call_of_a_backend_that_is_no_longer_configured(self) -> None:
        before = self.placed()
        before.backend = "gone"
        self.journal.kept[0] = (before, encode(before, _placed_by(before)), before.began_at, None)
        control = self.restarted([])
        (lost,) = self.journal.events
        self.assertIn("no backend 'gone'", getattr(lost, "reason", ""))
        self.assertTrue(control.find(before.id).ended)
        self.assert_counts_agree()

    def test_an_ended_call_is_remembered_for_the_rest_of_its_retention(self) -> None:
        before = self.placed()
        _ = self.disconnect(before)
        self.journal.settle()
        self.clock.advance(86000)
        control = self.restarted([])
        call = control.find(before.id)
        self.assertEqual((call.confirmed, call.cause and call.cause.by), (True, EndedBy.CLIENT))
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.clock.advance(401)
        self.failureResultOf(self.disconnect(call), NoSuchCall)

    def test_found_legs_with_odd_names_and_types(self) -> None:
        """A leg that no record can hold is refused; the others become calls."""
        found: Any = [
            self.found("ok-1"),
            self.found("caf\udce9"),
            self.found("\ud800"),
            self.found(""),
            self.found("x" * 256),
            self.found(None),
            self.found("dead", state=CallState.DISCONNECTED),
            self.found("no-number", number=None),
            self.found("no-id", call_id="caf\u00e9"),
            self.found("ok-2", number="\x1b[31m" + "5" * 5000),
        ]
        control = self.restarted(found)
        legs = [call.leg for call in control.live_calls()]
        self.assertEqual(legs, ["ok-1", "caf\udce9", "ok-2"])
        refused = [line for line in self.lines if line["event"] == "backend.leg-refused"]
        self.assertEqual(len(refused), len(found) - len(legs))
        odd = {call.leg: call for call in self.journal.calls()}[LegId("caf\udce9")]
        self.assertEqual(split_call_id(odd.id), (odd.leg, "fake"))
        answers = [self.disconnect(call) for call in list(control.live_calls())]
        self.journal.settle()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [Outcome.ENDED] * 3)
        self.assert_counts_agree()

    def test_a_found_leg_of_a_wrong_type_is_refused(self) -> None:
        async def legs() -> list[Any]:
            return ["no leg", None, self.found("ok")]

        control, fake = self.make_control(HandJournal())
        self.patch(fake, "legs", legs)
        self.successResultOf(ensureDeferred(control.start()))
        self.assertEqual([call.leg for call in control.live_calls()], ["ok"])

    def found(
        self,
        leg: Any,
        state: CallState = CallState.CONNECTED,
        number: Any = "1",
        call_id: Any = None,
    ) -> FoundLeg:
        return FoundLeg(leg=leg, state=state, number=number, call_id=call_id)

    def test_a_backend_that_cannot_be_asked_yet(self) -> None:
        """Its calls are neither lost nor resumed until it can be."""
        before = self.placed()

        async def unreachable() -> list[FoundLeg]:
            raise BackendUnavailable("not yet")

        journal = HandJournal()
        control, fake = self.make_control(journal)
        for call in self.journal.calls():
            control.recover(call, None)
        self.patch(fake, "legs", unreachable)
        self.successResultOf(ensureDeferred(control.start()))
        self.assertEqual(journal.events, [])
        del fake.legs
        fake.found = [self.leg(before)]
        self.successResultOf(ensureDeferred(fake.start(control.links["fake"])))
        control.links["fake"].backend_up()
        self.assertEqual([type(e) for e in journal.events], [Resumed])

    def unreachable_at_start(self, call: Call) -> Control:
        """Start a second umd whose backend cannot be asked yet for the leg of `call`."""
        journal = HandJournal()
        control, fake = self.make_control(journal)
        for known in self.journal.calls():
            control.recover(known, None)
        fake.found = [self.leg(call, CallState.DISCONNECTING)]
        fake.confirms = False

        async def not_yet() -> list[FoundLeg]:
            raise BackendUnavailable("not yet")

        self.patch(fake, "legs", not_yet)
        fake.reachable = False
        self.successResultOf(ensureDeferred(control.start()))
        del fake.legs
        self.control, self.fake, self.journal = control, fake, journal
        return control

    def test_a_request_while_the_backend_cannot_be_asked_is_sent_once(self) -> None:
        """The client that asks again when the backend is back gets the end, not the deadline."""
        before = self.placed()
        control = self.unreachable_at_start(before)
        call = control.find(before.id)
        answer = self.disconnect(call)
        self.journal.settle()
        self.failureResultOf(answer, BackendUnavailable)
        legs: Deferred[list[FoundLeg]] = Deferred()
        self.patch(self.fake, "legs", lambda: legs)
        self.fake.reachable = True
        control.links["fake"].backend_up()
        again = self.disconnect(call)
        legs.callback([self.leg(before, CallState.DISCONNECTING)])
        self.assertEqual(self.fake.commands, [("hang_up", call.leg)])
        self.fake.end(call.leg)
        self.journal.settle()
        self.assertEqual(self.successResultOf(again), Outcome.ENDED)
        self.clock.advance(self.settings.deadline)
        self.assertNotIn("call.disconnect-unconfirmed", [line["event"] for line in self.lines])
        self.assert_counts_agree()

    def test_a_request_from_before_the_restart_while_the_backend_cannot_be_asked(self) -> None:
        """It is on record, so whoever asks again learns that the backend cannot be reached."""
        before = self.placed()
        _ = self.disconnect(before).addErrback(lambda failure: None)
        control = self.unreachable_at_start(before)
        call = control.find(before.id)
        self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.fake.reachable = True
        again = self.disconnect(call)
        self.assertEqual(self.fake.commands, [("hang_up", call.leg)])
        self.fake.end(call.leg)
        self.journal.settle()
        self.assertEqual(self.successResultOf(again), Outcome.ENDED)
        self.assert_counts_agree()


def _placed_by(call: Call) -> Placed:
    return Placed(
        call=call.id,
        seq=1,
        at=call.began_at,
        leg=LegId(call.leg),
        backend=call.backend,
        number=call.number,
        owner=call.owner,
        request_id="",
    )
