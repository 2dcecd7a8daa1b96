"""
Builds the header fields of messages that umd sends: requests, responses, ACK and CANCEL.

The caller supplies everything, including tags, branches and CSeq numbers. From and To are raw
values with their tags. Names in `headers` must have the spelling of `names.TABLE`. The dialog has
already rewritten `uri` and `routes` for a strict router (RFC 3261 §12.2.1.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from umd.sip.message import HeaderError, Headers, Message, Request, Response
from umd.sip.names import SINGLE

MAX_FORWARDS: Final = "70"  # RFC 3261 §8.1.1.6

REASONS: Final = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}
"""RFC 3261 §21, and RFC 3265 for 202."""


def reason_for(status: int) -> str:
    """Return the RFC's reason phrase for a status, or that of its class."""
    return REASONS.get(status) or REASONS.get(status // 100 * 100, "Unknown")


def request(
    method: str,
    uri: str,
    *,
    sent_by: str,
    branch: str,
    from_: str,
    to: str,
    call_id: str,
    cseq: int,
    transport: str = "UDP",
    routes: Sequence[str] = (),
    contact: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Request:
    """
    Build a request of any method, in a dialog or not.

    The Via asks for the source port (RFC 3581), so that responses come back through a NAT.

    Args:
        contact: A raw value.
        body: A session description.
    """
    fields: Headers = [
        ("Via", f"SIP/2.0/{transport} {sent_by};branch={branch};rport"),
        ("Max-Forwards", MAX_FORWARDS),
        ("From", from_),
        ("To", to),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]
    if routes:
        fields[1:1] = [("Route", route) for route in routes]
    if contact is not None:
        fields.append(("Contact", contact))
    if headers:
        fields.extend(headers)
    if body:
        fields.append(("Content-Type", "application/sdp"))
        fields.append(("Content-Length", str(len(body))))
    else:
        fields.append(("Content-Length", "0"))
    return Request(method, uri, fields, body)


def ack_for(invite: Request, response: Response) -> Request:
    """Build the ACK of a 300-699, which has the INVITE's branch (RFC 3261 §17.1.1.3)."""
    ack = Request("ACK", invite.uri, _same_transaction(invite, "ACK", response.get("To")))
    ack._via, ack._from, ack._to = invite._via, invite._from, response._to
    ack._to_tag = response.to_tag  # also of a malformed To
    return ack


def cancel_for(invite: Request) -> Request:
    """Build the CANCEL of an INVITE, with the INVITE's branch (RFC 3261 §9.1)."""
    cancel = Request("CANCEL", invite.uri, _same_transaction(invite, "CANCEL", None))
    cancel._via, cancel._from, cancel._to = invite._via, invite._from, invite._to
    return cancel


def _same_transaction(invite: Request, method: str, to: str | None) -> Headers:
    """Return the header fields of a request with the INVITE's Via, Route, From and Call-ID."""
    fields: Headers = []
    has_via = False
    for item in invite.headers:
        name, value = item
        if name == "Via":
            if not has_via:  # a UAC writes one Via; the others are those of proxies (§16.10)
                fields.append(item)
                has_via = True
        elif name == "To":
            fields.append(item if to is None else ("To", to))
        elif name == "CSeq":
            fields.append(("CSeq", f"{value.split(None, 1)[0]} {method}"))
        elif name in _SHARED:
            fields.append(item)
    fields.append(("Content-Length", "0"))
    return fields


_SHARED: Final = frozenset(("Route", "From", "Call-ID", "Max-Forwards"))
_ECHOED: Final = frozenset(("Via", "From", "Call-ID", "CSeq"))


def response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    contact: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    """
    Build a response, with Via, From, To, Call-ID and CSeq of the request as they are (§8.2.6.2).

    A response that makes a dialog (§12.1.1) also has the request's Record-Route, and a 100 its
    Timestamp (§8.2.6.1). If the request is malformed and refused, the response lacks the fields
    that it lacks, and has only the first of repeated ones.

    Args:
        reason: The reason phrase; by default the RFC's.
        to_tag: Added to the To if that has no tag.
        contact: A raw value.
        body: A session description.
    """
    dialog = 100 < status < 300 and request.method == "INVITE"
    tagged = to_tag is not None and _lacks_tag(request)
    fields: Headers = []
    for item in request.headers:
        name = item[0]
        if name in _ECHOED:
            fields.append(item)
        elif name == "To":
            fields.append(("To", f"{item[1]};tag={to_tag}") if tagged else item)
        elif (name == "Record-Route" and dialog) or (name == "Timestamp" and status == 100):
            fields.append(item)
    if status >= 400 and request.has_repeated_fields():
        fields = _first_of_single(fields)
    if contact is not None:
        fields.append(("Contact", contact))
    if headers:
        fields.extend(headers)
    if body:
        fields.append(("Content-Type", "application/sdp"))
        fields.append(("Content-Length", str(len(body))))
    else:
        fields.append(("Content-Length", "0"))
    answer = Response(status, reason_for(status) if reason is None else reason, fields, body)
    answer._via, answer._from, answer._cseq = request._via, request._from, request._cseq
    answer._from_tag = request._from_tag
    if not tagged:
        answer._to, answer._to_tag = request._to, request._to_tag
    return answer


def _first_of_single(fields: Headers) -> Headers:
    """Remove repetitions of fields that may occur once, so that the response is well-formed."""
    seen: set[str] = set()
    kept: Headers = []
    for item in fields:
        if item[0] not in seen or item[0] not in SINGLE:
            kept.append(item)
        seen.add(item[0])
    return kept


def _lacks_tag(request: Message) -> bool:
    try:
        return request.to_tag is None
    except HeaderError:
        return False  # absent or malformed: echo it as it is
