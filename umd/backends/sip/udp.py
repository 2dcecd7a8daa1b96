"""
SIP over UDP: one socket, the SIP core behind it, and one timer.

Errors of the socket are handled here:

- If a datagram cannot be sent (no route, rejected by the packet filter, bad address), its
  transaction fails at once. The port stays open.
- A full send buffer is treated as packet loss: the transaction retransmits.
- A closed port at the peer looks like a silent peer. Linux reports ICMP errors only to connected
  sockets. IP_RECVERR would report them here too, but as an error condition on the socket, and then
  Twisted closes the port. So the timers of the transaction decide.
- The kernel drops datagrams if umd reads too slowly. umd asks for the counter from time to time and
  logs it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError, InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from umd.errors import UmdError
from umd.runtime.clock import Wakeup
from umd.runtime.udp_socket import dropped_datagrams, set_receive_buffer
from umd.sip.message import HeaderError, Message
from umd.sip.transaction import Hop, Send

RECEIVE_BUFFER_OCTETS: Final = 4 * 1024 * 1024
"""
The receive buffer that umd requests from the kernel.

With the default of 208 KiB, 200 SIPp calls at a time lost thousands of datagrams; with this size,
none.
"""
MAX_DATAGRAM_OCTETS: Final = 65535
LOSS_LOG_INTERVAL: Final = 10.0  # seconds between two log lines about the same kind of loss
PAUSE_LATENESS: Final = 0.5
"""A timer that is more than these seconds late shows that the whole process was paused."""

_BUFFER_FULL: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM))
"""Errors of a send that mean packet loss."""


class CannotListen(UmdError):
    """The port cannot be opened."""


class Unreachable(UmdError):
    """A next hop is not reached over UDP, or is a host name."""


class End(Protocol):
    """The SIP core behind the port: an `umd.sip.endpoint.Endpoint`, or an object around one."""

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """Take a received datagram."""

    def messages_to_send(self) -> list[Send]:
        """Return the messages to send, in order."""

    def send_failed(self, message: Message, now: float) -> None:
        """Note that this message could not be sent."""

    def next_due(self) -> float | None:
        """Return when to call `handle_timer`; None while there is nothing to do."""

    def handle_timer(self, now: float) -> None:
        """Run the timers that are due at this time."""


class Counts:
    """Datagrams of a port since it was opened."""

    __slots__ = ("received", "sent", "lost", "failed")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.lost = 0
        """Not sent because the send buffer was full; the transaction retransmits."""
        self.failed = 0
        """Not sent because of another error; the transaction has failed."""


class UdpPort(DatagramProtocol):
    """
    One UDP port. Call `listen`, then `serve`, in the same turn of the reactor.

    Args:
        clock: the reactor.
        log: for the operator.
        fallback: gets the messages whose next hop is a host name, since umd does not resolve names.
            None: these messages cannot be sent.
        receive_buffer: the size to request from the kernel, in octets.
    """

    def __init__(
        self,
        clock: IReactorTime,
        log: FilteringBoundLogger,
        *,
        fallback: Hop | None = None,
        receive_buffer: int = RECEIVE_BUFFER_OCTETS,
    ) -> None:
        self.counts = Counts()
        self.address = Hop("", 0)
        """The address of the port, once it is open."""
        self._clock = clock
        self._log = log
        self._fallback = fallback
        self._receive_buffer = receive_buffer
        self._wakeup = Wakeup(clock, self._on_wakeup)
        self._port: Any = None
        """The result of `listenUDP`; None while closed."""
        self._socket: socket.socket | None = None
        self._end: End | None = None
        self._report: Callable[[], None] = _nothing
        self._messages_to_send: Callable[[], list[Send]] = list
        self._pumping = False
        self._log_failed_at = 0.0
        self._log_dropped_at = 0.0
        self._logged_failed = 0
        self._logged_dropped = 0
        self.on_sent: Callable[[Message, Hop], None] | None = None
        """Called with each message that was sent, and its target."""
        self._last_failure = ""
        """Target and reason of the last message that could not be sent."""

    # -- for the owner

    def listen(self, host: str, port: int) -> Hop:
        """
        Open the port.

        Args:
            host: an address of this machine.
            port: the port number; 0 for any free one.

        Returns:
            The address of the port.

        Raises:
            CannotListen: the address is not available.
        """
        reactor = IReactorUDP(self._clock)
        try:
            self._port = reactor.listenUDP(
                port, self, interface=host, maxPacketSize=MAX_DATAGRAM_OCTETS
            )
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotListen(f"listen = udp:{host}:{port}: {why}") from error
        address = self._port.getHost()
        self.address = Hop(address.host, address.port)
        self._log = self._log.bind(listen=f"{address.host}:{address.port}")
        handle = self._port.getHandle()
        if isinstance(handle, socket.socket):
            self._socket = handle
            self._set_receive_buffer(handle)
        return self.address

    def serve(
        self,
        end: End,
        report: Callable[[], None] | None = None,
        messages_to_send: Callable[[], list[Send]] | None = None,
    ) -> None:
        """
        Carry the datagrams of the SIP core, and call it when its timers are due.

        Args:
            end: the SIP core.
            report: called after each step and before its messages are sent, so that an event is on
                record before the far end learns of it.
            messages_to_send: called instead of the method of `end`, if messages are held back.
        """
        self._end = end
        self._messages_to_send = messages_to_send or end.messages_to_send
        self._report = report or _nothing
        self.pump()

    def pump(self) -> None:
        """
        Report events, send messages and set the timer. To be called after every verb.

        A reported event may call a verb that leads back here; the outer call then does the work.
        """
        end = self._end
        if self._pumping or end is None:
            return
        self._pumping = True
        try:
            while True:
                self._report_all()
                if not self._send_all():
                    break
        finally:
            self._pumping = False
            if self._port is not None:
                self._wakeup.no_later_than(end.next_due())
        self._log_losses(self._clock.seconds())

    async def close(self) -> None:
        """Send the waiting messages and close the port. No more events are reported."""
        if self._port is None:
            return
        self._report = _nothing
        self._send_all()
        self._log_losses(self._clock.seconds(), at_once=True)
        counts = self.counts
        self._log.info(
            "sip.closed",
            received=counts.received,
            sent=counts.sent,
            lost=counts.lost,
            failed=counts.failed,
            dropped=self.dropped,
        )
        port, self._port, self._socket, self._end = self._port, None, None, None
        self._wakeup.stop()
        await maybeDeferred(port.stopListening)

    @property
    def dropped(self) -> int | None:
        """Received datagrams that the kernel dropped; None if it does not provide the number."""
        return None if self._socket is None else dropped_datagrams(self._socket)

    # -- for the reactor

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.counts.received += 1
        end = self._end
        if end is None:
            return  # closed, and the reactor was still reading
        try:
            end.receive_datagram(datagram, Hop(addr[0], addr[1]), self._clock.seconds())
        finally:
            # Also after an exception, a bug of umd: the other calls must go on.
            self.pump()

    def _on_wakeup(self) -> None:
        end = self._end
        due = None if end is None else end.next_due()
        if end is None or due is None:
            return
        if self._clock.seconds() - due > PAUSE_LATENESS:
            self._read_waiting()
        try:
            end.handle_timer(self._clock.seconds())
        finally:
            self.pump()

    def _read_waiting(self) -> None:
        """
        Read the waiting datagrams before any transaction times out.

        The reactor runs timers before it reads. After a pause of the whole process (SIGSTOP, live
        migration) each transaction would time out although its answer waits in the socket.
        """
        while self._socket is not None:
            before = self.counts.received
            self._port.doRead()
            if self.counts.received == before:
                break

    # -- steps

    def _report_all(self) -> None:
        try:
            self._report()
        except Exception:
            # A bug of the receiver of events: the messages of the other calls must still leave.
            self._log.exception("sip.failed")

    def _send_all(self) -> bool:
        """Send the waiting messages; return whether there were any."""
        messages = [] if self._end is None else self._messages_to_send()
        for message, hop in messages:
            try:
                self._port.write(message.octets(), self._address_of(hop))
                self.counts.sent += 1
                if self.on_sent is not None:
                    self.on_sent(message, hop)
            except OSError as error:
                if error.errno in _BUFFER_FULL:
                    self.counts.lost += 1
                else:
                    self._note_failure(message, hop, os.strerror(error.errno or 0))
            except (Unreachable, InvalidAddressError, MessageLengthError, HeaderError) as error:
                self._note_failure(message, hop, str(error))
            except Exception as error:
                # A bug of umd about this message: the others must still leave.
                self._log.exception("sip.failed")
                self._note_failure(message, hop, repr(error))
        return bool(messages)

    def _address_of(self, hop: Hop) -> tuple[str, int]:
        """Raises: Unreachable."""
        if hop.reliable:
            raise Unreachable(f"requires {hop.transport}, and this port is UDP")
        if not isIPAddress(hop.host) and not isIPv6Address(hop.host):
            if self._fallback is None:
                raise Unreachable("a host name, and umd does not resolve names")
            hop = self._fallback
        return hop.host, hop.port

    def _note_failure(self, message: Message, hop: Hop, why: str) -> None:
        self.counts.failed += 1
        self._last_failure = f"{hop.host}:{hop.port}: {why}"
        assert self._end is not None
        self._end.send_failed(message, self._clock.seconds())

    def _set_receive_buffer(self, handle: socket.socket) -> None:
        requested = self._receive_buffer
        granted = set_receive_buffer(handle, requested)
        self._log.info("sip.listening", receive_buffer=granted)
        if granted < requested:
            self._log.warning(
                "sip.receive-buffer-small",
                receive_buffer=granted,
                asked=requested,
                hint=f"datagrams are lost under load; sysctl -w net.core.rmem_max={requested}",
            )

    def _log_losses(self, now: float, *, at_once: bool = False) -> None:
        """Log the losses since the last such line, at most once per `LOSS_LOG_INTERVAL`."""
        failed = self.counts.failed
        if failed > self._logged_failed and (at_once or now >= self._log_failed_at):
            self._log_failed_at = now + LOSS_LOG_INTERVAL
            count = failed - self._logged_failed
            self._log.warning("sip.send-failed", count=count, last=self._last_failure)
            self._logged_failed = failed
        if at_once or now >= self._log_dropped_at:
            self._log_dropped_at = now + LOSS_LOG_INTERVAL
            dropped = self.dropped or 0
            if dropped > self._logged_dropped:
                count = dropped - self._logged_dropped
                self._log.warning("sip.datagrams-dropped", count=count, total=dropped)
                self._logged_dropped = dropped


def _nothing() -> None:
    pass
