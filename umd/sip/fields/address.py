"""The header fields that hold addresses: From, To, Contact, Route and Record-Route."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from umd.sip.fields.params import (
    MAX_PARAMS,
    PARAM_VALUE,
    PARAMS,
    Params,
    join_params,
    param,
    split_params,
)
from umd.sip.fields.syntax import (
    QUOTED,
    SCHEME,
    FieldError,
    check_effort,
    excerpt,
    quote,
    remove_blanks,
    remove_empty_params,
    unquote,
)
from umd.sip.fields.uri import Uri

_IN_BRACKETS = rf"{SCHEME}:[!#-;=?-~]+"
# Without brackets a URI has no comma, semicolon or "?" (RFC 3261 §20.10).
_BARE = rf"{SCHEME}:[!#-+\--:=@-~]+"
# A display name without quotes may have more characters than `*(token LWS)` allows, except those
# that could be taken for a separator.
_NAME_ADDR: Final = re.compile(
    rf'(?:({QUOTED})|([^"<>,;:\\\x00-\x08\x0a-\x1f\x7f]*))[ \t]*<({_IN_BRACKETS})>({PARAMS})'
    rf"|({_BARE})({PARAMS})",
    re.DOTALL,
).fullmatch
# The form that most senders write; the pattern above gives the same result.
_USUAL_NAME_ADDR: Final = re.compile(
    rf'(?:"([^"\\]*)" ?|([A-Za-z0-9_.+\- ]*))<({_IN_BRACKETS})>(?:;tag=({PARAM_VALUE}))?'
).fullmatch
_all_tags: Final = re.compile(rf";[ \t]*tag[ \t]*=[ \t]*({PARAM_VALUE})", re.IGNORECASE).findall


class NameAddrError(FieldError):
    """A text is not a `name-addr` or `addr-spec` with parameters."""


@dataclass(frozen=True, slots=True, init=False)
class NameAddr:
    """An address with a display name and header parameters (RFC 3261 §20.10)."""

    display: str
    """The display name without quotes and escapes; empty if there is none."""
    uri: str
    """As written; see `Uri.parse`."""
    params: Params = ()

    def __init__(self, display: str, uri: str, params: Params = ()) -> None:
        # Written out because the generated one takes twice the time; see Via.
        _set_display(self, display)
        _set_uri(self, uri)
        _set_params(self, params)

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Parse one address. Raises: NameAddrError."""
        usual = _USUAL_NAME_ADDR(text)
        if usual is not None:
            quoted, name, uri, tag = usual.groups()
            display = name.rstrip(" ") if name else quoted or ""
            return cls(display, uri, (("tag", tag),) if tag else ())
        return cls._parse_leniently(text)

    @classmethod
    def _parse_leniently(cls, text: str) -> NameAddr:
        check_effort(text, NameAddrError)
        match = _NAME_ADDR(text)
        if match is None:
            text = remove_blanks(text, ";=")
            match = _NAME_ADDR(text) or _NAME_ADDR(remove_empty_params(text))
            if match is None:
                raise NameAddrError(f"{excerpt(text)} is not an address")
        quoted, display, uri, params, bare, bare_params = match.groups()
        if bare is not None:
            display, uri, params = "", bare, bare_params
        elif quoted is not None:
            display = unquote(quoted)
        elif display:
            display = display.rstrip(" \t")
        if params.count(";") > MAX_PARAMS:
            raise NameAddrError(f"more than {MAX_PARAMS} parameters")
        return cls(display, uri, split_params(params))

    def __str__(self) -> str:
        name = f"{quote(self.display)} " if self.display else ""
        return f"{name}<{self.uri}>{join_params(self.params)}"

    @property
    def tag(self) -> str | None:
        """The tag of a From or To (RFC 3261 §19.3)."""
        for name, value in self.params:
            if name == "tag":
                return value
        return None

    @property
    def address(self) -> Uri:
        """The parsed URI. Raises: UriError."""
        return Uri.parse(self.uri)

    def param(self, name: str) -> str | None:
        """Return the value of a header parameter, or None."""
        return param(self.params, name)


_set_display, _set_uri, _set_params = (
    NameAddr.__dict__[name].__set__ for name in NameAddr.__slots__
)


def parse_tag(text: str) -> str | None:
    """
    Return the tag of a From or To, or None. Cheaper than `NameAddr.parse(text).tag`.

    Raises:
        NameAddrError: the text is not an address.
    """
    usual = _USUAL_NAME_ADDR(text)
    return NameAddr.parse(text).tag if usual is None else usual.group(4)


def find_tag(text: str) -> str | None:
    """
    Return the tag of a From or To whose address is malformed, or None.

    Within a dialog only the tag of such a field matters; the rest is echoed.
    """
    _, bracket, params = text.rpartition(">")
    tags: list[str] = _all_tags(params)
    if not tags:
        return None
    return tags[0] if bracket else tags[-1]
