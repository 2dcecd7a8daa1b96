"""
The EWS family: three call operations of Exchange Web Services, and the configuration that clients
ask for before them.

A problem is a response with `ResponseClass="Error"`; only an invalid request gets a fault. The
order and presence of elements is what the EWS Managed API and its ports require.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.sax.saxutils import escape

from umd.soap import requests
from umd.soap.document import XML_SPACE, Element, InvalidRequest
from umd.soap.envelope import Envelope, NoSuchOperation
from umd.soap.fault import (
    EWS_CODES,
    IMPERSONATION_DENIED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    INVALID_VERSION,
    Fault,
    schema_fault,
)
from umd.soap.namespaces import TYPES, TYPES_OF, TYPES_PASTED
from umd.soap.operations import (
    BOOLEAN,
    Family,
    Home,
    Operation,
    Part,
    SimpleType,
    write_parts,
)
from umd.soap.problem import Problem
from umd.soap.requests import OperationResponse
from umd.soap.um import (
    BACKEND_UNAVAILABLE,
    BUSY,
    CALL_STATE,
    EVENT_CAUSE,
    NOT_DIALABLE,
    NOT_ENABLED,
    SETTINGS_UNAVAILABLE,
    UNKNOWN_CALL,
)

# The UM family has the same words under other names (MS-OXWUMS).
PHONE_CALL_STATE: Final = SimpleType("PhoneCallStateType", CALL_STATE.values, Home.TYPES)
FAILURE_CAUSE: Final = SimpleType("ConnectionFailureCauseType", EVENT_CAUSE.values, Home.TYPES)
SERVICE_CONFIGURATION: Final = SimpleType(
    "ServiceConfigurationType",
    ("MailTips", "UnifiedMessagingConfiguration", "ProtectionRules"),
    Home.TYPES,
)

_CALL_ID: Final = Part(
    name="PhoneCallId",
    attributes={"Id": "call_id"},
    complex_type="t:PhoneCallIdType",
    about="as PlayOnPhone returned it",
)


def _typed(name: str, key: str, type_: SimpleType) -> Part:
    return Part(name=name, key=key, type=type_, home=Home.TYPES)


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        Operation(
            name="DisconnectPhoneCall",
            family=Family.EWS,
            request_type=requests.Disconnect,
            response_type=requests.Disconnected,
            summary="Ends the call in any state. The response comes when the call is down, or "
            "after call.deadline.",
            request=(_CALL_ID,),
            problems={
                Problem.UNKNOWN_CALL: UNKNOWN_CALL,
                Problem.BACKEND_UNAVAILABLE: BACKEND_UNAVAILABLE + "; umd ends the call later",
            },
        ),
        Operation(
            name="GetPhoneCallInformation",
            family=Family.EWS,
            request_type=requests.GetCallInfo,
            response_type=requests.CallInfo,
            summary="Returns the state of a call, and why it ended.",
            request=(_CALL_ID,),
            # A success must not have the elements for SIP (EWS messages.xsd).
            answer=(
                Part(
                    name="PhoneCallInformation",
                    complex_type="t:PhoneCallInformationType",
                    parts=(
                        _typed("PhoneCallState", "state", PHONE_CALL_STATE),
                        _typed("ConnectionFailureCause", "cause", FAILURE_CAUSE),
                    ),
                ),
            ),
            problems={Problem.UNKNOWN_CALL: UNKNOWN_CALL},
        ),
        Operation(
            name="PlayOnPhone",
            family=Family.EWS,
            request_type=requests.PlayOnPhone,
            response_type=requests.PlacedCall,
            summary="Calls a number through the dial plan and plays the message of an item.",
            request=(
                Part(
                    name="ItemId",
                    attributes={"Id": "entry_id", "ChangeKey": ""},
                    complex_type="t:ItemIdType",
                    about="base64, names a file in prompts.folder",
                ),
                Part(
                    name="DialString",
                    key="dial_string",
                    about="the number to call, empty for your default",
                ),
            ),
            answer=(_CALL_ID,),
            problems={
                Problem.INVALID_OBJECT: "the Id is not base64, or there is no prompt for it",
                Problem.NOT_DIALABLE: NOT_DIALABLE,
                Problem.NOT_ENABLED: NOT_ENABLED,
                Problem.SETTINGS_UNAVAILABLE: SETTINGS_UNAVAILABLE
                + ", and the DialString is empty",
                Problem.BACKEND_UNAVAILABLE: BACKEND_UNAVAILABLE,
                Problem.BUSY: BUSY,
            },
        ),
        Operation(
            name="GetServiceConfiguration",
            family=Family.EWS,
            request_type=requests.GetServiceConfiguration,
            response_type=requests.ServiceConfiguration,
            summary="Returns whether messages can be played on your telephone, and its number.",
            request=(
                Part(name="ActingAs", absent="", about="ignored"),
                Part(
                    name="RequestedConfiguration",
                    parts=(
                        Part(
                            name="ConfigurationName",
                            key="names",
                            type=SERVICE_CONFIGURATION,
                            many=True,
                            about="UnifiedMessagingConfiguration; others are ignored",
                        ),
                    ),
                ),
            ),
            answer=(
                Part(
                    name="ResponseMessages",
                    parts=(
                        Part(
                            name="ServiceConfigurationResponseMessageType",
                            attributes={"ResponseClass": "response_class"},
                            parts=(
                                Part(name="ResponseCode", key="response_code"),
                                Part(
                                    name="UnifiedMessagingConfiguration",
                                    complex_type="t:UnifiedMessageServiceConfiguration",
                                    parts=(
                                        _typed("UmEnabled", "enabled", BOOLEAN),
                                        Part(
                                            name="PlayOnPhoneDialString",
                                            key="dial_string",
                                            home=Home.TYPES,
                                        ),
                                        _typed("PlayOnPhoneEnabled", "enabled", BOOLEAN),
                                    ),
                                ),
                            ),
                        ),
                    ),
                ),
            ),
            problems={Problem.SETTINGS_UNAVAILABLE: SETTINGS_UNAVAILABLE},
        ),
    )
}

RESPONSES: Final[Mapping[Problem, tuple[str, str]]] = {
    Problem.UNKNOWN_CALL: ("ErrorInvalidPhoneCallId", "The phone call ID isn't valid"),
    Problem.INVALID_OBJECT: (
        "ErrorItemNotFound",
        "The specified object was not found in the store.",
    ),
    Problem.NOT_DIALABLE: (
        "ErrorPhoneNumberNotDialable",
        "The phone number isn't dialable: it is no telephone number, or dialing restrictions are "
        "preventing it from being dialed.",
    ),
    Problem.BACKEND_UNAVAILABLE: (
        "ErrorServerBusy",
        "What carries the call cannot be reached at the moment. Ask again.",
    ),
    **EWS_CODES,
}
"""The response code and the text of each problem that gets a response and no fault."""

FAULTS: Final[Mapping[Problem, Fault]] = {
    Problem.INVALID_REQUEST: INVALID_REQUEST,
    Problem.INTERNAL: INTERNAL_ERROR,
    Problem.INVALID_VERSION: INVALID_VERSION,
    Problem.IMPERSONATION_DENIED: IMPERSONATION_DENIED,
}

_SERVER_VERSION: Final = (
    'MajorVersion="14" MinorVersion="0" MajorBuildNumber="639" MinorBuildNumber="20" '
    'Version="Exchange2010"'
)
"""
The numbers of Microsoft's published examples; clients need all four and accept any. umd serves the
version of Exchange 2010, which had all these operations, whichever version a client requests.
"""
_VERSION: Final = re.compile(
    # Versions after Exchange 2010 added nothing that umd serves, so future ones are accepted.
    r"Exchange20(?:0[7-9]|[1-9][0-9])(?:_SP[1-9])?"
    r"|V20[0-9]{2}_(?:0[1-9]|1[0-2])_(?:0[1-9]|[12][0-9]|3[01])"
)
_TYPES_BLOCKS: Final = (
    "RequestServerVersion",
    "MailboxCulture",
    "ExchangeImpersonation",
    "TimeZoneContext",
    "DateTimePrecision",
    "ManagementRole",
)
ADDRESSING: Final = (
    "http://www.w3.org/2005/08/addressing",
    "http://schemas.xmlsoap.org/ws/2004/08/addressing",
)

UNDERSTOOD: Final[frozenset[str]] = frozenset(
    [f"{{{types}}}{name}" for types in (TYPES, TYPES_PASTED) for name in _TYPES_BLOCKS]
    # WS-Addressing repeats what the URL and the Body say.
    + [f"{{{addressing}}}{name}" for addressing in ADDRESSING for name in ("Action", "To")]
)


class InvalidVersion(InvalidRequest):
    """RequestServerVersion is not a version of Exchange."""


class Impersonation(InvalidRequest):
    """An authenticated client impersonates another user."""


def check_version(envelope: Envelope) -> None:
    """
    Refuse a RequestServerVersion that is not a version of Exchange; it may be absent.

    Raises:
        InvalidVersion: it is not.
    """
    for block in _blocks(envelope, "RequestServerVersion"):
        version = (block.get("Version") or "").strip(XML_SPACE)
        if not _VERSION.fullmatch(version):
            line = block.sourceline or 0
            raise InvalidVersion("RequestServerVersion is no known version", line=line, position=1)


def impersonated(envelope: Envelope) -> str | None:
    """Return the user that ExchangeImpersonation names; None if the header is absent."""
    for block in _blocks(envelope, "ExchangeImpersonation"):
        for name in block.iter("{*}PrincipalName", "{*}PrimarySmtpAddress", "{*}SmtpAddress"):
            return (name.text or "").strip(XML_SPACE)
        return ""
    return None


def fault_of(problem: Problem, error: InvalidRequest | None = None) -> Fault | None:
    """
    Return the fault for a problem; None if the problem gets a response.

    Args:
        error: the error of an invalid request.
    """
    if problem is Problem.INVALID_REQUEST and error is not None:
        if isinstance(error, NoSuchOperation):
            return INVALID_REQUEST
        return schema_fault(str(error), error.line, error.position)
    return FAULTS.get(problem)


def write_answer(
    operation: Operation, response: OperationResponse, envelope: str, messages: str
) -> bytes:
    """Return the envelope of a successful response; see `umd.soap.um.write_answer`."""
    content = write_parts(operation.answer, response, messages)
    return _write(
        operation, "Success", f"<ResponseCode>NoError</ResponseCode>{content}", envelope, messages
    )


def write_problem(operation: Operation, problem: Problem, envelope: str, messages: str) -> bytes:
    """Return the response for a problem. Clients need all three elements, in this order."""
    code, text = RESPONSES[problem]
    content = (
        f"<MessageText>{escape(text)}</MessageText><ResponseCode>{code}</ResponseCode>"
        "<DescriptiveLinkKey>0</DescriptiveLinkKey>"
    )
    return _write(operation, "Error", content, envelope, messages)


def _write(
    operation: Operation, response_class: str, content: str, envelope: str, messages: str
) -> bytes:
    name = f"{operation.name}Response"
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<s:Envelope xmlns:s="{envelope}"><s:Header><h:ServerVersionInfo '
        f'xmlns:h="{TYPES_OF[messages]}" {_SERVER_VERSION}/></s:Header><s:Body>'
        f'<{name} xmlns="{messages}" ResponseClass="{response_class}">{content}</{name}>'
        "</s:Body></s:Envelope>"
    ).encode()


def _blocks(envelope: Envelope, name: str) -> list[Element]:
    names = (f"{{{TYPES}}}{name}", f"{{{TYPES_PASTED}}}{name}")
    return [block for block in envelope.header if block.tag in names]
