"""One HTTP connection: reads requests, has them served in order, and writes the responses."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, cast

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from umd.call.principal import Principal
from umd.http.client_identity import ClientIdentity
from umd.http.connections import Wait
from umd.http.exchange import TEXT_PLAIN, Reply, Request, refusal
from umd.http.handshake import TIMED_OUT, HandshakeFailure
from umd.http.head import Head
from umd.http.pending_reply import PendingReply, start_reply
from umd.http.phase import ACCEPTING, Event, Phase, next_phase
from umd.http.reader import NO_MORE_REQUESTS, Part, Reader
from umd.http.refused import Refused
from umd.http.response import CONTINUE, reply_to_refused
from umd.http.server_state import ServerState
from umd.http.transport import ClientTransport
from umd.http.verdict import Denied

TLS_HANDSHAKE: Final = 0x16
"""The first octet of a TLS connection (RFC 8446 section 5.1)."""

MISDIRECTED: Final = refusal(
    421,
    "umd does not answer to the host name in this URL. Use localhost or the address of its machine,"
    " or add the name to http.hosts in umd's configuration.",
)
INTERNAL_ERROR: Final = Reply(500, b"Internal server error.\n", TEXT_PLAIN)

# Module constants, as an attribute of an enum is slow to read in Python 3.11.
_OPEN: Final = Phase.OPEN
_LOST: Final = Phase.LOST

_WAIT_IN_PHASE: Final = {Phase.HANDSHAKE: Wait.HANDSHAKE, Phase.CLOSED: Wait.CLOSE}
_WAIT_FOR_PART: Final = {
    Part.NONE: Wait.REQUEST, Part.HEAD: Wait.HEAD, Part.BODY: Wait.BODY,
}  # fmt: skip


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    A connection of one client, made by `Front`.

    It serves one request at a time and reads further requests up to a limit. While the client does
    not take a response, it reads and serves nothing more, and for a limited time only.

    Args:
        state: what the connections of the front share.
        address: IP address of the client; empty for a unix: socket.
    """

    def __init__(self, state: ServerState, address: str) -> None:
        self.address = address
        self.phase = Phase.NEW
        self.reader = Reader(state.heads)
        self._state = state
        self._identity = ClientIdentity(address)
        self._current: Head | None = None
        """Head of the request that is being served."""
        self._pending: PendingReply | None = None
        """Makes the reply to that request, if the reply has to wait for something."""
        self._pending_body_size = 0
        """Octets of the body of that request."""
        self._buffered = 0
        """This connection's share of `ServerState.buffered`."""
        self._deadline: Wait | None = None
        """The wait whose deadline is running."""
        self._responded = False
        """Whether a response was written since the deadline was set."""
        self._body_received = 0
        """`Reader.body_received` when the deadline was set."""
        self._reading_paused = False

    # -- what Twisted calls

    def connectionMade(self) -> None:
        """Start with a TLS handshake or with the first request, or refuse one client too many."""
        client = self._client = ClientTransport(
            self.transport, self.address, self._rearm, self._resume_after_write
        )
        if client.is_tls:
            self.phase = Phase.HANDSHAKE
        has_room = self._state.connections.has_room(self.address, self._state.limits)
        self._state.add(self)
        if has_room:
            client.watch_tls()
        else:
            self._refuse(self._state.busy("There are too many connections."))
        self._rearm()

    def handshakeCompleted(self) -> None:
        """Wait for the first request, as TLS is established."""
        self._advance(Event.HANDSHAKE_COMPLETED)
        self._rearm()

    def dataReceived(self, data: bytes) -> None:
        """Read requests, and serve the next one if none is being served."""
        if self.phase is not _OPEN and not self._opens_with(data):
            return
        reader = self.reader
        if self._reading_paused:
            self._check_flood()
        reader.receive(data)
        if self._pending is None and self._current is None and not self._client.blocked:
            if reader.complete:
                self._serve_next()
            if reader.complete or reader.refusal is not None or reader.awaits_continue:
                self._serve_queued()
        if self._pending is not None or reader.complete or self._buffered or reader.buffered:
            self._count_buffered()
        self._rearm()

    def connectionLost(self, reason: Failure = cast(Failure, None)) -> None:
        """Stop waiting for the reply. The operation itself goes on."""
        if self.phase is Phase.HANDSHAKE:
            from umd.http.tls import handshake_failure  # here, as it loads OpenSSL

            self._log_failed_handshake(handshake_failure(self._client.tls, reason))
        self._advance(Event.LOSE)
        self._stop_deadline()
        self._drop_input()
        self._client.detach()
        self._state.remove(self)
        if self._pending is not None:
            self._pending.cancel()

    def _advance(self, event: Event) -> None:
        self.phase = next_phase(self.phase, event)

    def _opens_with(self, data: bytes) -> bool:
        """Return whether data that arrives outside of phase OPEN is to be read as requests."""
        if self.phase is not Phase.NEW:
            return False  # read and dropped: octets left unread would become a reset
        if data[0] == TLS_HANDSHAKE:
            self._state.log.tls_on_plain_port(self.address)
            self.close()
            return False
        self._advance(Event.FIRST_DATA)
        return True

    def _check_flood(self) -> None:
        """Refuse more requests if TLS hands over far more than the limit in spite of a pause."""
        if len(self.reader.complete) >= 2 * self._state.limits.max_pipelined:
            self.reader.refuse_flood()

    def _log_failed_handshake(self, failure: HandshakeFailure) -> None:
        if self._client.tls.data_seen:
            self._state.log.handshake_failed(self.address, failure)
        else:
            self._state.log.nothing_sent(self.address)

    # -- requests, one after the other

    def _serve_queued(self) -> None:
        """Serve the complete requests, then refuse what is not readable."""
        reader = self.reader
        while reader.complete and self._is_free():
            self._serve_next()
        if self._is_free():
            if reader.refusal is NO_MORE_REQUESTS:
                self.close()
            elif reader.refusal is not None:
                self._refuse(reply_to_refused(reader.refusal))
            elif reader.awaits_continue:
                reader.awaits_continue = False
                self._client.write(CONTINUE)

    def _is_free(self) -> bool:
        return self.phase is _OPEN and self._pending is None and not self._client.blocked

    def _serve_next(self) -> None:
        head, body = self.reader.complete.popleft()
        state = self._state
        self._current = head
        if state.allowed_hosts is not None and head.host_name not in state.allowed_hosts:
            if not self._client.was_reached_by(head.host_name):
                self._refuse(MISDIRECTED, head)
                return
        overload = state.overload_reply()
        if overload is not None:
            # The connection stays: a new one costs more than this response.
            state.log.refused(self.address, overload.status, head, overload.body.decode().strip())
            self._respond(overload, head)
            return
        try:
            reply = self._start_reply(head, body)
        except Exception as error:
            state.log.failed(self.address, head, error)
            reply = INTERNAL_ERROR
        if reply is not None:
            self._respond(reply, head)

    def _start_reply(self, head: Head, body: bytes) -> Reply | None:
        """Have a request served; return None if the reply has to wait for something."""
        state = self._state
        principal: Principal | None = self._identity.principal
        if state.authenticator is not None:
            principal = self._identity.remembered(head, state.authenticator, state.seconds())
        if principal is None:
            made: Reply | Awaitable[Reply] = self._authenticate_and_serve(head, body)
        else:
            made = state.serve(self._request(principal, head, body))
        if isinstance(made, Reply):
            return made
        self._pending_body_size = len(body)
        started = start_reply(made, self._reply_ready)
        if isinstance(started, Reply):
            return started
        self._pending = started
        state.pending_requests += 1
        return None

    def _request(self, principal: Principal, head: Head, body: bytes) -> Request:
        return Request(
            principal,
            "GET" if head.method == "HEAD" else head.method,
            head.path,
            head.query,
            head.scheme or ("https" if self._client.is_tls else "http"),
            head.host or self._client.local_authority(),
            head.headers,
            body,
        )

    async def _authenticate_and_serve(self, head: Head, body: bytes) -> Reply:
        state = self._state
        assert state.authenticator is not None
        subject = self._client.certificate_subject()
        verdict = await self._identity.authenticate(head, state.authenticator, subject)
        if isinstance(verdict, Reply):
            return verdict
        if isinstance(verdict, Denied):
            # Drop the body: very many clients may wait for such a delayed response.
            body = b""
            self._pending_body_size = 0
            self._count_buffered()
            await state.delay(verdict.delay)
            return verdict.reply
        reply = state.serve(self._request(verdict, head, body))
        return reply if isinstance(reply, Reply) else await reply

    def _reply_ready(self, reply: Reply | BaseException) -> None:
        """Respond with a reply that had to wait, or report the error that was raised."""
        state = self._state
        self._pending = None
        state.pending_requests -= 1
        head = self._current
        if self.phase is _LOST or head is None:
            self._current = None
            if not isinstance(reply, (Reply, CancelledError)):
                state.log.failed(self.address, head, reply)
            state.connections.check_answered()
            return
        if isinstance(reply, BaseException):
            state.log.failed(self.address, head, reply)
            reply = INTERNAL_ERROR
        self._respond(reply, head)
        self._serve_queued()
        self._count_buffered()
        self._rearm()

    def _respond(self, reply: Reply, head: Head) -> None:
        self._current = None
        self._pending_body_size = 0
        state = self._state
        close = not head.keep_alive or state.closing
        try:
            octets = state.responses.encode(reply, head, close)
        except ValueError as error:
            state.log.failed(self.address, head, error)
            octets = state.responses.encode(INTERNAL_ERROR, head, close)
        if 400 <= reply.status < 500 and reply.status != 401:
            state.log.refused(self.address, reply.status, head, "")
        self._client.write(octets)
        self._responded = True
        if close:
            self.close()
        if state.connections.draining:
            state.connections.check_answered()

    def _refuse(self, reply: Reply, head: Head | None = None) -> None:
        """Respond, and close when the client has had time to read it. Drop further input."""
        self._current = None
        state = self._state
        state.log.refused(self.address, reply.status, head, reply.body.decode().strip())
        self._client.write(state.responses.encode(reply, head, close=True))
        self._drop_input()
        self._advance(Event.END)
        if not self._client.blocked:
            self._linger()

    # -- closing

    @property
    def unanswered(self) -> bool:
        """Whether a complete request has no response yet."""
        return self._current is not None or bool(self.reader.complete)

    def close_if_idle(self) -> None:
        """Close if no request is unanswered; else the next response says that it is the last."""
        if self.phase in ACCEPTING and not self.unanswered:
            self.close()

    def close(self) -> None:
        """Close as soon as the client has taken what is written."""
        self._drop_input()
        self._advance(Event.END)
        if not self._client.blocked and self.phase is Phase.ENDING:
            self._advance(Event.CLOSE)
            self._client.close()
            self._rearm()  # TLS waits for the client to close too, but not for ever

    def abort(self) -> None:
        """Close now and drop what the client has not taken."""
        self._advance(Event.CLOSE)
        self._client.abort()

    def _linger(self) -> None:
        """
        Close the direction to the client and wait for the client to close its own.

        To close with octets unread would reset the connection, and the client might lose the
        response that it has not read yet (RFC 9112 section 9.6).
        """
        if self.phase is Phase.ENDING:
            if self._client.half_close():
                self._advance(Event.CLOSE)
            else:
                self.close()

    def _drop_input(self) -> None:
        self.reader.drop()
        self._state.buffered -= self._buffered
        self._buffered = 0

    # -- deadlines

    def time_out(self, wait: Wait) -> None:
        """React to a deadline that has passed."""
        self._deadline = None
        match wait:
            case Wait.HANDSHAKE:
                self._log_failed_handshake(TIMED_OUT)
                self.abort()
            case Wait.REQUEST:
                self.close()
            case Wait.HEAD:
                self._refuse_slow("head")
            case Wait.BODY:
                self._check_body_rate()
            case Wait.WRITE | Wait.CLOSE:
                self.abort()

    def _check_body_rate(self) -> None:
        limits = self._state.limits
        received = self.reader.body_received - self._body_received
        if received >= limits.min_body_rate * limits.body_timeout:
            self._rearm()
        else:
            self._refuse_slow("body")

    def _refuse_slow(self, part: str) -> None:
        self._refuse(reply_to_refused(Refused(408, f"The {part} of the request is too late.")))
        self._rearm()

    def _rearm(self) -> None:
        """Set the deadline of the current wait, and read only what there is room for."""
        if self.phase is _LOST:
            return
        wait = self._current_wait()
        if wait is not self._deadline:
            self._stop_deadline()
        if wait is not None and (wait is not self._deadline or self._responded):
            self._deadline = wait
            self._body_received = self.reader.body_received
            self._state.deadlines.start(wait, self)
        self._responded = False
        self._pause_or_resume_reading()

    def _current_wait(self) -> Wait | None:
        """Return what the connection waits for; None if the client waits for umd."""
        if self.phase is not _OPEN and self.phase in _WAIT_IN_PHASE:
            return _WAIT_IN_PHASE[self.phase]
        if self._client.blocked:
            return Wait.WRITE
        if self._current is not None:
            return None
        return _WAIT_FOR_PART[self.reader.part]

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._state.deadlines.stop(self._deadline, self)
            self._deadline = None

    # -- limits

    def _pause_or_resume_reading(self) -> None:
        # Mostly no request is queued, and then no limit is looked up.
        pause = self.phase is _OPEN and (
            self._client.blocked or (bool(self.reader.complete) and self._has_enough_queued())
        )
        if pause is not self._reading_paused:
            self._reading_paused = pause
            if pause:
                self._client.pause_reading()
            else:
                self._client.resume_reading()

    def _has_enough_queued(self) -> bool:
        limits = self._state.limits
        queued = len(self.reader.complete)
        if queued >= limits.max_pipelined:
            return True
        return queued > 1 and self._buffered - self._pending_body_size > limits.max_body

    def _resume_after_write(self) -> None:
        """Serve the next request, or close, after the client has taken everything."""
        if self.phase is Phase.ENDING:
            self._linger()
        else:
            self._serve_queued()
        self._rearm()

    def _count_buffered(self) -> None:
        """Count the octets of unfinished, queued and served requests; refuse if too many."""
        reader, state = self.reader, self._state
        buffered = 0 if self.phase is _LOST else self._pending_body_size + reader.buffered
        if reader.complete:
            buffered += sum(len(body) for _, body in reader.complete)
        state.buffered += buffered - self._buffered
        self._buffered = buffered
        if buffered and self._current is None and self.phase is _OPEN:
            if state.buffered > state.limits.max_held:
                self._refuse(state.busy("There are too many requests."))
