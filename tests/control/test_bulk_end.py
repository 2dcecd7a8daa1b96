"""The end of many calls: exactly those that were shown, each once, also after a stop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from tests.control.test_found_calls import FAR_END, A, B, C, FoundCase
from tests.helpers import ALICE, DEADLINE
from umd.backend import Changed, Ended, LegId, Proof
from umd.call.call import Call, CallState
from umd.call.cause import EndedBy
from umd.call.principal import Principal, Scope
from umd.control import bulk_end as module
from umd.control.bulk_end import Choice, CountChanged, EndResult, TooMany
from umd.control.call_end import CallEnd
from umd.control.errors import Stopping
from umd.control.outcome import Outcome
from umd.control.selection import InvalidSelection, Selection
from umd.control.settings import ControlSettings
from umd.runtime import turns

OWNER = Principal("alice", "", frozenset({Scope.END_OWN}))
CI = Selection(label="ci")


class BulkCase(FoundCase):
    settings = ControlSettings(protected_labels=("keep", "sos-*"))

    def setUp(self) -> None:
        super().setUp()
        self.bulk = self.control.bulk_end
        self.results: list[EndResult] = []
        self.pauses = 0
        pause = self.bulk._pause

        def counted() -> Deferred[Any]:
            self.pauses += 1
            return pause()

        self.patch(self.bulk, "_pause", counted)

    def labelled(self, *legs: str, labels: tuple[str, ...] = ("ci",)) -> list[Call]:
        return [self.appear(LegId(leg), labels=labels) for leg in legs]

    def choose(self, selection: Selection = CI, principal: Principal = ALICE) -> Choice:
        chosen = ensureDeferred(self.bulk.choose(principal, selection))
        self.turns()
        return self.successResultOf(chosen)

    def end(self, choice: Choice | None = None, rate: float | None = None,
            principal: Principal = ALICE) -> Deferred[None]:  # fmt: skip
        """Begin to end calls; the results come to `self.results`."""
        ends = self.bulk.end(
            principal, choice or self.choose(), rate=rate, request_id="r-7", by=EndedBy.OPERATOR
        )
        done = ensureDeferred(self.collect(ends))
        self.turns()
        return done

    async def collect(self, ends: AsyncGenerator[EndResult, None]) -> None:
        async with aclosing(ends):
            async for end in ends:
                self.results.append(end)

    def turns(self) -> None:
        """Let the reactor do other work as often as it is asked to, in no time."""
        self.clock.pump([0.0] * 100)

    def outcomes(self) -> dict[str, str]:
        return {end.call.leg: end.outcome for end in self.results}

    def assert_ended_once(self, *calls: Call) -> None:
        for call in calls:
            self.assertEqual(len(self.ended(call)), 1, call.leg)


class ChooseTests(BulkCase):
    def test_a_dry_run_counts_and_ends_nothing(self) -> None:
        calls = self.labelled("a", "b", "c")
        self.labelled("other", labels=("x",))
        choice = self.choose()
        self.assertEqual((list(choice.calls()), choice.count), (calls, 3))
        self.assertEqual(self.fake.commands, [])

    def test_a_selection_of_everything_is_refused(self) -> None:
        self.failureResultOf(
            ensureDeferred(self.bulk.choose(ALICE, Selection())), InvalidSelection
        )

    def test_more_than_the_maximum_are_refused(self) -> None:
        self.labelled("a", "b", "c")
        choice = self.choose()
        choice.require(3, 3)
        with self.assertRaisesRegex(TooMany, "3 calls are selected, more than the maximum of 2"):
            choice.require(2, 3)

    def test_a_count_that_no_longer_holds_is_refused_with_both(self) -> None:
        self.labelled("a", "b", "c")
        with self.assertRaisesRegex(CountChanged, "3 calls are selected now, not 2 as expected"):
            self.choose().require(10, 2)

    def test_a_partner_is_counted_since_it_ends_too(self) -> None:
        """Two that are both selected are two, not four."""
        self.labelled("chan-a")
        self.labelled("chan-b", labels=())
        self.bridge(A, B)
        self.assertEqual(self.choose().count, 2)
        self.report(Changed(leg=B, labels=("ci",)))
        choice = self.choose()
        self.assertEqual((choice.count, len(choice.targets)), (2, 1))

    def test_calls_of_others_are_not_selected(self) -> None:
        """They are invisible to one who may end only their own."""
        (own,) = [self.appear(A, owner="alice", labels=("ci",))]
        self.appear(B, owner="bob", labels=("ci",))
        self.labelled("nobody's")
        self.assertEqual(list(self.choose(principal=OWNER).calls()), [own])

    def test_a_long_list_is_looked_at_in_turns(self) -> None:
        self.patch(turns, "MAX_ITEMS_PER_TURN", 10)
        self.labelled(*(f"leg-{number}" for number in range(35)))
        self.assertEqual(self.choose().count, 35)
        self.assertEqual(self.pauses, 3)


class EndTests(BulkCase):
    def test_exactly_the_selected_calls_end_once(self) -> None:
        calls = self.labelled(*(f"leg-{number}" for number in range(120)))
        others = self.labelled("x", "y", labels=("other",))
        self.successResultOf(self.end())
        self.assertEqual([end.call for end in self.results], calls)
        self.assertEqual({end.outcome for end in self.results}, {"ended"})
        self.assert_ended_once(*calls)
        self.assertEqual(list(self.control.live_calls()), others)
        cause = calls[0].cause
        self.assertEqual(cause and cause.by, EndedBy.OPERATOR)

    def test_a_call_that_ended_meanwhile_is_already_ended(self) -> None:
        a, b = self.labelled("chan-a", "chan-b")
        choice = self.choose()
        self.report(Ended(a.leg, FAR_END))
        self.successResultOf(self.end(choice))
        self.assertEqual(self.outcomes(), {"chan-a": "already-ended", "chan-b": "ended"})
        self.assert_ended_once(a, b)

    def test_a_call_that_has_changed_is_left_alone(self) -> None:
        """It lost its label, or is bridged with a call that was not shown."""
        a, b = self.labelled("chan-a", "chan-b")
        c = self.appear(C)
        choice = self.choose()
        self.report(Changed(leg=A, labels=()))
        self.bridge(B, C)
        self.successResultOf(self.end(choice))
        self.assertEqual(self.outcomes(), {"chan-a": "changed", "chan-b": "changed"})
        self.assertEqual([end.why for end in self.results],
                         ["the selectors do not fit any more",
                          "it is bridged with another call now"])  # fmt: skip
        self.assertEqual(list(self.control.live_calls()), [a, b, c])
        self.assertEqual(self.fake.commands, [])

    def test_a_pair_ends_by_one_request_with_a_result_each(self) -> None:
        (a,), (b,) = self.labelled("chan-a"), self.labelled("chan-b", labels=())
        self.bridge(A, B)
        self.successResultOf(self.end())
        self.assertEqual(self.outcomes(), {"chan-a": "ended", "chan-b": "ended"})
        self.assert_ended_once(a, b)
        self.assertEqual(b.caused_by, a.id)

    def test_a_pair_that_parted_meanwhile(self) -> None:
        """Only the selected one ends; two that are both selected both end."""
        self.labelled("chan-a")
        (b,) = self.labelled("chan-b", labels=())
        self.bridge(A, B)
        choice = self.choose()
        self.bridge(A)
        self.bridge(B)
        self.successResultOf(self.end(choice))
        self.assertEqual(self.outcomes(), {"chan-a": "ended", "chan-b": "changed"})
        self.assertFalse(b.ended)

    def test_what_cannot_be_ended_says_why_and_stops_no_other(self) -> None:
        self.fake.reachable = False
        self.labelled("chan-a", "chan-b")
        self.successResultOf(self.end())
        self.assertEqual(set(self.outcomes().values()), {"backend-unavailable"})
        self.assertIn("cannot be reached", self.results[0].why)

    def test_a_fault_of_umd_in_one_call_stops_no_other(self) -> None:
        a, b = self.labelled("chan-a", "chan-b")

        class FaultyEnd(CallEnd):
            async def end(
                self, principal: Principal, call: Call, request_id: str, by: EndedBy
            ) -> Outcome:
                if call is a:
                    raise RuntimeError("planted")
                return await super().end(principal, call, request_id, by)

        self.patch(self.bulk._call_end, "__class__", FaultyEnd)
        self.successResultOf(self.end())
        self.assertEqual(self.outcomes(), {"chan-a": "internal-error", "chan-b": "ended"})
        self.assertIn("control.end-failed", self.room.logged())
        self.assertTrue(b.ended)

    def test_a_silent_far_end_is_unconfirmed_after_the_deadline(self) -> None:
        self.fake.confirms = False
        (a,) = self.labelled("chan-a")
        done = self.end()
        self.assertNoResult(done)
        self.clock.advance(DEADLINE)
        self.successResultOf(done)
        self.assertEqual(self.outcomes(), {"chan-a": "ended-unconfirmed"})
        self.assertFalse(a.ended)

    def test_the_word_of_the_pbx_is_unconfirmed(self) -> None:
        self.fake.confirms = False
        (a,) = self.labelled("chan-a")
        done = self.end()
        assert a.cause is not None
        self.report(Ended(A, a.cause, shown_by=Proof.PBX))
        self.successResultOf(done)
        self.assertEqual(self.outcomes(), {"chan-a": "ended-unconfirmed"})

    def test_each_call_is_authorised(self) -> None:
        """The rights of the principal count when each call ends, not only when it is shown."""
        (a,) = self.labelled("chan-a")
        choice = self.choose()
        self.successResultOf(self.end(choice, principal=OWNER))
        self.assertEqual(self.outcomes(), {"chan-a": "unknown"})
        self.assertFalse(a.ended)


class ProtectionTests(BulkCase):
    def test_a_protected_call_and_its_partner_are_left_out(self) -> None:
        self.labelled("free")
        self.labelled("chan-a", labels=("ci", "sos-1"))
        self.labelled("chan-b")
        self.labelled("chan-c", labels=("keep",))
        self.bridge(B, C)
        choice = self.choose()
        self.assertEqual(choice.count, 1)
        self.assertEqual([call.leg for call in choice.protected], ["chan-a", "chan-b"])
        self.successResultOf(self.end(choice))
        self.assertEqual(
            self.outcomes(), {"chan-a": "protected", "chan-b": "protected", "free": "ended"}
        )
        self.assertEqual([leg for _, leg in self.fake.commands], ["free"])

    def test_a_call_that_becomes_protected_meanwhile(self) -> None:
        self.labelled("chan-a")
        choice = self.choose()
        self.report(Changed(leg=A, labels=("ci", "keep")))
        self.successResultOf(self.end(choice))
        self.assertEqual(self.outcomes(), {"chan-a": "protected"})
        self.assertEqual(self.fake.commands, [])


class PaceTests(BulkCase):
    def test_a_rate(self) -> None:
        self.labelled(*(f"leg-{number}" for number in range(10)))
        done = self.end(rate=2.0)
        for second in range(5):
            self.assertEqual(len(self.fake.commands), 1 + 2 * second)
            self.clock.pump([0.25] * 4)
        self.successResultOf(done)
        self.assertEqual(len(self.results), 10)

    def test_a_high_rate_holds_although_the_reactor_is_late(self) -> None:
        self.labelled(*(f"leg-{number}" for number in range(100)))
        done = self.end(rate=1000.0)
        self.clock.pump([0.01] * 11)
        self.successResultOf(done)

    def test_a_run_that_was_held_up_does_not_make_up_for_it_in_a_burst(self) -> None:
        """A client that does not read for a minute holds up the run."""
        self.labelled(*(f"leg-{number}" for number in range(50)))
        done = self.end(rate=10.0)
        self.clock.advance(60.0)
        self.assertLess(len(self.fake.commands), 5)
        _ = done.addErrback(lambda failure: failure.trap(CancelledError))
        done.cancel()

    def test_so_many_at_once_are_under_way(self) -> None:
        self.patch(module, "MAX_IN_FLIGHT", 3)
        self.fake.confirms = False
        calls = self.labelled(*(f"leg-{number}" for number in range(8)))
        done = self.end()
        for first in (0, 3, 6):
            self.assertEqual(len(self.fake.commands), min(8, first + 3))
            for call in calls[first : first + 3]:
                self.fake.end(call.leg)
            self.turns()
        self.successResultOf(done)
        self.assertEqual(len(self.results), 8)

    def test_the_reactor_does_other_work_meanwhile(self) -> None:
        self.patch(module, "BEGINS_PER_TURN", 5)
        self.labelled(*(f"leg-{number}" for number in range(12)))
        self.successResultOf(self.end())
        self.assertEqual(self.pauses, 2)


class StopTests(BulkCase):
    def test_a_client_that_leaves_and_comes_again(self) -> None:
        """Teardowns that have begun finish, no other begins, and no call ends twice."""
        self.fake.confirms = False
        self.patch(module, "MAX_IN_FLIGHT", 4)
        calls = self.labelled(*(f"leg-{number}" for number in range(10)))
        done = self.end()
        self.fake.end(calls[0].leg)
        self.turns()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        begun = [call for call in calls if call.state is CallState.DISCONNECTING]
        self.assertEqual(len(begun), 4)
        for call in begun:
            self.fake.end(call.leg)
        self.turns()
        self.assertEqual(len(self.fake.commands), 5)
        self.assertEqual(self.choose().count, 5)
        self.fake.confirms = True
        self.successResultOf(self.end())
        self.assert_ended_once(*calls)
        self.assertEqual(len(self.fake.commands), 10)

    def test_a_client_that_leaves_between_two_results(self) -> None:
        calls = self.labelled(*(f"leg-{number}" for number in range(200)))

        async def read_three() -> None:
            async with aclosing(self.bulk.end(ALICE, choice)) as ends:
                async for end in ends:
                    self.results.append(end)
                    if len(self.results) == 3:
                        return

        choice = self.choose()
        done = ensureDeferred(read_three())
        self.turns()
        self.successResultOf(done)
        self.assertLess(len(self.fake.commands), 100)
        self.successResultOf(self.end())
        self.assert_ended_once(*calls)

    def test_a_client_that_leaves_during_a_pause(self) -> None:
        self.labelled(*(f"leg-{number}" for number in range(5)))
        done = self.end(rate=1.0)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.clock.advance(10)
        self.assertEqual(len(self.fake.commands), 1)

    def test_umd_stops(self) -> None:
        """The client learns how many are left, and umd does not wait for them."""
        self.labelled(*(f"leg-{number}" for number in range(5)))
        done = self.end(rate=1.0)
        _ = ensureDeferred(self.control.drain())
        self.clock.advance(1.0)
        error = self.failureResultOf(done, Stopping).value
        self.assertEqual(str(error), "umd is stopping; 4 calls are left")
