"""
Writes WSDL 1.1 and XML Schema from the tables of operations.

The schemas are inside the WSDL, so that a client needs one request only. By default only SOAP 1.1
is
declared: a client that finds a SOAP 1.2 binding may switch to it, and some clients use the last
port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from umd.soap.contract import EWS, Contract
from umd.soap.namespaces import MESSAGES, TYPES
from umd.soap.operations import Family, Home, Operation, Part, SimpleType

_DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
_XS: Final = "http://www.w3.org/2001/XMLSchema"
_NAMESPACE: Final = {Home.MESSAGES: MESSAGES, Home.TYPES: TYPES}
_HOMES: Final = {Family.UM: (Home.MESSAGES,), Family.EWS: (Home.MESSAGES, Home.TYPES)}
_SCHEMA_NAMES: Final = {Home.MESSAGES: "messages", Home.TYPES: "types"}


class _Names:
    """The names in the WSDL of a family."""

    def __init__(self, stem: str, service: str, request: str, result: str) -> None:
        self.port_type = f"{stem}PortType"
        self.binding = f"{stem}Binding"
        self.service = service
        self.port = f"{stem}Port"
        self.request = request
        """The name of the part in the message of a request."""
        self.result = result
        """The same for a response; {} is replaced by the operation."""


# Microsoft published no WSDL of the UM family. Some SOAP stacks unwrap a message if its part is
# named "parameters".
_NAMES: Final = {
    Family.UM: _Names(
        "UnifiedMessaging", "UnifiedMessagingService", "parameters", "parameters"
    ),
    Family.EWS: _Names("ExchangeService", "ExchangeServices", "request", "{}Result"),
}


def write_wsdl(contract: Contract, address: str, *, soap12: bool = False) -> bytes:
    """
    Return the WSDL of one endpoint.

    Args:
        address: the URL of the endpoint, as the client reached it.
        soap12: whether to declare SOAP 1.2 too, after SOAP 1.1.
    """
    parts = _description(contract, soap12)
    return parts.replace("{address}", quoteattr(address)).encode()


def write_schema(contract: Contract, name: str, address: str) -> bytes | None:
    """
    Return one schema of an endpoint, `messages` or `types`; None if there is no such schema.

    Args:
        address: the URL of the endpoint, as the client reached it; the schema imports from there.
    """
    name = name.removesuffix(".xsd").removeprefix("um-")
    for home in _HOMES[contract.family]:
        if _SCHEMA_NAMES[home] == name:
            return _with_address(_schema(contract, home, "{address}?xsd="), address)
    return None


def _file_of_ews(base: str, home: Home) -> bytes:
    return _with_address(_schema(EWS, home, "{address}/EWS/", ".xsd"), base)


def _with_address(schema: str, address: str) -> bytes:
    """Insert the address. It comes from the client, so it is not part of what is cached."""
    quoted = escape(address, {'"': "&quot;"})
    return (_DECLARATION + schema.replace("{address}", quoted)).encode()


FILES: Final[Mapping[str, Callable[[str], bytes]]] = {
    "/ews/services.wsdl": lambda base: write_wsdl(EWS, base + EWS.path),
    "/ews/messages.xsd": partial(_file_of_ews, home=Home.MESSAGES),
    "/ews/types.xsd": partial(_file_of_ews, home=Home.TYPES),
}
"""
Exchange serves its WSDL as files, too. Each function takes `scheme://host`; keys are lower case.
"""


# -- the schemas


@cache
def _schema(contract: Contract, home: Home, imported: str | None = None, suffix: str = "") -> str:
    """
    Return a schema element.

    Args:
        imported: the beginning of the URL that it imports from, with {address} for the client's
        URL;
            None: the imported schema is in the same WSDL.
        suffix: the end of that URL.
    """
    others = [other for other in _HOMES[contract.family] if other is not home]
    content = "".join(_import(other, imported, suffix) for other in others)
    if home is Home.MESSAGES:
        for operation in contract.operations.values():
            content += _elements(operation)
    types = {name: text for name, text in _named_types(contract) if name[0] is home}
    content += "".join(types.values())
    if contract is EWS:
        content += _EWS_BASE[home]
    prefixes = "".join(f' xmlns:{home}="{_NAMESPACE[home]}"' for home in _HOMES[contract.family])
    return (
        f'<xs:schema xmlns:xs="{_XS}"{prefixes} targetNamespace="{_NAMESPACE[home]}" '
        f'elementFormDefault="qualified">{content}</xs:schema>'
    )


def _import(home: Home, imported: str | None, suffix: str) -> str:
    location = ""
    if imported is not None:
        location = f' schemaLocation="{imported}{_SCHEMA_NAMES[home]}{suffix}"'
    return f'<xs:import namespace="{_NAMESPACE[home]}"{location}/>'


_EWS_BASE: Final = {
    Home.MESSAGES: (
        '<xs:complexType name="ResponseMessageType"><xs:sequence>'
        '<xs:element name="MessageText" type="xs:string" minOccurs="0"/>'
        '<xs:element name="ResponseCode" type="xs:string" minOccurs="0"/>'
        '<xs:element name="DescriptiveLinkKey" type="xs:int" minOccurs="0"/>'
        "</xs:sequence>"
        '<xs:attribute name="ResponseClass" type="t:ResponseClassType" use="required"/>'
        "</xs:complexType>"
    ),
    Home.TYPES: (
        '<xs:simpleType name="ResponseClassType"><xs:restriction base="xs:string">'
        '<xs:enumeration value="Success"/><xs:enumeration value="Warning"/>'
        '<xs:enumeration value="Error"/></xs:restriction></xs:simpleType>'
        '<xs:element name="RequestServerVersion"><xs:complexType>'
        '<xs:attribute name="Version" type="xs:string" use="required"/></xs:complexType>'
        "</xs:element>"
        '<xs:element name="ServerVersionInfo"><xs:complexType>'
        '<xs:attribute name="MajorVersion" type="xs:int"/>'
        '<xs:attribute name="MinorVersion" type="xs:int"/>'
        '<xs:attribute name="MajorBuildNumber" type="xs:int"/>'
        '<xs:attribute name="MinorBuildNumber" type="xs:int"/>'
        '<xs:attribute name="Version" type="xs:string"/></xs:complexType></xs:element>'
    ),
}
"""The base type of every EWS response and its two header blocks (EWS messages.xsd, types.xsd)."""


def _elements(operation: Operation) -> str:
    """Return the elements of the request and of the response."""
    request = "".join(_element(part, request=True) for part in operation.request)
    answer = "".join(_element(part, request=False) for part in operation.answer)
    body = _sequence(answer)
    if operation.family is Family.EWS:
        body = (
            '<xs:complexContent><xs:extension base="m:ResponseMessageType">'
            f"{_sequence(answer)}</xs:extension></xs:complexContent>"
        )
    return (
        f'<xs:element name="{operation.name}"><xs:complexType>{_sequence(request)}'
        f'</xs:complexType></xs:element><xs:element name="{operation.name}Response">'
        f"<xs:complexType>{body}</xs:complexType></xs:element>"
    )


def _element(part: Part, *, request: bool) -> str:
    # An EWS response for a problem has only the elements of its base type.
    extends_base = not request and part.complex_type.startswith("t:")
    may_be_absent = part.optional or part.absent is not None or extends_base
    occurs = ' minOccurs="0"' if may_be_absent else ""
    occurs += ' maxOccurs="unbounded"' if part.many else ""
    head = f'<xs:element name="{part.name}"{occurs}'
    if part.complex_type:
        return f'{head} type="{part.complex_type}"/>'
    if part.parts or part.attributes:
        return f"{head}><xs:complexType>{_content(part, request)}</xs:complexType></xs:element>"
    return f'{head} type="{_type_name(part.type)}"/>'


def _content(part: Part, request: bool) -> str:
    children = "".join(_element(child, request=request) for child in part.parts)
    return _sequence(children) + "".join(
        f'<xs:attribute name="{name}" type="xs:string" use="{"required" if key else "optional"}"/>'
        for name, key in part.attributes.items()
    )


def _sequence(elements: str) -> str:
    return f"<xs:sequence>{elements}</xs:sequence>" if elements else ""


def _type_name(simple: SimpleType) -> str:
    return simple.name if simple.name.startswith("xs:") else f"{simple.home}:{simple.name}"


def _named_types(contract: Contract) -> Iterator[tuple[tuple[Home, str], str]]:
    """Yield `((namespace, name), definition)` for each named type."""
    for operation in contract.operations.values():
        for trees, request in ((operation.request, True), (operation.answer, False)):
            for part in _walk(trees):
                if part.type.values and not part.type.name.startswith("xs:"):
                    yield (part.type.home, part.type.name), _enumeration(part.type)
                if part.complex_type:
                    home, _, name = part.complex_type.partition(":")
                    content = _content(part, request)
                    text = f'<xs:complexType name="{name}">{content}</xs:complexType>'
                    yield (Home(home), name), text


def _enumeration(simple: SimpleType) -> str:
    values = "".join(f'<xs:enumeration value="{value}"/>' for value in simple.values)
    return (
        f'<xs:simpleType name="{simple.name}"><xs:restriction base="xs:string">{values}'
        "</xs:restriction></xs:simpleType>"
    )


def _walk(parts: tuple[Part, ...]) -> Iterator[Part]:
    for part in parts:
        yield part
        yield from _walk(part.parts)


# -- the WSDL


@cache
def _description(contract: Contract, soap12: bool) -> str:
    names, homes = _NAMES[contract.family], _HOMES[contract.family]
    operations = list(contract.operations.values())
    versions = ["soap"] + (["soap12"] if soap12 else [])
    return (
        f'{_DECLARATION}<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
        'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" '
        'xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/" '
        f'xmlns:xs="{_XS}" xmlns:tns="{MESSAGES}" xmlns:t="{TYPES}" '
        f'targetNamespace="{MESSAGES}">'
        f"<wsdl:types>{''.join(_schema(contract, home) for home in reversed(homes))}"
        "</wsdl:types>"
        + "".join(_messages(operation, names) for operation in operations)
        + f'<wsdl:portType name="{names.port_type}">'
        + "".join(_port_operation(operation) for operation in operations)
        + "</wsdl:portType>"
        + "".join(_binding(version, operations, names) for version in versions)
        + f'<wsdl:service name="{names.service}">'
        + "".join(
            f'<wsdl:port name="{names.port}{_suffix(version)}" '
            f'binding="tns:{names.binding}{_suffix(version)}">'
            f"<{version}:address location={{address}}/></wsdl:port>"
            for version in versions
        )
        + "</wsdl:service></wsdl:definitions>"
    )


def _suffix(version: str) -> str:
    return "12" if version == "soap12" else ""


def _messages(operation: Operation, names: _Names) -> str:
    name = operation.name
    ews = operation.family is Family.EWS
    result = names.result.format(name)
    version = '<wsdl:part name="RequestVersion" element="t:RequestServerVersion"/>' if ews else ""
    server = '<wsdl:part name="ServerVersion" element="t:ServerVersionInfo"/>' if ews else ""
    return (
        f'<wsdl:message name="{name}SoapIn"><wsdl:part name="{names.request}" '
        f'element="tns:{name}"/>{version}</wsdl:message><wsdl:message name="{name}SoapOut">'
        f'<wsdl:part name="{result}" element="tns:{name}Response"/>{server}</wsdl:message>'
    )


def _port_operation(operation: Operation) -> str:
    name = operation.name
    return (
        f'<wsdl:operation name="{name}"><wsdl:documentation>{operation.summary}'
        f'</wsdl:documentation><wsdl:input message="tns:{name}SoapIn"/>'
        f'<wsdl:output message="tns:{name}SoapOut"/></wsdl:operation>'
    )


def _binding(version: str, operations: list[Operation], names: _Names) -> str:
    bound = "".join(_bound_operation(version, operation, names) for operation in operations)
    return (
        f'<wsdl:binding name="{names.binding}{_suffix(version)}" type="tns:{names.port_type}">'
        f'<{version}:binding transport="http://schemas.xmlsoap.org/soap/http" style="document"/>'
        f"{bound}</wsdl:binding>"
    )


def _bound_operation(version: str, operation: Operation, names: _Names) -> str:
    name = operation.name
    body_in = body_out = f'<{version}:body use="literal"/>'
    if operation.family is Family.EWS:
        body_in = _with_header(version, name, "In", names.request, "RequestVersion")
        body_out = _with_header(version, name, "Out", names.result.format(name), "ServerVersion")
    return (
        f'<wsdl:operation name="{name}"><{version}:operation soapAction="{MESSAGES}/{name}" '
        f'style="document"/><wsdl:input>{body_in}</wsdl:input>'
        f"<wsdl:output>{body_out}</wsdl:output></wsdl:operation>"
    )


def _with_header(version: str, name: str, way: str, body: str, header: str) -> str:
    return (
        f'<{version}:body parts="{body}" use="literal"/>'
        f'<{version}:header message="tns:{name}Soap{way}" part="{header}" use="literal"/>'
    )
