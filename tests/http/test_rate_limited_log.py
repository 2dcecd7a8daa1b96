"""The log limits the lines that clients can cause, and counts every event."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import capturing_log
from umd.http import rate_limited_log
from umd.http.rate_limited_log import INTERVAL, MAX_LINES_PER_NETWORK, RateLimitedLog


class RateLimitedLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log, self.lines = capturing_log()
        self.limited = RateLimitedLog(self.log.warning, "door.knocked", self.clock)

    def tearDown(self) -> None:
        self.limited.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def reported(self) -> int:
        """Return how many events the log has reported."""
        own = [line for line in self.lines if line["event"] == "door.knocked"]
        suppressed: int = sum(line["suppressed"] for line in self.lines)
        return len(own) + suppressed

    def test_one_event_is_one_line(self) -> None:
        self.limited.write("192.0.2.1", how="loudly")
        self.clock.advance(INTERVAL)
        (line,) = self.lines
        self.assertEqual((line["event"], line["log_level"]), ("door.knocked", "warning"))
        self.assertEqual(
            (line["address"], line["how"], line["suppressed"]), ("192.0.2.1", "loudly", 0)
        )

    def test_one_address_does_not_use_up_the_lines_of_others(self) -> None:
        for _ in range(1000):
            self.limited.write("192.0.2.1")
        self.limited.write("192.0.2.2")
        self.assertEqual(len(self.lines), MAX_LINES_PER_NETWORK + 1)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.lines[-1]["suppressed"], 1000 - MAX_LINES_PER_NETWORK)
        self.assertEqual(self.reported(), 1001)

    def test_a_new_interval_begins_with_the_next_event(self) -> None:
        for _ in range(MAX_LINES_PER_NETWORK):
            self.limited.write("192.0.2.1")
        self.clock.advance(INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.limited.write("192.0.2.1")
        self.assertEqual(len(self.lines), MAX_LINES_PER_NETWORK + 1)

    def test_a_counted_event_is_in_the_next_line(self) -> None:
        self.limited.count("192.0.2.1")
        self.limited.write("192.0.2.1")
        (line,) = self.lines
        self.assertEqual(line["suppressed"], 1)

    def test_events_of_forgotten_networks_are_counted(self) -> None:
        self.patch(rate_limited_log, "MAX_NETWORKS", 10)
        for number in range(500):
            for _ in range(2):
                self.limited.write(f"10.0.{number >> 8}.{number & 255}")
        self.assertEqual(len(self.limited._networks), 10)
        self.limited.stop()
        self.assertEqual(self.reported(), 1000)
