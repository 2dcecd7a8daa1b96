"""Loads a configuration: reads the file, validates it, and collects every mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from umd.backend import LegBackend, UnknownBackendType, load_backend_type
from umd.config.endpoints import (
    EXAMPLE,
    is_loopback,
    is_loopback_address,
    split_wire_address,
)
from umd.config.mistakes import Mistakes
from umd.config.notation import ConfigError, KeyPath, dotted, quote, show_value
from umd.config.places import Places
from umd.config.settings import BackendSettings, Settings
from umd.config.source import Tree, apply_override, parse_toml, read_text

M = TypeVar("M", bound=BaseModel)

_BACKEND_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def load(file: str | None, overrides: Sequence[str] = ()) -> Settings:
    """
    Load a configuration.

    Args:
        file: its path; None takes the defaults alone.
        overrides: `key=value` pairs, which replace what the file says. A key is dotted, such as
            `http.listen`. A value is TOML, or a plain string if it is not TOML.

    Raises:
        ConfigError: with a message for each mistake.
    """
    text = "" if file is None else read_text(file)
    tree = parse_toml(text, file)
    overridden = [(apply_override(tree, override), override) for override in overrides]
    places = Places(file, text, overridden)
    mistakes = Mistakes(places)
    settings = _read_settings(tree, places, mistakes)
    if settings is None or mistakes.lines:
        raise ConfigError(mistakes.lines)
    return settings


def load_model(file: str, model: type[M], check: Callable[[M], Iterable[tuple[KeyPath, str]]]) -> M:
    """
    Load another TOML file by the rules of a configuration, such as a scenario of the race lab.

    Args:
        file: its path.
        model: what the file holds; derived from `Section`.
        check: yields the key and the message of each mistake that concerns several keys.

    Raises:
        ConfigError: with a message for each mistake.
    """
    text = read_text(file)
    tree = parse_toml(text, file)
    mistakes = Mistakes(Places(file, text, ()))
    try:
        loaded = model.model_validate(tree)
    except ValidationError as error:
        mistakes.add_all(error, model)
        raise ConfigError(mistakes.lines) from None
    for path, message in check(loaded):
        mistakes.add(path, message)
    if mistakes.lines:
        raise ConfigError(mistakes.lines)
    return loaded


def _read_settings(tree: Tree, places: Places, mistakes: Mistakes) -> Settings | None:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        mistakes.add_all(error, Settings)
        settings = None
    tables = tree.get("backend", {"sim": {}})
    backends = tuple(_read_backends(tables, mistakes))
    if settings is None:
        return None
    _check_dial_rules(settings, mistakes)
    _check_listeners(settings, mistakes)
    _check_hep(settings, mistakes)
    if not backends and not mistakes.lines:
        mistakes.add(("backend",), "backend has no section; expected one such as [backend.sim]")
    return settings.with_backends(backends, places)


def _check_dial_rules(settings: Settings, mistakes: Mistakes) -> None:
    """See that the backends exist that the dial plan names."""
    for number, rule in enumerate(settings.dial.rule):
        if rule.backend is not None and rule.backend not in settings.backend:
            path = ("dial", "rule", str(number), "backend")
            names = ", ".join(settings.backend)
            mistakes.add(
                path, f"{dotted(path)} = {quote(rule.backend)}: expected one of {names}"
            )


def _check_listeners(settings: Settings, mistakes: Mistakes) -> None:
    """See that umd listens somewhere, and serves other machines only as it is configured to."""
    http, tls = settings.http, settings.tls
    if not (http.listen or http.listen_tls):
        mistakes.add(
            ("http", "listen"),
            f"http.listen = []: expected a Twisted endpoint string such as {EXAMPLE}, or one in "
            "http.listen_tls: umd would listen nowhere",
        )
    if http.listen_tls and not (tls.certificate and tls.key):
        mistakes.add(
            ("http", "listen_tls"),
            "http.listen_tls: expected tls.certificate and tls.key beside it",
        )
    if tls.client_required and tls.client_ca is None:
        mistakes.add(
            ("tls", "client_required"),
            "tls.client_required = true: expected tls.client_ca beside it",
        )
    if not (http.allow_anonymous or settings.auth.authenticates):
        _check_reachable("listen", http.listen, mistakes)
        _check_reachable("listen_tls", http.listen_tls, mistakes)


def _check_reachable(key: str, endpoints: Sequence[str], mistakes: Mistakes) -> None:
    """Refuse endpoints that other machines reach, as umd would not authenticate them."""
    # The address of a socket from systemd is known, and checked, only when umd starts.
    reachable = [
        endpoint
        for endpoint in endpoints
        if endpoint.startswith("tcp") and not is_loopback(endpoint)
    ]
    if reachable:
        mistakes.add(
            ("http", key),
            f"http.{key} = {quote(reachable[0])}: expected loopback, as in {EXAMPLE}, or a unix: "
            f"socket: anyone who reaches {reachable[0]} could end any call, as umd would not "
            "authenticate clients; set auth.password_file or another key of [auth], or "
            "http.allow_anonymous = true",
        )


def _check_hep(settings: Settings, mistakes: Mistakes) -> None:
    """See that other machines cannot send HEP packets without a password and a known address."""
    hep = settings.hep
    reachable = [address for address in hep.listen if not is_loopback_address(address)]
    if reachable and not (hep.allow and hep.password_file):
        mistakes.add(
            ("hep", "listen"),
            f"hep.listen = {quote(reachable[0])}: expected hep.allow and hep.password_file beside "
            "it, or a loopback address: anyone who reaches it could claim that calls have ended",
        )
    for address in hep.send:
        if split_wire_address(address)[2] == 0:
            mistakes.add(("hep", "send"), f"hep.send = {quote(address)}: expected a port above 0")


def _read_backends(tables: Any, mistakes: Mistakes) -> Iterator[BackendSettings]:
    if not isinstance(tables, dict):
        return
    load_type = cache(load_backend_type)  # an entry point is searched among all distributions
    for name, table in tables.items():
        if mistakes.is_full:
            return
        if isinstance(table, dict):
            backend = _read_backend(name, table, load_type, mistakes)
            if backend is not None:
                yield backend


def _read_backend(
    name: str,
    table: Mapping[str, Any],
    load_type: Callable[[str], type[LegBackend]],
    mistakes: Mistakes,
) -> BackendSettings | None:
    """
    Validate a section `[backend.NAME]` by the settings class of its backend type.

    Returns:
        The settings; None if the section has a mistake, which is added to `mistakes`.
    """
    path = ("backend", name)
    if not _BACKEND_NAME.fullmatch(name):
        mistakes.add(path, f"backend {quote(name)}: expected letters, digits, dots, hyphens")
        return None
    values = dict(table)
    type_name = values.pop("type", name)
    if not isinstance(type_name, str):
        shown = show_value(type_name)
        mistakes.add((*path, "type"), f"{dotted(path)}.type = {shown}: expected a string")
        return None
    try:
        backend_type = load_type(type_name)
    except UnknownBackendType as error:
        mistakes.add((*path, "type"), f"{dotted(path)}: {error}")
        return None
    try:
        settings = backend_type.Settings.model_validate(values)
    except ValidationError as error:
        mistakes.add_all(error, backend_type.Settings, path)
        return None
    return BackendSettings(name, backend_type, settings, type_name)
