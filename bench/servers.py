"""
Servers that `bench.front` measures: `python -m bench.servers null|basic|http|twisted.web PORT`.

`null` is the HTTP server and the SOAP service of umd, with a use case that succeeds at once.
`basic` is `null` with password authentication. `http` is the HTTP server alone; it ignores the
body.
`twisted.web` is the SOAP service of `null` on the HTTP server of twisted.web.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable
from typing import Any

import structlog
from argon2 import PasswordHasher
from twisted.internet.defer import ensureDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from umd.call.call import Call
from umd.call.call_id import CallId
from umd.call.leg import LegId
from umd.call.principal import Principal
from umd.control.outcome import Outcome
from umd.http.authentication import Authenticator
from umd.http.exchange import TEXT_XML, Reply, Request
from umd.http.front import Front
from umd.http.passwords import PasswordFile
from umd.http.rules import Rules
from umd.messaging.service import SoapService
from umd.messaging.use_cases import Requester
from umd.runtime.reactor import install

PASSWORD = "a long enough password"


class NullUseCases:
    """Answers each Disconnect with `ended`, without any call."""

    def __init__(self) -> None:
        self._call = Call(
            id=CallId("null"), leg=LegId("null"), backend="null", number="", owner="", at=0.0
        )

    def find(self, requester: Requester, call_id: str) -> Call:
        return self._call

    async def disconnect(self, requester: Requester, call: Call) -> Outcome:
        return Outcome.ENDED


class OnTwistedWeb(Resource):
    """The SOAP service as a resource of twisted.web."""

    isLeaf = True

    def __init__(self, service: SoapService) -> None:
        super().__init__()
        self._service = service

    def render_POST(self, request: Any) -> int:
        headers = {
            name.decode().lower(): values[-1].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        soap_request = Request(
            Principal.anonymous(request.client.host), "POST", request.path.decode(), "", "http",
            headers.get("host", ""), headers, request.content.read(),
        )  # fmt: skip

        def answer(reply: Reply) -> None:
            request.setResponseCode(reply.status)
            request.setHeader("Content-Type", reply.content_type)
            for name, value in reply.headers.items():
                request.setHeader(name, value)
            request.setHeader("Content-Length", str(len(reply.body)))
            request.write(reply.body)
            request.finish()

        _ = ensureDeferred(_reply(self._service.serve(soap_request))).addCallback(answer)
        return NOT_DONE_YET


async def _reply(reply: Reply | Awaitable[Reply]) -> Reply:
    return reply if isinstance(reply, Reply) else await reply


def main() -> None:
    """Serve until killed."""
    server, port = sys.argv[1], int(sys.argv[2])
    reactor = install()
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=True,
    ).bind()
    service = SoapService(NullUseCases(), log, reactor.seconds)  # type: ignore[arg-type]
    answer = Reply(200, b"<ok/>" * 60, TEXT_XML, {"X-UMD-Outcome": "ended"})
    if server == "twisted.web":
        factory: Any = Site(OnTwistedWeb(service))
        factory.noisy = False
        factory.log = lambda request: None
    else:
        serve = (lambda request: answer) if server == "http" else service.serve
        factory = Front(serve, reactor, log)
    if server == "basic":
        passwords = PasswordFile({"alice": PasswordHasher().hash(PASSWORD).encode()})
        rules = Rules(passwords=passwords)
        factory.state.authenticator = Authenticator(rules, reactor, log, factory.state.busy)
    reactor.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
    gc.freeze()
    reactor.run()


if __name__ == "__main__":
    main()
