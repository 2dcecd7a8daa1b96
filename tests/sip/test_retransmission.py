"""Which messages are sent again, when, and how repetitions are treated."""

from __future__ import annotations

from tests.sip.helpers import ANSWER, CallCase, Party, drop, flow, label
from tests.sip.schedules import response_schedule
from umd.sip.session import Answered, Ended, State
from umd.sip.timing import Timing
from umd.sip.transaction import Hop


class AnswerTests(CallCase):
    def sendings(self, party: Party, until: float) -> list[tuple[float, str]]:
        """Return `(moment, label)` for each message that a party sends and that gets lost."""
        found: list[tuple[float, str]] = []
        now = 0.0
        while True:
            found += [(round(now, 3), label(send.message)) for send in party.out()]
            due = party.endpoint.next_due()
            if due is None or due > until:
                return found
            now = due
            party.endpoint.handle_timer(now)

    def test_2xx_until_the_ack(self) -> None:
        """A 200 is repeated after T1, doubling to T2; after 64*T1 comes a BYE, §13.3.1.4."""
        _, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        found = self.sendings(self.bob, 32.0)
        expected = [(0.0, "200 INVITE")]
        expected += [(each, "200 INVITE") for each in response_schedule(Timing())]
        self.assertEqual(found, [*expected, (32.0, "BYE")])
        self.assertEqual(callee.state, State.CLEARING)
        self.sendings(self.bob, 100.0)
        self.assertEqual(self.bob.take_events(), [Ended(408, (), "local", False)])
        self.assertEqual(self.bob.endpoint.next_due(), None)

    def test_the_same_over_tcp(self) -> None:
        """A 200 is repeated on reliable transports too, until its ACK."""
        self.bob.hop = Hop("192.0.2.2", 5060, "TCP", 1)
        self.alice.hop = Hop("192.0.2.1", 5060, "TCP", 1)
        _, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        found = [name for _, name in self.sendings(self.bob, 32.0)]
        self.assertEqual(found, ["200 INVITE"] * 11 + ["BYE"])

    def test_hung_up_and_no_ack(self) -> None:
        """A BYE waits for the ACK 32 s at most."""
        _, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        callee.hang_up(1.0)
        found = [name for _, name in self.sendings(self.bob, 32.0)]
        self.assertEqual(found, ["200 INVITE"] * 11 + ["BYE"])

    def test_every_2xx_gets_its_ack(self) -> None:
        """Each repeated 200 gets the same ACK, and one Answered is reported."""
        _, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        (answer,) = self.bob.out()
        octets = answer.message.octets()
        sent = []
        for now in (0.1, 0.6, 1.6):
            self.alice.endpoint.receive_datagram(octets, self.bob.hop, now)
            (ack,) = self.alice.out()
            sent.append(ack.message.octets())
        self.assertEqual(len(set(sent)), 1)
        self.assertEqual(self.alice.take_events(), [Answered()])
        for each in sent:
            self.bob.endpoint.receive_datagram(each, self.alice.hop, 2.0)
        self.assertEqual(self.bob.take_events(), [Answered()])
        callee.hang_up(3.0)
        self.settle(3.0)
        self.finish(3.0)

    def test_lost_ack(self) -> None:
        """A repeated 200 gets the ACK that was lost."""
        _, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        self.back()
        self.assertEqual(drop(self.alice), ["ACK"])
        self.bob.endpoint.handle_timer(0.5)
        self.assertEqual(self.back(0.5), ["200 INVITE"])
        self.assertEqual(self.there(0.5), ["ACK"])
        self.assertEqual(callee.state, State.CONFIRMED)
        callee.hang_up(1.0)
        self.settle(1.0)
        self.finish(1.0)

    def test_late_2xx_after_the_call(self) -> None:
        """A delayed 200 gets its ACK even after the call has ended."""
        caller, callee = self.offered()
        callee.answer(0.0, body=ANSWER)
        (answer,) = self.bob.out()
        self.alice.endpoint.receive_datagram(answer.message.octets(), self.bob.hop, 0.0)
        self.there()
        caller.hang_up(1.0)
        self.settle(1.0)
        self.alice.endpoint.receive_datagram(answer.message.octets(), self.bob.hop, 2.0)
        self.assertEqual(self.there(2.0), ["ACK"])
        self.finish(2.0)


class LossTests(CallCase):
    def test_lost_invite(self) -> None:
        """A repeated INVITE makes no second call."""
        caller = self.alice.call(self.bob)
        drop(self.alice)
        self.alice.endpoint.handle_timer(0.5)
        (send,) = self.alice.out()
        for now in (0.5, 0.6):
            self.bob.endpoint.receive_datagram(send.message.octets(), self.alice.hop, now)
        self.assertEqual(len(self.bob.take_events()), 1)
        caller.hang_up(1.0)
        self.finish(1.0)

    def test_lost_bye_and_lost_answer(self) -> None:
        """A repeated BYE gets the same response again, and the call ends once."""
        caller, _ = self.answered()
        caller.hang_up(1.0)
        drop(self.alice)
        self.alice.endpoint.handle_timer(1.5)
        self.there(1.5)
        self.assertEqual(drop(self.bob), ["200 BYE"])
        self.alice.endpoint.handle_timer(2.5)
        self.there(2.5)
        self.assertEqual(self.back(2.5), ["200 BYE"])
        self.check_ends(Ended(200, (), "local", True), Ended(200, (), "remote", True))
        self.assertEqual(flow(self.alice).count("BYE"), 3)
        self.finish(2.5)

    def test_silent_user_has_100_said_for_it(self) -> None:
        """A 100 is sent after 200 ms without a response."""
        caller, callee = self.offered()
        self.bob.endpoint.handle_timer(0.2)
        self.assertEqual(self.back(0.2), ["100 INVITE"])
        self.assertEqual(caller.state, State.PROCEEDING)
        self.assertEqual(self.alice.take_events(), [])
        callee.hang_up(1.0)
        self.finish(1.0)
