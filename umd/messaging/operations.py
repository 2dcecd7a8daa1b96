"""Carries out a request of the SOAP door by the use case that it names."""

from __future__ import annotations

from typing import Final

from umd.call.call import Call, CallState
from umd.call.cause import EventCause
from umd.call.leg import Proof
from umd.messaging.use_cases import Requester, UseCases
from umd.soap.document import InvalidRequest
from umd.soap.requests import (
    CallInfo,
    Disconnect,
    Disconnected,
    Done,
    GetCallInfo,
    GetServiceConfiguration,
    GetUMProperties,
    IsUMEnabled,
    OperationRequest,
    OperationResponse,
    PlacedCall,
    PlayOnPhone,
    PlayOnPhoneGreeting,
    ResetPIN,
    ServiceConfiguration,
    SetMissedCallNotificationEnabled,
    SetOofStatus,
    SetPlayOnPhoneDialString,
    SetTelephoneAccessFolderEmail,
    UMEnabled,
    UMProperties,
)

_PUBLISHED_CAUSES: Final = (EventCause.NONE, EventCause.USER_BUSY)
"""The causes that Exchange UM itself returned; clients may not know the others."""


async def carry_out(
    use_cases: UseCases, requester: Requester, request: OperationRequest
) -> OperationResponse:
    """
    Carry out one request.

    Raises:
        UmdError: an error of the use case, or InvalidRequest; `umd.messaging.service.PROBLEMS` maps
            each to its fault.
    """
    match request:
        case Disconnect():
            call = use_cases.find(requester, request.call_id)
            outcome = await use_cases.disconnect(requester, call)
            # Not `.value`: in Python 3.11 reading it makes two calls of Python functions.
            return Disconnected(str(outcome), str(call.shown_by or Proof.NONE))
        case GetCallInfo():
            call = use_cases.get_call(requester, request.call_id)
            return _call_info(call, extended=use_cases.settings.extended)
        case PlayOnPhone():
            call = await use_cases.play_message(requester, request.entry_id, request.dial_string)
            return PlacedCall(call.id)
        case PlayOnPhoneGreeting():
            call = await use_cases.play_greeting(requester, request.greeting, request.dial_string)
            return PlacedCall(call.id)
        case IsUMEnabled():
            return UMEnabled(use_cases.is_enabled(requester))
        case GetUMProperties():
            return await _properties(use_cases, requester)
        case GetServiceConfiguration():
            return await _service_configuration(use_cases, requester, request.names)
        case SetOofStatus():
            await use_cases.set_oof_status(requester, request.status)
        case SetMissedCallNotificationEnabled():
            await use_cases.set_missed_call_notification(requester, request.status)
        case SetPlayOnPhoneDialString():
            await use_cases.set_dial_string(requester, request.dial_string)
        case SetTelephoneAccessFolderEmail():
            await use_cases.set_access_folder(requester, request.folder_id)
        case ResetPIN():
            await use_cases.reset_pin(requester)
    return Done()


def _call_info(call: Call, *, extended: bool) -> CallInfo:
    return CallInfo(_state_word(call, extended), _cause_word(call, extended))


def _state_word(call: Call, extended: bool) -> str:
    """
    Return the word for a call's state, which both families share.

    Exchange UM never returned `Alerted` for a call that it placed, so only the extended profile
    does.
    """
    if call.ended:
        return "Disconnected"
    if call.state is CallState.CONNECTED or call.connected_at:
        return "Connected"
    if call.state is CallState.ALERTING and extended:
        return "Alerted"
    return "Connecting"


def _cause_word(call: Call, extended: bool) -> str:
    if not call.ended or call.cause is None:
        return EventCause.NONE
    cause = call.cause.event_cause
    return cause if extended or cause in _PUBLISHED_CAUSES else EventCause.NONE


async def _properties(use_cases: UseCases, requester: Requester) -> UMProperties:
    user = await use_cases.get_settings(requester)
    return UMProperties(
        oof_status=user.oof_status,
        missed_call_notification=user.missed_call_notification,
        dial_string=user.dial_string or None,
        access_numbers=use_cases.settings.access_numbers or None,
        access_folder=user.access_folder or None,
    )


async def _service_configuration(
    use_cases: UseCases, requester: Requester, names: tuple[str, ...]
) -> ServiceConfiguration:
    if "UnifiedMessagingConfiguration" not in names:
        raise InvalidRequest("only UnifiedMessagingConfiguration is available here")
    return ServiceConfiguration(
        enabled=use_cases.is_enabled(requester),
        dial_string=await use_cases.default_dial_string(requester),
    )
