"""Endpoint strings: where umd listens, in the notation of Twisted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from twisted.internet.endpoints import serverFromString

from umd.config.words import quote


def parse_listen(value: object) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list):
        raise ValueError("a Twisted endpoint string such as " + EXAMPLE + ", or a list of them")
    for one in several:
        _check_endpoint(one)
    return tuple(several)


def _check_endpoint(value: object) -> None:
    kind = value.partition(":")[0] if isinstance(value, str) else None
    if not isinstance(value, str) or kind not in ENDPOINT_TYPES:
        raise ValueError(
            f"a Twisted endpoint string such as {EXAMPLE} (of {', '.join(ENDPOINT_TYPES)})"
        )
    try:
        if re.fullmatch(r"(?:[^\\]|\\.)*", value, re.DOTALL) is None:
            raise ValueError("nothing follows the last backslash")
        # Only to see whether it can be read: nothing listens yet, and no reactor is touched. That
        # of systemd can only be read where systemd has handed over the socket.
        if kind != "systemd":
            serverFromString(None, value)
        _CHECKS[kind](endpoint_fields(value))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"a Twisted endpoint string such as {EXAMPLE}; of {quote(value)}: {error}"
        ) from None


def _check_tcp(fields: Mapping[str, str]) -> None:
    if not 0 <= int(fields["port"]) <= 65535:
        raise ValueError("the port is not from 0 to 65535")
    interface = fields.get("interface", "")
    if interface not in ("", "localhost") and _address(interface) is None:
        raise ValueError("the interface is no IP address")


def _check_unix(fields: Mapping[str, str]) -> None:
    if not 0 < len(os.fsencode(fields["address"])) < 108:
        raise ValueError("the path is not of 1 to 107 octets")


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
    What Twisted reads in an endpoint string, by name.

    A backslash makes a colon an ordinary character; of two values with one name the last counts.
    """
    kind, *parts = re.findall(r"(?:^|:)((?:[^:\\]|\\.)*)", endpoint, re.DOTALL)
    names = iter(ENDPOINT_TYPES[kind])
    fields: dict[str, str] = {}
    for part in parts:
        named = re.fullmatch(r"((?:[^=\\]|\\.)*)=(.*)", part, re.DOTALL)
        name, text = named.groups() if named else (next(names, "too many"), part)
        fields[name] = re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
    return fields


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def is_loopback(endpoint: str) -> bool:
    interface = endpoint_fields(endpoint).get("interface", "")
    address = _address(interface)
    return interface == "localhost" if address is None else address.is_loopback


EXAMPLE: Final = '"tcp:8080:interface=127.0.0.1"'
ENDPOINT_TYPES: Final = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""Each with the names of what needs none by its position."""
_CHECKS: Final[Mapping[str, Callable[[Mapping[str, str]], None]]] = {
    "tcp": _check_tcp,
    "tcp6": _check_tcp,
    "unix": _check_unix,
    "systemd": _check_systemd,
}
