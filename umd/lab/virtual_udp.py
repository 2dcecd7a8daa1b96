"""A virtual UDP network for the SIP backend; it and the far ends go on when umd crashes."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any, Final

from twisted.internet.address import IPv4Address

from umd.backends.sim.directory import Directory
from umd.backends.sim.far_ends import FarEnds
from umd.backends.sim.network import Conditions, Network
from umd.backends.sim.section import SimSection
from umd.backends.sim.simulation import ANSWER
from umd.lab.clock import VirtualClock
from umd.runtime.clock import Wakeup
from umd.sip.framing import read_datagram
from umd.sip.message import Message
from umd.sip.transaction import Hop, Send

UMD_ADDRESS: Final = Hop("192.0.2.1", 5060)
PEER_ADDRESS: Final = Hop("192.0.2.2", 5060)


class UdpNetwork:
    """
    The far ends of the simulator behind a virtual UDP port; both outlive a crash of umd.

    Args:
        section: How bad the network is, and how the far ends behave.
        clock: The clock of the run.
    """

    def __init__(self, section: SimSection, clock: VirtualClock) -> None:
        random = Random(section.random_seed)
        numbers = count(1)
        self.directory = Directory(section.far_end)
        self.far_ends = FarEnds(
            PEER_ADDRESS, lambda: f"f{next(numbers):x}", random, self.directory, ANSWER
        )
        conditions = Conditions(
            delay=section.delay,
            jitter=section.jitter or 0.0,
            loss=section.loss,
            duplicate=section.duplicate,
        )
        self.network = Network(random, conditions=conditions)
        self.port = VirtualPort(self)
        self.network.attach(UMD_ADDRESS, self.port)
        self.network.attach(PEER_ADDRESS, self.far_ends)
        self._clock = clock
        self._wakeup = Wakeup(clock, self.run)

    def run(self) -> None:
        """Deliver and send everything that is due now."""
        self._wakeup.no_later_than(self.network.run(self._clock.rightNow))

    def pump(self) -> None:
        """Carry what umd has to send; no timer fires."""
        self.network.pump(self._clock.rightNow)
        self._wakeup.no_later_than(self.network.next_due())


class VirtualPort:
    """umd's UDP port on the virtual network: the port of the reactor, and an end of the network."""

    def __init__(self, network: UdpNetwork) -> None:
        self._network = network
        self._protocol: Any = None
        self._outgoing: list[Send] = []

    # The reactor's side

    def listenUDP(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192
    ) -> VirtualPort:
        """Open the port for `protocol`."""
        self._protocol = protocol
        return self

    def write(self, datagram: bytes, address: tuple[str, int]) -> None:
        """Send a datagram."""
        message = read_datagram(datagram)
        assert message is not None
        self._outgoing.append(Send(message, Hop(*address)))
        self._network.pump()

    def getHost(self) -> IPv4Address:
        """Return umd's address."""
        return IPv4Address("UDP", UMD_ADDRESS.host, UMD_ADDRESS.port)

    def getHandle(self) -> None:
        """Return the operating system's socket: there is none."""

    def stopListening(self) -> None:
        """Close the port: datagrams that arrive from now on are lost."""
        self._protocol = None

    @property
    def is_open(self) -> bool:
        """Whether a umd listens on the port."""
        return self._protocol is not None

    # The network's side

    def receive_message(self, message: Message, source: Hop, now: float) -> None:
        self.receive_datagram(message.octets(), source, now)

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        if self._protocol is not None:
            self._protocol.datagramReceived(data, (source.host, source.port))

    def messages_to_send(self) -> list[Send]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def send_failed(self, message: Message, now: float) -> None:
        raise AssertionError("a virtual UDP port refuses nothing")

    def next_due(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        pass
