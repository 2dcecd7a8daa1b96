"""Damaged messages in the middle of calls raise no exception and leave nothing behind."""

from __future__ import annotations

import random

from tests.sip.helpers import ALICE, ANSWER, BOB, NOTHING, CallCase, Party, leftovers
from umd.sip.message import Message
from umd.sip.session import Ended, State

LINES = [
    b"Record-Route: <sip:p.example.com;lr>\r\n",
    b"Record-Route: <sip:p.example.com:99999;lr>\r\n",
    b"Record-Route: <sip:[::1>\r\n",
    b"Contact: <sip:x@[2001:db8::1]:5060>\r\n",
    b"Contact: *\r\n",
    b"Contact: sip:a@b, <tel:1>\r\n",
    b"Reason: Q.850\r\n",
    b"Require: x\r\n",
    b"Route: <sip:x>\r\n",
    b"Via: SIP/2.0/UDP 1.2.3.4;branch=1\r\n",
    b"To: <sip:x>;tag=\r\n",
    b"CSeq: 99999999999 BYE\r\n",
    b"Content-Length: 3\r\n",
]


class HostileTests(CallCase):
    def damaged(self, data: bytes, dice: random.Random) -> bytes:
        """Change, drop or double one to four octets, insert a line, or swap a word."""
        for _ in range(dice.randrange(1, 5)):
            at = dice.randrange(len(data))
            match dice.randrange(6):
                case 0:
                    data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
                case 1:
                    data = data[:at] + data[at + dice.randrange(1, 12) :]
                case 2:
                    data = data[:at] + data[at : at + 8] + data[at:]
                case 3:
                    end = data.find(b"\r\n") + 2
                    data = data[:end] + dice.choice(LINES) + data[end:]
                case 4:
                    one, other = dice.sample([b"INVITE", b"BYE", b"ACK", b"CANCEL", b"180"], 2)
                    data = data.replace(one, other)
                case _:
                    other = dice.randbytes(2).hex().encode()
                    data = data.replace(b"branch=z9hG4bK", b"branch=" + other)
            data = data or b" "
        return data

    def throw(self, party: Party, source: Party, message: Message, now: float) -> None:
        """Deliver a few damaged copies of a message to both sides."""
        for _ in range(3):
            data = self.damaged(message.octets(), self.dice)
            party.endpoint.receive_datagram(data, source.hop, now)
            source.endpoint.receive_datagram(data, party.hop, now)

    def exchange(self, now: float) -> None:
        """Deliver all messages, each after damaged copies of it."""
        for _ in range(30):
            for one, other in ((self.alice, self.bob), (self.bob, self.alice)):
                for message, _ in one.out():
                    if len(one.sent) < 60:
                        self.throw(other, one, message, now)
                    other.endpoint.receive_datagram(message.octets(), one.hop, now)
                for party in (self.alice, self.bob):
                    for session, _ in party.take():
                        if session.state is State.OFFERED:
                            session.answer(now, body=ANSWER)

    def test_damaged_copies_all_along(self) -> None:
        """Each call ends once and leaves nothing behind."""
        for seed in range(60):
            self.dice = random.Random(seed)
            self.setUp()
            caller = self.alice.call(self.bob)
            self.exchange(0.0)
            caller.hang_up(1.0)
            self.exchange(1.0)
            self.drain(1.0)
            for party in self.parties:
                self.assertEqual(leftovers(party), NOTHING, f"seed {seed}")
                ended = [session for session, event in party.events if isinstance(event, Ended)]
                self.assertEqual(len(ended), len({id(each) for each in ended}))
                sessions = {id(session) for session, _ in party.events}
                self.assertEqual(len(ended), len(sessions), f"seed {seed}")

    def drain(self, now: float) -> None:
        """Hang up all calls, and let time run on."""
        for _ in range(3000):
            for party in self.parties:
                for session in list(party.endpoint.sessions()):
                    session.hang_up(now)
                party.take()
                for message, hop in party.out():
                    other = {ALICE: self.alice, BOB: self.bob}.get(hop)
                    if other is not None:
                        other.endpoint.receive_datagram(message.octets(), party.hop, now)
            dues = [due for p in self.parties if (due := p.endpoint.next_due()) is not None]
            if not dues and not any(list(p.endpoint.sessions()) for p in self.parties):
                return
            now = max([now, *([min(dues)] if dues else [])])
            for party in self.parties:
                party.endpoint.handle_timer(now)
