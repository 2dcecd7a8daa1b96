"""Calls and their records: where a call begins in the journal, over several lives and restarts."""

from __future__ import annotations

from math import inf
from typing import get_args

from tests.journal.test_sqlite import StoreCase
from umd.call.call import Call, CallState, HangUp
from umd.call.call_id import CallId
from umd.call.cause import Cause, EndedBy
from umd.call.events import LifecycleEvent
from umd.call.leg import Answered, Ended, LegId
from umd.call.record import _FIELDS, END_EVENTS, UnknownRecord
from umd.journal.file import JournalFile
from umd.journal.ledger import _STEP_OF, CallLog, Ledger
from umd.journal.replay import live_calls
from umd.journal.sqlite import SqliteStore
from umd.journal.store import Step, Stored

LEG = LegId("leg-1")


def new_call() -> Call:
    return Call(id=CallId("id"), leg=LEG, backend="pbx", number="1", owner="a", at=1000.0)


class LedgerTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.file._keep = inf
        self.ledger = Ledger(self.store, CallLog(self.log), True)

    def record(self, call: Call, *events: object) -> None:
        for event in events:
            self.ledger.append(call, event, None, None, None)  # type: ignore[arg-type]

    def recorded(self) -> list[tuple[int, int | None]]:
        """Return the position of each record, and where it says that its call begins."""
        rows = self.result(self.store.between_commits(lambda file: file.rows_after(0, 100)))
        return [(row[0], row[6]) for row in rows]

    def unreadable(self, stored: Stored, reason: UnknownRecord) -> None:
        self.fail(str(reason))

    def restart(self) -> list[Call]:
        """Close the journal, open it again, and return the calls that are live in it."""
        self.result(self.store.close())
        self.file = type(self.file)(self.file.path, keep=inf)
        self.file.commits = []
        self.store = SqliteStore(self.file, self.turns, self.log)
        self.store.open()
        calls = [call for call, _, _ in live_calls(self.store, self.unreadable)]
        self.store.begin()
        self.ledger = Ledger(self.store, CallLog(self.log), True)
        return calls

    def test_each_record_has_the_position_where_its_call_begins(self) -> None:
        first, second = new_call(), new_call()
        self.record(first, first.place("r-1"))
        self.record(second, second.place("r-2"))
        self.record(first, first.apply(Answered(LEG), 1001.0))
        self.record(second, second.apply(Answered(LEG), 1001.0))
        self.assertEqual((first.begun, second.begun), (1, 2))
        self.assertEqual(self.recorded(), [(1, 1), (2, 2), (3, 1), (4, 2)])

    def test_a_call_keeps_its_beginning_over_restarts_and_ends(self) -> None:
        """Once the index finds a call by its beginning, its end must name the right one."""
        other, call = new_call(), new_call()
        self.record(other, other.place("r-0"))
        self.record(call, call.place("r-1"))
        for resumed_at in (1002.0, 1003.0):
            _, call = self.restart()
            self.assertEqual(call.begun, 2)
            self.record(call, call.resume_as(CallState.CONNECTED, resumed_at))
        hang_up = HangUp(Cause(by=EndedBy.CLIENT), "alice", "r-2")
        self.record(call, call.apply(hang_up, 1004.0))
        self.record(call, call.apply(Ended(LEG, Cause(by=EndedBy.CLIENT)), 1005.0))
        self.assertEqual([call.begun for call in self.restart()], [1])
        self.assertEqual(self.recorded(), [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)])

    def test_a_leg_that_is_found_again_after_its_call_ended_begins_a_new_life(self) -> None:
        first = new_call()
        self.record(first, first.place("r-1"))
        self.record(first, first.apply(Ended(LEG, Cause(by=EndedBy.FAR_END)), 1001.0))
        again = new_call()
        self.record(again, again.resume())
        (known,) = self.restart()
        self.assertEqual((known.begun, known.seq), (3, 1))
        self.record(known, known.apply(Ended(LEG, Cause(by=EndedBy.FAR_END)), 1002.0))
        self.assertEqual(self.recorded(), [(1, 1), (2, 1), (3, 3), (4, 3)])
        self.assertEqual(self.restart(), [])

    def test_each_event_has_a_part_in_the_life_of_its_call(self) -> None:
        """Once `call.found` began no call and `call.forgotten` ended none in the journal."""
        self.assertEqual(set(_STEP_OF), set(get_args(LifecycleEvent)))
        ends = {_FIELDS[kind][0] for kind, step in _STEP_OF.items() if step is Step.ENDS}
        self.assertEqual(ends, END_EVENTS)

    def test_a_call_that_umd_found_while_it_ran_is_live_until_it_is_forgotten(self) -> None:
        call = Call(id=CallId("id"), leg=LEG, backend="pbx", number="1", owner="", at=1000.0)
        self.record(call, call.find())
        (known,) = self.restart()
        self.assertEqual((known.begun, known.backend), (1, "pbx"))
        self.record(known, known.forget("alice", "r-1", "gone", 1001.0))
        self.assertEqual(self.restart(), [])

    def test_a_call_whose_first_record_is_missing_ends_once(self) -> None:
        """Somebody deleted the record; without its position the call would come back for ever."""
        call = new_call()
        self.record(call, call.place("r-1"), call.apply(Answered(LEG), 1001.0))
        self.result(self.store.close())
        file = JournalFile(self.file.path)
        file.open()
        file._connection.execute("DELETE FROM events WHERE position = 1")
        file.close()
        unreadable: list[int] = []
        self.unreadable = lambda stored, reason: unreadable.append(  # type: ignore[method-assign]
            stored.position
        )
        self.store = SqliteStore(file, self.turns, self.log)
        (known,) = self.restart()
        self.assertEqual((known.begun, unreadable), (1, [2]))
        self.record(known, known.lose("it is damaged", 1002.0))
        self.assertEqual(self.restart(), [])
