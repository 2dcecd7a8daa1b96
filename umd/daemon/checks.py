"""
Checks every file and folder that the configuration names, for `umd check-config --files`.

A check creates, changes and locks nothing, so it can run beside a umd that uses the same files.
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
from umd.runtime.files import CannotRead, read_secret

Problem: TypeAlias = tuple[KeyPath, object, str]
"""A key, its value, and what is wrong with the file or folder that the value names."""

MIN_FREE_OCTETS: Final = 16 * 1024**2
"""On the disk of the journal; the smallest `journal.max_size` is the same."""
MAX_WARNINGS: Final = 100
CREDENTIALS: Final = "/run/credentials/"
"""Where systemd puts the files of LoadCredential=, for as long as the unit runs."""


def check_files(settings: Settings) -> list[str]:
    """
    Check all files and folders that the settings name.

    Returns:
        Warnings: a message for each problem with which umd starts all the same. Examples are a
        prompt that cannot be played, a disk that is nearly full, and an expired certificate.

    Raises:
        ConfigError: with a message for each file or folder that umd cannot use.
    """
    mistakes: list[str] = []
    warnings: list[str] = []
    if settings.http.listen_tls:
        try:
            _, warnings = open_tls(settings)
        except ConfigError as error:
            mistakes += error.mistakes
    for check in CHECKS:
        mistakes += [settings.mistake(*problem) for problem in check(settings)]
    if mistakes:
        raise ConfigError(mistakes)
    for check in WARNINGS:
        warnings += [settings.mistake(*problem) for problem in check(settings)]
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS:] = [f"and {len(warnings) - MAX_WARNINGS} more like these"]
    return warnings


def _passwords(settings: Settings) -> Iterator[Problem]:
    path = settings.auth.password_file
    if path is not None:
        yield from _problem_of(("auth", "password_file"), path, lambda: PasswordFile.read(path))


def _hep_passwords(settings: Settings) -> Iterator[Problem]:
    for name in ("password_file", "send_password_file"):
        path = getattr(settings.hep, name)
        if path is not None:
            try:
                read_secret(path)
            except CannotRead as error:
                yield ("hep", name), path, _with_hint(path, str(error))


def _token_key(settings: Settings) -> Iterator[Problem]:
    token = settings.auth.token
    if token.key_file is not None:
        key = ("auth", "token", "key_file")
        yield from _problem_of(key, token.key_file, lambda: make_token_verifier(token))


def _prompts(settings: Settings) -> Iterator[Problem]:
    folder, default = settings.prompts.folder, settings.prompts.default
    if default not in ("auto", "none", "tone"):
        key = ("prompts", "default")
        yield from _problem_of(key, default, lambda: read_prompt(Path(default)))
    if folder is not None and (why := _folder(folder, os.R_OK | os.X_OK)):
        yield ("prompts", "folder"), folder, why


def _prompt_files(settings: Settings) -> Iterator[Problem]:
    folder = settings.prompts.folder
    if folder is None:
        return
    for path in sorted(Path(folder).glob("*.wav")) + sorted(Path(folder).glob("greetings/*.wav")):
        try:
            read_prompt(path)
        except NoSuchPrompt as error:
            yield ("prompts", "folder"), folder, str(error)


def _users(settings: Settings) -> Iterator[Problem]:
    path = users_path(settings.users)
    if path != MEMORY:
        yield from _database(("users", "store"), path, 0, SCHEMA_VERSION)


def _pin_spool(settings: Settings) -> Iterator[Problem]:
    pin = settings.pin
    if pin.delivery == "spool" and pin.spool is not None:
        if why := _folder(pin.spool, os.R_OK | os.W_OK | os.X_OK):
            yield ("pin", "spool"), pin.spool, why


def _journal(settings: Settings) -> Iterator[Problem]:
    if path := journal_path(settings.journal):
        yield from _database(("journal", "path"), path, APPLICATION_ID, len(MIGRATIONS))


def _journal_disk(settings: Settings) -> Iterator[Problem]:
    if path := journal_path(settings.journal):
        disk = os.statvfs(os.path.dirname(path))
        free = disk.f_bavail * disk.f_frsize
        if free < MIN_FREE_OCTETS:
            yield ("journal", "path"), path, f"only {free // 1024**2} MiB are free on its disk"


def _control_socket(settings: Settings) -> Iterator[Problem]:
    path = control_socket_path(settings.control)
    if path is None:
        return
    yield from _socket(("control", "socket"), path, may_make_folder=True)
    try:
        check_directory(os.path.dirname(path))
    except FileNotFoundError:
        pass  # umd creates it
    except (CannotOpen, OSError) as error:
        yield ("control", "socket"), path, getattr(error, "strerror", None) or str(error)


def _listen(settings: Settings) -> Iterator[Problem]:
    for name in ("listen", "listen_tls"):
        for endpoint in getattr(settings.http, name):
            if endpoint.startswith("unix:"):
                for key, path, why in _socket(("http", name), endpoint_fields(endpoint)["address"]):
                    yield key, endpoint, why


def _backends(settings: Settings) -> Iterator[Problem]:
    for backend in settings.backends:
        check: type[LegBackend] | ChecksFiles = backend.type
        if not isinstance(check, ChecksFiles):
            continue
        for key, value, why in check.check_files(backend.settings):
            yield ("backend", backend.name, *key.split(".")), value, _with_hint(value, why)


_MAGIC: Final = b"SQLite format 3\0"
_HEADER: Final = struct.Struct(">16s 44x I 4x I")
"""The magic, user_version and application_id of an SQLite file (sqlite.org/fileformat.html)."""

CHECKS: Final[tuple[Callable[[Settings], Iterable[Problem]], ...]] = (
    _listen,
    _passwords,
    _hep_passwords,
    _token_key,
    _prompts,
    _users,
    _pin_spool,
    _control_socket,
    _journal,
    _backends,
)
WARNINGS: Final[tuple[Callable[[Settings], Iterable[Problem]], ...]] = (
    _prompt_files,
    _journal_disk,
)


# -- parts of several checks


def _problem_of(key: KeyPath, path: object, read: Callable[[], object]) -> Iterator[Problem]:
    """Read a file as a start of umd does; if that fails, yield its error as a problem."""
    try:
        read()
    except UmdError as error:
        yield key, path, _with_hint(path, str(error).removeprefix(f"{path}: "))


def _with_hint(path: object, why: str) -> str:
    if str(path).startswith(CREDENTIALS) and not os.path.exists(str(path)):
        why += "; systemd puts credentials there only for the commands of their unit"
    return why


def _folder(path: str, mode: int) -> str | None:
    """Return why umd cannot use a folder, or None. `mode` is what `os.access` takes."""
    try:
        if not os.path.exists(path):
            return _with_hint(path, "there is no such folder")
        if not os.path.isdir(path):
            return "not a folder"
        if os.access(path, mode, effective_ids=True):
            return None
    except ValueError:  # a NUL character, a lone surrogate
        return "not a path"
    return f"user {os.geteuid()} may not {'write to' if mode & os.W_OK else 'read'} it"


def _database(
    key: KeyPath, path: str, application_id: int, version: int
) -> Iterator[Problem]:
    """
    Check that umd can open an SQLite file, or create it.

    The header of the file is read without SQLite, as a running umd has locked the file.

    Args:
        application_id: what the header of umd's own file has.
        version: the newest schema version that this umd can read.
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
            header = file.read(_HEADER.size)
        if not header:
            return
        magic, found_version, found_id = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
        if magic != _MAGIC and os.path.exists(f"{path}.lock"):
            return  # a damaged journal, which a start sets aside
        if magic != _MAGIC or found_id not in (0, application_id):
            yield key, path, "another program's file; name another path, or move that file away"
        elif found_version > version:
            yield key, path, f"a newer umd has written it (version {found_version})"


def _socket(key: KeyPath, path: str, may_make_folder: bool = False) -> Iterator[Problem]:
    """Check that umd can create a UNIX socket at a path."""
    folder = os.path.dirname(path) or "."
    if may_make_folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if why := _folder(folder, os.W_OK | os.X_OK):
        yield key, path, f"{folder}: {why}"
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        yield key, path, "the file there is not a socket; name another path"
