"""What is remembered, and told, of wrong attempts."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log
from umd.http import failed_attempts
from umd.http.addresses import network_of
from umd.http.failed_attempts import (
    ATTEMPTS_WITHOUT_NETWORK_DELAY,
    FIRST_DELAY,
    MAX_DELAY,
    MAX_NAMES_PER_NETWORK,
    MAX_NETWORKS,
    FailedAttempts,
)
from umd.http.rate_limited_log import INTERVAL, MAX_LINES, MAX_LINES_PER_NETWORK

EVIL, OTHER = "192.0.2.1", "192.0.2.2"


class AttemptsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log, self.lines = capturing_log()
        self.attempts = FailedAttempts(self.clock, self.log)

    def tearDown(self) -> None:
        self.attempts.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def wrong(self, name: str = "alice", address: str = EVIL, repeated: bool = False) -> float:
        return self.attempts.failed(name, address, "it is wrong", "r-1", repeated=repeated)

    def told(self) -> tuple[int, int]:
        """How many attempts the log tells of, and by how many lines."""
        lines, self.lines[:] = self.lines[:], []
        return sum(map(_tells_of, lines)), len(lines)


def _tells_of(line: Any) -> int:
    return int(line["suppressed"]) + int(line["event"] == "auth.failed")


class DelayTests(AttemptsCase):
    def test_later_and_later_and_forgiven(self) -> None:
        delays = [self.wrong() for _ in range(6)]
        self.assertEqual(delays, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0])
        self.clock.advance(60.1)
        self.assertEqual(self.wrong(), 0.25)

    def test_a_right_one_ends_it(self) -> None:
        _ = self.wrong(), self.wrong()
        self.attempts.succeeded("alice", EVIL)
        self.assertEqual(self.wrong(), 0.25)

    def test_an_office_behind_one_address(self) -> None:
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY):
            self.assertEqual(self.wrong(str(number)), 0.25)
        self.assertEqual(self.wrong("alice", OTHER), 0.25)

    def test_who_tries_ever_new_names_is_slowed_by_its_address(self) -> None:
        """It was 0.25 s for each name, and ten thousand of them made umd forget the rest."""
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY + 5):
            self.wrong(str(number))
        self.assertEqual(self.wrong("new"), MAX_DELAY)

    def test_many_names_do_not_flush_the_attempts_of_others(self) -> None:
        for _ in range(5):
            self.wrong("alice", OTHER)
        for number in range(20_000):
            self.wrong(str(number))
        self.assertEqual(self.wrong("alice", OTHER), MAX_DELAY)
        remembered = self.attempts._networks
        sizes = {len(network.names) for network in remembered.values()}
        self.assertEqual(sizes, {MAX_NAMES_PER_NETWORK, 1})

    def test_addresses_are_bounded_too(self) -> None:
        self.patch(failed_attempts, "MAX_NETWORKS", 100)
        for number in range(1000):
            self.wrong("alice", f"10.0.{number % 250}.{number // 250}")
            self.wrong("alice")
        self.assertEqual(len(self.attempts._networks), 100)
        self.assertEqual(self.wrong(), MAX_DELAY)
        self.attempts.stop()
        self.assertEqual(self.told()[0], 2001)

    def test_a_program_that_repeats_itself_slows_nobody_else(self) -> None:
        for _ in range(100):
            self.wrong(repeated=True)
        self.assertEqual(self.wrong(repeated=True), MAX_DELAY)
        self.assertEqual(self.wrong("bob"), 0.25)

    def test_one_client_has_a_whole_network_of_ipv6(self) -> None:
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY + 5):
            self.wrong(str(number), f"2001:db8::{number + 1:x}")
        self.assertEqual(self.wrong("new", "2001:db8::ffff"), MAX_DELAY)
        self.assertEqual(self.wrong("new", "2001:db8:0:1::1"), 0.25)
        self.assertEqual(network_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("fe80::1%eth0"), "fe80::/64")
        self.assertEqual(network_of(""), "")


class NoGuessTests(AttemptsCase):
    def test_it_has_a_line_and_delays_nobody(self) -> None:
        for _ in range(50):
            self.attempts.unreadable(EVIL, "ntlm is not offered", "r-1")
        (line,) = self.lines
        self.assertEqual((line["event"], line["principal"]), ("auth.failed", ""))
        self.assertEqual(self.wrong(), FIRST_DELAY)

    def test_it_makes_umd_forget_unreadable(self) -> None:
        self.wrong()
        for number in range(2 * MAX_NETWORKS):
            self.attempts.unreadable(f"10.0.{number >> 8}.{number & 255}", "unreadable", "r-1")
        self.assertEqual(self.wrong(), 2 * FIRST_DELAY)
        self.assertEqual(len(self.attempts._unreadable), MAX_NETWORKS)


class LogTests(AttemptsCase):
    def test_who_and_what_and_with_what_outcome(self) -> None:
        self.wrong()
        (line,) = self.lines
        self.assertEqual(
            line,
            {
                "event": "auth.failed", "log_level": "warning", "request_id": "r-1",
                "principal": "alice", "address": EVIL, "operation": "authenticate",
                "outcome": "denied", "why": "it is wrong", "suppressed": 0,
            },
        )  # fmt: skip

    def test_a_series_has_one_line_and_the_rest_is_counted(self) -> None:
        for _ in range(7):
            self.wrong()
        self.assertEqual(self.told(), (1, 1))
        self.wrong("bob")
        self.assertEqual(self.told(), (7, 1))
        self.wrong("bob")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.lines[0]["event"], "auth.failed-more")
        self.assertEqual(self.told(), (1, 1))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.told(), (0, 0))

    def test_ever_new_names_do_not_fill_the_disk(self) -> None:
        for number in range(10_000):
            self.wrong(str(number))
        self.assertEqual(self.told(), (MAX_LINES_PER_NETWORK, MAX_LINES_PER_NETWORK))
        self.wrong("alice", OTHER)
        self.assertEqual(self.told(), (1, 1))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.told(), (10_000 - MAX_LINES_PER_NETWORK, 1))
        self.wrong("one more")
        self.assertEqual(self.told(), (1, 1))

    def test_ever_new_addresses_do_not_either(self) -> None:
        for number in range(12_000):
            self.wrong("alice", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertEqual(self.told(), (MAX_LINES, MAX_LINES))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.told(), (12_000 - MAX_LINES, MAX_LINES + 1))

    def test_what_was_not_told_is_told_at_the_end(self) -> None:
        _ = self.wrong(), self.wrong(), self.wrong()
        self.attempts.stop()
        self.assertEqual(self.told(), (3, 2))
