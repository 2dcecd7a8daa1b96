"""The types of single values: durations, sizes, paths, names and lists of them."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from umd.call.principal import Scope
from umd.runtime.files import MAX_SOCKET_PATH_OCTETS
from umd.text import is_mail_address

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_OCTETS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_duration(value: object) -> float:
    """`"5s"`, `"250ms"`, `"1.5h"` to seconds; more than none, at most ten years."""
    seconds = parse_delay(value)
    if seconds == 0:
        raise ValueError("a duration of more than none and at most ten years")
    return seconds


def parse_delay(value: object) -> float:
    """The same, or "0s"."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a duration such as "5s" or "250ms"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > 10 * 366 * 86400:
        raise ValueError("a duration of at most ten years")
    return seconds


def parse_size(value: object) -> int:
    """`"64KiB"`, `"10MiB"` to octets."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('a size such as "512B" or "64KiB"')
    return int(match[1]) * _OCTETS[match[2]]


Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration)]
Delay: TypeAlias = Annotated[float, BeforeValidator(parse_delay)]
Size: TypeAlias = Annotated[int, BeforeValidator(parse_size)]
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]|\*")


def parse_hosts(value: object) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(
        isinstance(one, str) and _HOST.fullmatch(one) for one in several
    ):
        raise ValueError('a list of names or addresses without ports such as "umd.example.com"')
    return tuple(several)


def parse_socket(value: object) -> str:
    if value in ("auto", "none"):
        return str(value)
    if isinstance(value, str) and value.startswith(("@", "\0")):
        raise ValueError("a path: an abstract socket has no owner, and anybody could connect to it")
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('"auto", "none", or a path that begins with "/"')
    if len(os.fsencode(value)) > MAX_SOCKET_PATH_OCTETS:
        raise ValueError(f"a path of at most {MAX_SOCKET_PATH_OCTETS} octets")
    return value


def parse_journal(value: object) -> str:
    if value in ("auto", "none"):
        return str(value)
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('"auto", "none", or a path that begins with "/"')
    return value


def parse_node(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", value):
        raise ValueError("a name of letters, digits, dots, hyphens and underscores")
    return value


def parse_mail_address(value: object) -> str:
    if not isinstance(value, str) or not is_mail_address(value):
        raise ValueError('a mail address such as "umd@example.com"')
    return value


def parse_host_port(value: object) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (host and colon and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError('a host and a port such as "mail.example.com:587"')
    return str(value)


def parse_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("a list of strings")
    return tuple(value)


def parse_networks(value: object) -> tuple[str, ...]:
    networks = parse_strings(value)
    for one in networks:
        try:
            ip_network(one)
        except ValueError:
            raise ValueError('a list of addresses or networks such as "10.0.0.0/8"') from None
    return networks


def parse_scopes(value: object) -> tuple[str, ...]:
    scopes = parse_strings(value)
    if not set(scopes) <= set(Scope):
        raise ValueError("a list of " + ", ".join(f'"{one}"' for one in Scope))
    return scopes


def parse_algorithms(value: object) -> tuple[str, ...]:
    algorithms = parse_strings(value)
    known = [kind + size for kind in ("RS", "ES", "PS", "HS") for size in ("256", "384", "512")]
    secret = {one.startswith("HS") for one in algorithms}
    if not algorithms or not set(algorithms) <= {*known, "EdDSA"} or len(secret) > 1:
        raise ValueError('a list such as ["RS256"], of one family of algorithms')
    return algorithms


Strings: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(parse_strings)]
Scopes: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(parse_scopes)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


def check_path(value: str) -> str:
    """Refuse what can be no path: the system ends one at a NUL character."""
    if not value or "\0" in value:
        raise ValueError("a path")
    return value


FilePath: TypeAlias = Annotated[str, AfterValidator(check_path)]
"""The path of a file or a folder, which `umd.daemon.checks` looks at."""
