"""
Messages that umd sends, as values that become text only when their octets are needed.

Dialogs and transactions read branch, tags, CSeq, Call-ID and Contact directly from these values. So
two endpoints in one process exchange messages without formatting or parsing any.
"""

from __future__ import annotations

from typing import Final

from umd.sip import build
from umd.sip.message import VERSION, ExtraHeaders, Headers, Request, Response

CREDENTIALS: Final = frozenset(("Authorization", "Proxy-Authorization"))


class OwnRequest(Request):
    """A request that umd sends; the arguments are those of `build.request`, and the tags."""

    __slots__ = ("_routes",)

    def __init__(
        self,
        method: str,
        uri: str,
        sent_by: str,
        branch: str,
        from_: str,
        from_tag: str,
        to: str,
        to_tag: str | None,
        call_id: str,
        cseq: int,
        transport: str,
        routes: tuple[str, ...] = (),
        contact: str | None = None,
        headers: ExtraHeaders = (),
        body: bytes = b"",
    ) -> None:
        # All attributes of Request: calling its __init__ would cost more, and set some twice.
        self.method = method
        self.uri = uri
        self.body = body
        self.version = VERSION
        self._headers = None
        self._octets = None
        self._first = None
        self._via = None
        self._from = None
        self._to = None
        self._cseq = None
        self._call_id = call_id
        self._from_tag = from_tag
        self._to_tag = to_tag
        self._branch = branch
        self._flaws = ()
        self._sent_by = sent_by
        self._cseq_number = cseq
        self._transport = transport
        self._from_raw = from_
        self._to_raw = to
        self._contact = contact
        self._extra = headers
        self._routes = routes

    @property
    def credentials(self) -> ExtraHeaders:
        """The Authorization and Proxy-Authorization header fields."""
        return tuple(item for item in self._extra if item[0] in CREDENTIALS)

    def again(self, branch: str, cseq: int, credentials: ExtraHeaders) -> OwnRequest:
        """Return the same request with these credentials, for a new transaction (§22.2)."""
        others = tuple(item for item in self._extra if item[0] not in CREDENTIALS)
        return OwnRequest(
            self.method,
            self.uri,
            self._sent_by,
            branch,
            self._from_raw,
            self.from_tag or "",
            self._to_raw,
            self.to_tag,
            self.call_id,
            cseq,
            self._transport,
            self._routes,
            self._contact,
            (*credentials, *others),
            self.body,
        )

    def _build_headers(self) -> Headers:
        return build.request(
            self.method,
            self.uri,
            sent_by=self._sent_by,
            branch=self.branch,
            from_=self._from_raw,
            to=self._to_raw,
            call_id=self._call_id,
            cseq=self._cseq_number,
            transport=self._transport,
            routes=self._routes,
            contact=self._contact,
            headers=self._extra,
            body=self.body,
        ).headers


class OwnResponse(Response):
    """A response that umd sends to an `OwnRequest` of another endpoint in the same process."""

    __slots__ = ()

    def __init__(
        self,
        request: OwnRequest,
        status: int,
        to_tag: str | None,
        contact: str | None,
        headers: ExtraHeaders,
        body: bytes,
    ) -> None:
        self.status = status
        self.reason = build.reason_for(status)
        self.body = body
        self.version = VERSION
        self._headers = None
        self._octets = None
        self._first = None
        self._via = None
        self._from = None
        self._to = None
        self._cseq = None
        self._call_id = request._call_id
        self._from_tag = request._from_tag
        if to_tag is None or request._to_tag is not None:
            self._to_raw = request._to_raw
            self._to_tag = request._to_tag
        else:
            self._to_raw = f"{request._to_raw};tag={to_tag}"
            self._to_tag = to_tag
        self._branch = request._branch
        self._flaws = ()
        self._sent_by = request._sent_by
        self._cseq_number = request._cseq_number
        self._cseq_method = request.method
        self._transport = request._transport
        self._from_raw = request._from_raw
        self._contact = contact
        self._extra = headers

    def _build_headers(self) -> Headers:
        via = f"SIP/2.0/{self._transport} {self._sent_by};branch={self._branch};rport"
        fields = [
            ("Via", via),
            ("From", self._from_raw),
            ("To", self._to_raw),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq_number} {self._cseq_method}"),
        ]
        if self._contact is not None:
            fields.append(("Contact", self._contact))
        fields += self._extra
        if self.body:
            fields.append(("Content-Type", "application/sdp"))
        fields.append(("Content-Length", str(len(self.body))))
        return fields


def response(
    request: Request,
    status: int,
    to_tag: str | None = None,
    contact: str | None = None,
    headers: ExtraHeaders = (),
    body: bytes = b"",
) -> Response:
    """Return a response: an `OwnResponse` if the request is an `OwnRequest`, else built text."""
    if isinstance(request, OwnRequest) and request.get("Record-Route") is None:
        return OwnResponse(request, status, to_tag, contact, headers, body)
    return build.response(
        request, status, to_tag=to_tag, contact=contact, headers=headers, body=body
    )
