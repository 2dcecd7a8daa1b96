"""The commands of umd as a user runs them, alone or beside a running umd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.call.test_call_id import DOCUMENTED
from tests.daemon.processes import ROOT, ProcessCase, seed_id, seeds, umd, umd_on
from tests.helpers import side_by_side, tshark
from umd.testing import UmdProcess


class CommandTests(ProcessCase):
    def test_help_and_version(self) -> None:
        self.assertIn("umd demo", umd("--help").stdout)
        commands = ("serve", "demo", "check-config", "calls", "trace", "version")
        helps = side_by_side(umd, [(command, "--help") for command in commands])
        for command, result in zip(commands, helps, strict=True):
            self.assertIn("Example: umd " + command, result.stdout)
        self.assertRegex(umd("version").stdout, r"^umd \d+\.\d+\.\d+(, core compiled)?\n$")

    def test_a_wrong_key_is_reported_with_file_line_and_suggestion(self) -> None:
        file = self.configuration('[http]\nlisen = "tcp:1"\n')
        for result in side_by_side(umd, [("serve", "-c", file), ("check-config", file)]):
            self.assertEqual(result.returncode, 2)
            first, last = result.stderr.splitlines()
            self.assertEqual(
                first, f"{file}:2: http.lisen is not a setting; did you mean http.listen?"
            )
            self.assertTrue(last.startswith("1 mistake; "), last)

    def test_a_valid_file(self) -> None:
        file = str(ROOT / "conf" / "umd.toml")
        overrides = ("-o", "call.deadline=2s", "-o", "log.level=debug")
        commands = [("check-config", file), ("check-config", file, *overrides)]
        for result in side_by_side(umd, commands):
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_an_invalid_override(self) -> None:
        file = self.configuration('[call]\ndeadline = "1s"\n')
        digits = "1" * 5000
        keys = {"call.deadline=soon": "call.deadline", f"x={digits}": "digits"}
        commands = [
            (*command, "-o", override)
            for command in (("serve", "-c", file), ("check-config", file))
            for override in keys
        ]
        for command, result in zip(commands, side_by_side(umd, commands), strict=True):
            override = command[-1]
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            first, last = result.stderr.splitlines()
            self.assertTrue(first.startswith(f"-o {override[:50]}"), first)
            self.assertIn(keys[override], first)
            self.assertTrue(last.startswith("1 mistake; "), last)

    def test_a_file_without_a_name(self) -> None:
        for result in side_by_side(umd, [("serve", "-c", ""), ("check-config", "")]):
            self.assertEqual(result.returncode, 2)
            self.assertIn('"": expected the path of a configuration file\n', result.stderr)

    def test_a_socket_that_is_not_available(self) -> None:
        result = umd("serve", "-o", "http.listen=systemd:domain=INET:index=0")
        self.assertIn("systemd has passed no such socket", result.stderr)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            result = umd("serve", "-o", f"http.listen={listen}")
        self.assertEqual(result.returncode, 1)
        line = json.loads(result.stderr.splitlines()[-1])
        self.assertEqual(line["event"], "daemon.cannot-start")
        self.assertIn(listen, line["why"])
        self.assertIn("in use", line["why"])
        self.assertNotIn("Traceback", result.stderr)

    def test_an_open_address_needs_allow_anonymous(self) -> None:
        result = umd("serve", "-o", "http.listen=tcp:0")
        self.assertEqual(result.returncode, 2)
        self.assertIn("http.allow_anonymous", result.stderr)
        self.assertNotIn("daemon.ready", result.stderr)

    def test_an_open_socket_of_systemd_needs_allow_anonymous(self) -> None:
        """The address of such a socket is known only at the start."""
        with socket.create_server(("0.0.0.0", 0)) as taken:
            result = umd_on(taken)
        self.assertEqual(result.returncode, 1)
        self.assertIn("http.allow_anonymous", result.stderr)

    def test_a_unix_socket(self) -> None:
        path = os.path.join("/tmp", f"umd-test-{os.getpid()}.sock")
        self.addCleanup(Path(path).unlink, missing_ok=True)
        with UmdProcess("serve", "-o", f"http.listen=unix:{path}"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 "))


class ClientCommandTests(ProcessCase):
    """`umd calls` and `umd trace`, as a user runs them beside a daemon."""

    def ask(self, process: UmdProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
        return umd(*arguments, "--socket", process.control_socket)

    def steps(self, process: UmdProcess, call: str) -> list[dict[str, Any]]:
        lines = self.ask(process, "trace", call, "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def leg_to(self, process: UmdProcess, number: str) -> dict[str, Any]:
        resumed = process.wait_for("call.resumed", number=number)
        return {"id": resumed["call"], "leg": resumed["leg"]}

    def test_the_story_of_the_documented_call(self) -> None:
        with UmdProcess("demo") as process:
            listed = self.ask(process, "calls")
            self.assertEqual(listed.stdout.splitlines()[0].split()[:3], ["CALL", "OWNER", "TO"])
            self.assertIn("  09df9edc   -       +1 555 0100   connected", listed.stdout)
            as_json = self.ask(process, "calls", "--json").stdout.splitlines()
            self.assertIn(DOCUMENTED, [json.loads(line)["id"] for line in as_json])
            process.disconnect(DOCUMENTED)
            ladder = self.ask(process, "trace", "09df")
            self.assertEqual((ladder.returncode, ladder.stderr), (0, ""))
            title, began, _, ends, *arrows = ladder.stdout.splitlines()
            self.assertTrue(title.startswith("09df9edc-4e23-4709-bdaf-7be20cb0ae56   to +1 555 01"))
            self.assertRegex(began, r"^backend sim, first message at 2\S+Z, \d+s ago$")
            self.assertEqual(ends.split(), ["umd.sim:5060", "far.sim:5060"])
            self.assertEqual(
                [" ".join(arrow.strip("|<> -") for arrow in line.split()[1:] if arrow.strip("|<>-"))
                 for line in arrows],
                ["INVITE (SDP)", "200 OK (INVITE, SDP)", "ACK", "BYE", "200 OK (BYE)"],
            )  # fmt: skip
            self.assertNotIn("\x1b", ladder.stdout)
            self.assertNotIn("retransmission", ladder.stdout)
            self.assertNotIn("09df9edc", self.ask(process, "calls").stdout)

    def test_a_call_that_rings_before_it_is_answered(self) -> None:
        with UmdProcess("demo") as process:
            leg = self.leg_to(process, "+1 555 0120")["leg"]
            process.wait_for("call.connected", leg=leg)
            steps = self.steps(process, leg)
            self.assertEqual(
                [step["method"] or step["status"] for step in steps], ["INVITE", 180, 200, "ACK"]
            )

    def test_a_far_end_that_is_silent_to_bye(self) -> None:
        """The ladder and tshark both mark the repeated BYE."""
        with UmdProcess("demo", "-o", "call.deadline=50ms") as process:
            call = self.leg_to(process, "+1 555 0199")
            self.assertEqual(process.disconnect(call["id"])[0], 200)
            for _ in range(500):
                if any(step["retransmission"] for step in self.steps(process, call["leg"])):
                    break
            ladder = self.ask(process, "trace", call["leg"]).stdout.splitlines()
            byes = [line for line in ladder if "- BYE -" in line]
            self.assertNotIn("retransmission", byes[0])
            self.assertTrue(byes[1].endswith("|  retransmission 1"), byes)
            overdue = self.ask(process, "calls").stdout
            marked = f"\n! {call['leg'][:8]} .* ending .* sim       unconfirmed 0:\\d\\d\n"
            self.assertRegex(overdue, marked)
            file = str(Path(self.mktemp()).absolute())
            written = self.ask(process, "trace", call["leg"], "--pcap", file)
            self.assertIn(f"messages in {file}: wireshark {file}, or sngrep -I", written.stdout)
        fields = ("ip.src", "ip.dst", "sip.Method", "sip.Status-Code", "sip.Call-ID", "sip.resend",
                  "sdp.media", "ip.checksum.status", "udp.checksum.status")  # fmt: skip
        wanted = [argument for field in fields for argument in ("-e", field)]
        found = tshark("-r", file, "-Y", "sip", "-T", "fields", *wanted)
        us, them, leg, audio = "192.0.2.1", "192.0.2.2", call["leg"], "audio 4000 RTP/AVP 0 8 101"
        self.assertEqual(
            found[:5],
            [
                [us, them, "INVITE", "", leg, "0", audio, "1", "1"],
                [them, us, "", "200", leg, "0", audio, "1", "1"],
                [us, them, "ACK", "", leg, "0", "", "1", "1"],
                [us, them, "BYE", "", leg, "0", "", "1", "1"],
                [us, them, "BYE", "", leg, "1", "", "1", "1"],
            ],
        )

    def test_a_capture_file_through_a_pipe(self) -> None:
        with UmdProcess("demo") as process:
            command = [sys.executable, "-m", "umd", "trace", "09df", "--pcap", "-"]
            command += ["--socket", process.control_socket]
            written = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(written[:4], b"\xd4\xc3\xb2\xa1")
        self.assertIn(b"INVITE sip:5550100@far.sim SIP/2.0\r\n", written)

    def test_exit_status_and_what_to_do(self) -> None:
        with self.serving(seeds("5550100", "5550100")) as process:
            nothing = self.ask(process, "trace", "nope")
            self.assertEqual(nothing.returncode, 1)
            self.assertEqual(
                nothing.stderr, "no call begins with 'nope'; `umd calls` lists the live ones\n"
            )
            ambiguous = self.ask(process, "trace", "seed")
            self.assertEqual((ambiguous.returncode, ambiguous.stdout), (1, ""))
            first, *candidates = ambiguous.stderr.splitlines()
            self.assertEqual(first, "2 calls begin with 'seed'; which one?")
            self.assertEqual(
                [line.split() for line in candidates],
                [[f"seed-{n}", "5550100", "connected", seed_id(n)] for n in range(2)],
            )
            both = self.ask(process, "trace", "seed-1", "--json", "--pcap", "-")
            self.assertEqual(both.returncode, 2)
            unwritable = self.ask(process, "trace", "seed-1", "--pcap", "/nowhere/call.pcap")
            self.assertEqual(unwritable.returncode, 2)
            self.assertIn("/nowhere/call.pcap cannot be written: No such", unwritable.stderr)
        gone = self.ask(process, "calls")
        self.assertEqual(gone.returncode, 3)
        self.assertIn("Start one with `umd serve` or `umd demo`", gone.stderr)

    def test_trace_messages_0_keeps_no_messages(self) -> None:
        with self.serving(seeds("5550100"), "-o", "trace.messages=0") as process:
            result = self.ask(process, "trace", "seed-0")
            self.assertEqual(result.returncode, 1)
            self.assertIn("trace.messages = 0", result.stderr)

    def test_trace_says_which_messages_are_not_kept_any_more(self) -> None:
        with self.serving(seeds("5550100"), "-o", "trace.messages=2") as process:
            result = self.ask(process, "trace", "seed-0")
            self.assertIn("umd has not kept the earlier messages", result.stdout)
            self.assertNotIn("INVITE (SDP)", result.stdout)

    def test_a_daemon_of_this_user_is_found_without_a_path(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        environ = {**os.environ, "XDG_RUNTIME_DIR": directory.name}
        with UmdProcess("demo", "-o", "control.socket=auto", environ=environ) as process:
            self.assertEqual(process.control_socket, f"{directory.name}/umd/control.sock")
            self.assertIn("09df9edc", umd("calls", env=environ).stdout)
            self.assertEqual(umd("trace", "09df", env=environ).returncode, 0)
            second = umd("demo", "-o", "http.listen=tcp:0:interface=127.0.0.1", env=environ)
            self.assertEqual(second.returncode, 1)
            holder = f"another umd serves there (process {process.process.pid})"
            self.assertIn(holder, second.stderr)
            process.stop(signal.SIGKILL)
        with UmdProcess("demo", "-o", "control.socket=auto", environ=environ):
            self.assertIn("09df9edc", umd("calls", env=environ).stdout)
        self.assertEqual(os.listdir(f"{directory.name}/umd"), [])

    def test_without_a_control_socket(self) -> None:
        with self.serving("", "-o", "control.socket=none") as process:
            self.assertEqual(process.control_socket, "")
