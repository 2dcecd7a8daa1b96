"""The two families of operations: their endpoints, and how a request of either is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from umd.soap import ews, um
from umd.soap.document import InvalidRequest, expanded_name, invalid
from umd.soap.envelope import Envelope, NoSuchOperation, read_envelope
from umd.soap.namespaces import TYPES_OF
from umd.soap.operations import Family, Operation, holds, read_parts
from umd.soap.request_cache import RequestCache
from umd.soap.requests import Disconnect, GetCallInfo, OperationRequest


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contract:
    """One family of operations and its endpoint."""

    family: Family
    path: str
    """The path of its endpoint, spelled as people expect it."""
    operations: Mapping[str, Operation]
    elsewhere: Mapping[str, Operation]
    """The operations of the other family, by name."""
    understood: frozenset[str]
    """The expanded names, `{namespace}name`, of the header blocks that it understands."""


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
"""Contracts by path in lower case: UM of Exchange 2010 and later, UM of Exchange 2007, and EWS."""


@dataclass(slots=True)
class SoapRequest:
    """A request as it was read. Not frozen: freezing takes time at each request."""

    operation: Operation
    arguments: OperationRequest
    """The arguments of the operation."""
    envelope: str
    """The envelope's namespace, in the client's spelling."""
    messages: str
    """The messages namespace, in the client's spelling."""
    impersonated: str | None
    """The user that ExchangeImpersonation names; None: there is no such header block."""


def read_request(contract: Contract, body: bytes, charset: str = "") -> SoapRequest:
    """
    Read a request. The element in the Body names the operation; a SOAPAction is not needed.

    Args:
        contract: the contract of the endpoint that received it.
        charset: the charset of the Content-Type; empty if it has none.

    Raises:
        InvalidRequest: it is not a request of this endpoint.
    """
    cache = _CACHES[contract.family]
    cached = cache.find(body, charset)
    if cached is not None:
        like, call_id = cached
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
        cache.add(body, arguments.call_id, soap_request, charset)
    return soap_request


_CACHES: Final[Mapping[Family, RequestCache[SoapRequest]]] = {
    family: RequestCache() for family in Family
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
        why = f"{name} is in namespace {messages!r}, not in that of the messages"
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
    Return the operation of this name.

    Both families have a PlayOnPhone, in the same namespace. If the first child element is not one
    of this endpoint's operation, but one of the other family's, the request is the other's.
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
