"""The journal that keeps nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.control.journalled import WALL, HandJournal
from umd.backend import LegId
from umd.call.call import Call
from umd.call.call_id import CallId
from umd.control.journal import CallJournal, NullJournal


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
