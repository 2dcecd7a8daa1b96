"""The SOAP door: path to operation to use case, and every error to its fault, from one table."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Final
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, succeed

from umd.backend import BackendUnavailable, CannotPlace
from umd.call.principal import MAX_NAME_LENGTH, Principal, is_valid_name
from umd.control.errors import (
    Forbidden,
    JournalUnavailable,
    MayNotPlace,
    NoSuchBackend,
    NoSuchCall,
    Stopping,
)
from umd.http.exchange import REQUEST_ID, TEXT_HTML, TEXT_XML, Reply, Request, refusal
from umd.messaging.operations import carry_out
from umd.messaging.pin import PinNotSent
from umd.messaging.prompts import NoSuchPrompt
from umd.messaging.use_cases import InvalidFolder, MayNotSet, NotEnabled, Requester, UseCases
from umd.messaging.users import UsersUnusable
from umd.runtime.log import quick_info
from umd.sip.number import NotDialable
from umd.soap import autodiscover, autodiscover_json, autodiscover_svc, ews, pages, um, wsdl
from umd.soap.contract import ENDPOINTS, Contract, SoapRequest, read_request
from umd.soap.document import InvalidRequest
from umd.soap.encoding import is_known
from umd.soap.envelope import SOAP11, SOAP12, MustUnderstand, VersionMismatch
from umd.soap.ews import Impersonation, InvalidVersion
from umd.soap.fault import VERSION_MISMATCH, Fault, must_understand_fault
from umd.soap.operations import Family
from umd.soap.problem import Problem
from umd.soap.requests import (
    Disconnect,
    Disconnected,
    GetCallInfo,
    OperationResponse,
    PlacedCall,
)

OUTCOME_HEADER: Final = "X-UMD-Outcome"
PROOF_HEADER: Final = "X-UMD-Proof"
"""What shows that the call is down: a value of `umd.call.leg.Proof`."""
REASON_HEADER: Final = "X-UMD-Reason"
"""Why a request is invalid: some faults of the published contract only say that it is."""
OK: Final = "ok"
"""The outcome of every operation that has only one kind of success."""
MAX_LOGGED_CALL_ID: Final = 200
"""Characters."""
MAX_REASON: Final = 200
"""Characters of an error's text that a header or a log line holds."""
SOAP_XML: Final = "application/soap+xml; charset=utf-8"

PROBLEMS: Final[tuple[tuple[type[Exception], Problem], ...]] = (
    (InvalidVersion, Problem.INVALID_VERSION),
    (Impersonation, Problem.IMPERSONATION_DENIED),
    (InvalidRequest, Problem.INVALID_REQUEST),
    (NoSuchCall, Problem.UNKNOWN_CALL),
    (NoSuchPrompt, Problem.INVALID_OBJECT),
    (InvalidFolder, Problem.INVALID_OBJECT),
    (NotDialable, Problem.NOT_DIALABLE),
    (NotEnabled, Problem.NOT_ENABLED),
    (MayNotPlace, Problem.NOT_ENABLED),
    (PinNotSent, Problem.PIN_NOT_SENT),
    (UsersUnusable, Problem.SETTINGS_UNAVAILABLE),
    (CannotPlace, Problem.NOT_DIALABLE),
    (BackendUnavailable, Problem.BACKEND_UNAVAILABLE),
    (JournalUnavailable, Problem.JOURNAL_UNAVAILABLE),
    (Stopping, Problem.BUSY),
    (NoSuchBackend, Problem.INTERNAL),
)
"""The first row whose class fits decides the answer; any other error is an internal one."""

EXPLAINED_ERRORS: Final = (InvalidRequest, NotDialable)
"""Errors whose text goes to the client in `REASON_HEADER`: they say how to correct the request."""
FORBIDDEN: Final = "forbidden"
FORBIDDEN_ERRORS: Final = (Forbidden, Impersonation, MayNotPlace, MayNotSet)
"""Errors that the log names `FORBIDDEN`; the client must not learn that the call exists."""

_NOT_SOAP: Final = (
    "Send SOAP 1.1 as Content-Type: text/xml; charset=utf-8, or SOAP 1.2 as application/soap+xml"
)
_NOT_HERE: Final = refusal(404, "Not here. The service is at /EWS/UM2007Legacy.asmx")


class SoapService:
    """
    Serves both families of operations, their WSDL and Autodiscover.

    Args:
        use_cases: carry out the operations.
        log: gets one line for each request.
        seconds: a monotonic clock, in seconds.
        wall: returns seconds since the epoch.
    """

    def __init__(
        self,
        use_cases: UseCases,
        log: FilteringBoundLogger,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._use_cases = use_cases
        self._log = log
        self._info = quick_info(log)
        self._seconds = seconds
        self._wall = wall
        self.soap12_sender_status = 400
        """HTTP status of SOAP 1.2 faults that blame the client; a reload replaces it."""
        # Unique across restarts, and short enough to read aloud.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))

    def serve(self, request: Request) -> Awaitable[Reply]:
        """Answer one request; see `umd.http.exchange.Serve`."""
        path = request.path.lower()
        contract = ENDPOINTS.get(path)
        if contract is None:
            return succeed(self._serve_elsewhere(path, request))
        if request.method != "POST":
            return succeed(_describe(contract, request))
        content_type = request.headers.get("content-type", "")
        charset = _charset(content_type)
        if not _is_xml(content_type) or charset and not is_known(charset):
            return succeed(_not_soap(content_type))
        return self._answer(contract, request, charset)

    def _serve_elsewhere(self, path: str, request: Request) -> Reply:
        if path.startswith("/autodiscover/"):
            return self._discover(path, request)
        document = wsdl.FILES.get(path)
        if document is not None and request.method == "GET":
            return Reply(200, document(_base(request)), TEXT_XML)
        if path == "/" and request.method == "GET":
            return Reply(200, pages.index(_base(request)), TEXT_HTML)
        return _NOT_HERE

    def _discover(self, path: str, request: Request) -> Reply:
        """Answer Autodiscover in the form (POX, SOAP or JSON) that the path names."""
        base, charset = _base(request), _charset(request.headers.get("content-type", ""))
        if autodiscover_json.is_path(path):
            if request.method != "GET":
                return refusal(405, "This form of Autodiscover is asked by GET.", Allow="GET, HEAD")
            status, octets = autodiscover_json.answer(request.path, request.query, base)
            return Reply(status, octets, autodiscover_json.JSON)
        if path not in (autodiscover.PATH, autodiscover_svc.PATH):
            return _NOT_HERE
        if request.method != "POST":
            # From this header .NET's client learns that the SOAP form exists beside POX.
            headers = {"Allow": "POST", "X-SOAP-Enabled": "True"}
            return replace(refusal(405, "Send Autodiscover requests by POST."), headers=headers)
        if path == autodiscover.PATH:
            octets = autodiscover.answer(request.body, base, self._wall(), charset)
            return Reply(200, octets, TEXT_XML)
        try:
            envelope, octets = autodiscover_svc.answer(request.body, base, charset)
        except InvalidRequest as error:
            envelope = error.envelope or SOAP11
            sender_status = self.soap12_sender_status if envelope == SOAP12 else 500
            problem = Problem.INVALID_REQUEST
            status, octets = _encode_problem(
                Family.EWS, None, problem, error, envelope, sender_status
            )
            headers = {REASON_HEADER: _printable(str(error)), OUTCOME_HEADER: problem.value}
            return Reply(status, octets, _content_type(envelope), headers)
        return Reply(200, octets, _content_type(envelope))

    async def _answer(self, contract: Contract, request: Request, charset: str) -> Reply:
        began = self._seconds()
        request_id = next(self._request_ids)
        principal = request.principal
        soap_request: SoapRequest | None = None
        try:
            soap_request = read_request(contract, request.body, charset)
            if soap_request.impersonated is not None:
                principal = _effective_principal(soap_request.impersonated, principal)
            requester = Requester(principal, request_id)
            response = await carry_out(self._use_cases, requester, soap_request.arguments)
            octets = _encode_response(soap_request, response)
        except CancelledError:
            fields = _log_fields(request_id, request, principal, soap_request)
            took_ms = self._ms_since(began)
            self._log.info("soap.client-gone", **fields, outcome="client-gone", took_ms=took_ms)
            raise
        except Exception as error:
            fields = _log_fields(request_id, request, principal, soap_request)
            return self._refuse(contract, request, soap_request, error, fields, began)
        headers = {REQUEST_ID: request_id}
        if isinstance(response, Disconnected):
            outcome = response.outcome
            headers[PROOF_HEADER] = response.proof
        else:
            outcome = OK
        headers[OUTCOME_HEADER] = outcome
        if self._info is not None:
            fields = _log_fields(request_id, request, principal, soap_request, response)
            fields["outcome"], fields["status"] = outcome, 200
            fields["took_ms"] = self._ms_since(began)
            self._info("soap.answered", fields)
        return Reply(200, octets, _content_type(soap_request.envelope), headers)

    def _refuse(
        self,
        contract: Contract,
        request: Request,
        soap_request: SoapRequest | None,
        error: Exception,
        fields: dict[str, object],
        began: float,
    ) -> Reply:
        """Log the error and encode it as the client's family does."""
        problem = _problem_of(error)
        headers = {REQUEST_ID: str(fields["request_id"])}
        if soap_request is not None:
            envelope = soap_request.envelope
        else:
            envelope = SOAP12 if _is_soap12(request.headers["content-type"]) else SOAP11
        if problem is Problem.INTERNAL:
            self._log.error("soap.failed", exc_info=error, **fields)
        else:
            fields["why"] = str(error)[:MAX_REASON]
        if isinstance(error, InvalidRequest):
            envelope = error.envelope or envelope
        if isinstance(error, EXPLAINED_ERRORS):
            headers[REASON_HEADER] = _printable(str(error))
        sender_status = self.soap12_sender_status if envelope == SOAP12 else 500
        status, octets = _encode_problem(
            contract.family, soap_request, problem, error, envelope, sender_status
        )
        # The client learns only that there is no such call. The log says that it is not theirs.
        outcome = FORBIDDEN if isinstance(error, FORBIDDEN_ERRORS) else problem.value
        took_ms = self._ms_since(began)
        self._log.info("soap.answered", **fields, outcome=outcome, status=status, took_ms=took_ms)
        headers[OUTCOME_HEADER] = problem.value
        return Reply(status, octets, _content_type(envelope), headers)

    def _ms_since(self, began: float) -> float:
        return round((self._seconds() - began) * 1000, 3)


# -- one request


def _log_fields(
    request_id: str,
    request: Request,
    principal: Principal,
    soap_request: SoapRequest | None,
    response: OperationResponse | None = None,
) -> dict[str, object]:
    """Return the fields of a request's log line, as far as they are known."""
    fields: dict[str, object] = {
        "request_id": request_id,
        "principal": principal.name,
        "address": principal.address,
    }
    if soap_request is not None:
        fields["operation"] = soap_request.operation.name
        arguments = soap_request.arguments
        if isinstance(response, PlacedCall):
            fields["call"] = response.call_id
        elif isinstance(arguments, (Disconnect, GetCallInfo)):
            fields["call"] = arguments.call_id[:MAX_LOGGED_CALL_ID]
        if principal is not request.principal:
            fields["impersonated_by"] = request.principal.name
    return fields


def _effective_principal(name: str, principal: Principal) -> Principal:
    """
    Return the principal whose rights and settings apply to a request with ExchangeImpersonation.

    An anonymous client may name any user, as umd does not know who it is. An authenticated client
    may name itself only.

    Raises:
        Impersonation: an authenticated client names another user, or the name is malformed.
    """
    if name == principal.name:
        return principal
    if is_valid_name(name) and not principal.identified:
        return replace(principal, name=name)
    raise Impersonation(f"{principal.name} may not impersonate {name[:MAX_NAME_LENGTH]!r}")


def _encode_response(soap_request: SoapRequest, response: OperationResponse) -> bytes:
    operation, envelope, messages = (
        soap_request.operation, soap_request.envelope, soap_request.messages
    )  # fmt: skip
    if operation.family is Family.UM:
        return um.write_answer(operation, response, envelope, messages)
    return ews.write_answer(operation, response, envelope, messages)


# -- errors


def _problem_of(error: Exception) -> Problem:
    for kind, problem in PROBLEMS:
        if isinstance(error, kind):
            return problem
    return Problem.INTERNAL


def _encode_problem(
    family: Family,
    soap_request: SoapRequest | None,
    problem: Problem,
    error: Exception,
    envelope: str,
    sender_status: int,
) -> tuple[int, bytes]:
    """Return the HTTP status and the envelope for a problem, as the request's family has them."""
    if soap_request is not None:
        family = soap_request.operation.family
        messages: str | None = soap_request.messages
    else:
        messages = getattr(error, "messages", None)
    fault = _fault_of(family, problem, error)
    if fault is not None:
        # SOAP 1.2 part 2, table 20. SOAP 1.1 knows 500 only, and its clients read no fault in
        # another status.
        return sender_status if fault.blames_sender else 500, fault.write(envelope, messages)
    assert soap_request is not None
    return 200, ews.write_problem(
        soap_request.operation, problem, envelope, soap_request.messages
    )


def _fault_of(family: Family, problem: Problem, error: Exception) -> Fault | None:
    """Return the fault for a problem; None if the family returns a response with an error code."""
    if isinstance(error, VersionMismatch):
        return VERSION_MISMATCH
    if isinstance(error, MustUnderstand):
        return must_understand_fault(error.block)
    if family is Family.UM:
        return um.FAULTS[problem]
    return ews.fault_of(problem, error if isinstance(error, InvalidRequest) else None)


def _printable(text: str) -> str:
    """Return text, which may quote the client, as a header value: short, escaped ASCII."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[:MAX_REASON])


# -- GET


def _describe(contract: Contract, request: Request) -> Reply:
    """Return the WSDL, a schema, or the page that explains the endpoint to a person."""
    address = _base(request) + request.path
    query = request.query.lower()
    if query in ("wsdl", "singlewsdl", "wsdl=soap12"):
        octets = wsdl.write_wsdl(contract, address, soap12=query.endswith("soap12"))
        return Reply(200, octets, TEXT_XML)
    if query.startswith("xsd="):
        schema = wsdl.write_schema(contract, query[len("xsd=") :], address)
        if schema is None:
            return refusal(404, "There is no such schema here. There is ?xsd=messages")
        return Reply(200, schema, TEXT_XML)
    return Reply(200, pages.endpoint(contract, address), TEXT_HTML)


def _base(request: Request) -> str:
    """Return `scheme://host` as the client reached umd."""
    return f"{request.scheme}://{request.host}"


def _content_type(envelope: str) -> str:
    """Return the Content-Type for an envelope's namespace."""
    return SOAP_XML if envelope == SOAP12 else TEXT_XML


def _is_soap12(content_type: str) -> bool:
    """
    Return whether the media type is that of SOAP 1.2 (RFC 3902).

    Only used if the envelope, which says it exactly, cannot be read.
    """
    return content_type[:20].lower() == "application/soap+xml"


def _not_soap(content_type: str) -> Reply:
    reason = f"the Content-Type is {content_type!r}" if content_type else "there is no Content-Type"
    return replace(refusal(415, _NOT_SOAP), headers={REASON_HEADER: _printable(reason)})


def _is_xml(content_type: str) -> bool:
    """Return whether the media type is one of SOAP."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("text/xml", "application/soap+xml")


@lru_cache(maxsize=64)
def _charset(content_type: str) -> str:
    """Return the charset parameter of a Content-Type in lower case; empty if there is none."""
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return str(value).strip(" \t\"'").lower()
    return ""


_PARAMETER: Final = re.compile(r";[ \t]*([^\s=;\"]+)[ \t]*=[ \t]*(\"(?:[^\"\\]|\\.)*\"|[^;\"]*)")
# RFC 9110 section 5.6.6. It allows no blanks around "="; some clients send them.
