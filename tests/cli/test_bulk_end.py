"""`umd calls end` with a real umd: asks, counts, shows progress, and ends each call once."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.test_commands import DONE_REPLY, SELECTED, result, scripted
from tests.daemon.processes import ProcessCase, seed_id, seeds, umd
from umd.cli import bulk_end
from umd.testing import UmdProcess

END = ("calls", "end")


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class SelectTests(ProcessCase):
    def test_a_dry_run_then_the_end_of_what_it_showed(self) -> None:
        text = seeds("5550100", "5550100", "5550180", "5550111")
        with self.serving(text) as process:
            there = ("--socket", process.control_socket)
            selectors = ("--number", "555010?", "--state", "connected")
            listed = umd("calls", *selectors, *there)
            self.assertEqual(listed.stdout.count("seed-"), 2)
            dry = umd(*END, *selectors, "--dry-run", *there)
            self.assertEqual(dry.stdout.splitlines()[-1], "2 calls would end; none was ended.")
            self.assertRegex(dry.stdout, r"(?s)^  CALL .*\n  seed-0 .*\n  seed-1 ")
            many = umd(*END, *selectors, "--max", "1", "--expect", "2", *there)
            self.assertEqual((many.returncode, many.stdout), (1, ""))
            self.assertIn("more than the maximum of 1; none was ended", many.stderr)
            other = umd(*END, *selectors, "--max", "9", "--expect", "3", *there)
            self.assertEqual((other.returncode, other.stdout), (1, ""))
            self.assertIn("2 calls are selected now, not 3 as expected", other.stderr)
            unsure = umd(*END, *selectors, "--max", "9", *there)
            self.assertEqual((unsure.returncode, unsure.stdout), (2, ""))
            ended = umd(*END, *selectors, "--max", "9", "--expect", "2", *there)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertRegex(ended.stdout, r"^2 ended; \d+\.\d s\n$")
            left = lines_of(umd("calls", "--json", *there).stdout)
            self.assertEqual({call["to"] for call in left}, {"5550180", "5550111"})
            again = umd(*END, *selectors, "--max", "9", "--yes", "--json", *there)
            self.assertEqual(
                lines_of(again.stdout)[0], {"selected": {"count": 0, "partners": 0, "protected": 0}}
            )

    def test_selectors_of_the_calls_in_a_journal(self) -> None:
        journal = str(Path(self.mktemp()).absolute())
        text = seeds("5550111", "5550100", "5550180")
        with self.serving(text, "-o", f"journal.path={journal}") as process:
            process.disconnect(seed_id(0))  # its reply shows that the records before are durable
            process.stop(signal.SIGKILL)
        for selectors, count in (
            (("--number", "*180"), 1), (("--state", "connected"), 2), (("--older-than", "1h"), 0),
            (("--id", "seed-1"), 1),
        ):  # fmt: skip
            found = umd("calls", "--json", *selectors, "--journal", journal)
            self.assertEqual(len(lines_of(found.stdout)), count, found.stderr)

    def test_a_terminal_is_asked(self) -> None:
        """"n", or nothing but Return, ends nothing."""
        with self.serving(seeds("5550100", "5550100")) as process:
            there = ("--socket", process.control_socket)
            for answer, status, live in ((b"n\n", 1, 2), (b"\n", 1, 2), (b"y\n", 0, 0)):
                with terminal(*END, "--number", "555*", "--max", "5", *there) as (leader, asking):
                    shown = read_until(leader, b"[y/N]")
                    self.assertIn(b"End 2 calls?", shown)
                    os.write(leader, answer)
                    self.assertEqual(asking.wait(30), status)
                    if status == 0:
                        self.assertIn(b"2 ended", read_until(leader, b" s\r\n"))
                self.assertEqual(len(lines_of(umd("calls", "--json", *there).stdout)), live)


class ShownTests(ProcessCase):
    def asked(self, *replies: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        with scripted(*replies, DONE_REPLY) as path:
            return umd(*END, "--id", "x", "--max", "9", "--expect", "9", "--socket", path)

    def test_the_summary_counts_each_outcome(self) -> None:
        outcomes = (
            "ended", "ended", "ended-unconfirmed", "already-ended", "changed", "protected",
            "unknown", "backend-unavailable",
        )  # fmt: skip
        ran = self.asked(
            SELECTED, *(result(outcome, confirmed=outcome == "ended") for outcome in outcomes)
        )
        self.assertIn(
            "2 ended, 1 not confirmed, 1 had ended already, 1 had changed and were left alone, "
            "1 protected and left out, 1 not known any more, 1 could not be ended; ",
            ran.stdout,
        )
        self.assertIn("leg-1  backend-unavailable: a reason\n", ran.stderr)

    def test_only_the_first_reasons_are_shown(self) -> None:
        ran = self.asked(SELECTED, *[result("internal-error", confirmed=False)] * 50)
        self.assertEqual(ran.stderr.count("a reason"), bulk_end.MAX_REASONS_SHOWN)
        self.assertIn("More are counted only; --json prints each.", ran.stderr)
        self.assertIn("50 could not be ended", ran.stdout)


class InterruptTests(ProcessCase):
    CALLS = 300

    def serving_calls(self, journal: str) -> UmdProcess:
        file = self.configuration(seeds(*["5550100"] * self.CALLS, "5550180"))
        return UmdProcess("serve", "-c", file, "-o", f"journal.path={journal}")

    def test_ctrl_c_and_again_ends_no_call_twice(self) -> None:
        """Each selected call has one end event, and the other call has none."""
        journal = str(Path(self.mktemp()).absolute())
        with self.serving_calls(journal) as process:
            there = ("--socket", process.control_socket)
            command = [*END, "--number", "5550100", "--max", "1000", "--yes", "--json"]
            # A test run in the background ignores SIGINT, and its children inherit that.
            interrupted = subprocess.Popen(
                ["env", "--default-signal=INT", sys.executable, "-m", "umd", *command,
                 "--rate", "100", *there],
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            assert interrupted.stdout is not None
            with interrupted:
                for _ in range(1 + 50):  # `selected`, then results
                    interrupted.stdout.readline()
                interrupted.send_signal(signal.SIGINT)
                self.assertEqual(interrupted.wait(30), 130)
            gone = process.wait_for("control.answered", outcome="client-gone")
            self.assertLess(gone["begun"], self.CALLS)
            again = umd(*command, *there)
            self.assertEqual(again.returncode, 0, again.stderr)
            selected, *results, summary = lines_of(again.stdout)
            self.assertEqual(selected["selected"]["count"], len(results))
            self.assertGreaterEqual(len(results), self.CALLS - gone["begun"])
            self.assertLess(len(results), self.CALLS - 40)
            records = lines_of(umd("events", "--json", *there).stdout)
        ends = Counter(r["leg"] for r in records if r["event"] == "call.disconnected")
        requests = Counter(r["leg"] for r in records if r["event"] == "call.disconnect-requested")
        expected = {f"seed-{number}": 1 for number in range(self.CALLS)}
        self.assertEqual((ends, requests), (expected, expected))

    def test_progress(self) -> None:
        """On a terminal it is one line that changes; the last line is the summary."""
        with self.serving_calls("none") as process:
            there = ("--socket", process.control_socket)
            options = ("--number", "5550100", "--max", "1000", "--yes", "--rate", "300")
            with terminal(*END, *options, *there) as (leader, running):
                shown = read_until(leader, b" s\r\n")
                self.assertEqual(running.wait(30), 0)
        self.assertRegex(shown, rb"\r\x1b\[K\d+ of 300   \d+/s   \d+ left")
        self.assertRegex(shown, rb"\r\x1b\[K300 ended; \d+\.\d s\r\n")


@contextmanager
def terminal(*command: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a command on a terminal of its own; yield the other end of the terminal."""
    leader, follower = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "umd", *command],
            stdin=follower, stdout=follower, stderr=follower,
        ) as process:  # fmt: skip
            os.close(follower)
            try:
                yield leader, process
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        os.close(leader)


def read_until(leader: int, words: bytes) -> bytes:
    """Read from a terminal until these octets were shown, for 30 s at most."""
    shown = b""
    deadline = time.monotonic() + 30
    while words not in shown and time.monotonic() < deadline:
        if select.select([leader], [], [], 1.0)[0]:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # the command has ended
                break
    return shown
