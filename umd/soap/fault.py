"""SOAP 1.1 faults of the UM service, in the shapes of the reference (sections 4.1, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from umd.soap.envelope import SOAP11
from umd.soap.um import MESSAGES

ERRORS: Final = "http://schemas.microsoft.com/exchange/services/2006/errors"
TYPES: Final = "http://schemas.microsoft.com/exchange/services/2006/types"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, ready but for the spelling of the messages namespace."""

    code: str
    document: str

    def write(self, namespace: str | None = None) -> bytes:
        """
        The whole envelope.

        Args:
            namespace: the messages namespace as the request spelled it, where that is known.
        """
        return self.document.replace("{messages}", namespace or MESSAGES).encode()


def _fault(code: str, elements: str) -> Fault:
    return Fault(
        code,
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<s:Envelope xmlns:s="{SOAP11}"><s:Body><s:Fault>{elements}</s:Fault></s:Body>'
        "</s:Envelope>",
    )


def _call_control_fault(code: str, text: str) -> Fault:
    """Section 4.1: code in the errors namespace, the same word in the detail's ExceptionType."""
    return _fault(
        code,
        f'<faultcode xmlns:a="{ERRORS}">a:{code}</faultcode>'
        f'<faultstring xml:lang="en-US">{text}</faultstring>'
        f'<detail><m:ExceptionType xmlns:m="{{messages}}">{code}</m:ExceptionType></detail>',
    )


def _request_fault(code: str, text: str) -> Fault:
    """Section 4.2: code in the types namespace, ResponseCode and Message in the detail."""
    return _fault(
        code,
        f'<faultcode xmlns:a="{TYPES}">a:{code}</faultcode>'
        f'<faultstring xml:lang="en-US">{text}</faultstring>'
        f'<detail><e:ResponseCode xmlns:e="{ERRORS}">{code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{ERRORS}">{text}</e:Message></detail>',
    )


def _envelope_fault(code: str, text: str) -> Fault:
    """SOAP 1.1 section 4.4: no detail, as it was not the Body that was wrong."""
    return _fault(
        code,
        f'<faultcode>s:{code}</faultcode><faultstring xml:lang="en-US">{text}</faultstring>',
    )


INVALID_CALL_ID: Final = _call_control_fault(
    "InvalidCallIdException", "The call identifier isn't valid."
)
INVALID_REQUEST: Final = _request_fault("ErrorInvalidRequest", "The request is invalid.")
# The last two have no code in the reference: these are of EWS, whose clients know them; they come
# again later on the first of them.
BACKEND_UNAVAILABLE: Final = _request_fault(
    "ErrorServerBusy",
    "What carries the call cannot be reached at the moment. The call will be ended when it can; "
    "ask again to learn when it is.",
)
INTERNAL_ERROR: Final = _request_fault(
    "ErrorInternalServerError", "An internal server error occurred. The operation failed."
)
VERSION_MISMATCH: Final = _envelope_fault("VersionMismatch", "The envelope is not one of SOAP 1.1.")
MUST_UNDERSTAND: Final = _envelope_fault(
    "MustUnderstand", "A header block that must be understood is not."
)
