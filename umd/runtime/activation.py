"""Listens on sockets that systemd passes to the process: socket activation (systemd.socket(5))."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from umd.errors import UmdError
from umd.runtime.systemd import InheritedSocket


class UnusableSocket(UmdError):
    """systemd has passed no such socket, or umd cannot listen on it; the text says why."""


def listen_on_inherited(
    endpoint: Mapping[str, str],
    inherited: Sequence[InheritedSocket],
    factory: IProtocolFactory,
    reactor: Any,
) -> list[IListeningPort]:
    """
    Listen on the socket that an endpoint names by its index, or on all that have its name.

    Args:
        endpoint: its fields: `domain`, and `index` or `name`.
        inherited: the sockets that systemd has passed.
        factory: makes the protocols of the connections.
        reactor: the global one.

    Raises:
        UnusableSocket: one of the sockets cannot be used; then umd listens on none of them.
    """
    found = _find(endpoint, inherited)
    for inherited_socket in found:
        _check(inherited_socket, endpoint["domain"])
    ports = []
    for inherited_socket in found:
        inherited_socket.served = True
        descriptor = inherited_socket.descriptor
        ports.append(_listen(descriptor, endpoint["domain"], factory, reactor))
    return ports


def _find(
    endpoint: Mapping[str, str], inherited: Sequence[InheritedSocket]
) -> list[InheritedSocket]:
    if not inherited:
        why = "systemd has passed no such socket; does systemd start umd, with umd.socket?"
        raise UnusableSocket(why)
    index = endpoint.get("index")
    if index is None:
        found = [candidate for candidate in inherited if candidate.name == endpoint["name"]]
    else:
        found = list(inherited[int(index) : int(index) + 1])
    if not found:
        names = ", ".join(
            f"{number} {candidate.name!r}" for number, candidate in enumerate(inherited)
        )
        raise UnusableSocket(f"systemd has passed no such socket; there is: {names}")
    return found


def _check(inherited_socket: InheritedSocket, domain: str) -> None:
    """Check that the socket is a listening stream socket of this domain that is still unused."""
    if inherited_socket.served:
        raise UnusableSocket("another endpoint serves this socket already")
    descriptor = inherited_socket.descriptor
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError as error:
        raise UnusableSocket(f"descriptor {descriptor}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise UnusableSocket(f"descriptor {descriptor} is not a socket")
    with socket.socket(fileno=os.dup(descriptor)) as probe:
        family = getattr(probe.family, "name", str(probe.family)).removeprefix("AF_")
        if probe.type != socket.SOCK_STREAM:
            raise UnusableSocket("it is not a stream socket; the unit needs ListenStream=")
        if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise UnusableSocket("nothing listens on it; the unit needs Accept=no")
        if family != domain:
            raise UnusableSocket(f"it is of domain {family}; write domain={family}")


def _listen(
    descriptor: int, domain: str, factory: IProtocolFactory, reactor: Any
) -> IListeningPort:
    os.set_blocking(descriptor, False)
    port: IListeningPort
    if domain == "UNIX":
        port = _UnixPort._fromListeningDescriptor(reactor, descriptor, factory)
        port.startListening()
    else:
        family = getattr(socket, f"AF_{domain}")
        port = reactor.adoptStreamPort(descriptor, family, factory)
    os.close(descriptor)  # the port has a duplicate
    return port


class _UnixPort(unix.Port):
    """
    A port on a UNIX socket of systemd, whose file and mode it leaves alone.

    Twisted's own port would make the socket writable for every user, and remove its file.
    """

    _shouldShutdown = False

    def startListening(self) -> None:
        assert self._preexistingSocket is not None and self.factory is not None
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.factory.doStart()
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)
