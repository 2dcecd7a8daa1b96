"""The settings of each user, kept in an SQLite file of their own."""

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
"""A path that keeps nothing."""
VERSION: Final = 1
"""Of the tables, in the file's `user_version`."""
_COLUMNS: Final = (
    "oof_status",
    "missed_call_notification",
    "dial_string",
    "access_folder",
    "pin_hash",
)
_T = TypeVar("_T")


_LOCK_TIMEOUT: Final = 1.0
"""Seconds to wait for another program that has locked the file; everybody waits with us."""


class UsersUnusable(UmdError):
    """The file cannot be used at the moment; nothing in it was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSettings:
    """What one user has set."""

    oof_status: bool = False
    """Whether the out-of-office greeting is played."""
    missed_call_notification: bool = True
    dial_string: str = ""
    """What an empty DialString stands for; empty: nothing."""
    access_folder: str = ""
    """The folder of mail that is read on the telephone, as base64; empty: none."""
    pin_hash: str = ""
    """See `umd.messaging.pin.hash_pin`; empty: no PIN was made yet."""


class Users:
    """
    The settings of all users by their names.

    What is set is on disk before it is answered. SQLite is used on a thread of its own, as a disk
    may take its time.

    Args:
        path: of the file, or `MEMORY`.
    """

    def __init__(self, path: str, reactor: Any) -> None:
        self.path = path
        self._closed = False
        self._file: int | None = None
        """Its inode."""
        self._pool = ConnectionPool(
            "sqlite3",
            path,
            check_same_thread=False,
            timeout=_LOCK_TIMEOUT,
            isolation_level=None,
            cp_min=1,
            cp_max=1,
            cp_noisy=False,
            cp_openfun=_tune,
            cp_reactor=reactor,
        )

    async def open(self) -> None:
        """
        Make the tables, or see that they are ours.

        Raises:
            UsersUnusable
        """
        if self.path != MEMORY:
            try:
                # For umd's user alone: SQLite gives its other files the mode of this one.
                opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise UsersUnusable(f"users.store {self.path}: {error.strerror}") from error
            found = os.fstat(opened)
            os.close(opened)
            if not stat.S_ISREG(found.st_mode):
                raise UsersUnusable(f"users.store {self.path}: not a regular file")
            self._file = found.st_ino
        await self._run(_make_tables)

    def close(self) -> None:
        """Close the file once what is under way is done; harmless when it is closed."""
        if not self._closed:
            self._closed = True
            self._pool.close()

    async def get(self, name: str) -> UserSettings:
        """
        What a user has set; the defaults for one who has set nothing.

        Raises:
            UsersUnusable
        """
        return await self._run(_select, name)

    async def change(self, name: str, **settings: bool | str) -> None:
        """
        Set some of a user's settings, named as in `UserSettings`.

        Raises:
            UsersUnusable
        """
        await self._run(self._change, name, settings)

    def _change(self, cursor: Any, name: str, settings: dict[str, Any]) -> None:
        _write(cursor, name, settings)
        # SQLite goes on writing into a file that somebody has removed.
        if self._file is not None and os.stat(self.path).st_ino != self._file:
            raise UsersUnusable(f"users.store {self.path} is another file than at the start")

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            result: _T = await self._pool.runInteraction(work, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise UsersUnusable(f"users.store {self.path}: {error}") from error
        return result


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # With less, a power cut takes what was answered (hardening, finding 2).
    connection.execute("PRAGMA synchronous = FULL")


def _make_tables(cursor: Any) -> None:
    (version,) = cursor.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise UsersUnusable(f"users.store is of version {version}; this umd knows {VERSION}")
    cursor.execute("BEGIN IMMEDIATE")
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, oof_status INTEGER NOT NULL, "
        "missed_call_notification INTEGER NOT NULL, dial_string TEXT NOT NULL, "
        "access_folder TEXT NOT NULL, pin_hash TEXT NOT NULL) STRICT"
    )
    cursor.execute(f"PRAGMA user_version = {VERSION}")


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
