"""Hanging up in every state, and the messages that cross the CANCEL or BYE."""

from __future__ import annotations

from tests.sip.helpers import ANSWER, CallCase, drop, flow, run, transfer
from umd.sip import build
from umd.sip.message import Request, Response
from umd.sip.session import Answered, Ended, State


class CancelTests(CallCase):
    def test_while_it_rings(self) -> None:
        """A CANCEL gets 200, the INVITE gets 487, and the call ends on both sides."""
        caller, callee = self.offered()
        callee.progress(180, 0.1)
        self.back(0.1)
        caller.hang_up(1.0, reasons=["SIP;cause=200"])
        self.assertEqual(self.there(1.0), ["CANCEL"])
        self.assertEqual(self.back(1.0), ["200 CANCEL", "487 INVITE"])
        self.assertEqual(self.there(1.0), ["ACK"])
        self.check_ends(
            Ended(487, (), "local", True), Ended(487, ("SIP;cause=200",), "remote", True)
        )
        self.finish(1.0)

    def test_before_anything_is_heard(self) -> None:
        """A CANCEL waits for the first provisional response, §9.1."""
        caller, callee = self.offered()
        caller.hang_up(0.05)
        self.assertEqual(self.there(0.05), [])
        callee.progress(180, 0.1)
        self.back(0.1)
        self.assertEqual(self.there(0.1), ["CANCEL"])
        self.settle(0.1)
        self.check_ends(Ended(487, (), "local", True), Ended(487, (), "remote", True))
        self.finish(0.1)

    def test_before_anything_and_nothing_comes(self) -> None:
        """Without any response the call ends after 32 s, and no CANCEL is sent."""
        caller = self.alice.call(self.bob)
        caller.hang_up(0.1)
        run((self.alice,), 0.1, 100.0)
        self.assertEqual(self.alice.take_events(), [Ended(408, (), "local", False)])
        self.assertNotIn("CANCEL", flow(self.alice))

    def test_before_anything_and_it_is_answered(self) -> None:
        """If a 200 is the first response, ACK and BYE follow, after an Answered event."""
        caller, callee = self.offered()
        caller.hang_up(0.05)
        callee.answer(0.1, body=ANSWER)
        self.back(0.1)
        self.assertEqual(self.there(0.1), ["ACK", "BYE"])
        self.settle(0.1)
        expected = [Answered(), Ended(200, (), "local", True)]
        self.assertEqual(self.alice.take_events(), expected)
        self.finish(0.1)

    def test_before_anything_and_it_is_refused(self) -> None:
        """If a refusal is the first response, it ends the call, by the local user."""
        caller, callee = self.offered()
        caller.hang_up(0.05)
        callee.reject(486, 0.1)
        self.settle(0.1)
        self.check_ends(Ended(486, (), "local", True), Ended(486, (), "local", True))
        self.finish(0.1)

    def test_cancel_crosses_answer(self) -> None:
        """A 200 that crosses the CANCEL gets ACK and BYE."""
        caller, callee = self.offered()
        callee.progress(180, 0.1)
        self.back(0.1)
        caller.hang_up(1.0)
        callee.answer(1.0, body=ANSWER)
        self.assertEqual(self.there(1.01), ["CANCEL"])
        self.assertEqual(callee.state, State.ANSWERED)
        self.assertEqual(self.back(1.02), ["200 INVITE", "200 CANCEL"])
        self.assertEqual(self.there(1.03), ["ACK", "BYE"])
        self.settle(1.04)
        self.check_ends(Ended(200, (), "local", True), Ended(200, (), "remote", True))
        self.finish(1.1)

    def test_cancel_crosses_refusal(self) -> None:
        """A 486 that crosses the CANCEL ends the call."""
        caller, callee = self.offered()
        callee.progress(180, 0.1)
        self.back(0.1)
        caller.hang_up(1.0)
        callee.reject(486, 1.0)
        self.there(1.01)
        self.settle(1.02)
        self.check_ends(Ended(486, (), "local", True), Ended(486, (), "local", True))
        self.finish(1.1)

    def test_callee_is_gone(self) -> None:
        """Without a final response the call ends 64*T1 after the CANCEL, unconfirmed, §9.1."""
        caller, callee = self.offered()
        callee.progress(180, 0.1)
        self.back(0.1)
        caller.hang_up(1.0)
        run((self.alice,), 1.0, 32.9)
        self.assertEqual(caller.state, State.CANCELLING)
        run((self.alice,), 32.9, 100.0)
        self.assertEqual(self.alice.take_events()[-1], Ended(408, (), "local", False))
        self.assertEqual(len(self.alice.endpoint.transactions), 0)

    def test_cancel_of_nothing(self) -> None:
        """A CANCEL without an INVITE is answered 481."""
        self.alice.call(self.bob)
        (send,) = self.alice.out()
        assert isinstance(send.message, Request)
        cancel = build.cancel_for(send.message)
        self.bob.endpoint.receive_datagram(cancel.octets(), self.alice.hop, 0.0)
        (answer,) = self.bob.out()
        assert isinstance(answer.message, Response)
        self.assertEqual(answer.message.status, 481)

    def test_bye_instead_of_a_final(self) -> None:
        """If every 200 and the CANCEL are lost, the callee's BYE ends the INVITE too."""
        caller, callee = self.offered()
        callee.progress(180, 0.0)
        self.back()
        callee.answer(1.0, body=ANSWER)
        caller.hang_up(1.0)
        drop(self.alice)
        callee.hang_up(2.0)
        while "BYE" not in drop(self.bob):
            due = self.bob.endpoint.next_due()
            assert due is not None
            self.bob.endpoint.handle_timer(due)
        self.bob.endpoint.handle_timer(33.5)
        self.assertEqual(transfer(self.bob, self.alice, 32.9), ["BYE"])
        self.assertEqual(self.alice.take_events()[-1], Ended(200, (), "local", True))
        self.settle(33.5)
        self.finish(33.5)


class ByeTests(CallCase):
    def test_both_at_once(self) -> None:
        """If two BYEs cross, each gets a 200, and each side reports one end, its own."""
        caller, callee = self.answered()
        caller.hang_up(1.0)
        callee.hang_up(1.0)
        one, two = self.alice.out(), self.bob.out()
        for send in one:
            self.bob.endpoint.receive_datagram(send.message.octets(), self.alice.hop, 1.0)
        for send in two:
            self.alice.endpoint.receive_datagram(send.message.octets(), self.bob.hop, 1.0)
        self.settle(1.0)
        self.check_ends(Ended(200, (), "local", True), Ended(200, (), "local", True))
        self.finish(1.0)

    def test_unanswered(self) -> None:
        """32 s without a response to BYE end the call, unconfirmed."""
        caller, callee = self.answered()
        caller.hang_up(1.0)
        run((self.alice,), 1.0, 32.9)
        self.assertEqual(self.alice.take_events(), [])
        run((self.alice,), 32.9, 33.0)
        self.assertEqual(self.alice.take_events(), [Ended(200, (), "local", False)])
        callee.hang_up(40.0)
        self.settle(40.0)
        self.check_ends(Ended(200, (), "local", False), Ended(481, (), "local", True))
        self.finish(40.0)

    def test_answers_to_bye(self) -> None:
        """481 to BYE confirms the end; 408, 500 and others end the call without confirming it."""
        for status, confirmed in ((202, True), (481, True), (408, False), (500, False)):
            self.setUp()
            caller, callee = self.answered()
            caller.hang_up(1.0)
            (send,) = self.alice.out()
            assert isinstance(send.message, Request)
            response = build.response(send.message, status)
            self.alice.endpoint.receive_datagram(response.octets(), self.bob.hop, 1.1)
            told = status if status >= 300 else 200
            self.assertEqual(self.alice.take_events(), [Ended(told, (), "local", confirmed)])
            callee.hang_up(2.0)
            self.settle(2.0)
            self.finish(2.0)

    def test_callee_hangs_up_before_the_ack(self) -> None:
        """A callee's BYE waits for the ACK of its 200, §15."""
        _, callee = self.offered()
        callee.answer(0.1, body=ANSWER)
        callee.hang_up(0.2)
        self.assertEqual(self.back(0.2), ["200 INVITE"])
        self.there(0.3)
        self.assertEqual(self.back(0.3), ["BYE"])
        self.settle(0.3)
        self.check_ends(Ended(200, (), "remote", True), Ended(200, (), "local", True))
        self.finish(0.3)

    def test_bye_overtakes_the_ack(self) -> None:
        """A caller's BYE that overtakes its ACK ends the call."""
        caller, callee = self.offered()
        callee.answer(0.1, body=ANSWER)
        self.back(0.1)
        ack = self.alice.out()
        caller.hang_up(0.2)
        self.there(0.2)
        self.assertEqual(self.bob.take_events()[-1], Ended(200, (), "remote", True))
        for send in ack:
            self.bob.endpoint.receive_datagram(send.message.octets(), self.alice.hop, 0.3)
        self.settle(0.3)
        self.finish(0.3)

    def test_bye_for_somebody_else(self) -> None:
        """A BYE with another Call-ID or tag is answered 481 and ends nothing."""
        caller, callee = self.answered()
        caller.hang_up(1.0)
        (send,) = self.alice.out()
        right = send.message.octets()
        wrongs = [
            right.replace(b"Call-ID: ", b"Call-ID: x"),
            right.replace(b"alice@192.0.2.1>;tag=", b"alice@192.0.2.1>;tag=x"),
            right.replace(b"To: <sip:bob@192.0.2.2>;tag=", b"To: <sip:bob@192.0.2.2>;tag=x"),
            right.replace(b"To: <sip:bob@192.0.2.2>;tag=b1", b"To: <sip:bob@192.0.2.2>"),
        ]
        for number, wrong in enumerate(wrongs):
            self.assertNotEqual(wrong, right)
            other = wrong.replace(b"branch=", b"branch=z9hG4bKx%d" % number)
            self.bob.endpoint.receive_datagram(other, self.alice.hop, 1.0)
            (answer,) = self.bob.out()
            assert isinstance(answer.message, Response)
            self.assertEqual(answer.message.status, 481)
        self.assertEqual(callee.state, State.CONFIRMED)
        self.assertEqual(self.bob.take_events(), [])
        self.bob.endpoint.receive_datagram(right, self.alice.hop, 1.0)
        self.settle(1.0)
        self.finish(1.0)

    def test_all_answers_lost_and_the_callee_gives_up(self) -> None:
        """A BYE in an early dialog ends the call and its INVITE."""
        _, callee = self.offered()
        callee.progress(180, 0.0)
        self.back()
        callee.answer(1.0, body=ANSWER)
        while "BYE" not in drop(self.bob):
            due = self.bob.endpoint.next_due()
            assert due is not None
            self.bob.endpoint.handle_timer(due)
        self.assertEqual(callee.state, State.CLEARING)
        self.bob.endpoint.handle_timer(33.5)
        self.assertEqual(transfer(self.bob, self.alice, 33.5), ["BYE"])
        self.assertEqual(self.alice.take_events()[-1], Ended(200, (), "remote", True))
        self.settle(33.5)
        self.assertEqual(self.bob.take_events()[-1], Ended(408, (), "local", True))
        self.finish(33.5)
