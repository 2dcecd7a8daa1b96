"""The SOAP door: path to operation to use case, and every error to its answer, from one table."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Final, TypeAlias
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError, succeed

from umd.backend import BackendUnavailable
from umd.call.principal import LONGEST_NAME, Principal, is_name
from umd.control.control import (
    Forbidden,
    JournalUnavailable,
    MayNotPlace,
    NoSuchBackend,
    NoSuchCall,
    Stopping,
)
from umd.http.exchange import REQUEST_ID, TEXT_HTML, TEXT_XML, Reply, Request, refusal
from umd.messaging.pin import PinNotSent
from umd.messaging.prompts import NoSuchPrompt
from umd.messaging.use_cases import Asker, InvalidFolder, MayNotSet, NotEnabled, UseCases
from umd.messaging.users import UsersUnusable
from umd.runtime.log import quick_info
from umd.sip.number import NotDialable
from umd.soap import autodiscover, autodiscover_json, autodiscover_svc, ews, pages, um, wsdl
from umd.soap.contract import CONTRACTS, ENDPOINTS, Contract, SoapRequest, read_request
from umd.soap.document import InvalidRequest
from umd.soap.encoding import is_known
from umd.soap.envelope import SOAP11, SOAP12, MustUnderstand, VersionMismatch
from umd.soap.ews import Impersonation, InvalidVersion
from umd.soap.fault import VERSION_MISMATCH, Fault, must_understand_fault
from umd.soap.operations import Family, Values
from umd.soap.problem import Problem

OUTCOME: Final = "X-UMD-Outcome"
REASON: Final = "X-UMD-Reason"
"""What is wrong with a request: the fault may only say that something is."""
OK: Final = "ok"
"""The outcome of an operation whose success has only one kind."""
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
    (BackendUnavailable, Problem.BACKEND_UNAVAILABLE),
    (JournalUnavailable, Problem.JOURNAL_UNAVAILABLE),
    (Stopping, Problem.BUSY),
    (NoSuchBackend, Problem.INTERNAL),
)
"""The first that fits an error is how it is answered; anything else is an internal error."""

SAYS_WHY: Final = (InvalidRequest, NotDialable)
"""Errors of which the client is told more than their fault can: what is wrong with the request."""
FORBIDDEN: Final = "forbidden"
NOT_ALLOWED: Final = (Forbidden, Impersonation, MayNotPlace, MayNotSet)
"""Errors that are told to the log as `FORBIDDEN`."""

_NOT_SOAP: Final = (
    "Send SOAP 1.1 as Content-Type: text/xml; charset=utf-8, or SOAP 1.2 as application/soap+xml"
)
_NOT_HERE: Final = refusal(404, "Not here. The service is at /EWS/UM2007Legacy.asmx")
_UseCase: TypeAlias = Callable[..., Awaitable[Values]]


class SoapService:
    """
    Serves both families of operations, their descriptions and Autodiscover over any HTTP front.

    Args:
        use_cases: what the operations do.
        log: one line a request.
        seconds: a monotonic clock, for how long a request took.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        use_cases: UseCases,
        log: FilteringBoundLogger,
        seconds: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._use_cases: dict[str, _UseCase] = {
            operation.use_case: getattr(use_cases, operation.use_case)
            for contract in CONTRACTS
            for operation in contract.operations.values()
        }
        self._log = log
        self._info = quick_info(log)
        self._seconds = seconds
        self._wall = wall
        self.soap12_sender_status = 400
        """Of HTTP, for the faults of SOAP 1.2 that blame the client; may be set while serving."""
        # Unique across restarts, and short enough to be read out.
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
        """Answer Autodiscover in the form that the path asks for."""
        base, charset = _base(request), _charset(request.headers.get("content-type", ""))
        if autodiscover_json.is_path(path):
            if request.method != "GET":
                return refusal(405, "This form of Autodiscover is asked by GET.", Allow="GET, HEAD")
            status, octets = autodiscover_json.answer(request.path, request.query, base)
            return Reply(status, octets, autodiscover_json.JSON)
        if path not in (autodiscover.PATH, autodiscover_svc.PATH):
            return _NOT_HERE
        if request.method != "POST":
            # By the header .NET's client sees, on asking for either path, that there is the other.
            said = {"Allow": "POST", "X-SOAP-Enabled": "True"}
            return replace(refusal(405, "Autodiscover requests are sent by POST."), headers=said)
        if path == autodiscover.PATH:
            octets = autodiscover.answer(request.body, base, self._wall(), charset)
            return Reply(200, octets, TEXT_XML)
        try:
            envelope, octets = autodiscover_svc.answer(request.body, base, charset)
        except InvalidRequest as error:
            envelope = error.envelope or SOAP11
            sender_status = self.soap12_sender_status if envelope == SOAP12 else 500
            problem = Problem.INVALID_REQUEST
            status, octets = _tell(Family.EWS, None, problem, error, envelope, sender_status)
            reason = {REASON: _printable(str(error)), OUTCOME: problem.value}
            return Reply(status, octets, _type_of(envelope), reason)
        return Reply(200, octets, _type_of(envelope))

    async def _answer(self, contract: Contract, request: Request, charset: str) -> Reply:
        began = self._seconds()
        request_id = next(self._request_ids)
        principal = request.principal
        asked: SoapRequest | None = None
        try:
            asked = read_request(contract, request.body, charset)
            if asked.impersonated is not None:
                principal = _in_whose_name(asked.impersonated, principal)
            asker = Asker(principal, request_id)
            values = await self._use_cases[asked.operation.use_case](asker, **asked.values)
            octets = _write(asked, values)
        except CancelledError:
            told = _told(request_id, request, principal, asked)
            took_ms = self._ms_since(began)
            self._log.info("soap.client-gone", **told, outcome="client-gone", took_ms=took_ms)
            raise
        except Exception as error:
            told = _told(request_id, request, principal, asked)
            return self._refuse(contract, request, asked, error, told, began)
        word = values.get("outcome", OK)
        if self._info is not None:
            told = _told(request_id, request, principal, asked, values)
            told["outcome"], told["status"] = word, 200
            told["took_ms"] = self._ms_since(began)
            self._info("soap.answered", told)
        content_type = _type_of(asked.envelope)
        return Reply(200, octets, content_type, {REQUEST_ID: request_id, OUTCOME: str(word)})

    def _refuse(
        self,
        contract: Contract,
        request: Request,
        asked: SoapRequest | None,
        error: Exception,
        told: dict[str, object],
        began: float,
    ) -> Reply:
        """Log why a request cannot be done, and say so in the ways of its family."""
        problem = _problem_of(error)
        headers = {REQUEST_ID: str(told["request_id"])}
        if asked is not None:
            envelope = asked.envelope
        else:
            envelope = SOAP12 if _says_soap12(request.headers["content-type"]) else SOAP11
        if problem is Problem.INTERNAL:
            self._log.error("soap.failed", exc_info=error, **told)
        else:
            told["why"] = str(error)[:200]
        if isinstance(error, InvalidRequest):
            envelope = error.envelope or envelope
        if isinstance(error, SAYS_WHY):
            headers[REASON] = _printable(str(error))
        sender_status = self.soap12_sender_status if envelope == SOAP12 else 500
        status, octets = _tell(contract.family, asked, problem, error, envelope, sender_status)
        # The client is told no more than that there is none; the log is told why.
        outcome = FORBIDDEN if isinstance(error, NOT_ALLOWED) else problem.value
        took_ms = self._ms_since(began)
        self._log.info("soap.answered", **told, outcome=outcome, status=status, took_ms=took_ms)
        headers[OUTCOME] = problem.value
        return Reply(status, octets, _type_of(envelope), headers)

    def _ms_since(self, began: float) -> float:
        return round((self._seconds() - began) * 1000, 3)


# -- one request


def _told(
    request_id: str,
    request: Request,
    principal: Principal,
    asked: SoapRequest | None,
    answered: Values | None = None,
) -> dict[str, object]:
    """What the line of a request tells, as far as it is known."""
    told: dict[str, object] = {
        "request_id": request_id,
        "principal": principal.name,
        "address": principal.address,
    }
    if asked is not None:
        told["operation"] = asked.operation.name
        call_id = (answered and answered.get("call_id")) or asked.values.get("call_id")
        if isinstance(call_id, str):
            told["call"] = call_id[:200]
        if principal is not request.principal:
            told["impersonated_by"] = request.principal.name
    return told


def _in_whose_name(name: str, principal: Principal) -> Principal:
    """
    Who is asking: where nobody is asked who they are, whoever ExchangeImpersonation names.

    Raises:
        Impersonation: somebody who said who they are asks in the name of somebody else, or the name
            is none.
    """
    if name == principal.name:
        return principal
    if is_name(name) and not principal.identified:
        return replace(principal, name=name)
    raise Impersonation(f"{principal.name} may not ask in the name of {name[:LONGEST_NAME]!r}")


def _write(asked: SoapRequest, values: Values) -> bytes:
    if asked.operation.family is Family.UM:
        return um.write_answer(asked.operation, values, asked.envelope, asked.messages)
    return ews.write_answer(asked.operation, values, asked.envelope, asked.messages)


# -- what goes wrong


def _problem_of(error: Exception) -> Problem:
    for kind, problem in PROBLEMS:
        if isinstance(error, kind):
            return problem
    return Problem.INTERNAL


def _tell(
    family: Family,
    asked: SoapRequest | None,
    problem: Problem,
    error: Exception,
    envelope: str,
    sender_status: int,
) -> tuple[int, bytes]:
    """The status and the envelope for a problem, in the ways of the family that was asked."""
    if asked is not None:
        family = asked.operation.family
    messages = asked.messages if asked is not None else getattr(error, "messages", None)
    fault = _fault_of(family, problem, error)
    if fault is not None:
        # SOAP 1.2 part 2, table 20. SOAP 1.1 knows 500 alone, and its clients read no other.
        return sender_status if fault.blames_sender else 500, fault.write(envelope, messages)
    assert asked is not None and messages is not None
    return 200, ews.write_problem(asked.operation, problem, envelope, messages)


def _fault_of(family: Family, problem: Problem, error: Exception) -> Fault | None:
    """None: it is told by an answer that says so."""
    if isinstance(error, VersionMismatch):
        return VERSION_MISMATCH
    if isinstance(error, MustUnderstand):
        return must_understand_fault(error.block)
    if family is Family.UM:
        return um.FAULTS[problem]
    return ews.fault_of(problem, error if isinstance(error, InvalidRequest) else None)


def _printable(text: str) -> str:
    """A text that may hold a client's own words as a header's value: ASCII, escaped, not long."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[:200])


# -- what is read by GET


def _describe(contract: Contract, request: Request) -> Reply:
    """The WSDL, a schema, or the page for people."""
    address = _base(request) + request.path
    query = request.query.lower()
    if query in ("wsdl", "singlewsdl", "wsdl=soap12"):
        octets = wsdl.write_wsdl(contract, address, soap12=query.endswith("soap12"))
        return Reply(200, octets, TEXT_XML)
    if query.startswith("xsd="):
        schema = wsdl.write_schema(contract, query[len("xsd=") :], address)
        if schema is None:
            return refusal(404, "There is no such schema here; there is: ?xsd=messages")
        return Reply(200, schema, TEXT_XML)
    return Reply(200, pages.endpoint(contract, address), TEXT_HTML)


def _base(request: Request) -> str:
    """The address by which the client reached umd."""
    return f"{request.scheme}://{request.host}"


def _type_of(envelope: str) -> str:
    """The Content-Type of an envelope."""
    return SOAP_XML if envelope == SOAP12 else TEXT_XML


def _says_soap12(content_type: str) -> bool:
    """Whether the label is that of SOAP 1.2 (RFC 3902); an envelope that can be read tells more."""
    return content_type[:20].lower() == "application/soap+xml"


def _not_soap(content_type: str) -> Reply:
    refused = refusal(415, _NOT_SOAP)
    why = f"the Content-Type is {content_type!r}" if content_type else "there is no Content-Type"
    return replace(refused, headers={REASON: _printable(why)})


def _is_xml(content_type: str) -> bool:
    """Whether the label is one of SOAP."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("text/xml", "application/soap+xml")


@lru_cache(maxsize=64)
def _charset(content_type: str) -> str:
    """The charset parameter; empty where there is none."""
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return str(value).strip(" \t\"'").lower()
    return ""


_PARAMETER: Final = re.compile(r";[ \t]*([^\s=;\"]+)[ \t]*=[ \t]*(\"(?:[^\"\\]|\\.)*\"|[^;\"]*)")
# RFC 9110 section 5.6.6; blanks around "=" too, which it does not allow.
