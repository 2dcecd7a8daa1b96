"""
Reads what can be dialled: a telephone number, a SIP address or a name.

SOAP, the command line, the dial plan and every backend use this module, so the same text leads to
the same call, or to the same refusal, everywhere. A text that umd cannot dial exactly as written is
refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from umd.errors import UmdError
from umd.sip.fields import FieldError, Uri

MAX_NUMBER_CHARACTERS: Final = 128
"""Longest number or name."""
MAX_URI_CHARACTERS: Final = 255

_VISUAL_SEPARATORS: Final = str.maketrans("", "", " .-()\t")
"""Removes the visual separators of RFC 3966, and blanks, from between digits."""
_UNESCAPED_IN_USER: Final = "-_.!~*'()&=+$,;/"
"""Characters, beside letters and digits, that need no escape in the user part (RFC 3261 §25.1)."""

_DIGITS: Final = re.compile(r"\+?[*#]*[0-9][0-9*#]*").fullmatch
_GLOBAL: Final = re.compile(r"\+[0-9]+").fullmatch
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):").match
_ADDRESS: Final = re.compile(r"[!-~]+@[!-~]+").fullmatch
_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?").fullmatch
_PARAM_NAME: Final = re.compile(r"[A-Za-z0-9-]+").fullmatch
_PARAM_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})+").fullmatch
_escape_in_user: Final = re.compile(
    rf"%(?![0-9A-Fa-f]{{2}})|[^A-Za-z0-9%?{re.escape(_UNESCAPED_IN_USER)}]"
).sub
_TEL_PARAMS: Final = ("ext", "isub", "phone-context")
"""The parameters of a tel: URI that umd keeps, in the order of RFC 3261 §19.1.6."""
_IN_NAME: Final = frozenset("0123456789-_.~!*' ")


class NotDialable(UmdError):
    """A text cannot be dialled, or a rule forbids it. No call was placed."""


@dataclass(frozen=True, slots=True)
class Telephone:
    """A telephone number, without separators."""

    digits: str
    """The digits, `*` and `#`; a global number begins with `+` (RFC 3966 §5.1.4)."""
    params: tuple[tuple[str, str], ...] = ()
    """Extension, subaddress and context of a `tel:` URI: `ext`, `isub`, `phone-context`."""

    def __str__(self) -> str:
        """Return the digits, or a `tel:` URI if there are parameters. `read_number` reads both."""
        return f"tel:{self._with_params}" if self.params else self.digits

    @property
    def _with_params(self) -> str:
        return self.digits + "".join(f";{name}={value}" for name, value in self.params)

    @property
    def rule_text(self) -> str:
        """The text that the rules of the dial plan match."""
        return self.digits

    @property
    def global_digits(self) -> str | None:
        """The number as a global one, by the prefix in its phone-context; None without prefix."""
        context = dict(self.params).get("phone-context", "")
        return context + self.digits.lstrip("+") if context.startswith("+") else None

    @property
    def user(self) -> str:
        """The number as the user part of a SIP URI, escaped (RFC 3261 §19.1.6)."""
        return quote(self._with_params, safe=_UNESCAPED_IN_USER + "%")


@dataclass(frozen=True, slots=True)
class SipAddress:
    """A SIP URI, as it was dialled."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def rule_text(self) -> str:
        """The text that the rules of the dial plan match."""
        return self.uri

    @property
    def secure(self) -> bool:
        """Whether the URI requires TLS on every hop: its scheme is `sips` (RFC 3261 §26.2.2)."""
        return self.uri[:5].lower() == "sips:"


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a user or a group on a PBX."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def rule_text(self) -> str:
        """The text that the rules of the dial plan match."""
        return self.text

    @property
    def user(self) -> str:
        """The name as the user part of a SIP URI, escaped."""
        return quote(self.text, safe=_UNESCAPED_IN_USER)


Dialled: TypeAlias = Telephone | SipAddress | Name


def read_number(text: str) -> Dialled:
    """
    Read a dialled text.

    A `sips:` URI is accepted here, since a rule of the dial plan may rewrite it. `require_dialable`
    refuses it.

    Args:
        text: a telephone number with or without separators, a `tel:` URI (RFC 3966), a SIP URI,
            `user@host`, or a name that begins with a letter.

    Raises:
        NotDialable: the text is none of these.
    """
    text = text.strip(" \t\r\n")
    digits = text.translate(_VISUAL_SEPARATORS)
    if len(text) <= MAX_NUMBER_CHARACTERS and _DIGITS(digits):
        return _telephone(digits, (), text)
    if not text:
        raise NotDialable("the number is empty")
    scheme = _SCHEME(text)
    if len(text) > (MAX_URI_CHARACTERS if scheme or "@" in text else MAX_NUMBER_CHARACTERS):
        raise NotDialable(f"{len(text)} characters are too many for a number")
    if scheme is not None:
        return _read_uri(text, scheme[1].lower())
    if "@" in text:
        return _read_address(text)
    if text[0].isalpha():
        return _read_name(text)
    raise NotDialable(f"{_excerpt(text)} is not a telephone number{_hint(text)}")


def require_dialable(text: str) -> Dialled:
    """
    Read a dialled text that is about to be called.

    Raises:
        NotDialable: as `read_number` and `check_dialable`.
    """
    return check_dialable(read_number(text))


def check_dialable(dialled: Dialled) -> Dialled:
    """
    Check that umd can call this; returns it unchanged.

    Raises:
        NotDialable: it is a `sips:` URI, and umd has no TLS.
    """
    if isinstance(dialled, SipAddress) and dialled.secure:
        raise NotDialable(
            f"{_excerpt(dialled.uri)} asks for TLS on every hop, and umd has no TLS to a PBX; "
            "dial it as sip: if the call may be unprotected"
        )
    return dialled


def with_params_of(dialled: Dialled, original: Dialled) -> Dialled:
    """Return a number that the dial plan has made, with the parameters of the original number."""
    if not (isinstance(dialled, Telephone) and isinstance(original, Telephone)):
        return dialled
    if dialled.params or not original.params:
        return dialled
    return _telephone(dialled.digits, original.params, str(dialled))


def _read_uri(text: str, scheme: str) -> Dialled:
    if scheme == "tel":
        return _read_tel(text)
    if scheme in ("sip", "sips"):
        return _read_sip(text)
    raise NotDialable(f"{_excerpt(text)} has the scheme {scheme[:20]}:, not tel: or sip:")


def _read_tel(text: str) -> Telephone:
    number, *params = text[len("tel:") :].split(";")
    digits = unquote(number, errors="replace").translate(_VISUAL_SEPARATORS)
    if not _DIGITS(digits):
        raise NotDialable(f"{_excerpt(text)} has no telephone number after tel:{_hint(number)}")
    return _telephone(digits, tuple(_read_params(params, text)), text)


def _read_params(params: Sequence[str], text: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters that umd keeps. A client could choose a route by others."""
    for param in params:
        name, _, value = param.partition("=")
        if not _PARAM_NAME(name):
            raise NotDialable(f"{_excerpt(text)} has a wrong parameter: {_excerpt(param)}")
        if name.lower() in _TEL_PARAMS:
            yield name.lower(), _read_value(name.lower(), value, text)


def _read_value(name: str, value: str, text: str) -> str:
    if name == "ext":
        value = value.translate(_VISUAL_SEPARATORS)
        valid = bool(_DIGITS(value)) and "+" not in value
    elif name == "phone-context":
        if value.startswith("+"):
            value = value.translate(_VISUAL_SEPARATORS)
            valid = bool(_GLOBAL(value))
        else:
            valid = bool(_DOMAIN(value))
    else:
        valid = bool(_PARAM_VALUE(value))
    if not valid:
        raise NotDialable(f"{_excerpt(text)} has a wrong {name}: {_excerpt(value)}")
    return value


def _telephone(digits: str, params: tuple[tuple[str, str], ...], text: str) -> Telephone:
    if digits[0] == "+" and not _GLOBAL(digits):
        raise NotDialable(f"{_excerpt(text)} has * or # in a number with +")
    if not params:
        return Telephone(digits)
    if len({name for name, _ in params}) < len(params):
        raise NotDialable(f"{_excerpt(text)} has the same parameter twice")
    if digits[0] == "+":
        # A global number has no context (RFC 3966 §5.1.5).
        params = tuple(item for item in params if item[0] != "phone-context")
    return Telephone(digits, tuple(sorted(params, key=lambda item: _TEL_PARAMS.index(item[0]))))


def _read_address(text: str) -> SipAddress:
    if not _ADDRESS(text):
        raise NotDialable(f"{_excerpt(text)} is not a SIP address{_hint(text)}")
    return _read_sip("sip:" + text)


def _read_sip(text: str) -> SipAddress:
    try:
        uri = Uri.parse(text)
    except FieldError as error:
        raise NotDialable(f"{error}{_hint(text)}") from None
    if uri.password is not None:
        raise NotDialable(f"{_excerpt(text)} has a password, or a scheme twice; leave it out")
    if uri.headers is not None:
        raise NotDialable(f"{_excerpt(text)} has header fields after ?, which are not sent")
    if set(text) & set('<>"'):
        raise NotDialable(f"{_excerpt(text)} has a character that ends an address")
    if uri.user is not None and uri.user.startswith("//"):
        raise NotDialable(f"{_excerpt(text)} has // after the scheme; leave it out")
    return SipAddress(_escaped(text, uri))


def _escaped(text: str, uri: Uri) -> str:
    """Return the URI with the escapes that its user part needs, such as for the `#` of `*72#`."""
    if uri.user is None:
        return text
    user = _escape_in_user(lambda match: f"%{ord(match[0]):02X}", uri.user)
    return text if user == uri.user else str(replace(uri, user=user))


def _read_name(text: str) -> Name:
    if not all(c.isalpha() or c in _IN_NAME for c in text) or "  " in text:
        raise NotDialable(f"{_excerpt(text)} is neither a number nor a name{_hint(text)}")
    return Name(text)


def _hint(text: str) -> str:
    """Return an addition to an error text that names characters which are easily overlooked."""
    if any(c.isdigit() and not c.isascii() for c in text):
        return ": its digits are not 0 to 9"
    if not text.isprintable():
        return ": it has invisible characters"
    return ""


def _excerpt(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
