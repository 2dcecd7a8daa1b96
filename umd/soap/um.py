"""The operations of the UM web service: reading their requests, writing their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from umd.soap.envelope import (
    XML_SPACE,
    Element,
    Envelope,
    InvalidRequest,
    expanded_name,
    read_envelope,
    text_of,
    write_envelope,
)

MESSAGES: Final = "http://schemas.microsoft.com/exchange/services/2006/messages"
# What pasted documentation says instead (reference um-web-service, 2.4).
MESSAGES_PASTED: Final = "https://schemas.microsoft.com/exchange/services/2006/messages"

PATHS: Final = frozenset({"/ews/um2007legacy.asmx", "/unifiedmessaging/service.asmx"})
"""Where the service is, in lower case: Exchange 2010 and later, Exchange 2007."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End the call of this id (reference um-web-service, 3.2)."""

    call_id: str
    """As the client wrote it; empty where it wrote none."""
    namespace: str
    """The messages namespace, in the client's spelling."""
    envelope: str
    """The envelope's namespace, in the client's spelling."""


def read_request(body: bytes) -> Disconnect:
    """
    Read a request by the name of the element in the Body; a SOAPAction is not needed for it.

    Raises:
        InvalidRequest: it is none of this service.
    """
    envelope = read_envelope(body)
    namespace, name = expanded_name(envelope.operation)
    if namespace not in (MESSAGES, MESSAGES_PASTED):
        raise InvalidRequest(f"{name} is in namespace {namespace!r}, not that of the messages")
    if name != "Disconnect":
        raise InvalidRequest(f"no operation {name}; there is: Disconnect", namespace)
    try:
        return _read_disconnect(envelope, namespace)
    except InvalidRequest as error:
        error.namespace = namespace
        raise


def write_disconnect_response(request: Disconnect) -> bytes:
    """The empty answer that says: the call is down."""
    return write_envelope(request.envelope, f'<DisconnectResponse xmlns="{request.namespace}"/>')


def _read_disconnect(envelope: Envelope, namespace: str) -> Disconnect:
    fields = _read_fields(envelope.operation, ("CallId",))
    return Disconnect(fields.get("CallId", ""), namespace, envelope.namespace)


def _read_fields(operation: Element, names: tuple[str, ...]) -> dict[str, str]:
    """
    Read the children of an operation by local name: rpc/encoded clients put them in no namespace.

    A field that is absent is the operation's business; one that is unknown or doubled is not valid.
    """
    fields: dict[str, str] = {}
    stray = operation.text or ""
    for child in operation:
        name = expanded_name(child)[1]
        if name not in names:
            raise InvalidRequest(f"{name} is no field of {expanded_name(operation)[1]}")
        if name in fields:
            raise InvalidRequest(f"{name} is given twice")
        fields[name] = text_of(child)
        stray += child.tail or ""
    if stray.strip(XML_SPACE):
        raise InvalidRequest(f"text stands between the fields of {expanded_name(operation)[1]}")
    return fields
