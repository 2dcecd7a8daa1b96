"""Keeps the settings of each user in an SQLite file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from twisted.enterprise.adbapi import ConnectionPool

from umd.errors import UmdError

MEMORY: Final = ":memory:"
"""The path that keeps the settings in memory only."""
SCHEMA_VERSION: Final = 1
"""The version of the tables, kept in the file's `user_version`."""
_COLUMNS: Final = (
    "oof_status",
    "missed_call_notification",
    "dial_string",
    "access_folder",
    "pin_hash",
)
_LOCK_TIMEOUT: Final = 1.0
"""Seconds to wait while another program locks the file; all users' requests wait meanwhile."""

_T = TypeVar("_T")


class UsersUnusable(UmdError):
    """The file cannot be read or written at the moment; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings:
    """The settings of one user."""

    oof_status: bool = False
    """Whether the out-of-office greeting is played."""
    missed_call_notification: bool = True
    """Whether the user is notified of missed calls."""
    dial_string: str = ""
    """The number to call if a request has an empty DialString; empty: none."""
    access_folder: str = ""
    """The id, in base64, of the mail folder that is read on the telephone; empty: none."""
    pin_hash: str = ""
    """The PIN as `umd.messaging.pin.hash_pin` returns it; empty: the user has no PIN yet."""


class Users:
    """
    The settings of all users by their names.

    A change is on disk before `change` returns. SQLite has its own thread, as a disk may be slow.

    Args:
        path: the path of the file, or `MEMORY`.
    """

    def __init__(self, path: str, reactor: Any) -> None:
        self.path = path
        self._closed = False
        self._inode: int | None = None
        """The inode of the file that was opened."""
        self._pool = ConnectionPool(
            "sqlite3",
            path,
            check_same_thread=False,
            timeout=_LOCK_TIMEOUT,
            isolation_level=None,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            cp_openfun=_set_pragmas,
            cp_reactor=reactor,
        )

    async def open(self) -> None:
        """
        Open the file; make its tables if there are none.

        Raises:
            UsersUnusable: the file cannot be used, or a newer umd made it.
        """
        if self.path != MEMORY:
            try:
                # Mode 0600: SQLite gives its other files the mode of this one.
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise UsersUnusable(f"users.store {self.path}: {error.strerror}") from error
            status = os.fstat(descriptor)
            os.close(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsersUnusable(f"users.store {self.path}: not a regular file")
            self._inode = status.st_ino
        await self._run(_make_tables)

    def close(self) -> None:
        """Wait for the work in progress, then close the file. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._pool.close()

    async def get(self, name: str) -> UserSettings:
        """
        Return the settings of a user; the defaults if there are none.

        Raises:
            UsersUnusable: the file cannot be read.
        """
        return await self._run(_select, name)

    async def change(self, name: str, **settings: bool | str) -> None:
        """
        Change some settings of a user, named as in `UserSettings`.

        Raises:
            UsersUnusable: the file of users cannot be written; nothing was changed.
        """
        await self._run(self._change, name, settings)

    def _change(self, cursor: Any, name: str, settings: dict[str, Any]) -> None:
        _write(cursor, name, settings)
        # SQLite goes on writing to a file that was removed, and the change would be lost.
        if self._inode is not None and os.stat(self.path).st_ino != self._inode:
            raise UsersUnusable(f"users.store {self.path} was replaced; restart umd")

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            result: _T = await self._pool.runInteraction(work, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise UsersUnusable(f"users.store {self.path}: {error}") from error
        return result


def _set_pragmas(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL mode, synchronous=NORMAL may lose acknowledged changes in a power cut
    # (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute("PRAGMA synchronous = FULL")


def _make_tables(cursor: Any) -> None:
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise UsersUnusable(
            f"a newer umd made users.store (version {version}); this one knows {SCHEMA_VERSION}"
        )
    cursor.execute("BEGIN IMMEDIATE")
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, oof_status INTEGER NOT NULL, "
        "missed_call_notification INTEGER NOT NULL, dial_string TEXT NOT NULL, "
        "access_folder TEXT NOT NULL, pin_hash TEXT NOT NULL) STRICT"
    )
    cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _select(cursor: Any, name: str) -> UserSettings:
    row = cursor.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM users WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        return UserSettings()
    oof_status, missed_call_notification, dial_string, access_folder, pin_hash = row
    return UserSettings(
        oof_status=bool(oof_status),
        missed_call_notification=bool(missed_call_notification),
        dial_string=dial_string,
        access_folder=access_folder,
        pin_hash=pin_hash,
    )


def _write(cursor: Any, name: str, settings: dict[str, Any]) -> None:
    cursor.execute("BEGIN IMMEDIATE")
    changed = replace(_select(cursor, name), **settings)
    values = [getattr(changed, column) for column in _COLUMNS]
    cursor.execute(
        f"INSERT OR REPLACE INTO users (name, {', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?)",
        (name, *values),
    )
