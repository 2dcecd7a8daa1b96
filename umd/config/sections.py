"""The sections of the configuration, their keys and the defaults of these."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from umd.config.endpoints import parse_listen
from umd.config.patterns import check_replacement, count_groups
from umd.config.values import (
    Duration,
    FilePath,
    Scopes,
    Size,
    Text,
    parse_algorithms,
    parse_host_port,
    parse_hosts,
    parse_journal,
    parse_mail_address,
    parse_networks,
    parse_socket,
)


class Section(BaseModel):
    """Base of every section: unknown keys and other types than the one asked for are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AppliedBy(Enum):
    """What applies a changed value while umd runs."""

    RELOAD = "a reload"
    RESTART = "a restart"


class CoreSection(Section):
    """
    Base of the sections of umd itself, in contrast to those of backends.

    Each declares what applies its changes.
    """

    applied_by: ClassVar[AppliedBy]
    restart_attributes: ClassVar[tuple[str, ...]] = ()
    """In a section that a reload applies: the attributes whose changes need a restart anyway."""


class HttpSection(CoreSection):
    """Where and how HTTP is served."""

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
    """Bearer tokens (JWT)."""

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
    """How umd finds out who is asking."""

    applied_by = AppliedBy.RELOAD
    restart_attributes = ("identifies",)

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
    def identifies(self) -> bool:
        """Whether anybody is asked who they are."""
        known = self.password_file or self.token.key_file or self.subjects or self.trusted_proxies
        return bool(known)


class TlsSection(CoreSection):
    """How TLS is served."""

    applied_by = AppliedBy.RELOAD

    certificate: FilePath | None = None
    key: FilePath | None = None
    client_ca: FilePath | None = None
    client_required: bool = False


class CallSection(CoreSection):
    """How calls are ended and remembered."""

    applied_by = AppliedBy.RELOAD

    deadline: Duration = 6.5
    retention: Duration = 86400.0
    retained: Annotated[int, Field(ge=0, le=100_000_000)] = 200_000
    max_age: Duration | None = None
    ring_time: Duration | None = None
    ended_is: Literal["success", "fault"] = "success"


class UmSection(CoreSection):
    """How the state of a call, and a fault, is told."""

    applied_by = AppliedBy.RELOAD

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
        count_groups(value)
        return value

    @field_validator("to")
    @classmethod
    def _check_to(cls, value: str, info: ValidationInfo) -> str:
        if "match" in info.data:
            check_replacement(value, count_groups(info.data["match"]))
        return value


class DialSection(CoreSection):
    """The dial plan."""

    applied_by = AppliedBy.RELOAD

    rule: list[DialRule] = []


class PromptsSection(CoreSection):
    """What is played to whom."""

    applied_by = AppliedBy.RELOAD

    folder: FilePath | None = None
    default: FilePath = "auto"


class UsersSection(CoreSection):
    """The settings of users."""

    applied_by = AppliedBy.RELOAD
    restart_attributes = ("store",)

    store: FilePath = "auto"
    enabled: list[str] = ["*"]
    access_numbers: list[str] = []


class PinSection(CoreSection):
    """How a new PIN is made, and how it reaches its owner."""

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
    """How umd stops."""

    applied_by = AppliedBy.RELOAD

    deadline: Duration = 10.0


class LogSection(CoreSection):
    """What is written to standard error."""

    applied_by = AppliedBy.RESTART

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TraceSection(CoreSection):
    """What is remembered of the SIP messages that cross."""

    applied_by = AppliedBy.RESTART

    messages: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000


class ControlSection(CoreSection):
    """Where the commands on this machine reach umd."""

    applied_by = AppliedBy.RESTART

    socket: Annotated[str, BeforeValidator(parse_socket)] = "auto"


class JournalSection(CoreSection):
    """Where what happened to each call is put on record, and what that promises."""

    applied_by = AppliedBy.RESTART

    path: Annotated[str, BeforeValidator(parse_journal)] = "auto"
    durability: Literal["full", "relaxed", "off"] = "full"
    on_error: Literal["refuse", "continue"] = "refuse"
    trace: bool = True
    keep: Duration = 30 * 86400.0
    max_size: Annotated[Size, Field(ge=16 * 1024**2)] = 4 * 1024**3
