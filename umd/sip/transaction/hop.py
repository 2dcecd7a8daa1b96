"""Where a SIP message goes to or came from."""

from __future__ import annotations

from typing import NamedTuple

from umd.sip.fields import is_ip_address
from umd.sip.message import Message, Request


class Hop(NamedTuple):
    """The address that a message goes to or came from, as the transport sees it."""

    host: str
    port: int
    transport: str = "UDP"
    flow: int = 0
    """The driver's number of the connection; 0 for UDP, which has none."""

    @property
    def reliable(self) -> bool:
        """Whether the transport itself retransmits what is lost (§17)."""
        return self.transport != "UDP"


class Send(NamedTuple):
    """A message to send, and where to."""

    message: Message
    hop: Hop


def response_hop(request: Request, source: Hop) -> Hop:
    """
    Return the hop that the responses to a request go to (§18.2.2, RFC 3581 §4).

    Over a connection it is the source. Over UDP it is the source's address, and the source's port
    if the Via asks for that (rport), else the port of the Via. A `maddr` that is an IP address has
    precedence over both.
    """
    if source.reliable:
        return source
    if request.made_of_values:  # asks for rport
        return source
    via = request.via
    port = via.port or 5060
    maddr = via.maddr
    if maddr and is_ip_address(maddr):
        return Hop(maddr.strip("[]"), port, source.transport, source.flow)
    if port == source.port or via.rport is not None:
        return source
    return Hop(source.host, port, source.transport, source.flow)
