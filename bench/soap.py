"""
Measures the SOAP service alone: Disconnects per second on one core, without HTTP and SIP.

    python -m bench.soap [--calls 20000] [--rounds 5]

For each request, umd parses the body, finds the call, hangs up its leg on a backend that confirms
at once, records the events without logging them, and writes the reply. The bench prints the best
round, per second of CPU time.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import structlog
from twisted.internet.task import Clock

from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.journal import NullJournal
from umd.http.exchange import Request
from umd.messaging.service import SoapService
from umd.testing import FakeBackend

CLIENT = Principal("anonymous", "127.0.0.1")
DOCUMENT = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"\n'
    '  xmlns:xsd="http://www.w3.org/2001/XMLSchema"\n'
    '  xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">\n  <soap:Body>\n'
    '    <Disconnect xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">\n'
    "      <CallId>%s</CallId>\n    </Disconnect>\n  </soap:Body>\n</soap:Envelope>"
)
HEADERS = {"content-type": "text/xml; charset=utf-8"}


def make_service() -> tuple[Control, SoapService]:
    """Return the SOAP service and the control that it uses."""
    log = structlog.wrap_logger(
        None, wrapper_class=structlog.make_filtering_bound_logger(50), processors=[]
    )
    control = Control(
        backends={"fake": FakeBackend()},
        node="bench",
        clock=Clock(),
        wall=time.time,
        journal=NullJournal(lambda call, event: None),
        log=log,
    )
    _finish(control.start())
    return control, _service(control, log)


def _service(control: Control, log: Any) -> SoapService:
    from umd.messaging.pin import NoDelivery
    from umd.messaging.use_cases import UseCases
    from umd.messaging.users import Users

    return SoapService(UseCases(control, users=Users(":memory:", None), pins=NoDelivery()), log)


def measure(calls: int) -> float:
    """Return the Disconnects per second of CPU time."""
    control, service = make_service()
    requests = [
        Request(CLIENT, "POST", "/EWS/UM2007Legacy.asmx", "", "http", "h", HEADERS, body)
        for body in (
            (DOCUMENT % control.place(CLIENT, "answers").id).encode() for _ in range(calls)
        )
    ]
    gc.collect()
    gc.freeze()
    began = time.process_time()
    for request in requests:
        reply = _finish(service.serve(request))
        assert reply.status == 200, reply.body
    took = time.process_time() - began
    gc.unfreeze()
    return calls / took


def _finish(work: Any) -> Any:
    """Run a coroutine that never suspends; return its result."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the coroutine suspended")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates = [measure(options.calls) for _ in range(options.rounds)]
    print(f"Disconnect through the SOAP service: {max(rates):,.0f}/s (the best of {len(rates)})")


if __name__ == "__main__":
    main()
