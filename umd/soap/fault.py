"""Writes SOAP faults as Exchange does: for call control (MS-OXWUMS) and for EWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from umd.soap.envelope import SOAP11, SOAP12
from umd.soap.namespaces import ERRORS, MESSAGES, TYPES
from umd.soap.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One fault. The SOAP version and the spelling of the namespaces are given when it is written.
    """

    code: str
    namespace: str = ""
    """The namespace of the code; empty for a code of SOAP itself."""
    text: str
    detail: str = ""
    """XML of the detail; {messages} is replaced by the messages namespace."""
    ours: bool = False
    """Whether umd is to blame: the code of SOAP 1.2 is Receiver then, otherwise Sender."""
    header: str = ""
    """XML of a header block that is sent with it in SOAP 1.2."""

    @property
    def blames_sender(self) -> bool:
        """Return whether its SOAP 1.2 code is Sender."""
        return bool(self.namespace) and not self.ours

    def write(self, envelope: str = SOAP11, messages: str | None = None) -> bytes:
        """
        Return the whole envelope.

        Args:
            envelope: the namespace of the envelope, as the request spelled it.
            messages: the messages namespace, as the request spelled it; None if it is not known.
        """
        detail = self.detail.replace("{messages}", messages or MESSAGES)
        header, body = self._soap12(detail) if envelope == SOAP12 else ("", self._soap11(detail))
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            f'<s:Envelope xmlns:s="{envelope}">{header}<s:Body><s:Fault>{body}</s:Fault></s:Body>'
            "</s:Envelope>"
        ).encode()

    def _soap11(self, detail: str) -> str:
        code = f"<faultcode>s:{self.code}</faultcode>"
        if self.namespace:
            code = f'<faultcode xmlns:a="{self.namespace}">a:{self.code}</faultcode>'
        text = f'<faultstring xml:lang="en-US">{escape(self.text)}</faultstring>'
        # A fault that is not about the Body has no detail (SOAP 1.1 section 4.4).
        return code + text + (f"<detail>{detail}</detail>" if detail else "")

    def _soap12(self, detail: str) -> tuple[str, str]:
        code = f"<s:Value>s:{self.code}</s:Value>"
        if self.namespace:
            blamed = "Receiver" if self.ours else "Sender"
            code = (
                f"<s:Value>s:{blamed}</s:Value><s:Subcode>"
                f'<s:Value xmlns:a="{self.namespace}">a:{self.code}</s:Value></s:Subcode>'
            )
        text = f'<s:Text xml:lang="en-US">{escape(self.text)}</s:Text>'
        body = f"<s:Code>{code}</s:Code><s:Reason>{text}</s:Reason>"
        if detail:
            body += f"<s:Detail>{detail}</s:Detail>"
        return (f"<s:Header>{self.header}</s:Header>" if self.header else ""), body


def call_control_fault(code: str, text: str) -> Fault:
    """Return a fault of call control: the detail has the code again as ExceptionType."""
    detail = f'<m:ExceptionType xmlns:m="{{messages}}">{code}</m:ExceptionType>'
    return Fault(code=code, namespace=ERRORS, text=text, detail=detail)


def request_fault(code: str, text: str, *, ours: bool = False, violation: str = "") -> Fault:
    """
    Return a fault of EWS: the detail has ResponseCode and Message.

    Args:
        ours: whether umd is to blame.
        violation: XML that follows them.
    """
    detail = (
        f'<e:ResponseCode xmlns:e="{ERRORS}">{code}</e:ResponseCode>'
        f'<e:Message xmlns:e="{ERRORS}">{escape(text)}</e:Message>{violation}'
    )
    return Fault(code=code, namespace=TYPES, text=text, detail=detail, ours=ours)


def schema_fault(why: str, line: int, position: int) -> Fault:
    """
    Return the fault of EWS for a request that breaks the schema, with the place in the request.
    """
    violation = (
        f'<t:MessageXml xmlns:t="{TYPES}"><t:LineNumber>{line}</t:LineNumber>'
        f"<t:LinePosition>{position}</t:LinePosition>"
        f"<t:Violation>{escape(why)}</t:Violation></t:MessageXml>"
    )
    fault = request_fault(
        "ErrorSchemaValidation", "The request failed schema validation.", violation=violation
    )
    return Fault(
        code=fault.code,
        namespace=fault.namespace,
        text=f"The request failed schema validation: {why}",
        detail=fault.detail,
    )


def must_understand_fault(block: tuple[str, str]) -> Fault:
    """
    Return the fault for a mandatory header block that umd does not understand.

    Args:
        block: the expanded name of that block. The fault of SOAP 1.2 names it in a header block
            `NotUnderstood` of its own (part 1, section 5.4.8).
    """
    namespace, name = block
    header = f"<s:NotUnderstood qname={quoteattr('n:' + name)} xmlns:n={quoteattr(namespace)}/>"
    return Fault(
        code="MustUnderstand",
        text="A header block that must be understood is not.",
        header=header if namespace else "",
    )


INVALID_REQUEST: Final = request_fault("ErrorInvalidRequest", "The request is invalid.")
INVALID_VERSION: Final = request_fault(
    "ErrorInvalidServerVersion", "The specified server version is invalid."
)
IMPERSONATION_DENIED: Final = request_fault(
    "ErrorImpersonateUserDenied",
    "The account does not have permission to impersonate the requested user.",
)
INTERNAL_ERROR: Final = request_fault(
    "ErrorInternalServerError",
    "An internal server error occurred. The operation failed.",
    ours=True,
)
VERSION_MISMATCH: Final = Fault(
    code="VersionMismatch", text="The envelope is not one of SOAP 1.1 or SOAP 1.2."
)
EWS_CODES: Final[Mapping[Problem, tuple[str, str]]] = {
    Problem.NOT_ENABLED: (
        "ErrorUserNotUnifiedMessagingEnabled",
        "The user isn't enabled for unified messaging.",
    ),
    Problem.JOURNAL_UNAVAILABLE: (
        "ErrorServerBusy",
        "What was asked for cannot be put on record. Ask again.",
    ),
    Problem.BUSY: ("ErrorServerBusy", "The server is stopping. Ask again."),
    Problem.SETTINGS_UNAVAILABLE: (
        "ErrorMailboxStoreUnavailable",
        "The settings of users cannot be read or written at the moment. Ask again.",
    ),
    Problem.PIN_NOT_SENT: (
        "ErrorUnifiedMessagingRequestFailed",
        "The new PIN could not be sent. The old one remains.",
    ),
}
"""The code and the text of EWS for problems that both families describe in the same words."""
