"""An operator gives up a call that umd cannot end."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred

from tests.control.test_found_calls import FAR_END, A, B, FoundCase
from tests.helpers import ALICE
from umd.backend import Ended
from umd.call.call import Call, CallState
from umd.call.events import Forgotten
from umd.call.principal import Principal, Scope
from umd.call.record import decode, encode, replay
from umd.control.errors import MayNotOperate, NoSuchCall
from umd.control.forgetting import MAX_REASON_LENGTH, InvalidReason
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.control.suspicion import UNANSWERED_AFTER, Suspicion, suspicion_of

OPERATOR = Principal("olga", "", frozenset({Scope.OPERATE}))


class ForgetTests(FoundCase):
    def forget(self, call: Call, reason: str = "its PBX was replaced") -> None:
        self.control.forgetting.forget(OPERATOR, call, reason, "r-9")

    def test_the_record_ends_and_the_backend_is_not_told(self) -> None:
        call = self.appear(A)
        self.forget(call)
        (end,) = (event for event in self.room.events if isinstance(event, Forgotten))
        self.assertEqual((end.principal, end.reason), ("olga", "its PBX was replaced"))
        self.assertEqual((self.fake.commands, list(self.control.live_calls())), ([], []))
        self.assertEqual(self.successResultOf(self.disconnect(call)), Outcome.ALREADY_ENDED)
        self.assertTrue(self.control.counts().right)

    def test_clients_that_wait_are_answered_as_unconfirmed(self) -> None:
        """Nothing shows that the far end is down."""
        call = self.appear(A)
        self.fake.confirms = False
        answers = [self.disconnect(call) for _ in range(3)]
        self.forget(call)
        outcomes = {self.successResultOf(answer) for answer in answers}
        self.assertEqual(outcomes, {Outcome.ENDED_UNCONFIRMED})
        self.clock.advance(3600)
        self.assertEqual(self.fake.commands, [("hang_up", A)])

    def test_what_the_backend_reports_later_changes_nothing(self) -> None:
        """The call has its one end event; the leg is no new call."""
        call = self.appear(A)
        self.forget(call)
        self.fake.sink.leg_event(Ended(A, FAR_END))  # type: ignore[union-attr]
        self.fake.appear(self.fake.found[0])
        self.assertEqual(self.room.event_names(call), ["Found", "Forgotten"])
        self.assertEqual(list(self.control.live_calls()), [])
        self.assertNotIn("backend.illegal-event", self.room.logged())

    def test_a_forgotten_leg_stays_forgotten_while_the_backend_lists_it(self) -> None:
        """Once the list lacks it, a leg of that name is a new call."""
        call = self.appear(A)
        self.forget(call)
        sink = self.fake.sink
        assert sink is not None
        for _ in range(2):
            sink.backend_down("a test")
            sink.backend_up()
        self.assertEqual(list(self.control.live_calls()), [])
        self.fake.lose(A)
        sink.backend_down("a test")
        sink.backend_up()
        again = self.appear(A)
        self.assertNotEqual(again.id, call.id)

    def test_its_partner_goes_on(self) -> None:
        a, b = self.appear(A), self.appear(B)
        self.bridge(A, B)
        self.forget(a)
        self.assertEqual(b.state, CallState.CONNECTED)
        self.assertEqual(self.successResultOf(self.disconnect(b)), Outcome.ENDED)

    def test_it_takes_the_scope_operate(self) -> None:
        """The right to end any call is not enough."""
        call = self.appear(A)
        for scope in Scope:
            if scope is not Scope.OPERATE:
                principal = Principal("eve", "", frozenset({scope}))
                with self.assertRaises(MayNotOperate):
                    self.control.forgetting.forget(principal, call, "a reason", "r-1")
        self.assertFalse(call.ended)

    def test_a_reason_is_required(self) -> None:
        call = self.appear(A)
        for reason in ("", "  ", "a\nb", "x" * (MAX_REASON_LENGTH + 1)):
            with self.assertRaises(InvalidReason):
                self.forget(call, reason)
        self.assertFalse(call.ended)

    def test_an_ended_call_cannot_be_forgotten(self) -> None:
        call = self.appear(A)
        self.report(Ended(A, FAR_END))
        with self.assertRaises(NoSuchCall):
            self.forget(call)
        self.assertEqual(self.room.event_names(call), ["Found", "Disconnected"])

    def test_a_restart_remembers_it(self) -> None:
        """The leg is still listed, and no call after the restart either."""
        call = self.appear(A)
        self.forget(call)
        (end,) = (event for event in self.room.events if isinstance(event, Forgotten))
        restored = replay(None, decode(encode(call, end)), end.at)
        self.assertTrue(restored.forgotten)
        found = list(self.fake.found)
        super().setUp.__func__(self)  # type: ignore[attr-defined]
        self.control.recover(restored, None)
        self.fake.found = found
        self.fake.sink.backend_down("a test")  # type: ignore[union-attr]
        for leg in found:
            self.fake.appear(leg)
        self.assertEqual(list(self.control.live_calls()), [])


class SuspicionTests(FoundCase):
    def test_a_call_that_does_not_end(self) -> None:
        call = self.appear(A)
        self.fake.confirms = False
        _ = self.disconnect(call).addErrback(lambda failure: None)
        self.assertIsNone(self.control.suspicion_of(call))
        self.clock.advance(UNANSWERED_AFTER + 1)
        self.assertEqual(self.control.suspicion_of(call), Suspicion.UNANSWERED)

    def test_a_call_that_is_too_old(self) -> None:
        """By the setting, or by the limit that the call itself has."""
        call = self.appear(A)
        began = call.began_at
        for settings, max_age, seconds, expected in (
            (ControlSettings(), None, 1e9, None),
            (ControlSettings(suspect_age=60.0), None, 60.0, None),
            (ControlSettings(suspect_age=60.0), None, 60.1, Suspicion.TOO_OLD),
            (ControlSettings(), 30.0, 30.1, Suspicion.TOO_OLD),
            (ControlSettings(suspect_age=60.0), 30.0, 30.1, Suspicion.TOO_OLD),
        ):
            call.max_age = max_age
            self.assertEqual(suspicion_of(call, began + seconds, settings), expected)

    def test_a_suspect_call_can_still_be_ended(self) -> None:
        call = self.appear(A)
        call.max_age = 1.0
        self.clock.advance(5)
        self.assertEqual(self.control.suspicion_of(call), Suspicion.TOO_OLD)
        answer = ensureDeferred(self.control.disconnect(ALICE, call.id))
        self.assertEqual(self.successResultOf(answer), Outcome.ENDED)
