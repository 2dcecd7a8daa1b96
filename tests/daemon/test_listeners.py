"""Listening at the endpoints of the configuration, on a reactor that records what it is asked."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from umd.daemon.listeners import Listeners

ENDPOINTS = (
    "tcp:8080",
    "tcp:0:interface=127.0.0.1",
    "tcp:8080:localhost:7",
    "tcp:port=8080:backlog=9",
    "tcp6:8080",
    r"tcp6:8080:5:interface=\:\:1",
    "unix:/run/umd/http.sock",
    "unix:http.sock:mode=660",
    "unix:/run/umd/http.sock:600:7:0",
    r"unix:/run/a\:b.sock:lockfile=1",
)


class ListenersTests(SynchronousTestCase):
    def test_an_endpoint_means_what_twisted_says_it_means(self) -> None:
        """umd opens tcp, tcp6 and unix endpoints itself, with the parameters of Twisted's own."""
        factory = Factory()
        for endpoint in ENDPOINTS:
            expected, reactor = MemoryReactorClock(), MemoryReactorClock()
            self.successResultOf(serverFromString(expected, endpoint).listen(factory))
            listening = Listeners(reactor).listen(
                "http.listen", endpoint, factory, tls=False, open_to_all=True
            )
            self.successResultOf(ensureDeferred(listening))
            self.assertEqual(reactor.tcpServers, expected.tcpServers, endpoint)
            self.assertEqual(reactor.unixServers, expected.unixServers, endpoint)
            self.assertEqual(len(reactor.tcpServers) + len(reactor.unixServers), 1, endpoint)
