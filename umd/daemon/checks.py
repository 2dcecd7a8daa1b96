"""
What `umd check-config --files` looks at: every file and folder that the configuration names.

Nothing is made, changed or locked, so that it can be asked beside a running umd.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from umd.backend import ChecksFiles, LegBackend
from umd.config import ConfigError, Settings
from umd.config.endpoints import endpoint_fields
from umd.config.notation import KeyPath
from umd.daemon.auth import make_token_verifier
from umd.daemon.certificates import open_tls
from umd.daemon.paths import control_socket_path, journal_path, users_path
from umd.errors import UmdError
from umd.http.passwords import PasswordFile
from umd.journal.schema import APPLICATION_ID, MIGRATIONS
from umd.management.socket import CannotOpen, check_directory
from umd.messaging.prompts import NoSuchPrompt, read_prompt
from umd.messaging.users import MEMORY, SCHEMA_VERSION

Trouble: TypeAlias = tuple[KeyPath, object, str]
"""A key, its value, and what is wrong with what it names."""

LEAST_ROOM: Final = 16 * 1024**2
"""Octets free on the disk of the journal: the least that journal.max_size can be."""
MOST_TOLD: Final = 100
ONLY_INSIDE: Final = "/run/credentials/"
"""Where systemd puts what LoadCredential= names; it is there only while the unit runs."""


def check_files(settings: Settings) -> list[str]:
    """
    See that all files and folders can be used that the settings name.

    Returns:
        A line for each thing with which umd starts, and which needs somebody's attention: a prompt
        that cannot be played, a disk that is nearly full, a certificate that has expired.

    Raises:
        ConfigError: with a line for each that cannot be used.
    """
    lines: list[str] = []
    warnings: list[str] = []
    if settings.http.listen_tls:
        try:
            _, warnings = open_tls(settings)
        except ConfigError as error:
            lines += error.mistakes
    for check in CHECKS:
        lines += [settings.mistake(*trouble) for trouble in check(settings)]
    if lines:
        raise ConfigError(lines)
    for check in WARNINGS:
        warnings += [settings.mistake(*trouble) for trouble in check(settings)]
    if len(warnings) > MOST_TOLD:
        warnings[MOST_TOLD:] = [f"and {len(warnings) - MOST_TOLD} more like these"]
    return warnings


def _passwords(settings: Settings) -> Iterator[Trouble]:
    path = settings.auth.password_file
    if path is not None:
        yield from _told(("auth", "password_file"), path, lambda: PasswordFile.read(path))


def _token_key(settings: Settings) -> Iterator[Trouble]:
    token = settings.auth.token
    if token.key_file is not None:
        key = ("auth", "token", "key_file")
        yield from _told(key, token.key_file, lambda: make_token_verifier(token))


def _prompts(settings: Settings) -> Iterator[Trouble]:
    folder, default = settings.prompts.folder, settings.prompts.default
    if default not in ("auto", "none", "tone"):
        key = ("prompts", "default")
        yield from _told(key, default, lambda: read_prompt(Path(default)))
    if folder is not None and (why := _folder(folder, os.R_OK | os.X_OK)):
        yield ("prompts", "folder"), folder, why


def _prompt_files(settings: Settings) -> Iterator[Trouble]:
    folder = settings.prompts.folder
    if folder is None:
        return
    for path in sorted(Path(folder).glob("*.wav")) + sorted(Path(folder).glob("greetings/*.wav")):
        try:
            read_prompt(path)
        except NoSuchPrompt as error:
            yield ("prompts", "folder"), folder, str(error)


def _users(settings: Settings) -> Iterator[Trouble]:
    path = users_path(settings.users)
    if path != MEMORY:
        yield from _database(("users", "store"), path, 0, SCHEMA_VERSION)


def _pin_spool(settings: Settings) -> Iterator[Trouble]:
    pin = settings.pin
    if pin.delivery == "spool" and pin.spool is not None:
        if why := _folder(pin.spool, os.R_OK | os.W_OK | os.X_OK):
            yield ("pin", "spool"), pin.spool, why


def _journal(settings: Settings) -> Iterator[Trouble]:
    if path := journal_path(settings.journal):
        yield from _database(("journal", "path"), path, APPLICATION_ID, len(MIGRATIONS))


def _journal_disk(settings: Settings) -> Iterator[Trouble]:
    if path := journal_path(settings.journal):
        disk = os.statvfs(os.path.dirname(path))
        free = disk.f_bavail * disk.f_frsize
        if free < LEAST_ROOM:
            said = f"only {free // 1024**2} MiB are free on its disk"
            yield ("journal", "path"), path, said


def _control_socket(settings: Settings) -> Iterator[Trouble]:
    path = control_socket_path(settings.control)
    if path is None:
        return
    yield from _socket(("control", "socket"), path, may_make_folder=True)
    try:
        check_directory(os.path.dirname(path))
    except FileNotFoundError:
        pass  # it is made
    except (CannotOpen, OSError) as error:
        yield ("control", "socket"), path, getattr(error, "strerror", None) or str(error)


def _listen(settings: Settings) -> Iterator[Trouble]:
    for name in ("listen", "listen_tls"):
        for endpoint in getattr(settings.http, name):
            if endpoint.startswith("unix:"):
                for key, path, why in _socket(("http", name), endpoint_fields(endpoint)["address"]):
                    yield key, endpoint, why


def _backends(settings: Settings) -> Iterator[Trouble]:
    for backend in settings.backends:
        check: type[LegBackend] | ChecksFiles = backend.type
        if not isinstance(check, ChecksFiles):
            continue
        for key, value, why in check.check_files(backend.settings):
            yield ("backend", backend.name, *key.split(".")), value, _hinted(value, why)


_MAGIC: Final = b"SQLite format 3\0"
_HEAD: Final = struct.Struct(">16s 44x I 4x I")
"""Of an SQLite file: its magic, user_version and application_id (sqlite.org/fileformat.html)."""

CHECKS: Final[tuple[Callable[[Settings], Iterable[Trouble]], ...]] = (
    _listen,
    _passwords,
    _token_key,
    _prompts,
    _users,
    _pin_spool,
    _control_socket,
    _journal,
    _backends,
)
WARNINGS: Final[tuple[Callable[[Settings], Iterable[Trouble]], ...]] = (
    _prompt_files,
    _journal_disk,
)


# -- what they share


def _told(key: KeyPath, path: object, read: Callable[[], object]) -> Iterator[Trouble]:
    """What is wrong with a file, in the words of what reads it at the start."""
    try:
        read()
    except UmdError as error:
        yield key, path, _hinted(path, str(error).removeprefix(f"{path}: "))


def _hinted(path: object, why: str) -> str:
    if str(path).startswith(ONLY_INSIDE) and not os.path.exists(str(path)):
        why += "; systemd puts credentials there only for the commands of their unit"
    return why


def _folder(path: str, mode: int) -> str | None:
    """What keeps umd from using a folder."""
    try:
        if not os.path.exists(path):
            return _hinted(path, "there is no such folder")
        if not os.path.isdir(path):
            return "not a folder"
        if os.access(path, mode, effective_ids=True):
            return None
    except ValueError:  # a NUL character, a lone surrogate
        return "not a path"
    return f"user {os.geteuid()} may not {'write to' if mode & os.W_OK else 'read'} it"


def _database(
    key: KeyPath, path: str, application_id: int, version: int
) -> Iterator[Trouble]:
    """
    What keeps umd from using an SQLite file, or from making it.

    Its head is read as octets: a umd that runs has locked the file for SQLite.
    """
    if why := _folder(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
        yield key, path, f"its folder: {why}"
        return
    if not os.path.lexists(path):
        return
    if not os.path.isfile(path):
        yield key, path, "not a regular file"
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        yield key, path, f"user {os.geteuid()} may not read and write it"
    else:
        with open(path, "rb") as file:
            head = file.read(_HEAD.size)
        if not head:
            return
        magic, found, whose = _HEAD.unpack(head.ljust(_HEAD.size, b"\0"))
        if magic != _MAGIC and os.path.exists(f"{path}.lock"):
            return  # a damaged journal, which a start sets aside
        if magic != _MAGIC or whose not in (0, application_id):
            yield key, path, "another program's file; name another path, or move that file away"
        elif found > version:
            yield key, path, f"a newer umd has written it (version {found})"


def _socket(key: KeyPath, path: str, may_make_folder: bool = False) -> Iterator[Trouble]:
    """What keeps umd from listening at a path."""
    folder = os.path.dirname(path) or "."
    if may_make_folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if why := _folder(folder, os.W_OK | os.X_OK):
        yield key, path, f"{folder}: {why}"
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        yield key, path, "there is something that is no socket; name another path"
