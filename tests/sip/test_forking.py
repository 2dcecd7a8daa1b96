"""One INVITE to several phones: the first answer is the call, the others get ACK and BYE."""

from __future__ import annotations

from tests.sip.helpers import ANSWER, BOB, CAROL, NOTHING, CallCase, Party, label, leftovers, run
from umd.sip.message import Message
from umd.sip.session import Answered, Ended, Progressed, Session, State


class ForkingTests(CallCase):
    def setUp(self) -> None:
        super().setUp()
        self.carol = Party("c", CAROL)
        self.parties = (self.alice, self.bob)

    def fork(self) -> tuple[Session, Session, Session]:
        """Send an INVITE that a proxy forks to both phones; return all three sessions."""
        caller = self.alice.call(self.bob)
        (invite,) = self.alice.out()
        for party in (self.bob, self.carol):
            party.endpoint.receive_datagram(invite.message.octets(), self.alice.hop, 0.0)
        return caller, self.bob.incoming(), self.carol.incoming()

    def to_alice(self, party: Party, now: float) -> None:
        for send in party.out():
            self.alice.endpoint.receive_datagram(send.message.octets(), BOB, now)

    def from_alice(self, now: float) -> list[str]:
        """Deliver each of her messages to the party in its Request-URI; return the labels."""
        found = []
        for message, hop in self.alice.out():
            name, party = ("bob", self.bob) if hop == BOB else ("carol", self.carol)
            found.append(f"{label(message)} {name}")
            party.endpoint.receive_datagram(message.octets(), self.alice.hop, now)
        return found

    def test_two_answers(self) -> None:
        """The first answer is the call; the second gets ACK and BYE."""
        caller, bob, carol = self.fork()
        bob.answer(1.0, body=ANSWER)
        carol.answer(1.0, body=ANSWER)
        self.to_alice(self.bob, 1.1)
        self.to_alice(self.carol, 1.1)
        self.assertEqual(self.from_alice(1.1), ["ACK bob", "ACK carol", "BYE carol"])
        self.to_alice(self.carol, 1.2)
        self.assertEqual(self.alice.take_events(), [Answered()])
        self.assertEqual(self.carol.take_events(), [Answered(), Ended(200, (), "remote", True)])
        self.assertEqual((caller.state, bob.state), (State.CONFIRMED, State.CONFIRMED))
        caller.hang_up(2.0)
        self.assertEqual(self.from_alice(2.0), ["BYE bob"])
        self.finish_all(2.0)

    def test_repeated_answer_of_the_other_fork(self) -> None:
        """A repeated 200 of the other fork gets its ACK again, and no second BYE."""
        caller, bob, carol = self.fork()
        bob.answer(1.0, body=ANSWER)
        carol.answer(1.0, body=ANSWER)
        self.to_alice(self.bob, 1.1)
        answer = self.carol.out()[0].message
        acks: list[str] = []
        for now in (1.1, 1.6):
            self.alice.endpoint.receive_datagram(answer.octets(), BOB, now)
            acks += self.from_alice(now)
        self.assertEqual(acks, ["ACK bob", "ACK carol", "BYE carol", "ACK carol"])
        caller.hang_up(2.0)
        self.from_alice(2.0)
        self.finish_all(2.0)

    def test_the_answer_again_with_another_cseq(self) -> None:
        """A 200 of the same dialog with another CSeq gets an ACK, and the call stays up."""
        for tag in (True, False):
            caller, bob, carol = self.fork()
            bob.answer(1.0, body=ANSWER)
            octets = self.bob.out()[0].message.octets()
            if not tag:
                octets = octets.replace(f";tag={bob.local_tag}".encode(), b"")
            self.alice.endpoint.receive_datagram(octets, BOB, 1.1)
            self.alice.out()
            again = octets.replace(b"CSeq: 1 INVITE", b"CSeq: 2 INVITE")
            self.assertNotEqual(again, octets)
            self.alice.endpoint.receive_datagram(again, BOB, 1.6)
            self.assertEqual([label(each.message) for each in self.alice.out()], ["ACK"])
            self.assertEqual(self.alice.take_events(), [Answered()])
            self.assertEqual((caller.state, self.alice.endpoint.dialogs), (State.CONFIRMED, 1))
            caller.hang_up(2.0)
            run((self.alice,), 2.0, 100.0, lost=True)
            self.alice.take()

    def test_both_ring_one_answers(self) -> None:
        """Of two early dialogs the answer confirms one, and the proxy cancels the other."""
        caller, bob, carol = self.fork()
        bob.progress(180, 0.1)
        carol.progress(183, 0.2)
        self.to_alice(self.bob, 0.1)
        self.to_alice(self.carol, 0.2)
        self.assertEqual(self.alice.take_events(), [Progressed(180), Progressed(183)])
        self.assertEqual(self.alice.endpoint.dialogs, 2)
        carol.answer(1.0, body=ANSWER)
        self.to_alice(self.carol, 1.0)
        self.assertEqual(self.from_alice(1.0), ["ACK carol"])
        self.assertEqual(self.alice.endpoint.dialogs, 1)
        assert caller.dialog is not None
        self.assertEqual(caller.dialog.id.remote_tag, carol.local_tag)
        bob.hang_up(1.1)  # stands for the proxy's CANCEL
        self.bob.out()
        self.alice.take()
        caller.hang_up(2.0)
        self.from_alice(2.0)
        self.to_alice(self.carol, 2.0)
        self.assertEqual(self.alice.take_events(), [Ended(200, (), "local", True)])
        run((self.alice,), 2.0, 100.0)
        self.assertEqual(leftovers(self.alice), NOTHING)

    def test_answers_after_hanging_up(self) -> None:
        """Two 200s that cross the CANCEL both get ACK and BYE, and one end is reported."""
        caller, bob, carol = self.fork()
        bob.progress(180, 0.1)
        self.to_alice(self.bob, 0.1)
        caller.hang_up(1.0)
        cancel: Message = self.alice.out()[0].message
        self.assertEqual(label(cancel), "CANCEL")
        bob.answer(1.0, body=ANSWER)
        carol.answer(1.0, body=ANSWER)
        self.to_alice(self.bob, 1.1)
        self.to_alice(self.carol, 1.2)
        self.assertEqual(self.from_alice(1.2), ["ACK bob", "BYE bob", "ACK carol", "BYE carol"])
        self.finish_all(1.2)
        ends = [event for _, event in self.alice.events if isinstance(event, Ended)]
        self.assertEqual(ends, [Ended(200, (), "local", True)])

    def test_answer_after_a_failure(self) -> None:
        """A 200 that a proxy passes on after a 486 gets ACK and BYE, and the call stays ended."""
        _, bob, carol = self.fork()
        bob.reject(486, 1.0)
        self.to_alice(self.bob, 1.0)
        self.assertEqual(self.from_alice(1.0), ["ACK bob"])
        carol.answer(1.1, body=ANSWER)
        self.to_alice(self.carol, 1.1)
        self.assertEqual(self.from_alice(1.1), ["ACK carol", "BYE carol"])
        self.finish_all(1.1)
        ends = [event for _, event in self.alice.events if isinstance(event, Ended)]
        self.assertEqual(ends, [Ended(486, (), "remote", True)])

    def finish_all(self, now: float) -> None:
        """Let time run on, and check that no endpoint has anything left."""
        for _ in range(400):
            for party in (self.bob, self.carol):
                self.to_alice(party, now)
            self.from_alice(now)
            parties = (self.alice, self.bob, self.carol)
            dues = [due for p in parties if (due := p.endpoint.next_due()) is not None]
            if not dues:
                break
            now = max(now, min(dues))
            for party in parties:
                party.endpoint.handle_timer(now)
        for party in (self.alice, self.bob, self.carol):
            party.take()
            self.assertEqual(leftovers(party), NOTHING)
            ends = [event for _, event in party.events if isinstance(event, Ended)]
            self.assertEqual(len(ends), 1)
