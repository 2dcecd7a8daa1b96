"""
SIP over UDP: one socket, whatever speaks SIP behind it, and one timer.

What a socket can do to its owner is decided here:

- A datagram that cannot be sent (no route, forbidden by the packet filter, no such address) fails
  its transaction at once, and nothing else. The port stays open.
- A send buffer that is full is a loss like one on the wire: the transaction sends again.
- A port that nobody listens on looks like a silent one. Linux tells it to connected sockets only;
  IP_RECVERR would tell it here as well, but by an error condition on the socket, and on one of
  those Twisted closes the port. The transaction's own timers decide.
- What the kernel dropped because nobody read in time is counted by the kernel, asked for now and
  then, and logged. SO_MEMINFO tells it of this very socket; /proc/net/udp, which has the same
  number, is not there under systemd's ProcSubset=pid.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
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
from umd.sip.message import HeaderError, Message
from umd.sip.transaction import Hop, Send

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""
Octets asked of the kernel.

With the usual 208 KiB two hundred calls at once lost thousands of datagrams, with this none
(reference sip-core, 5).
"""
LARGEST_DATAGRAM: Final = 65535
TELL_EVERY: Final = 10.0  # seconds between two log lines about the same trouble
STOOD_STILL: Final = 0.5
"""Seconds by which a timer is late when this process, and not the network, was slow."""

_SO_MEMINFO: Final = 55  # Linux 4.12, include/uapi/asm-generic/socket.h
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8  # SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h
_LOSSES: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM))


class CannotListen(UmdError):
    """The address cannot be had."""


class Unreachable(UmdError):
    """A next hop that UDP to a numeric address does not lead to."""


class End(Protocol):
    """What speaks SIP behind the port: an `umd.sip.endpoint.Endpoint`, or something around one."""

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        """A datagram has come."""

    def messages_to_send(self) -> list[Send]:
        """What it has to send, in order."""

    def send_failed(self, message: Message, now: float) -> None:
        """This message could not be sent."""

    def next_due(self) -> float | None:
        """When it wants `handle_timer`."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""


class Counts:
    """What a port has seen since it was opened."""

    __slots__ = ("received", "sent", "lost", "failed")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.lost = 0
        """Not taken by a full send buffer; its transaction sends again."""
        self.failed = 0
        """Could not be sent at all; its transaction was told."""


class UdpPort(DatagramProtocol):
    """
    One UDP port: `listen`, then `serve`, in the same turn of the reactor.

    Args:
        clock: the reactor: its time, its timers and its sockets.
        log: for what the operator should know of.
        fallback: where a message goes whose next hop is a host name, since nothing here looks names
            up; None: it cannot be sent.
        receive_buffer: octets to ask of the kernel.
    """

    def __init__(
        self,
        clock: IReactorTime,
        log: FilteringBoundLogger,
        *,
        fallback: Hop | None = None,
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        self.counts = Counts()
        self.address = Hop("", 0)
        """Where it is, once it listens."""
        self._clock = clock
        self._log = log
        self._fallback = fallback
        self._receive_buffer = receive_buffer
        self._wakeup = Wakeup(clock, self._on_wakeup)
        self._port: Any = None
        """What `listenUDP` gave; None when closed."""
        self._socket: socket.socket | None = None
        self._end: End | None = None
        self._report: Callable[[], None] = _nothing
        self._messages_to_send: Callable[[], list[Send]] = list
        self._pumping = False
        self._tell_failed_at = 0.0
        self._tell_dropped_at = 0.0
        self._told_failed = 0
        self._told_dropped = 0
        self.said: Callable[[Message, Hop], None] | None = None
        """Sees each message that is sent, and where to."""
        self._why = ""
        """The last reason why something could not be sent."""

    # The owner's side

    def listen(self, host: str, port: int) -> Hop:
        """
        Open the port.

        Args:
            host: an address of this machine.
            port: 0 for any that is free.

        Returns:
            Where it is.

        Raises:
            CannotListen
        """
        reactor = IReactorUDP(self._clock)
        try:
            self._port = reactor.listenUDP(
                port, self, interface=host, maxPacketSize=LARGEST_DATAGRAM
            )
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotListen(f"listen = udp:{host}:{port}: {why}") from error
        got = self._port.getHost()
        self.address = Hop(got.host, got.port)
        self._log = self._log.bind(listen=f"{got.host}:{got.port}")
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
        Carry the datagrams of `end`, and call it when something is due.

        Args:
            end: what speaks SIP.
            report: called after each step and before anything of it is sent, so that what has
                happened is on record when the far end learns of it.
            messages_to_send: asked instead of `end`'s own, where something is held back.
        """
        self._end = end
        self._messages_to_send = messages_to_send or end.messages_to_send
        self._report = report or _nothing
        self.pump()

    def pump(self) -> None:
        """
        Report, send, and wake up when the next thing is due; to be called after every verb.

        What is reported may lead back here: then the outer one goes on.
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
        self._tell(self._clock.seconds())

    async def close(self) -> None:
        """Send what there is to send, and close; nothing is reported any more."""
        if self._port is None:
            return
        self._report = _nothing
        self._send_all()
        self._tell(self._clock.seconds(), at_once=True)
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
        """Datagrams that came and that the kernel had no room for; None where it does not tell."""
        if self._socket is None:
            return None
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        # A newer kernel may know more numbers, an older one fewer.
        return _MEMINFO.unpack(told)[_DROPS] if len(told) == _MEMINFO.size else None

    # The network's side

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.counts.received += 1
        end = self._end
        if end is None:
            return  # closed, and the reactor was still reading
        try:
            end.receive_datagram(datagram, Hop(addr[0], addr[1]), self._clock.seconds())
        finally:
            # Also when that raised, a mistake of ours: the other calls must not die with it.
            self.pump()

    def _on_wakeup(self) -> None:
        end = self._end
        due = None if end is None else end.next_due()
        if end is None or due is None:
            return
        if self._clock.seconds() - due > STOOD_STILL:
            self._read_first()
        try:
            end.handle_timer(self._clock.seconds())
        finally:
            self.pump()

    def _read_first(self) -> None:
        """
        Look at what has come before anything is given up for want of an answer.

        The reactor rings before it reads: after a pause of the whole process (SIGSTOP, a machine
        that was moved) each transaction would time out with its answer in the socket.
        """
        while self._socket is not None:
            before = self.counts.received
            self._port.doRead()
            if self.counts.received == before:
                break

    # Steps

    def _report_all(self) -> None:
        try:
            self._report()
        except Exception:
            # A mistake of whoever is told: what the other calls have to send still leaves.
            self._log.exception("sip.failed")

    def _send_all(self) -> bool:
        """Send what there is; whether there was anything."""
        messages = [] if self._end is None else self._messages_to_send()
        for message, hop in messages:
            try:
                self._port.write(message.octets(), self._address_of(hop))
                self.counts.sent += 1
                if self.said is not None:
                    self.said(message, hop)
            except OSError as error:
                if error.errno in _LOSSES:
                    self.counts.lost += 1
                else:
                    self._failed(message, hop, os.strerror(error.errno or 0))
            except (Unreachable, InvalidAddressError, MessageLengthError, HeaderError) as error:
                self._failed(message, hop, str(error))
            except Exception as error:
                # A mistake of ours about this message: the others leave.
                self._log.exception("sip.failed")
                self._failed(message, hop, repr(error))
        return bool(messages)

    def _address_of(self, hop: Hop) -> tuple[str, int]:
        """Raises: Unreachable."""
        if hop.reliable:
            raise Unreachable(f"wants {hop.transport}, and this is UDP")
        if not isIPAddress(hop.host) and not isIPv6Address(hop.host):
            if self._fallback is None:
                raise Unreachable("a name, and names are not looked up")
            hop = self._fallback
        return hop.host, hop.port

    def _failed(self, message: Message, hop: Hop, why: str) -> None:
        self.counts.failed += 1
        self._why = f"{hop.host}:{hop.port}: {why}"
        assert self._end is not None
        self._end.send_failed(message, self._clock.seconds())

    def _set_receive_buffer(self, handle: socket.socket) -> None:
        asked = self._receive_buffer
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
        # The kernel says twice what it grants: it counts its own bookkeeping (socket(7)).
        granted = handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._log.info("sip.listening", receive_buffer=granted)
        if granted < asked:
            self._log.warning(
                "sip.receive-buffer-small",
                receive_buffer=granted,
                asked=asked,
                hint=f"datagrams are lost under load; sysctl -w net.core.rmem_max={asked}",
            )

    def _tell(self, now: float, *, at_once: bool = False) -> None:
        """Log what got lost since the last line about it, but not a line for each datagram."""
        failed = self.counts.failed
        if failed > self._told_failed and (at_once or now >= self._tell_failed_at):
            self._tell_failed_at = now + TELL_EVERY
            self._log.warning("sip.send-failed", count=failed - self._told_failed, last=self._why)
            self._told_failed = failed
        if at_once or now >= self._tell_dropped_at:
            self._tell_dropped_at = now + TELL_EVERY
            dropped = self.dropped or 0
            if dropped > self._told_dropped:
                count = dropped - self._told_dropped
                self._log.warning("sip.datagrams-dropped", count=count, total=dropped)
                self._told_dropped = dropped


def _nothing() -> None:
    pass
