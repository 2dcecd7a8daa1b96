"""exchangelib finds umd by Autodiscover, over TLS and with a password."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import bcrypt
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import missing
from tests.http.helpers import Authority
from tests.interop.soap_clients import PATIENCE, PROGRAMS
from umd.testing import UmdProcess


class ExchangelibTests(SynchronousTestCase):
    def test_it_finds_both_endpoints(self) -> None:
        if find_spec("exchangelib") is None:
            missing("exchangelib: pip install -e '.[test]'")
        folder = Path(self.mktemp()).absolute()
        authority = Authority("ours")
        certificate, key = authority.write("localhost", folder)
        (folder / "ca.pem").write_text(authority.pem())
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
        (folder / "passwords").write_text(f"alice:{hashed}\n")
        settings = (
            f"tls.certificate={certificate}", f"tls.key={key}",
            "http.listen_tls=tcp:0:interface=127.0.0.1", f"auth.password_file={folder}/passwords",
        )  # fmt: skip
        options = [word for setting in settings for word in ("-o", setting)]
        with UmdProcess("serve", *options) as umd:
            listen = umd.wait_for("daemon.ready")["listen"]
            port = listen[-1].rpartition(":")[2]
            program = str(PROGRAMS / "exchangelib_client.py")
            arguments = (port, str(folder / "ca.pem"), "alice@umd.example", "alice", "right")
            done = subprocess.run(
                [sys.executable, program, *arguments],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)
            self.assertEqual(found["endpoint"], "https://umd.example/EWS/Exchange.asmx")
            um = found["settings"]["external_um_url"]
            self.assertEqual(um, "https://umd.example/EWS/UM2007Legacy.asmx")
            self.assertEqual(found["settings"]["auto_discover_smtp_address"], "alice@umd.example")
            self.assertEqual((found["version"], found["auth"]), ("Exchange2010", "basic"))
            self.assertEqual(umd.events("auth.failed"), [])
