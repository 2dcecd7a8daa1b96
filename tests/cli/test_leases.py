"""`umd call place --lease` and `umd lease renew` with a real umd, also over a restart."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.daemon.processes import ProcessCase, umd
from umd.testing import UmdProcess


class LeaseTests(ProcessCase):
    """A test run labels its calls, and renews their leases while it goes on."""

    def serving_journal(self) -> UmdProcess:
        return UmdProcess("serve", "-c", self.file, "-o", f"journal.path={self.journal}")

    def setUp(self) -> None:
        self.file = self.configuration("[backend.sim]\n")
        self.journal = str(Path(self.mktemp()).absolute())

    def place(self, process: UmdProcess, *options: str, number: str = "5550100") -> str:
        ran = umd("call", "place", number, *options, "--socket", process.control_socket)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout.strip()

    def wait_for_end(self, process: UmdProcess, call_id: str) -> None:
        """Wait until umd has ended a call because its lease ran out."""
        requested = process.wait_for("call.disconnect-requested", call=call_id)
        self.assertEqual((requested["limit"], requested["by"]), ("call.lease", "daemon"))
        ended = process.wait_for("call.disconnected", call=call_id)
        self.assertEqual((ended["cause"], ended["confirmed"]), (102, True))

    def test_the_calls_of_a_run_that_stops_renewing_end(self) -> None:
        with self.serving_journal() as process:
            kept = self.place(process, "--label", "nightly", "--lease", "1h")
            calls = [
                self.place(process, "--label", "ci-run-7", "--lease", "1s", number=number)
                for number in ("5550100", "5550180")
            ]
            for call_id in calls:
                self.wait_for_end(process, call_id)
            there = ("--socket", process.control_socket)
            left = [json.loads(line) for line in umd("calls", "--json", *there).stdout.splitlines()]
            self.assertEqual([(call["id"], call["lease_s"]) for call in left], [(kept, 3600.0)])

    def test_a_lease_goes_on_over_a_restart(self) -> None:
        """umd is killed; the next one ends the call whose lease has run out, and not the other."""
        with self.serving_journal() as process:
            there = ("--socket", process.control_socket)
            kept = self.place(process, "--label", "nightly", "--lease", "1h")
            call_id = self.place(process, "--label", "ci-run-7", "--lease", "2s")
            process.stop(signal.SIGKILL)
        with self.serving_journal() as process:
            self.wait_for_end(process, call_id)
            there = ("--socket", process.control_socket)
            renewed = umd("lease", "renew", "nightly", "--json", *there)
            count, call = map(json.loads, renewed.stdout.splitlines())
            self.assertEqual(count, {"renewed": {"label": "nightly", "count": 1}})
            self.assertEqual(call["call"]["id"], kept)
            why = umd("why", call_id, *there).stdout
            self.assertIn("umd, call.lease", why)
            self.assertIn("lease renewed", umd("why", kept, *there).stdout)

    def test_what_the_command_prints(self) -> None:
        with self.serving_journal() as process:
            there = ("--socket", process.control_socket)
            for expected in ("1 call renewed\n", "2 calls renewed\n"):
                self.place(process, "--label", "nightly", "--label", "umd", "--lease", "1h")
                ran = umd("lease", "renew", "nightly", *there)
                self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, expected, ""))
            ran = umd("lease", "renew", "night", *there)
            self.assertEqual((ran.returncode, ran.stdout), (1, ""))
            self.assertIn("no live call with a lease has the label 'night'", ran.stderr)
