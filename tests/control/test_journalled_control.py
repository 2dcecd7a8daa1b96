"""The use cases with a journal: control acts on nothing before the record is durable."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred

from tests.control.journalled import JournalCase
from tests.helpers import ALICE, DEADLINE
from umd.backend import BackendUnavailable, Ended
from umd.call.call import CallState
from umd.call.cause import Cause, EndedBy
from umd.control.errors import JournalUnavailable
from umd.control.outcome import Outcome


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
        self.assertEqual(self.control._placements._by_call, {})
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
        self.assertEqual(self.control._placements._by_call, {})

    def test_a_call_whose_leg_ends_before_it_is_dialled_is_not_dialled(self) -> None:
        call = self.control.place(ALICE, "answers")
        self.control.links["fake"].leg_event(Ended(call.leg, Cause(by=EndedBy.FAR_END)))
        self.journal.settle()
        self.assertEqual(self.fake.commands, [])
        self.assert_counts_agree()
