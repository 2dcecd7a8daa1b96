"""Calls that umd did not place: they appear, have several ids, are bridged, and end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.control.test_control import ControlCase
from tests.helpers import ALICE, BOB, DEADLINE, ControlRoom
from umd.backend import Changed, Direction, Ended, FoundLeg, LegId, Proof
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, make_call_id, split_call_id
from umd.call.cause import Cause, EndedBy
from umd.call.events import Disconnected, DisconnectRequested, LifecycleEvent
from umd.call.principal import Principal, Scope
from umd.call.record import decode, encode, replay
from umd.control.errors import AmbiguousId, NoSuchCall
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.sip import compiled
from umd.testing import FakeBackend

OWNER = Principal("alice", "", frozenset({Scope.END_OWN}))
A, B, C = LegId("chan-a"), LegId("chan-b"), LegId("chan-c")
FAR_END = Cause(by=EndedBy.FAR_END)


def found(leg: LegId, **more: object) -> FoundLeg:
    values: dict[str, object] = {"state": CallState.CONNECTED, "number": "100", **more}
    return FoundLeg(leg=leg, **values)  # type: ignore[arg-type]


def skip_if_compiled() -> None:
    """Skip a test of values of a wrong type: compiled events refuse them in the backend itself."""
    if compiled():
        raise SkipTest("compiled code checks the types of an event where the backend makes it")


class FoundCase(ControlCase):
    def appear(self, leg: LegId, **more: object) -> Call:
        self.fake.appear(found(leg, **more))
        return self.control.resolve(leg)

    def bridge(self, *legs: LegId) -> None:
        for leg in legs:
            others = tuple(other for other in legs if other != leg)
            self.report(Changed(leg=leg, partners=others))

    def end_by_alias(self, text: str, principal: Principal = ALICE) -> Deferred[Outcome]:
        return ensureDeferred(
            self.control.disconnect(principal, CallId(text), "r-1", accept_alias=True)
        )

    def events_of(self, call: Call) -> list[LifecycleEvent]:
        return [event for event in self.room.events if event.call == call.id]


class AppearTests(FoundCase):
    def test_a_call_appears_while_umd_runs(self) -> None:
        """It is a call like any other: listed, and ended by its CallId."""
        call = self.appear(A, direction=Direction.INBOUND, began_at=1.0)
        self.assertEqual(self.room.event_names(call), ["Found"])
        self.assertEqual(list(self.control.live_calls()), [call])
        self.assertEqual(split_call_id(call.id), (A, "fake"))
        self.assertEqual((call.direction, call.began_at), (Direction.INBOUND, 1.0))
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)

    def test_a_restart_knows_when_a_found_call_was_answered(self) -> None:
        """A PBX tells when the call began; the time of talking does not change by a restart."""
        call = self.appear(A, began_at=1.0)
        (event,) = self.events_of(call)
        again = replay(None, decode(encode(call, event)), event.at)
        self.assertEqual(
            (again.began_at, again.connected_at), (call.began_at, call.connected_at)
        )

    def test_a_repetition_changes_nothing(self) -> None:
        """The list of a PBX and its event may both report a leg."""
        call = self.appear(A)
        self.appear(A)
        self.assertEqual(self.room.event_names(call), ["Found"])
        self.assertEqual(self.control.counts().begun, 1)

    def test_a_leg_whose_end_was_confirmed_does_not_appear_again(self) -> None:
        """A PBX may list a leg for a while after its far end is down."""
        call = self.appear(A)
        self.report(Ended(A, FAR_END))
        assert self.fake.sink is not None
        self.fake.sink.leg_found(found(A))
        self.assertEqual(list(self.control.live_calls()), [])
        self.assertEqual(self.room.event_names(call), ["Found", "Disconnected"])

    def test_a_leg_that_was_lost_appears_again_as_another_call(self) -> None:
        """The end of the first call is on record; the leg lives, and can be ended."""
        lost = self.appear(A)
        self.report(Ended(A, FAR_END, shown_by=Proof.PBX))
        again = self.appear(A)
        self.assertNotEqual(again.id, lost.id)
        self.assertEqual(self.successResultOf(self.end_by_alias(A)), Outcome.ENDED)
        self.assertEqual(self.room.event_names(lost), ["Found", "Disconnected"])
        self.assert_ended_once(again)

    def test_an_odd_leg_does_not_spoil_the_others(self) -> None:
        assert self.fake.sink is not None
        for odd in (
            None, found(LegId("")), found(B, number=7), found(LegId("x" * 256)),
            found(B, aliases=["channel"]), found(B, labels="ci"), found(B, partners=A),
        ):  # fmt: skip
            self.fake.sink.leg_found(odd)  # type: ignore[arg-type]
        self.appear(A)
        self.assertEqual(len(list(self.control.live_calls())), 1)

    def test_invalid_aliases_are_left_out(self) -> None:
        """The leg itself still becomes a call."""
        for number, aliases in enumerate(
            ({"Channel": "x"}, {"channel": ""}, {"channel": "a\nb"}, {"channel": 7})
        ):
            call = self.appear(LegId(f"leg-{number}"), aliases=aliases)
            self.assertEqual(dict(call.aliases), {})

    def assert_ended_once(self, call: Call) -> None:
        self.assertEqual(len(self.ended(call)), 1)


class AliasTests(FoundCase):
    def test_each_id_ends_the_call(self) -> None:
        for name in ("the-channel", "call-1@pbx", "ci-4711", "chan-a"):
            call = self.appear(
                A,
                aliases={"channel": "the-channel", "sip-call-id": "call-1@pbx"},
                labels=("ci-4711",),
            )
            self.assertEqual(self.successResultOf(self.end_by_alias(name)), Outcome.ENDED)
            self.assertEqual(
                self.successResultOf(self.end_by_alias(name)), Outcome.ALREADY_ENDED
            )
            self.assertEqual(len(self.ended(call)), 1)
            self.setUp()

    def test_an_alias_is_exact(self) -> None:
        """What changes something takes no prefix."""
        self.appear(A, aliases={"channel": "the-channel"})
        for text in ("the-chan", "THE-CHANNEL", "the-channel ", "", "\ud800"):
            self.failureResultOf(self.end_by_alias(text), NoSuchCall)
        self.assertEqual(self.fake.commands, [])

    def test_the_call_id_of_a_forgotten_call_names_no_other_call(self) -> None:
        """A client that ends a call again long after its end does not end another one."""
        for node in ("lab-1", "fake"):
            stale = make_call_id("ended-long-ago", node)
            self.appear(A, aliases={"channel": stale})
            self.failureResultOf(self.end_by_alias(stale), NoSuchCall)
            self.assertRaises(NoSuchCall, self.control.resolve, stale)
            self.setUp()
        elsewhere = make_call_id("a-channel", "another-node")
        self.appear(A, aliases={"channel": elsewhere})
        self.assertEqual(self.successResultOf(self.end_by_alias(elsewhere)), Outcome.ENDED)

    def test_an_alias_is_not_accepted_unless_wanted(self) -> None:
        self.appear(A, aliases={"channel": "the-channel"})
        self.failureResultOf(self.disconnect("the-channel"), NoSuchCall)

    def test_a_label_of_two_calls_names_neither(self) -> None:
        first, second = self.appear(A, labels=("ci",)), self.appear(B, labels=("ci",))
        error = self.failureResultOf(self.end_by_alias("ci"), AmbiguousId).value
        self.assertEqual(set(error.candidates), {first.id, second.id})
        self.report(Ended(A, FAR_END))
        self.assertEqual(self.successResultOf(self.end_by_alias("ci")), Outcome.ENDED)
        self.assertEqual(second.state, CallState.DISCONNECTED)

    def test_ids_change(self) -> None:
        """After a masquerade the new ids lead to the call, and the old ones do not."""
        call = self.appear(A, aliases={"channel": "old", "sip-call-id": "same"})
        self.report(Changed(leg=A, aliases={"channel": "new", "sip-call-id": "same"}, number="9"))
        self.assertEqual(self.room.event_names(call), ["Found", "Changed"])
        self.assertEqual(call.number, "9")
        self.failureResultOf(self.end_by_alias("old"), NoSuchCall)
        self.assertEqual(self.successResultOf(self.end_by_alias("new")), Outcome.ENDED)

    def test_a_change_that_changes_nothing_is_not_recorded(self) -> None:
        call = self.appear(A, aliases={"channel": "x"})
        self.report(Changed(leg=A, aliases={"channel": "x"}, labels=(), partners=()))
        self.assertEqual(self.room.event_names(call), ["Found"])

    def test_only_those_who_may_end_it_can_name_it(self) -> None:
        """To others an alias looks like an id that umd never issued."""
        self.appear(A, aliases={"channel": "x"}, owner="bob")
        self.failureResultOf(self.end_by_alias("x", OWNER), NoSuchCall)
        self.assertEqual(self.fake.commands, [])

    def test_calls_of_others_do_not_show_through_an_alias(self) -> None:
        """The answer for an own call is the same, whether or not another call has the alias."""
        own = self.appear(A, labels=("ci",), owner="alice")
        foreign = self.appear(B, labels=("ci",), owner="bob")
        self.assertIs(self.control.inform(OWNER, CallId("ci"), accept_alias=True), own)
        for outcome in (Outcome.ENDED, Outcome.ALREADY_ENDED):
            self.assertEqual(self.successResultOf(self.end_by_alias("ci", OWNER)), outcome)
        self.assertEqual(foreign.state, CallState.CONNECTED)


class OwnerTests(FoundCase):
    def test_the_owner_that_the_pbx_names_may_end_it(self) -> None:
        self.appear(A, owner="alice")
        self.assertEqual(self.successResultOf(self.end_by_alias(A, OWNER)), Outcome.ENDED)

    def test_a_call_without_an_owner_is_nobodys(self) -> None:
        self.appear(A)
        self.failureResultOf(self.end_by_alias(A, OWNER), NoSuchCall)


class MappedOwnerTests(FoundCase):
    settings = ControlSettings(owners={"agent-7": "alice"})

    def test_the_configuration_maps_owners(self) -> None:
        """An owner that it does not list belongs to no principal."""
        mapped = self.appear(A, owner="agent-7")
        foreign = self.appear(B, owner="alice")
        self.assertEqual((mapped.owner, foreign.owner), ("alice", ""))


class PartnerTests(FoundCase):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.appear(A), self.appear(B)
        self.bridge(A, B)

    def test_ending_one_ends_both(self) -> None:
        """Each has one end event; that of the second names the first."""
        self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
        self.assertEqual([len(self.ended(call)) for call in (self.a, self.b)], [1, 1])
        self.assertIsNone(self.ended(self.a)[0].caused_by)
        self.assertEqual(self.ended(self.b)[0].caused_by, self.a.id)
        self.assertEqual(self.ended(self.b)[0].cause.by, EndedBy.CLIENT)

    def test_the_weaker_end_is_the_answer(self) -> None:
        """OK means that every far end of the conversation is down."""
        self.fake.confirms = False
        answer = self.disconnect(self.a)
        self.report(Ended(A, Cause(by=EndedBy.CLIENT)))
        self.assertNoResult(answer)
        self.clock.advance(DEADLINE)
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED_UNCONFIRMED)

    def test_a_partner_that_ends_from_within_the_request(self) -> None:
        """The word of a PBX for the partner confirms nothing, however early it comes."""
        hang_up = self.fake.hang_up

        def hang_up_both(leg: LegId, cause: Cause) -> None:
            if leg == A:
                by_partner = Cause(by=EndedBy.PARTNER)
                self.report(Ended(B, by_partner, shown_by=Proof.PBX, caused_by=A))
            hang_up(leg, cause)

        self.patch(self.fake, "hang_up", hang_up_both)
        self.assertEqual(
            self.successResultOf(self.disconnect(self.a)), Outcome.ENDED_UNCONFIRMED
        )
        self.assertEqual([len(self.ended(call)) for call in (self.a, self.b)], [1, 1])

    def test_a_leg_that_names_its_partner_twice_or_itself_too(self) -> None:
        """That makes no conference of a pair."""
        for partners in ((B, B), (A, B), (B, A, B)):
            self.setUp()
            self.report(Changed(leg=A, partners=partners))
            self.assertEqual(self.a.partners, (self.b.id,))
            self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
            self.assertEqual(self.b.state, CallState.DISCONNECTED)

    def test_values_of_another_type(self) -> None:
        """What is no tuple of legs changes no partners, and an odd cause costs no end event."""
        skip_if_compiled()
        odd: Any
        for odd in (7, "chan-a", [A], {A}):
            self.report(Changed(leg=A, partners=odd))
            self.assertEqual(self.a.partners, (self.b.id,))
        for call, odd in ((self.a, []), (self.b, 7)):
            self.report(Ended(call.leg, FAR_END, caused_by=odd))
            self.assertEqual(len(self.ended(call)), 1)
            self.assertIsNone(call.caused_by)

    def test_both_ends_are_requested_at_once(self) -> None:
        """Forty clients for each leg share one teardown for each leg."""
        self.fake.confirms = False
        answers = [self.disconnect(call) for _ in range(40) for call in (self.a, self.b)]
        self.assertEqual(self.fake.commands, [("hang_up", A), ("hang_up", B)])
        self.report(Ended(B, Cause(by=EndedBy.CLIENT)))
        self.report(Ended(A, Cause(by=EndedBy.CLIENT)))
        outcomes = {self.successResultOf(answer) for answer in answers}
        self.assertEqual(outcomes, {Outcome.ENDED})
        requested = [e for e in self.room.events if isinstance(e, DisconnectRequested)]
        self.assertEqual(len(requested), 2)

    def test_the_pbx_ends_the_partner(self) -> None:
        """A far end hangs up, and its partner follows: the event says so."""
        self.report(Ended(A, FAR_END))
        self.report(Ended(B, Cause(by=EndedBy.PARTNER), caused_by=A))
        (end,) = self.ended(self.b)
        self.assertEqual((end.caused_by, end.cause.by), (self.a.id, EndedBy.PARTNER))

    def test_a_transferred_call_has_the_new_partner(self) -> None:
        c = self.appear(C)
        self.report(Changed(leg=B, partners=()))
        self.bridge(A, C)
        self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
        self.assertEqual(c.state, CallState.DISCONNECTED)
        self.assertEqual(self.b.state, CallState.CONNECTED)

    def test_a_conference_goes_on_without_one(self) -> None:
        c = self.appear(C)
        self.bridge(A, B, C)
        self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
        self.assertEqual({self.b.state, c.state}, {CallState.CONNECTED})

    def test_a_partner_that_appears_later(self) -> None:
        """A PBX may name a leg before it reports it."""
        late = LegId("late")
        self.bridge(C, late)
        first = self.appear(C, partners=(late,))
        second = self.appear(late)
        self.assertEqual(first.partners, (second.id,))

    def test_a_partner_that_lives_again(self) -> None:
        """A PBX names legs; a leg whose end was not confirmed is another call when it is back."""
        self.report(Ended(B, FAR_END, shown_by=Proof.PBX))
        again = self.appear(B, partners=(A,))
        self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
        self.assertEqual([len(self.ended(call)) for call in (self.a, again)], [1, 1])

    def test_another_call_with_the_leg_name_of_an_ended_partner(self) -> None:
        """It is no partner unless it says so itself."""
        self.report(Ended(B, FAR_END, shown_by=Proof.PBX))
        other = self.appear(B)
        self.assertEqual(self.successResultOf(self.disconnect(self.a)), Outcome.ENDED)
        self.assertEqual(other.state, CallState.CONNECTED)


class PartnerElsewhereTests(SynchronousTestCase):
    def test_a_call_of_another_backend_is_no_partner(self) -> None:
        """Its CallId may be that of a leg here, if this backend has the name of the node."""
        clock = Clock()
        pbx, sip = FakeBackend("lab-1", clock=clock), FakeBackend("sip", clock=clock)
        room = ControlRoom({"lab-1": pbx, "sip": sip}, None, clock)
        self.successResultOf(ensureDeferred(room.control.start()))
        placed = room.control.place(BOB, "answers", backend="sip")
        pbx.appear(found(A, partners=(placed.leg,)))
        answer = ensureDeferred(
            room.control.disconnect(ALICE, room.control.resolve(A).id, "r-1")
        )
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assertEqual(placed.state, CallState.CONNECTED)


class ProofTests(FoundCase):
    def test_the_word_of_a_pbx_confirms_nothing(self) -> None:
        call = self.appear(A)
        self.fake.confirms = False
        answer = self.disconnect(call)
        self.report(Ended(A, Cause(by=EndedBy.CLIENT), shown_by=Proof.PBX))
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED_UNCONFIRMED)
        (end,) = self.ended(call)
        self.assertEqual((end.confirmed, end.shown_by), (False, Proof.PBX))

    def test_what_an_old_backend_reports(self) -> None:
        """A backend that only knows `confirmed` still says what shows the end."""
        for confirmed, proof in ((True, Proof.FAR_END), (False, Proof.NONE)):
            self.assertEqual(Ended(A, FAR_END, confirmed).shown_by, proof)
        self.assertTrue(Ended(A, FAR_END, False, shown_by=Proof.SECOND_LOOK).confirmed)
        self.assertFalse(Ended(A, FAR_END, shown_by=Proof.PBX).confirmed)

    def test_a_proof_that_there_is_not(self) -> None:
        """It fails where the backend makes the event: no restart could read it in the journal."""
        skip_if_compiled()
        proof: Any
        for proof in ("certain", "", 7):
            self.assertRaises(ValueError, Ended, A, FAR_END, shown_by=proof)
        proof = "pbx"
        self.assertIs(Ended(A, FAR_END, shown_by=proof).shown_by, Proof.PBX)

    def test_a_call_that_was_never_dialled(self) -> None:
        """Nothing has to be confirmed."""
        self.fake.reachable = False
        call = self.control.place(BOB, "answers")
        (end,) = self.ended(call)
        self.assertEqual(end.shown_by, Proof.NOT_DIALLED)
        self.assertIsInstance(end, Disconnected)
