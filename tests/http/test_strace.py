"""XML attacks open no file and no connection, as strace shows."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import missing
from tests.soap.test_contract import disconnect
from umd.testing import UmdProcess

ATTACKS = Path(__file__).parent.parent / "data" / "xml-defusedxml"


class StraceTests(SynchronousTestCase):
    def test_attacks_by_xml(self) -> None:
        """Each attack gets a client fault, and causes no open, connect or exec."""
        if shutil.which("strace") is None:
            missing("strace: apt-get install strace")
        trace = Path(self.mktemp()).absolute()
        # With -D umd stays our child, and gets the signal that ends it. -qq hides threads that end.
        calls = "trace=open,openat,openat2,connect,execve"
        launcher = ("strace", "-D", "-f", "-qq", "-e", calls, "-o", str(trace))
        with UmdProcess("serve", launcher=launcher) as umd:
            # What is read the first time is read.
            self.assertEqual(umd.post(disconnect("x").encode())[0], 500)
            self.assertEqual(umd.post(b"<a")[0], 500)
            before = len(trace.read_bytes())
            attacks = sorted(path for path in ATTACKS.iterdir() if path.suffix != ".md")
            for path in attacks:
                status, body, headers = umd.post(path.read_bytes())
                refused = status, headers["X-UMD-Outcome"]
                # quadratic.xml is longer than a body may be.
                expected = (500, "invalid-request") if path.stat().st_size <= 65536 else (413, None)
                self.assertEqual(refused, expected, path.name)
                self.assertNotIn(b"root:", body)
            seen = trace.read_bytes()[before:]
        self.assertEqual(len(attacks), 13)
        self.assertIn(b"execve", trace.read_bytes())
        self.assertEqual(seen, b"")
