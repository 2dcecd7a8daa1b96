"""
Dialogs: what two user agents keep in common between INVITE and BYE (RFC 3261 §12).

A dialog knows who is who, which way its requests take (the route set and the remote target), and
how far both counts have come. What it means for a call is the session's.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from umd.sip.fields import FieldError, NameAddr, Uri, uri_host
from umd.sip.message import ExtraHeaders, HeaderError, Message, Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.targets import Target, as_request_uri, hop_for
from umd.sip.transaction import Hop, Transaction


class DialogId(NamedTuple):
    """What names a dialog, as seen from this end (§12)."""

    call_id: str
    local_tag: str
    remote_tag: str
    """Empty when the peer follows RFC 2543 and gives none."""


class Caller(NamedTuple):
    """What a caller knows of its INVITE, for the dialogs that responses to it make."""

    call_id: str
    local_tag: str
    local: str
    """The From, a raw value."""
    to: str
    """The To, a raw value without the far end's tag."""
    target: str
    """What the INVITE was addressed to; empty when that is not known any more."""


class Surroundings(Protocol):
    """What a dialog needs to build and send requests; the endpoint has it."""

    sent_by: str
    """Our host and port, for Via."""

    def new_branch(self) -> str:
        """A branch that nobody has used."""

    def target_of(self, message: Message, last: Hop) -> Target | None:
        """The first Contact of a message that can be used, and its next hop; or None."""


class Owner(Protocol):
    """Whom the requests in a dialog are for: a session."""

    def on_request(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """A request that has opened a transaction."""

    def on_ack(self, request: Request, now: float) -> None:
        """The ACK of a 2xx."""

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        """Our ACK of a 2xx could not be sent."""


class Dialog:
    """One dialog; `of_caller` and `of_callee` make it."""

    __slots__ = (
        "id",
        "early",
        "local_cseq",
        "remote_cseq",
        "target",
        "routes",
        "hop",
        "_local",
        "_remote",
        "request_uri",
        "_request_routes",
        "_last",
        "owner",
    )

    def __init__(
        self,
        name: DialogId,
        local: str,
        remote: str,
        last: Hop,
    ) -> None:
        self.id = name
        self.early = True
        """No 2xx yet (§12)."""
        self.local_cseq = 0
        """The number of our last request."""
        self.remote_cseq = -1
        """The number of the far end's last request; -1 before the first."""
        self.target = ""
        """The URI of the far end's Contact."""
        self.routes: tuple[str, ...] = ()
        """The route set, the next hop first."""
        self.hop = last
        """Where requests go."""
        self._local = local
        """The From of our requests, a raw value with tag."""
        self._remote = remote
        self.request_uri = ""
        """What our requests are addressed to (§12.2.1.1)."""
        self._request_routes: tuple[str, ...] = ()
        self._last = last
        self.owner: Owner | None = None
        """While the endpoint has it registered."""

    @classmethod
    def of_caller(
        cls, response: Response, last: Hop, around: Surroundings, invite: Caller | None = None
    ) -> Dialog:
        """
        The dialog that a response to our INVITE makes (§12.1.2).

        From the response come the To, the route set and the remote target; `invite` is what we know
        ourselves, whatever the response says of it. A 2xx that lacks them must be acknowledged all
        the same, and the call be ended. Without a Contact that can be used, requests are for the
        URI of the INVITE. Without a Record-Route that can be read they go the way it went.
        """
        if invite is None:
            invite = Caller(
                response.call_id, response.from_tag or "", response.get("From") or "", "", ""
            )
        name = DialogId(invite.call_id, invite.local_tag, response.to_tag or "")
        dialog = cls(name, invite.local, response.get("To") or invite.to, last)
        dialog.target = invite.target
        dialog.local_cseq = response.cseq_number
        dialog._take_route(response, around, dialog._remote, backwards=True)
        return dialog

    @classmethod
    def of_callee(cls, request: Request, tag: str, last: Hop, around: Surroundings) -> Dialog:
        """The dialog that our response with this To tag makes (§12.1.1)."""
        name = DialogId(request.call_id, tag, request.from_tag or "")
        local = f"{request.get('To')};tag={tag}"
        dialog = cls(name, local, request.get("From") or "", last)
        dialog.remote_cseq = request.cseq_number
        dialog._take_route(request, around, dialog._remote, backwards=False)
        return dialog

    @classmethod
    def restored(
        cls,
        name: DialogId,
        local: str,
        remote: str,
        last: Hop,
        around: Surroundings,
        *,
        target: str,
        routes: tuple[str, ...] = (),
        local_cseq: int,
        remote_cseq: int,
    ) -> Dialog:
        """A confirmed dialog as it was before a restart."""
        dialog = cls(name, local, remote, last)
        dialog.early = False
        dialog.local_cseq = local_cseq
        dialog.remote_cseq = remote_cseq
        dialog.routes = routes
        dialog.target = target
        dialog._plan(hop_for(target, last), around)
        return dialog

    def __repr__(self) -> str:
        return f"<Dialog {'early' if self.early else 'confirmed'} {'|'.join(self.id)}>"

    @property
    def local(self) -> str:
        """The From of our requests, a raw value."""
        return self._local

    @property
    def last(self) -> Hop:
        """Where the messages that made it went to or came from."""
        return self._last

    @property
    def remote(self) -> str:
        """The To of our requests, a raw value."""
        return self._remote

    def confirm(self, response: Response, around: Surroundings) -> None:
        """
        A 2xx has come in an early dialog of the caller.

        The route set is taken anew from it, since early responses may have had none (§13.2.2.4).
        """
        self.early = False
        if self.routes or response.get("Record-Route") is not None:
            self._take_route(response, around, self._remote, backwards=True)
        else:
            self.refresh_target(response, around)

    def refresh_target(self, message: Message, around: Surroundings) -> None:
        """A re-INVITE or UPDATE or its 2xx may give another Contact (§12.2); routes stay."""
        target = around.target_of(message, self._last)
        if target is not None and target.uri != self.target:
            self.target = target.uri
            self._plan(target.hop, around)

    def fall_back(self) -> bool:
        """
        Nothing can be sent to where requests go: send them the way that the INVITE took.

        Returns:
            False when that is where they went.
        """
        if self.hop == self._last:
            return False
        self.hop = self._last
        return True

    def take_cseq(self, number: int) -> bool:
        """Note the number of the far end's request; False when it is out of order (§12.2.2)."""
        if number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def take_next_cseq(self) -> int:
        """The number of our next request."""
        self.local_cseq += 1
        return self.local_cseq

    def request(
        self,
        method: str,
        around: Surroundings,
        *,
        cseq: int | None = None,
        contact: str | None = None,
        headers: ExtraHeaders = (),
        body: bytes = b"",
    ) -> OwnRequest:
        """
        A request within the dialog (§12.2.1.1).

        Args:
            method: Any.
            around: Gives the Via.
            cseq: The INVITE's number, for its ACK; otherwise the next one is taken.
            contact: For requests that may refresh the target.
            headers: More of them.
            body: A session description.
        """
        if cseq is None:
            cseq = self.take_next_cseq()
        call_id, local_tag, remote_tag = self.id
        return OwnRequest(
            method,
            self.request_uri,
            around.sent_by,
            around.new_branch(),
            self._local,
            local_tag,
            self._remote,
            remote_tag,
            call_id,
            cseq,
            self.hop.transport,
            self._request_routes,
            contact,
            headers,
            body,
        )

    def _take_route(
        self, message: Message, around: Surroundings, remote: str, *, backwards: bool
    ) -> None:
        """Route set and target of the message that makes the dialog (§12.1)."""
        routes = _route_set(message)
        if routes is not None:
            self.routes = tuple(reversed(routes)) if backwards else tuple(routes)
        elif not self.routes:
            self.routes = (_route_to(self._last),)
        target = around.target_of(message, self._last)
        if target is not None:
            self.target = target.uri
            self._plan(target.hop, around)
            return
        if not self.target:  # what is left to a peer that sends no Contact
            self.target = _uri_of(remote) or f"sip:{_host_and_port(self._last)}"
        if not self.routes and hop_for(self.target, self._last) != self._last:
            self.routes = (_route_to(self._last),)
        self._plan(self._last, around)

    def _plan(self, hop: Hop, around: Surroundings) -> None:
        """Work out Request-URI, Route and next hop, for all requests until something changes."""
        if not self.routes:
            self.request_uri, self._request_routes, self.hop = self.target, (), hop
            return
        first = NameAddr.parse(self.routes[0])
        if first.address.is_loose:
            self.request_uri, self._request_routes = self.target, self.routes
        else:  # a strict router wants itself in the Request-URI, and the target last
            self.request_uri = as_request_uri(first.uri)
            self._request_routes = (*self.routes[1:], f"<{self.target}>")
        self.hop = hop_for(first.uri, self._last)


def _route_set(message: Message) -> list[str] | None:
    """
    The Record-Route values; None when one of them cannot be read.

    Then none is used: a request that leaves out one proxy goes astray at the next.
    """
    if message.get("Record-Route") is None:
        return []
    try:
        routes = message.values("Record-Route")
        for route in routes:
            Uri.parse(NameAddr.parse(route).uri)
    except (HeaderError, FieldError) as error:
        message.note_flaw(f"Record-Route: {error}")
        return None
    return routes


def _route_to(hop: Hop) -> str:
    return f"<sip:{_host_and_port(hop)};lr>"


def _host_and_port(hop: Hop) -> str:
    return f"{uri_host(hop.host)}:{hop.port}"


def _uri_of(address: str) -> str:
    """The sip URI of a To or From; empty when it has none."""
    try:
        uri = NameAddr.parse(address).uri
        return as_request_uri(uri) if Uri.parse(uri).host else ""
    except FieldError:
        return ""
