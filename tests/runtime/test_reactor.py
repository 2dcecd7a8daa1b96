"""The reactor of umd, tested in processes of their own, since a process has only one."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import os, signal, time
from umd.runtime.reactor import Reactor, install
reactor = install()
assert install() is reactor and type(reactor) is Reactor
assert reactor.seconds is time.monotonic
from twisted.internet import reactor as installed
assert installed is reactor
from twisted.internet.abstract import FileDescriptor
reader, writer = os.pipe()

class Reading(FileDescriptor):
    def fileno(self):
        return reader
    def doRead(self):
        octets = os.read(reader, 10)
        if octets == b"raise":
            raise RuntimeError("in doRead")
        print(octets.decode())
        self.stopReading()
        reactor.stop()
    def connectionLost(self, reason):
        print("lost:", reason.value)
        self.stopReading()
        Reading(reactor).startReading()
        os.write(writer, b"read")

Reading(reactor).startReading()
reactor.callLater(0, os.kill, os.getpid(), signal.SIGCHLD)  # the reactor goes on after a signal
reactor.callLater(0, os.write, writer, b"raise")
reactor.run()
"""

IMPORTS = """
import sys
import umd.cli.main, umd.config, umd.daemon.process, umd.cli.demo
from umd.config import load
load(None, [])  # the backends too
assert "twisted.internet.reactor" not in sys.modules
"""

SERVES = """
import sys
import umd.config

def load(file, overrides):
    from twisted.internet import reactor  # as the module of a backend may
    print(type(reactor).__module__)
    sys.exit(0)

umd.config.load = load
sys.argv = ["umd", "serve"]
from umd.cli.main import main
main()
"""


class ReactorTests(SynchronousTestCase):
    def test_it_is_installed_before_a_backend_imports_the_reactor(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-c", SERVES], capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ran.stdout, "umd.runtime.reactor\n", ran.stderr)

    def test_no_import_of_the_daemon_installs_another_reactor(self) -> None:
        """An early import of `twisted.internet.reactor` would install Twisted's default one."""
        ran = subprocess.run(
            [sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)

    def test_it_goes_on_after_an_exception(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60
        )
        self.assertIn("RuntimeError: in doRead", ran.stderr)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(ran.stdout, "lost: in doRead\nread\n")
