"""The order in which passwords are hashed, and the time that guesses use."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from umd.http.hashing_queue import (
    MAX_REST,
    MAX_WAITING,
    MAX_WAITING_PER_ADDRESS,
    MAX_WAITING_PER_NAME,
    REST_FACTOR,
    HashingQueue,
)


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = HashingQueue(self.clock)
        self.served: list[str] = []

    def enter(self, address: str, name: str, label: str = "") -> None:
        turn = self.queue.wait_for_turn(address, name)
        _ = turn.addCallback(lambda _: self.served.append(label or f"{address} {name}"))

    def test_one_at_a_time(self) -> None:
        for label in "abc":
            self.enter("1", "alice", label)
        self.assertEqual(self.served, ["a"])
        self.queue.end_turn()
        self.assertEqual(self.served, ["a", "b"])
        self.queue.end_turn()
        self.queue.end_turn()
        self.assertEqual(self.served, ["a", "b", "c"])

    def test_many_passwords_of_a_client_delay_only_itself(self) -> None:
        """Neither another address nor another name of the same address waits for them."""
        for _ in range(20):
            self.enter("evil", "alice")
        for number in range(20):
            self.enter("worse", f"name {number}")
        self.enter("good", "bob")
        self.enter("evil", "carol")
        for _ in range(6):
            self.queue.end_turn()
        self.assertEqual(
            self.served,
            [
                "evil alice", "evil alice", "worse name 0", "good bob", "evil carol",
                "worse name 1", "evil alice",
            ],
        )  # fmt: skip

    def test_a_wrong_password_is_followed_by_a_rest(self) -> None:
        """Any number of guesses uses a quarter of the time."""
        for number in range(100):
            self.enter("evil", str(number))
        hashed = 0.0
        while self.clock.seconds() < 4.0:
            self.clock.advance(0.05)
            hashed += 0.05
            self.queue.end_turn(0.05)
            self.clock.advance(REST_FACTOR * 0.05)
        self.assertAlmostEqual(hashed / self.clock.seconds(), 0.25)

    def test_a_rest_is_limited(self) -> None:
        self.enter("1", "alice")
        self.enter("2", "bob")
        self.queue.end_turn(60.0)
        self.clock.advance(MAX_REST)
        self.assertEqual(self.served, ["1 alice", "2 bob"])

    def test_a_right_password_is_not_followed_by_a_rest(self) -> None:
        self.enter("1", "alice")
        self.enter("2", "bob")
        self.queue.end_turn(0.0)
        self.assertEqual(self.served, ["1 alice", "2 bob"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_queue_is_limited(self) -> None:
        self.enter("0", "first")
        for _ in range(MAX_WAITING_PER_NAME):
            self.assertTrue(self.queue.has_room("1", "alice"))
            self.enter("1", "alice")
        self.assertFalse(self.queue.has_room("1", "alice"))
        self.assertTrue(self.queue.has_room("1", "bob"))
        for number in range(MAX_WAITING_PER_ADDRESS - MAX_WAITING_PER_NAME):
            self.enter("1", str(number))
        self.assertFalse(self.queue.has_room("1", "bob"))
        self.assertTrue(self.queue.has_room("2", "bob"))
        for number in range(MAX_WAITING - MAX_WAITING_PER_ADDRESS):
            self.enter(f"2 {number}", "x")
        self.assertFalse(self.queue.has_room("3", "x"))
        for _ in range(MAX_WAITING + 1):
            self.queue.end_turn()
        self.assertEqual(len(self.served), MAX_WAITING + 1)
        self.assertTrue(self.queue.has_room("1", "alice"))

    def test_a_cancelled_turn_makes_room(self) -> None:
        self.enter("0", "first")
        cancelled = [
            self.queue.wait_for_turn("1", str(n % 9)) for n in range(MAX_WAITING_PER_ADDRESS)
        ]
        self.assertFalse(self.queue.has_room("1", "alice"))
        for turn in cancelled:
            turn.cancel()
            self.failureResultOf(turn, CancelledError)
        self.assertTrue(self.queue.has_room("1", "alice"))
        self.enter("1", "alice")
        self.queue.end_turn()
        self.assertEqual(self.served, ["0 first", "1 alice"])

    def test_a_thousand_turns_that_end_at_once(self) -> None:
        """They follow each other without a rest and without recursion."""
        self.enter("0", "first")
        for number in range(MAX_WAITING):
            turn = self.queue.wait_for_turn(str(number), "x")
            _ = turn.addCallback(lambda _: self.queue.end_turn())
        self.queue.end_turn()
        self.assertTrue(self.queue.has_room("1", "x"))

    def test_stopping_in_a_rest_leaves_no_timer(self) -> None:
        self.enter("1", "alice")
        self.enter("1", "alice")
        self.queue.end_turn(1.0)
        self.queue.stop()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.served)), ([], 1))
