"""
Sends umd's own SIP messages as HEP packets to collectors such as Homer and sngrep.

A collector that does not read, or cannot be reached, costs umd nothing: its packets are dropped and
counted.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import ReconnectingClientFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from umd.sip.message import Message
from umd.sip.transaction import Hop
from umd.trace.capture import message_octets
from umd.trace.hep import MAX_KNOWN_HOPS, HepError, HepWriter
from umd.trace.pcap import Addresses

CONNECT_TIMEOUT: Final = 10  # seconds
MAX_RECONNECT_DELAY: Final = 30  # seconds


class Collector(Protocol):
    """Where packets go."""

    def send(self, packet: bytes) -> bool:
        """Send a packet, or drop it and return False."""

    def close(self) -> None:
        """Free its socket."""


class HepSender:
    """
    Sends a copy of each message. Pass its `tap` to a backend.

    Args:
        collectors: where to.
        capture_id: the number by which the collectors know this umd.
        password: goes with each packet, in the clear; empty: none.
        wall: returns the wall time of a message, in seconds since the epoch.
    """

    def __init__(
        self,
        collectors: Sequence[Collector],
        capture_id: int,
        password: bytes,
        wall: Callable[[], float],
    ) -> None:
        self.sent = 0
        self.dropped = 0
        """Packets that a collector did not take, and messages that do not fit in a packet."""
        self._collectors = collectors
        self._writer = HepWriter(capture_id, password)
        self._wall = wall
        self._addresses = Addresses()
        self._ends: dict[str, str] = {}

    def tap(self, source: Hop, target: Hop, message: Message) -> None:
        """Send a message that crossed the wire; a `umd.backend.MessageTap`."""
        octets = message_octets(message)
        if octets is None:
            return
        try:
            packet = self._writer.write(self._end(source), self._end(target), self._wall(), octets)
        except HepError:
            self.dropped += 1
            return
        for collector in self._collectors:
            if collector.send(packet):
                self.sent += 1
            else:
                self.dropped += 1

    def close(self) -> None:
        """Close the sockets."""
        for collector in self._collectors:
            collector.close()

    def _end(self, hop: Hop) -> Hop:
        """Return a hop with an IP address: ends of the simulator have names instead."""
        address = self._ends.get(hop.host)
        if address is None:
            if len(self._ends) >= MAX_KNOWN_HOPS:
                self._ends.clear()
            address = self._ends[hop.host] = str(self._addresses.find(hop.host))
        return hop if address == hop.host else hop._replace(host=address)


class UdpCollector:
    """A collector that is reached over UDP."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # Not connected: an ICMP error of an absent collector would make a later packet fail.
        self._address = (host, port)

    def send(self, packet: bytes) -> bool:
        try:
            self._socket.sendto(packet, self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@implementer(IPushProducer)
class _Connection(TwistedProtocol):
    """The connection to a collector, which tells whether it takes more octets."""

    def __init__(self, collector: TcpCollector) -> None:
        self._collector = collector

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, True)
        self._collector.connected(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._collector.transport = None

    def pauseProducing(self) -> None:
        self._collector.is_full = True

    def resumeProducing(self) -> None:
        self._collector.is_full = False

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""


class TcpCollector(ReconnectingClientFactory):
    """
    A collector that is reached over TCP, connected again whenever the connection breaks.

    Args:
        log: gets `hep.collector-connected` and `hep.collector-lost`.
    """

    noisy = False
    maxDelay = MAX_RECONNECT_DELAY

    def __init__(self, host: str, port: int, reactor: Any, log: FilteringBoundLogger) -> None:
        self.transport: Any = None
        """The open connection, or None."""
        self.is_full = False
        self.clock = reactor
        self._log = log
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._connector = reactor.connectTCP(host, port, self, timeout=CONNECT_TIMEOUT)

    def send(self, packet: bytes) -> bool:
        if self.transport is None or self.is_full:
            return False
        self.transport.write(packet)
        return True

    def close(self) -> None:
        self.stopTrying()
        self._connector.disconnect()

    def connected(self, transport: Any) -> None:
        """Note the open connection."""
        self.transport, self.is_full = transport, False
        self.resetDelay()
        self._log.info("hep.collector-connected", collector=self._address)

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        return _Connection(self)

    def clientConnectionLost(self, connector: Any, unused_reason: Failure) -> None:
        if self.continueTrying:
            why = unused_reason.getErrorMessage()
            self._log.warning("hep.collector-lost", collector=self._address, why=why)
        super().clientConnectionLost(connector, unused_reason)
