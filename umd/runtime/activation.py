"""Listens on the sockets that systemd hands over: socket activation (systemd.socket(5))."""

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
from umd.runtime.systemd import HandedSocket


class NotHandedOver(UmdError):
    """There is no such socket, or it cannot be listened on; the text says why."""


def adopt(
    fields: Mapping[str, str],
    handed: Sequence[HandedSocket],
    factory: IProtocolFactory,
    reactor: Any,
) -> list[IListeningPort]:
    """
    Listen on the socket that an endpoint names by its index, or on all that have its name.

    Args:
        fields: of the endpoint: `domain`, and `index` or `name`.
        handed: what systemd has handed over.
        factory: of the protocols.
        reactor: the global one.

    Raises:
        NotHandedOver: one of them cannot be listened on, and none is.
    """
    found = _find(fields, handed)
    for one in found:
        _check(one, fields["domain"])
    ports = []
    for one in found:
        one.served = True
        ports.append(_listen(one.descriptor, fields["domain"], factory, reactor))
    return ports


def _find(fields: Mapping[str, str], handed: Sequence[HandedSocket]) -> list[HandedSocket]:
    if not handed:
        why = "systemd has handed over no such socket; is umd started by it, with umd.socket?"
        raise NotHandedOver(why)
    index = fields.get("index")
    found = (
        [one for one in handed if one.name == fields["name"]]
        if index is None
        else list(handed[int(index) : int(index) + 1])
    )
    if not found:
        there = ", ".join(f"{number} {one.name!r}" for number, one in enumerate(handed))
        raise NotHandedOver(f"systemd has handed over no such socket; there is: {there}")
    return found


def _check(one: HandedSocket, domain: str) -> None:
    """See that it is a listening stream socket of this domain that nothing serves yet."""
    if one.served:
        raise NotHandedOver("another endpoint serves this socket already")
    try:
        mode = os.fstat(one.descriptor).st_mode
    except OSError as error:
        raise NotHandedOver(f"descriptor {one.descriptor}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise NotHandedOver(f"descriptor {one.descriptor} is not a socket")
    with socket.socket(fileno=os.dup(one.descriptor)) as probe:
        family = getattr(probe.family, "name", str(probe.family)).removeprefix("AF_")
        if probe.type != socket.SOCK_STREAM:
            raise NotHandedOver("it is not a stream socket; the unit needs ListenStream=")
        if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise NotHandedOver("nothing listens on it; the unit needs Accept=no")
        if family != domain:
            raise NotHandedOver(f"it is of domain {family}; write domain={family}")


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
    os.close(descriptor)  # the port has one of its own
    return port


class _UnixPort(unix.Port):
    """
    A UNIX socket that is systemd's: its file and its mode stay as they are, also at the end.

    Twisted's own port would let everybody connect to it, and remove its file.
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
