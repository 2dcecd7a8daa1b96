"""
Requests and responses that we make: their fields are values first, and text only on the wire.

What dialogs and transactions read (branch, tags, CSeq, Call-ID, Contact) is handed over as it is,
so that two endpoints in one process exchange messages without formatting or parsing one. The header
list, and with it the octets, is written when somebody asks for it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from umd.sip import build
from umd.sip.fields import CSeq, NameAddr, Via
from umd.sip.message import VERSION, Headers, Message, Request, Response

ExtraHeaders: TypeAlias = tuple[tuple[str, str], ...]

_WRITTEN: Final = frozenset(
    ("Via", "Route", "Max-Forwards", "Call-ID", "CSeq", "Content-Type", "Content-Length")
)
"""Header fields that are neither values of their own nor extra: their text is asked for."""


class Own(Message):
    """What own requests and responses have in common."""

    __slots__ = ()

    # What a received message keeps of what it has read has no place here.
    version = VERSION
    _octets = None
    _via = None
    _from = None
    _to = None
    _cseq = None
    _from_tag = ""
    _to_tag = ""

    method: str
    """Of the request, also in its response."""
    branch: str
    sent_by: str
    transport: str
    from_raw: str
    to_raw: str
    number: int
    """Of the CSeq."""
    contact: str | None
    extra: ExtraHeaders
    call_id: str
    from_tag: str | None
    to_tag: str | None
    written: Headers | None
    """The header list, once it was asked for."""

    def _write(self) -> Headers:
        """Make the header list, and keep it in `written`."""
        raise NotImplementedError

    @property
    def headers(self) -> Headers:  # type: ignore[override]  # a plain attribute in the base
        """The header fields as text."""
        return self._write() if self.written is None else self.written

    @property
    def via(self) -> Via:
        return Via.parse(f"SIP/2.0/{self.transport} {self.sent_by};branch={self.branch};rport")

    @property
    def cseq(self) -> CSeq:
        return CSeq(self.number, self.method)

    @property
    def from_(self) -> NameAddr:
        return NameAddr.parse(self.from_raw)

    @property
    def to(self) -> NameAddr:
        return NameAddr.parse(self.to_raw)

    def get(self, name: str) -> str | None:
        if name == "Contact":
            return self.contact
        if name == "From":
            return self.from_raw
        if name == "To":
            return self.to_raw
        if name in _WRITTEN:
            return super().get(name)
        for key, value in self.extra:
            if key == name:
                return value
        return None

    def all(self, name: str) -> list[str]:
        if name in _WRITTEN or name == "Contact" or name == "From" or name == "To":
            return super().all(name)
        return [value for key, value in self.extra if key == name]


_SLOTS: Final = (
    "method",
    "branch",
    "sent_by",
    "transport",
    "from_raw",
    "to_raw",
    "number",
    "contact",
    "extra",
    "call_id",
    "from_tag",
    "to_tag",
    "written",
)


class OwnRequest(Own, Request):
    """A request that we make; the arguments are those of `build.request`, and the tags."""

    __slots__ = (*_SLOTS[1:], "route_values")

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
        self.method = method
        self.uri = uri
        self.sent_by = sent_by
        self.branch = branch
        self.from_raw = from_
        self.from_tag = from_tag
        self.to_raw = to
        self.to_tag = to_tag
        self.call_id = call_id
        self.number = cseq
        self.transport = transport
        self.route_values = routes
        self.contact = contact
        self.extra = headers
        self.body = body
        self.written = None
        self._first = None

    def _write(self) -> Headers:
        self.written = build.request(
            self.method,
            self.uri,
            sent_by=self.sent_by,
            branch=self.branch,
            from_=self.from_raw,
            to=self.to_raw,
            call_id=self.call_id,
            cseq=self.number,
            transport=self.transport,
            routes=self.route_values,
            contact=self.contact,
            headers=self.extra,
            body=self.body,
        ).headers
        return self.written


class OwnResponse(Own, Response):
    """A response that we make to a request that was handed over as an object."""

    __slots__ = _SLOTS

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
        self.method = request.method
        self.branch = request.branch
        self.sent_by = request.sent_by
        self.transport = request.transport
        self.from_raw = request.from_raw
        self.from_tag = request.from_tag
        if to_tag is None or request.to_tag is not None:
            self.to_raw = request.to_raw
            self.to_tag = request.to_tag
        else:
            self.to_raw = f"{request.to_raw};tag={to_tag}"
            self.to_tag = to_tag
        self.call_id = request.call_id
        self.number = request.number
        self.contact = contact
        self.extra = headers
        self.body = body
        self.written = None
        self._first = None

    def _write(self) -> Headers:
        fields = [
            ("Via", f"SIP/2.0/{self.transport} {self.sent_by};branch={self.branch};rport"),
            ("From", self.from_raw),
            ("To", self.to_raw),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.number} {self.method}"),
        ]
        if self.contact is not None:
            fields.append(("Contact", self.contact))
        fields += self.extra
        if self.body:
            fields.append(("Content-Type", "application/sdp"))
        fields.append(("Content-Length", str(len(self.body))))
        self.written = fields
        return fields


def response(
    request: Request,
    status: int,
    to_tag: str | None = None,
    contact: str | None = None,
    headers: ExtraHeaders = (),
    body: bytes = b"",
) -> Response:
    """An answer: to a request that was read, with what that has; else without any text."""
    if isinstance(request, OwnRequest) and request.get("Record-Route") is None:
        return OwnResponse(request, status, to_tag, contact, headers, body)
    return build.response(
        request, status, to_tag=to_tag, contact=contact, headers=headers, body=body
    )


def number_of(message: Message) -> int:
    """The CSeq number."""
    return message.number if isinstance(message, Own) else message.cseq.number


def method_of(response: Response) -> str:
    """The method that a response answers."""
    return response.method if isinstance(response, Own) else response.cseq.method


def branch_of(message: Message) -> str:
    """The branch of the topmost Via; empty when there is none."""
    return message.branch if isinstance(message, Own) else message.via.branch or ""
