"""Restarts: after a kill, the next umd knows every call and ends it once."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from tests.daemon.processes import ProcessCase, seed_id, seeds, umd
from umd.call.record import decode
from umd.journal.reader import JournalReader
from umd.testing import UmdProcess


class RestartTests(ProcessCase):
    def setUp(self) -> None:
        self.journal = str(Path(self.mktemp()).absolute())
        self.file = self.configuration(seeds("5550100", "5550100", "5550199", "5550180"))

    def running(self, *options: str) -> UmdProcess:
        journal = f"journal.path={self.journal}"
        return UmdProcess("serve", "-c", self.file, "-o", journal, *options)

    def events(self) -> Counter[tuple[str, str]]:
        """Return how often the journal has each event of each call."""
        reader = JournalReader(self.journal)
        reader.open()
        self.addCleanup(reader.close)
        return Counter((s.call, decode(s.record)["event"]) for s in reader.read(0, 10_000))

    def test_kill_9_and_start_again(self) -> None:
        with self.running() as first:
            self.assertEqual(first.disconnect(seed_id(0))[2]["X-UMD-Outcome"], "ended")
            first.stop(signal.SIGKILL)
        with self.running() as second:
            opened = second.events("journal.opened")[0]
            self.assertEqual((opened["live_calls"], opened["ended_calls"]), (3, 1))
            outcomes = [second.disconnect(seed_id(n))[2]["X-UMD-Outcome"] for n in (0, 1, 1)]
            self.assertEqual(outcomes, ["already-ended", "ended", "already-ended"])
        counts = self.events()
        for index in (0, 1):
            self.assertEqual(counts[seed_id(index), "call.disconnected"], 1)
            self.assertEqual(counts[seed_id(index), "call.disconnect-requested"], 1)

    def test_a_request_cut_off_by_a_kill_is_carried_out_once(self) -> None:
        """The far end does not answer the BYE; the next umd sends one again for all requests."""
        with self.running("-o", "call.deadline=1s") as first:
            outcome = first.disconnect(seed_id(2))[2]["X-UMD-Outcome"]
            self.assertEqual(outcome, "ended-unconfirmed")
            first.stop(signal.SIGKILL)
        with self.running("-o", "call.deadline=1s") as second:
            said = {second.disconnect(seed_id(2))[2]["X-UMD-Outcome"] for _ in range(10)}
            self.assertEqual(said, {"ended-unconfirmed"})
        counts = self.events()
        self.assertEqual(counts[seed_id(2), "call.disconnect-requested"], 1)
        self.assertEqual(counts[seed_id(2), "call.resumed"], 2)

    def test_a_second_umd_on_the_same_journal_does_not_start(self) -> None:
        with self.running() as first:
            before = Path(self.journal).read_bytes()
            result = umd(
                "serve", "-o", f"journal.path={self.journal}", "-o", "http.listen=tcp:0",
                "-o", "http.listen=tcp:0:interface=127.0.0.1", "-o", "control.socket=none",
            )  # fmt: skip
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"another umd writes it (process {first.process.pid})", result.stderr)
            self.assertEqual(Path(self.journal).read_bytes(), before)
            self.assertEqual(first.disconnect(seed_id(0))[0], 200)
