"""The commands read events and calls from a running umd, and from its journal file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import ProcessCase, seed_id, seeds, umd
from tests.journal.rows import Event, write
from tests.journal.test_file import FileCase
from umd.call.call import Call, CallState
from umd.call.call_id import make_call_id
from umd.call.cause import Cause, EndedBy
from umd.call.leg import Ended, LegId
from umd.call.record import encode
from umd.journal.file import JournalFile
from umd.journal.store import Step
from umd.management.client import Refusal
from umd.management.id_prefix import encoded_prefixes, has_prefix
from umd.management.journal_queries import read_call_history
from umd.testing import UmdProcess


class PrefixTests(SynchronousTestCase):
    def test_a_prefix_of_a_leg_finds_its_call(self) -> None:
        call = make_call_id("09df9edc-4e23", "lab")
        for length in range(1, 14):
            prefix = "09df9edc-4e23"[:length]
            self.assertTrue(any(map(call.startswith, encoded_prefixes(prefix))))
            self.assertTrue(has_prefix(call, prefix))
        self.assertTrue(has_prefix(call, call[:9]))
        self.assertFalse(has_prefix(call, "09e"))
        self.assertFalse(has_prefix("not base64", "09e"))


class NameTests(FileCase):
    """Without a running umd, a call in the journal is found by each of its ids as well."""

    def setUp(self) -> None:
        super().setUp()
        file = self.opened()
        self.live = self.write(file, "chan-a", "a@pbx", "ci", "only-a")
        self.first = self.write(file, "chan-b", "b@pbx", "ci", "night", ended=True)
        self.last = self.write(file, "chan-c", "c@pbx", "night", ended=True)
        file.close()

    def write(
        self, file: JournalFile, leg: str, sip_call_id: str, *labels: str, ended: bool = False
    ) -> str:
        call = Call(
            id=make_call_id(leg, "pbx"), leg=LegId(leg), backend="pbx", number="100", owner="",
            at=1000.0, state=CallState.CONNECTED, aliases={"sip-call-id": sip_call_id},
            labels=labels,
        )  # fmt: skip
        rows = [Event(call.id, Step.BEGINS, 1000.0, encode(call, call.find()))]
        if ended:
            end = call.apply(Ended(call.leg, Cause(by=EndedBy.FAR_END)), 1001.0)
            assert end is not None
            rows.append(Event(call.id, Step.ENDS, 1001.0, encode(call, end)))
        write(file, rows)
        return call.id

    def story_of(self, text: str) -> str:
        records, _ = read_call_history(None, self.path, text)
        return str(records[0]["call"])

    def test_each_id_and_its_beginning(self) -> None:
        for text in ("chan-a", "a@pbx", "a@", "only-a", "on"):
            self.assertEqual(self.story_of(text), self.live, text)
        self.assertEqual(self.story_of("b@pbx"), self.first)

    def test_a_live_call_goes_before_ended_ones_and_the_last_of_those_counts(self) -> None:
        self.assertEqual(self.story_of("ci"), self.live)
        self.assertEqual(self.story_of("night"), self.last)

    def test_a_beginning_of_several_is_refused(self) -> None:
        with self.assertRaisesRegex(Refusal, "2 calls begin with 'nig'") as caught:
            self.story_of("nig")
        self.assertEqual(len(caught.exception.candidates), 2)
        with self.assertRaisesRegex(Refusal, "no call begins with 'zz'"):
            self.story_of("zz")


class CommandTests(ProcessCase):
    def setUp(self) -> None:
        self.journal = str(Path(self.mktemp()).absolute())

    def running(self) -> UmdProcess:
        file = self.configuration(seeds("5550100", "5550180"))
        process = UmdProcess("serve", "-c", file, "-o", f"journal.path={self.journal}")
        self.addCleanup(lambda: process.stop())
        return process

    def test_a_call_is_placed_ended_and_explained(self) -> None:
        with self.running() as process:
            socket_option = ("--socket", process.control_socket)
            placed = umd("call", "place", "5550180", *socket_option)
            call_id = placed.stdout.strip()
            process.wait_for("call.alerting", call=call_id)
            status = umd("status", *socket_option)
            self.assertEqual(status.returncode, 0)
            self.assertRegex(status.stdout, r"calls_begun +3\n")
            self.assertRegex(status.stdout, r"counts_agree +True\n")
            prefix = umd("call", "end", call_id[:20], *socket_option)
            self.assertEqual((prefix.returncode, prefix.stdout), (1, ""))
            self.assertIn("give a complete id", prefix.stderr)
            leg, *_ = prefix.stderr.splitlines()[1].split()
            self.assertIn(call_id, prefix.stderr)
            ended = umd("call", "end", leg, *socket_option)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            self.assertRegex(ended.stdout, r"^\S{8}  ringing -> ended\n$")
            story = umd("why", call_id, *socket_option)
            for words in ("operator to 5550180", "ringing", "SIP 487", "by operator"):
                self.assertIn(words, story.stdout)
            for sent in ("-> INVITE", "<- 180 Ringing", "-> CANCEL", "<- 487 Request Terminated"):
                self.assertIn(sent, story.stdout)
            self.assertLess(story.stdout.index("asked to end"), story.stdout.index("-> CANCEL"))
            everything = umd("events", "--json", *socket_option).stdout.splitlines()
            positions = [json.loads(line)["position"] for line in everything]
            self.assertEqual(positions, list(range(1, 7)))
            later = umd("events", "--from", "5", *socket_option).stdout.splitlines()
            self.assertEqual([line.split()[0] for line in later], ["5", "6"])

    def test_without_a_running_umd_its_file_is_read(self) -> None:
        with self.running() as process:
            process.disconnect(seed_id(0))
            held = umd("why", "seed-0", "--journal", self.journal)
            self.assertEqual(held.returncode, 3)
            self.assertIn("another program has it open", held.stderr)
            process.stop(signal.SIGKILL)
        story = umd("why", "seed-0", "--journal", self.journal)
        self.assertIn("anonymous", story.stdout)
        self.assertRegex(story.stdout, r"-> BYE +far.sim:5060\n.*<- 200 OK \(BYE\)")
        calls = umd("calls", "--journal", self.journal)
        self.assertRegex(calls.stdout, r"(?s)^  CALL .*\n  seed-1 .*5550180 +connected")
        self.assertNotIn("seed-0", calls.stdout)
        self.assertIn("No umd is running", calls.stderr)
        self.assertIn("by client", story.stdout)
        self.assertEqual(umd("why", seed_id(0), "--journal", self.journal).stdout, story.stdout)
        several = umd("why", "seed", "--journal", self.journal)
        self.assertEqual(several.returncode, 1)
        self.assertIn("which one?", several.stderr)
        self.assertEqual(umd("why", "nope", "--journal", self.journal).returncode, 1)
        for wrong, status in ((("why", "\udcff"), 1), (("events", "--from", str(2**63 - 1)), 0),
                              (("events", "--from", str(2**63)), 2)):  # fmt: skip
            result = umd(*wrong, "--journal", self.journal)
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertNotIn("Traceback", result.stderr)
        for place, why in ((".", "not a regular file"), ("/nowhere", "no such file")):
            result = umd("calls", "--journal", place)
            self.assertEqual(result.returncode, 3)
            self.assertIn(why, result.stderr)

    def test_events_follow_prints_new_events_until_interrupted(self) -> None:
        with self.running() as process:
            command = [sys.executable, "-m", "umd", "events", "--follow", "--json"]
            command += ["--call", "seed-1", "--socket", process.control_socket]
            # A test run in the background ignores SIGINT, and its children inherit that.
            command = ["env", "--default-signal=INT", *command]
            follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.addCleanup(follower.wait)
            self.addCleanup(follower.kill)
            assert follower.stdout is not None
            self.addCleanup(follower.stdout.close)
            first = json.loads(follower.stdout.readline())
            self.assertEqual(first["event"], "call.resumed")
            process.disconnect(seed_id(1))
            events = [json.loads(follower.stdout.readline())["event"] for _ in range(2)]
            self.assertEqual(events, ["call.disconnect-requested", "call.disconnected"])
            follower.send_signal(signal.SIGINT)
            self.assertEqual(follower.wait(20), 0)

    def test_without_a_journal(self) -> None:
        with self.serving(seeds("5550100")) as process:
            result = umd("events", "--socket", process.control_socket)
            self.assertEqual(result.returncode, 1)
            self.assertIn("no journal is kept: journal.path", result.stderr)
