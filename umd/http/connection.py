"""One connection: octets to requests, replies to octets in the same order, and when it closes."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection as TcpConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from umd.call.principal import Principal
from umd.http.authentication import Denied
from umd.http.exchange import TEXT_PLAIN, Reply, Request, refusal
from umd.http.head import Head, Refused
from umd.http.hosts import same_address
from umd.http.pending_reply import Working, begin
from umd.http.reader import ENDED, HEAD, NOTHING, Reader
from umd.http.response import CONTINUE, reply_of
from umd.http.tls import TIMED_OUT, HandshakeFailure, TlsTransport, handshake_failure

if TYPE_CHECKING:
    from umd.http.front import Front

TLS_HANDSHAKE: Final = 0x16  # the first octet of a TLS connection, RFC 8446 section 5.1

MISDIRECTED: Final = refusal(
    421,
    "umd does not answer to the host name in this URL. Use localhost or the address of its machine,"
    " or add the name to http.hosts in umd's configuration.",
)
INTERNAL_ERROR: Final = Reply(500, b"Internal server error.\n", TEXT_PLAIN)


class Wait(StrEnum):
    """What a connection can be waiting for; each kind has its deadline."""

    HANDSHAKE = "the TLS handshake"
    NEXT = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    TAKEN = "the client to take an answer"
    LINGER = "a refused client to see why"


@implementer(IPullProducer, IPushProducer, IHandshakeListener)
class Connection(Protocol):
    """
    Made by `Front`.

    One request is served at a time. What comes in the meantime is read up to a limit. While the
    client does not take what was written, nothing more is read or served, and for so long only. TCP
    tells of each octet that it does not take, by way of a pull producer; TLS of more than 64 KiB
    that lie below it, its own records too, by way of a push producer.
    """

    def __init__(self, front: Front, address: str) -> None:
        self.front = front
        self.address = address
        self.principal = Principal.anonymous(address)
        self.reader = Reader(front.heads)
        self._asked_by: Head | None = None
        """The last head by which somebody was identified, as `principal`, until `_known_until`."""
        self._known_until = 0.0
        self._known_by = 0
        """The generation of the rules by which it was."""
        self.refused_at_once = False
        """There are too many connections already."""
        self._fresh = True
        self._waits: Wait | None = None
        self._answered = False
        """Since the deadline was set."""
        self._working: Working | None = None
        self._serving: Head | None = None
        """Of the request that is being served."""
        self._served = 0
        """Octets of its body, where that is waited for."""
        self._last = False
        """Nothing more is answered on this connection: it closes once all is written."""
        self._closed = False
        """Its last octets have been handed over."""
        self._gone = False
        self._stuck = False
        """The transport has more than the client takes at the moment."""
        self._paused = False
        self._held = 0
        self._body_seen = 0
        self._direct: TcpConnection | None = None
        self._tls = False
        self._handshaking = False

    # -- what Twisted calls

    def connectionMade(self) -> None:
        transport: Any = self.transport
        # Octets for a TLS transport, which passes unknown methods on, must not go past it.
        if isinstance(transport, TcpConnection) and not transport.TLS:
            self._direct = transport
        if isinstance(transport, TcpConnection) and self.address:
            transport.setTcpNoDelay(True)
        self._tls = self._handshaking = self._is_tls()
        if self._tls and not self.refused_at_once:
            transport.registerProducer(self, True)
        self.front.joined(self)
        if self.refused_at_once:
            self._refuse(self.front.busy("There are too many connections."))
        self._wait()

    def handshakeCompleted(self) -> None:
        """The client speaks TLS; what it says follows."""
        self._handshaking = False
        self._wait()

    def dataReceived(self, data: bytes) -> None:
        if self._last:
            return  # lingering: read, so that what is unread does not become a reset
        if self._fresh:
            self._fresh = False
            if data[0] == TLS_HANDSHAKE:
                self.front.spoke_tls(self)
                self._close()
                return
        reader = self.reader
        if self._paused and len(reader.complete) >= 2 * self.front.limits.max_pipelined:
            # TLS gives on all that it has read, record by record.
            reader.stop_as_flood()
        reader.receive(data)
        if self._working is None and self._serving is None and not self._stuck:
            if reader.complete:
                self._serve_next()
            if reader.complete or reader.refusal is not None or reader.expected is not None:
                self._go_on()
        if self._working is not None or reader.complete or self._held or reader.held:
            self._count_held()
        if not self._gone:
            self._wait()

    def connectionLost(self, reason: Failure = cast(Failure, None)) -> None:
        """The client has gone; what it asked for goes on, only nobody waits for it."""
        if self._handshaking and not self._closed:
            self._tell_failure(handshake_failure(cast(TlsTransport, self.transport), reason))
        self._gone = self._last = self._closed = True
        self._stop_waiting()
        self._drop()
        self.front.left(self)
        if self._working is not None:
            self._working.cancel()

    def _tell_failure(self, failure: HandshakeFailure) -> None:
        if cast(TlsTransport, self.transport).heard:
            self.front.handshake_failed(self, failure)
        else:
            self.front.nothing_sent(self)

    # -- requests, one after the other

    def _serve_next(self) -> None:
        head, body = self.reader.complete.popleft()
        front = self.front
        self._serving = head
        if front.hosts is not None and head.host_name not in front.hosts:
            if not self._came_in_at(head.host_name):
                self._refuse(MISDIRECTED, head)
                return
        busy = front.overloaded()
        if busy is not None:
            # It stays: to take a new connection would cost more than the answer.
            front.refused(self, busy.status, head, busy.body.decode().strip())
            self._answer(busy, head)
            return
        principal: Principal | None = self.principal
        if front.identity is not None:
            principal = self._known_principal(head)
        try:
            if principal is None:
                made: Reply | Awaitable[Reply] = self._identified(head, body)
            else:
                made = front.serve(self._request(principal, head, body))
            if isinstance(made, Reply):
                reply = made
            else:
                self._served = len(body)
                begun = begin(made, self._made)
                if not isinstance(begun, Reply):
                    self._working = begun
                    front.waiting += 1
                    return
                reply = begun
        except Exception as error:
            front.failed(self, head, error)
            reply = INTERNAL_ERROR
        self._answer(reply, head)

    def _request(self, principal: Principal, head: Head, body: bytes) -> Request:
        return Request(
            principal,
            "GET" if head.method == "HEAD" else head.method,
            head.path,
            head.query,
            head.scheme or ("https" if self._tls else "http"),
            head.host or self._where(),
            head.headers,
            body,
        )

    def _known_principal(self, head: Head) -> Principal | None:
        """Who sent this head on this connection before, while that holds."""
        identity = self.front.identity
        if (
            head is self._asked_by
            and self.front.seconds() < self._known_until
            and identity is not None
            and identity.generation == self._known_by
        ):
            return self.principal
        return None

    async def _identified(self, head: Head, body: bytes) -> Reply:
        """Find out who is asking, then serve, or ask who it is."""
        identity = self.front.identity
        assert identity is not None
        self._known_by = identity.generation
        found = identity.identify(
            head.headers, self.address, self._subject(), head.repeated
        )
        if isinstance(found, Deferred):
            found = await found
        if isinstance(found, Reply):
            return found
        if isinstance(found, Denied):
            # The reply is late: very many may wait for theirs, and nobody needs the bodies.
            body = b""
            self._served = 0
            self._count_held()
            await self.front.after(found.delay)
            return found.reply
        self.principal, self._known_until = found
        self._asked_by = head
        reply = self.front.serve(self._request(self.principal, head, body))
        return reply if isinstance(reply, Reply) else await reply

    def _made(self, made: Reply | BaseException) -> None:
        """A reply that was waited for is ready, or something was raised instead."""
        self._working = None
        self.front.waiting -= 1
        head = self._serving
        if self._gone or head is None:
            self._serving = None
            if not isinstance(made, (Reply, CancelledError)):
                self.front.failed(self, head, made)
            self.front.answered_one()
            return
        if isinstance(made, BaseException):
            self.front.failed(self, head, made)
            made = INTERNAL_ERROR
        self._answer(made, head)
        self._go_on()
        self._count_held()
        if not self._gone:
            self._wait()

    def _answer(self, reply: Reply, head: Head) -> None:
        self._serving = None
        self._served = 0
        front = self.front
        close = not head.keep_alive or front.closing
        try:
            octets = front.answers.write(reply, head, close)
        except ValueError as error:
            front.failed(self, head, error)
            octets = front.answers.write(INTERNAL_ERROR, head, close)
        if 400 <= reply.status < 500 and reply.status != 401:
            front.refused(self, reply.status, head, "")
        self._write(octets)
        self._answered = True
        if close:
            self._close()
        if front.draining:
            front.answered_one()

    def _go_on(self) -> None:
        """Serve what has come in the meantime, then refuse what could not be read."""
        reader = self.reader
        while reader.complete and self._working is None and not (self._last or self._stuck):
            self._serve_next()
        if self._working is None and not (self._last or self._stuck):
            if reader.refusal is ENDED:
                self._close()
            elif reader.refusal is not None:
                self._refuse(reply_of(reader.refusal), why=str(reader.refusal))
            elif reader.expected is not None:
                reader.expected = None
                self._write(CONTINUE)

    def _refuse(self, reply: Reply, head: Head | None = None, why: str = "") -> None:
        """Answer, and close once the client had time to read it: what it still sends is dropped."""
        self._serving = None
        self.front.refused(self, reply.status, head, why or reply.body.decode().strip())
        self._write(self.front.answers.write(reply, head, close=True))
        self._drop()
        self._last = True
        if not self._stuck:
            self._linger()

    def time_out(self, wait: Wait) -> None:
        """It has waited for too long."""
        self._waits = None
        match wait:
            case Wait.HANDSHAKE:
                self._tell_failure(TIMED_OUT)
                self.abort()
            case Wait.NEXT:
                self._close()
            case Wait.HEAD:
                self._refuse_late("head")
            case Wait.BODY:
                self._check_rate()
            case Wait.TAKEN | Wait.LINGER:
                self.abort()

    def _check_rate(self) -> None:
        limits = self.front.limits
        received = self.reader.received - self._body_seen
        if received >= limits.min_body_rate * limits.body_timeout:
            self._wait()
        else:
            self._refuse_late("body")

    def _refuse_late(self, part: str) -> None:
        late = Refused(408, f"The {part} of the request did not come in time.")
        self._refuse(reply_of(late), why=str(late))
        self._wait()

    # -- closing

    @property
    def idle(self) -> bool:
        """Nothing is being served, read or written."""
        busy = self._serving is not None or self.reader.complete or self._stuck
        return not busy and self.reader.part is NOTHING

    @property
    def unanswered(self) -> bool:
        """Something was asked that is not answered yet."""
        return self._serving is not None or bool(self.reader.complete)

    def leave(self) -> None:
        """Close if idle; else after the answer, which says that it is the last."""
        if not (self._last or self.unanswered):
            self._close()

    def close(self) -> None:
        """Close once everything written has left."""
        self._close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = self._last = True
        if self.transport is not None and not self._gone:
            cast(ITCPTransport, self.transport).abortConnection()

    def _close(self) -> None:
        self._last = True
        self._drop()
        if not self._stuck and not self._closed and self.transport is not None:
            self._closed = True
            if self._tls:
                # It would not close while somebody may have more to write.
                cast(Any, self.transport).unregisterProducer()
            self.transport.loseConnection()
            if not self._gone:
                self._wait()  # TLS waits for the other side to close too: not for ever

    def _drop(self) -> None:
        self.reader.drop()
        self.front.held -= self._held
        self._held = 0

    def _linger(self) -> None:
        """
        Tell the client that nothing more comes, and wait for it to close.

        To close with octets unread would reset the connection, and the client might lose the answer
        it has not read yet (RFC 9112 section 9.6).
        """
        if self._closed:
            return
        if self._direct is None:
            # TLS waits for the other side's closing alert by itself.
            self._close()
        else:
            self._closed = True
            self._direct.loseWriteConnection()
            self._direct.resumeProducing()

    # -- writing

    def _write(self, octets: bytes) -> None:
        if self._gone:
            return
        direct = self._direct
        if direct is not None and not self._stuck:
            # At once: by way of the reactor it would cost two calls of epoll_ctl and another turn.
            sent = direct.writeSomeData(octets)
            if sent.__class__ is int:
                if sent == len(octets):
                    return
                octets = octets[sent:]
        assert self.transport is not None
        self.transport.write(octets)
        if direct is not None and not self._stuck:
            self._stuck = True
            direct.registerProducer(self, False)

    def pauseProducing(self) -> None:
        """TLS has more than the client takes at the moment."""
        self._stuck = True
        if not self._gone:
            self._wait()

    def resumeProducing(self) -> None:
        """All was taken (TCP calls it at registration too, before anything could be)."""
        direct = self._direct
        if direct is not None:
            if direct._tempDataBuffer or direct.dataBuffer:
                return
            direct.unregisterProducer()
        self._stuck = False
        if self._last:
            self._linger()
        else:
            self._go_on()
        if not self._gone:
            self._wait()

    def stopProducing(self) -> None:
        """The connection is lost, which is told by `connectionLost`."""

    # -- waiting

    def _wait(self) -> None:
        """Set the deadline of what is waited for now, and read only what there is room for."""
        reader = self.reader
        if self._closed:
            wait: Wait | None = Wait.LINGER
        elif self._handshaking:
            wait = Wait.HANDSHAKE
        elif self._stuck:
            wait = Wait.TAKEN
        elif self._serving is not None:
            wait = None
        else:
            part = reader.part
            wait = Wait.NEXT if part is NOTHING else Wait.HEAD if part is HEAD else Wait.BODY
        if wait is not self._waits:
            self._stop_waiting()
        if wait is not None and (wait is not self._waits or self._answered):
            self._waits = wait
            self._body_seen = reader.received
            self.front.deadlines.start(wait, self)
        self._answered = False
        self._read_or_not()

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self.front.deadlines.stop(self._waits, self)
            self._waits = None

    def _read_or_not(self) -> None:
        waiting = len(self.reader.complete)
        full = not self._last and (self._stuck or waiting >= self.front.limits.max_pipelined)
        if not full and waiting > 1 and not self._last:
            full = self._held - self._served > self.front.limits.max_body
        if full is not self._paused:
            self._paused = full
            transport = cast(Any, self.transport)
            if full:
                transport.pauseProducing()
            else:
                transport.resumeProducing()

    def _count_held(self) -> None:
        """Keep account of the memory that unfinished, waiting and served requests take."""
        reader, front = self.reader, self.front
        held = 0 if self._gone else self._served + reader.held
        if reader.complete:
            held += sum(len(body) for _, body in reader.complete)
        front.held += held - self._held
        self._held = held
        if held and not self._serving and front.held > front.limits.max_held and not self._last:
            self._refuse(front.busy("There are too many requests."))

    # -- where

    def _is_tls(self) -> bool:
        return hasattr(self.transport, "getPeerCertificate")

    def _subject(self) -> str | None:
        """Of the certificate by which the client is known (RFC 4514); TLS has checked it."""
        certificate = getattr(self.transport, "getPeerCertificate", lambda: None)()
        if certificate is None:
            return None
        try:
            return str(certificate.to_cryptography().subject.rfc4514_string())
        except ValueError:
            return None  # octets that are no text: no subject of the configuration is like that

    def _came_in_at(self, name: str) -> bool:
        """Whether a name is the address by which the client reached umd."""
        if not self.address:
            return True  # a unix: socket, which has none and which no browser reaches
        address: Any = cast(ITCPTransport, self.transport).getHost()
        return same_address(name, address.host)

    def _where(self) -> str:
        """Where a request came in, for one that does not say."""
        address: Any = cast(ITCPTransport, self.transport).getHost()
        host = getattr(address, "host", "localhost")
        port = getattr(address, "port", 80)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
