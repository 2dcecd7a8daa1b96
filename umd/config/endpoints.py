"""Endpoint strings: where umd listens, in the notation of Twisted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from umd.config.notation import quote
from umd.runtime.files import MAX_SOCKET_PATH_OCTETS


def parse_listen(value: object) -> tuple[str, ...]:
    """Validate one endpoint string, or a list of them."""
    endpoints = [value] if isinstance(value, str) else value
    if not isinstance(endpoints, list):
        raise ValueError(f"a Twisted endpoint string such as {EXAMPLE}, or a list of them")
    for endpoint in endpoints:
        _check_endpoint(endpoint)
    return tuple(endpoints)


def _check_endpoint(value: object) -> None:
    kind = value.partition(":")[0] if isinstance(value, str) else None
    if not isinstance(value, str) or kind not in PARAMETERS:
        kinds = ", ".join(PARAMETERS)
        raise ValueError(f"a Twisted endpoint string such as {EXAMPLE} (of {kinds})")
    try:
        _CHECKS[kind](endpoint_fields(value))
    except ValueError as error:
        raise ValueError(
            f"a Twisted endpoint string such as {EXAMPLE}; of {quote(value)}: {error}"
        ) from None


def _check_tcp(fields: Mapping[str, str]) -> None:
    if not 0 <= _number(fields, "port") <= MAX_PORT:
        raise ValueError(f"the port is not from 0 to {MAX_PORT}")
    _number(fields, "backlog", default="50")
    interface = fields.get("interface", "")
    if interface not in ("", "localhost") and _address(interface) is None:
        raise ValueError("the interface is no IP address")


def _check_unix(fields: Mapping[str, str]) -> None:
    if not 0 < len(os.fsencode(fields.get("address", ""))) <= MAX_SOCKET_PATH_OCTETS:
        raise ValueError(f"the path is not of 1 to {MAX_SOCKET_PATH_OCTETS} octets")
    _number(fields, "mode", default="666", base=8)
    _number(fields, "backlog", default="50")
    _number(fields, "lockfile", default="1")


def _check_systemd(fields: Mapping[str, str]) -> None:
    if fields.keys() not in ({"domain", "index"}, {"domain", "name"}):
        raise ValueError("it needs a domain, and either an index or a name")
    if fields["domain"] not in ("INET", "INET6", "UNIX"):
        raise ValueError("the domain is not INET, INET6 or UNIX")
    if not re.fullmatch("[0-9]{1,6}", fields.get("index", "0")):
        raise ValueError("the index is no number")
    if not fields.get("name", "x"):
        raise ValueError("the name is empty")


def endpoint_fields(endpoint: str) -> dict[str, str]:
    """
    Read the parameters of an endpoint string, as Twisted reads them.

    A backslash takes away the special meaning of the character after it. If a parameter is named
    twice, the last value counts.

    Returns:
        The values by the names of the parameters.

    Raises:
        ValueError: Twisted would not accept it; the message says why.
    """
    if re.fullmatch(r"(?:[^\\]|\\.)*", endpoint, re.DOTALL) is None:
        raise ValueError("nothing follows the last backslash")
    kind, *parts = re.findall(r"(?:^|:)((?:[^:\\]|\\.)*)", endpoint, re.DOTALL)
    known = PARAMETERS[kind]
    by_position: list[str] = []
    by_name: dict[str, str] = {}
    for part in parts:
        named = re.fullmatch(r"((?:[^=\\]|\\.)*)=(.*)", part, re.DOTALL)
        if named is None:
            by_position.append(_unescape(part))
        elif (name := _unescape(named[1])) in known:
            by_name[name] = _unescape(named[2])
        else:
            raise ValueError(f"{kind} has no parameter {quote(name)}")
    if len(by_position) > len(known):
        raise ValueError(f"{kind} has at most {len(known)} parameters")
    fields = dict(zip(known, by_position, strict=False))
    if twice := fields.keys() & by_name.keys():
        raise ValueError(f"{min(twice)} is given by its position and by its name")
    return fields | by_name


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _number(
    fields: Mapping[str, str], name: str, default: str | None = None, base: int = 10
) -> int:
    text = fields.get(name, default)
    if text is None:
        raise ValueError(f"it needs a {name}")
    try:
        return int(text, base)
    except ValueError:
        raise ValueError(f"the {name} is no number") from None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_loopback(endpoint: str) -> bool:
    """Tell whether a `tcp` or `tcp6` endpoint accepts connections from this machine alone."""
    interface = endpoint_fields(endpoint).get("interface", "")
    address = _address(interface)
    return interface == "localhost" if address is None else address.is_loopback


def parse_wire_addresses(value: object) -> tuple[str, ...]:
    """Validate one address such as `"udp:127.0.0.1:9060"`, or a list of them."""
    addresses = [value] if isinstance(value, str) else value
    if not isinstance(addresses, list):
        raise ValueError(_WIRE_EXPECTED)
    for address in addresses:
        if not isinstance(address, str):
            raise ValueError(_WIRE_EXPECTED)
        split_wire_address(address)
    return tuple(addresses)


def split_wire_address(text: str) -> tuple[str, str, int]:
    """
    Return transport (`udp` or `tcp`), IP address and port of `udp:HOST:PORT`.

    Raises:
        ValueError: it has not that form. The text completes "expected ...".
    """
    match = _WIRE_ADDRESS.fullmatch(text)
    host = "" if match is None else match[2].strip("[]")
    address = _address(host)
    in_brackets = match is not None and match[2].startswith("[")
    if match is None or address is None or (address.version == 6) != in_brackets:
        raise ValueError(_WIRE_EXPECTED)
    port = int(match[3])
    if port > MAX_PORT:
        raise ValueError(_WIRE_EXPECTED)
    return match[1], host, port


def is_loopback_address(text: str) -> bool:
    """Tell whether only this machine reaches a valid `udp:HOST:PORT` or `tcp:HOST:PORT`."""
    return ip_address(split_wire_address(text)[1]).is_loopback


_WIRE_ADDRESS: Final = re.compile(r"(udp|tcp):(\[[0-9A-Fa-f:.]*\]|[0-9.]*):([0-9]{1,5})")
_WIRE_EXPECTED: Final = (
    'an address such as "udp:127.0.0.1:9060" or "tcp:[::1]:9060", without a name, or a list of them'
)
EXAMPLE: Final = '"tcp:8080:interface=127.0.0.1"'
MAX_PORT: Final = 65535
PARAMETERS: Final = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""The parameters of each kind of endpoint, in the order in which they may stand without a name."""
_CHECKS: Final[Mapping[str, Callable[[Mapping[str, str]], None]]] = {
    "tcp": _check_tcp,
    "tcp6": _check_tcp,
    "unix": _check_unix,
    "systemd": _check_systemd,
}
