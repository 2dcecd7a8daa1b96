"""A call that is answered and ends by BYE, from either side."""

from __future__ import annotations

from tests.sip.helpers import ANSWER, OFFER, CallCase, flow, ids
from umd.sip.endpoint import Endpoint
from umd.sip.session import Answered, Ended, IllegalInput, Incoming, Progressed, State


class BasicCallTests(CallCase):
    def test_call_step_by_step(self) -> None:
        """INVITE, 180, 200, ACK, BYE and 200 follow each other, and each event comes once."""
        leg = self.alice.call(self.bob, 0.0)
        self.assertEqual(self.there(0.01), ["INVITE"])
        self.assertEqual(self.bob.take_events(), [Incoming()])
        callee = self.bob.events[0][0]
        self.assertEqual(callee.remote_body, OFFER)

        callee.progress(180, 0.02)
        self.assertEqual(self.back(0.03), ["180 INVITE"])
        self.assertEqual(self.alice.take_events(), [Progressed(180)])

        callee.answer(1.0, body=ANSWER)
        self.assertEqual(self.back(1.01), ["200 INVITE"])
        self.assertEqual(self.alice.take(), [(leg, Answered())])
        self.assertEqual(leg.remote_body, ANSWER)
        self.assertEqual(callee.state, State.ANSWERED)
        self.assertEqual(self.there(1.02), ["ACK"])
        self.assertEqual(self.bob.take_events(), [Answered()])

        leg.hang_up(5.0)
        self.assertEqual(self.there(5.01), ["BYE"])
        self.assertEqual(self.bob.take_events(), [Ended(200, (), "remote", True)])
        self.assertEqual(self.alice.take_events(), [])
        self.assertEqual(self.back(5.02), ["200 BYE"])
        self.assertEqual(self.alice.take_events(), [Ended(200, (), "local", True)])
        self.finish(5.02)

    def test_callee_hangs_up(self) -> None:
        """The callee ends an answered call, and its Reason value reaches the caller unchanged."""
        _, callee = self.answered()
        reason = 'Q.850;cause=16;text="Normal call clearing"'
        callee.hang_up(2.0, reasons=[reason])
        self.settle(2.0)
        self.check_ends(Ended(200, (reason,), "remote", True), Ended(200, (), "local", True))
        self.finish(2.0)

    def test_hanging_up_again_changes_nothing(self) -> None:
        """Hanging up is harmless while the call is ending and after it has ended."""
        caller, _ = self.answered()
        caller.hang_up(1.0)
        caller.hang_up(1.0)
        self.settle(1.0)
        caller.hang_up(1.1)
        self.settle(1.1)
        self.assertEqual(flow(self.alice), ["INVITE", "ACK", "BYE"])
        self.finish(2.0)

    def test_nobody_answers_twice(self) -> None:
        """The other verbs are refused in a state that does not have them."""
        caller, callee = self.answered()
        self.assertRaises(IllegalInput, callee.answer, 1.0)
        self.assertRaises(IllegalInput, callee.reject, 486, 1.0)
        self.assertRaises(IllegalInput, caller.progress, 180, 1.0)
        callee.hang_up(1.0)
        self.settle(1.0)
        self.finish(2.0)

    def test_offer_in_the_answer(self) -> None:
        """If the INVITE has no session description, the 200 offers and the ACK answers."""
        self.alice.endpoint = Endpoint(
            "192.0.2.1", 5060, ids("a"), answer_offer=lambda _, offer: OFFER if offer else b""
        )
        caller = self.alice.endpoint.place(
            "sip:bob@192.0.2.2", self.bob.hop, 0.0, from_="sip:alice@192.0.2.1"
        )
        self.there()
        callee = self.bob.incoming()
        self.assertEqual(callee.remote_body, b"")
        callee.answer(0.0, body=ANSWER)
        self.settle()
        self.assertEqual((caller.remote_body, callee.remote_body), (ANSWER, OFFER))
        caller.hang_up(1.0)
        self.finish(1.0)


class BasicCallObjectsTests(BasicCallTests):
    """The same tests with message objects that are never written as octets."""

    octets = False
