"""The configuration: TOML into typed settings, and every mistake told with its place at once."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from twisted.internet.endpoints import serverFromString

from umd.backend import LegBackend, UnknownBackendType, load_backend_type
from umd.call.principal import Scope
from umd.errors import UmdError
from umd.http.limits import Limits
from umd.management.address import LONGEST_PATH
from umd.messaging.dialplan import InvalidRule, check_template, compile_pattern
from umd.messaging.pin import is_mail_address
from umd.runtime.files import CannotRead, read_file

# -- values people can read

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


def _parse_listen(value: object) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list):
        raise ValueError("a Twisted endpoint string such as " + _ENDPOINT + ", or a list of them")
    for one in several:
        _check_endpoint(one)
    return tuple(several)


def _check_endpoint(value: object) -> None:
    kind = value.partition(":")[0] if isinstance(value, str) else None
    if not isinstance(value, str) or kind not in _ENDPOINT_TYPES:
        raise ValueError(
            f"a Twisted endpoint string such as {_ENDPOINT} (of {', '.join(_ENDPOINT_TYPES)})"
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
            f"a Twisted endpoint string such as {_ENDPOINT}; of {_quoted(value)}: {error}"
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
    names = iter(_ENDPOINT_TYPES[kind])
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


def _is_loopback(endpoint: str) -> bool:
    interface = endpoint_fields(endpoint).get("interface", "")
    address = _address(interface)
    return interface == "localhost" if address is None else address.is_loopback


_ENDPOINT: Final = '"tcp:8080:interface=127.0.0.1"'
_ENDPOINT_TYPES: Final = {
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


_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]|\*")


def _parse_hosts(value: object) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(
        isinstance(one, str) and _HOST.fullmatch(one) for one in several
    ):
        raise ValueError('a list of names or addresses without ports such as "umd.example.com"')
    return tuple(several)


def _parse_socket(value: object) -> str:
    if value in ("auto", "none"):
        return str(value)
    if isinstance(value, str) and value.startswith(("@", "\0")):
        raise ValueError("a path: an abstract socket has no owner, and anybody could connect to it")
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('"auto", "none", or a path that begins with "/"')
    if len(os.fsencode(value)) > LONGEST_PATH:
        raise ValueError(f"a path of at most {LONGEST_PATH} octets")
    return value


def _parse_journal(value: object) -> str:
    if value in ("auto", "none"):
        return str(value)
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('"auto", "none", or a path that begins with "/"')
    return value


def _parse_node(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,253}", value):
        raise ValueError("a name of letters, digits, dots, hyphens and underscores")
    return value


def _parse_mail_address(value: object) -> str:
    if not isinstance(value, str) or not is_mail_address(value):
        raise ValueError('a mail address such as "umd@example.com"')
    return value


def _parse_host_port(value: object) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (host and colon and re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise ValueError('a host and a port such as "mail.example.com:587"')
    return str(value)


# -- the settings


M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """Base of every section: unknown keys and other types than the one asked for are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class HttpSection(Section):
    """Where and how HTTP is served."""

    allow_anonymous: bool = False
    listen: Annotated[tuple[str, ...], BeforeValidator(_parse_listen)] = (
        "tcp:8080:interface=127.0.0.1",
    )
    listen_tls: Annotated[tuple[str, ...], BeforeValidator(_parse_listen)] = ()
    hosts: Annotated[tuple[str, ...], BeforeValidator(_parse_hosts)] = ()
    max_body: Annotated[Size, Field(ge=1024, le=64 * 1024)] = 64 * 1024
    max_head: Annotated[Size, Field(ge=1024, le=256 * 1024)] = 16 * 1024
    max_header_lines: Annotated[int, Field(ge=8, le=1000)] = 64
    max_target: Annotated[Size, Field(ge=64, le=64 * 1024)] = 2 * 1024
    max_chunks: Annotated[int, Field(ge=1, le=65536)] = 1024
    max_pipelined: Annotated[int, Field(ge=1, le=1000)] = 16
    head_timeout: Duration = 10.0
    body_timeout: Duration = 10.0
    min_body_rate: Annotated[Size, Field(ge=0, le=1024**2)] = 1024
    idle_timeout: Duration = 75.0
    write_timeout: Duration = 30.0
    linger: Duration = 2.0
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 12_000
    max_connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    max_waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    max_held: Annotated[Size, Field(ge=1024**2, le=64 * 1024**3)] = 128 * 1024**2
    max_stall: Duration = 0.1
    retry_after: Duration = 1.0

    def limits(self) -> Limits:
        """What the front is told of these."""
        return Limits(**{one.name: getattr(self, one.name) for one in fields(Limits)})


def _parse_strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("a list of strings")
    return tuple(value)


def _parse_networks(value: object) -> tuple[str, ...]:
    networks = _parse_strings(value)
    for one in networks:
        try:
            ip_network(one)
        except ValueError:
            raise ValueError('a list of addresses or networks such as "10.0.0.0/8"') from None
    return networks


def _parse_scopes(value: object) -> tuple[str, ...]:
    scopes = _parse_strings(value)
    if not set(scopes) <= set(Scope):
        raise ValueError("a list of " + ", ".join(f'"{one}"' for one in Scope))
    return scopes


def _parse_algorithms(value: object) -> tuple[str, ...]:
    algorithms = _parse_strings(value)
    known = [kind + size for kind in ("RS", "ES", "PS", "HS") for size in ("256", "384", "512")]
    secret = {one.startswith("HS") for one in algorithms}
    if not algorithms or not set(algorithms) <= {*known, "EdDSA"} or len(secret) > 1:
        raise ValueError('a list such as ["RS256"], of one family of algorithms')
    return algorithms


Strings: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_parse_strings)]
Scopes: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_parse_scopes)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


def check_path(value: str) -> str:
    """Refuse what can be no path: the system ends one at a NUL character."""
    if not value or "\0" in value:
        raise ValueError("a path")
    return value


FilePath: TypeAlias = Annotated[str, AfterValidator(check_path)]
"""The path of a file or a folder, which `umd.daemon.checks` looks at."""


class TokenSection(Section):
    """Bearer tokens (JWT)."""

    algorithms: Annotated[tuple[str, ...], BeforeValidator(_parse_algorithms)] = ("RS256",)
    audience: Text = "umd"
    issuer: Text | None = None
    name_claim: Text = "sub"
    key_file: FilePath | None = None

    @field_validator("key_file")
    @classmethod
    def _check_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("issuer") is None:
            raise ValueError("auth.token.issuer beside it")
        return value


class AuthSection(Section):
    """How umd finds out who is asking."""

    realm: Annotated[str, Field(pattern=r"^[ !#-\[\]-~]{1,100}$")] = "umd"
    password_file: FilePath | None = None
    verified_for: Duration = 300.0
    token: TokenSection = TokenSection()
    subjects: dict[str, Text] = {}
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_parse_networks)] = ()
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "X-Forwarded-User"
    default_scopes: Scopes = ("calls:end:own", "calls:place", "settings")
    scopes: dict[str, Scopes] = {}

    @property
    def identifies(self) -> bool:
        """Whether anybody is asked who they are."""
        known = self.password_file or self.token.key_file or self.subjects or self.trusted_proxies
        return bool(known)


class TlsSection(Section):
    """How TLS is served."""

    certificate: FilePath | None = None
    key: FilePath | None = None
    client_ca: FilePath | None = None
    client_required: bool = False


class CallSection(Section):
    """How calls are ended and remembered."""

    deadline: Duration = 6.5
    retention: Duration = 86400.0
    retained: Annotated[int, Field(ge=0, le=100_000_000)] = 200_000
    max_age: Duration | None = None
    ring_time: Duration | None = None
    ended_is: Literal["success", "fault"] = "success"


class UmSection(Section):
    """How the state of a call, and a fault, is told."""

    profile: Literal["strict", "extended"] = "strict"
    soap12_sender_status: Literal[400, 500] = 400


class DialRule(Section):
    """One `[[dial.rule]]`."""

    match: Annotated[str, Field(min_length=1, max_length=1000)]
    to: str = ""
    backend: str | None = None
    refuse: bool = False

    @field_validator("match")
    @classmethod
    def _check_match(cls, value: str) -> str:
        try:
            compile_pattern(value)
        except InvalidRule as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("to")
    @classmethod
    def _check_to(cls, value: str, info: ValidationInfo) -> str:
        if "match" in info.data:
            try:
                check_template(value, compile_pattern(info.data["match"]).groups)
            except InvalidRule as error:
                raise ValueError(str(error)) from None
        return value


class DialSection(Section):
    """The dial plan."""

    rule: list[DialRule] = []


class PromptsSection(Section):
    """What is played to whom."""

    folder: FilePath | None = None
    default: FilePath = "auto"


class UsersSection(Section):
    """The settings of users."""

    store: FilePath = "auto"
    enabled: list[str] = ["*"]
    access_numbers: list[str] = []


class PinSection(Section):
    """How a new PIN is made, and how it reaches its owner."""

    length: Annotated[int, Field(ge=4, le=24)] = 6
    sender: Annotated[str, BeforeValidator(_parse_mail_address)] = "umd@localhost"
    mail_domain: str = ""
    spool: FilePath | None = None
    smtp: Annotated[str, BeforeValidator(_parse_host_port)] | None = None
    smtp_tls: bool = True
    delivery: Literal["none", "spool", "smtp"] = "none"

    @field_validator("delivery")
    @classmethod
    def _check_delivery(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get(value) is None:
            raise ValueError(f'"none", or pin.{value} beside it')
        return value


class DrainSection(Section):
    """How umd stops."""

    deadline: Duration = 10.0


class LogSection(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TraceSection(Section):
    """What is remembered of the SIP messages that cross."""

    messages: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000


class ControlSection(Section):
    """Where the commands on this machine reach umd."""

    socket: Annotated[str, BeforeValidator(_parse_socket)] = "auto"


class JournalSection(Section):
    """Where what happened to each call is put on record, and what that promises."""

    path: Annotated[str, BeforeValidator(_parse_journal)] = "auto"
    durability: Literal["full", "relaxed", "off"] = "full"
    on_error: Literal["refuse", "continue"] = "refuse"
    trace: bool = True
    keep: Duration = 30 * 86400.0
    max_size: Annotated[Size, Field(ge=16 * 1024**2)] = 4 * 1024**3


class _File(Section):
    """The whole file, but that each backend reads its own section."""

    node: Annotated[str, BeforeValidator(_parse_node)] = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "umd"
    )
    http: HttpSection = HttpSection()
    tls: TlsSection = TlsSection()
    auth: AuthSection = AuthSection()
    call: CallSection = CallSection()
    um: UmSection = UmSection()
    dial: DialSection = DialSection()
    prompts: PromptsSection = PromptsSection()
    users: UsersSection = UsersSection()
    pin: PinSection = PinSection()
    drain: DrainSection = DrainSection()
    log: LogSection = LogSection()
    trace: TraceSection = TraceSection()
    control: ControlSection = ControlSection()
    journal: JournalSection = JournalSection()
    backend: dict[str, dict[str, Any]] = {"sim": {}}


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One `[backend.NAME]`."""

    name: str
    type: type[LegBackend]
    settings: BaseModel
    type_name: str = ""
    """As the configuration has it: `sip`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that umd can be told."""

    node: str
    http: HttpSection
    tls: TlsSection
    auth: AuthSection
    call: CallSection
    um: UmSection
    dial: DialSection
    prompts: PromptsSection
    users: UsersSection
    pin: PinSection
    drain: DrainSection
    log: LogSection
    trace: TraceSection
    control: ControlSection
    journal: JournalSection
    backends: tuple[BackendSettings, ...]
    """In the order of the file; the first one places calls by default."""
    backend_configured: bool
    """Whether a backend is asked for; else the simulator is there, which reaches nobody."""
    places: Places = field(repr=False, compare=False)

    def mistake(self, path: KeyPath, value: object, said: str) -> str:
        """The line that tells of a value that turned out wrong after it was read."""
        text = json.dumps(value, default=str)
        return _one_line(f"{self.places.find(path)[1]}: {dotted(path)} = {text}: {said}")


class ConfigError(UmdError):
    """The configuration has mistakes; nothing was started."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(_one_line(mistake) for mistake in mistakes)
        super().__init__("\n".join(self.mistakes))


# -- words for the terminal


def dotted(path: KeyPath) -> str:
    """A key as one would write it in TOML, such as `backend."a b".delay`."""
    return ".".join(part if _BARE.fullmatch(part) else _quoted(part) for part in path)


_BARE: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")


def _quoted(text: str) -> str:
    """A basic string of TOML, of which a long one shows its beginning."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return '"' + _one_line(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _one_line(text: str) -> str:
    """With whatever would move a terminal's cursor escaped as in TOML."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}")


_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


# -- reading


def load(file: str | None, overrides: Sequence[str] = ()) -> Settings:
    """
    Read a configuration.

    Args:
        file: its path, or None for the defaults alone.
        overrides: `key=value` pairs that go before the file; a key is dotted (`http.listen`), a
            value is TOML, or a plain string where it is no TOML.

    Raises:
        ConfigError: with a line for each mistake.
    """
    text = "" if file is None else _read_text(file)
    tree = _read_toml(text, file)
    set_by = [(_override(tree, override), override) for override in overrides]
    places = Places(file, text, set_by)
    mistakes = _Mistakes(places)
    settings = _read_tree(tree, places, mistakes)
    if settings is None or mistakes.lines:
        raise ConfigError(mistakes.lines)
    return settings


def load_model(file: str, model: type[M], check: Callable[[M], Iterable[tuple[KeyPath, str]]]) -> M:
    """
    Read another file by the same rules and with the same messages: a scenario of the race lab.

    Args:
        file: its path.
        model: derived from `Section`.
        check: says what is wrong between the keys, `(where, what)` for each mistake.

    Raises:
        ConfigError: with a line for each mistake.
    """
    text = _read_text(file)
    tree = _read_toml(text, file)
    mistakes = _Mistakes(Places(file, text, ()))
    try:
        read = model.model_validate(tree)
    except ValidationError as error:
        mistakes.add_all(error, model)
        raise ConfigError(mistakes.lines) from None
    for path, said in check(read):
        mistakes.add(path, said)
    if mistakes.lines:
        raise ConfigError(mistakes.lines)
    return read


KeyPath: TypeAlias = tuple[str, ...]
Tree: TypeAlias = dict[str, Any]

_MAX_FILE: Final = 1024**2
_MAX_LEVELS: Final = 16
"""Of brackets in a value, and of parts in a key: the tree is walked by recursion."""
_MAX_DIGITS: Final = 100


def _read_text(file: str) -> str:
    """The text with line feeds alone at the ends of its lines."""
    if not file:
        raise ConfigError(['"": expected the path of a configuration file'])
    try:
        octets = read_file(file, _MAX_FILE)
    except CannotRead as error:
        raise ConfigError([f"{file}: {error}"]) from None
    try:
        return octets.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: not UTF-8 at octet {error.start}"]) from None


def _read_toml(text: str, file: str | None) -> Tree:
    try:
        _heads(text)
        return tomllib.loads(text)
    except _BeyondLimits as error:
        raise ConfigError([f"{file}:{error.line}: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_error(f"{file}", text, str(error))]) from None


def _syntax_error(file: str, text: str, said: str) -> str:
    match = re.search(r" \(at line (\d+), column \d+\)$", said)
    if match:
        return f"{file}:{match[1]}: {said[: match.start()]}"
    return f"{file}:{text.count(chr(10)) + 1}: {said}"


def _override(tree: Tree, override: str) -> KeyPath:
    """Put a value into the tree, and tell which key it is the value of."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise ConfigError([f"{_option(override)}: expected key=value, such as call.deadline=2s"])
    if len(path) > _MAX_LEVELS:
        raise ConfigError([f"{_option(override)}: a key of more than {_MAX_LEVELS} parts"])
    node = tree
    for part in path[:-1]:
        below = node.setdefault(part, {})
        if not isinstance(below, dict):
            said = f"{dotted(path)} lies below a value, not a section"
            raise ConfigError([f"{_option(override)}: {said}"])
        node = below
    node[path[-1]] = _override_value(override, text)
    return path


def _override_value(override: str, text: str) -> Any:
    toml = f"value = {text}"
    try:
        _heads(toml)
        read = tomllib.loads(toml)
    except _BeyondLimits as error:
        raise ConfigError([f"{_option(override)}: {error}"]) from None
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text


def _option(override: str) -> str:
    return "-o " + (override if len(override) <= 100 else override[:97] + "...")


# -- places

Place: TypeAlias = tuple[int, str]
"""Where a key was set: its rank among all places, and the name a person finds it by."""


class Places:
    """Where each key was set; found out only when there is a mistake to tell."""

    def __init__(self, file: str | None, text: str, set_by: Sequence[tuple[KeyPath, str]]) -> None:
        self._file = file
        self._text = text
        self._set_by = set_by

    def find(self, path: KeyPath) -> Place:
        for end in range(len(path), 0, -1):
            if path[:end] in self._all:
                return self._all[path[:end]]
        return 0, self._file or "defaults"

    @cached_property
    def _all(self) -> dict[KeyPath, Place]:
        places = {
            path: (line, f"{self._file}:{line}") for path, line in find_lines(self._text).items()
        }
        for path, override in self._set_by:
            # What the file says at and below this key is no longer there.
            for gone in [one for one in places if one[: len(path)] == path]:
                del places[gone]
            for end in range(1, len(path) + 1):
                places.setdefault(path[:end], (sys.maxsize, _option(override)))
        return places


def find_lines(text: str) -> dict[KeyPath, int]:
    """
    The line, from 1, on which each key of a well-formed TOML text stands; tomllib keeps none.

    What is inside of a value stands where its key does and is not listed. Items of an array of
    tables are numbered: `("a", "0", "b")`.
    """
    places: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, head in _heads(text):
        if head.startswith("["):
            path = table = _table(head, counts)
        else:
            path = table + _key(head)
        for end in range(1, len(path) + 1):
            places.setdefault(path[:end], line)
    return places


def _table(head: str, counts: dict[KeyPath, int]) -> KeyPath:
    """The path of `[a.b]` or `[[a.b]]`, with the number of the item in each array on its way."""
    is_array = head.startswith("[[")
    parts = _key(head.strip("[]"))
    path: KeyPath = ()
    for index, part in enumerate(parts, 1):
        path += (part,)
        if is_array and index == len(parts):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (str(counts[path]),)
    return path


def _key(text: str) -> KeyPath:
    if '"' not in text and "'" not in text:
        return tuple(part.strip() for part in text.split("."))
    path: KeyPath = ()
    node: Any = tomllib.loads(f"{text} = 0")
    while isinstance(node, dict):
        part, node = next(iter(node.items()))
        path += (part,)
    return path


class _BeyondLimits(UmdError):
    """The text holds what would cost too much to read."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


_TOKEN: Final = re.compile(
    r"""
    (?P<newline> \n )
    | (?P<blank> [^\S\n]++ | \#[^\n]*+ )
    | (?P<string>
        \"{3} (?: [^"\\]++ | \\. | \"{1,2}(?!") )*+ \"{3,5}
        | '{3} (?: [^']++ | '{1,2}(?!') )*+ '{3,5}
        | "(?!"") (?: [^"\\\n]++ | \\[^\n] )*+ "
        | '(?!'') [^'\n]*+ '
    )
    | (?P<endless> ["'] )
    | (?P<open> [\[{] )
    | (?P<close> [\]}] )
    | (?P<dot> \. )
    | (?P<equals> = )
    | (?P<comma> , )
    | (?P<word> [^\s"'\#\[\]{}=.,]++ )
    """,
    re.VERBOSE | re.DOTALL,
)
_LONG_NUMBER: Final = re.compile(
    rf"[0-9][0-9_]{{{_MAX_DIGITS}}}|0[xob][0-9A-Fa-f_]{{{_MAX_DIGITS}}}"
)


def _heads(text: str) -> list[tuple[int, str]]:
    """
    Each `[header]` and each key before a `=`, raw, with its line, in one pass over the text.

    A text that is no TOML is followed for as long as it makes sense.

    Raises:
        _BeyondLimits: tomllib would fail otherwise than by TOMLDecodeError, or take very long.
    """
    heads: list[tuple[int, str]] = []
    line = first = 1
    depth = dots = 0
    start: int | None = None  # of the head, until a value or the end of a line follows it
    told = False  # the head of this line is complete
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "blank":
            continue
        if kind == "endless":
            break  # tomllib says it better
        if kind == "newline":
            line += 1
            dots = 0
            if not depth:
                start, told = None, False
            continue
        if start is None:
            start, first = token.start(), line
        if kind == "string":
            line += token[0].count("\n")
        elif kind == "dot":
            # Beside brackets, a value with dots is none of TOML.
            dots += not told or depth > 0
            if dots >= _MAX_LEVELS:
                raise _BeyondLimits(line, f"a key of more than {_MAX_LEVELS} parts")
        elif kind == "word":
            if len(token[0]) > _MAX_DIGITS and _LONG_NUMBER.search(token[0]):
                raise _BeyondLimits(line, f"a number of more than {_MAX_DIGITS} digits")
        else:
            dots = 0
        if kind == "open":
            depth += 1
            if depth > _MAX_LEVELS:
                raise _BeyondLimits(line, f"a value nested more than {_MAX_LEVELS} deep")
        elif kind == "close":
            depth = max(depth - 1, 0)
        if not told and not depth:
            if kind == "equals":
                heads.append((first, text[start : token.start()]))
                told = True
            elif kind == "close":
                heads.append((first, text[start : token.end()]))
                told = True
    return heads


# -- mistakes

_EXPECTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "string_type": "a string",
    "string_unicode": "UTF-8",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "a section",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "list_type": "a list",
    "tuple_type": "a list",
}


_MAX_TOLD: Final = 100


class _Mistakes:
    """Collects what is wrong, in words, each with its place."""

    def __init__(self, places: Places) -> None:
        self._found: list[tuple[Place, str]] = []
        self._places = places
        self._more = 0

    @property
    def enough(self) -> bool:
        """Whether nobody will read more of them; to find what was meant takes long."""
        return len(self._found) >= _MAX_TOLD

    @property
    def lines(self) -> list[str]:
        """One for each mistake, in the order of the file."""
        self._found.sort(key=lambda found: found[0][0])
        more = [f"and {self._more} more like these"] if self._more else []
        return [f"{name}: {text}" for (_, name), text in self._found] + more

    def add(self, path: KeyPath, text: str) -> None:
        self._found.append((self._places.find(path), text))

    def add_all(self, error: ValidationError, model: type[BaseModel], prefix: KeyPath = ()) -> None:
        for one in error.errors(include_url=False):
            if self.enough:
                self._more += 1
                continue
            inner = tuple(str(part) for part in one["loc"])
            self.add(prefix + inner, _say(one, prefix, inner, model))


def _say(error: Any, prefix: KeyPath, inner: KeyPath, model: type[BaseModel]) -> str:
    path = prefix + inner
    if error["type"] == "extra_forbidden":
        return unknown_key(path, known_keys(model, prefix))
    if error["type"] == "missing":
        return f"{dotted(path)} is missing"
    return f"{dotted(path)} = {_found(error['input'])}: expected {_expected(error)}"


def unknown_key(path: KeyPath, known: Sequence[KeyPath]) -> str:
    """Say that a key is none, and which one was meant."""
    key = dotted(path)
    names = {dotted(_filled(one, path)): one for one in known}
    nearest = get_close_matches(key, names, n=1, cutoff=0.5)
    if not nearest:
        # The right name in the wrong section is the other common slip.
        nearest = [name for name, one in names.items() if one[-1] == path[-1]][:1]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{key} is not a setting{hint}"


def _filled(known: KeyPath, path: KeyPath) -> KeyPath:
    """A known key with the numbers and names of the path in the places for any."""
    filled: KeyPath = ()
    for index, part in enumerate(known):
        if part != ANY:
            filled += (part,)
        elif index < len(path) - 1 and path[:index] == filled:
            filled += (path[index],)
    return filled


ANY: Final = "*"
"""In a known key: the number of an item or a name of one's own choice."""


def known_keys(model: type[BaseModel], prefix: KeyPath = ()) -> list[KeyPath]:
    """Every key below a model, sections too."""
    keys: list[KeyPath] = []
    for name, info in model.model_fields.items():
        path = (*prefix, info.alias or name)
        keys.append(path)
        several = get_origin(info.annotation) in (list, tuple, dict)
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += known_keys(kind, (*path, ANY) if several else path)
    return keys


def _expected(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"one of {context['expected'].replace(chr(39), chr(34))}"
    for name, words in (("greater_than_equal", "at least"), ("less_than_equal", "at most")):
        if kind == name:
            return f"{words} {context['ge' if name.startswith('g') else 'le']}"
    return _EXPECTED.get(kind, str(error["msg"]))


def _found(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # The rest is what TOML has and JSON has not: dates and times.
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


# -- the tree to settings


def _read_tree(tree: Tree, places: Places, mistakes: _Mistakes) -> Settings | None:
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        mistakes.add_all(error, _File)
        file = None
    sections = tree.get("backend", {"sim": {}})
    backends = tuple(_read_backends(sections, mistakes))
    if file is None:
        return None
    for number, rule in enumerate(file.dial.rule):
        if rule.backend is not None and rule.backend not in sections:
            there = ", ".join(sections) if isinstance(sections, dict) else "none"
            said = f"dial.rule.{number}.backend = {_quoted(rule.backend)}: expected one of {there}"
            mistakes.add(("dial", "rule", str(number), "backend"), said)
    _check_reach(file, mistakes)
    if not backends and not mistakes.lines:
        mistakes.add(("backend",), "backend has no section; expected one such as [backend.sim]")
    return Settings(
        node=file.node,
        http=file.http,
        tls=file.tls,
        auth=file.auth,
        call=file.call,
        um=file.um,
        dial=file.dial,
        prompts=file.prompts,
        users=file.users,
        pin=file.pin,
        drain=file.drain,
        log=file.log,
        trace=file.trace,
        control=file.control,
        journal=file.journal,
        backends=backends,
        backend_configured="backend" in tree,
        places=places,
    )


def _check_reach(file: _File, mistakes: _Mistakes) -> None:
    """Whoever reaches umd is asked who they are, unless it is said that they are not."""
    if not (file.http.listen or file.http.listen_tls):
        said = (
            f"http.listen = []: expected a Twisted endpoint string such as {_ENDPOINT}, or one in "
            "http.listen_tls: umd would listen nowhere"
        )
        mistakes.add(("http", "listen"), said)
    if file.http.listen_tls and not (file.tls.certificate and file.tls.key):
        said = "http.listen_tls: expected tls.certificate and tls.key beside it"
        mistakes.add(("http", "listen_tls"), said)
    if file.tls.client_required and file.tls.client_ca is None:
        said = "tls.client_required = true: expected tls.client_ca beside it"
        mistakes.add(("tls", "client_required"), said)
    if file.http.allow_anonymous or file.auth.identifies:
        return
    for key, listen in (("listen", file.http.listen), ("listen_tls", file.http.listen_tls)):
        # The socket of systemd is looked at when it is there.
        open_ones = [one for one in listen if one.startswith("tcp") and not _is_loopback(one)]
        if open_ones:
            said = (
                f"http.{key} = {_quoted(open_ones[0])}: expected loopback, as in {_ENDPOINT}, or a "
                f"unix: socket: whoever reaches {open_ones[0]} could end any call, as nobody is "
                "asked who they are; set auth.password_file or another key of [auth], or "
                "http.allow_anonymous = true"
            )
            mistakes.add(("http", key), said)


def _read_backends(sections: Any, mistakes: _Mistakes) -> Iterator[BackendSettings]:
    if not isinstance(sections, dict):
        return
    load_type = cache(load_backend_type)
    for name, section in sections.items():
        if mistakes.enough:
            return
        path = ("backend", name)
        if not isinstance(section, dict):
            continue
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            mistakes.add(path, f"backend {_quoted(name)}: expected letters, digits, dots, hyphens")
            continue
        own = dict(section)
        type_name = own.pop("type", name)
        if not isinstance(type_name, str):
            found = _found(type_name)
            mistakes.add((*path, "type"), f"{dotted(path)}.type = {found}: expected a string")
            continue
        try:
            backend_type = load_type(type_name)
        except UnknownBackendType as error:
            mistakes.add((*path, "type"), f"{dotted(path)}: {error}")
            continue
        try:
            settings = backend_type.Settings.model_validate(own)
        except ValidationError as error:
            mistakes.add_all(error, backend_type.Settings, path)
            continue
        yield BackendSettings(name, backend_type, settings, type_name)
