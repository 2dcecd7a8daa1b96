"""URIs and hosts (RFC 3261 §19.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from umd.sip.fields.params import (
    MAX_PARAMS,
    PARAM_VALUE,
    Params,
    has_param,
    join_params,
    param,
    split_params,
)
from umd.sip.fields.syntax import HOST, SCHEME, FieldError, excerpt
from umd.sip.names import TOKEN

MAX_PORT: Final = 65535

_URI: Final = re.compile(rf"({SCHEME}):([!-~]+)").fullmatch
_SIP_URI: Final = re.compile(
    rf"(?:([^@:]+)(?::([^@]*))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    r"((?:;[^;?@=]+(?:=[^;?@]*)?)*)(?:\?([^@]*))?"
).fullmatch
_USUAL_SIP_URI: Final = re.compile(
    rf"sips?:(?:[^@:;?]+@)?({HOST})(?::[0-9]{{1,4}})?(?:;{TOKEN}(?:={PARAM_VALUE})?)?"
).fullmatch


class UriError(FieldError):
    """A text is not a URI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uri:
    """
    A URI. If its scheme is neither sip nor sips, the rest is kept as opaque text.

    Escapes are kept: to resolve them can change the meaning of the URI (RFC 4475 §3.1.1.3).
    """

    scheme: str
    """In lower case."""
    opaque: str = ""
    """The text after the colon, if the scheme is neither sip nor sips."""
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: str | None = None
    """The text after the "?", as written."""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse a URI. Raises: UriError."""
        match = _URI(text)
        if match is None:
            raise UriError(f"{excerpt(text)} is not a URI")
        scheme, rest = match.group(1).lower(), match.group(2)
        if scheme != "sip" and scheme != "sips":
            return cls(scheme=scheme, opaque=rest)
        if rest.count(";") > 4 * MAX_PARAMS:
            raise UriError(f"{excerpt(text)} has too many parameters")
        parts = _SIP_URI(rest)
        if parts is None:
            raise UriError(f"{excerpt(text)} is not a {scheme} URI")
        user, password, host, port, params, headers = parts.groups()
        return cls(
            scheme=scheme,
            user=user,
            password=password,
            host=host,
            port=parse_port(port, UriError),
            params=split_params(params),
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
        text += join_params(self.params)
        return text if self.headers is None else f"{text}?{self.headers}"

    def param(self, name: str) -> str | None:
        """Return the value of a URI parameter, or None."""
        return param(self.params, name)

    @property
    def is_loose(self) -> bool:
        """Whether this is the URI of a loose router: it has the parameter `lr`."""
        return has_param(self.params, "lr")


def is_usual_sip_uri(text: str) -> bool:
    """
    Whether this is a sip or sips URI in the form that most senders write.

    That form has no password, no header fields and at most one parameter. `Uri.parse` accepts every
    URI of that form. A text of another form may be a valid URI all the same.
    """
    return text.isascii() and _USUAL_SIP_URI(text) is not None


def parse_port(digits: str | None, error: type[FieldError]) -> int | None:
    """
    Return a port that was written with up to five digits, or None without digits.

    Raises:
        FieldError: an `error`; the port is larger than 65535.
    """
    if digits is None:
        return None
    port = int(digits)
    if port > MAX_PORT:
        raise error(f"port {port} is out of range")
    return port


def is_same_host(host: str, other: str) -> bool:
    """
    Whether two hosts are the same without looking names up.

    Names are compared without case, IPv6 addresses by their value.
    """
    if host == other:
        return True
    host, other = host.strip("[]").lower(), other.strip("[]").lower()
    return host == other or (":" in host and ":" in other and _is_same_ipv6(host, other))


def _is_same_ipv6(address: str, other: str) -> bool:
    try:
        return IPv6Address(address) == IPv6Address(other)
    except ValueError:
        return False


def is_ip_address(host: str) -> bool:
    """Whether the host is an IPv4 address, or an IPv6 address with brackets or without."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def uri_host(host: str) -> str:
    """Return a host as it is written in a URI or a Via: an IPv6 address gets brackets."""
    return f"[{host}]" if ":" in host and host[0] != "[" else host
