"""The table of a teardown, as a whole and row by row."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from umd.backend import LegId
from umd.call.call import Call
from umd.call.call_id import CallId
from umd.control.outcome import Outcome
from umd.control.teardown import (
    TRANSITIONS,
    IllegalTeardown,
    Teardown,
    TeardownEvent,
    TeardownState,
)


def teardown(state: TeardownState) -> Teardown:
    call = Call(id=CallId("c"), leg=LegId("l"), backend="b", number="1", owner="alice", at=0.0)
    return Teardown(call, state)


class TableTests(SynchronousTestCase):
    def test_every_state_and_event(self) -> None:
        """A transition is in the table, or it is refused and changes nothing."""
        for state, event in product(TeardownState, TeardownEvent):
            subject = teardown(state)
            after = TRANSITIONS[state].get(event)
            if after is None:
                with self.assertRaises(IllegalTeardown):
                    subject.advance(event)
                self.assertIs(subject.state, state)
            else:
                self.assertIs(subject.advance(event), after)
                self.assertIs(subject.state, after)

    def test_a_backend_is_told_only_what_is_on_record(self) -> None:
        rows = [state for state in TeardownState if TeardownEvent.SEND in TRANSITIONS[state]]
        self.assertEqual(rows, [TeardownState.RECORDED])

    def test_only_a_recorded_end_settles(self) -> None:
        ways = [
            (state, event)
            for state, event in product(TeardownState, TeardownEvent)
            if TRANSITIONS[state].get(event) is TeardownState.SETTLED
            and state is not TeardownState.SETTLED
        ]
        self.assertEqual(ways, [(TeardownState.ENDED, TeardownEvent.END_RECORDED)])

    def test_every_state_leads_to_the_end(self) -> None:
        for state in TeardownState:
            reached, waiting = {state}, [state]
            while waiting:
                for after in TRANSITIONS[waiting.pop()].values():
                    if after not in reached:
                        reached.add(after)
                        waiting.append(after)
            self.assertIn(TeardownState.SETTLED, reached)


class WaitingTests(SynchronousTestCase):
    def test_a_client_that_leaves_is_forgotten(self) -> None:
        subject = teardown(TeardownState.SENT)
        leaves, stays = subject.settled(), subject.settled()
        leaves.cancel()
        self.failureResultOf(leaves)
        self.assertEqual(list(subject.waiting), [stays])
        stays.callback(Outcome.ENDED)
        self.assertEqual(self.successResultOf(stays), Outcome.ENDED)
