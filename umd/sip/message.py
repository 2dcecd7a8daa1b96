"""
A SIP message as a value: start line, header fields and body (RFC 3261 §7).

Header fields are kept as raw values. A typed value such as `via` is parsed on first access and then
cached, so a message with a malformed field can be read as far as it is well-formed, and refused
with an answer.

A message that umd makes holds the values that transactions and dialogs need (`umd.sip.outgoing`).
Its header list is built when something asks for it, such as `octets`. Two endpoints in one process
exchange such messages without building or parsing any text.

A message is not changed once it is made, since the cached values would not follow. Only the code
that has just parsed it may change it: `set_octets`, `truncate_body`, `note_source`, `note_flaw`,
`read_tag_leniently`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from umd.errors import UmdError
from umd.sip.fields import (
    MAX_VALUES,
    CSeq,
    FieldError,
    NameAddr,
    Via,
    find_branch,
    find_tag,
    parse_tag,
    split_list,
)
from umd.sip.names import KNOWN, LISTED, canonical

MAX_FLAW_CHARACTERS: Final = 200
"""Length of the text that is kept of one flaw."""
MAX_CONTENT_LENGTH: Final = 2**31 - 1
VERSION: Final = "SIP/2.0"

Headers = list[tuple[str, str]]
ExtraHeaders: TypeAlias = tuple[tuple[str, str], ...]
T = TypeVar("T")

_BUILT: Final = frozenset(
    ("Via", "Route", "Max-Forwards", "Call-ID", "CSeq", "Content-Type", "Content-Length")
)
"""Header fields of a message that umd makes which only its header list has."""


class MessageError(UmdError):
    """Octets are not a valid SIP message."""

    def __init__(self, why: str, request: Request | None = None, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.request = request
        """The readable parts of a request that gets an answer; fields may be missing or wrong."""
        self.status = status
        """The status of that answer."""


class HeaderError(MessageError):
    """A required header field is absent, or a header field is malformed."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


class Message:
    """The common part of requests and responses."""

    __slots__ = (
        *("body", "version", "_flaws", "_headers", "_octets", "_first"),
        *("_via", "_from", "_to", "_cseq", "_call_id", "_from_tag", "_to_tag"),
        *("_branch", "_sent_by", "_cseq_number", "_transport", "_from_raw", "_to_raw"),
        *("_contact", "_extra"),
    )

    # Only of a message that umd makes. The last four are only used to build its header list.
    _sent_by: str
    _cseq_number: int
    _transport: str
    _from_raw: str
    _to_raw: str
    _contact: str | None
    _extra: ExtraHeaders

    def __init__(self, headers: Headers | None, body: bytes) -> None:
        self.body = body
        self.version = VERSION
        self._headers = headers
        """`(canonical name, raw value)`; None while the header list is not built."""
        self._octets: bytes | None = None
        self._first: dict[str, str] | None = None
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None
        # Empty: not parsed yet. A Call-ID or tag is never empty.
        self._call_id = ""
        self._from_tag: str | None = ""
        self._to_tag: str | None = ""
        self._branch: str | None = None
        """None: the message was parsed, not made by umd."""
        self._flaws: tuple[str, ...] = ()

    @property
    def flaws(self) -> tuple[str, ...]:
        """The faults of the message that were ignored because nothing depends on them."""
        return self._flaws

    def note_flaw(self, flaw: str) -> None:
        """Note a fault that is ignored; the same text is noted once."""
        flaw = flaw[:MAX_FLAW_CHARACTERS]
        if flaw not in self._flaws:
            self._flaws += (flaw,)

    @property
    def headers(self) -> Headers:
        """`(canonical name, raw value)` in the order of the header lines."""
        headers = self._headers
        if headers is None:
            headers = self._headers = self._build_headers()
        return headers

    def _build_headers(self) -> Headers:
        """Return the header list of a message that umd makes."""
        raise NotImplementedError

    @property
    def start_line(self) -> str:
        """The first line, without CRLF."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.start_line!r}, {len(self.headers)} headers>"

    @property
    def made_of_values(self) -> bool:
        """Whether umd made this message from values, so that nothing in it has to be parsed."""
        return self._branch is not None

    # Raw values

    def get(self, name: str) -> str | None:
        """Return the raw value of the first header field of this name, or None."""
        if self._headers is None and name not in _BUILT:
            return self._own_value(name)
        first = self._first
        if first is None:
            first = self._first = dict(reversed(self.headers))
        value = first.get(name)
        if value is None and name not in KNOWN:
            return next(iter(self._all_of_unknown(name)), None)
        return value

    def all(self, name: str) -> list[str]:
        """Return the raw values of all header fields of this name, in order."""
        if self._headers is None and name not in _BUILT:
            extra = [value for key, value in self._extra if key == name]
            return extra or [value for value in (self._own_value(name),) if value is not None]
        if name in KNOWN:
            return [value for key, value in self.headers if key == name]
        return self._all_of_unknown(name)

    def _own_value(self, name: str) -> str | None:
        """Return a raw value of a message that umd makes, without building its header list."""
        if name == "Contact":
            return self._contact
        if name == "From":
            return self._from_raw
        if name == "To":
            return self._to_raw
        for key, value in self._extra:
            if key == name:
                return value
        return None

    def _all_of_unknown(self, name: str) -> list[str]:
        """Return all values for a name in another spelling, or one that the table lacks."""
        canonical_name = canonical(name)
        if canonical_name in KNOWN:
            return [value for key, value in self.headers if key == canonical_name]
        lower = name.lower()
        return [value for key, value in self.headers if key.lower() == lower]

    def values(self, name: str) -> list[str]:
        """
        Return all values of this name. A list is split at its commas, without its empty elements.

        Raises:
            HeaderError: a quoted string or bracket is not closed, or there are too many values.
        """
        listed = (name if name in KNOWN else canonical(name)) in LISTED
        values: list[str] = []
        for raw in self.all(name):
            if listed:
                values += _parse_value(name, split_list, raw)
            else:
                values.append(raw)
            if len(values) > MAX_VALUES:
                raise HeaderError(name, f"more than {MAX_VALUES} values")
        return [value for value in values if value]

    def _required(self, name: str) -> str:
        """Return the first raw value of this name. Raises: HeaderError if there is none."""
        first = self._first
        if first is None:
            first = self._first = dict(reversed(self.headers))
        value = first.get(name)
        if value is None:
            raise HeaderError(name, "missing")
        return value

    def has_repeated_fields(self) -> bool:
        """Whether any header field name occurs twice."""
        if self._first is None:
            self._first = dict(reversed(self.headers))
        return len(self._first) != len(self.headers)

    # Typed values. Each raises HeaderError if it is malformed, or if it is required and absent.

    @property
    def via(self) -> Via:
        """The topmost Via: the last hop that the request has passed."""
        via = self._via
        if via is None:
            raw = self._required("Via")
            try:
                via = self._via = Via.parse(raw if "," not in raw else split_list(raw)[0])
            except FieldError as error:
                raise HeaderError("Via", str(error)) from error
        return via

    @property
    def from_(self) -> NameAddr:
        """The address and the tag in the From header field."""
        address = self._from
        if address is None:
            address = self._from = _parse_value("From", NameAddr.parse, self._required("From"))
        return address

    @property
    def to(self) -> NameAddr:
        """The address and the tag in the To header field."""
        address = self._to
        if address is None:
            address = self._to = _parse_value("To", NameAddr.parse, self._required("To"))
        return address

    @property
    def from_tag(self) -> str | None:
        """The tag of the From; cheaper than `from_.tag`."""
        tag = self._from_tag
        if tag == "":
            tag = self._from_tag = self._tag("From")
        return tag

    @property
    def to_tag(self) -> str | None:
        """The tag of the To; cheaper than `to.tag`."""
        tag = self._to_tag
        if tag == "":
            tag = self._to_tag = self._tag("To")
        return tag

    def _tag(self, name: str) -> str | None:
        try:
            return parse_tag(self._required(name))
        except FieldError as error:
            raise HeaderError(name, str(error)) from error

    def read_tag_leniently(self, name: str) -> None:
        """
        Cache the tag of the From or To, even if the rest of that field is malformed.

        Raises:
            HeaderError: the header field is absent.
        """
        try:
            _ = self.from_tag if name == "From" else self.to_tag
        except HeaderError as error:
            tag = find_tag(self._required(name))
            self.note_flaw(str(error))
            if name == "From":
                self._from_tag = tag
            else:
                self._to_tag = tag

    @property
    def call_id(self) -> str:
        """The value of the Call-ID header field."""
        value = self._call_id
        if not value:
            value = self._required("Call-ID")
            if not value or " " in value or "\t" in value:
                raise HeaderError("Call-ID", "empty, or has blanks in it")
            self._call_id = value
        return value

    @property
    def branch(self) -> str:
        """The branch of the topmost Via; empty if it has none."""
        branch = self._branch
        return self.via.branch or "" if branch is None else branch

    @property
    def sent_by(self) -> str:
        """Host and port of the topmost Via."""
        return self.via.sent_by if self._branch is None else self._sent_by

    @property
    def cseq_number(self) -> int:
        """The number of the CSeq."""
        return self.cseq.number if self._branch is None else self._cseq_number

    @property
    def cseq(self) -> CSeq:
        """The CSeq header field: number and method of the request."""
        cseq = self._cseq
        if cseq is None:
            raw = self._required("CSeq")
            try:
                cseq = self._cseq = CSeq.parse(raw)
            except FieldError as error:
                raise HeaderError("CSeq", str(error)) from error
        return cseq

    @property
    def contacts(self) -> list[NameAddr]:
        """All Contact addresses. The "*" of a REGISTER (RFC 3261 §10.2.2) is not an address."""
        value = self.get("Contact")
        return [] if value is None or value == "*" else self._addresses("Contact")

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route addresses."""
        return self._addresses("Record-Route")

    def _addresses(self, name: str) -> list[NameAddr]:
        values = self.all(name)
        if len(values) == 1 and "," not in values[0] and values[0]:  # the usual case
            return [_parse_value(name, NameAddr.parse, values[0])]
        return [_parse_value(name, NameAddr.parse, value) for value in self.values(name)]

    @property
    def content_length(self) -> int | None:
        """The length of the body in octets, as the sender states it, or None."""
        value = self.get("Content-Length")
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal()):
            raise HeaderError("Content-Length", "not a number")
        digits = value if len(value) < 16 else value.lstrip("0")
        if len(digits) > 15 or (length := int(digits or "0")) > MAX_CONTENT_LENGTH:
            raise HeaderError("Content-Length", f"larger than {MAX_CONTENT_LENGTH}")
        return length

    # Octets

    def octets(self) -> bytes:
        """
        Return the octets of the message: those received, or those to send.

        Raises:
            HeaderError: a value has CR or LF in it and must not be sent.
        """
        return self.to_octets() if self._octets is None else self._octets

    def to_octets(self) -> bytes:
        """Encode the message from its parts. Raises: as `octets`."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        text = f"{self.start_line}\r\n{lines}\r\n"
        ends = len(self.headers) + 2
        if text.count("\n") != ends or text.count("\r") != ends:
            raise self._line_break_error()
        return text.encode("utf-8", "surrogateescape") + self.body

    def set_octets(self, data: bytes, head_length: int) -> None:
        """Set the octets of a parsed message, and with them its body, which starts there."""
        self.body = data[head_length:]
        self._octets = data

    def truncate_body(self, length: int) -> None:
        """Drop the octets of the body after the first `length`."""
        surplus = len(self.body) - length
        self.body = self.body[:length]
        if self._octets is not None and surplus > 0:
            self._octets = self._octets[:-surplus]

    def _line_break_error(self) -> HeaderError:
        for name, value in self.headers:
            if not name.isprintable() or "\r" in value or "\n" in value:
                return HeaderError(repr(name), "has CR or LF in it and must not be sent")
        return HeaderError("start line", "has CR or LF in it and must not be sent")


class Request(Message):
    """A request (RFC 3261 §7.1)."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"") -> None:
        # The body of Message.__init__: calling it takes a tenth of the time that a new BYE takes.
        self.body = body
        self.version = VERSION
        self._headers = headers
        self._octets = None
        self._first = None
        self._via = None
        self._from = None
        self._to = None
        self._cseq = None
        self._call_id = ""
        self._from_tag = ""
        self._to_tag = ""
        self._branch = None
        self._flaws = ()
        self.method = method
        self.uri = uri
        """The Request-URI as written; see `Uri.parse`."""

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} {self.version}"

    def note_source(self, host: str, port: int) -> None:
        """
        Note the source address of the request in its top Via (RFC 3261 §18.2.1, RFC 3581 §4).

        The transport calls this before it passes the request on, so that every answer echoes it.
        `octets` stays what was received.

        Raises:
            HeaderError: the top Via is absent or malformed.
        """
        via = self.via.with_source(host, port)
        if via is self._via:
            return
        index = next(index for index, (name, _) in enumerate(self.headers) if name == "Via")
        below = split_list(self.headers[index][1])[1:]
        self.headers[index] = ("Via", ", ".join([str(via), *below]))
        self._via = via
        self._first = None


class Response(Message):
    """A response (RFC 3261 §7.2)."""

    __slots__ = ("status", "reason", "_cseq_method")

    _cseq_method: str
    """Only of a response that umd makes."""

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def _tag(self, name: str) -> str | None:
        """As in a request, but never an error: the peer only echoes this field."""
        value = self.get(name)
        if value is None:
            return None
        try:
            return parse_tag(value)
        except FieldError as error:
            self.note_flaw(f"{name}: {error}")
            return find_tag(value)

    @property
    def branch(self) -> str:
        """The branch of the topmost Via, found even in a malformed one; empty if there is none."""
        if self._branch is not None:
            return self._branch
        try:
            return self.via.branch or ""
        except HeaderError as error:
            self.note_flaw(str(error))
            return find_branch(self.get("Via") or "")

    @property
    def cseq_method(self) -> str:
        """The method of the request that this answers."""
        return self.cseq.method if self._branch is None else self._cseq_method

    @property
    def start_line(self) -> str:
        return f"{self.version} {self.status} {self.reason}"


def _parse_value(name: str, parse: Callable[[str], T], raw: str) -> T:
    try:
        return parse(raw)
    except FieldError as error:
        raise HeaderError(name, str(error)) from error
