"""Users' settings on a real disk."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from umd.messaging.users import MEMORY, Users, UserSettings, UsersUnusable


class UsersTests(TestCase):
    async def open(self, path: str) -> Users:
        users = Users(path, reactor)
        self.addCleanup(users.close)
        await users.open()
        return users

    async def test_settings_survive_a_restart(self) -> None:
        path = os.path.abspath(self.mktemp())
        users = await self.open(path)
        self.assertEqual(await users.get("alice"), UserSettings())
        await users.change("alice", oof_status=True, dial_string="+1 555")
        await users.change("alice", access_folder="AAAA")
        await users.change("bob", missed_call_notification=False)
        users.close()
        again = await self.open(path)
        self.assertEqual(
            await again.get("alice"),
            UserSettings(oof_status=True, dial_string="+1 555", access_folder="AAAA"),
        )
        self.assertEqual(await again.get("bob"), UserSettings(missed_call_notification=False))
        self.assertEqual(await again.get("x'; DROP TABLE users"), UserSettings())

    async def test_only_the_owner_can_read_the_file(self) -> None:
        """It has hashes of PINs, and a PIN has few digits to try."""
        path = os.path.abspath(self.mktemp())
        users = await self.open(path)
        await users.change("alice", oof_status=True)
        for name in (path, path + "-wal"):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode) & 0o077, 0, name)

    async def test_a_file_that_is_removed(self) -> None:
        """SQLite goes on writing to the removed file, so umd must notice."""
        path = os.path.abspath(self.mktemp())
        users = await self.open(path)
        os.unlink(path)
        with self.assertRaisesRegex(UsersUnusable, "No such file"):
            await users.change("alice", oof_status=True)
        with open(path, "wb"):
            pass
        with self.assertRaisesRegex(UsersUnusable, "was replaced"):
            await users.change("alice", oof_status=True)

    async def test_a_file_that_another_program_has_locked(self) -> None:
        path = os.path.abspath(self.mktemp())
        users = await self.open(path)
        await users.change("alice", dial_string="1")
        other = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        with self.assertRaisesRegex(UsersUnusable, "locked"):
            await users.change("alice", dial_string="2")
        self.assertEqual((await users.get("alice")).dial_string, "1")
        other.execute("ROLLBACK")
        await users.change("alice", dial_string="3")
        self.assertEqual((await users.get("alice")).dial_string, "3")

    async def test_an_acknowledged_change_is_on_disk(self) -> None:
        """With synchronous=NORMAL a power cut may lose it."""
        users = await self.open(os.path.abspath(self.mktemp()))

        def pragma(cursor: Any, name: str) -> Any:
            return cursor.execute(f"PRAGMA {name}").fetchone()[0]

        self.assertEqual(await users._run(pragma, "synchronous"), 2)
        self.assertEqual(await users._run(pragma, "journal_mode"), "wal")

    async def test_in_memory(self) -> None:
        users = await self.open(MEMORY)
        await users.change("alice", oof_status=True)
        self.assertTrue((await users.get("alice")).oof_status)

    async def test_a_file_that_is_not_a_database(self) -> None:
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(b"hello" * 1000)
        with self.assertRaisesRegex(UsersUnusable, "users.store"):
            await self.open(path)
        with open(path, "rb") as kept:
            self.assertEqual(kept.read(), b"hello" * 1000)

    async def test_a_file_of_a_newer_umd(self) -> None:
        path = os.path.abspath(self.mktemp())
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 7")
        connection.close()
        with self.assertRaisesRegex(UsersUnusable, "version 7"):
            await self.open(path)

    async def test_a_folder_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(UsersUnusable, "/nowhere/x"):
            await self.open("/nowhere/x")
