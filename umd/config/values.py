"""
The types of values: durations, sizes, paths, names and lists of these.

Each `parse_` function validates what TOML has read and returns the typed value. The text of its
ValueError completes the message "expected ...".
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from umd.call.principal import Scope, is_valid_name
from umd.runtime.files import MAX_SOCKET_PATH_OCTETS
from umd.text import is_mail_address

MAX_DURATION: Final = 10 * 366 * 86400  # seconds

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_OCTETS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]|\*")
_JWT_ALGORITHMS: Final = {
    *(family + bits for family in ("RS", "ES", "PS", "HS") for bits in ("256", "384", "512")),
    "EdDSA",
}


# -- numbers with a unit


def parse_duration(value: object) -> float:
    """Return the seconds of `"5s"`, `"250ms"` or `"1.5h"`; zero is refused."""
    seconds = parse_delay(value)
    if seconds == 0:
        raise ValueError("a duration longer than zero and at most ten years")
    return seconds


def parse_delay(value: object) -> float:
    """Return the seconds of a duration, which may be `"0s"`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a duration such as "5s" or "250ms"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_DURATION:
        raise ValueError("a duration of at most ten years")
    return seconds


def parse_size(value: object) -> int:
    """Return the octets of `"64KiB"` or `"10MiB"`."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size such as "512B" or "64KiB"')
    return int(match[1]) * _OCTETS[match[2]]


MIN_INTERVAL: Final = 1.0  # seconds


def parse_interval(value: object) -> float | None:
    """Parse `"60s"` to seconds, `"none"` to None."""
    if value is None or value == "none":
        return None
    seconds = parse_duration(value)
    if seconds < MIN_INTERVAL:
        raise ValueError('a duration of at least "1s", or "none"')
    return seconds


Interval: TypeAlias = Annotated[float | None, PlainValidator(parse_interval)]
"""Seconds between two repetitions, at least one; None: never."""
Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, more than zero."""
Delay: TypeAlias = Annotated[float, BeforeValidator(parse_delay)]
"""Seconds, zero or more."""
Size: TypeAlias = Annotated[int, BeforeValidator(parse_size)]
"""Octets."""


# -- names and addresses


def parse_node(value: object) -> str:
    """Return the name of a node."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("a name of letters, digits, dots, hyphens and underscores")
    return value


def parse_hosts(value: object) -> tuple[str, ...]:
    """Return one host name or address, or a list of them; `*` stands for all of them."""
    hosts = [value] if isinstance(value, str) else value
    if not isinstance(hosts, list) or not all(
        isinstance(host, str) and _HOST.fullmatch(host) for host in hosts
    ):
        raise ValueError('a list of names or addresses without ports such as "umd.example.com"')
    return tuple(hosts)


def parse_host_port(value: object) -> str:
    """Return a host and a port in the form `host:port`."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (host and colon and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError('a host and a port such as "mail.example.com:587"')
    return str(value)


def parse_mail_address(value: object) -> str:
    """Return a mail address without a display name."""
    if not isinstance(value, str) or not is_mail_address(value):
        raise ValueError('a mail address such as "umd@example.com"')
    return value


# -- paths


def check_user_name(value: str) -> str:
    """Return the name of a user who may own calls."""
    if not is_valid_name(value):
        raise ValueError("a user name of 1 to 256 printable characters")
    return value


def check_path(value: str) -> str:
    """Return a path; an empty one is refused, and a NUL character, at which the system ends it."""
    if not value or "\0" in value:
        raise ValueError("a path")
    return value


FilePath: TypeAlias = Annotated[str, AfterValidator(check_path)]
"""The path of a file or folder; `umd check-config --files` checks each key of this type."""


def parse_path_or_auto(value: object) -> str:
    """Return an absolute path, `"auto"` or `"none"`."""
    if value in ("auto", "none"):
        return str(value)
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('"auto", "none", or a path that begins with "/"')
    return value


def parse_socket_path(value: object) -> str:
    """Return the absolute path of a UNIX socket, `"auto"` or `"none"`."""
    if isinstance(value, str) and value.startswith(("@", "\0")):
        raise ValueError("a path: an abstract socket has no owner, so any user could connect to it")
    path = parse_path_or_auto(value)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_OCTETS:
        raise ValueError(f"a path of at most {MAX_SOCKET_PATH_OCTETS} octets")
    return path


# -- lists


def parse_strings(value: object) -> tuple[str, ...]:
    """Return a list of strings; an empty string is refused."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("a list of strings")
    return tuple(value)


def parse_networks(value: object) -> tuple[str, ...]:
    """Return a list of IP addresses and networks."""
    networks = parse_strings(value)
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            raise ValueError('a list of addresses or networks such as "10.0.0.0/8"') from None
    return networks


def parse_scopes(value: object) -> tuple[str, ...]:
    """Return a list of rights, each a value of `umd.call.principal.Scope`."""
    scopes = parse_strings(value)
    if not set(scopes) <= set(Scope):
        raise ValueError("a list of " + ", ".join(f'"{scope}"' for scope in Scope))
    return scopes


def parse_algorithms(value: object) -> tuple[str, ...]:
    """
    Return a list of JWT signature algorithms: all with a public key, or all with a secret.

    A mixed list would let an attacker sign a token with the public key as if it were the secret
    (RFC 8725 section 2.1).
    """
    algorithms = parse_strings(value)
    uses_secret = {algorithm.startswith("HS") for algorithm in algorithms}
    if not algorithms or not set(algorithms) <= _JWT_ALGORITHMS or len(uses_secret) > 1:
        raise ValueError('a list such as ["RS256"], of one family of algorithms')
    return algorithms


Strings: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(parse_strings)]
Scopes: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(parse_scopes)]
UserName: TypeAlias = Annotated[str, AfterValidator(check_user_name)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
"""A string that is not empty."""
