"""Loads a configuration: reads the file, validates it, and collects every mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from umd.backend import UnknownBackendType, load_backend_type
from umd.config.endpoints import EXAMPLE, is_loopback
from umd.config.mistakes import Mistakes
from umd.config.places import Places
from umd.config.sections import BackendSettings, Sections, Settings
from umd.config.syntax import Tree, override_key, read_text, read_toml
from umd.config.words import ConfigError, KeyPath, dotted, quote, show_value

M = TypeVar("M", bound=BaseModel)


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
    text = "" if file is None else read_text(file)
    tree = read_toml(text, file)
    set_by = [(override_key(tree, override), override) for override in overrides]
    places = Places(file, text, set_by)
    mistakes = Mistakes(places)
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
    text = read_text(file)
    tree = read_toml(text, file)
    mistakes = Mistakes(Places(file, text, ()))
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


def _read_tree(tree: Tree, places: Places, mistakes: Mistakes) -> Settings | None:
    try:
        file = Sections.model_validate(tree)
    except ValidationError as error:
        mistakes.add_all(error, Sections)
        file = None
    sections = tree.get("backend", {"sim": {}})
    backends = tuple(_read_backends(sections, mistakes))
    if file is None:
        return None
    for number, rule in enumerate(file.dial.rule):
        if rule.backend is not None and rule.backend not in sections:
            there = ", ".join(sections) if isinstance(sections, dict) else "none"
            said = f"dial.rule.{number}.backend = {quote(rule.backend)}: expected one of {there}"
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


def _check_reach(file: Sections, mistakes: Mistakes) -> None:
    """Whoever reaches umd is asked who they are, unless it is said that they are not."""
    if not (file.http.listen or file.http.listen_tls):
        said = (
            f"http.listen = []: expected a Twisted endpoint string such as {EXAMPLE}, or one in "
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
        open_ones = [one for one in listen if one.startswith("tcp") and not is_loopback(one)]
        if open_ones:
            said = (
                f"http.{key} = {quote(open_ones[0])}: expected loopback, as in {EXAMPLE}, or a "
                f"unix: socket: whoever reaches {open_ones[0]} could end any call, as nobody is "
                "asked who they are; set auth.password_file or another key of [auth], or "
                "http.allow_anonymous = true"
            )
            mistakes.add(("http", key), said)


def _read_backends(sections: Any, mistakes: Mistakes) -> Iterator[BackendSettings]:
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
            mistakes.add(path, f"backend {quote(name)}: expected letters, digits, dots, hyphens")
            continue
        own = dict(section)
        type_name = own.pop("type", name)
        if not isinstance(type_name, str):
            found = show_value(type_name)
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
