"""The SOAP door: path to operation to use case, and every error to its fault, from one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final
from uuid import uuid4

from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import CancelledError

from umd.backend import BackendUnavailable
from umd.call.call_id import CallId
from umd.control import Control, NoSuchCall
from umd.http.exchange import TEXT_XML, Reply, Request, refusal
from umd.principal import Principal
from umd.soap import fault, um
from umd.soap.envelope import InvalidRequest, MustUnderstand, VersionMismatch

OUTCOME: Final = "X-UMD-Outcome"
REQUEST_ID: Final = "X-UMD-Request"
REASON: Final = "X-UMD-Reason"
"""What is wrong with a request: the fault may only say that something is."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How an error looks outside."""

    outcome: str
    fault: fault.Fault


FAULTS: Final[tuple[tuple[type[Exception], _Refusal], ...]] = (
    (VersionMismatch, _Refusal("invalid-request", fault.VERSION_MISMATCH)),
    (MustUnderstand, _Refusal("invalid-request", fault.MUST_UNDERSTAND)),
    (InvalidRequest, _Refusal("invalid-request", fault.INVALID_REQUEST)),
    (NoSuchCall, _Refusal("unknown", fault.INVALID_CALL_ID)),
    (BackendUnavailable, _Refusal("backend-unavailable", fault.BACKEND_UNAVAILABLE)),
)
"""The first that fits an error is how it is answered; anything else is an internal error."""
INTERNAL: Final = _Refusal("internal-error", fault.INTERNAL_ERROR)


class SoapService:
    """
    Serves the UM web service over any HTTP front.

    Args:
        control: the use cases.
        log: one line a request.
        seconds: a monotonic clock, for how long a request took.
    """

    def __init__(
        self,
        control: Control,
        log: FilteringBoundLogger,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._log = log
        self._seconds = seconds
        # Unique across restarts, and short enough to be read out.
        self._request_ids = map(f"r-{uuid4().hex[:6]}-{{}}".format, count(1))

    async def serve(self, request: Request) -> Reply:
        """Answer one request; see `umd.http.exchange.Serve`."""
        if request.path.lower() not in um.PATHS:
            return refusal(404, "Not here. The service is at /EWS/UM2007Legacy.asmx")
        if request.method != "POST":
            return refusal(405, "SOAP requests are sent by POST.", Allow="POST")
        if not _is_xml(request.headers.get("content-type", "")):
            return refusal(415, "Send SOAP 1.1 as Content-Type: text/xml; charset=utf-8")
        return await self._answer(request.principal, request.body)

    async def _answer(self, principal: Principal, body: bytes) -> Reply:
        began = self._seconds()
        request_id = next(self._request_ids)
        log = self._log.bind(
            request_id=request_id, principal=principal.name, address=principal.address
        )
        namespace = None
        headers = {REQUEST_ID: request_id}
        try:
            request = um.read_request(body)
            namespace = request.namespace
            log = log.bind(operation="Disconnect", call=request.call_id[:200])
            outcome = await self._control.disconnect(principal, CallId(request.call_id), request_id)
            status, octets = 200, um.write_disconnect_response(request)
            word = outcome.value
        except CancelledError:
            log.info("soap.client-gone", took_ms=self._ms_since(began))
            raise
        except Exception as error:
            refused = _refusal_of(error)
            if refused is INTERNAL:
                log.exception("soap.failed")
            if isinstance(error, InvalidRequest):
                namespace = error.namespace
                log = log.bind(why=str(error)[:200])
                headers[REASON] = _printable(str(error))
            status, octets = 500, refused.fault.write(namespace)
            word = refused.outcome
        log.info("soap.answered", outcome=word, status=status, took_ms=self._ms_since(began))
        headers[OUTCOME] = word
        return Reply(status, octets, TEXT_XML, headers)

    def _ms_since(self, began: float) -> float:
        return round((self._seconds() - began) * 1000, 3)


def _refusal_of(error: Exception) -> _Refusal:
    for kind, refused in FAULTS:
        if isinstance(error, kind):
            return refused
    return INTERNAL


def _printable(text: str) -> str:
    """A text that may hold a client's own words as a header's value: ASCII, escaped, not long."""
    return "".join(c if " " <= c <= "~" else ascii(c)[1:-1] for c in text[:200])


def _is_xml(content_type: str) -> bool:
    """Whether the label fits what `umd.soap.envelope` reads; it is the octets that are checked."""
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "text/xml":
        return False
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower() in ("utf-8", "us-ascii", "utf-16")
    return True
