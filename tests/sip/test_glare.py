"""What the far end changes in a call that is up, by re-INVITE or UPDATE."""

from __future__ import annotations

from tests.sip.helpers import ANSWER, OFFER, CallCase, Party, Reinvite, drop, ids, transfer
from umd.sip.endpoint import Endpoint
from umd.sip.message import Request, Response
from umd.sip.session import Ended, State

HOLD = OFFER + b"a=sendonly\r\n"


class ReinviteTests(CallCase):
    def test_answered(self) -> None:
        """A re-INVITE is answered with our description, and the call goes on."""
        caller, callee = self.answered()
        from_caller = Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.assertEqual(self.there(1.0), ["INVITE"])
        self.assertEqual(self.back(1.0), ["200 INVITE"])
        self.assertEqual(self.there(1.0), ["ACK"])
        self.assertEqual((from_caller.status, callee.remote_body), (200, HOLD))
        from_callee = Reinvite(self.bob.endpoint, callee, HOLD, 2.0)
        self.settle(2.0)
        self.assertEqual((from_callee.status, caller.remote_body), (200, HOLD))
        caller.hang_up(3.0)
        self.settle(3.0)
        self.finish(3.0)

    def test_one_at_a_time(self) -> None:
        """A second re-INVITE before the ACK of the first is answered 500, §14.2."""
        caller, _ = self.answered()
        first = Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        second = Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.settle(1.0)
        self.assertEqual((first.status, second.status), (200, 500))
        caller.hang_up(1.1)
        self.settle(1.1)
        self.finish(1.1)

    def test_hung_up_meanwhile(self) -> None:
        """A BYE that crosses a 200 to a re-INVITE ends the call, and the 200 gets an ACK."""
        caller, _ = self.answered()
        Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.there(1.0)
        caller.hang_up(1.1)
        self.assertEqual(self.back(1.1), ["200 INVITE"])
        self.assertEqual(self.there(1.1), ["BYE", "ACK"])
        self.settle(1.1)
        self.check_ends(Ended(200, (), "local", True), Ended(200, (), "remote", True))
        self.finish(1.1)

    def test_never_acknowledged(self) -> None:
        """Without the ACK of its 200 to a re-INVITE, an end sends BYE, §14.2."""
        caller, callee = self.answered()
        Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.there(1.0)
        while callee.state is State.CONFIRMED:
            drop(self.bob)
            due = self.bob.endpoint.next_due()
            assert due is not None
            self.bob.endpoint.handle_timer(due)
        self.assertEqual(callee.state, State.CLEARING)
        self.assertEqual(transfer(self.bob, self.alice, 33.0), ["BYE"])
        self.settle(33.0)
        self.check_ends(Ended(200, (), "remote", True), Ended(408, (), "local", True))
        self.finish(33.0)

    def test_old_ack(self) -> None:
        """Only the ACK with the CSeq of the re-INVITE stops the repetition of its 200."""
        caller, callee = self.answered()
        old = self.alice.sent[1].message
        Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.there(1.0)
        drop(self.bob)
        self.bob.endpoint.receive_datagram(old.octets(), self.alice.hop, 1.1)
        self.bob.endpoint.handle_timer(1.5)
        self.assertEqual(self.back(1.5), ["200 INVITE"])
        self.assertEqual(self.there(1.5), ["ACK"])
        caller.hang_up(2.0)
        self.settle(2.0)
        self.finish(2.0)

    def test_refused(self) -> None:
        """An offer that does not fit is answered 488, and the call goes on unchanged."""
        self.bob.endpoint = Endpoint("192.0.2.2", 5060, ids("b"), answer_offer=lambda _s, _o: None)
        caller, callee = self.answered()
        reinvite = Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.settle(1.0)
        self.assertEqual((reinvite.status, callee.remote_body), (488, OFFER))
        caller.hang_up(2.0)
        self.settle(2.0)
        self.finish(2.0)

    def test_contact_moves(self) -> None:
        """A re-INVITE may give another Contact: the next request goes there, §12.2."""
        caller, callee = self.answered()
        self.alice.endpoint.contact = "<sip:alice@192.0.2.9:5099>"
        Reinvite(self.alice.endpoint, caller, HOLD, 1.0)
        self.settle(1.0)
        callee.hang_up(2.0)
        (send,) = self.bob.out()
        assert isinstance(send.message, Request)
        self.assertEqual(send.message.uri, "sip:alice@192.0.2.9:5099")
        self.assertEqual((send.hop.host, send.hop.port), ("192.0.2.9", 5099))
        self.alice.endpoint.receive_datagram(send.message.octets(), self.bob.hop, 2.0)
        self.settle(2.0)
        self.finish(2.0)


class InDialogTests(CallCase):
    def ask(self, party: Party, other: Party, method: str, body: bytes = b"") -> int:
        """Send any request in the dialog of a call; return the status of the response."""
        party.take()
        session = party.events[-1][0]
        assert session.dialog is not None
        contact = party.endpoint.contact
        request = session.dialog.request(method, party.endpoint, contact=contact, body=body)
        other.endpoint.receive_datagram(request.octets(), party.hop, 1.0)
        (send,) = other.out()
        assert isinstance(send.message, Response)
        self.answer = send.message
        return send.message.status

    def test_update(self) -> None:
        """UPDATE is answered with our description, RFC 3311."""
        caller, callee = self.answered()
        self.assertEqual(self.ask(self.alice, self.bob, "UPDATE", HOLD), 200)
        self.assertEqual((self.answer.body, callee.remote_body), (ANSWER, HOLD))
        self.assertEqual(self.ask(self.alice, self.bob, "UPDATE"), 200)
        self.assertEqual(self.answer.body, b"")
        caller.hang_up(2.0)
        self.settle(2.0)
        self.finish(2.0)

    def test_options_and_others(self) -> None:
        """In a dialog OPTIONS gets 200, a known method 405 and an unknown one 501."""
        caller, _ = self.answered()
        self.assertEqual(self.ask(self.alice, self.bob, "OPTIONS"), 200)
        self.assertEqual(self.ask(self.alice, self.bob, "INFO"), 405)
        self.assertIn("BYE", self.answer.get("Allow") or "")
        self.assertEqual(self.ask(self.alice, self.bob, "JUGGLE"), 501)
        caller.hang_up(2.0)
        self.settle(2.0)
        self.finish(2.0)

    def test_out_of_order(self) -> None:
        """A request with a lower CSeq than the last is answered 500, §12.2.2."""
        caller, callee = self.answered()
        self.assertEqual(self.ask(self.alice, self.bob, "UPDATE", HOLD), 200)
        assert caller.dialog is not None
        caller.dialog.local_cseq -= 2
        self.assertEqual(self.ask(self.alice, self.bob, "BYE"), 500)
        self.assertEqual(callee.state, State.CONFIRMED)
        caller.dialog.local_cseq += 2
        caller.hang_up(2.0)
        self.settle(2.0)
        self.finish(2.0)
