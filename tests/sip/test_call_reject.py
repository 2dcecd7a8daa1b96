"""A call that is not answered: refused, redirected, or without any response."""

from __future__ import annotations

from tests.sip.helpers import CallCase, drop, flow, run
from umd.sip.credentials import Login
from umd.sip.session import Ended


class CallRejectTests(CallCase):
    def test_busy(self) -> None:
        """The caller gets the status, and the callee's session ends with the ACK."""
        _, callee = self.offered()
        callee.reject(486, 0.5)
        self.assertEqual(self.bob.take_events(), [])
        self.assertEqual(self.bob.endpoint.dialogs, 0)  # §12.3
        self.assertEqual(self.back(0.5), ["486 INVITE"])
        self.assertEqual(self.alice.take_events(), [Ended(486, (), "remote", True)])
        self.assertEqual(self.there(0.5), ["ACK"])
        self.assertEqual(self.bob.take_events(), [Ended(486, (), "local", True)])
        self.finish(0.5)

    def test_hanging_up_an_offered_call_refuses_it(self) -> None:
        """Hanging up an unanswered INVITE sends 480 by default, with the Reason header."""
        _, callee = self.offered()
        callee.hang_up(0.5, reasons=["Q.850;cause=21"])
        self.settle(0.5)
        self.check_ends(
            Ended(480, ("Q.850;cause=21",), "remote", True), Ended(480, (), "local", True)
        )
        self.finish(0.5)

    def test_redirection_is_a_failure(self) -> None:
        """A redirection is not followed: umd calls only the number that the user gave."""
        _, callee = self.offered()
        callee.reject(302, 0.1, headers=(("Contact", "<sip:carol@192.0.2.3>"),))
        self.settle(0.1)
        self.check_ends(Ended(302, (), "remote", True), Ended(302, (), "local", True))
        self.finish(0.1)

    def test_refusal_never_acknowledged(self) -> None:
        """Without an ACK of its rejection the callee ends after 32 s, unconfirmed."""
        _, callee = self.offered()
        callee.reject(603, 1.0)
        while (due := self.bob.endpoint.next_due()) is not None:
            drop(self.bob)
            self.bob.endpoint.handle_timer(due)
        self.assertEqual(self.bob.take_events(), [Ended(603, (), "local", False)])
        self.assertEqual(len(self.bob.endpoint.transactions), 0)

    def test_nobody_there(self) -> None:
        """32 s without any response end the call with 408, unconfirmed."""
        self.alice.call(self.bob)
        run((self.alice,), 0.0, 100.0)
        self.assertEqual(self.alice.take_events(), [Ended(408, (), "local", False)])
        self.assertEqual(flow(self.alice), ["INVITE"] * 7)
        self.assertEqual(self.alice.endpoint.next_due(), None)

    def test_unsendable(self) -> None:
        """A failed transport ends the call with 503."""
        self.alice.call(self.bob)
        (send,) = self.alice.out()
        self.alice.endpoint.send_failed(send.message, 0.1)
        self.assertEqual(self.alice.take_events(), [Ended(503, (), "local", False)])
        self.assertEqual(self.alice.endpoint.next_due(), None)

    def test_challenge_without_login_is_a_failure(self) -> None:
        """Without credentials a 401 ends the call."""
        _, callee = self.offered()
        callee.reject(401, 0.1, headers=(("WWW-Authenticate", 'Digest realm="x", nonce="n"'),))
        self.settle(0.1)
        self.check_ends(Ended(401, (), "remote", True), Ended(401, (), "local", True))
        self.finish(0.1)

    def test_unanswerable_challenge_is_a_failure(self) -> None:
        """A challenge with an unknown scheme ends the call."""
        self.alice.call(self.bob, login=Login("alice", "secret"))
        self.there()
        self.bob.incoming().reject(407, 0.1, headers=(("Proxy-Authenticate", "Karma realm=x"),))
        self.settle(0.1)
        self.check_ends(Ended(407, (), "remote", True), Ended(407, (), "local", True))
        self.finish(0.1)
