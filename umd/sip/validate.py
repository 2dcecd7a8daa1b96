"""
Checks whether a parsed message is valid, and which response refuses a request that is not.

"A UAS SHOULD ignore any malformed header fields that are not necessary for processing requests"
(RFC 3261 §8.2.2). And if a response is dropped for an unimportant field, the two ends disagree on
whether the call is up. So `NEEDED_IN_REQUEST` and `NEEDED_IN_RESPONSE` name the fields without
which a message cannot be processed. Only those are checked, and strictly. All others may be
missing, repeated or malformed; flaws that were tolerated are noted in `Message.flaws`.

Parsing and checking are separate, so that a 400, 416, 420 or 505 can be built from the message that
it refuses. A `Rejection` is a value, not an exception: bad input from the network is a normal case.
Checks that need a transaction or a dialog are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeAlias

from umd.sip.build import reason_for
from umd.sip.fields import MAGIC_COOKIE, Uri, UriError, find_tag, is_usual_sip_uri
from umd.sip.message import VERSION, HeaderError, Message, MessageError, Request, Response
from umd.sip.names import METHODS, SINGLE

SCHEMES: Final = frozenset(("sip", "sips"))

Need: TypeAlias = Callable[[Message], object]
"""Reads a field. Raises `HeaderError` if the field is missing or malformed."""


def _from_tag(message: Message) -> None:
    message.read_tag_leniently("From")


def _to_tag(message: Message) -> None:
    message.read_tag_leniently("To")


def _record_route(message: Message) -> None:
    if message.get("Record-Route") is not None:
        try:
            for route in message.record_routes:
                Uri.parse(route.uri)
        except UriError as error:
            raise HeaderError("Record-Route", str(error)) from error


VIA: Final[Need] = attrgetter("via")
CSEQ: Final[Need] = attrgetter("cseq")
CALL_ID: Final[Need] = attrgetter("call_id")
FROM: Final[Need] = attrgetter("from_tag")
TO: Final[Need] = attrgetter("to_tag")
FROM_TAG: Final[Need] = _from_tag
"""Only the tag: the response echoes the address even if it is malformed."""
TO_TAG: Final[Need] = _to_tag
CONTENT_LENGTH: Final[Need] = attrgetter("content_length")
CONTACT: Final[Need] = attrgetter("contacts")
"""May be missing, but not malformed."""
RECORD_ROUTE: Final[Need] = _record_route
"""May be missing, but not malformed."""

_NEW: Final = (VIA, CSEQ, CALL_ID, FROM, TO, CONTENT_LENGTH)
_IN_DIALOG: Final = (VIA, CSEQ, CALL_ID, FROM_TAG, TO_TAG, CONTENT_LENGTH)
_OF_ACK: Final = (VIA, CSEQ, CALL_ID, FROM_TAG, TO_TAG)
NEEDED_IN_REQUEST: Final[Mapping[str, tuple[tuple[Need, ...], tuple[Need, ...]]]] = {
    "INVITE": ((*_NEW, CONTACT, RECORD_ROUTE), (*_IN_DIALOG, CONTACT)),
    "ACK": (_OF_ACK, _OF_ACK),
    "CANCEL": (_IN_DIALOG, _IN_DIALOG),
    "BYE": (_IN_DIALOG, _IN_DIALOG),
    "OPTIONS": (_NEW, _IN_DIALOG),
    "UPDATE": ((*_NEW, CONTACT), (*_IN_DIALOG, CONTACT)),
}
"""
By method, the fields needed outside a dialog, and inside one (the To has a tag).

Also checked are the version, the Request-URI outside a dialog, Require except in ACK and CANCEL,
and the body of INVITE, UPDATE and ACK (`umd.sip.body`).

Not needed are Max-Forwards, which only proxies use, and the From tag, which RFC 2543 does not have
(RFC 4475 §3.4.1). An ACK gets no response: if umd dropped one, it would wait for it in vain.
"""
_OF_OTHERS: Final = ((*_NEW, CONTACT), (*_NEW, CONTACT))
"""The same for methods that umd does not support."""

NEEDED_IN_RESPONSE: Final = ("the branch of the topmost Via", "CSeq")
"""
The fields needed in a response, of any status and to any method: they identify its transaction.

A third party does not know the branch. A second Via is ignored, although §8.1.3.3 drops such a
response as misrouted: it has reached the sender of the request.

Other fields are used if they are well-formed, and ignored otherwise: the To tag; Contact,
Record-Route (`umd.sip.dialog`) and body (`umd.sip.body`) of 1xx and 2xx to INVITE; Allow, Reason
and the challenges of 401 and 407. From and Call-ID are taken from the request.
"""

ONCE: Final = frozenset(("From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards"))
"""Fields that make a request malformed if repeated (RFC 4475 §3.3.8): readers could disagree."""
IDENTITY: Final = frozenset(("From", "To", "Call-ID", "CSeq"))
"""The same for an ACK; and fields that must not have two different values in a response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """
    The response that refuses a request.

    An ACK gets no response (RFC 3261 §17): for it a rejection means that it is dropped.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()
    """Header fields of the response, besides those that it echoes."""
    why: str
    """The reason in words, for the log; it is not sent."""


def rejection_for(error: MessageError) -> Rejection:
    """
    Return the response to a request with a malformed start line or framing (`error.request`).

    The request may lack a readable Via: then the response can only go to the source.
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
    Return the rejection of a request, or None if it is valid (RFC 3261 §8.2, §16.3).

    Args:
        request: The parsed request.
        methods: The supported methods, in the order of Allow.
        extensions: The supported option tags of Require.
        schemes: The supported URI schemes of the Request-URI.
    """
    if request.version != VERSION:
        return _reject(505, f"version {request.version}")
    try:
        why = _why_malformed(request)
    except HeaderError as error:
        why = str(error)
    if why is not None:
        return _reject(400, why)
    rejection = _check_method(request.method, methods)
    if rejection is not None or request.method in ("ACK", "CANCEL"):
        return rejection
    if not _is_in_dialog(request):
        rejection = _check_uri(request.uri, schemes)
    return rejection or _check_extensions(request, extensions)


def check_response(response: Response) -> str | None:
    """Return why a response must be dropped, or None if it is valid (RFC 3261 §8.1.3)."""
    if response.version != VERSION:
        return f"version {response.version}"
    if response.has_repeated_fields():
        for name in IDENTITY:
            if len(set(response.all(name))) > 1:
                return f"{name}: more than one"
        _note_repeated(response)
    try:
        _ = response.cseq
    except HeaderError as error:
        return str(error)
    return None if response.branch else "Via: no branch"


def _why_malformed(request: Request) -> str | None:
    """
    Return what makes a request malformed, or None.

    Raises:
        HeaderError: A needed field is missing or malformed.
    """
    method = request.method
    if request.has_repeated_fields():
        name = _repeated_of(IDENTITY if method == "ACK" else ONCE, request)
        if name is not None:
            return f"{name}: more than one"
        _note_repeated(request)
    new, in_dialog = NEEDED_IN_REQUEST.get(method, _OF_OTHERS)
    for read in in_dialog if _is_in_dialog(request) else new:
        read(request)
    if request.via.branch == MAGIC_COOKIE:
        return "Via: the branch is only the magic cookie"  # RFC 4475 §3.2.1
    if request.cseq.method != method:
        return f"CSeq: of {request.cseq.method}, but the method is {method}"
    return None


def _is_in_dialog(request: Request) -> bool:
    """Return whether the To has a tag, even if the rest of it is malformed."""
    try:
        return request.to_tag is not None
    except HeaderError:
        return find_tag(request.get("To") or "") is not None


def _repeated_of(names: Collection[str], message: Message) -> str | None:
    """Return the first of these header fields that occurs twice, or None."""
    seen: set[str] = set()
    for name, _ in message.headers:
        if name in seen and name in names:
            return name
        seen.add(name)
    return None


def _note_repeated(message: Message) -> None:
    name = _repeated_of(SINGLE, message)
    if name is not None:
        message.note_flaw(f"{name}: more than one")


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
    if uri.headers is not None:  # §19.1.1 forbids them: they could add a Route
        return _reject(400, "Request-URI: contains header fields")
    return None


def _check_extensions(request: Request, extensions: Collection[str]) -> Rejection | None:
    """Require (§8.2.2.3)."""
    if request.get("Require") is None:
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
