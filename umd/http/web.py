"""An HTTP front on the channel of twisted.web: requests in, replies out, and no more of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from structlog.typing import FilteringBoundLogger
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request, datetimeToString

from umd.http import exchange
from umd.http.exchange import TEXT_PLAIN, Reply, Serve, refusal
from umd.principal import ANONYMOUS, Principal

IDLE_TIMEOUT: Final = 75
"""Seconds a connection may be silent, between requests and within one."""
_METHODS: Final[Mapping[bytes, str]] = {b"GET": "GET", b"HEAD": "GET", b"POST": "POST"}
TLS_HANDSHAKE: Final = 0x16  # the first octet of a TLS connection, RFC 8446 section 5.1
FLUSH_TIME: Final = 2.0
"""Seconds a connection that is closed has for its last octets to leave."""
DISCARDED_BODY: Final = 1024 * 1024
"""A body over the limit is read and thrown away up to this many octets, so that the client, still
sending, reads its 413 instead of a reset."""


class _Request(Request):
    """One request on a channel, and the reply being made for it."""

    channel: _Channel
    _received = 0
    _reply: Deferred[Reply] | None = None

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > DISCARDED_BODY:
            self._refuse_unread()
        super().gotLength(None if length is None else min(length, self.channel.front.max_body))

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= self.channel.front.max_body:
            super().handleContentChunk(data)
        elif self._received > DISCARDED_BODY:
            self._refuse_unread()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Skip the parsing of forms that the base class does here: no body of ours is one."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        self.channel.front.begun(self)
        if self._received > self.channel.front.max_body:
            self.channel.persistent = 0
            limit = self.channel.front.max_body
            self._send(refusal(413, f"The body is longer than {limit} octets."))
            return
        if self.method not in _METHODS:
            self._send(refusal(405, "SOAP requests are sent by POST.", Allow="GET, HEAD, POST"))
            return
        self._reply = ensureDeferred(self.channel.front.reply(self._as_asked()))
        # Whoever waits for it is the client, not this frame.
        _ = self._reply.addCallbacks(self._send, self._failed)

    def _as_asked(self) -> exchange.Request:
        assert self.content is not None
        self.content.seek(0)
        path, _, query = self.uri.decode("latin-1").partition("?")
        headers = _headers(self)
        return exchange.Request(
            principal=_principal(self.client),
            method=_METHODS[self.method],
            path=path,
            query=query,
            scheme="https" if self.isSecure() else "http",
            host=headers.get("host") or _host(self.getHost()),
            headers=headers,
            body=self.content.read(),
        )

    def connectionLost(self, reason: Failure) -> None:
        """The client has gone; what it asked for goes on, only nobody waits for it."""
        self.channel.front.ended(self)
        super().connectionLost(reason)
        if self._reply is not None:
            self._reply.cancel()

    def _failed(self, failure: Failure) -> None:
        # Only a request whose client has gone is cancelled.
        failure.trap(CancelledError)

    def _send(self, reply: Reply) -> None:
        if self._disconnected:
            return
        front = self.channel.front
        self.setResponseCode(reply.status)
        headers = self.responseHeaders
        headers.setRawHeaders(b"Date", [datetimeToString()])
        headers.setRawHeaders(b"Content-Type", [reply.content_type.encode("ascii")])
        headers.setRawHeaders(b"Content-Length", [b"%d" % len(reply.body)])
        for name, value in reply.headers.items():
            headers.setRawHeaders(name, [value])
        if 400 <= reply.status < 500:
            front.refused(reply.status, self)
        if front.closing:
            self.channel.persistent = 0
        if not self.channel.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        if self.method != b"HEAD":
            self.write(reply.body)
        self.finish()
        front.ended(self)

    def _refuse_unread(self) -> None:
        # The channel hands on what still comes in until the connection is closed.
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.front.refused(413, self)
        self.channel.refuse(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )


class _Channel(HTTPChannel):
    """One connection."""

    requestFactory = _Request
    factory: Front
    _refused = False
    _fresh = True
    """Nothing has been received yet."""

    @property
    def front(self) -> Front:
        return self.factory

    def connectionMade(self) -> None:
        super().connectionMade()
        self.front.channels.add(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self.front.left(self)

    def dataReceived(self, data: bytes) -> None:
        if self._fresh and data[0] == TLS_HANDSHAKE:
            self._refused = True
            self.front.spoke_tls(self)
            self.loseConnection()
        self._fresh = False
        if not self._refused:
            super().dataReceived(data)

    def refuse(self, answer: bytes) -> None:
        """Answer in the middle of a request, and read nothing more."""
        if not self._refused:
            self._refused = True
            self.write(answer)
            self.loseConnection()


class Front(ServerFactory):
    """
    Serves HTTP/1.1 by handing each POST to `serve`.

    Args:
        serve: see `umd.http.exchange.Serve`.
        clock: for the time-out of idle connections.
        log: for what goes wrong on this edge.
        max_body: octets a body may have.
    """

    noisy = False

    def __init__(
        self, serve: Serve, clock: IReactorTime, log: FilteringBoundLogger, max_body: int
    ) -> None:
        self.max_body = max_body
        """May be changed while serving."""
        self.closing = False
        self.channels: set[_Channel] = set()
        self._serve = serve
        self._clock = clock
        self._log = log
        self._open: set[_Request] = set()
        self._idle: Deferred[None] | None = None
        self._gone: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> HTTPChannel:
        channel = _Channel()
        channel.factory = self
        channel.timeOut = IDLE_TIMEOUT
        channel.callLater = self._clock.callLater  # type: ignore[assignment]
        return channel

    def close_idle(self) -> None:
        """From now on each answer is the last on its connection; close what is idle."""
        self.closing = True
        for channel in list(self.channels):
            if not channel.requests:
                channel.loseConnection()

    async def answered(self) -> None:
        """Return when nothing is left to answer."""
        if self._open:
            self._idle = Deferred()
            await self._idle

    async def close(self) -> None:
        """Close every connection once what was written to it has left, or soon after."""
        self.closing = True
        for channel in list(self.channels):
            channel.loseConnection()
        if self.channels:
            self._gone = Deferred()
            timer = self._clock.callLater(FLUSH_TIME, self._abort)
            await self._gone
            if timer.active():
                timer.cancel()

    def _abort(self) -> None:
        for channel in list(self.channels):
            cast(ITCPTransport, channel.transport).abortConnection()

    def left(self, channel: _Channel) -> None:
        self.channels.discard(channel)
        if self._gone is not None and not self.channels:
            gone, self._gone = self._gone, None
            gone.callback(None)

    async def reply(self, request: exchange.Request) -> Reply:
        try:
            return await self._serve(request)
        except CancelledError:
            raise
        except Exception:
            address = request.principal.address
            self._log.exception("http.failed", path=request.path[:200], address=address)
            return Reply(500, b"Internal server error.\n", TEXT_PLAIN)

    def begun(self, request: _Request) -> None:
        self._open.add(request)

    def ended(self, request: _Request) -> None:
        self._open.discard(request)
        if self._idle is not None and not self._open:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def refused(self, status: int, request: _Request) -> None:
        """A request that never reached the service, or that it would not look into."""
        self._log.info(
            "http.refused",
            status=status,
            method=request.method.decode("latin-1")[:20],
            path=(request.path or b"").decode("latin-1")[:200],
            address=_principal(request.client).address,
        )

    def spoke_tls(self, channel: _Channel) -> None:
        """A client began a TLS handshake where there is none."""
        address = _principal(channel.getPeer()).address
        self._log.info("http.tls-on-plain-port", address=address, hint="use http://")

    def log(self, request: Request) -> None:
        """The channel calls it for an access log; what is worth a line is logged by who served."""


def _principal(client: Any) -> Principal:
    address = client.host if isinstance(client, (IPv4Address, IPv6Address)) else ""
    return Principal(ANONYMOUS, address)


def _host(address: Any) -> str:
    """Where a request came in, for one that does not say."""
    host = getattr(address, "host", "localhost")
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{getattr(address, 'port', 80)}"


def _headers(request: Request) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
