"""The log event of the start: version, backends, listeners, and the warning of a simulation."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.daemon.processes import ProcessCase
from tests.http.helpers import Authority
from umd import __version__
from umd.testing.process import UmdProcess

SIP = '[backend.pbx]\ntype = "sip"\nlisten = "udp:127.0.0.1:0"\npeer = "udp:127.0.0.1:5070"\n'


class ReadyTests(ProcessCase):
    def test_the_log_names_what_serves(self) -> None:
        certificate, key = Authority("ours").write("localhost", Path(self.mktemp()))
        text = (
            f"[tls]\ncertificate = {certificate!r}\nkey = {key!r}\n[backend.lab]\n"
            'type = "sim"\n' + SIP
        )
        tls = "http.listen_tls=tcp:0:interface=127.0.0.1"
        with self.serving(text, "-o", tls) as process:
            ready = process.wait_for("daemon.ready")
            self.assertEqual(process.events("daemon.simulating"), [])
        self.assertEqual(ready["version"], __version__)
        self.assertEqual(
            ready["backends"],
            [{"name": "lab", "type": "sim"}, {"name": "pbx", "type": "sip"}],
        )
        self.assertFalse(ready["simulating"])
        plain, encrypted, control = ready["listeners"]
        self.assertEqual([plain["tls"], encrypted["tls"], control["tls"]], [False, True, False])
        self.assertEqual([plain["address"], encrypted["address"]], ready["listen"])
        self.assertNotIn(":0", [plain["address"][-2:], encrypted["address"][-2:]])
        self.assertEqual((control["protocol"], control["address"]), ("control", ready["control"]))

    def test_without_a_backend_umd_warns_that_it_simulates(self) -> None:
        with UmdProcess("serve") as process:
            ready = process.wait_for("daemon.ready")
            (warning,) = process.events("daemon.simulating")
        self.assertEqual(warning["level"], "warning")
        self.assertIn("[backend.pbx]", warning["hint"])
        self.assertEqual(ready["backends"], [{"name": "sim", "type": "sim"}])
        self.assertTrue(ready["simulating"])

    def test_a_configured_simulator_causes_no_warning(self) -> None:
        with self.serving("[backend.sim]\n") as process:
            self.assertTrue(process.wait_for("daemon.ready")["simulating"])
            self.assertEqual(process.events("daemon.simulating"), [])

    def test_a_terminal_shows_the_warning(self) -> None:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "umd", "serve", "-o", "http.listen=unix:"
                   + os.path.join("/tmp", f"umd-test-{os.getpid()}.sock"),
                   "-o", "control.socket=none"]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            try:
                screen = b""
                while b"daemon.ready" not in screen:
                    screen += os.read(ours, 65536)
            finally:
                process.terminate()
                process.wait(30)
                os.close(ours)
        self.assertIn(b"daemon.simulating", screen)
        self.assertIn(b"none reaches a phone", screen)
