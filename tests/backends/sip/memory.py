"""UDP in memory: a Clock whose ports deliver datagrams to each other."""

from __future__ import annotations

from typing import Any

import structlog
from structlog.testing import LogCapture
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IListeningPort, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import implementer


def captured_log(test: TestCase) -> list[Any]:
    """Return all log events until the test ends, as dicts."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    test.addCleanup(structlog.reset_defaults)
    return capture.entries


@implementer(IReactorUDP)
class MemoryUdp(Clock):
    """A reactor for UDP and time. A datagram arrives `delay` seconds after it was sent."""

    delay = 0.001

    def __init__(self) -> None:
        super().__init__()
        self.ports: dict[tuple[str, int], MemoryPort] = {}
        self.carried: list[bytes] = []
        """Every datagram that was sent, in order."""

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> MemoryPort:
        assert maxPacketSize >= 65535, "longer datagrams would be cut"
        port = port or 40000 + len(self.ports)
        opened = self.ports[interface, port] = MemoryPort(self, protocol, interface, port)
        protocol.makeConnection(opened)  # type: ignore[arg-type]  # has what is used
        return opened

    def deliver(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        """Deliver a datagram, if its target is open."""
        port = self.ports.get(target)
        if port is not None:
            port.protocol.datagramReceived(data, source)

    def starts(self) -> list[str]:
        """Return the first two words of every datagram: `INVITE sip:...` or `SIP/2.0 200`."""
        return [" ".join(data.decode().split(" ")[:2]) for data in self.carried]


@implementer(IListeningPort)
class MemoryPort:
    """One port. Its next `write` raises `error`, if that is set."""

    def __init__(
        self, reactor: MemoryUdp, protocol: DatagramProtocol, host: str, port: int
    ) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.address = (host, port)
        self.error: Exception | None = None

    def write(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if self.error is not None:
            raise self.error
        self.reactor.carried.append(datagram)
        self.reactor.callLater(
            self.reactor.delay, self.reactor.deliver, datagram, self.address, addr
        )

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", *self.address)

    def getHandle(self) -> None:
        return None

    def startListening(self) -> None:
        raise NotImplementedError("it listens already")

    def stopListening(self) -> None:
        del self.reactor.ports[self.address]
