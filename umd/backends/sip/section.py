"""The keys of `[backend.sip]` and their values, and the URI that a number is called at."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final, Self, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, model_validator

from umd.config import Duration, Section
from umd.config.values import FilePath, Interval
from umd.errors import UmdError
from umd.runtime.files import CannotRead, read_secret
from umd.sip.credentials import Login
from umd.sip.fields import FieldError, NameAddr, Uri, uri_host
from umd.sip.number import SipAddress, Telephone, require_dialable
from umd.sip.transaction import Hop

PLACEHOLDER: Final = "{number}"
_ADDRESS: Final = re.compile(r"udp:(\[[^\]]*\]|[^:]*):([0-9]{1,5})")
_EXPECTED: Final = 'an address such as "udp:127.0.0.1:5060" or "udp:[::1]:5060", without a name'
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\]")


def parse_address(value: object) -> Hop:
    """Parse `"udp:127.0.0.1:5060"`; an IPv6 address is in brackets."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > 65535:
        raise ValueError(_EXPECTED)
    try:
        address = ip_address(match[1].strip("[]"))
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if isinstance(address, IPv6Address) != match[1].startswith("["):
        raise ValueError(_EXPECTED)
    return Hop(str(address), int(match[2]))


def _check_peer(hop: Hop) -> Hop:
    if hop.port == 0 or ip_address(hop.host).is_unspecified:
        raise ValueError(_EXPECTED + ", and one that a peer can listen on")
    return hop


def _check_host(value: str) -> str:
    if _HOST.fullmatch(value) is None:
        raise ValueError('a host such as "192.0.2.7" or "umd.example.com", without a port')
    return value


def _check_template(value: str) -> str:
    if value.count(PLACEHOLDER) != 1 or not _is_sip_uri(value.replace(PLACEHOLDER, "1")):
        raise ValueError('a SIP URI with {number} in it, such as "sip:{number}@example.com"')
    return value


def _check_uri(value: str) -> str:
    if not _is_sip_uri(value):
        raise ValueError('a SIP URI such as "sip:umd@example.com"')
    return value


def _check_route(value: str) -> str:
    try:
        loose = NameAddr.parse(value).address.is_loose
    except FieldError:
        loose = False
    if not loose or not value.startswith("<"):
        raise ValueError('a loose route such as "<sip:192.0.2.1;lr>"')
    return value


def _check_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a name without line ends and other control characters")
    return value


def _is_sip_uri(text: str) -> bool:
    try:
        uri = Uri.parse(text)
    except FieldError:
        return False
    # These characters would end the address in To or From.
    return uri.scheme == "sip" and uri.headers is None and not set(text) & set('<>" ')


UdpAddress: TypeAlias = Annotated[Hop, PlainValidator(parse_address)]


class SipSection(Section):
    """`[backend.sip]`."""

    listen: UdpAddress = Hop("127.0.0.1", 5060)
    peer: Annotated[UdpAddress, AfterValidator(_check_peer)]
    advertise: Annotated[str, AfterValidator(_check_host)] | None = None
    uri: Annotated[str, AfterValidator(_check_template)] | None = None
    from_: Annotated[str, AfterValidator(_check_uri)] | None = Field(default=None, alias="from")
    routes: list[Annotated[str, AfterValidator(_check_route)]] = []
    username: Annotated[str, Field(min_length=1), AfterValidator(_check_printable)] | None = None
    password_file: FilePath | None = None
    t1: Annotated[Duration, Field(ge=0.01, le=4.0)] = 0.5
    probe_interval: Interval = 60.0

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if ip_address(self.listen.host).is_unspecified and self.advertise is None:
            raise ValueError("advertise as well, since listen is every address of this machine")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file, both or neither")
        if ip_address(self.listen.host).version != ip_address(self.peer.host).version:
            raise ValueError("listen and peer both of IPv4, or both of IPv6")
        return self

    @property
    def template(self) -> str:
        """The URI of a call, with `{number}` in it."""
        return self.uri or f"sip:{PLACEHOLDER}@{uri_host(self.peer.host)}:{self.peer.port}"


class NoPassword(UmdError):
    """The password file cannot be used."""


def read_login(section: SipSection) -> Login | None:
    """
    Return the user name and the password for a peer that challenges; None if not configured.

    Raises:
        NoPassword: the password file cannot be used.
    """
    if section.username is None or section.password_file is None:
        return None
    try:
        return Login(section.username, read_password(section.password_file))
    except NoPassword as error:
        raise NoPassword(f"password_file = {section.password_file!r}: {error}") from None


def read_password(file: str) -> str:
    """
    Return the password: the first line of this file.

    Raises:
        NoPassword: the file cannot be used. The text does not name the path.
    """
    try:
        return read_secret(file)
    except CannotRead as error:
        raise NoPassword(str(error)) from None


def uri_to(number: str, template: str) -> str:
    """
    Return the URI to call for a dialled text.

    A SIP URI is used as it is. A telephone number or a name replaces `{number}` in the template. A
    number with an extension or a phone-context gets `user=phone`, without which these would be a
    part of a user name (RFC 3261 §19.1.6).

    Args:
        number: the dialled text.
        template: the value of the setting `uri`.

    Raises:
        NotDialable: umd cannot call this number.
    """
    dialled = require_dialable(number)
    if isinstance(dialled, SipAddress):
        return dialled.uri
    uri = template.replace(PLACEHOLDER, dialled.user)
    if isinstance(dialled, Telephone) and dialled.params and not _has_user_param(template):
        uri += ";user=phone"
    return uri


def _has_user_param(template: str) -> bool:
    return Uri.parse(template.replace(PLACEHOLDER, "1")).param("user") is not None
