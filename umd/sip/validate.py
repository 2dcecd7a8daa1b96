"""
Whether a message that could be read may be acted on, and if not, what to say.

What is needed. "A UAS SHOULD ignore any malformed header fields that are not necessary for
processing requests" (RFC 3261 §8.2.2). And a response that is dropped for an ornament leaves two
ends that disagree on whether a call is up. So `NEEDED_IN_REQUEST` and `NEEDED_IN_RESPONSE` name,
for each kind of message, the fields without which it cannot be processed. Those alone are judged,
and strictly; everything else may be missing, doubled or malformed. What was seen and passed over is
noted in the message (`Message.flaws`).

Apart from reading, so that a 400, 416, 420 or 505 can be built from the very message it refuses. A
reason is a value, not an exception: bad input from the network is a case like any other. Nothing is
judged here that depends on a transaction, a dialog or a registrar.
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
"""Reads a field that is needed. Raises: HeaderError, it is missing or malformed."""


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
"""The tag alone: the address is echoed, whatever it is."""
TO_TAG: Final[Need] = _to_tag
CONTENT_LENGTH: Final[Need] = attrgetter("content_length")
CONTACT: Final[Need] = attrgetter("contacts")
"""It need not be there."""
RECORD_ROUTE: Final[Need] = _record_route
"""It need not be there."""

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
By method: outside a dialog, and within one, which is where the To has a tag.

Besides these: the version; the Request-URI outside a dialog; Require, except of ACK and CANCEL; the
body of INVITE, UPDATE and ACK (`umd.sip.body`).

Not needed: Max-Forwards, which is for who forwards; a From tag, which RFC 2543 does not know
(RFC 4475 §3.4.1). An ACK is not answered: to refuse it is to wait for it in vain.
"""
_OF_OTHERS: Final = ((*_NEW, CONTACT), (*_NEW, CONTACT))
"""Of methods that umd does not have."""

NEEDED_IN_RESPONSE: Final = ("the branch of the topmost Via", "CSeq")
"""
In a response of any status to any method. They identify its transaction, and no stranger knows the
branch. A second Via is not looked at: the response has come to who sent the request, while §8.1.3.3
would drop it as misrouted.

What else is of use is taken if it can be read, and done without otherwise: the To tag; Contact and
Record-Route of 1xx and 2xx to INVITE (`umd.sip.dialog`) and their body (`umd.sip.body`); Allow,
Reason and the challenges of 401 and 407. From and Call-ID are those of the request.
"""

ONCE: Final = frozenset(("From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards"))
"""What a request must not have twice (RFC 4475 §3.3.8): two readers could see two requests."""
IDENTITY: Final = frozenset(("From", "To", "Call-ID", "CSeq"))
"""The same of an ACK; and what a response must not have in two different values."""


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
    """Why a response must be dropped, or None; nobody answers a response (RFC 3261 §8.1.3)."""
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
    Whether what the request needs is missing or malformed, and what of it.

    Raises:
        HeaderError: the same.
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
        return "Via: the branch is nothing but the magic cookie"  # RFC 4475 §3.2.1
    if request.cseq.method != method:
        return f"CSeq: of {request.cseq.method}, but the method is {method}"
    return None


def _is_in_dialog(request: Request) -> bool:
    """Whether the To has a tag, also when the rest of it cannot be read."""
    try:
        return request.to_tag is not None
    except HeaderError:
        return find_tag(request.get("To") or "") is not None


def _repeated_of(names: Collection[str], message: Message) -> str | None:
    """The first of these header fields that is there twice, or None."""
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
    if uri.headers is not None:  # not allowed there (§19.1.1), and a way to slip a Route in
        return _reject(400, "Request-URI: has header fields in it")
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
