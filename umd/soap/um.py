"""
The UM family: the eleven operations of the Exchange Unified Messaging web service.

Names are irregular in case, and an answer that carries data wraps it in an element of its own name
(reference um-web-service, section 3). Every problem is told by a SOAP fault (section 4).
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

UNKNOWN_CALL: Final = "umd knows no call of this id, has forgotten it, or it is not yours"
NOT_DIALABLE: Final = "the number is no telephone number, or the dial plan refuses it"
NOT_ENABLED: Final = "you are not enabled for unified messaging"
UNAVAILABLE: Final = "what carries the call cannot be reached at the moment"
UNKEPT: Final = "users.store cannot be read or written at the moment"
BUSY: Final = "umd is stopping and places no more calls"

_CALL_ID: Final = Part(name="CallId", key="call_id", about="as PlayOnPhone answered it")
_DIAL_STRING: Final = Part(
    name="DialString", key="dial_string", about="whom to call, empty for your own default"
)
_STATUS: Final = Part(name="status", key="status", type=BOOLEAN)
_NEW_CALL: Final = {
    Problem.NOT_DIALABLE: NOT_DIALABLE,
    Problem.NOT_ENABLED: NOT_ENABLED,
    Problem.SETTINGS_UNAVAILABLE: UNKEPT + ", and the DialString is empty",
    Problem.BACKEND_UNAVAILABLE: UNAVAILABLE,
    Problem.BUSY: BUSY,
}
_SETTINGS: Final = {
    Problem.NOT_ENABLED: NOT_ENABLED,
    Problem.SETTINGS_UNAVAILABLE: UNKEPT,
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
    One operation of this family.

    Args:
        answer: what the doubled element holds; its name and home are given here.
    """
    wrapped = () if answer is None else (answer,)
    return Operation(
        name=name,
        family=Family.UM,
        request_type=request_type,
        response_type=response_type,
        summary=summary,
        request=request,
        answer=wrapped,
        problems=problems,
    )


OPERATIONS: Final[Mapping[str, Operation]] = {
    operation.name: operation
    for operation in (
        _operation(
            "Disconnect",
            requests.Disconnect,
            requests.Disconnected,
            "Ends the call in whatever state it is; answers once it is down, or after "
            "call.deadline.",
            # Absent is named as a case of the wrong id (section 3.2).
            (Part(name="CallId", key="call_id", absent="", about=_CALL_ID.about),),
            problems={
                Problem.UNKNOWN_CALL: UNKNOWN_CALL + "; or there is no CallId",
                Problem.BACKEND_UNAVAILABLE: UNAVAILABLE + "; it is ended when it can be",
            },
        ),
        _operation(
            "GetCallInfo",
            requests.GetCallInfo,
            requests.CallInfo,
            "Tells the state of a call, and why it ended.",
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
            "Calls a number by the dial plan, and plays the message of an entry id once answered.",
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
            "Calls a number by the dial plan; plays your greeting there and records it anew.",
            (
                Part(name="GreetingType", key="greeting", type=GREETING_TYPE),
                _DIAL_STRING,
            ),
            answer=Part(name="PlayOnPhoneGreetingResponse", key="call_id"),
            problems={
                Problem.INVALID_OBJECT: "the greeting that you have cannot be played",
                **_NEW_CALL,
            },
        ),
        _operation(
            "IsUMEnabled",
            requests.IsUMEnabled,
            requests.UMEnabled,
            "Tells whether you are enabled for unified messaging: users.enabled.",
            answer=Part(name="IsUMEnabledResponse", key="enabled", type=BOOLEAN),
            problems={},
        ),
        _operation(
            "GetUMProperties",
            requests.GetUMProperties,
            requests.UMProperties,
            "Tells your settings.",
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
            "Makes you a new PIN under the policy and sends it to you; the answer never holds it.",
            problems={
                **_SETTINGS,
                Problem.PIN_NOT_SENT: "no pin.delivery is configured, or it failed; "
                "the old PIN remains",
            },
        ),
        _operation(
            "SetOofStatus",
            requests.SetOofStatus,
            requests.Done,
            "Says whether your out-of-office greeting is played.",
            (_STATUS,),
            problems=_SETTINGS,
        ),
        _operation(
            "SetMissedCallNotificationEnabled",
            requests.SetMissedCallNotificationEnabled,
            requests.Done,
            "Says whether you are told of missed calls.",
            (_STATUS,),
            problems=_SETTINGS,
        ),
        _operation(
            "SetPlayOnPhoneDialString",
            requests.SetPlayOnPhoneDialString,
            requests.Done,
            "Sets the number that an empty DialString stands for.",
            (Part(name="dialString", key="dial_string", about="empty for none any more"),),
            problems={**_SETTINGS, Problem.NOT_DIALABLE: NOT_DIALABLE},
        ),
        _operation(
            "SetTelephoneAccessFolderEmail",
            requests.SetTelephoneAccessFolderEmail,
            requests.Done,
            "Sets the folder of mail that is read to you on the telephone.",
            (
                Part(
                    name="base64FolderID",
                    key="folder_id",
                    # The element page has it so, the request example not (section 3.1).
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
    # The reference has no codes for the rest: these are of EWS, whose clients know them; they come
    # again later on ErrorServerBusy.
    Problem.BACKEND_UNAVAILABLE: request_fault(
        "ErrorServerBusy",
        "What carries the call cannot be reached at the moment. The call will be ended when it "
        "can; ask again to learn when it is.",
        ours=True,
    ),
    # By way of the EWS endpoint, where the header of EWS is read before a PlayOnPhone of this
    # family.
    Problem.INVALID_VERSION: INVALID_VERSION,
    Problem.IMPERSONATION_DENIED: IMPERSONATION_DENIED,
    **{
        problem: request_fault(code, text, ours=problem is not Problem.NOT_ENABLED)
        for problem, (code, text) in EWS_CODES.items()
    },
}
"""How each problem is told; a code that the reference does not give is one of EWS."""


def write_answer(
    operation: Operation, response: OperationResponse, envelope: str, messages: str
) -> bytes:
    """
    The envelope of a success.

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
    """There are few: each of these has only known values."""
    return write_envelope(envelope, f'<{operation}Response xmlns="{messages}"/>')


UNDERSTOOD: Final[frozenset[str]] = frozenset()
"""This family has no header blocks (section 3)."""
