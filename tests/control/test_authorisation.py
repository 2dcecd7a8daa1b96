"""Which principal may place calls, and which calls it may read or end."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, ControlRoom
from umd.call.call_id import CallId
from umd.call.principal import Principal, Scope
from umd.control.errors import MayNotPlace, NoSuchCall
from umd.control.outcome import Outcome


class AuthorisationTests(SynchronousTestCase):
    """Without the right to a call its CallId looks unknown; the log has the refusal."""

    def setUp(self) -> None:
        self.room = ControlRoom()
        self.control = self.room.control
        self.successResultOf(ensureDeferred(self.control.start()))
        self.call = self.control.place(ALICE, "answers")

    def principal(self, name: str, *scopes: Scope) -> Principal:
        return Principal(name, "192.0.2.1", frozenset(scopes))

    def refused(self, principal: Principal) -> str:
        failure = self.failureResultOf(
            ensureDeferred(self.control.disconnect(principal, self.call.id, "r-9")), NoSuchCall
        )
        return str(failure.value)

    def test_an_owner_may_read_and_end_its_call(self) -> None:
        alice = self.principal("alice", Scope.END_OWN)
        self.assertIs(self.control.inform(alice, self.call.id), self.call)
        outcome = ensureDeferred(self.control.disconnect(alice, self.call.id))
        self.assertEqual(self.successResultOf(outcome), Outcome.ENDED)

    def test_the_call_of_another_looks_unknown(self) -> None:
        bob = self.principal("bob", Scope.END_OWN, Scope.PLACE, Scope.SETTINGS, Scope.OPERATE)
        refusal = self.refused(bob)
        with self.assertRaises(NoSuchCall) as caught:
            self.control.inform(bob, self.call.id)
        unknown = self.failureResultOf(
            ensureDeferred(self.control.disconnect(bob, CallId("nothing"))), NoSuchCall
        )
        expected = str(unknown.value).replace("nothing", self.call.id)
        self.assertEqual((refusal, str(caught.exception)), (expected, expected))
        line = next(line for line in self.room.lines if line["event"] == "control.forbidden")
        self.assertEqual(
            (line["principal"], line["action"], line["call"], line["request_id"]),
            ("bob", "end", self.call.id, "r-9"),
        )
        self.assertFalse(self.call.ended)

    def test_end_any_ends_the_call_of_another(self) -> None:
        outcome = self.control.disconnect(self.principal("bob", Scope.END_ANY), self.call.id)
        self.assertEqual(self.successResultOf(ensureDeferred(outcome)), Outcome.ENDED)

    def test_the_right_to_read_is_no_right_to_end(self) -> None:
        reader = self.principal("bob", Scope.READ)
        self.assertIs(self.control.inform(reader, self.call.id), self.call)
        self.refused(reader)

    def test_a_found_call_has_no_owner(self) -> None:
        self.call.owner = ""
        self.refused(self.principal("", Scope.END_OWN))

    def test_an_ended_call_of_another_looks_unknown_too(self) -> None:
        self.successResultOf(ensureDeferred(self.control.disconnect(ALICE, self.call.id)))
        self.refused(self.principal("bob", Scope.END_OWN))

    def test_placing_needs_its_scope(self) -> None:
        with self.assertRaises(MayNotPlace):
            self.control.place(self.principal("bob", Scope.END_OWN), "answers")
        self.assertEqual(len(list(self.control.live_calls())), 1)
