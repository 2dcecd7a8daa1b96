"""
The sections of the configuration: their keys, the types and the defaults.

`conf/umd.toml` explains each key. A validator's ValueError completes the message "expected ...".
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from umd.config.endpoints import parse_listen, parse_wire_addresses
from umd.config.patterns import check_replacement, count_groups
from umd.config.values import (
    Duration,
    FilePath,
    Interval,
    Scopes,
    Size,
    Text,
    UserName,
    parse_algorithms,
    parse_host_port,
    parse_hosts,
    parse_mail_address,
    parse_networks,
    parse_path_or_auto,
    parse_socket_path,
)


class Section(BaseModel):
    """
    Base of every section, also of a backend's own.

    A key that is not a field is refused, and so is a value of another type: TOML has types, so none
    is converted.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AppliedBy(Enum):
    """What makes a running umd use a changed value."""

    RELOAD = "a reload"
    RESTART = "a restart"


class CoreSection(Section):
    """
    Base of the sections of umd itself, in contrast to those of backends.

    Each declares what makes a running umd use its changed values.
    """

    applied_by: ClassVar[AppliedBy]
    restart_attributes: ClassVar[tuple[str, ...]] = ()
    """The attributes that only a restart applies, in a section that a reload applies otherwise."""


class HttpSection(CoreSection):
    """`[http]`: where umd serves HTTP and HTTPS, and the limits of requests and connections."""

    applied_by = AppliedBy.RELOAD
    restart_attributes = ("listen", "listen_tls", "allow_anonymous")

    allow_anonymous: bool = False
    listen: Annotated[tuple[str, ...], BeforeValidator(parse_listen)] = (
        "tcp:8080:interface=127.0.0.1",
    )
    listen_tls: Annotated[tuple[str, ...], BeforeValidator(parse_listen)] = ()
    hosts: Annotated[tuple[str, ...], BeforeValidator(parse_hosts)] = ()
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


class TokenSection(Section):
    """`[auth.token]`: which bearer tokens (JWT) are accepted."""

    algorithms: Annotated[tuple[str, ...], BeforeValidator(parse_algorithms)] = ("RS256",)
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


class AuthSection(CoreSection):
    """`[auth]`: how umd authenticates clients, and what each may do."""

    applied_by = AppliedBy.RELOAD
    restart_attributes = ("authenticates",)

    realm: Annotated[str, Field(pattern=r"^[ !#-\[\]-~]{1,100}$")] = "umd"
    password_file: FilePath | None = None
    verified_for: Duration = 300.0
    token: TokenSection = TokenSection()
    subjects: dict[str, Text] = {}
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(parse_networks)] = ()
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "X-Forwarded-User"
    default_scopes: Scopes = ("calls:end:own", "calls:place", "settings")
    scopes: dict[str, Scopes] = {}

    @property
    def authenticates(self) -> bool:
        """Whether any way to authenticate is configured."""
        known = self.password_file or self.token.key_file or self.subjects or self.trusted_proxies
        return bool(known)


class TlsSection(CoreSection):
    """`[tls]`: the certificates of HTTPS."""

    applied_by = AppliedBy.RELOAD

    certificate: FilePath | None = None
    key: FilePath | None = None
    client_ca: FilePath | None = None
    client_required: bool = False


class CallSection(CoreSection):
    """`[call]`: how calls end, and how long umd remembers ended ones."""

    applied_by = AppliedBy.RELOAD

    deadline: Duration = 6.5
    retention: Duration = 86400.0
    retained: Annotated[int, Field(ge=0, le=100_000_000)] = 200_000
    max_age: Duration | None = None
    ring_time: Duration | None = None
    ended_is: Literal["success", "fault"] = "success"
    protected_labels: list[Text] = []
    reconcile: Interval = 60.0
    suspect_age: Duration | None = None
    owners: dict[str, UserName] | None = None


class UmSection(CoreSection):
    """`[um]`: which ids of a call unified messaging accepts, and how much its replies tell."""

    applied_by = AppliedBy.RELOAD

    profile: Literal["strict", "extended"] = "strict"
    soap12_sender_status: Literal[400, 500] = 400
    accept_aliases: bool = True


class DialRule(Section):
    """One `[[dial.rule]]`: which numbers it is for, and what is dialled instead."""

    match: Annotated[str, Field(min_length=1, max_length=1000)]
    to: str = ""
    backend: str | None = None
    refuse: bool = False

    @field_validator("match")
    @classmethod
    def _check_match(cls, value: str) -> str:
        count_groups(value)
        return value

    @field_validator("to")
    @classmethod
    def _check_to(cls, value: str, info: ValidationInfo) -> str:
        if "match" in info.data:
            check_replacement(value, count_groups(info.data["match"]))
        return value


class DialSection(CoreSection):
    """`[dial]`: the dial plan."""

    applied_by = AppliedBy.RELOAD

    rule: list[DialRule] = []


class PromptsSection(CoreSection):
    """`[prompts]`: the sound files that PlayOnPhone plays."""

    applied_by = AppliedBy.RELOAD

    folder: FilePath | None = None
    default: FilePath = "auto"


class UsersSection(CoreSection):
    """`[users]`: the users of unified messaging, and where their settings are stored."""

    applied_by = AppliedBy.RELOAD
    restart_attributes = ("store",)

    store: FilePath = "auto"
    enabled: list[str] = ["*"]
    access_numbers: list[str] = []


class PinSection(CoreSection):
    """`[pin]`: how long a new PIN is, and how its owner gets it."""

    applied_by = AppliedBy.RELOAD

    length: Annotated[int, Field(ge=4, le=24)] = 6
    sender: Annotated[str, BeforeValidator(parse_mail_address)] = "umd@localhost"
    mail_domain: str = ""
    spool: FilePath | None = None
    smtp: Annotated[str, BeforeValidator(parse_host_port)] | None = None
    smtp_tls: bool = True
    delivery: Literal["none", "spool", "smtp"] = "none"

    @field_validator("delivery")
    @classmethod
    def _check_delivery(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get(value) is None:
            raise ValueError(f'"none", or pin.{value} beside it')
        return value


class DrainSection(CoreSection):
    """`[drain]`: how umd stops."""

    applied_by = AppliedBy.RELOAD

    deadline: Duration = 10.0


class LogSection(CoreSection):
    """`[log]`: what umd writes to standard error."""

    applied_by = AppliedBy.RESTART

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TraceSection(CoreSection):
    """`[trace]`: how many SIP messages umd keeps in memory for `umd trace`."""

    applied_by = AppliedBy.RESTART

    messages: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000


class ControlSection(CoreSection):
    """`[control]`: the socket through which commands on this machine reach umd."""

    applied_by = AppliedBy.RESTART

    socket: Annotated[str, BeforeValidator(parse_socket_path)] = "auto"


class JournalSection(CoreSection):
    """`[journal]`: the file that records the events of calls, and what it survives."""

    applied_by = AppliedBy.RESTART

    path: Annotated[str, BeforeValidator(parse_path_or_auto)] = "auto"
    durability: Literal["full", "relaxed", "off"] = "full"
    on_error: Literal["refuse", "continue"] = "refuse"
    trace: bool = True
    keep: Duration = 30 * 86400.0
    max_size: Annotated[Size, Field(ge=16 * 1024**2)] = 4 * 1024**3


class HepSection(CoreSection):
    """`[hep]`: SIP messages of PBXs that umd follows as a witness, and where umd sends its own."""

    applied_by = AppliedBy.RESTART

    listen: Annotated[tuple[str, ...], BeforeValidator(parse_wire_addresses)] = ()
    password_file: FilePath | None = None
    allow: Annotated[tuple[str, ...], BeforeValidator(parse_networks)] = ()
    max_packet_rate: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_calls: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    max_memory: Annotated[Size, Field(ge=1024**2, le=64 * 1024**3)] = 256 * 1024**2
    send: Annotated[tuple[str, ...], BeforeValidator(parse_wire_addresses)] = ()
    send_password_file: FilePath | None = None
    capture_id: Annotated[int, Field(ge=0, le=2**32 - 1)] = 1
