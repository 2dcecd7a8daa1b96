"""Opens the ports of `[hep]` and connects the witness, the capture and the collectors with them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from umd.backend import MessageTap
from umd.config import Settings
from umd.config.endpoints import split_wire_address
from umd.config.notation import KeyPath
from umd.config.sections import HepSection
from umd.daemon.listeners import CannotListen
from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_secret
from umd.runtime.udp_socket import dropped_datagrams, set_receive_buffer
from umd.trace.capture import Capture
from umd.trace.feed import MessageFeed
from umd.trace.hep_listener import LOOPBACK, HepFactory, HepReceiver, HepRules, HepUdp
from umd.trace.hep_sender import Collector, HepSender, TcpCollector, UdpCollector
from umd.trace.summary import CallSummaries
from umd.trace.wire_witness import WireWitness
from umd.trace.witness import Witness, WitnessLimits

RECEIVE_BUFFER_OCTETS: Final = 8 * 1024 * 1024
"""Of a UDP port: about half a second of 10,000 packets per second."""
MAX_DATAGRAM_OCTETS: Final = 65535
MAX_OCTETS_PER_TURN: Final = 64 * 1024
"""That a port reads before the reactor does other work: 100 messages, which take 5 ms or so."""


class NoPassword(UmdError):
    """A password file of `[hep]` cannot be used."""


class Hep:
    """
    The HEP ports and collectors of one umd.

    Args:
        settings: of the whole configuration, for errors.
        reactor: the global one.
        log: gets the events of all ports.
        capture: keeps the messages of the PBXs' calls.
        summaries: of the messages of each call; None: there are none.
        knows: whether a call of a PBX has this SIP Call-ID.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        log: FilteringBoundLogger,
        capture: Capture,
        summaries: CallSummaries | None,
        knows: Callable[[str], bool],
    ) -> None:
        section = settings.hep
        self._settings = settings
        self._reactor = reactor
        self._log = log
        self._ports: list[IListeningPort] = []
        self._sockets: list[socket.socket] = []
        self._receiver: HepReceiver | None = None
        self._sender: HepSender | None = None
        self.witness: Witness | None = None
        """Follows the calls of PBXs; None if no PBX can send its messages."""
        if section.listen:
            limits = WitnessLimits(calls=section.max_calls, octets=section.max_memory)
            self.witness = Witness(limits)
            feed = MessageFeed(self.witness, capture, summaries, knows)
            self._receiver = HepReceiver(HepRules(), feed.take, reactor, log)

    @property
    def wire_witness(self) -> WireWitness | None:
        """The witness as control asks it; None if there is none."""
        if self.witness is None:
            return None
        return WireWitness(self.witness, self._reactor.seconds)

    @property
    def tap(self) -> MessageTap | None:
        """What sends umd's own messages to the collectors; None if there are none."""
        return self._send if self._settings.hep.send else None

    def _send(self, source: Any, target: Any, message: Any) -> None:
        if self._sender is not None:
            self._sender.tap(source, target, message)

    def open(self) -> None:
        """
        Open the ports, and connect the collectors.

        Raises:
            UmdError: a password file cannot be used, or a port cannot be opened.
        """
        section = self._settings.hep
        if section.send:
            password = read_hep_password(self._settings, "send_password_file")
            collectors = [self._collector(address) for address in section.send]
            self._sender = HepSender(collectors, section.capture_id, password, time.time)
        if self._receiver is not None:
            self._receiver.rules = hep_rules(self._settings)
            for address in section.listen:
                self._listen(address, self._receiver)

    def _collector(self, address: str) -> Collector:
        transport, host, port = split_wire_address(address)
        if transport == "udp":
            return UdpCollector(host, port)
        return TcpCollector(host, port, self._reactor, self._log)

    def _listen(self, address: str, receiver: HepReceiver) -> None:
        """Raises: CannotListen."""
        transport, host, number = split_wire_address(address)
        granted = None
        try:
            if transport == "tcp":
                port = self._reactor.listenTCP(number, HepFactory(receiver), interface=host)
            else:
                port = self._reactor.listenUDP(
                    number, HepUdp(receiver), interface=host, maxPacketSize=MAX_DATAGRAM_OCTETS
                )
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotListen(f"hep.listen = {address!r}: {why}") from error
        self._ports.append(port)
        bound = port.getHost()
        if transport == "udp":
            port.maxThroughput = MAX_OCTETS_PER_TURN
            granted = self._enlarge(port.getHandle())
        self._log.info(
            "hep.listening",
            listen=f"{transport}:{bound.host}:{bound.port}",
            **({} if granted is None else {"receive_buffer": granted}),
        )

    def _enlarge(self, udp: socket.socket) -> int:
        self._sockets.append(udp)
        granted = set_receive_buffer(udp, RECEIVE_BUFFER_OCTETS)
        if granted < RECEIVE_BUFFER_OCTETS:
            self._log.warning(
                "hep.receive-buffer-small",
                receive_buffer=granted,
                asked=RECEIVE_BUFFER_OCTETS,
                hint="packets are lost under load, which makes proofs rarer; "
                f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_OCTETS}",
            )
        return granted

    async def close(self) -> None:
        """Close the ports and the connections to collectors."""
        ports, self._ports, self._sockets = self._ports, [], []
        for port in ports:
            await maybeDeferred(port.stopListening)
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def status(self) -> dict[str, object]:
        """Return the figures of `umd status`; empty where nothing is configured."""
        figures: dict[str, object] = {}
        receiver, witness, sender = self._receiver, self.witness, self._sender
        if receiver is not None and witness is not None:
            counts = witness.counts
            figures |= {
                "hep_packets": receiver.received,
                "hep_messages": receiver.taken,
                "hep_others": receiver.others,
                "hep_refused": receiver.refused.total(),
                "hep_refused_by_reason": _by_reason(receiver),
                "hep_dropped": self._dropped(),
                "hep_connections": receiver.connections,
                "witness_calls": counts.calls,
                "witness_calls_live": witness.live,
                "witness_octets": witness.octets,
                "witness_forgotten": counts.forgotten,
                "witness_malformed": counts.malformed,
                "witness_unmatched": counts.unmatched,
                "witness_proofs": counts.proofs,
            }
        if sender is not None:
            figures |= {"hep_sent": sender.sent, "hep_send_dropped": sender.dropped}
        return figures

    def _dropped(self) -> int | None:
        """Return the datagrams that the kernel dropped; None if it does not tell."""
        counts = [dropped_datagrams(udp) for udp in self._sockets]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def _by_reason(receiver: HepReceiver) -> str | None:
    counts = sorted(receiver.refused.items())
    return ", ".join(f"{reason} {count}" for reason, count in counts) or None


def hep_rules(settings: Settings) -> HepRules:
    """
    Translate `[hep]` for the trace room.

    Raises:
        NoPassword: the password file cannot be used.
    """
    section: HepSection = settings.hep
    return HepRules(
        password=read_hep_password(settings, "password_file"),
        allow=tuple(ip_network(network) for network in section.allow) or LOOPBACK,
        max_packet_rate=section.max_packet_rate,
        max_connections=section.max_connections,
    )


def read_hep_password(settings: Settings, key: str) -> bytes:
    """
    Return the password in the file that a key of `[hep]` names; empty if it names none.

    Raises:
        NoPassword: the file cannot be used.
    """
    path = getattr(settings.hep, key)
    if path is None:
        return b""
    path_of_key: KeyPath = ("hep", key)
    try:
        return read_secret(path).encode()
    except CannotRead as error:
        raise NoPassword(settings.mistake(path_of_key, path, str(error))) from None
