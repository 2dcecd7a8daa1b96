"""Calls through a server that challenges requests (RFC 3261 §22)."""

from __future__ import annotations

from tests.sip import digest_server
from tests.sip.helpers import ANSWER, CallCase, flow, label
from umd.sip import build
from umd.sip.credentials import Login
from umd.sip.fields import Credentials
from umd.sip.message import Request
from umd.sip.session import Answered, Ended, Session, State

LOGIN = Login("alice", "open sesame")
CHALLENGE = digest_server.challenge("example", "nonce1")


class DigestCallTests(CallCase):
    def challenged(self, status: int = 401) -> tuple[Session, Session]:
        """Return both sessions of a call that was challenged and sent again."""
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        caller = self.alice.call(self.bob, login=LOGIN)
        self.there()
        self.bob.incoming().reject(status, 0.1, headers=((name, str(CHALLENGE)),))
        self.back(0.1)
        self.assertEqual(self.there(0.1), ["ACK", "INVITE"])
        return caller, self.bob.incoming()

    def is_right(self, request: Request, header: str = "Authorization") -> bool:
        """Whether the server accepts the credentials of a request."""
        return digest_server.is_right(
            Credentials.parse(request.get(header) or ""),
            LOGIN.password,
            realm="example",
            nonce="nonce1",
            method=request.method,
            uri=request.uri,
        )

    def test_challenge_is_answered(self) -> None:
        """A challenged INVITE is sent again with credentials, the next CSeq and a new branch."""
        for status, header in ((401, "Authorization"), (407, "Proxy-Authorization")):
            self.setUp()
            caller, callee = self.challenged(status)
            first = self.alice.sent[0].message
            second = self.alice.sent[2].message
            assert isinstance(second, Request)
            self.assertTrue(self.is_right(second, header))
            self.assertEqual(second.call_id, first.call_id)
            self.assertEqual(second.from_tag, first.from_tag)
            self.assertEqual((first.cseq.number, second.cseq.number), (1, 2))
            self.assertNotEqual(second.via.branch, first.via.branch)
            callee.answer(0.2, body=ANSWER)
            self.settle(0.2)
            self.assertEqual(self.alice.take_events(), [Answered()])
            ack = self.alice.sent[3].message
            self.assertEqual(ack.get(header), second.get(header))  # §22.1
            self.assertEqual(ack.cseq.number, 2)
            caller.hang_up(1.0)
            self.settle(1.0)
            bye = self.alice.sent[4].message
            self.assertEqual((label(bye), bye.cseq.number), ("BYE", 3))
            self.both_ended(1.0)

    def both_ended(self, now: float) -> None:
        """Check that Bob has seen two sessions: the refused one and the real one."""
        self.alice.take()
        self.bob.take()
        ended = [event for _, event in self.alice.events if isinstance(event, Ended)]
        self.assertEqual(ended, [Ended(200, (), "local", True)])
        self.assertEqual(sum(isinstance(event, Ended) for _, event in self.bob.events), 2)

    def test_only_once(self) -> None:
        """Refused credentials end the call, since another try could lock the account."""
        _, callee = self.challenged()
        callee.reject(401, 0.2, headers=(("WWW-Authenticate", str(CHALLENGE)),))
        self.settle(0.2)
        self.alice.take()
        self.assertEqual(self.alice.events[-1][1], Ended(401, (), "remote", True))
        self.assertEqual(flow(self.alice), ["INVITE", "ACK", "INVITE", "ACK"])

    def test_hung_up_before_the_challenge(self) -> None:
        """A challenge after a hang-up ends the call."""
        caller = self.alice.call(self.bob, login=LOGIN)
        self.there()
        caller.hang_up(0.05)
        headers = (("WWW-Authenticate", str(CHALLENGE)),)
        self.bob.incoming().reject(401, 0.1, headers=headers)
        self.settle(0.1)
        self.check_ends(Ended(401, (), "local", True), Ended(401, (), "local", True))
        self.finish(0.1)

    def test_hung_up_after_the_challenge(self) -> None:
        """A CANCEL goes to the second INVITE."""
        caller, callee = self.challenged()
        callee.progress(180, 0.2)
        self.back(0.2)
        caller.hang_up(0.3)
        self.settle(0.3)
        self.assertEqual(callee.state, State.ENDED)
        self.alice.take()
        self.assertEqual(self.alice.events[-1][1], Ended(487, (), "local", True))

    def test_bye_is_challenged(self) -> None:
        """A challenged BYE is sent again once; a second 401 does not confirm the end."""
        self.alice.call(self.bob, login=LOGIN)
        self.there()
        callee = self.bob.incoming()
        callee.answer(0.0, body=ANSWER)
        self.settle()
        caller = self.alice.incoming()
        caller.hang_up(1.0)
        (send,) = self.alice.out()
        assert isinstance(send.message, Request)
        refusal = build.response(
            send.message, 401, headers=[("WWW-Authenticate", str(CHALLENGE))]
        )
        self.alice.endpoint.receive_datagram(refusal.octets(), self.bob.hop, 1.0)
        self.assertEqual(caller.state, State.CLEARING)
        (again,) = self.alice.out()
        assert isinstance(again.message, Request)
        self.assertTrue(self.is_right(again.message))
        self.assertEqual(again.message.cseq.number, send.message.cseq.number + 1)
        another = build.response(
            again.message, 401, headers=[("WWW-Authenticate", str(CHALLENGE))]
        )
        self.alice.endpoint.receive_datagram(another.octets(), self.bob.hop, 1.1)
        self.assertEqual(self.alice.out(), [])
        self.assertEqual(self.alice.take_events()[-1], Ended(401, (), "local", False))
        self.bob.endpoint.receive_datagram(again.message.octets(), self.alice.hop, 1.1)
        self.settle(1.1)
        self.check_ends(Ended(401, (), "local", False), Ended(200, (), "remote", True))
        self.finish(1.1)
