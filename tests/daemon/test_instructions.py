"""The servers that `bench.instructions` measures, without the count, which takes valgrind."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.instructions import SERVERS, Checkout, disconnect, serving

ROOT = Path(__file__).parents[2]


class InstructionsTests(SynchronousTestCase):
    def test_each_request_reaches_the_server_that_is_measured(self) -> None:
        """The bench disconnects each call once, on the server with and without a journal."""
        checkout = Checkout(directory=ROOT, python=sys.executable)
        for name in SERVERS:
            # Not in trial's directory: the path of a UNIX socket has at most 107 octets.
            with tempfile.TemporaryDirectory() as made:
                with serving(name, checkout, Path(made), calls=5) as server:
                    disconnect(server.port, server.call_ids[:3])
                ended = server.log.read_text().count('"event":"call.disconnected"')
            self.assertEqual(ended, 0 if name == "umd null" else 3, name)
            self.assertEqual(server.process.returncode, 0, name)
