"""
Typed values of the header fields that have a structure; `parse` and `str` are inverses.

A value is matched as it is usually written first. Only when that fails are the blanks taken out
that RFC 3261 §25.1 allows round separators (SEMI, EQUAL, SLASH, COLON), and it is matched again.
All patterns are linear: their repetitions have no two ways to read the same text.

Parameter names are lower-cased, since they compare so; everything else keeps its spelling.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias

from umd.errors import UmdError
from umd.sip.names import METHODS, TOKEN

Params: TypeAlias = tuple[tuple[str, str | None], ...]
"""Parameters in their order: name in lower case, value as written (with its quotes), or None."""

MAX_PARAMS: Final = 64
"""Nobody needs more; it bounds what one header field can cost."""
MAX_VALUE: Final = 8192
"""Characters of one value; `MAX_LINE` keeps those of a message below it."""
MAX_PARTS: Final = 512
"""The same for all that separates something in one value."""
MAX_VALUES: Final = 256
"""The same for the elements of a comma-separated list."""
MAX_PORT: Final = 65535
MAX_CSEQ: Final = 2**31 - 1  # RFC 3261 §8.1.1.5: "less than 2**31"


class FieldError(UmdError):
    """A value does not have the form of its header field."""


class UriError(FieldError):
    """Not a URI."""


class NameAddrError(FieldError):
    """Not a `name-addr` or `addr-spec` with parameters."""


class ViaError(FieldError):
    """Not a `via-parm`."""


class CSeqError(FieldError):
    """Not a CSeq, or one out of its range."""


class CredentialsError(FieldError):
    """Neither a challenge nor credentials."""


class ReasonError(FieldError):
    """Not a Reason."""


class ListError(FieldError):
    """Not a comma-separated list: an unclosed quote or bracket, or too many elements."""


MAGIC_COOKIE: Final = "z9hG4bK"
"""How the branch of a sender begins that follows RFC 3261 (§8.1.1.7)."""

_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
# Wider than gen-value: branches and tags with "/", "=" or "@" are seen, and none of these can be
# mistaken for a separator.
_VALUE = r"[!#-+\--:=?-\[\]-~]+"
_PARAMS = rf"(?:;{TOKEN}(?:=(?:{_VALUE}|{_QUOTED}))?)*"
_HOST = r"[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.]+\]"  # "_" is in no host name, but in many networks
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"

# A quoted string or an <address>, also one whose end is missing.
_split_kept: Final = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*"?|<[^<>]*)', re.DOTALL).split
_blanks: Final = re.compile(r"[ \t]+").sub


def check_effort(text: str, error: type[FieldError]) -> None:
    """
    Before a value is matched that is not written as usual: a bound for the work on it.

    Raises:
        FieldError: as `error` says; it is far too long, or has far too many parts.
    """
    if len(text) <= MAX_PARTS:
        return
    if len(text) > MAX_VALUE:
        raise error(f"longer than {MAX_VALUE} characters")
    if sum(map(text.count, '" \t;<=')) > MAX_PARTS:
        raise error(f"more than {MAX_PARTS} parts")


def tighten(text: str, separators: str) -> str:
    """Without the blanks round these separators, others as one SP; quoted strings untouched."""
    parts = _split_kept(text)
    for index in range(0, len(parts), 2):
        part = _blanks(" ", parts[index])
        for separator in separators:
            part = part.replace(f" {separator}", separator).replace(f"{separator} ", separator)
        parts[index] = part
    return "".join(parts).strip(" ")


def without_empty_params(text: str) -> str:
    """Without separators that nothing follows, such as `;;` and a `;` at the end."""
    parts = _split_kept(text)
    for index in range(0, len(parts), 2):
        part = _empty_params(";", parts[index])
        parts[index] = part if index + 1 < len(parts) else part.rstrip("; \t")
    return "".join(parts)


_empty_params: Final = re.compile(r";(?:[ \t]*;)+").sub


def unquote(text: str) -> str:
    """The content of a quoted string, escapes resolved; a text without quotes as it is."""
    if len(text) < 2 or text[0] != '"':
        return text
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner


def quote(text: str) -> str:
    """The text as a quoted string (RFC 3261 §25.1)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_list(text: str) -> list[str]:
    """
    The elements of a comma-separated list, empty ones too.

    Commas in a quoted string or between < and > do not count.

    Raises:
        ListError: a quote or bracket is not closed, or there are more than `MAX_VALUES` elements.
    """
    if text.count(",") >= MAX_VALUES:
        raise ListError(f"more than {MAX_VALUES} elements")
    if '"' not in text and "<" not in text:
        return [element.strip(" \t") for element in text.split(",")]
    if text.count('"') + text.count("<") > 2 * MAX_PARTS:
        raise ListError("too many quoted strings or brackets")
    elements, at, end = [], 0, len(text)
    while True:
        found = _element(text, at)
        assert found is not None  # it also matches nothing
        elements.append(found.group().strip(" \t"))
        at = found.end()
        if at == end:
            return elements
        if text[at] != ",":
            raise ListError(f"{text[at]} is not closed")
        at += 1


_element: Final = re.compile(
    rf'[^",<]*(?:(?:{_QUOTED}|<[^>]*>)[^",<]*)*', re.DOTALL
).match  # up to a comma, or to what is not closed


def param(params: Params, name: str) -> str | None:
    """The value of a parameter, without its quotes; None when it is absent or has none."""
    for key, value in params:
        if key == name:
            return unquote(value) if value else value
    return None


def has_param(params: Params, name: str) -> bool:
    """Whether a parameter is there, with a value or without."""
    return any(key == name for key, _ in params)


def _with_params(params: Params, changes: dict[str, str | None]) -> Params:
    """Parameters that are there keep their place, new ones go to the end."""
    kept = tuple((key, changes.get(key, value)) for key, value in params)
    names = {key for key, _ in params}
    return kept + tuple(item for item in changes.items() if item[0] not in names)


_is_params: Final = re.compile(_PARAMS, re.DOTALL).fullmatch
_next_param: Final = re.compile(
    rf";({TOKEN})(?:=({_VALUE}|{_QUOTED}))?", re.DOTALL
).finditer


def _pairs(text: str) -> Params:
    """The parameters of a text that matched `_PARAMS`."""
    if not text:
        return ()
    if '"' in text:
        return tuple((m.group(1).lower(), m.group(2)) for m in _next_param(text))
    pairs = []
    for part in text[1:].split(";"):
        name, has_value, value = part.partition("=")
        pairs.append((name.lower(), value if has_value else None))
    return tuple(pairs)


def _params_str(params: Params) -> str:
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# URI

_URI: Final = re.compile(rf"({_SCHEME}):([!-~]+)").fullmatch
_SIP_URI: Final = re.compile(
    rf"(?:([^@:]+)(?::([^@]*))?@)?({_HOST})(?::([0-9]{{1,5}}))?"
    r"((?:;[^;?@=]+(?:=[^;?@]*)?)*)(?:\?([^@]*))?"
).fullmatch


_USUAL_SIP_URI: Final = re.compile(
    rf"sips?:(?:[^@:;?]+@)?({_HOST})(?::[0-9]{{1,4}})?(?:;{TOKEN}(?:={_VALUE})?)?"
).fullmatch


def is_usual_sip_uri(text: str) -> bool:
    """
    Whether it is a sip or sips URI as nearly every peer writes them: `parse` would take it.

    With at most one parameter, without header fields and password; False says nothing.
    """
    return text.isascii() and _USUAL_SIP_URI(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uri:
    """
    A URI (RFC 3261 §19.1). One of another scheme than sip and sips stays opaque.

    Escapes are kept: to resolve them can change what the URI means (RFC 4475 §3.1.1.3).
    """

    scheme: str
    """In lower case."""
    opaque: str = ""
    """What follows the colon, when the scheme is neither sip nor sips."""
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: str | None = None
    """What follows the "?", as written."""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Raises: UriError."""
        found = _URI(text)
        if found is None:
            raise UriError(f"{_shorten(text)} is not a URI")
        scheme, rest = found.group(1).lower(), found.group(2)
        if scheme != "sip" and scheme != "sips":
            return cls(scheme=scheme, opaque=rest)
        if rest.count(";") > 4 * MAX_PARAMS:
            raise UriError(f"{_shorten(text)} has too many parameters")
        parts = _SIP_URI(rest)
        if parts is None:
            raise UriError(f"{_shorten(text)} is not a {scheme} URI")
        user, password, host, port, params, headers = parts.groups()
        return cls(
            scheme=scheme,
            user=user,
            password=password,
            host=host,
            port=_port(port, UriError),
            params=_pairs(params),
            headers=headers,
        )

    def __str__(self) -> str:
        if not self.host:
            return f"{self.scheme}:{self.opaque}"
        text = f"{self.scheme}:"
        if self.user is not None:
            text += self.user if self.password is None else f"{self.user}:{self.password}"
            text += "@"
        text += self.host if self.port is None else f"{self.host}:{self.port}"
        text += _params_str(self.params)
        return text if self.headers is None else f"{text}?{self.headers}"

    def param(self, name: str) -> str | None:
        """The value of a URI parameter, or None."""
        return param(self.params, name)

    @property
    def is_loose(self) -> bool:
        """Whether it names a loose router (RFC 3261 §19.1.1, `lr`)."""
        return has_param(self.params, "lr")


def tag_of(text: str) -> str | None:
    """
    The tag of a From or To, the rest being checked but not taken apart.

    Raises:
        NameAddrError: it is not an address.
    """
    usual = _USUAL_NAME_ADDR(text)
    return NameAddr.parse(text).tag if usual is None else usual.group(4)


def loose_tag(text: str) -> str | None:
    """
    The tag of a From or To whose address cannot be read; None when there is none.

    Of such a field only the tag is needed within a dialog; the rest is echoed.
    """
    address, bracket, params = text.rpartition(">")
    found: list[str] = _loose_tags(params)
    if not found:
        return None
    return found[0] if bracket else found[-1]


_loose_tags: Final = re.compile(rf";[ \t]*tag[ \t]*=[ \t]*({_VALUE})", re.IGNORECASE).findall


def loose_branch(text: str) -> str:
    """The branch of a Via that cannot be read; empty when there is none."""
    found = _loose_branch(text)
    return found.group(1) if found else ""


_loose_branch: Final = re.compile(
    rf";[ \t]*branch[ \t]*=[ \t]*({_VALUE})", re.IGNORECASE
).search


def _port(digits: str | None, error: type[FieldError]) -> int | None:
    if digits is None:
        return None
    port = int(digits)
    if port > MAX_PORT:
        raise error(f"port {port} is out of range")
    return port


def is_same_host(one: str, other: str) -> bool:
    """Whether two hosts are the same as written: names without case, addresses by their value."""
    if one == other:
        return True
    one, other = one.strip("[]").lower(), other.strip("[]").lower()
    return one == other or (":" in one and ":" in other and _is_same_ipv6(one, other))


def is_address(host: str) -> bool:
    """Whether it is an address of IPv4 or IPv6, the latter with brackets or without."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def uri_host(host: str) -> str:
    """A host as it stands in a URI or a Via: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host and host[0] != "[" else host


def _is_same_ipv6(one: str, other: str) -> bool:
    try:
        return IPv6Address(one) == IPv6Address(other)
    except ValueError:
        return False


# From, To, Contact, Route

_ADDRESS = rf"{_SCHEME}:[!#-;=?-~]+"
_BARE_ADDRESS = rf"{_SCHEME}:[!#-+\--:=@-~]+"  # neither comma, semicolon nor "?", RFC 3261 §20.10
# A display name without quotes is read wider than `*(token LWS)`, up to what could mislead.
_NAME_ADDR: Final = re.compile(
    rf'(?:({_QUOTED})|([^"<>,;:\\\x00-\x08\x0a-\x1f\x7f]*))[ \t]*<({_ADDRESS})>({_PARAMS})'
    rf"|({_BARE_ADDRESS})({_PARAMS})",
    re.DOTALL,
).fullmatch


# What nearly every peer writes; the pattern above would give the same.
_USUAL_NAME_ADDR: Final = re.compile(
    rf'(?:"([^"\\]*)" ?|([A-Za-z0-9_.+\- ]*))<({_ADDRESS})>(?:;tag=({_VALUE}))?'
).fullmatch


@dataclass(frozen=True, slots=True, init=False)
class NameAddr:
    """An address with a display name and header parameters (RFC 3261 §20.10)."""

    display: str
    """Without quotes and escapes; empty when there is none."""
    uri: str
    """As written; see `Uri.parse`."""
    params: Params = ()

    def __init__(self, display: str, uri: str, params: Params = ()) -> None:
        # See Via.
        _set_display(self, display)
        _set_uri(self, uri)
        _set_addr_params(self, params)

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Raises: NameAddrError."""
        usual = _USUAL_NAME_ADDR(text)
        if usual is not None:
            quoted, name, uri, tag = usual.groups()
            display = name.rstrip(" ") if name else quoted or ""
            return cls(display, uri, (("tag", tag),) if tag else ())
        return cls._parse_any(text)

    @classmethod
    def _parse_any(cls, text: str) -> NameAddr:
        check_effort(text, NameAddrError)
        found = _NAME_ADDR(text)
        if found is None:
            text = tighten(text, ";=")
            found = _NAME_ADDR(text) or _NAME_ADDR(without_empty_params(text))
            if found is None:
                raise NameAddrError(f"{_shorten(text)} is not an address")
        quoted, display, uri, params, bare, bare_params = found.groups()
        if bare is not None:
            display, uri, params = "", bare, bare_params
        elif quoted is not None:
            display = unquote(quoted)
        elif display:
            display = display.rstrip(" \t")
        if params.count(";") > MAX_PARAMS:
            raise NameAddrError(f"more than {MAX_PARAMS} parameters")
        return cls(display, uri, _pairs(params))

    def __str__(self) -> str:
        name = f"{quote(self.display)} " if self.display else ""
        return f"{name}<{self.uri}>{_params_str(self.params)}"

    @property
    def tag(self) -> str | None:
        """The tag of a From or To (RFC 3261 §19.3)."""
        for name, value in self.params:
            if name == "tag":
                return value
        return None

    @property
    def address(self) -> Uri:
        """The URI taken apart. Raises: UriError."""
        return Uri.parse(self.uri)

    def param(self, name: str) -> str | None:
        """The value of a header parameter, or None."""
        return param(self.params, name)


_set_display, _set_uri, _set_addr_params = (
    NameAddr.__dict__[name].__set__ for name in NameAddr.__slots__
)

# Via

_VIA: Final = re.compile(
    rf"(SIP/[0-9]\.[0-9])/({TOKEN})[ \t]+({_HOST})(?::([0-9]{{1,5}}))?({_PARAMS})",
    re.DOTALL | re.IGNORECASE | re.ASCII,  # else "K" would also match the Kelvin sign
).fullmatch

# What nearly every peer writes; the pattern above would give the same.
_USUAL_VIA: Final = re.compile(
    rf"SIP/2\.0/({TOKEN}) ([A-Za-z0-9_.\-]+)(?::([0-9]{{1,5}}))?;branch=({_VALUE})(;rport)?"
).fullmatch
_RPORT: Final = ("rport", None)


@dataclass(frozen=True, slots=True, init=False)
class Via:
    """One hop of the way a request took (RFC 3261 §20.42)."""

    transport: str
    """As written: UDP, TCP, TLS or anything else."""
    host: str
    port: int | None
    params: Params = ()
    protocol: str = "SIP/2.0"

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None,
        params: Params = (),
        protocol: str = "SIP/2.0",
    ) -> None:
        # What dataclass would write looks `object.__setattr__` up for each field: twice the time,
        # and every message has a Via.
        _set_transport(self, transport)
        _set_host(self, host)
        _set_port(self, port)
        _set_params(self, params)
        _set_protocol(self, protocol)

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises: ViaError."""
        usual = _USUAL_VIA(text)
        if usual is not None:
            transport, host, port, branch, rport = usual.groups()
            named = ("branch", branch)
            params: Params = (named, _RPORT) if rport else (named,)
            number = int(port) if port else None
            if number is None or number <= MAX_PORT:
                return cls(transport, host, number, params)
        return cls._parse_any(text)

    @classmethod
    def _parse_any(cls, text: str) -> Via:
        check_effort(text, ViaError)
        found = _VIA(text)
        if found is None:
            text = tighten(text, ";=/:")
            found = _VIA(text)
            if found is None and MAGIC_COOKIE in text:
                # Who makes the branch of RFC 3261 follows it; nothing is guessed for the others.
                found = _VIA(without_empty_params(text))
            if found is None:
                raise ViaError(f"{_shorten(text)} is not a Via")
        protocol, transport, host, port, params = found.groups()
        if params.count(";") > MAX_PARAMS:
            raise ViaError(f"more than {MAX_PARAMS} parameters")
        return cls(transport, host, _port(port, ViaError), _pairs(params), protocol)

    def __str__(self) -> str:
        return f"{self.protocol}/{self.transport} {self.sent_by}{_params_str(self.params)}"

    @property
    def sent_by(self) -> str:
        """Host and, if it is written, port."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def branch(self) -> str | None:
        """The transaction's id, when the sender follows RFC 3261 (§8.1.1.7)."""
        for name, value in self.params:
            if name == "branch":
                return value
        return None

    @property
    def received(self) -> str | None:
        """The address the request came from (RFC 3261 §18.2.1)."""
        return param(self.params, "received")

    @property
    def rport(self) -> int | None:
        """The port it came from; 0 when it is asked for and not filled in (RFC 3581 §3)."""
        for name, value in self.params:
            if name == "rport":
                return int(value) if value and value.isascii() and value.isdecimal() else 0
        return None

    @property
    def maddr(self) -> str | None:
        """The address that responses go to instead of the source (RFC 3261 §18.2.2)."""
        return param(self.params, "maddr")

    def stamped(self, host: str, port: int) -> Via:
        """
        With the source of the datagram written in (RFC 3261 §18.2.1, RFC 3581 §4).

        A `received` that the sender itself has written is replaced.
        """
        changes: dict[str, str | None] = {}
        if self.rport is not None:
            changes["rport"] = str(port)
        if changes or not is_same_host(self.host, host) or has_param(self.params, "received"):
            changes["received"] = host
        return replace(self, params=_with_params(self.params, changes)) if changes else self


_set_transport, _set_host, _set_port, _set_params, _set_protocol = (
    Via.__dict__[name].__set__ for name in Via.__slots__
)

# CSeq

_CSEQ: Final = re.compile(rf"0*([0-9]{{1,10}})[ \t]+({TOKEN})").fullmatch


@dataclass(frozen=True, slots=True, init=False)
class CSeq:
    """The order of requests in a dialog (RFC 3261 §20.16)."""

    number: int
    method: str

    def __init__(self, number: int, method: str) -> None:
        # See Via.
        _set_number(self, number)
        _set_method(self, method)

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Raises: CSeqError."""
        digits, _, method = text.partition(" ")
        if method in METHODS and len(digits) < 10 and digits.isascii() and digits.isdecimal():
            return cls(int(digits), method)  # what nearly every peer writes
        found = _CSEQ(text)
        if found is None:
            raise CSeqError(f"{_shorten(text)} is not a CSeq")
        number = int(found.group(1))
        if number > MAX_CSEQ:
            raise CSeqError(f"{number} is not less than 2**31")
        return cls(number, found.group(2))

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


_set_number, _set_method = (CSeq.__dict__[name].__set__ for name in CSeq.__slots__)

# Authorization, WWW-Authenticate and their Proxy- forms

_AUTH_PARAM = rf"({TOKEN})[ \t]*=[ \t]*({_QUOTED}|[^\s,\"=]+=*)"
_next_auth_param: Final = re.compile(rf"[ \t]*{_AUTH_PARAM}[ \t]*(,|$)", re.DOTALL).match
_AUTH: Final = re.compile(rf"({TOKEN})[ \t]+", re.DOTALL).match


def _parse_auth(text: str) -> tuple[str, Params]:
    found = _AUTH(text)
    if found is None:
        raise CredentialsError(f"{_shorten(text)} names no scheme")
    check_effort(text, CredentialsError)
    scheme, at = found.group(1), found.end()
    pairs: list[tuple[str, str | None]] = []
    while at < len(text):
        item = _next_auth_param(text, at)
        if item is None or len(pairs) == MAX_PARAMS:
            raise CredentialsError(f"parameters of {scheme} are not a list of name=value")
        pairs.append((item.group(1).lower(), item.group(2)))
        at = item.end()
    names = {name for name, _ in pairs}
    if not pairs or len(names) != len(pairs):
        raise CredentialsError(f"parameters of {scheme} are missing or repeated")
    return scheme, tuple(pairs)


_next_auth_item: Final = re.compile(
    rf"({TOKEN})(?:[ \t]*=[ \t]*({_QUOTED}|[^\s,\"]*))?(?=[ \t,]|$)", re.DOTALL
).match  # a parameter, or a word alone: the scheme of the next challenge
_auth_separators: Final = re.compile(r"[ \t,]*").match
_unreadable_part: Final = re.compile(rf'[^",]*(?:{_QUOTED}[^",]*)*', re.DOTALL).match
_NEEDED_TO_ANSWER: Final = frozenset(("realm", "nonce", "opaque", "stale", "algorithm", "qop"))
_DIGEST_PARAMS: Final = _NEEDED_TO_ANSWER | {"domain", "charset", "userhash"}


def challenges_in(text: str) -> list[Challenge]:
    """
    The challenges of one WWW-Authenticate or Proxy-Authenticate value that can be read, in order.

    RFC 3261 allows one in a value. HTTP, and so some servers, allow several with commas between
    them, and a scheme without parameters (RFC 9110 section 11.6.1). What cannot be read is passed
    over: a part that is no parameter, a challenge with two values of what its answer needs, and
    everything after a quotation mark that nothing closes.
    """
    try:
        check_effort(text, CredentialsError)
    except CredentialsError:
        return []
    found: list[tuple[str, list[tuple[str, str | None]]]] = []
    at = _end_of(_auth_separators, text, 0)
    while at < len(text):
        item = _next_auth_item(text, at)
        if item is not None:
            at = item.end()
            _take_auth_item(found, item.group(1), item.group(2), text[at : at + 1])
        else:
            at = _end_of(_unreadable_part, text, at)
            if text[at : at + 1] == '"':
                del found[-1:]  # some of its parameters may be in the rest
                break
        at = _end_of(_auth_separators, text, at)
    return [
        Challenge(scheme, tuple(pairs))
        for scheme, pairs in found
        if len(pairs) <= MAX_PARAMS and not _contradicts_itself(pairs)
    ]


def _take_auth_item(
    found: list[tuple[str, list[tuple[str, str | None]]]], name: str, value: str | None, after: str
) -> None:
    """Note a parameter of the last challenge, or begin the next one."""
    pairs = found[-1][1] if found else None
    if value is not None:
        if pairs is not None:  # else it comes before any scheme
            pairs.append((name.lower(), value))
    elif pairs and name.lower() in _DIGEST_PARAMS:
        pairs.append((name.lower(), None))
    elif pairs and after in (",", "") and _is_unquoted_list(*pairs[-1]):
        pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]},{name}")
    else:
        found.append((name, []))


def _is_unquoted_list(name: str, value: str | None) -> bool:
    """Whether it is the `qop=auth` of `qop=auth,auth-int`, which should have quotes."""
    return name == "qop" and value is not None and not value.startswith('"')


def _contradicts_itself(pairs: list[tuple[str, str | None]]) -> bool:
    needed = {pair for pair in pairs if pair[0] in _NEEDED_TO_ANSWER}
    return len(needed) != len({name for name, _ in needed})


def _end_of(match: Callable[[str, int], re.Match[str] | None], text: str, at: int) -> int:
    """Where something that may be empty ends."""
    found = match(text, at)
    return at if found is None else found.end()


def _auth_str(scheme: str, params: Params) -> str:
    return f"{scheme} " + ", ".join([f"{name}={value}" for name, value in params])


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asks for: WWW-Authenticate or Proxy-Authenticate (RFC 3261 §20.44)."""

    scheme: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> Challenge:
        """Raises: CredentialsError."""
        return cls(*_parse_auth(text))

    def __str__(self) -> str:
        return _auth_str(self.scheme, self.params)

    def param(self, name: str) -> str | None:
        """The value of a parameter, without its quotes, or None."""
        return param(self.params, name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client shows: Authorization or Proxy-Authorization (RFC 3261 §20.7)."""

    scheme: str
    params: Params

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """Raises: CredentialsError."""
        return cls(*_parse_auth(text))

    def __str__(self) -> str:
        return _auth_str(self.scheme, self.params)

    def param(self, name: str) -> str | None:
        """The value of a parameter, without its quotes, or None."""
        return param(self.params, name)


# Reason

_REASON: Final = re.compile(rf"({TOKEN})({_PARAMS})", re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a request was sent (RFC 3326): `Q.850;cause=16;text="Normal call clearing"`."""

    protocol: str
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Raises: ReasonError."""
        check_effort(text, ReasonError)
        found = _REASON(text)
        if found is None:
            text = tighten(text, ";=")
            found = _REASON(text) or _REASON(without_empty_params(text))
        if found is None or found.group(2).count(";") > MAX_PARAMS:
            raise ReasonError(f"{_shorten(text)} is not a Reason")
        return cls(found.group(1), _pairs(found.group(2)))

    @classmethod
    def make(cls, protocol: str, cause: int, text: str = "") -> Reason:
        """A Reason with a cause and, if there is something to say, a text."""
        params: Params = (("cause", str(cause)),)
        return cls(protocol, (*params, ("text", quote(text))) if text else params)

    def __str__(self) -> str:
        return self.protocol + _params_str(self.params)

    @property
    def cause(self) -> int | None:
        """The number, or None when there is none that could be one."""
        value = param(self.params, "cause")
        if value is None or not (value.isascii() and value.isdecimal() and len(value) <= 6):
            return None
        return int(value)

    @property
    def text(self) -> str | None:
        """What it says to people."""
        return param(self.params, "text")


def loose_reason(text: str) -> Reason | None:
    """
    A Reason of which protocol and cause can be read, whatever its text is like.

    Peers write texts without their quotes, or without the second one.
    """
    try:
        return Reason.parse(text)
    except ReasonError:
        found = _loose_reason(text)
        return Reason(found.group(1), (("cause", found.group(2)),)) if found else None


_loose_reason: Final = re.compile(
    rf'[ \t]*({TOKEN})[ \t]*;[ \t;]*cause[ \t]*=[ \t]*"?([0-9]{{1,6}})"?[ \t]*(?:[;, \t].*)?',
    re.IGNORECASE | re.DOTALL,
).fullmatch
