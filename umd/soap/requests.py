"""
The requests of both families and their responses, as values without any XML.

A field has the name of the key that `umd.soap.operations` gives to the part of the message that
carries it. The classes are not frozen: a frozen dataclass takes longer to make, once a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True)
class Disconnect:
    """End a call (`Disconnect`, `DisconnectPhoneCall`)."""

    call_id: str


@dataclass(slots=True)
class GetCallInfo:
    """Return the state of a call (`GetCallInfo`, `GetPhoneCallInformation`)."""

    call_id: str


@dataclass(slots=True)
class PlayOnPhone:
    """Call a number and play a message."""

    entry_id: str
    """The message, in base64."""
    dial_string: str
    """The number to call; empty for the user's default."""


@dataclass(slots=True)
class PlayOnPhoneGreeting:
    """Call a number, play the user's greeting and record a new one."""

    greeting: str
    """`NormalCustom` or `OofCustom`."""
    dial_string: str
    """The number to call; empty for the user's default."""


@dataclass(slots=True)
class IsUMEnabled:
    """Return whether the user is enabled for unified messaging."""


@dataclass(slots=True)
class GetUMProperties:
    """Return the user's settings."""


@dataclass(slots=True)
class ResetPIN:
    """Make a new PIN and send it to the user."""


@dataclass(slots=True)
class SetOofStatus:
    """Set whether the out-of-office greeting is played."""

    status: bool


@dataclass(slots=True)
class SetMissedCallNotificationEnabled:
    """Set whether the user is notified of missed calls."""

    status: bool


@dataclass(slots=True)
class SetPlayOnPhoneDialString:
    """Set the number that an empty DialString stands for."""

    dial_string: str


@dataclass(slots=True)
class SetTelephoneAccessFolderEmail:
    """Set the mail folder that is read to the user on the telephone."""

    folder_id: str
    """In base64."""


@dataclass(slots=True)
class GetServiceConfiguration:
    """Return the configuration of the services that `names` lists (EWS only)."""

    names: tuple[str, ...]


OperationRequest: TypeAlias = (
    Disconnect
    | GetCallInfo
    | PlayOnPhone
    | PlayOnPhoneGreeting
    | IsUMEnabled
    | GetUMProperties
    | ResetPIN
    | SetOofStatus
    | SetMissedCallNotificationEnabled
    | SetPlayOnPhoneDialString
    | SetTelephoneAccessFolderEmail
    | GetServiceConfiguration
)


@dataclass(slots=True)
class Done:
    """The operation succeeded and has no data to return."""


@dataclass(slots=True)
class Disconnected:
    """The call is down, or umd has given up waiting for the far end."""

    outcome: str
    """The word for the header `X-UMD-Outcome`."""
    proof: str = "none"
    """What shows that the call is down, for the header `X-UMD-Proof`."""


@dataclass(slots=True)
class CallInfo:
    """The state of a call."""

    state: str
    """A value of `UMCallState`."""
    cause: str
    """A value of `UMEventCause`."""


@dataclass(slots=True)
class PlacedCall:
    """A call was placed."""

    call_id: str


@dataclass(slots=True)
class UMEnabled:
    """Whether the user is enabled for unified messaging."""

    enabled: bool


@dataclass(slots=True, kw_only=True)
class UMProperties:
    """The user's settings; None leaves an element out of the response."""

    oof_status: bool
    missed_call_notification: bool
    dial_string: str | None
    access_numbers: tuple[str, ...] | None
    access_folder: str | None


@dataclass(slots=True, kw_only=True)
class ServiceConfiguration:
    """The configuration of unified messaging, as EWS clients read it."""

    enabled: bool
    dial_string: str
    response_class: str = "Success"
    response_code: str = "NoError"


OperationResponse: TypeAlias = (
    Done | Disconnected | CallInfo | PlacedCall | UMEnabled | UMProperties | ServiceConfiguration
)
