"""
Messages that umd sends: requests, responses, and what follows from a request (ACK, CANCEL).

Everything is handed in: tags, branches and numbers too. From and To are raw values with their tags,
as the dialog keeps them. Header fields given as `headers` must be in the spelling of `names.TABLE`.
Two forms: a message object that is written only when its `octets` are asked for, so that two ends
in one process need none, and `bye_octets`, which writes the most frequent request at once.

A strict router's rewriting (RFC 3261 §12.2.1.1) is the dialog's: `uri` and `routes` come final.
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
    """The usual words for a status; those of its class for one without."""
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
    content_type: str = "application/sdp",
    max_forwards: str = MAX_FORWARDS,
) -> Request:
    """
    A request of any method, in a dialog or not.

    `contact` is a raw value; `content_type` counts only with a body. The Via asks for the source
    port (RFC 3581), so that answers come back through a NAT.
    """
    fields: Headers = [
        ("Via", f"SIP/2.0/{transport} {sent_by};branch={branch};rport"),
        ("Max-Forwards", max_forwards),
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
        fields.append(("Content-Type", content_type))
        fields.append(("Content-Length", str(len(body))))
    else:
        fields.append(("Content-Length", "0"))
    return Request(method, uri, fields, body)


def bye(
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
    headers: Sequence[tuple[str, str]] = (),
) -> Request:
    """A BYE (RFC 3261 §15.1.1). `uri` is the remote target."""
    fields: Headers = [
        ("Via", f"SIP/2.0/{transport} {sent_by};branch={branch};rport"),
        ("Max-Forwards", MAX_FORWARDS),
        ("From", from_),
        ("To", to),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} BYE"),
    ]
    if routes:
        fields[1:1] = [("Route", route) for route in routes]
    if headers:
        fields.extend(headers)
    fields.append(("Content-Length", "0"))
    return Request("BYE", uri, fields)


_BYE_LINES: Final = 9
"""How many lines the template below has without Route and further header fields."""


def bye_octets(
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
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """
    The octets of `bye(...)`, without the message.

    Raises:
        HeaderError: a value has CR or LF in it.
    """
    lines = _BYE_LINES
    route = extra = ""
    if routes:
        route = "".join([f"Route: {value}\r\n" for value in routes])
        lines += len(routes)
    if headers:
        extra = "".join([f"{name}: {value}\r\n" for name, value in headers])
        lines += len(headers)
    text = (
        f"BYE {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {sent_by};branch={branch};rport\r\n"
        f"{route}"
        "Max-Forwards: 70\r\n"
        f"From: {from_}\r\n"
        f"To: {to}\r\n"
        f"Call-ID: {call_id}\r\n"
        f"CSeq: {cseq} BYE\r\n"
        f"{extra}"
        "Content-Length: 0\r\n"
        "\r\n"
    )
    if text.count("\n") != lines or text.count("\r") != lines:
        raise HeaderError("BYE", "CR or LF in a value must not be written")
    return text.encode("utf-8", "surrogateescape")


def ack_for(invite: Request, response: Response) -> Request:
    """
    The ACK of a failure: part of the INVITE's transaction, so with its branch (RFC 3261 §17.1.1.3).
    """
    ack = Request("ACK", invite.uri, _same_transaction(invite, "ACK", response.get("To")))
    ack._via, ack._from, ack._to = invite._via, invite._from, response._to
    ack._to_tag = response.to_tag  # of a To that can be read or not
    return ack


def cancel_for(invite: Request) -> Request:
    """The CANCEL of an INVITE on its way, with the INVITE's branch (RFC 3261 §9.1)."""
    cancel = Request("CANCEL", invite.uri, _same_transaction(invite, "CANCEL", None))
    cancel._via, cancel._from, cancel._to = invite._via, invite._from, invite._to
    return cancel


def _same_transaction(invite: Request, method: str, to: str | None) -> Headers:
    """The header fields of a request that shares the INVITE's Via, Route, From and Call-ID."""
    fields: Headers = []
    has_via = False
    for item in invite.headers:
        name, value = item
        if name == "Via":
            if not has_via:  # ours alone: a UAC writes one, and a proxy's ACK has its own (§16.10)
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
    content_type: str = "application/sdp",
) -> Response:
    """
    An answer to a request: Via, From, To, Call-ID and CSeq are echoed octet for octet (§8.2.6.2).

    `to_tag` is added when the To has no tag yet. What makes a dialog (§12.1.1) also takes the
    Record-Route along, and a 100 the Timestamp (§8.2.6.1). Of a malformed request, which is being
    refused, a field that it lacks is left out, and of a repeated one the first is echoed.
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
        fields.append(("Content-Type", content_type))
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
    """Without the repetitions that the request is refused for: the answer should be readable."""
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
        return False  # absent, or malformed: better echoed as it came than made worse
