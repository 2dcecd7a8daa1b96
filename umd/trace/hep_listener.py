"""
Receives HEP packets over UDP and TCP, and passes their SIP messages on.

A packet comes from a stranger until its source and its password are checked. What is refused is
counted by the reason and logged at most once a minute, without any octet of the packet.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from umd.sip.framing import read_datagram
from umd.sip.message import Message, MessageError
from umd.sip.transaction import Hop
from umd.trace.hep import SIP, HepError, HepStream, decode

LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about refused packets."""
MAX_KNOWN_ADDRESSES: Final = 1024
"""Addresses for which the result of the check is kept."""
LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""The sources that are allowed if none are named."""

# Reasons besides those of `umd.trace.hep.HepFault`.
SOURCE: Final = "source"
PASSWORD: Final = "password"
RATE: Final = "rate"
NOT_SIP: Final = "not-sip"
CONNECTIONS: Final = "connections"


@dataclass(frozen=True, slots=True, kw_only=True)
class HepRules:
    """Which packets are taken."""

    password: bytes = b""
    """What each packet must have; empty: any."""
    allow: tuple[IPv4Network | IPv6Network, ...] = LOOPBACK
    """The networks that packets may come from."""
    max_packet_rate: int = 50_000
    """Packets per second, from all sources together."""
    max_connections: int = 64


class HepReceiver:
    """
    Checks packets and passes the SIP messages in them on.

    Args:
        rules: which packets are taken.
        take: gets source, target, message, capture time (wall) and time of receipt (monotonic).
        clock: monotonic.
        log: gets `hep.refused` and `hep.failed`.
    """

    def __init__(
        self,
        rules: HepRules,
        take: Callable[[Hop, Hop, Message, float, float], None],
        clock: IReactorTime,
        log: FilteringBoundLogger,
    ) -> None:
        self.rules = rules
        self.received = 0
        """Packets that came, also those that were refused."""
        self.taken = 0
        """SIP messages that were passed on."""
        self.others = 0
        """Packets about something other than SIP, which umd does not follow."""
        self.refused: Counter[str] = Counter()
        """Refused packets and connections by the reason."""
        self.connections = 0
        self._take = take
        self.clock = clock
        self._log = log
        self._allowed: dict[str, bool] = {}
        self._second = 0.0
        """When the second began whose packets are counted."""
        self._count = 0
        self._logged_at = -LOG_INTERVAL
        self._logged: Counter[str] = Counter()

    def allows(self, address: str) -> bool:
        """Whether packets may come from this IP address."""
        known = self._allowed.get(address)
        if known is None:
            if len(self._allowed) >= MAX_KNOWN_ADDRESSES:
                self._allowed.clear()
            known = self._allowed[address] = self._is_in_a_network(address)
        return known

    def _is_in_a_network(self, text: str) -> bool:
        try:
            address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.rules.allow)

    def excess(self) -> float:
        """
        Count a packet, and return for how many seconds the next ones exceed the rate.

        Returns:
            0.0 if this packet is within the rate.
        """
        now = self.clock.seconds()
        if now >= self._second + 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._second + 1.0 - now if self._count > self.rules.max_packet_rate else 0.0

    def receive(self, packet: bytes, address: str) -> bool:
        """
        Take a packet from an address that is allowed.

        Returns:
            False if it was refused for what it is or for its password.
        """
        try:
            hep = decode(packet)
        except HepError as error:
            self.refuse(error.fault, address)
            return False
        password = self.rules.password
        if password and not hmac.compare_digest(password, hep.password):
            self.refuse(PASSWORD, address)
            return False
        if hep.payload_type != SIP:
            self.others += 1
            return True
        try:
            message = read_datagram(hep.payload)
        except MessageError:
            self.refuse(NOT_SIP, address)
            return True
        if message is None:  # a keep-alive
            self.others += 1
            return True
        self.taken += 1
        try:
            now = self.clock.seconds()
            self._take(hep.source, hep.target, message, hep.captured_at, now)
        except Exception:
            # A bug of umd about this message: the others must still be taken.
            self._log.exception("hep.failed", address=address)
        return True

    def refuse(self, reason: str, address: str) -> None:
        """Count something that was refused, and log it if the last such line is a while ago."""
        self.refused[reason] += 1
        now = self.clock.seconds()
        if now - self._logged_at < LOG_INTERVAL:
            return
        self._logged_at = now
        counts = {
            str(name): count - self._logged[name]
            for name, count in sorted(self.refused.items())
            if count > self._logged[name]
        }
        self._logged = Counter(self.refused)
        self._log.warning("hep.refused", counts=counts, address=address)


class HepUdp(DatagramProtocol):
    """One UDP port for HEP packets."""

    def __init__(self, receiver: HepReceiver) -> None:
        self._receiver = receiver

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        receiver, address = self._receiver, addr[0]
        receiver.received += 1
        if not receiver.allows(address):
            receiver.refuse(SOURCE, address)
        elif receiver.excess():
            receiver.refuse(RATE, address)
        else:
            receiver.receive(datagram, address)


class HepConnection(Protocol):
    """One TCP connection for HEP packets. It is closed at the first packet that is refused."""

    def __init__(self, receiver: HepReceiver) -> None:
        self._receiver = receiver
        self._stream = HepStream()
        self._address = ""
        self._counted = False
        self._resuming: IDelayedCall | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        receiver = self._receiver
        peer: Any = self.transport.getPeer()
        self._address = peer.host
        reason = None
        if not receiver.allows(self._address):
            reason = SOURCE
        elif receiver.connections >= receiver.rules.max_connections:
            reason = CONNECTIONS
        if reason is not None:
            receiver.refuse(reason, self._address)
            self._abort()
            return
        receiver.connections += 1
        self._counted = True
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes) -> None:
        receiver = self._receiver
        if not self._counted:
            return
        pause = 0.0
        try:
            for packet in self._stream.feed(data):
                receiver.received += 1
                pause = receiver.excess()
                if not receiver.receive(packet, self._address):
                    self._abort()
                    return
        except HepError as error:
            receiver.refuse(error.fault, self._address)
            self._abort()
            return
        if pause:
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        """Let the sender wait, since over TCP nothing needs to be dropped."""
        transport: Any = self.transport
        transport.pauseProducing()
        self._resuming = self._receiver.clock.callLater(seconds, self._resume)

    def _resume(self) -> None:
        self._resuming = None
        transport: Any = self.transport
        transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._counted:
            self._counted = False
            self._receiver.connections -= 1
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class HepFactory(Factory):
    """Makes the protocol of each TCP connection."""

    noisy = False

    def __init__(self, receiver: HepReceiver) -> None:
        self._receiver = receiver

    def buildProtocol(self, addr: Any) -> HepConnection:
        return HepConnection(self._receiver)
