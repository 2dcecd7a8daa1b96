"""The transport of one HTTP connection: hides the difference between plain TCP and TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Connection as TcpConnection
from zope.interface import implementer

from umd.http.addresses import normal_address

if TYPE_CHECKING:  # else it would load OpenSSL, which plain TCP does not need
    from umd.http.tls import TlsTransport


@implementer(IPullProducer, IPushProducer)
class ClientTransport:
    """
    Writes to the client of one connection and says when the client does not take what is written.

    Plain TCP reports each octet that the socket does not take, through a pull producer. TLS reports
    only when more than 64 KiB wait below it, its own records included, through a push producer.

    Args:
        transport: as Twisted gives it to the protocol.
        address: IP address of the client; empty for a unix: socket.
        on_blocked: called when TLS has more to write than the client takes.
        on_drained: called when the client has taken everything.
    """

    __slots__ = (
        "blocked", "is_tls", "_transport", "_tcp", "_address", "_on_blocked", "_on_drained",
    )  # fmt: skip

    def __init__(
        self,
        transport: Any,
        address: str,
        on_blocked: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        self.blocked = False
        """Whether the client has not taken all that was written."""
        self.is_tls = hasattr(transport, "getPeerCertificate")
        self._transport = transport
        # A TLS transport passes unknown methods on to TCP. Such a call would send plain text.
        self._tcp: TcpConnection | None = (
            transport if isinstance(transport, TcpConnection) and not transport.TLS else None
        )
        self._address = address
        self._on_blocked: Callable[[], None] | None = on_blocked
        self._on_drained: Callable[[], None] | None = on_drained
        if isinstance(transport, TcpConnection) and address:
            transport.setTcpNoDelay(True)

    @property
    def transport(self) -> Any:
        """The transport itself, while it is there."""
        return self._transport

    def detach(self) -> None:
        """Forget the connection, which is lost: its reference cycle would live until collected."""
        self._transport = self._tcp = None
        self._on_blocked = self._on_drained = None

    # -- writing

    def write(self, octets: bytes) -> None:
        """Write octets; does nothing when the connection is lost."""
        tcp = self._tcp
        if tcp is not None and not self.blocked:
            # Without the reactor, which costs two calls of epoll_ctl and another turn.
            sent = tcp.writeSomeData(octets)
            if sent.__class__ is int:
                if sent == len(octets):
                    return
                octets = octets[sent:]
        if self._transport is None:
            return
        self._transport.write(octets)
        if tcp is not None and not self.blocked:
            self.blocked = True
            tcp.registerProducer(self, False)

    def watch_tls(self) -> None:
        """Let TLS report when the client does not take what is written."""
        if self.is_tls:
            self._transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Called by TLS: it has more to write than the client takes."""
        self.blocked = True
        if self._on_blocked is not None:
            self._on_blocked()

    def resumeProducing(self) -> None:
        """Called when everything is written. TCP calls it at the registration too."""
        tcp = self._tcp
        if tcp is not None:
            if tcp._tempDataBuffer or tcp.dataBuffer:
                return
            tcp.unregisterProducer()
        self.blocked = False
        if self._on_drained is not None:
            self._on_drained()

    def stopProducing(self) -> None:
        """Called when the connection is lost, which `connectionLost` of the protocol reports."""

    # -- reading

    def pause_reading(self) -> None:
        """Let the kernel keep what the client sends."""
        self._transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read what the client sends."""
        self._transport.resumeProducing()

    # -- closing

    def half_close(self) -> bool:
        """
        Close the direction to the client and read on, if the transport can do that.

        TLS cannot, and needs not: it waits for the closing alert of the client by itself.
        """
        if self._tcp is None:
            return False
        self._tcp.loseWriteConnection()
        self._tcp.resumeProducing()
        return True

    def close(self) -> None:
        """Close when everything is written."""
        if self.is_tls:
            # TLS would not close while a producer may have more to write.
            self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """Close by a reset."""
        if self._transport is not None:
            self._transport.abortConnection()

    # -- both ends

    def certificate_subject(self) -> str | None:
        """
        Return the subject (RFC 4514) of the client's certificate, which TLS has verified.

        Returns:
            None without a certificate, and for a subject that is not text: the configuration
            cannot name such a subject.
        """
        certificate = self._transport.getPeerCertificate() if self.is_tls else None
        if certificate is None:
            return None
        try:
            return str(certificate.to_cryptography().subject.rfc4514_string())
        except ValueError:
            return None

    def was_reached_by(self, name: str) -> bool:
        """Return whether a name, as `host_name` gives it, is umd's address on this connection."""
        if not self._address:
            return True  # a unix: socket, which no browser reaches
        host: str = self._transport.getHost().host
        return name == normal_address(host.partition("%")[0])

    def local_authority(self) -> str:
        """Return umd's own address and port on this connection, as a URL has them."""
        address: Any = self._transport.getHost()
        host = getattr(address, "host", "localhost")
        port = getattr(address, "port", 80)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def tls(self) -> TlsTransport:
        """The transport of a connection with TLS."""
        return cast("TlsTransport", self._transport)
