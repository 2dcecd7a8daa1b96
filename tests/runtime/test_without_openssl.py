"""Starts without OpenSSL, in processes of their own, since a process imports Twisted once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.http.helpers import Authority

START = """
import sys
from umd.runtime.without_openssl import import_tcp
import_tcp()
from umd.runtime.reactor import install
install()
import umd.config, umd.daemon.process
umd.config.load(None, [])  # the backend too
print(*sorted({"OpenSSL", "cryptography", "jwt"} & sys.modules.keys()))
"""

PLUGIN = """
import sys
from umd.runtime.without_openssl import import_tcp
import_tcp()
from umd.runtime.reactor import install
reactor = install()
from twisted.internet import protocol, ssl

received = []

class Server(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"over TLS")
        self.transport.loseConnection()

class Client(protocol.Protocol):
    starts_tls = False
    def connectionMade(self):
        if self.starts_tls:
            self.transport.startTLS(ssl.ClientContextFactory())
    def dataReceived(self, data):
        received.append(data)
    def connectionLost(self, reason):
        if len(received) == 2:
            reactor.stop()
        elif not self.starts_tls:
            connect(StartsTls)

class StartsTls(Client):
    starts_tls = True

def connect(protocol_class):
    factory = protocol.ClientFactory.forProtocol(protocol_class)
    port = listening.getHost().port
    if protocol_class is StartsTls:
        reactor.connectTCP("127.0.0.1", port, factory)
    else:
        reactor.connectSSL("127.0.0.1", port, factory, ssl.ClientContextFactory())

context = ssl.DefaultOpenSSLContextFactory(sys.argv[2], sys.argv[1])
listening = reactor.listenSSL(
    0, protocol.Factory.forProtocol(Server), context, interface="127.0.0.1"
)
reactor.callWhenRunning(connect, Client)
reactor.callLater(30, reactor.stop)
reactor.run()
print(received)
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


class WithoutOpensslTests(SynchronousTestCase):
    def test_a_start_without_tls_loads_neither_openssl_nor_tokens(self) -> None:
        ran = run(START)
        self.assertEqual((ran.stdout, ran.stderr), ("\n", ""))

    def test_a_backend_can_use_tls_all_the_same(self) -> None:
        """listenSSL, connectSSL and startTLS load OpenSSL when a backend calls them."""
        ran = run(PLUGIN, *Authority("ours").write("localhost", Path(self.mktemp())))
        self.assertEqual(ran.stdout, "[b'over TLS', b'over TLS']\n", ran.stderr)
