"""The use cases with a journal: control acts on nothing before the record is durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, DEADLINE, capturing_log
from umd.backend import BackendUnavailable, Ended, FoundLeg, LegId
from umd.call.call import Call, CallState
from umd.call.call_id import CallId, split_call_id
from umd.call.cause import Cause, EndedBy
from umd.call.events import DisconnectRequested, LifecycleEvent, Placed, Resumed
from umd.call.record import decode, encode, replay
from umd.control.control import Control
from umd.control.errors import JournalUnavailable, NoSuchCall
from umd.control.journal import CallJournal, NullJournal
from umd.control.outcome import Outcome
from umd.control.recovery import MAX_RESUMED_PER_TURN
from umd.control.settings import ControlSettings
from umd.testing import FakeBackend


class HandJournal:
    """A journal in memory; records become durable when the test calls `commit`."""

    durable = True

    def __init__(self) -> None:
        self.refusing: str | None = None
        self.kept: list[tuple[Call, bytes, float, bytes | None]] = []
        self.events: list[LifecycleEvent] = []
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        self.events.append(event)
        self.kept.append((call, encode(call, event), event.at, extra))
        if then is not None:
            self._waiting.append((then, argument))

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        self._waiting.append((then, argument))

    def commit(self) -> None:
        """Make everything so far durable, and call back."""
        for _ in range(len(self._waiting)):
            then, argument = self._waiting.popleft()
            then(argument)

    def settle(self) -> None:
        """Commit until no callback is left."""
        while self._waiting:
            self.commit()

    def event_names(self, call: Call) -> list[str]:
        return [type(e).__name__ for e in self.events if e.call == call.id]

    def calls(self) -> list[Call]:
        """Return the calls as a restarted umd reads them."""
        found: dict[str, Call] = {}
        for call, octets, at, _ in self.kept:
            found[call.id] = replay(found.get(call.id), decode(octets), at)
        return list(found.values())


WALL = 1_000_000.0


class JournalCase(SynchronousTestCase):
    settings = ControlSettings()

    def setUp(self) -> None:
        self.journal = HandJournal()
        self.clock = Clock()
        self.control, self.fake = self.make_control(self.journal)
        self.successResultOf(ensureDeferred(self.control.start()))

    def make_control(
        self, journal: CallJournal, wall: Callable[[], float] | None = None
    ) -> tuple[Control, FakeBackend]:
        fake = FakeBackend(clock=self.clock)
        self.log, self.lines = capturing_log()
        names = iter(f"leg-{number}" for number in range(1, 1000))
        control = Control(
            backends={"fake": fake},
            node="lab-1",
            clock=self.clock,
            wall=wall or (lambda: WALL + self.clock.seconds()),
            settings=self.settings,
            log=self.log,
            make_leg_name=lambda: next(names),
            journal=journal,
        )
        return control, fake

    def placed(self, number: str = "answers") -> Call:
        call = self.control.place(ALICE, number)
        self.journal.settle()
        return call

    def disconnect(self, call: Call) -> Deferred[Outcome]:
        return ensureDeferred(self.control.disconnect(ALICE, call.id, "r-1"))

    def assert_counts_agree(self) -> None:
        self.assertEqual(self.control.counts().miscounts, 0)


class RecordFirstTests(JournalCase):
    def test_a_call_is_dialled_after_its_record_is_durable(self) -> None:
        call = self.control.place(ALICE, "answers")
        dialled = ensureDeferred(self.control.dialled(call))
        self.assertEqual(self.fake.commands, [])
        self.assertNoResult(dialled)
        self.journal.commit()
        self.assertEqual(self.fake.commands, [("place", call.leg)])
        self.successResultOf(dialled)

    def test_the_client_learns_that_its_call_cannot_be_dialled(self) -> None:
        self.fake.reachable = False
        call = self.control.place(ALICE, "answers")
        dialled = ensureDeferred(self.control.dialled(call))
        self.journal.settle()
        self.failureResultOf(dialled, BackendUnavailable)
        self.assertEqual(self.journal.event_names(call), ["Placed", "Disconnected"])
        self.assert_counts_agree()

    def test_hang_up_and_answer_wait_for_their_records(self) -> None:
        call = self.placed()
        answer = self.disconnect(call)
        self.assertEqual(self.journal.event_names(call)[-1], "DisconnectRequested")
        self.assertNotIn(("hang_up", call.leg), self.fake.commands)
        self.journal.commit()
        self.assertIn(("hang_up", call.leg), self.fake.commands)
        self.assertEqual(self.journal.event_names(call)[-1], "Disconnected")
        self.assertNoResult(answer)
        self.journal.commit()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assert_counts_agree()

    def test_requests_during_a_commit_join_the_teardown(self) -> None:
        call = self.placed()
        answers = [self.disconnect(call)]
        answers.append(self.disconnect(call))  # the request is not on record yet
        self.journal.commit()
        answers.append(self.disconnect(call))  # the end is not on record yet
        for answer in answers:
            self.assertNoResult(answer)
        self.journal.commit()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [Outcome.ENDED] * 3)
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assertEqual(self.journal.event_names(call).count("Disconnected"), 1)
        self.assertEqual(self.fake.commands.count(("hang_up", call.leg)), 1)

    def test_an_answer_waits_for_the_record_of_a_far_end_hang_up(self) -> None:
        call = self.placed()
        self.fake.end(call.leg, Cause(by=EndedBy.FAR_END))
        answer = self.disconnect(call)
        self.assertNoResult(answer)
        self.journal.commit()
        self.assertEqual(self.successResultOf(answer), Outcome.ALREADY_ENDED)

    def test_a_call_that_is_ended_before_it_is_dialled_is_never_dialled(self) -> None:
        call = self.control.place(ALICE, "answers")
        answer = self.disconnect(call)
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assertEqual(self.fake.commands, [])
        self.assertEqual(
            self.journal.event_names(call), ["Placed", "DisconnectRequested", "Disconnected"]
        )

    def test_a_far_end_that_hangs_up_while_the_request_is_recorded(self) -> None:
        call = self.placed()
        answer = self.disconnect(call)
        self.fake.end(call.leg, Cause(by=EndedBy.FAR_END))
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assertNotIn(("hang_up", call.leg), self.fake.commands)

    def test_a_drain_waits_for_the_record(self) -> None:
        call = self.placed()
        answer = self.disconnect(call)
        drained = ensureDeferred(self.control.drain())
        self.journal.commit()
        self.assertNoResult(drained)
        self.journal.commit()
        self.successResultOf(answer)
        self.successResultOf(drained)

    def test_a_second_end_is_refused_and_counted(self) -> None:
        call = self.placed()
        link = self.control.links["fake"]
        end = Ended(call.leg, Cause(by=EndedBy.FAR_END))
        link.leg_event(end)
        link.leg_event(end)
        self.assertEqual(self.journal.event_names(call).count("Disconnected"), 1)
        self.assertEqual(self.control.counts().refused_events, 1)
        self.assertEqual(self.control.counts()[:2], (1, 1))


class JournalTroubleTests(JournalCase):
    def test_a_request_that_cannot_be_recorded_is_refused(self) -> None:
        call = self.placed()
        self.journal.refusing = "the disk is full"
        with self.assertRaisesRegex(JournalUnavailable, "disk is full"):
            self.control.place(ALICE, "answers")
        self.failureResultOf(self.disconnect(call), JournalUnavailable)
        self.assertEqual(call.state, CallState.CONNECTED)
        self.journal.refusing = None
        answer = self.disconnect(call)
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)

    def test_a_client_that_waits_when_the_disk_fills_is_answered(self) -> None:
        call = self.placed()
        answer = self.disconnect(call)
        self.journal.refusing = "the disk is full"
        self.control.journal_failed("the disk is full")
        self.failureResultOf(answer, JournalUnavailable)
        # The disk has room again: the request is carried out, once.
        self.journal.refusing = None
        self.journal.settle()
        self.assertEqual(self.journal.event_names(call).count("Disconnected"), 1)
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)

    def test_a_call_whose_client_got_the_fault_is_never_dialled(self) -> None:
        """Its record was queued when the disk filled: the journal gets the placing, and an end."""
        call = self.control.place(ALICE, "answers")
        dialled = ensureDeferred(self.control.dialled(call))
        self.journal.refusing = "the disk is full"
        self.control.journal_failed("the disk is full")
        self.failureResultOf(dialled, JournalUnavailable)
        self.journal.refusing = None
        self.journal.settle()
        self.assertEqual(self.fake.commands, [])
        self.assertEqual(self.journal.event_names(call), ["Placed", "Disconnected"])
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assertEqual(len(self.control._placements), 0)
        self.assert_counts_agree()

    def test_a_call_that_was_dialled_before_the_disk_filled(self) -> None:
        """Its record was in the last good commit, so that its client gets the CallId."""
        call = self.control.place(ALICE, "answers")
        dialled = ensureDeferred(self.control.dialled(call))
        then, argument = self.journal._waiting.popleft()
        then(argument)
        self.control.journal_failed("the disk is full")
        self.successResultOf(dialled)
        self.assertEqual(self.fake.commands, [("place", call.leg)])
        self.journal.settle()
        self.assertEqual(call.state, CallState.CONNECTED)

    def test_the_end_of_a_call_whose_client_got_the_fault(self) -> None:
        """An operator may end it meanwhile, by its leg. It is neither dialled nor ended twice."""
        call = self.control.place(ALICE, "answers")
        dialled = ensureDeferred(self.control.dialled(call))
        answer = self.disconnect(call)
        self.control.journal_failed("the disk is full")
        self.failureResultOf(dialled, JournalUnavailable)
        self.failureResultOf(answer, JournalUnavailable)
        self.journal.settle()
        self.assertEqual(self.fake.commands, [])
        self.assertEqual(self.journal.event_names(call).count("Disconnected"), 1)
        self.assert_counts_agree()

    def test_a_silent_disk_is_a_fault_and_no_unconfirmed_end(self) -> None:
        call = self.placed()
        answer = self.disconnect(call)
        self.clock.advance(DEADLINE)
        self.failureResultOf(answer, JournalUnavailable)
        self.journal.settle()
        self.assertTrue(call.ended)

    def test_no_client_waits_longer_than_the_deadline_for_a_silent_journal(self) -> None:
        """Each client waits for one deadline at most, also if it comes after the first deadline."""
        call = self.placed()
        first = self.disconnect(call)
        self.clock.advance(DEADLINE)
        self.failureResultOf(first, JournalUnavailable)
        second = self.disconnect(call)
        self.clock.advance(DEADLINE)
        self.failureResultOf(second, JournalUnavailable)
        self.journal.settle()
        self.assertTrue(call.ended)

    def test_an_end_that_is_not_recorded_keeps_no_client_waiting(self) -> None:
        call = self.placed()
        self.fake.end(call.leg, Cause(by=EndedBy.FAR_END))
        answer = self.disconnect(call)
        self.clock.advance(DEADLINE)
        self.failureResultOf(answer, JournalUnavailable)
        self.journal.settle()
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)

    def test_a_backend_that_goes_down_while_the_request_is_recorded(self) -> None:
        """The fault names the backend, not the journal, and the call ends when it is back."""
        call = self.placed()
        answer = self.disconnect(call)
        self.fake.reachable = False
        self.control.links["fake"].backend_down("connection lost")
        self.assertNoResult(answer)
        self.journal.settle()
        error = self.failureResultOf(answer, BackendUnavailable).value
        self.assertIn("connection lost", str(error))
        self.fake.reachable = True
        self.control.links["fake"].backend_up()
        self.journal.settle()
        self.assertTrue(call.ended)

    def test_a_backend_that_goes_down_while_the_end_is_recorded(self) -> None:
        """The call has ended, and the client gets that answer."""
        call = self.placed()
        answer = self.disconnect(call)
        self.journal.commit()
        self.control.links["fake"].backend_down("connection lost")
        self.assertNoResult(answer)
        self.journal.settle()
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
        self.assert_counts_agree()

    def test_a_client_that_leaves_while_its_call_is_recorded(self) -> None:
        """The call is dialled all the same, and nothing of its request is kept."""
        self.fake.reachable = False
        call = self.control.place(ALICE, "answers")
        waits = ensureDeferred(self.control.dialled(call))
        waits.cancel()
        self.failureResultOf(waits)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(len(self.control._placements), 0)

    def test_a_call_whose_leg_ends_before_it_is_dialled_is_not_dialled(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.control.links["fake"].leg_event(Ended(call.leg, Cause(by=EndedBy.FAR_END)))
        self.journal.settle()
        self.assertEqual(self.fake.commands, [])
        self.assert_counts_agree()


class NullJournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.order: list[object] = []
        self.journal = NullJournal(lambda call, event: self.order.append(event))
        call = Call(
            id=CallId("c"), leg=LegId("l"), backend="b", number="1", owner="alice", at=WALL
        )
        self.placed = call.place("r-1")
        self.call = call

    def test_an_event_is_logged_before_the_callback(self) -> None:
        self.journal.append(self.call, self.placed, None, self.order.append, "appended")
        self.journal.append(self.call, self.placed, None, None, None)
        self.journal.flush(self.order.append, "flushed")
        self.assertEqual(self.order, [self.placed, "appended", self.placed, "flushed"])

    def test_the_callback_comes_although_the_log_fails(self) -> None:
        journal = NullJournal(lambda call, event: self.fail("the log fails"))
        with self.assertRaises(self.failureException):
            journal.append(self.call, self.placed, None, self.order.append, "appended")
        self.assertEqual(self.order, ["appended"])

    def test_it_implements_the_protocol(self) -> None:
        journals: list[CallJournal] = [self.journal, HandJournal()]
        self.assertEqual([journal.durable for journal in journals], [False, True])


class LeaseTests(JournalCase):
    settings = ControlSettings(max_age=100.0, ring_time=20.0)

    def ended_by(self, call: Call) -> tuple[str | None, int]:
        """Return the limit that ended a call, and the Q.850 cause."""
        (request,) = [e for e in self.journal.events if isinstance(e, DisconnectRequested)]
        assert call.cause is not None and call.cause.by is EndedBy.DAEMON
        return request.limit, call.cause.q850

    def test_a_call_that_lasts_too_long(self) -> None:
        call = self.placed()
        self.clock.advance(99.9)
        self.journal.settle()
        self.assertFalse(call.ended)
        self.clock.advance(0.2)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.max_age", 102))
        self.assertEqual(len(self.control._leases), 0)
        self.assert_counts_agree()

    def test_a_call_that_rings_too_long(self) -> None:
        call = self.placed("rings")
        self.clock.advance(20.1)
        self.journal.settle()
        self.assertEqual(self.ended_by(call), ("call.ring_time", 19))

    def test_a_call_that_neither_rings_nor_is_answered(self) -> None:
        call = self.placed("waits")
        self.clock.advance(20.1)
        self.journal.settle()
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.ring_time", 18))

    def test_a_call_that_ends_before_its_limit_leaves_no_timer(self) -> None:
        call = self.placed()
        _ = self.disconnect(call)
        self.journal.settle()
        self.assertEqual(len(self.control._leases), 0)
        self.clock.advance(200)
        self.assertEqual(self.control.counts().refused_events, 0)

    def test_a_limit_that_is_reached_while_the_journal_cannot_write(self) -> None:
        call = self.placed()
        self.journal.refusing = "the disk is full"
        self.clock.advance(101)
        self.assertEqual(call.state, CallState.CONNECTED)
        self.journal.refusing = None
        self.clock.advance(5)
        self.journal.settle()
        self.assertTrue(call.ended)

    def restart(self, *, after: float, settings: ControlSettings | None = None) -> None:
        """Start another umd `after` seconds later by wall time; its monotonic clock starts at 0."""
        journal = HandJournal()
        calls = self.journal.calls()
        gone = self.clock.seconds() + after
        self.clock = Clock()
        self.settings = settings or self.settings
        control, fake = self.make_control(journal, wall=lambda: WALL + gone + self.clock.seconds())
        state = CallState.CONNECTED
        fake.found = [FoundLeg(leg=call.leg, state=state, number="answers") for call in calls]
        for call in calls:
            control.recover(call, None)
        self.successResultOf(ensureDeferred(control.start()))
        journal.settle()
        self.control, self.fake, self.journal = control, fake, journal

    def test_a_limit_counts_on_by_wall_time_after_a_restart(self) -> None:
        """A call keeps the limits that it began with, whatever the settings are now."""
        first = self.placed()
        self.clock.advance(10)
        second = self.placed()
        self.restart(after=50.0, settings=ControlSettings())
        calls = [self.control.find(call.id) for call in (first, second)]
        for seconds, ended in ((39, [False, False]), (2, [True, False]), (10, [True, True])):
            self.clock.advance(seconds)
            self.journal.settle()
            self.assertEqual([call.ended for call in calls], ended)
        self.assert_counts_agree()

    def test_a_call_whose_limit_passed_while_umd_was_down_is_ended_at_once(self) -> None:
        before = self.placed()
        self.restart(after=3600.0)
        self.clock.advance(0)
        self.journal.settle()
        call = self.control.find(before.id)
        self.assertTrue(call.ended)
        self.assertEqual(self.ended_by(call), ("call.max_age", 102))
        self.assertEqual(self.journal.event_names(call)[-1], "Disconnected")

    def test_a_call_without_limits_has_none_after_a_restart(self) -> None:
        self.settings = ControlSettings()
        self.control, self.fake = self.make_control(self.journal)
        self.successResultOf(ensureDeferred(self.control.start()))
        before = self.placed()
        self.restart(after=3600.0, settings=ControlSettings(max_age=1.0))
        self.clock.advance(10.0)
        self.journal.settle()
        self.assertFalse(self.control.find(before.id).ended)


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
