"""The two families side by side: where each is served, and a request of either read whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from umd.soap import ews, um
from umd.soap.document import InvalidRequest, expanded_name, invalid
from umd.soap.envelope import Envelope, NoSuchOperation, read_envelope
from umd.soap.namespaces import TYPES_OF
from umd.soap.operations import Family, Operation, holds, read_parts
from umd.soap.requests import Disconnect, GetCallInfo, OperationRequest
from umd.soap.templates import Templates


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contract:
    """One family as it is served."""

    family: Family
    path: str
    """Of its endpoint, as it is shown to people."""
    operations: Mapping[str, Operation]
    elsewhere: Mapping[str, Operation]
    """The operations of the other family."""
    understood: frozenset[str]
    """The header blocks that it understands."""


UM: Final = Contract(
    family=Family.UM,
    path="/EWS/UM2007Legacy.asmx",
    operations=um.OPERATIONS,
    elsewhere=ews.OPERATIONS,
    understood=um.UNDERSTOOD,
)
EWS: Final = Contract(
    family=Family.EWS,
    path="/EWS/Exchange.asmx",
    operations=ews.OPERATIONS,
    elsewhere=um.OPERATIONS,
    understood=ews.UNDERSTOOD,
)
CONTRACTS: Final = (UM, EWS)
ENDPOINTS: Final[Mapping[str, Contract]] = {
    "/ews/um2007legacy.asmx": UM,
    "/unifiedmessaging/service.asmx": UM,
    "/ews/exchange.asmx": EWS,
}
"""By path in lower case: Exchange 2010 and later, Exchange 2007 (reference um-web-service, 2.1)."""


@dataclass(slots=True)
class SoapRequest:
    """What a client asks for; nobody changes it, and to freeze it costs a request's time."""

    operation: Operation
    arguments: OperationRequest
    """What the operation is to do."""
    envelope: str
    """The envelope's namespace, in the client's spelling."""
    messages: str
    """The messages namespace, in the client's spelling."""
    impersonated: str | None
    """In whose name; None: in the asker's own."""


def read_request(contract: Contract, body: bytes, charset: str = "") -> SoapRequest:
    """
    Read a request by the name of the element in the Body; a SOAPAction is not needed for it.

    Args:
        contract: of the endpoint that it came to.
        charset: of the Content-Type; empty where it has none.

    Raises:
        InvalidRequest, or one of its kinds: it is no request of this endpoint.
    """
    templates = _TEMPLATES[contract.family]
    known = templates.find(body, charset)
    if known is not None:
        like, call_id = known
        operation = like.operation
        return SoapRequest(
            operation,
            operation.request_type(call_id),
            like.envelope,
            like.messages,
            like.impersonated,
        )
    soap_request = _read_parsed(contract, body, charset)
    arguments = soap_request.arguments
    if isinstance(arguments, (Disconnect, GetCallInfo)):
        templates.learn(body, arguments.call_id, soap_request, charset)
    return soap_request


_TEMPLATES: Final[Mapping[Family, Templates[SoapRequest]]] = {
    family: Templates() for family in Family
}


def _read_parsed(contract: Contract, body: bytes, charset: str = "") -> SoapRequest:
    envelope = read_envelope(body, contract.understood, charset)
    messages, name = expanded_name(envelope.operation)
    try:
        return _read(contract, envelope, messages, name)
    except InvalidRequest as error:
        error.envelope = envelope.namespace
        error.messages = messages if messages in TYPES_OF else None
        raise


def _read(contract: Contract, envelope: Envelope, messages: str, name: str) -> SoapRequest:
    if messages not in TYPES_OF:
        why = f"{name} is in namespace {messages!r}, not that of the messages"
        raise invalid(envelope.operation, why)
    operation = _find(contract, envelope, name)
    impersonated = None
    if envelope.header and contract is EWS:
        ews.check_version(envelope)
        impersonated = ews.impersonated(envelope)
    values = read_parts(envelope.operation, operation.request)
    arguments = operation.request_type(**values)
    return SoapRequest(operation, arguments, envelope.namespace, messages, impersonated)


def _find(contract: Contract, envelope: Envelope, name: str) -> Operation:
    """
    The operation of this name at this endpoint.

    Both families have a PlayOnPhone: where the first child is not of the endpoint's own, it is the
    other's (reference um-web-service, section 1).
    """
    operation = contract.operations.get(name)
    elsewhere = contract.elsewhere.get(name)
    if operation is None:
        other = EWS if contract is UM else UM
        hint = f"; it is served at {other.path}" if elsewhere else ""
        line = envelope.operation.sourceline or 0
        raise NoSuchOperation(f"no operation {name} here{hint}", line=line, position=1)
    if elsewhere is not None and not holds(envelope.operation, operation.request):
        if holds(envelope.operation, elsewhere.request):
            return elsewhere
    return operation
