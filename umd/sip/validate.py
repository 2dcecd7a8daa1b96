"""
Whether a message that could be read may be acted on, and if not, what to say.

Apart from reading, so that a 400, 416, 420 or 505 can be built from the very message it refuses. A
reason is a value, not an exception: bad input from the network is a case like any other. Nothing is
judged here that depends on a transaction, a dialog or a registrar.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from umd.sip.build import reason_for
from umd.sip.fields import Uri, UriError, is_usual_sip_uri
from umd.sip.message import VERSION, HeaderError, Message, MessageError, Request, Response
from umd.sip.names import METHODS, SINGLE

SCHEMES: Final = frozenset(("sip", "sips"))
MAGIC_COOKIE: Final = "z9hG4bK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """
    The answer to a request that must not be acted on.

    An ACK is never answered (RFC 3261 §17): there it only means to drop it.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()
    """What the answer needs besides the fields it echoes."""
    why: str
    """For the log, not for the wire."""


def rejection_for(error: MessageError) -> Rejection:
    """
    The answer to the `request` of an error, when it has one: to a broken start line or framing.

    The request may lack a readable Via; then there is nowhere to send the answer.
    """
    return _reject(error.status, error.why)


def check_request(
    request: Request,
    *,
    methods: Collection[str] = METHODS,
    extensions: Collection[str] = (),
    schemes: Collection[str] = SCHEMES,
) -> Rejection | None:
    """
    Why a request must not be acted on, or None (RFC 3261 §8.2, §16.3).

    Args:
        request: As read.
        methods: Those the user agent handles; the order is the one of Allow.
        extensions: Option tags it understands in Require.
        schemes: URI schemes it understands in the Request-URI.
    """
    if request.version != VERSION:
        return _reject(505, f"version {request.version}")
    try:
        why = _why_malformed(request)
    except HeaderError as error:
        why = error.why
    if why is not None:
        return _reject(400, why)
    return (
        _check_method(request.method, methods)
        or _check_uri(request.uri, schemes)
        or _check_extensions(request, extensions)
    )


def check_response(response: Response) -> str | None:
    """Why a response must be dropped, or None; nobody answers a response (RFC 3261 §8.1.3)."""
    if response.version != VERSION:
        return f"version {response.version}"
    try:
        why = _why_malformed(response)
        if why is None and _has_more_vias(response):
            why = "more than one Via: it is somebody else's (RFC 3261 §8.1.3.3)"
    except HeaderError as error:
        why = error.why
    return why


def _has_more_vias(response: Response) -> bool:
    """Raises: HeaderError."""
    if not response.repeated() and "," not in (response.get("Via") or ""):  # nearly always
        return False
    return len(response.values("Via")) > 1


def _why_malformed(message: Message) -> str | None:
    """
    What no message may do, whatever it asks for.

    Not asked for: Max-Forwards, a From tag and Contact, which RFC 2543 does not know (RFC 4475
    §3.4.1). Not read: Date, Expires and others that umd does not use; to refuse a call for them
    would help nobody.

    Raises:
        HeaderError: a field every message needs is absent or malformed.
    """
    if message.repeated() and (name := _repeated_single(message)):
        return f"{name}: more than one"
    via, cseq = message.via, message.cseq
    _ = message.call_id, message.from_tag, message.to_tag
    _ = message.max_forwards, message.content_length
    if via.branch == MAGIC_COOKIE:
        return "Via: the branch is nothing but the magic cookie"  # RFC 4475 §3.2.1
    if isinstance(message, Request) and cseq.method != message.method:
        return f"CSeq: of {cseq.method}, but the method is {message.method}"
    _ = message.contacts
    return None


def _repeated_single(message: Message) -> str | None:
    """The first single-valued field that is there twice, or None."""
    seen: set[str] = set()
    for name, _ in message.headers:
        if name in seen and name in SINGLE:
            return name
        seen.add(name)
    return None


def _check_method(method: str, methods: Collection[str]) -> Rejection | None:
    if method in methods:
        return None
    # "recognizes but does not support" is 405, §8.2.1; everything else 501, §21.5.2.
    status = 405 if method in METHODS else 501
    return _reject(status, f"method {method}", ("Allow", ", ".join(methods)))


def _check_uri(text: str, schemes: Collection[str]) -> Rejection | None:
    scheme, colon, _ = text.partition(":")
    if colon and scheme.lower() not in schemes:
        return _reject(416, f"scheme {scheme}")
    if is_usual_sip_uri(text):
        return None
    try:
        uri = Uri.parse(text)
    except UriError as error:
        return _reject(400, f"Request-URI: {error}")
    if uri.headers is not None:  # not allowed there (§19.1.1), and a way to slip a Route in
        return _reject(400, "Request-URI: has header fields in it")
    return None


def _check_extensions(request: Request, extensions: Collection[str]) -> Rejection | None:
    """Require (§8.2.2.3); in ACK and CANCEL it does not count."""
    if request.get("Require") is None or request.method in ("ACK", "CANCEL"):
        return None
    try:
        unknown = [tag for tag in request.values("Require") if tag not in extensions]
    except HeaderError as error:
        return _reject(400, error.why)
    if not unknown:
        return None
    tags = ", ".join(unknown)
    return _reject(420, f"required: {tags}", ("Unsupported", tags))


def _reject(status: int, why: str, *headers: tuple[str, str]) -> Rejection:
    return Rejection(status=status, reason=reason_for(status), headers=headers, why=why)
