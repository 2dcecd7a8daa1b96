"""The use cases without a journal: calls on a fake backend and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, BOB, DEADLINE, ControlRoom
from umd.backend import (
    Answered,
    BackendUnavailable,
    Ended,
    FoundLeg,
    Gone,
    LegEvent,
    LegId,
    Progressed,
)
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, split_call_id
from umd.call.cause import Cause, EndedBy, rejection
from umd.call.events import Disconnected, DisconnectRequested, Lost, Resumed
from umd.control.errors import BackendFailed, NoSuchBackend, NoSuchCall, Stopping
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.control.teardowns import RETRY_INTERVAL
from umd.testing import FakeBackend


class ControlCase(SynchronousTestCase):
    settings: ControlSettings | None = None

    def setUp(self) -> None:
        self.room = ControlRoom(settings=self.settings)
        self.control, self.fake, self.clock = self.room.control, self.room.fake, self.room.clock
        self.successResultOf(ensureDeferred(self.control.start()))

    def disconnect(self, call: Call | str) -> Deferred[Outcome]:
        call_id = call.id if isinstance(call, Call) else CallId(call)
        return ensureDeferred(self.control.disconnect(ALICE, call_id, "r-1"))

    def report(self, event: LegEvent) -> None:
        assert self.fake.sink is not None
        self.fake.sink.leg_event(event)

    def ended(self, call: Call) -> list[Disconnected]:
        events = self.room.events
        return [e for e in events if isinstance(e, Disconnected) and e.call == call.id]


class PlaceTests(ControlCase):
    def test_a_call_is_placed_rings_and_is_answered(self) -> None:
        call = self.control.place(ALICE, "answers", request_id="r-0")
        self.assertEqual(self.room.event_names(call), ["Placed", "Alerting", "Connected"])
        self.assertEqual(call.state, CallState.CONNECTED)
        self.assertEqual(split_call_id(call.id), ("leg-1", "lab-1"))
        self.assertEqual(list(self.control.live_calls()), [call])

    def test_a_rejected_call_has_ended_and_is_remembered(self) -> None:
        call = self.control.place(ALICE, "rejects")
        self.assertEqual(self.room.event_names(call), ["Placed", "Disconnected"])
        self.assertIs(self.control.find(call.id), call)
        self.assertEqual(list(self.control.live_calls()), [])

    def test_no_such_backend(self) -> None:
        with self.assertRaisesRegex(NoSuchBackend, "no backend 'pbx'; there is: fake"):
            self.control.place(ALICE, "answers", backend="pbx")
        self.assertEqual(self.room.events, [])

    def test_an_unreachable_backend_leaves_no_live_call(self) -> None:
        self.fake.reachable = False
        call = self.control.place(ALICE, "answers")
        self.failureResultOf(ensureDeferred(self.control.dialled(call)), BackendUnavailable)
        self.assertEqual(self.room.event_names(), ["Placed", "Disconnected"])
        self.assertEqual(list(self.control.live_calls()), [])


class DisconnectTests(ControlCase):
    def test_a_connected_call(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)
        self.assertEqual(
            self.room.event_names(call),
            ["Placed", "Alerting", "Connected", "DisconnectRequested", "Disconnected"],
        )
        (end,) = self.ended(call)
        self.assertEqual((end.cause.by, end.cause.sip_status), (EndedBy.CLIENT, 200))

    def test_a_ringing_call(self) -> None:
        call = self.control.place(ALICE, "rings")
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)
        self.assertEqual(self.ended(call)[0].cause.sip_status, 487)

    def test_a_leg_that_is_gone_loses_its_call(self) -> None:
        """The record has the reason, and a later request is answered that the call has ended."""
        call = self.control.place(ALICE, "answers")
        self.report(Gone(call.leg, "the PBX was restarted"))
        (lost,) = [event for event in self.room.events if isinstance(event, Lost)]
        self.assertEqual((lost.call, lost.reason), (call.id, "the PBX was restarted"))
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assertEqual(self.control.counts().refused_events, 0)

    def test_a_leg_that_is_gone_during_its_teardown(self) -> None:
        """The client is answered at once, as no confirmation can come any more."""
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)
        self.report(Gone(call.leg, "the PBX was restarted"))
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED_UNCONFIRMED)

    def test_the_answer_waits_for_the_far_end(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)
        self.clock.advance(DEADLINE - 0.001)
        self.assertNoResult(answer)
        self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])

    def test_two_requests_share_one_teardown(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        first, second = self.disconnect(call), self.disconnect(call)
        self.assertEqual(self.fake.commands.count(("hang_up", call.leg)), 1)
        self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(first), Outcome.ENDED)
        self.assertEqual(self.successResultOf(second), Outcome.ENDED)
        self.assertEqual(self.room.event_names(call).count("DisconnectRequested"), 1)
        self.assertEqual(len(self.ended(call)), 1)

    def test_an_ended_call_gets_the_same_answer_and_no_second_event(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.successResultOf(self.disconnect(call))
        before = list(self.room.events)
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assertEqual(self.room.events, before)
        self.assertEqual(self.fake.commands.count(("hang_up", call.leg)), 1)

    def test_an_id_umd_never_issued(self) -> None:
        call = self.control.place(ALICE, "answers")
        for other in ("", "garbage", call.id[:-1], call.id + "=", call.id.lower(), " " + call.id):
            self.failureResultOf(self.disconnect(other), NoSuchCall)
        self.assertEqual(call.state, CallState.CONNECTED)

    def test_a_far_end_that_hangs_up_first(self) -> None:
        """The hang-ups cross: one end event by the client, the far end's as superseded."""
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)
        self.fake.end(call.leg, Cause(by=EndedBy.FAR_END))
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        (end,) = self.ended(call)
        assert end.superseded is not None
        self.assertEqual((end.cause.by, end.superseded.by), (EndedBy.CLIENT, EndedBy.FAR_END))

    def test_an_answer_that_crosses_the_hang_up(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "rings")
        answer = self.disconnect(call)
        self.fake.answer(call.leg)
        self.assertNoResult(answer)
        self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        # The event carries what the backend needs to end the leg after a restart.
        self.assertEqual(self.room.event_names(call)[-2:], ["Connected", "Disconnected"])

    def test_a_client_that_leaves_does_not_stop_the_teardown(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        gone, stays = self.disconnect(call), self.disconnect(call)
        gone.cancel()
        self.failureResultOf(gone)
        self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(stays), Outcome.ENDED)

    def test_one_answer_can_make_another_client_leave(self) -> None:
        """A client may leave while the other clients are being answered."""
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        first, second = self.disconnect(call), self.disconnect(call)
        left: list[object] = []
        clients = (second.addErrback(left.append), first.addCallback(lambda _: second.cancel()))
        self.fake.end(call.leg)
        self.assertEqual(len(self.ended(call)), 1)
        self.assertEqual(len(left), 1)
        self.assertTrue(all(client.called for client in clients))


class SilentFarEndTests(ControlCase):
    def setUp(self) -> None:
        super().setUp()
        self.call = self.control.place(ALICE, "silent")
        self.answer = self.disconnect(self.call)

    def test_the_client_is_answered_at_the_deadline_and_the_call_ends_later(self) -> None:
        self.clock.advance(DEADLINE)
        self.assertEqual(self.successResultOf(self.answer), Outcome.ENDED_UNCONFIRMED)
        self.assertEqual(self.call.state, CallState.DISCONNECTING)
        (line,) = (e for e in self.room.lines if e["event"] == "call.disconnect-unconfirmed")
        self.assertEqual((line["call"], line["leg"]), (self.call.id, self.call.leg))
        self.assertEqual(self.ended(self.call), [])
        self.clock.advance(27.0)
        (end,) = self.ended(self.call)
        self.assertEqual((end.confirmed, end.cause.sip_status, end.cause.q850), (False, 408, 102))
        self.assertEqual(end.cause.by, EndedBy.CLIENT)

    def test_a_request_after_the_deadline_is_answered_at_once(self) -> None:
        self.clock.advance(DEADLINE)
        later = self.disconnect(self.call)
        self.assertEqual(self.successResultOf(later), Outcome.ENDED_UNCONFIRMED)
        self.assertEqual(self.fake.commands.count(("hang_up", self.call.leg)), 1)

    def test_a_later_request_waits_no_longer_than_the_first(self) -> None:
        self.clock.advance(DEADLINE - 1.0)
        late = self.disconnect(self.call)
        self.clock.advance(1.0)
        self.assertEqual(self.successResultOf(late), Outcome.ENDED_UNCONFIRMED)

    def test_a_late_confirmation_counts(self) -> None:
        self.clock.advance(10.0)
        self.fake.end(self.call.leg)
        self.assertTrue(self.ended(self.call)[0].confirmed)


class UnreachableTests(ControlCase):
    """A request that an unreachable backend cannot take is kept until the backend is back."""

    def test_the_request_is_carried_out_when_the_backend_is_back(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.fake.reachable = False
        failure = self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.assertIn("fake", str(failure.value))
        self.assertEqual(call.state, CallState.DISCONNECTING)
        self.fake.reachable = True
        assert self.fake.sink is not None
        self.fake.sink.backend_up()
        self.assertEqual(len(self.ended(call)), 1)
        self.assertEqual(self.room.event_names(call).count("DisconnectRequested"), 1)
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)

    def test_a_second_request_tries_again(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.fake.reachable = False
        self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.fake.reachable = True
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)
        self.assertEqual([e for e in self.room.logged() if "down" in e], ["backend.down"])

    def test_clients_that_wait_are_answered_when_the_backend_goes_down(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        first, second = self.disconnect(call), self.disconnect(call)
        assert self.fake.sink is not None
        self.fake.sink.backend_down("connection lost")
        first_error = self.failureResultOf(first, BackendUnavailable).value
        second_error = self.failureResultOf(second, BackendUnavailable).value
        self.assertIsNot(first_error, second_error)
        self.assertIn("connection lost", str(first_error))
        self.fake.sink.backend_up()
        self.assertEqual(self.fake.commands.count(("hang_up", call.leg)), 2)
        third = self.disconnect(call)
        self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(third), Outcome.ENDED)
        self.assertEqual(len(self.ended(call)), 1)

    def test_a_leg_the_backend_has_forgotten_is_over_but_not_confirmed(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.fake.lose(call.leg)
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED_UNCONFIRMED)
        (end,) = self.ended(call)
        self.assertFalse(end.confirmed)
        self.assertIn("backend.leg-lost", self.room.logged())


class FailingBackendTests(ControlCase):
    """A command that a backend fails to carry out does not count as done."""

    def break_it(self, name: str) -> None:
        def broken(*_: object) -> None:
            raise ValueError("a mistake")

        setattr(self.fake, name, broken)

    def test_a_hang_up_that_fails_is_tried_again(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.break_it("hang_up")
        for _ in range(2):
            self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.assertEqual(self.room.logged().count("backend.failed"), 2)
        self.clock.advance(60.0)
        self.assertEqual(self.ended(call), [])
        del self.fake.hang_up
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)

    def test_a_hang_up_that_failed_is_retried_without_a_new_request(self) -> None:
        """The backend is told once in each RETRY_INTERVAL, however many requests there were."""
        call = self.control.place(ALICE, "answers")
        self.break_it("hang_up")
        for _ in range(3):
            self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.clock.pump([RETRY_INTERVAL / 2] * 4)
        self.assertEqual(self.room.logged().count("backend.failed"), 3 + 2)
        del self.fake.hang_up
        self.clock.advance(RETRY_INTERVAL)
        self.assertEqual(len(self.ended(call)), 1)
        self.clock.advance(10 * RETRY_INTERVAL)
        self.assertEqual(self.fake.commands.count(("hang_up", call.leg)), 1)
        self.successResultOf(ensureDeferred(self.control.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_place_that_fails_leaves_no_live_call(self) -> None:
        self.break_it("place")
        call = self.control.place(ALICE, "answers")
        self.failureResultOf(ensureDeferred(self.control.dialled(call)), BackendUnavailable)
        self.assertEqual(self.room.logged(), ["backend.failed"])
        self.assertEqual(self.room.event_names(), ["Placed", "Disconnected"])
        self.assertEqual(list(self.control.live_calls()), [])

    def test_a_hang_up_that_fails_does_not_delay_the_others(self) -> None:
        calls = [self.control.place(ALICE, "answers") for _ in range(3)]
        self.fake.reachable = False
        for call in calls:
            self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.fake.reachable = True
        hang_up = self.fake.hang_up

        def first_fails(leg: LegId, cause: Cause) -> None:
            if leg == calls[0].leg:
                raise ValueError("a mistake")
            hang_up(leg, cause)

        setattr(self.fake, "hang_up", first_fails)  # noqa: B010
        assert self.fake.sink is not None
        self.fake.sink.backend_up()
        self.assertEqual([len(self.ended(call)) for call in calls], [0, 1, 1])

    def test_a_call_that_ends_with_another_is_not_hung_up_again(self) -> None:
        first, second = (self.control.place(ALICE, "answers") for _ in range(2))
        self.fake.reachable = False
        for call in (first, second):
            self.failureResultOf(self.disconnect(call), BackendUnavailable)
        self.fake.reachable = True
        hang_up, told_legs = self.fake.hang_up, []

        def ends_both(leg: LegId, cause: Cause) -> None:
            told_legs.append(leg)
            hang_up(leg, cause)
            self.fake.end(second.leg, Cause(by=EndedBy.FAR_END))

        setattr(self.fake, "hang_up", ends_both)  # noqa: B010
        assert self.fake.sink is not None
        self.fake.sink.backend_up()
        self.assertEqual(told_legs, [first.leg])
        self.assertEqual(self.control.counts().refused_events, 0)
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])

    def test_a_backend_that_goes_down_while_it_is_asked(self) -> None:
        call = self.control.place(ALICE, "answers")

        def goes_down(leg: LegId, cause: Cause) -> None:
            assert self.fake.sink is not None
            self.fake.sink.backend_down("just now")

        setattr(self.fake, "hang_up", goes_down)  # noqa: B010
        self.failureResultOf(self.disconnect(call), BackendUnavailable)

    def test_a_log_that_fails_keeps_no_client_waiting(self) -> None:
        """A client is answered although the event could not be logged, as on a full disk."""
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)

        def fails(*_: object) -> None:
            raise OSError("no space left")

        self.patch(self.room, "on_event", fails)
        with self.assertRaises(OSError):
            self.fake.end(call.leg)
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.successResultOf(ensureDeferred(self.control.drain()))
        with self.assertRaises(Stopping):
            self.control.place(ALICE, "answers")

    def test_a_backend_that_fails_to_stop_does_not_keep_others_running(self) -> None:
        other = FakeBackend("other")
        room = ControlRoom({"fake": self.fake, "other": other})
        self.successResultOf(ensureDeferred(room.control.start()))

        async def fails() -> None:
            raise ValueError("a mistake")

        setattr(other, "stop", fails)  # noqa: B010
        self.successResultOf(ensureDeferred(room.control.stop()))
        self.assertIsNone(self.fake.sink)
        self.assertEqual(room.logged(), ["backend.failed"])


class StartTests(SynchronousTestCase):
    def test_a_backend_that_is_away_does_not_keep_umd_from_starting(self) -> None:
        """Its legs become calls when it is back."""
        room = ControlRoom()
        room.fake.found = [FoundLeg(leg=LegId("a"), state=CallState.CONNECTED, number="1")]
        legs, away = room.fake.legs, True

        async def none_yet() -> Sequence[FoundLeg]:
            if away:
                raise BackendUnavailable("connection refused")
            return await legs()

        setattr(room.fake, "legs", none_yet)  # noqa: B010
        self.successResultOf(ensureDeferred(room.control.start()))
        self.assertEqual(list(room.control.live_calls()), [])
        away = False
        assert room.fake.sink is not None
        room.fake.sink.backend_up()
        self.assertEqual([call.leg for call in room.control.live_calls()], ["a"])

    def test_a_backend_that_cannot_start_is_named(self) -> None:
        room = ControlRoom()

        async def fails(sink: object) -> None:
            raise OSError("port in use")

        setattr(room.fake, "start", fails)  # noqa: B010
        failure = self.failureResultOf(ensureDeferred(room.control.start()), BackendFailed)
        self.assertIn("backend fake failed: OSError('port in use')", str(failure.value))
        self.successResultOf(ensureDeferred(room.control.stop()))


class RetentionTests(ControlCase):
    settings = ControlSettings(retention=60.0, retained_calls=2)

    def end(self) -> Call:
        call = self.control.place(ALICE, "answers")
        self.successResultOf(self.disconnect(call))
        return call

    def test_an_ended_call_is_forgotten_after_its_retention(self) -> None:
        call = self.end()
        self.clock.advance(59.9)
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.clock.advance(0.2)
        self.failureResultOf(self.disconnect(call), NoSuchCall)

    def test_the_known_calls_are_those_that_can_be_found(self) -> None:
        live, ended = self.control.place(ALICE, "answers"), self.control.place(ALICE, "rejects")
        self.assertEqual(self.control.known_calls(), [live, ended])
        self.clock.advance(60.0)
        self.assertEqual(self.control.known_calls(), [live])

    def test_the_oldest_ended_calls_are_forgotten_first(self) -> None:
        calls = [self.end() for _ in range(3)]
        self.failureResultOf(self.disconnect(calls[0]), NoSuchCall)
        for call in calls[1:]:
            self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)


class EndedIsFaultTests(ControlCase):
    settings = ControlSettings(ended_is_success=False)

    def test_an_ended_call_is_like_an_unknown_one(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ENDED)
        self.failureResultOf(self.disconnect(call), NoSuchCall)


class ResumeTests(SynchronousTestCase):
    def test_legs_that_a_backend_carries_become_calls(self) -> None:
        room = ControlRoom()
        given = CallId("Z2l2ZW5AbGFi")
        room.fake.found = [
            FoundLeg(leg=LegId("a@pbx"), state=CallState.CONNECTED, number="1"),
            FoundLeg(leg=LegId("b"), state=CallState.ALERTING, number="2", call_id=given),
        ]
        self.successResultOf(ensureDeferred(room.control.start()))
        first, second = room.control.live_calls()
        self.assertEqual(split_call_id(first.id), ("a@pbx", "fake"))
        self.assertEqual((second.id, second.state), (given, CallState.ALERTING))
        self.assertEqual([type(e) for e in room.events], [Resumed, Resumed])
        answer = ensureDeferred(room.control.disconnect(ALICE, given))
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)

    def test_a_second_leg_with_the_same_call_id_is_refused(self) -> None:
        room = ControlRoom()
        same = CallId("c2FtZUBsYWI=")
        room.fake.found = [
            FoundLeg(leg=LegId(name), state=CallState.CONNECTED, number="1", call_id=same)
            for name in ("a", "b")
        ]
        self.successResultOf(ensureDeferred(room.control.start()))
        self.assertEqual([call.leg for call in room.control.live_calls()], ["a"])
        self.assertIn("backend.leg-refused", room.logged())


class MisbehavingBackendTests(ControlCase):
    def test_an_illegal_event_is_logged_and_changes_nothing(self) -> None:
        call = self.control.place(ALICE, "answers")
        assert self.fake.sink is not None
        self.fake.sink.leg_event(Progressed(call.leg))
        self.fake.sink.leg_event(Answered(LegId("unknown")))
        self.successResultOf(self.disconnect(call))
        self.fake.sink.leg_event(Ended(call.leg, rejection(486)))
        self.assertEqual(self.control.counts().refused_events, 3)
        self.assertEqual(self.room.logged().count("backend.illegal-event"), 3)
        self.assertEqual(len(self.ended(call)), 1)

    def test_one_end_event_in_every_interleaving(self) -> None:
        """Two requests, an answer, an end of either side and the deadline, in all 720 orders."""
        steps = ("request", "second request", "answer", "confirm", "far end", "deadline")
        for order in permutations(steps):
            room = ControlRoom()
            self.successResultOf(ensureDeferred(room.control.start()))
            room.fake.confirms = False
            call = room.control.place(ALICE, "waits")
            answers: list[Deferred[Outcome]] = []
            for step in order:
                self.take(step, room, call, answers)
            self.assertEqual(room.event_names(call).count("Disconnected"), 1, order)
            requests = [e for e in room.events if isinstance(e, DisconnectRequested)]
            self.assertLessEqual(len(requests), 1, order)
            for answer in answers:
                self.assertIn(self.successResultOf(answer), Outcome, order)
            self.assertEqual(list(room.control.live_calls()), [])
            room.clock.advance(100.0)
            self.assertEqual(room.clock.getDelayedCalls(), [], order)

    def take(
        self, step: str, room: ControlRoom, call: Call, answers: list[Deferred[Outcome]]
    ) -> None:
        assert room.fake.sink is not None
        match step:
            case "request" | "second request":
                principal = ALICE if step == "request" else BOB
                answers.append(ensureDeferred(room.control.disconnect(principal, call.id)))
            case "answer":
                room.fake.sink.leg_event(Answered(call.leg))
            case "confirm":
                cause = Cause(by=EndedBy.CLIENT, sip_status=200)
                room.fake.sink.leg_event(Ended(call.leg, cause))
            case "far end":
                room.fake.sink.leg_event(Ended(call.leg, Cause(by=EndedBy.FAR_END)))
            case _:
                room.clock.advance(DEADLINE)


class DrainTests(ControlCase):
    def test_new_calls_are_refused_and_teardowns_finished(self) -> None:
        self.fake.confirms = False
        call = self.control.place(ALICE, "answers")
        other = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)
        drained = ensureDeferred(self.control.drain())
        with self.assertRaises(Stopping):
            self.control.place(ALICE, "answers")
        self.assertNoResult(drained)
        answer_while_draining = self.disconnect(other)
        self.fake.end(call.leg)
        self.assertNoResult(drained)
        self.fake.end(other.leg)
        self.successResultOf(drained)
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assertEqual(self.successResultOf(answer_while_draining), Outcome.ENDED)

    def test_a_client_that_still_waits_when_umd_stops_is_answered(self) -> None:
        self.fake.confirms = False
        answer = self.disconnect(self.control.place(ALICE, "answers"))
        self.control.dismiss()
        error = self.failureResultOf(answer, BackendUnavailable).value
        self.assertIn("umd stops before backend fake confirmed the end", str(error))

    def test_without_teardowns_a_drain_ends_at_once(self) -> None:
        self.control.place(ALICE, "answers")
        self.successResultOf(ensureDeferred(self.control.drain()))
