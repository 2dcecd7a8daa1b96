"""The settings of one umd: every section of its configuration, and its backends."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr

from umd.backend import LegBackend
from umd.config.notation import KeyPath, dotted, one_line
from umd.config.places import Places
from umd.config.sections import (
    AppliedBy,
    AuthSection,
    CallSection,
    ControlSection,
    CoreSection,
    DialSection,
    DrainSection,
    HepSection,
    HttpSection,
    JournalSection,
    LogSection,
    PinSection,
    PromptsSection,
    Section,
    TlsSection,
    TraceSection,
    UmSection,
    UsersSection,
)
from umd.config.values import parse_node


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One `[backend.NAME]`."""

    name: str
    type: type[LegBackend]
    settings: BaseModel
    """The values of the backend's own keys, as its `Settings` model has read them."""
    type_name: str = ""
    """The name of the type in the configuration, such as `sip`."""


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "umd"


class Settings(Section):
    """
    Everything that a configuration can set.

    The fields are the list of sections: whatever goes through all sections goes through them.
    """

    node: Annotated[str, BeforeValidator(parse_node)] = Field(default_factory=_host_name)
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
    hep: HepSection = HepSection()
    control: ControlSection = ControlSection()
    journal: JournalSection = JournalSection()
    backend: dict[str, dict[str, Any]] = {"sim": {}}
    """The keys of each `[backend.NAME]`, before the backend has read them; see `backends`."""

    _backends: tuple[BackendSettings, ...] = PrivateAttr(default=())
    _places: Places = PrivateAttr(default_factory=lambda: Places(None, "", ()))

    @property
    def backends(self) -> tuple[BackendSettings, ...]:
        """The backends in the order of the file; the first one dials by default."""
        return self._backends

    @property
    def backend_configured(self) -> bool:
        """Whether the configuration names a backend; if not, umd simulates calls."""
        return "backend" in self.model_fields_set

    def with_backends(
        self, backends: Iterable[BackendSettings], places: Places | None = None
    ) -> Self:
        """
        Return a copy that has these backends.

        Args:
            backends: the sections of `backend`, each read by the model of its own type.
            places: where each key was set, for `mistake`; None keeps those of this object.
        """
        settings = self.model_copy()
        settings._backends = tuple(backends)
        if places is not None:
            settings._places = places
        return settings

    def mistake(self, path: KeyPath, value: object, reason: str) -> str:
        """Return the message about a value that turned out wrong only when it was used."""
        text = json.dumps(value, default=str)
        return one_line(f"{self._places.find(path)[1]}: {dotted(path)} = {text}: {reason}")


def changes_for_restart(running: Settings, read: Settings) -> list[str]:
    """Return the keys and sections that differ and that only a restart applies."""
    keys = []
    if running.node != read.node:
        keys.append("node")
    if running.backends != read.backends:
        keys.append("backend")
    for name in Settings.model_fields:
        before, after = getattr(running, name), getattr(read, name)
        if isinstance(before, CoreSection) and before != after:
            keys += _section_changes(name, before, after)
    return keys


def _section_changes(name: str, before: CoreSection, after: CoreSection) -> Iterator[str]:
    if before.applied_by is AppliedBy.RESTART:
        yield name
        return
    for attribute in before.restart_attributes:
        if getattr(before, attribute) != getattr(after, attribute):
            is_key = attribute in type(before).model_fields
            yield f"{name}.{attribute}" if is_key else name
