"""Failed logins: the delay of each response, and the log lines."""

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

    def fail_login(self, name: str = "alice", address: str = EVIL, repeated: bool = False) -> float:
        return self.attempts.failed(name, address, "it is wrong", "r-1", repeated=repeated)

    def reported(self) -> tuple[int, int]:
        """Return how many attempts the log reports since the last call, and in how many lines."""
        lines, self.lines[:] = self.lines[:], []
        return sum(map(_events_in, lines)), len(lines)


def _events_in(line: Any) -> int:
    return int(line["suppressed"]) + int(line["event"] == "auth.failed")


class DelayTests(AttemptsCase):
    def test_the_delay_doubles_and_is_forgotten(self) -> None:
        delays = [self.fail_login() for _ in range(6)]
        self.assertEqual(delays, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0])
        self.clock.advance(60.1)
        self.assertEqual(self.fail_login(), 0.25)

    def test_a_right_password_resets_the_delay(self) -> None:
        _ = self.fail_login(), self.fail_login()
        self.attempts.succeeded("alice", EVIL)
        self.assertEqual(self.fail_login(), 0.25)

    def test_users_behind_one_address_do_not_delay_each_other(self) -> None:
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY):
            self.assertEqual(self.fail_login(str(number)), 0.25)
        self.assertEqual(self.fail_login("alice", OTHER), 0.25)

    def test_a_client_with_many_names_is_delayed_by_its_address(self) -> None:
        """Each new name had a delay of 0.25 s only, and 10,000 names displaced all others."""
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY + 5):
            self.fail_login(str(number))
        self.assertEqual(self.fail_login("new"), MAX_DELAY)

    def test_many_names_do_not_displace_those_of_another_address(self) -> None:
        for _ in range(5):
            self.fail_login("alice", OTHER)
        for number in range(20_000):
            self.fail_login(str(number))
        self.assertEqual(self.fail_login("alice", OTHER), MAX_DELAY)
        remembered = self.attempts._networks
        sizes = {len(network.names) for network in remembered.values()}
        self.assertEqual(sizes, {MAX_NAMES_PER_NETWORK, 1})

    def test_the_number_of_addresses_is_limited(self) -> None:
        self.patch(failed_attempts, "MAX_NETWORKS", 100)
        for number in range(1000):
            self.fail_login("alice", f"10.0.{number % 250}.{number // 250}")
            self.fail_login("alice")
        self.assertEqual(len(self.attempts._networks), 100)
        self.assertEqual(self.fail_login(), MAX_DELAY)
        self.attempts.stop()
        self.assertEqual(self.reported()[0], 2001)

    def test_a_repeated_old_password_does_not_delay_other_users(self) -> None:
        for _ in range(100):
            self.fail_login(repeated=True)
        self.assertEqual(self.fail_login(repeated=True), MAX_DELAY)
        self.assertEqual(self.fail_login("bob"), 0.25)

    def test_a_network_of_ipv6_counts_as_one_client(self) -> None:
        for number in range(ATTEMPTS_WITHOUT_NETWORK_DELAY + 5):
            self.fail_login(str(number), f"2001:db8::{number + 1:x}")
        self.assertEqual(self.fail_login("new", "2001:db8::ffff"), MAX_DELAY)
        self.assertEqual(self.fail_login("new", "2001:db8:0:1::1"), 0.25)
        self.assertEqual(network_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("fe80::1%eth0"), "fe80::/64")
        self.assertEqual(network_of(""), "")


class UnreadableTests(AttemptsCase):
    def test_it_is_logged_and_not_delayed(self) -> None:
        for _ in range(50):
            self.attempts.unreadable(EVIL, "ntlm is not offered", "r-1")
        (line,) = self.lines
        self.assertEqual((line["event"], line["principal"]), ("auth.failed", ""))
        self.assertEqual(self.fail_login(), FIRST_DELAY)

    def test_it_does_not_displace_failed_attempts(self) -> None:
        self.fail_login()
        for number in range(2 * MAX_NETWORKS):
            self.attempts.unreadable(f"10.0.{number >> 8}.{number & 255}", "unreadable", "r-1")
        self.assertEqual(self.fail_login(), 2 * FIRST_DELAY)
        self.assertEqual(len(self.attempts._unreadable), MAX_NETWORKS)


class LogTests(AttemptsCase):
    def test_the_keys_of_a_line(self) -> None:
        self.fail_login()
        (line,) = self.lines
        self.assertEqual(
            line,
            {
                "event": "auth.failed", "log_level": "warning", "request_id": "r-1",
                "principal": "alice", "address": EVIL, "operation": "authenticate",
                "outcome": "denied", "why": "it is wrong", "suppressed": 0,
            },
        )  # fmt: skip

    def test_the_first_attempt_has_a_line_and_others_are_counted(self) -> None:
        for _ in range(7):
            self.fail_login()
        self.assertEqual(self.reported(), (1, 1))
        self.fail_login("bob")
        self.assertEqual(self.reported(), (7, 1))
        self.fail_login("bob")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.lines[0]["event"], "auth.failed-more")
        self.assertEqual(self.reported(), (1, 1))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.reported(), (0, 0))

    def test_many_names_do_not_fill_the_disk(self) -> None:
        for number in range(10_000):
            self.fail_login(str(number))
        self.assertEqual(self.reported(), (MAX_LINES_PER_NETWORK, MAX_LINES_PER_NETWORK))
        self.fail_login("alice", OTHER)
        self.assertEqual(self.reported(), (1, 1))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.reported(), (10_000 - MAX_LINES_PER_NETWORK, 1))
        self.fail_login("one more")
        self.assertEqual(self.reported(), (1, 1))

    def test_many_addresses_do_not_fill_the_disk(self) -> None:
        for number in range(12_000):
            self.fail_login("alice", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertEqual(self.reported(), (MAX_LINES, MAX_LINES))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.reported(), (12_000 - MAX_LINES, MAX_LINES + 1))

    def test_stop_writes_the_remaining_count(self) -> None:
        _ = self.fail_login(), self.fail_login(), self.fail_login()
        self.attempts.stop()
        self.assertEqual(self.reported(), (3, 2))
