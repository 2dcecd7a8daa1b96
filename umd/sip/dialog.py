"""
Dialogs: the state that two user agents share between INVITE and BYE (RFC 3261 §12).

A dialog has the addresses and tags of both ends, the route set, the remote target, and the CSeq
numbers of both ends. What a dialog means for a call is the business of its session.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from umd.sip.fields import FieldError, NameAddr, Uri, uri_host
from umd.sip.message import ExtraHeaders, HeaderError, Message, Request, Response
from umd.sip.outgoing import OwnRequest
from umd.sip.targets import Target, as_request_uri, hop_for
from umd.sip.transaction import Hop, Transaction


class DialogId(NamedTuple):
    """The identifier of a dialog, as seen from this end (§12)."""

    call_id: str
    local_tag: str
    remote_tag: str
    """Empty if the peer follows RFC 2543 and sends no tag."""


class SentInvite(NamedTuple):
    """The fields of an INVITE that its sender needs for the dialogs that responses to it make."""

    call_id: str
    local_tag: str
    local: str
    """The From, a raw value."""
    to: str
    """The To, a raw value without the far end's tag."""
    target: str
    """The Request-URI; empty if it is no longer known."""


class DialogAgent(Protocol):
    """What a dialog needs from its endpoint."""

    sent_by: str
    """Our host and port, for Via."""

    def new_branch(self) -> str:
        """Return a new branch."""

    def target_of(self, message: Message, invite_hop: Hop) -> Target | None:
        """Return the first usable Contact of a message, with its next hop, or None."""


class Owner(Protocol):
    """The session that gets the requests in a dialog; see `umd.sip.session.session.Session`."""

    def on_request(
        self, dialog: Dialog, transaction: Transaction, request: Request, now: float
    ) -> None:
        """A request has opened a transaction."""

    def on_ack(self, request: Request, now: float) -> None:
        """The ACK of a 2xx has arrived."""

    def on_ack_unsent(self, ack: Request, now: float) -> None:
        """Our ACK of a 2xx could not be sent."""


class Dialog:
    """One dialog, made by `of_caller`, `of_callee` or `restored`."""

    __slots__ = (
        "id",
        "early",
        "local_cseq",
        "remote_cseq",
        "target",
        "routes",
        "hop",
        "local",
        "remote",
        "request_uri",
        "_request_routes",
        "invite_hop",
        "owner",
    )

    def __init__(
        self,
        name: DialogId,
        local: str,
        remote: str,
        invite_hop: Hop,
    ) -> None:
        self.id = name
        self.early = True
        """Whether there was no 2xx yet (§12)."""
        self.local_cseq = 0
        """The number of our last request."""
        self.remote_cseq = -1
        """The number of the far end's last request; -1 before the first."""
        self.target = ""
        """The URI of the far end's Contact."""
        self.routes: tuple[str, ...] = ()
        """The route set, the next hop first."""
        self.hop = invite_hop
        """Where requests go."""
        self.local = local
        """The From of our requests, a raw value with our tag."""
        self.remote = remote
        """The To of our requests, a raw value with the far end's tag."""
        self.request_uri = ""
        """The Request-URI of our requests (§12.2.1.1)."""
        self._request_routes: tuple[str, ...] = ()
        self.invite_hop = invite_hop
        """The hop that the INVITE went to or came from."""
        self.owner: Owner | None = None
        """The session, while the dialog is registered at the endpoint."""

    @classmethod
    def of_caller(
        cls,
        response: Response,
        invite_hop: Hop,
        agent: DialogAgent,
        invite: SentInvite | None = None,
    ) -> Dialog:
        """
        Return the dialog that a response to our INVITE makes (§12.1.2).

        The To, the route set and the remote target come from the response, all else from `invite`.
        A 2xx that lacks them needs an ACK and a BYE all the same. Without a usable Contact the
        target is the URI of the INVITE. With a malformed Record-Route, requests go to the hop that
        the INVITE went to.
        """
        if invite is None:
            invite = SentInvite(
                response.call_id, response.from_tag or "", response.get("From") or "", "", ""
            )
        name = DialogId(invite.call_id, invite.local_tag, response.to_tag or "")
        dialog = cls(name, invite.local, response.get("To") or invite.to, invite_hop)
        dialog.target = invite.target
        dialog.local_cseq = response.cseq_number
        dialog._take_route(response, agent, backwards=True)
        return dialog

    @classmethod
    def of_callee(cls, request: Request, tag: str, invite_hop: Hop, agent: DialogAgent) -> Dialog:
        """Return the dialog that our response with this To tag makes (§12.1.1)."""
        name = DialogId(request.call_id, tag, request.from_tag or "")
        local = f"{request.get('To')};tag={tag}"
        dialog = cls(name, local, request.get("From") or "", invite_hop)
        dialog.remote_cseq = request.cseq_number
        dialog._take_route(request, agent, backwards=False)
        return dialog

    @classmethod
    def restored(
        cls,
        name: DialogId,
        local: str,
        remote: str,
        invite_hop: Hop,
        *,
        target: str,
        routes: tuple[str, ...] = (),
        local_cseq: int,
        remote_cseq: int,
    ) -> Dialog:
        """Return a confirmed dialog as it was before a restart."""
        dialog = cls(name, local, remote, invite_hop)
        dialog.early = False
        dialog.local_cseq = local_cseq
        dialog.remote_cseq = remote_cseq
        dialog.routes = routes
        dialog.target = target
        dialog._plan_route(hop_for(target, invite_hop))
        return dialog

    def __repr__(self) -> str:
        return f"<Dialog {'early' if self.early else 'confirmed'} {'|'.join(self.id)}>"

    def confirm(self, response: Response, agent: DialogAgent) -> None:
        """
        Take a 2xx in an early dialog of the caller.

        Its route set replaces the one so far, since early responses may have none (§13.2.2.4).
        """
        self.early = False
        if self.routes or response.get("Record-Route") is not None:
            self._take_route(response, agent, backwards=True)
        else:
            self.refresh_target(response, agent)

    def refresh_target(self, message: Message, agent: DialogAgent) -> None:
        """Take the Contact of a re-INVITE, an UPDATE or its 2xx (§12.2); the routes stay."""
        target = agent.target_of(message, self.invite_hop)
        if target is not None and target.uri != self.target:
            self.target = target.uri
            self._plan_route(target.hop)

    def fall_back(self) -> bool:
        """
        Send requests to the hop of the INVITE from now on, since their own hop is unreachable.

        Returns:
            False if they went there already.
        """
        if self.hop == self.invite_hop:
            return False
        self.hop = self.invite_hop
        return True

    def take_cseq(self, number: int) -> bool:
        """Take the CSeq of the far end's request; return False if it is too low (§12.2.2)."""
        if number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def next_cseq(self) -> int:
        """Return the CSeq of our next request."""
        self.local_cseq += 1
        return self.local_cseq

    def request(
        self,
        method: str,
        agent: DialogAgent,
        *,
        cseq: int | None = None,
        contact: str | None = None,
        headers: ExtraHeaders = (),
        body: bytes = b"",
    ) -> OwnRequest:
        """
        Return a new request in the dialog (§12.2.1.1).

        Args:
            method: The method.
            agent: Supplies the address and the branch of the Via.
            cseq: The INVITE's number, for its ACK; by default the next number.
            contact: Our Contact, for a request that may refresh the target.
            headers: Further header fields.
            body: A session description.
        """
        if cseq is None:
            cseq = self.next_cseq()
        call_id, local_tag, remote_tag = self.id
        return OwnRequest(
            method,
            self.request_uri,
            agent.sent_by,
            agent.new_branch(),
            self.local,
            local_tag,
            self.remote,
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
        self, message: Message, agent: DialogAgent, *, backwards: bool
    ) -> None:
        """Take the route set and the target of the message that makes the dialog (§12.1)."""
        routes = _route_set(message)
        if routes is not None:
            self.routes = tuple(reversed(routes)) if backwards else tuple(routes)
        elif not self.routes:
            self.routes = (_route_to(self.invite_hop),)
        target = agent.target_of(message, self.invite_hop)
        if target is not None:
            self.target = target.uri
            self._plan_route(target.hop)
            return
        if not self.target:  # the peer has sent no usable Contact
            self.target = _uri_of(self.remote) or f"sip:{_host_and_port(self.invite_hop)}"
        if not self.routes and hop_for(self.target, self.invite_hop) != self.invite_hop:
            self.routes = (_route_to(self.invite_hop),)
        self._plan_route(self.invite_hop)

    def _plan_route(self, hop: Hop) -> None:
        """Set Request-URI, Route and next hop of our requests, from routes and target."""
        if not self.routes:
            self.request_uri, self._request_routes, self.hop = self.target, (), hop
            return
        first = NameAddr.parse(self.routes[0])
        if first.address.is_loose:
            self.request_uri, self._request_routes = self.target, self.routes
        else:  # a strict router wants itself in the Request-URI, and the target last
            self.request_uri = as_request_uri(first.uri)
            self._request_routes = (*self.routes[1:], f"<{self.target}>")
        self.hop = hop_for(first.uri, self.invite_hop)


def _route_set(message: Message) -> list[str] | None:
    """
    Return the Record-Route values; None if one of them is malformed.

    Then none of them is used: a request that skips one proxy is misrouted by the next.
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
    """Return the SIP URI of a To or From; `""` if it has none."""
    try:
        uri = NameAddr.parse(address).uri
        return as_request_uri(uri) if Uri.parse(uri).host else ""
    except FieldError:
        return ""
