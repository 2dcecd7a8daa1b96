"""
The UM family: the eleven operations of the Exchange Unified Messaging web service.

The published protocol (MS-OXWUMS) spells some names with a small letter. A response with data
repeats its own element inside. Every problem is a SOAP fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from umd.soap import requests
from umd.soap.envelope import write_envelope
from umd.soap.fault import (
    EWS_CODES,
    IMPERSONATION_DENIED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    INVALID_VERSION,
    Fault,
    call_control_fault,
    request_fault,
)
from umd.soap.operations import (
    BOOLEAN,
    Family,
    Operation,
    Part,
    SimpleType,
    write_parts,
)
from umd.soap.problem import Problem
from umd.soap.requests import OperationRequest, OperationResponse

CALL_STATE: Final = SimpleType(
    "UMCallState",
    (
        "Idle", "Connecting", "Alerted", "Connected", "Disconnected", "Incoming", "Transferring",
        "Forwarding",
    ),
)  # fmt: skip
EVENT_CAUSE: Final = SimpleType(
    "UMEventCause", ("None", "UserBusy", "NoAnswer", "Unavailable", "Other")
)
GREETING_TYPE: Final = SimpleType("xs:string", ("NormalCustom", "OofCustom"))

UNKNOWN_CALL: Final = "umd has no such call, has forgotten it, or the call is not yours"
NOT_DIALABLE: Final = "the number is not a telephone number, or the dial plan refuses it"
NOT_ENABLED: Final = "you are not enabled for unified messaging"
BACKEND_UNAVAILABLE: Final = "the backend of the call cannot be reached"
SETTINGS_UNAVAILABLE: Final = "users.store cannot be read or written"
BUSY: Final = "umd is stopping and places no more calls"

_CALL_ID: Final = Part(name="CallId", key="call_id", about="as PlayOnPhone returned it")
_DIAL_STRING: Final = Part(
    name="DialString", key="dial_string", about="the number to call, empty for your default"
)
_STATUS: Final = Part(name="status", key="status", type=BOOLEAN)
_NEW_CALL: Final = {
    Problem.NOT_DIALABLE: NOT_DIALABLE,
    Problem.NOT_ENABLED: NOT_ENABLED,
    Problem.SETTINGS_UNAVAILABLE: SETTINGS_UNAVAILABLE + ", and the DialString is empty",
    Problem.BACKEND_UNAVAILABLE: BACKEND_UNAVAILABLE,
    Problem.BUSY: BUSY,
}
_SETTINGS: Final = {
    Problem.NOT_ENABLED: NOT_ENABLED,
    Problem.SETTINGS_UNAVAILABLE: SETTINGS_UNAVAILABLE,
}


def _operation(
    name: str,
    request_type: Callable[..., OperationRequest],
    response_type: type[OperationResponse],
    summary: str,
    request: tuple[Part, ...] = (),
    *,
    answer: Part | None = None,
    problems: Mapping[Problem, str],
) -> Operation:
    """
    Return an operation of this family.

    Args:
        answer: the element inside the response that has the same name.
    """
    return Operation(
        name=name,
        family=Family.UM,
        request_type=request_type,
        response_type=response_type,
        summary=summary,
        request=request,
        answer=() if answer is None else (answer,),
        problems=problems,
    )


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        _operation(
            "Disconnect",
            requests.Disconnect,
            requests.Disconnected,
            "Ends the call in any state. The response comes when the call is down, or after "
            "call.deadline.",
            # MS-OXWUMS names an absent id as a case of InvalidCallIdException.
            (Part(name="CallId", key="call_id", absent="", about=_CALL_ID.about),),
            problems={
                Problem.UNKNOWN_CALL: UNKNOWN_CALL + "; or there is no CallId",
                Problem.BACKEND_UNAVAILABLE: BACKEND_UNAVAILABLE + "; umd ends the call later",
            },
        ),
        _operation(
            "GetCallInfo",
            requests.GetCallInfo,
            requests.CallInfo,
            "Returns the state of a call, and why it ended.",
            (_CALL_ID,),
            answer=Part(
                name="GetCallInfoResponse",
                complex_type="m:UMCallInfo",
                parts=(
                    Part(name="CallState", key="state", type=CALL_STATE),
                    Part(name="EventCause", key="cause", type=EVENT_CAUSE),
                ),
            ),
            problems={Problem.UNKNOWN_CALL: UNKNOWN_CALL},
        ),
        _operation(
            "PlayOnPhone",
            requests.PlayOnPhone,
            requests.PlacedCall,
            "Calls a number through the dial plan and plays the message of an entry id.",
            (
                Part(
                    name="entryId", key="entry_id", about="base64, names a file in prompts.folder"
                ),
                _DIAL_STRING,
            ),
            answer=Part(name="PlayOnPhoneResponse", key="call_id"),
            problems={
                Problem.INVALID_OBJECT: "entryId is not base64, or there is no prompt for it",
                **_NEW_CALL,
            },
        ),
        _operation(
            "PlayOnPhoneGreeting",
            requests.PlayOnPhoneGreeting,
            requests.PlacedCall,
            "Calls a number through the dial plan, plays your greeting and records a new one.",
            (
                Part(name="GreetingType", key="greeting", type=GREETING_TYPE),
                _DIAL_STRING,
            ),
            answer=Part(name="PlayOnPhoneGreetingResponse", key="call_id"),
            problems={
                Problem.INVALID_OBJECT: "your recorded greeting cannot be played",
                **_NEW_CALL,
            },
        ),
        _operation(
            "IsUMEnabled",
            requests.IsUMEnabled,
            requests.UMEnabled,
            "Returns whether you are enabled for unified messaging (users.enabled).",
            answer=Part(name="IsUMEnabledResponse", key="enabled", type=BOOLEAN),
            problems={},
        ),
        _operation(
            "GetUMProperties",
            requests.GetUMProperties,
            requests.UMProperties,
            "Returns your settings.",
            answer=Part(
                name="GetUMPropertiesResponse",
                complex_type="m:UMProperties",
                parts=(
                    Part(name="OofStatus", key="oof_status", type=BOOLEAN),
                    Part(
                        name="MissedCallNotificationEnabled",
                        key="missed_call_notification",
                        type=BOOLEAN,
                    ),
                    Part(name="PlayOnPhoneDialString", key="dial_string", optional=True),
                    Part(name="TelephoneAccessNumbers", key="access_numbers", optional=True),
                    Part(name="TelephoneAccessFolderEmail", key="access_folder", optional=True),
                ),
            ),
            problems=_SETTINGS,
        ),
        _operation(
            "ResetPIN",
            requests.ResetPIN,
            requests.Done,
            "Makes a new PIN and sends it to you. The response does not contain it.",
            problems={
                **_SETTINGS,
                Problem.PIN_NOT_SENT: "no pin.delivery is configured, or it failed; "
                "the old PIN stays valid",
            },
        ),
        _operation(
            "SetOofStatus",
            requests.SetOofStatus,
            requests.Done,
            "Sets whether your out-of-office greeting is played.",
            (_STATUS,),
            problems=_SETTINGS,
        ),
        _operation(
            "SetMissedCallNotificationEnabled",
            requests.SetMissedCallNotificationEnabled,
            requests.Done,
            "Sets whether you are notified of missed calls.",
            (_STATUS,),
            problems=_SETTINGS,
        ),
        _operation(
            "SetPlayOnPhoneDialString",
            requests.SetPlayOnPhoneDialString,
            requests.Done,
            "Sets the number that an empty DialString stands for.",
            (Part(name="dialString", key="dial_string", about="empty to remove it"),),
            problems={**_SETTINGS, Problem.NOT_DIALABLE: NOT_DIALABLE},
        ),
        _operation(
            "SetTelephoneAccessFolderEmail",
            requests.SetTelephoneAccessFolderEmail,
            requests.Done,
            "Sets the mail folder that is read to you on the telephone.",
            (
                Part(
                    name="base64FolderID",
                    key="folder_id",
                    # Microsoft's page of the element and its request example differ in case.
                    spellings=("base64FolderId",),
                    about="base64",
                ),
            ),
            problems={
                **_SETTINGS,
                Problem.INVALID_OBJECT: "the folder id is not base64",
            },
        ),
    )
}

FAULTS: Final[Mapping[Problem, Fault]] = {
    Problem.UNKNOWN_CALL: call_control_fault(
        "InvalidCallIdException", "The call identifier isn't valid."
    ),
    Problem.INVALID_OBJECT: call_control_fault(
        "InvalidObjectIdException", "The object identifier isn't valid."
    ),
    Problem.NOT_DIALABLE: call_control_fault(
        "DialingRulesException",
        "Dialing restrictions are preventing the phone number that was entered from being dialed.",
    ),
    Problem.INVALID_REQUEST: INVALID_REQUEST,
    Problem.INTERNAL: INTERNAL_ERROR,
    # MS-OXWUMS has no codes for the rest. These are of EWS, which UM clients know as well; they
    # retry after ErrorServerBusy.
    Problem.BACKEND_UNAVAILABLE: request_fault(
        "ErrorServerBusy",
        "What carries the call cannot be reached at the moment. The call will be ended when it "
        "can; ask again to learn when it is.",
        ours=True,
    ),
    # A PlayOnPhone of this family that is sent to the EWS endpoint can have a header of EWS.
    Problem.INVALID_VERSION: INVALID_VERSION,
    Problem.IMPERSONATION_DENIED: IMPERSONATION_DENIED,
    **{
        problem: request_fault(code, text, ours=problem is not Problem.NOT_ENABLED)
        for problem, (code, text) in EWS_CODES.items()
    },
}
"""The fault for each problem. Where MS-OXWUMS has no code, it is one of EWS."""


def write_answer(
    operation: Operation, response: OperationResponse, envelope: str, messages: str
) -> bytes:
    """
    Return the envelope of a successful response.

    Args:
        envelope: the envelope's namespace, as the client spelled it.
        messages: the messages namespace, in the client's spelling.
    """
    if not operation.answer:
        return _write_empty(operation.name, envelope, messages)
    inside = write_parts(operation.answer, response, messages)
    name = f"{operation.name}Response"
    return write_envelope(envelope, f'<{name} xmlns="{messages}">{inside}</{name}>')


@cache
def _write_empty(operation: str, envelope: str, messages: str) -> bytes:
    """Return an empty response. The cache stays small: each argument has few values."""
    return write_envelope(envelope, f'<{operation}Response xmlns="{messages}"/>')


UNDERSTOOD: Final[frozenset[str]] = frozenset()
"""The header blocks that this family understands: none."""
