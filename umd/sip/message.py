"""
A SIP message as a value: start line, header fields, body; typed fields are read when asked for.

Theory of operation. `parse` splits once and judges little: the start line, that every line is a
header field, and the limits. The rest is read from the raw values on first access and kept. So a
message with a malformed From can still be answered with 400, every value echoed as it came.

Header text is UTF-8 with `surrogateescape`: any octet survives the way to text and back. A folded
line is joined by one SP, as RFC 3261 §25.1 (LWS) allows; nothing else of a value is changed.

A message that umd makes is kept the other way round: as the values that transactions and dialogs go
by, given when it is made (`umd.sip.outgoing`). Its header list, and with it the octets, is written
when somebody asks for it; between two endpoints in one process nobody does.

A message is not changed once it is made; the typed fields would not follow. What does it anyway
(`complete`, `keep_body`, `stamp`, `read_tag_loosely`) belongs to whoever reads it from the wire.
"""

from __future__ import annotations

import re
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
from umd.sip.names import KNOWN, LISTED, METHODS, SPELLINGS, TOKEN, canonical

MAX_MESSAGE: Final = 65536  # octets, head and body
MAX_HEADER_LINES: Final = 128
MAX_FLAWED_LINES: Final = 4 * MAX_HEADER_LINES
"""How many lines are looked at of a head with flaws: most of them may be no header fields."""
MAX_LINE: Final = 8192  # characters, folded lines joined
MAX_FLAW: Final = 200  # characters of what is noted of one
MAX_CONTENT_LENGTH: Final = 2**31 - 1
VERSION: Final = "SIP/2.0"

Headers = list[tuple[str, str]]
ExtraHeaders: TypeAlias = tuple[tuple[str, str], ...]
T = TypeVar("T")


_WRITTEN: Final = frozenset(
    ("Via", "Route", "Max-Forwards", "Call-ID", "CSeq", "Content-Type", "Content-Length")
)
"""Header fields that only the text of a message made of values has."""


class MessageError(UmdError):
    """These octets are no SIP message."""

    def __init__(self, why: str, request: Request | None = None, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.request = request
        """What could be read of a request, for an answer; its fields may be missing or wrong."""
        self.status = status
        """What to answer it with."""


class HeaderError(MessageError):
    """A header field that is needed is absent or malformed."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


class Message:
    """What requests and responses have in common."""

    __slots__ = (
        "body",
        "version",
        "_flaws",
        "_headers",
        "_octets",
        "_first",
        "_via",
        "_from",
        "_to",
        "_cseq",
        "_call_id",
        "_from_tag",
        "_to_tag",
        "_branch",
        "_sent_by",
        "_cseq_number",
        "_transport",
        "_from_raw",
        "_to_raw",
        "_contact",
        "_extra",
    )

    # Of a message that is made of values; the last ones only stand in for its text.
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
        """None: not written yet."""
        self._octets: bytes | None = None
        self._first: dict[str, str] | None = None
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None
        self._call_id = ""  # not read yet, as the tags: they are never empty
        self._from_tag: str | None = ""
        self._to_tag: str | None = ""
        self._branch: str | None = None
        """None: not made of values."""
        self._flaws: tuple[str, ...] = ()

    @property
    def flaws(self) -> tuple[str, ...]:
        """What is wrong with the message and was passed over, since nothing depends on it."""
        return self._flaws

    def note_flaw(self, flaw: str) -> None:
        """For the reader of a message: this is passed over."""
        flaw = flaw[:MAX_FLAW]
        if flaw not in self._flaws:
            self._flaws += (flaw,)

    @property
    def headers(self) -> Headers:
        """`(canonical name, raw value)` in the order of the wire."""
        headers = self._headers
        if headers is None:
            headers = self._headers = self._write()
        return headers

    def _write(self) -> Headers:
        """The header list of a message that is made of values."""
        raise NotImplementedError

    @property
    def start_line(self) -> str:
        """The first line, without its end."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.start_line!r}, {len(self.headers)} headers>"

    @property
    def made_of_values(self) -> bool:
        """Whether it is ours, and its Via, CSeq and tags are what it was made of."""
        return self._branch is not None

    # Raw values

    def get(self, name: str) -> str | None:
        """The raw value of the first header field of this name, or None."""
        if self._headers is None and name not in _WRITTEN:
            return self._value(name)
        first = self._first
        if first is None:
            first = self._first = dict(reversed(self.headers))
        value = first.get(name)
        if value is None and name not in KNOWN:
            return next(iter(self._all_of_unknown(name)), None)
        return value

    def all(self, name: str) -> list[str]:
        """The raw values of all header fields of this name, in order."""
        if self._headers is None and name not in _WRITTEN:
            extra = [value for key, value in self._extra if key == name]
            return extra or [value for value in (self._value(name),) if value is not None]
        if name in KNOWN:
            return [value for key, value in self.headers if key == name]
        return self._all_of_unknown(name)

    def _value(self, name: str) -> str | None:
        """The same from the values that the message is made of."""
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
        """A compact name, another spelling, or a header field that the table does not have."""
        known = canonical(name)
        if known in KNOWN:
            return [value for key, value in self.headers if key == known]
        lower = name.lower()
        return [value for key, value in self.headers if key.lower() == lower]

    def values(self, name: str) -> list[str]:
        """
        All values of this name: a list is split at its commas, empty elements left out.

        Raises:
            HeaderError: a quoted string or bracket is not closed, or there are too many values.
        """
        return [value for value in self._elements(name) if value]

    def _elements(self, name: str) -> list[str]:
        listed = (name if name in KNOWN else canonical(name)) in LISTED
        elements: list[str] = []
        for raw in self.all(name):
            if listed:
                elements += _read(name, split_list, raw)
            else:
                elements.append(raw)
            if len(elements) > MAX_VALUES:
                raise HeaderError(name, f"more than {MAX_VALUES} values")
        return elements

    def _need(self, name: str) -> str:
        first = self._first
        if first is None:
            first = self._first = dict(reversed(self.headers))
        value = first.get(name)
        if value is None:
            raise HeaderError(name, "missing")
        return value

    def repeated(self) -> bool:
        """Whether any header field name occurs twice."""
        if self._first is None:
            self._first = dict(reversed(self.headers))
        return len(self._first) != len(self.headers)

    # Typed values. Each raises HeaderError when it is malformed, or absent where it must not be.

    @property
    def via(self) -> Via:
        """The topmost Via."""
        via = self._via
        if via is None:
            raw = self._need("Via")
            try:
                via = self._via = Via.parse(raw if "," not in raw else split_list(raw)[0])
            except FieldError as error:
                raise HeaderError("Via", str(error)) from error
        return via

    @property
    def vias(self) -> list[Via]:
        """All Via values, topmost first."""
        return [_read("Via", Via.parse, value) for value in self._elements("Via")]

    @property
    def from_(self) -> NameAddr:
        """The From."""
        found = self._from
        if found is None:
            found = self._from = _read("From", NameAddr.parse, self._need("From"))
        return found

    @property
    def to(self) -> NameAddr:
        """The To."""
        found = self._to
        if found is None:
            found = self._to = _read("To", NameAddr.parse, self._need("To"))
        return found

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
            return parse_tag(self._need(name))
        except FieldError as error:
            raise HeaderError(name, str(error)) from error

    def read_tag_loosely(self, name: str) -> None:
        """
        For the judge of a message: of its From or To only the tag is needed.

        Raises:
            HeaderError: the header field is absent.
        """
        try:
            _ = self.from_tag if name == "From" else self.to_tag
        except HeaderError as error:
            tag = find_tag(self._need(name))
            self.note_flaw(str(error))
            if name == "From":
                self._from_tag = tag
            else:
                self._to_tag = tag

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        value = self._call_id
        if not value:
            value = self._need("Call-ID")
            if not value or " " in value or "\t" in value:
                raise HeaderError("Call-ID", "empty or with blanks")
            self._call_id = value
        return value

    @property
    def branch(self) -> str:
        """The branch of the topmost Via; empty when it has none."""
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
        """The CSeq."""
        found = self._cseq
        if found is None:
            raw = self._need("CSeq")
            try:
                found = self._cseq = CSeq.parse(raw)
            except FieldError as error:
                raise HeaderError("CSeq", str(error)) from error
        return found

    @property
    def contacts(self) -> list[NameAddr]:
        """All Contact addresses; the "*" of a REGISTER (RFC 3261 §10.2.2) is none."""
        value = self.get("Contact")
        return [] if value is None or value == "*" else self._addresses("Contact")

    @property
    def routes(self) -> list[NameAddr]:
        """All Route addresses."""
        return self._addresses("Route")

    @property
    def record_routes(self) -> list[NameAddr]:
        """All Record-Route addresses."""
        return self._addresses("Record-Route")

    def _addresses(self, name: str) -> list[NameAddr]:
        values = self.all(name)
        if len(values) == 1 and "," not in values[0] and values[0]:  # nearly always
            return [_read(name, NameAddr.parse, values[0])]
        return [_read(name, NameAddr.parse, value) for value in self.values(name)]

    @property
    def max_forwards(self) -> int | None:
        """The hops it may still take (RFC 3261 §20.22), or None when that is not said."""
        return self._number("Max-Forwards", 255)

    @property
    def content_length(self) -> int | None:
        """The length of the body in octets as the sender states it, or None."""
        return self._number("Content-Length", MAX_CONTENT_LENGTH)

    def _number(self, name: str, largest: int) -> int | None:
        value = self.get(name)
        return None if value is None else number(name, value, largest)

    # To the wire

    def octets(self) -> bytes:
        """
        The message as it came, or as it goes out.

        Raises:
            HeaderError: a value has CR or LF in it; it is not written.
        """
        return self.to_octets() if self._octets is None else self._octets

    def to_octets(self) -> bytes:
        """The message written anew from its parts. Raises: as `octets`."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        text = f"{self.start_line}\r\n{lines}\r\n"
        ends = len(self.headers) + 2
        if text.count("\n") != ends or text.count("\r") != ends:
            raise self._unsafe()
        return text.encode("utf-8", "surrogateescape") + self.body

    def complete(self, data: bytes, head_length: int) -> None:
        """For the reader of a message: all its octets, and where its body starts."""
        self.body = data[head_length:]
        self._octets = data

    def keep_body(self, length: int) -> None:
        """For the reader of a message: what follows these octets of body is not part of it."""
        surplus = len(self.body) - length
        self.body = self.body[:length]
        if self._octets is not None and surplus > 0:
            self._octets = self._octets[:-surplus]

    def _unsafe(self) -> HeaderError:
        for name, value in self.headers:
            if not name.isprintable() or "\r" in value or "\n" in value:
                return HeaderError(repr(name), "CR or LF in it must not be written")
        return HeaderError("start line", "CR or LF in it must not be written")


class Request(Message):
    """A request (RFC 3261 §7.1)."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"") -> None:
        # Message.__init__ written out: a call costs a tenth of a new BYE.
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

    def stamp(self, host: str, port: int) -> None:
        """
        Note in the top Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4).

        For the transport, before anybody else has the request: every answer then carries it.
        `octets` stays what came, for whoever records that.

        Raises:
            HeaderError: the top Via is absent or malformed.
        """
        stamped = self.via.stamped(host, port)
        if stamped is self._via:
            return
        index = next(index for index, (name, _) in enumerate(self.headers) if name == "Via")
        below = split_list(self.headers[index][1])[1:]
        self.headers[index] = ("Via", ", ".join([str(stamped), *below]))
        self._via = stamped
        self._first = None


class Response(Message):
    """A response (RFC 3261 §7.2)."""

    __slots__ = ("status", "reason", "_cseq_method")

    _cseq_method: str
    """Of a response that is made of values."""

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def _tag(self, name: str) -> str | None:
        """As in a request, and never an error: a response is not dropped for what is echoed."""
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
        """As in a request; empty when it cannot be found, whatever the rest of the Via is like."""
        if self._branch is not None:
            return self._branch
        try:
            return self.via.branch or ""
        except HeaderError as error:
            self.note_flaw(str(error))
            return find_branch(self.get("Via") or "")

    @property
    def cseq_method(self) -> str:
        """The method that it answers."""
        return self.cseq.method if self._branch is None else self._cseq_method

    @property
    def start_line(self) -> str:
        return f"{self.version} {self.status} {self.reason}"


def number(name: str, value: str, largest: int) -> int:
    """The value of a header field that is a number. Raises: HeaderError."""
    if not (value.isascii() and value.isdecimal()):
        raise HeaderError(name, "not a number")
    digits = value if len(value) < 16 else value.lstrip("0")
    if len(digits) > 15 or (found := int(digits or "0")) > largest:
        raise HeaderError(name, f"larger than {largest}")
    return found


def _read(name: str, parse_value: Callable[[str], T], raw: str) -> T:
    try:
        return parse_value(raw)
    except FieldError as error:
        raise HeaderError(name, str(error)) from error


# From the wire

_request_line: Final = re.compile(
    rf"({TOKEN}) ([!-;=?-~]+) (SIP/[0-9]+\.[0-9]+)", re.IGNORECASE | re.ASCII
).fullmatch
# A status line may lack the SP before an empty reason: that is seen, and means nothing else.
# The reason is for people, and may be anything.
_status_line: Final = re.compile(
    r"(SIP/[0-9]+\.[0-9]+) ([1-6][0-9]{2})(?: ([^\r\n]*))?",
    re.IGNORECASE | re.ASCII,
).fullmatch
_controls: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").sub
_unfold: Final = re.compile(r"\r\n[ \t]+").sub


def parse(data: bytes) -> Request | Response:
    """
    Read one complete message; whatever follows the empty line is its body.

    Raises:
        MessageError: it is none. `request` is what could be read of a request.
    """
    if len(data) > MAX_MESSAGE:
        raise MessageError(f"longer than {MAX_MESSAGE} octets", status=513)
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise MessageError("no empty line after the header fields", _salvage(_lines(data)))
    message = parse_head(data[:end])
    message.complete(data, end + 4)
    return message


def parse_head(head: bytes) -> Request | Response:
    """
    Read the start line and the header fields, given without the empty line.

    Raises:
        MessageError: as `parse`.
    """
    lines = _lines(head)
    headers: Headers = []
    try:
        for line in lines[1:]:
            spelling, colon, value = line.partition(":")
            headers.append((SPELLINGS[spelling], value.strip(" \t")))
            if not colon:
                return _parse_unusual(lines)
    except KeyError:
        return _parse_unusual(lines)
    return _start(lines, headers)


def parse_despite_flaws(data: bytes, error: MessageError) -> Request | Response:
    """
    Read a datagram that `parse` refused for its header lines, as far as it can be acted on.

    What is no header field, or is too long, is passed over (RFC 3261 §8.2.2). LF alone ends a line
    as well, and CR alone is a blank. What the message needs is judged as ever: a field whose line
    could not be read is missing. Of a response with too many lines the first ones count, and the
    empty line after them may be missing.

    Raises:
        MessageError: `error`, when the flaw is not one of these.
    """
    is_response = data[:4].upper() == b"SIP/"
    head_length, body_at = _end_of_head(data)
    if head_length < 0 and is_response and data[-1:] == b"\n":
        head_length, body_at = len(data), len(data)
    if head_length < 0 or len(data) > MAX_MESSAGE:
        raise error
    head = data[:head_length]
    *first, _ = head.split(b"\n", MAX_FLAWED_LINES)
    if len(first) == MAX_FLAWED_LINES:
        if not is_response:
            raise error
        head = b"\n".join(first)
    text = head.decode("utf-8", "surrogateescape")
    text = text.replace("\r\n", "\n").replace("\r", " ")
    start, *lines = _unfold_bare(" ", text).split("\n")
    kept = [line for line in lines if _is_header_line(line)]
    if len(kept) > MAX_HEADER_LINES:
        if not is_response:
            raise error
        del kept[MAX_HEADER_LINES:]
    try:
        message = parse_head("\r\n".join([start, *kept]).encode("utf-8", "surrogateescape"))
    except MessageError:
        raise error from None
    message.complete(data, body_at)
    message.note_flaw(error.why)
    return message


def _end_of_head(data: bytes) -> tuple[int, int]:
    """Where the head ends and the body begins; -1 for both when there is no empty line."""
    at = data.find(b"\r\n\r\n")
    if at >= 0:
        return at, at + 4
    found = _empty_line(data)
    return found.span() if found else (-1, -1)


_empty_line: Final = re.compile(rb"\r?\n\r?\n").search
_unfold_bare: Final = re.compile(r"\n[ \t]+").sub


def _is_header_line(line: str) -> bool:
    spelling, colon, _ = line.partition(":")
    return bool(colon) and len(line) <= MAX_LINE and canonical(spelling) is not None


def _lines(head: bytes) -> list[str]:
    """
    The lines as text.

    Raises:
        MessageError: there are too many, or there is a CR or LF that ends no line.
    """
    ends = head.count(b"\n")
    if ends > MAX_HEADER_LINES:
        raise MessageError(f"more than {MAX_HEADER_LINES} header lines")
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    if len(lines) != ends + 1 or text.count("\r") != ends:
        raise MessageError("CR or LF alone in the head", _salvage(lines))
    if len(head) > MAX_LINE:
        _check_lengths(lines)
    return lines


def _check_lengths(lines: list[str]) -> None:
    if any(len(line) > MAX_LINE for line in lines):
        raise MessageError(f"a line of more than {MAX_LINE} characters", _salvage(lines))


def _parse_unusual(lines: list[str]) -> Request | Response:
    """Read lines that are folded, or have names in a rare spelling."""
    lines = _unfold(" ", "\r\n".join(lines)).split("\r\n")
    _check_lengths(lines)
    headers: Headers = []
    for line in lines[1:]:
        spelling, colon, value = line.partition(":")
        name = canonical(spelling)
        if name is None or not colon:
            raise MessageError("a line is no header field", _salvage(lines))
        headers.append((name, value.strip(" \t")))
    return _start(lines, headers)


def _start(lines: list[str], headers: Headers) -> Request | Response:
    """Read the start line."""
    start = lines[0]
    parts = start.split(" ")
    if len(parts) == 3 and parts[2] == VERSION and parts[0] in METHODS and _is_uri_text(parts[1]):
        return Request(parts[0], parts[1], headers)
    message: Request | Response
    if (found := _request_line(start)) is not None:
        method, uri, version = found.groups()
        message = Request(method, uri, headers)
    elif (found := _status_line(start)) is not None:
        version, status, reason = found.groups()
        message = Response(int(status), _controls("?", reason or ""), headers)
    else:
        raise MessageError("neither a request line nor a status line", _salvage(lines))
    message.version = version.upper()
    return message


def _is_uri_text(text: str) -> bool:
    """Whether all characters are ones that the pattern of a request line allows in its URI."""
    return text.isascii() and text.isprintable() and "<" not in text and ">" not in text


def _salvage(lines: list[str]) -> Request | None:
    """
    What can be read of a broken request, so that it can be answered; None for anything else.

    RFC 3261 §8.2.6.2 needs Via, From, To, Call-ID and CSeq for that, and they are mostly there.
    """
    method, _, rest = lines[0].partition(" ")
    if method.upper().startswith("SIP/") or canonical(method) is None or method == "ACK":
        return None  # nobody answers a response or an ACK
    headers: Headers = []
    for line in lines[1:]:
        spelling, colon, value = line.partition(":")
        name = canonical(spelling)
        if colon and name is not None and _may_be_echoed(line):
            headers.append((name, value.strip(" \t")))
    return Request(method, rest.strip(" \t").partition(" ")[0], headers) if headers else None


def _may_be_echoed(line: str) -> bool:
    return len(line) <= MAX_LINE and "\r" not in line and "\n" not in line
