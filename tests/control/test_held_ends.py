"""Ends that only a PBX has reported wait for what the wire shows, and for 32 s at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, DEADLINE, ControlRoom
from umd.backend import Changed, Ended, FoundLeg, Gone, LegEvent, LegId, Progressed, Proof
from umd.call.call import Call, CallState
from umd.call.cause import Cause, EndedBy
from umd.call.events import Disconnected
from umd.control.held_ends import HELD_FOR, UNSEEN_FOR
from umd.control.outcome import Outcome
from umd.testing import FakeBackend
from umd.trace.summary import CallSummaries

LEG = LegId("chan-a")
IDS = {"sip-call-id": "call@pbx", "channel": "77"}
BY_FAR_END = Cause(by=EndedBy.FAR_END)
BY_PBX = Cause(by=EndedBy.CLIENT, q850=16)


@dataclass
class Watched:
    call_id: str
    tags: tuple[str, ...]
    since: float
    then: Callable[[int], None]
    forgotten: bool = False

    def forget(self) -> None:
        self.forgotten = True


class ScriptedWitness:
    """Notes what it is asked for; `status`: what it has seen already."""

    def __init__(self) -> None:
        self.watches: list[Watched] = []
        self.status: int | None = None
        self.seen = True

    def sees(self, call_id: str, /) -> bool:
        return self.seen

    def watch(
        self, call_id: str, tags: tuple[str, ...], since: float, then: Callable[[int], None], /
    ) -> Callable[[], None]:
        watched = Watched(call_id, tags, since, then)
        self.watches.append(watched)
        if self.status is not None:
            then(self.status)
        return watched.forget


class HeldCase(SynchronousTestCase):
    witnessed = True

    def setUp(self) -> None:
        self.witness = ScriptedWitness()
        self.summaries = CallSummaries(lambda: 0.0)
        self.room = ControlRoom(
            witness=self.witness if self.witnessed else None, summaries=self.summaries
        )
        self.control, self.fake, self.clock = self.room.control, self.room.fake, self.room.clock
        self.hang_ups: list[LegId] = []
        self.patch(FakeBackend, "hang_up", lambda fake, leg, cause: self.hang_ups.append(leg))
        self.successResultOf(ensureDeferred(self.control.start()))

    def appear(self, aliases: dict[str, str] = IDS) -> Call:
        self.fake.appear(
            FoundLeg(leg=LEG, state=CallState.CONNECTED, number="100", aliases=aliases)
        )
        return self.control.resolve(LEG)

    def report(self, event: LegEvent) -> None:
        assert self.fake.sink is not None
        self.fake.sink.leg_event(event)

    def disconnect(self, call: Call) -> Deferred[Outcome]:
        return ensureDeferred(self.control.disconnect(ALICE, call.id, "r-1"))

    def end_of(self, call: Call) -> Disconnected | None:
        """Return the only end event of a call, if there is one yet."""
        ends = [event for event in self.room.events if isinstance(event, Disconnected)]
        self.assertLessEqual(len(ends), 1)
        return ends[0] if ends else None


class HeldEndTests(HeldCase):
    def test_the_answer_on_the_wire_confirms_the_end(self) -> None:
        """The client is answered when the far end has answered, not when the PBX says so."""
        call = self.appear()
        outcome = self.disconnect(call)
        self.report(Ended(LEG, BY_PBX, shown_by=Proof.PBX))
        self.assertNoResult(outcome)
        self.assertIsNone(self.end_of(call))
        (watched,) = self.witness.watches
        self.assertEqual((watched.call_id, watched.tags), ("call@pbx", ()))
        self.assertEqual(watched.since, 1_000_000.0)
        self.clock.advance(0.05)
        watched.then(200)
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED)
        end = self.end_of(call)
        assert end is not None
        self.assertEqual((end.shown_by, end.confirmed), (Proof.FAR_END, True))
        self.assertEqual((end.cause.sip_status, end.cause.q850), (200, 16))
        self.assertTrue(watched.forgotten)
        self.clock.advance(HELD_FOR)
        self.assertEqual(self.room.event_names(call), ["Found", "DisconnectRequested",
                                                       "Disconnected"])  # fmt: skip

    def test_an_answer_that_was_seen_before_the_report(self) -> None:
        self.witness.status = 481
        call = self.appear()
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        end = self.end_of(call)
        assert end is not None
        self.assertEqual((end.shown_by, end.cause.sip_status), (Proof.FAR_END, 481))

    def test_without_an_answer_the_end_stays_unconfirmed(self) -> None:
        """The client is answered at its deadline; the end is recorded after 64 T1."""
        call = self.appear()
        outcome = self.disconnect(call)
        self.clock.advance(1.0)
        self.report(Ended(LEG, BY_PBX, shown_by=Proof.PBX))
        self.clock.advance(DEADLINE - 1.0)
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED_UNCONFIRMED)
        self.assertIsNone(self.end_of(call))
        again = self.disconnect(call)
        self.assertEqual(self.successResultOf(again), Outcome.ENDED_UNCONFIRMED)
        self.clock.advance(HELD_FOR)
        end = self.end_of(call)
        assert end is not None
        self.assertEqual((end.shown_by, end.confirmed), (Proof.PBX, False))
        self.assertEqual(end.at, 1_000_001.0)
        self.assertEqual(self.hang_ups, [LEG])

    def test_a_pbx_that_sends_no_copies(self) -> None:
        """If no message of the call was seen, its end is held for a moment only."""
        self.witness.seen = False
        call = self.appear()
        outcome = self.disconnect(call)
        self.report(Ended(LEG, BY_PBX, shown_by=Proof.PBX))
        self.clock.advance(UNSEEN_FOR)
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED_UNCONFIRMED)
        self.assertIsNotNone(self.end_of(call))

    def test_the_first_message_is_seen_after_the_report(self) -> None:
        """It is that of a call that began before umd; the end is held for the whole time."""
        self.witness.seen = False
        call = self.appear()
        self.report(Ended(LEG, BY_PBX, shown_by=Proof.PBX))
        self.witness.seen = True
        self.clock.advance(UNSEEN_FOR)
        self.clock.advance(HELD_FOR - UNSEEN_FOR - 0.1)
        self.assertIsNone(self.end_of(call))
        self.clock.advance(0.1)
        self.assertIsNotNone(self.end_of(call))

    def test_a_request_after_the_report_waits_for_the_same_end(self) -> None:
        """The PBX is not asked to end a call that it has ended, and the cause is the far end's."""
        call = self.appear()
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        outcome = self.disconnect(call)
        self.assertNoResult(outcome)
        self.assertEqual(self.hang_ups, [])
        self.witness.watches[0].then(200)
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED)
        end = self.end_of(call)
        assert end is not None
        self.assertEqual((end.cause.by, end.cause.sip_status), (EndedBy.FAR_END, None))

    def test_what_the_backend_says_after_the_end_changes_nothing(self) -> None:
        """A list without the leg does not make it lost, and a second end is refused."""
        call = self.appear()
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        self.report(Gone(LEG, "not in the list"))
        self.report(Progressed(LEG))
        self.report(Ended(LEG, BY_FAR_END))
        assert self.fake.sink is not None
        self.fake.found = []
        self.fake.sink.backend_down("gone")
        self.fake.sink.backend_up()
        self.assertIsNone(self.end_of(call))
        self.assertFalse(call.ended)
        self.witness.watches[0].then(200)
        self.assertIsNotNone(self.end_of(call))
        self.assertEqual(self.control.counts().refused_events, 2)
        self.assertTrue(self.control.counts().right)

    def test_only_the_word_of_a_pbx_is_held(self) -> None:
        for proof in (Proof.FAR_END, Proof.SECOND_LOOK, Proof.NONE):
            self.setUp()
            call = self.appear()
            self.report(Ended(LEG, BY_FAR_END, shown_by=proof))
            end = self.end_of(call)
            assert end is not None
            self.assertEqual(end.shown_by, proof)
            self.assertEqual(self.witness.watches, [])

    def test_a_call_without_a_call_id_is_not_held(self) -> None:
        call = self.appear({"channel": "77"})
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        self.assertIsNotNone(self.end_of(call))

    def test_both_far_ends_of_a_proxy_are_asked_for(self) -> None:
        self.appear({**IDS, "sip-callee-tag": "b", "sip-caller-tag": "a"})
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        self.assertEqual(self.witness.watches[0].tags, ("a", "b"))

    def test_umd_stops_while_an_end_is_held(self) -> None:
        """The end is on record before umd has stopped, as the PBX has reported it."""
        call = self.appear()
        self.report(Ended(LEG, BY_FAR_END, shown_by=Proof.PBX))
        self.successResultOf(ensureDeferred(self.control.stop()))
        end = self.end_of(call)
        assert end is not None
        self.assertEqual(end.shown_by, Proof.PBX)
        self.assertTrue(self.witness.watches[0].forgotten)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_messages_of_a_witnessed_call_are_summarised(self) -> None:
        """Under the Call-ID, which the PBX may tell only after it has reported the call."""
        self.appear({"channel": "77"})
        self.assertEqual(len(self.summaries), 0)
        self.report(Changed(leg=LEG, aliases=IDS))
        self.assertEqual(len(self.summaries), 1)
        self.report(Ended(LEG, BY_FAR_END))
        self.assertEqual(len(self.summaries), 0)


class UnwitnessedTests(HeldCase):
    witnessed = False

    def test_without_a_witness_nothing_is_held(self) -> None:
        call = self.appear()
        outcome = self.disconnect(call)
        self.report(Ended(LEG, BY_PBX, shown_by=Proof.PBX))
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED_UNCONFIRMED)
        self.assertIsNotNone(self.end_of(call))
