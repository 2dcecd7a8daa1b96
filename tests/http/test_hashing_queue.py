"""Whose password is hashed next, and how long guesses make umd work."""

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


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = HashingQueue(self.clock)
        self.had: list[str] = []

    def come(self, address: str, name: str, say: str = "") -> None:
        turn = self.queue.wait_for_turn(address, name)
        _ = turn.addCallback(lambda _: self.had.append(say or f"{address} {name}"))

    def test_one_at_a_time(self) -> None:
        for say in "abc":
            self.come("1", "alice", say)
        self.assertEqual(self.had, ["a"])
        self.queue.end_turn()
        self.assertEqual(self.had, ["a", "b"])
        self.queue.end_turn()
        self.queue.end_turn()
        self.assertEqual(self.had, ["a", "b", "c"])

    def test_who_sends_many_waits_for_its_own(self) -> None:
        """Neither another address waits behind them, nor another name of the same address."""
        for _ in range(20):
            self.come("evil", "alice")
        for number in range(20):
            self.come("worse", f"name {number}")
        self.come("good", "bob")
        self.come("evil", "carol")
        for _ in range(6):
            self.queue.end_turn()
        self.assertEqual(
            self.had,
            [
                "evil alice", "evil alice", "worse name 0", "good bob", "evil carol",
                "worse name 1", "evil alice",
            ],
        )  # fmt: skip

    def test_a_wrong_one_is_followed_by_a_rest(self) -> None:
        """However many guess, they are hashed for a quarter of the time."""
        for number in range(100):
            self.come("evil", str(number))
        hashed = 0.0
        while self.clock.seconds() < 4.0:
            self.clock.advance(0.05)
            hashed += 0.05
            self.queue.end_turn(0.05)
            self.clock.advance(REST_FACTOR * 0.05)
        self.assertAlmostEqual(hashed / self.clock.seconds(), 0.25)

    def test_a_rest_has_an_end(self) -> None:
        self.come("1", "alice")
        self.come("2", "bob")
        self.queue.end_turn(60.0)
        self.clock.advance(MAX_REST)
        self.assertEqual(self.had, ["1 alice", "2 bob"])

    def test_a_right_one_is_not(self) -> None:
        self.come("1", "alice")
        self.come("2", "bob")
        self.queue.end_turn(0.0)
        self.assertEqual(self.had, ["1 alice", "2 bob"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_is_room_for_so_many(self) -> None:
        self.come("0", "first")
        for _ in range(MAX_WAITING_PER_NAME):
            self.assertTrue(self.queue.has_room("1", "alice"))
            self.come("1", "alice")
        self.assertFalse(self.queue.has_room("1", "alice"))
        self.assertTrue(self.queue.has_room("1", "bob"))
        for number in range(MAX_WAITING_PER_ADDRESS - MAX_WAITING_PER_NAME):
            self.come("1", str(number))
        self.assertFalse(self.queue.has_room("1", "bob"))
        self.assertTrue(self.queue.has_room("2", "bob"))
        for number in range(MAX_WAITING - MAX_WAITING_PER_ADDRESS):
            self.come(f"2 {number}", "x")
        self.assertFalse(self.queue.has_room("3", "x"))
        for _ in range(MAX_WAITING + 1):
            self.queue.end_turn()
        self.assertEqual(len(self.had), MAX_WAITING + 1)
        self.assertTrue(self.queue.has_room("1", "alice"))

    def test_who_leaves_makes_room(self) -> None:
        self.come("0", "first")
        leaving = [
            self.queue.wait_for_turn("1", str(n % 9)) for n in range(MAX_WAITING_PER_ADDRESS)
        ]
        self.assertFalse(self.queue.has_room("1", "alice"))
        for turn in leaving:
            turn.cancel()
            self.failureResultOf(turn, CancelledError)
        self.assertTrue(self.queue.has_room("1", "alice"))
        self.come("1", "alice")
        self.queue.end_turn()
        self.assertEqual(self.had, ["0 first", "1 alice"])

    def test_a_thousand_turns_that_end_at_once(self) -> None:
        """Everybody has left: there is no rest, and no recursion."""
        self.come("0", "first")
        for number in range(MAX_WAITING):
            turn = self.queue.wait_for_turn(str(number), "x")
            _ = turn.addCallback(lambda _: self.queue.end_turn())
        self.queue.end_turn()
        self.assertTrue(self.queue.has_room("1", "x"))

    def test_stopping_in_a_rest_leaves_no_timer(self) -> None:
        self.come("1", "alice")
        self.come("1", "alice")
        self.queue.end_turn(1.0)
        self.queue.stop()
        self.assertEqual((self.clock.getDelayedCalls(), len(self.had)), ([], 1))
