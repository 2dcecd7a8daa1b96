"""
Every published example, as request and as response, in both spellings of the namespaces.

The documents are written from the shapes in the reference (um-web-service, sections 3, 4 and 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from tests.soap.helpers import values_of
from umd.soap import ews, um
from umd.soap.contract import CONTRACTS, EWS, UM, Contract, read_request
from umd.soap.operations import Value
from umd.soap.requests import (
    CallInfo,
    Done,
    OperationResponse,
    PlacedCall,
    ServiceConfiguration,
    UMEnabled,
    UMProperties,
)

CALL_ID = (
    "MDlkZjllZGMtNGUyMy00NzA5LWJkYWYtN2JlMjBjYjBhZTU2QGRmLWV1bS0wMS5leGNoYW5nZS5jb3JwLm1pY3Jvc29m"
    "dC5jb20="
)
M = "http://schemas.microsoft.com/exchange/services/2006/messages"
T = "http://schemas.microsoft.com/exchange/services/2006/types"
ENVELOPE = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema">\n  <soap:Body>{}</soap:Body>\n</soap:Envelope>'
)
EWS_REQUEST = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    f'<soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:m="{M}" '
    f'xmlns:t="{T}" xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">\n<soap:Header>'
    '<t:RequestServerVersion Version="Exchange2010" /></soap:Header>\n'
    "<soap:Body>{}</soap:Body></soap:Envelope>"
)
EWS_RESPONSE = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
    f'<h:ServerVersionInfo xmlns:h="{T}" MajorVersion="14" MinorVersion="0" '
    'MajorBuildNumber="639" MinorBuildNumber="20" Version="Exchange2010"/></s:Header>'
    "<s:Body>{}</s:Body></s:Envelope>"
)


@dataclass
class Example:
    """A request, its arguments, the response value and the response document."""

    request: str
    arguments: Mapping[str, Value]
    response: str
    response_value: OperationResponse = field(default_factory=Done)


UM_EXAMPLES = {
    "Disconnect": Example(
        f'<Disconnect xmlns="{M}"><CallId>{CALL_ID}</CallId></Disconnect>',
        {"call_id": CALL_ID},
        f'<DisconnectResponse xmlns="{M}" />',
    ),
    "GetCallInfo": Example(
        f'<GetCallInfo xmlns="{M}"><CallId>{CALL_ID}</CallId></GetCallInfo>',
        {"call_id": CALL_ID},
        f'<GetCallInfoResponse xmlns="{M}"><GetCallInfoResponse><CallState>Connected</CallState>'
        "<EventCause>None</EventCause></GetCallInfoResponse></GetCallInfoResponse>",
        CallInfo("Connected", "None"),
    ),
    "PlayOnPhone": Example(
        f'<PlayOnPhone xmlns="{M}"><entryId>AAAAAHgm</entryId><DialString>55555</DialString>'
        "</PlayOnPhone>",
        {"entry_id": "AAAAAHgm", "dial_string": "55555"},
        f'<PlayOnPhoneResponse xmlns="{M}"><PlayOnPhoneResponse>{CALL_ID}</PlayOnPhoneResponse>'
        "</PlayOnPhoneResponse>",
        PlacedCall(CALL_ID),
    ),
    "PlayOnPhoneGreeting": Example(
        f'<PlayOnPhoneGreeting xmlns="{M}"><GreetingType>NormalCustom</GreetingType>'
        "<DialString>55555</DialString></PlayOnPhoneGreeting>",
        {"greeting": "NormalCustom", "dial_string": "55555"},
        f'<PlayOnPhoneGreetingResponse xmlns="{M}"><PlayOnPhoneGreetingResponse>{CALL_ID}'
        "</PlayOnPhoneGreetingResponse></PlayOnPhoneGreetingResponse>",
        PlacedCall(CALL_ID),
    ),
    "IsUMEnabled": Example(
        f'<IsUMEnabled xmlns="{M}" />',
        {},
        f'<IsUMEnabledResponse xmlns="{M}"><IsUMEnabledResponse>true</IsUMEnabledResponse>'
        "</IsUMEnabledResponse>",
        UMEnabled(True),
    ),
    "GetUMProperties": Example(
        f'<GetUMProperties xmlns="{M}" />',
        {},
        f'<GetUMPropertiesResponse xmlns="{M}"><GetUMPropertiesResponse>'
        "<OofStatus>false</OofStatus>"
        "<MissedCallNotificationEnabled>true</MissedCallNotificationEnabled>"
        "<PlayOnPhoneDialString>55555</PlayOnPhoneDialString>"
        "<TelephoneAccessNumbers>5551212</TelephoneAccessNumbers>"
        "<TelephoneAccessFolderEmail>AAAA</TelephoneAccessFolderEmail>"
        "</GetUMPropertiesResponse></GetUMPropertiesResponse>",
        UMProperties(
            oof_status=False,
            missed_call_notification=True,
            dial_string="55555",
            access_numbers=("5551212",),
            access_folder="AAAA",
        ),
    ),
    "ResetPIN": Example(f'<ResetPIN xmlns="{M}" />', {}, f'<ResetPINResponse xmlns="{M}" />'),
    "SetOofStatus": Example(
        f'<SetOofStatus xmlns="{M}"><status>true</status></SetOofStatus>',
        {"status": True},
        f'<SetOofStatusResponse xmlns="{M}" />',
    ),
    "SetMissedCallNotificationEnabled": Example(
        f'<SetMissedCallNotificationEnabled xmlns="{M}"><status>false</status>'
        "</SetMissedCallNotificationEnabled>",
        {"status": False},
        f'<SetMissedCallNotificationEnabledResponse xmlns="{M}" />',
    ),
    "SetPlayOnPhoneDialString": Example(
        f'<SetPlayOnPhoneDialString xmlns="{M}"><dialString>55555</dialString>'
        "</SetPlayOnPhoneDialString>",
        {"dial_string": "55555"},
        f'<SetPlayOnPhoneDialStringResponse xmlns="{M}" />',
    ),
    "SetTelephoneAccessFolderEmail": Example(
        f'<SetTelephoneAccessFolderEmail xmlns="{M}"><base64FolderID>AAAA</base64FolderID>'
        "</SetTelephoneAccessFolderEmail>",
        {"folder_id": "AAAA"},
        f'<SetTelephoneAccessFolderEmailResponse xmlns="{M}" />',
    ),
}
EWS_EXAMPLES = {
    "DisconnectPhoneCall": Example(
        '<m:DisconnectPhoneCall><m:PhoneCallId Id="6bbe="/></m:DisconnectPhoneCall>',
        {"call_id": "6bbe="},
        f'<DisconnectPhoneCallResponse xmlns="{M}" ResponseClass="Success">'
        "<ResponseCode>NoError</ResponseCode></DisconnectPhoneCallResponse>",
    ),
    "GetPhoneCallInformation": Example(
        '<m:GetPhoneCallInformation><m:PhoneCallId Id="6bbe="/></m:GetPhoneCallInformation>',
        {"call_id": "6bbe="},
        f'<GetPhoneCallInformationResponse xmlns="{M}" xmlns:m="{M}" ResponseClass="Success">'
        "<ResponseCode>NoError</ResponseCode>"
        f'<m:PhoneCallInformation xmlns:t="{T}"><t:PhoneCallState>Connected</t:PhoneCallState>'
        "<t:ConnectionFailureCause>None</t:ConnectionFailureCause></m:PhoneCallInformation>"
        "</GetPhoneCallInformationResponse>",
        CallInfo("Connected", "None"),
    ),
    "PlayOnPhone": Example(
        '<m:PlayOnPhone><m:ItemId Id="AAMkADEzMj" ChangeKey="CQAAAA=="/>'
        "<m:DialString>4255551212</m:DialString></m:PlayOnPhone>",
        {"entry_id": "AAMkADEzMj", "dial_string": "4255551212"},
        f'<PlayOnPhoneResponse xmlns="{M}" ResponseClass="Success">'
        '<ResponseCode>NoError</ResponseCode><PhoneCallId Id="6bbe="/></PlayOnPhoneResponse>',
        PlacedCall("6bbe="),
    ),
    "GetServiceConfiguration": Example(
        "<m:GetServiceConfiguration><m:RequestedConfiguration>"
        "<m:ConfigurationName>UnifiedMessagingConfiguration</m:ConfigurationName>"
        "</m:RequestedConfiguration></m:GetServiceConfiguration>",
        {"names": ("UnifiedMessagingConfiguration",)},
        f'<GetServiceConfigurationResponse ResponseClass="Success" xmlns="{M}">'
        "<ResponseCode>NoError</ResponseCode><ResponseMessages>"
        '<ServiceConfigurationResponseMessageType ResponseClass="Success">'
        "<ResponseCode>NoError</ResponseCode>"
        f'<m:UnifiedMessagingConfiguration xmlns:m="{M}" xmlns:t="{T}">'
        "<t:UmEnabled>true</t:UmEnabled>"
        "<t:PlayOnPhoneDialString>user@contoso.com</t:PlayOnPhoneDialString>"
        "<t:PlayOnPhoneEnabled>true</t:PlayOnPhoneEnabled>"
        "</m:UnifiedMessagingConfiguration></ServiceConfigurationResponseMessageType>"
        "</ResponseMessages></GetServiceConfigurationResponse>",
        ServiceConfiguration(enabled=True, dial_string="user@contoso.com"),
    ),
}


def shape(element: etree._Element) -> tuple[object, ...]:
    """Return names, attributes and texts of a tree, with namespaces in place of prefixes."""
    return (
        element.tag,
        sorted(element.attrib.items()),
        (element.text or "").strip(),
        [shape(child) for child in element],
    )


def pasted(document: str) -> str:
    """Return a document with https: in its namespaces, as Microsoft once published it."""
    return document.replace("http://schemas.", "https://schemas.")


class ExampleTests(SynchronousTestCase):
    def test_every_operation_has_an_example(self) -> None:
        self.assertEqual(UM_EXAMPLES.keys(), um.OPERATIONS.keys())
        self.assertEqual(EWS_EXAMPLES.keys(), ews.OPERATIONS.keys())
        self.assertEqual(sum(len(one.operations) for one in CONTRACTS), 15)

    def check(
        self, contract: Contract, name: str, request: str, response: str, ex: Example
    ) -> None:
        read = read_request(contract, request.encode())
        self.assertEqual(read.operation.name, name)
        self.assertEqual({k: v for k, v in values_of(read).items() if v != ""}, ex.arguments)
        write = um.write_answer if contract is UM else ews.write_answer
        written = write(read.operation, ex.response_value, read.envelope, read.messages)
        self.assertTrue(written.startswith(b'<?xml version="1.0" encoding="utf-8"?>'))
        expected = shape(etree.fromstring(response.encode()))
        self.assertEqual(shape(etree.fromstring(written)), expected, name)

    def test_um(self) -> None:
        for name, example in UM_EXAMPLES.items():
            request, response = ENVELOPE.format(example.request), ENVELOPE.format(example.response)
            self.check(UM, name, request, response, example)
            self.check(UM, name, pasted(request), pasted(response), example)

    def test_ews(self) -> None:
        for name, example in EWS_EXAMPLES.items():
            request = EWS_REQUEST.format(example.request)
            response = EWS_RESPONSE.format(example.response)
            self.check(EWS, name, request, response, example)
            self.check(EWS, name, pasted(request), pasted(response), example)

    def test_values_are_escaped(self) -> None:
        soap, evil = "http://schemas.xmlsoap.org/soap/envelope/", "<\"&'>"
        octets = um.write_answer(um.OPERATIONS["PlayOnPhone"], PlacedCall(evil), soap, M)
        self.assertEqual("".join(etree.fromstring(octets).itertext()), evil)
        octets = ews.write_answer(ews.OPERATIONS["PlayOnPhone"], PlacedCall(evil), soap, M)
        (found,) = etree.fromstring(octets).iter(f"{{{M}}}PhoneCallId")
        self.assertEqual(found.get("Id"), evil)
