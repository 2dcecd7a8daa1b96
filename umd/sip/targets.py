"""Where a request goes: the URI of a Contact, and the next hop of a URI (RFC 3263 §4)."""

from __future__ import annotations

from typing import Final, NamedTuple

from umd.sip.fields import FieldError, NameAddr, Uri
from umd.sip.message import HeaderError, Message
from umd.sip.transaction.hop import Hop


class Target(NamedTuple):
    """The URI of a Contact, as a Request-URI, and the next hop to it."""

    uri: str
    hop: Hop


def read_target(message: Message, invite_hop: Hop) -> Target | None:
    """
    Read the first Contact of a message that is a SIP URI, or return None.

    Args:
        message: The message; contacts that cannot be used are noted as flaws of it.
        invite_hop: The hop that the INVITE went to or came from.
    """
    try:
        values = message.values("Contact")
    except HeaderError as error:
        message.note_flaw(str(error))
        return None
    for value in values:
        try:
            uri = NameAddr.parse(value).uri
            if (found := Uri.parse(uri)).host:
                if _wants_other_transport(found):
                    message.note_flaw(f"Contact: {uri} is not reached over UDP")
                return Target(as_request_uri(uri), hop_for(uri, invite_hop))
            message.note_flaw(f"Contact: {uri} is no SIP URI")
        except FieldError as flaw:  # another name than above: mypyc gives a name one type
            message.note_flaw(f"Contact: {flaw}")
    return None


def hop_for(uri: str, invite_hop: Hop) -> Hop:
    """
    Return the next hop of a URI (RFC 3263 §4): its maddr or host, at its port.

    Over a connection it is `invite_hop`, so that the connection is kept. So it is if the URI asks
    for a transport other than UDP, which is all that umd has: the peer that took the INVITE over
    UDP can take its ACK and BYE, or pass them on.
    """
    if invite_hop.reliable:
        return invite_hop
    try:
        found = Uri.parse(uri)
    except FieldError:
        return invite_hop
    if not found.host or _wants_other_transport(found):
        return invite_hop
    host = found.param("maddr") or found.host
    return Hop(host.strip("[]"), found.port or 5060)


_NOT_IN_REQUEST_URI: Final = frozenset(("method", "ttl"))


def as_request_uri(uri: str) -> str:
    """
    Remove from a URI what a Request-URI must not have (§19.1.1, table 1).

    These are header fields and the parameters method and ttl.

    Raises:
        UriError: `uri` is malformed.
    """
    if "?" not in uri and ";" not in uri:
        return uri
    found = Uri.parse(uri)
    if found.headers is None and not any(name in _NOT_IN_REQUEST_URI for name, _ in found.params):
        return uri
    params = tuple(item for item in found.params if item[0] not in _NOT_IN_REQUEST_URI)
    plain = Uri(
        scheme=found.scheme,
        user=found.user,
        password=found.password,
        host=found.host,
        port=found.port,
        params=params,
    )
    return str(plain)


def _wants_other_transport(uri: Uri) -> bool:
    return uri.scheme == "sips" or (uri.param("transport") or "UDP").upper() != "UDP"
