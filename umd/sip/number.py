"""
What can be dialled: a telephone number, a SIP address or a name, read once for whoever dials.

SOAP, the command line, the dial plan and every backend read it here, so that the same text is the
same call, or the same refusal, wherever it comes from. Nothing is changed silently: what cannot be
honoured is refused with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from umd.errors import UmdError
from umd.sip.fields import FieldError, Uri

LONGEST: Final = 128
"""Characters of a number or a name."""
LONGEST_URI: Final = 255

SEPARATORS: Final = str.maketrans("", "", " .-()\t")
"""What people write between digits: the visual separators of RFC 3966, and blanks."""
IN_USER: Final = "-_.!~*'()&=+$,;/"
"""What stands for itself in the user part of a URI, beside letters and digits (RFC 3261 §25.1)."""

_DIGITS: Final = re.compile(r"\+?[*#]*[0-9][0-9*#]*").fullmatch
_GLOBAL: Final = re.compile(r"\+[0-9]+").fullmatch
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):").match
_ADDRESS: Final = re.compile(r"[!-~]+@[!-~]+").fullmatch
_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.?").fullmatch
_PARAM_NAME: Final = re.compile(r"[A-Za-z0-9-]+").fullmatch
_PARAM_VALUE: Final = re.compile(r"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})+").fullmatch
_NOT_IN_USER: Final = re.compile(rf"%(?![0-9A-Fa-f]{{2}})|[^A-Za-z0-9%?{re.escape(IN_USER)}]").sub
_KEPT: Final = ("ext", "isub", "phone-context")
"""RFC 3261 §19.1.6: extension or subaddress first, then the context."""
_NAME_MARKS: Final = frozenset("0123456789-_.~!*' ")


class NotDialable(UmdError):
    """What is dialled is no number, or may not be called; the text says why. Nothing was called."""


@dataclass(frozen=True, slots=True)
class Telephone:
    """A telephone number, without separators."""

    digits: str
    """With a `+` before a number that is the same everywhere."""
    params: tuple[tuple[str, str], ...] = ()
    """Of a `tel:` URI, those of `_KEPT`, in that order."""

    def __str__(self) -> str:
        """The digits, or a `tel:` URI where there is more; `read_number` reads both."""
        return f"tel:{self._with_params}" if self.params else self.digits

    @property
    def _with_params(self) -> str:
        return self.digits + "".join(f";{name}={value}" for name, value in self.params)

    @property
    def plain(self) -> str:
        """What a dial plan looks at."""
        return self.digits

    @property
    def full(self) -> str | None:
        """The number with the prefix of its phone-context before it; None where it has none."""
        context = dict(self.params).get("phone-context", "")
        return context + self.digits.lstrip("+") if context.startswith("+") else None

    @property
    def user(self) -> str:
        """As the user part of a SIP URI (RFC 3261 §19.1.6), escaped."""
        return quote(self._with_params, safe=IN_USER + "%")


@dataclass(frozen=True, slots=True)
class SipAddress:
    """A SIP URI, with the spelling it was dialled with."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    @property
    def plain(self) -> str:
        """What a dial plan looks at."""
        return self.uri

    @property
    def secure(self) -> bool:
        """Whether it asks for TLS on every hop (RFC 3261 §26.2.2)."""
        return self.uri[:5].lower() == "sips:"


@dataclass(frozen=True, slots=True)
class Name:
    """A word that is somebody's name on a PBX."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def plain(self) -> str:
        """What a dial plan looks at."""
        return self.text

    @property
    def user(self) -> str:
        """As the user part of a SIP URI, escaped."""
        return quote(self.text, safe=IN_USER)


Dialled: TypeAlias = Telephone | SipAddress | Name


def read_number(text: str) -> Dialled:
    """
    Read what somebody dials.

    A `sips:` URI is read: who rewrites it may dial something else. `require_dialable` refuses it.

    Args:
        text: a telephone number with or without separators, a `tel:` URI (RFC 3966), a SIP URI,
            `user@host`, or a name that begins with a letter.

    Raises:
        NotDialable
    """
    text = text.strip(" \t\r\n")
    digits = text.translate(SEPARATORS)
    if len(text) <= LONGEST and _DIGITS(digits):
        return _telephone(digits, (), text)
    if not text:
        raise NotDialable("the number is empty")
    scheme = _SCHEME(text)
    if len(text) > (LONGEST_URI if scheme or "@" in text else LONGEST):
        raise NotDialable(f"{len(text)} characters are no number")
    if scheme is not None:
        return _read_uri(text, scheme[1].lower())
    if "@" in text:
        return _read_address(text)
    if text[0].isalpha():
        return _read_name(text)
    raise NotDialable(f"{_shown(text)} is no telephone number{_hint(text)}")


def require_dialable(text: str) -> Dialled:
    """
    Read what is to be called now.

    Raises:
        NotDialable: it is no number, or asks for what umd cannot give.
    """
    return check_dialable(read_number(text))


def check_dialable(dialled: Dialled) -> Dialled:
    """
    See that umd can give what a number asks for.

    Raises:
        NotDialable
    """
    if isinstance(dialled, SipAddress) and dialled.secure:
        raise NotDialable(
            f"{_shown(dialled.uri)} asks for TLS on every hop, and umd speaks no TLS to a PBX; "
            "dial it as sip: if it may cross unprotected"
        )
    return dialled


def with_params_of(dialled: Dialled, original: Dialled) -> Dialled:
    """A number that a dial plan has made, with the extension and the context of the one before."""
    if not (isinstance(dialled, Telephone) and isinstance(original, Telephone)):
        return dialled
    if dialled.params or not original.params:
        return dialled
    return _telephone(dialled.digits, original.params, str(dialled))


# -- the forms


def _read_uri(text: str, scheme: str) -> Dialled:
    if scheme == "tel":
        return _read_tel(text)
    if scheme in ("sip", "sips"):
        return _read_sip(text)
    raise NotDialable(f"{_shown(text)} is of the scheme {scheme[:20]}:, and not tel: or sip:")


def _read_tel(text: str) -> Telephone:
    number, *params = text[len("tel:") :].split(";")
    digits = unquote(number, errors="replace").translate(SEPARATORS)
    if not _DIGITS(digits):
        raise NotDialable(f"{_shown(text)} has no telephone number after tel:{_hint(number)}")
    return _telephone(digits, tuple(_read_params(params, text)), text)


def _read_params(params: Sequence[str], text: str) -> Iterator[tuple[str, str]]:
    """Those that say whom to call; others would let a client choose routes, and are left out."""
    for param in params:
        name, _, value = param.partition("=")
        if not _PARAM_NAME(name):
            raise NotDialable(f"{_shown(text)} has a wrong parameter: {_shown(param)}")
        if name.lower() in _KEPT:
            yield name.lower(), _read_value(name.lower(), value, text)


def _read_value(name: str, value: str, text: str) -> str:
    if name == "ext":
        value = value.translate(SEPARATORS)
        good = bool(_DIGITS(value)) and "+" not in value
    elif name == "phone-context":
        if value.startswith("+"):
            value = value.translate(SEPARATORS)
            good = bool(_GLOBAL(value))
        else:
            good = bool(_DOMAIN(value))
    else:
        good = bool(_PARAM_VALUE(value))
    if not good:
        raise NotDialable(f"{_shown(text)} has a wrong {name}: {_shown(value)}")
    return value


def _telephone(digits: str, params: tuple[tuple[str, str], ...], text: str) -> Telephone:
    if digits[0] == "+" and not _GLOBAL(digits):
        raise NotDialable(f"{_shown(text)} has * or # in a number with +")
    if not params:
        return Telephone(digits)
    if len({name for name, _ in params}) < len(params):
        raise NotDialable(f"{_shown(text)} has a parameter twice")
    if digits[0] == "+":
        # RFC 3966 §5.1.5: a number that is the same everywhere has no context.
        params = tuple(item for item in params if item[0] != "phone-context")
    return Telephone(digits, tuple(sorted(params, key=lambda item: _KEPT.index(item[0]))))


def _read_address(text: str) -> SipAddress:
    if not _ADDRESS(text):
        raise NotDialable(f"{_shown(text)} is no SIP address{_hint(text)}")
    return _read_sip("sip:" + text)


def _read_sip(text: str) -> SipAddress:
    try:
        uri = Uri.parse(text)
    except FieldError as error:
        raise NotDialable(f"{error}{_hint(text)}") from None
    if uri.password is not None:
        raise NotDialable(f"{_shown(text)} has a password, or a scheme twice; leave it out")
    if uri.headers is not None:
        raise NotDialable(f"{_shown(text)} has header fields after ?, which are not sent")
    if set(text) & set('<>"'):
        raise NotDialable(f"{_shown(text)} has a character that ends an address")
    if uri.user is not None and uri.user.startswith("//"):
        raise NotDialable(f"{_shown(text)} has // after the scheme; leave it out")
    return SipAddress(_escaped(text, uri))


def _escaped(text: str, uri: Uri) -> str:
    """With escapes in the user part where they must be, as for the `#` of `*72#`."""
    if uri.user is None:
        return text
    user = _NOT_IN_USER(lambda found: f"%{ord(found[0]):02X}", uri.user)
    return text if user == uri.user else str(replace(uri, user=user))


def _read_name(text: str) -> Name:
    if not all(c.isalpha() or c in _NAME_MARKS for c in text) or "  " in text:
        raise NotDialable(f"{_shown(text)} is neither a number nor a name{_hint(text)}")
    return Name(text)


# -- words


def _hint(text: str) -> str:
    """What is odd about a text, where that does not meet the eye."""
    if any(c.isdigit() and not c.isascii() for c in text):
        return ": its digits are not 0 to 9"
    if not text.isprintable():
        return ": it has characters that cannot be seen"
    return ""


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
