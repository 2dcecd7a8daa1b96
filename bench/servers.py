"""
What the bench measures of umd in one process: `python -m bench.servers WHAT PORT`.

`null` is the whole way of a request but for the call: the HTTP front, the SOAP door, a use case
that succeeds at once. `http` answers without looking at the body. `twisted.web` does the work of
`null` on a resource of twisted.web.
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
    """Ends no call and says at once that it has ended."""

    async def disconnect(self, requester: Requester, call_id: str) -> Outcome:
        return Outcome.ENDED


class OnTwistedWeb(Resource):
    """The same service on twisted.web."""

    isLeaf = True

    def __init__(self, service: SoapService) -> None:
        super().__init__()
        self._service = service

    def render_POST(self, request: Any) -> int:
        headers = {
            name.decode().lower(): values[-1].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        asked = Request(
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

        _ = ensureDeferred(_reply(self._service.serve(asked))).addCallback(answer)
        return NOT_DONE_YET


async def _reply(reply: Reply | Awaitable[Reply]) -> Reply:
    return reply if isinstance(reply, Reply) else await reply


def main() -> None:
    """Serve until killed."""
    what, port = sys.argv[1], int(sys.argv[2])
    real = install()
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=True,
    ).bind()
    service = SoapService(NullUseCases(), log, real.seconds)  # type: ignore[arg-type]
    answer = Reply(200, b"<ok/>" * 60, TEXT_XML, {"X-UMD-Outcome": "ended"})
    if what == "twisted.web":
        site: Any = Site(OnTwistedWeb(service))
        site.noisy = False
        site.log = lambda request: None
    else:
        site = Front((lambda request: answer) if what == "http" else service.serve, real, log)
    if what == "basic":
        passwords = PasswordFile({"alice": PasswordHasher().hash(PASSWORD).encode()})
        rules = Rules(passwords=passwords)
        site.state.authenticator = Authenticator(rules, real, log, site.state.busy)
    real.listenTCP(port, site, backlog=1024, interface="127.0.0.1")
    gc.freeze()
    real.run()


if __name__ == "__main__":
    main()
