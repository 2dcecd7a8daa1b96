"""Listens for HTTP and HTTPS at the endpoints of the configuration."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from umd.config.endpoints import endpoint_fields
from umd.errors import UmdError
from umd.runtime import systemd
from umd.runtime.activation import listen_on_inherited


class CannotListen(UmdError):
    """umd cannot listen at an endpoint; the text names the key, the endpoint and the reason."""


class Listeners:
    """
    The listening ports of HTTP and HTTPS.

    Args:
        reactor: the global one.
    """

    def __init__(self, reactor: Any) -> None:
        self.ports: list[IListeningPort] = []
        self._tls_ports: list[IListeningPort] = []
        self._reactor = reactor

    async def listen(
        self, key: str, endpoint: str, factory: IProtocolFactory, *, tls: bool, open_to_all: bool
    ) -> None:
        """
        Listen at one endpoint.

        Args:
            key: the key of the configuration that names the endpoint, for the error.
            endpoint: an endpoint string that the configuration has validated.
            factory: makes the protocol of each connection.
            tls: whether `factory` speaks TLS.
            open_to_all: whether the endpoint may be reachable from other machines. False if umd
                neither authenticates nor is configured to serve anonymous clients.

        Raises:
            CannotListen: the endpoint is taken or not available, or it must not be open to all.
        """
        try:
            ports = self._open(endpoint, factory)
        except CannotListenError as error:
            reason = str(getattr(error.socketError, "strerror", None) or error.socketError)
            raise CannotListen(f"{key} = {endpoint!r}: {reason}") from error
        except Exception as error:
            raise CannotListen(f"{key} = {endpoint!r}: {error}") from error
        self.ports += ports  # before the check, so that `close` closes a refused port too
        if tls:
            self._tls_ports += ports
        if not (open_to_all or all(_is_private(port) for port in ports)):
            raise CannotListen(
                f"{key} = {endpoint!r}: umd does not authenticate clients, so anyone who reaches "
                "this address could end any call; listen on loopback or a unix: socket, or set "
                "http.allow_anonymous = true"
            )

    def _open(self, endpoint: str, factory: IProtocolFactory) -> list[IListeningPort]:
        """
        Listen as Twisted's `serverFromString` does, whose module loads OpenSSL.

        An endpoint of systemd may name several sockets; the others are one port each.
        """
        kind = endpoint.partition(":")[0]
        fields = endpoint_fields(endpoint)
        backlog = int(fields.get("backlog", "50"))
        match kind:
            case "systemd":
                inherited = systemd.inherited_sockets()
                return listen_on_inherited(fields, inherited, factory, self._reactor)
            case "unix":
                path = fields["address"]
                mode = int(fields.get("mode", "666"), 8)
                locked = bool(int(fields.get("lockfile", "1")))
                return [self._reactor.listenUNIX(path, factory, backlog, mode, locked)]
            case _:
                interface = fields.get("interface", "::" if kind == "tcp6" else "")
                port = int(fields["port"])
                return [self._reactor.listenTCP(port, factory, backlog, interface)]

    @property
    def addresses(self) -> list[str]:
        """The address of each port: `host:port`, or the path of a UNIX socket."""
        return [_address_text(port.getHost()) for port in self.ports]

    @property
    def are_private(self) -> bool:
        """Whether only users of this machine can connect."""
        return all(_is_private(port) for port in self.ports)

    def describe(self) -> list[dict[str, object]]:
        """Return address, protocol and use of TLS of each port, for `daemon.ready`."""
        return [
            {"address": address, "protocol": "http", "tls": port in self._tls_ports}
            for address, port in zip(self.addresses, self.ports, strict=True)
        ]

    async def close(self) -> None:
        """Accept no more connections; the connections that are open stay open."""
        ports, self.ports = self.ports, []
        for port in ports:
            closed = port.stopListening()
            if closed is not None:
                await closed


def _is_private(port: IListeningPort) -> bool:
    address = port.getHost()
    if isinstance(address, (IPv4Address, IPv6Address)):
        return ip_address(address.host).is_loopback
    return True  # the owner and mode of a UNIX socket's file decide who can connect


def _address_text(address: Any) -> str:
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    name = getattr(address, "name", address)
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
