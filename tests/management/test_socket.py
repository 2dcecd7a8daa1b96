"""The control socket over real UNIX sockets: permissions, takeover, requests and slow clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.helpers import ALICE, ControlRoom
from umd.management import connection, console
from umd.management.client import Refusal, Unreachable, ask
from umd.management.console import Console
from umd.management.requests import CallsRequest
from umd.management.socket import CannotOpen, ControlSocket
from umd.trace.capture import Capture


class Client:
    """A blocking client, for use in a thread."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.replies = self.socket.makefile("rb")

    def read(self) -> Any:
        line = self.replies.readline()
        return json.loads(line) if line else None

    def read_all(self) -> list[Any]:
        """Return all replies until umd closes the connection."""
        return [json.loads(line) for line in self.replies]

    def close(self) -> None:
        self.replies.close()
        self.socket.close()


class SocketCase(TestCase):
    def setUp(self) -> None:
        # Not self.mktemp: the path of a socket has 107 octets at most.
        scratch = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(scratch.cleanup)
        self.directory = Path(scratch.name)
        self.path = str(self.directory / "run" / "control.sock")
        self.room = ControlRoom()
        self.socket = self.make()

    def make(self, path: str | None = None) -> ControlSocket:
        async def pause() -> None:
            """There is no other work."""

        wall = self.room.clock.seconds
        answering = Console(self.room.control, Capture(10, wall), wall, pause)
        made = ControlSocket(path or self.path, answering, reactor, self.room.log)
        self.addCleanup(lambda: ensureDeferred(made.close()))
        return made

    def client(self) -> Deferred[Client]:
        def connect() -> Client:
            client = Client(self.path)
            self.addCleanup(client.close)
            return client

        return deferToThread(connect)

    def refused(self, path: str | None = None) -> str:
        """Return why a socket cannot be opened."""
        with self.assertRaises(CannotOpen) as caught:
            self.make(path).open()
        return str(caught.exception)


class OpenTests(SocketCase):
    def test_only_the_owner_can_connect(self) -> None:
        self.socket.open()
        found = os.stat(self.path)
        self.assertTrue(stat.S_ISSOCK(found.st_mode))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.path + ".lock").st_mode), 0o600)

    async def test_close_removes_its_files_and_it_can_be_opened_again(self) -> None:
        self.socket.open()
        await self.socket.close()
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        self.socket.open()

    async def test_removed_files_are_no_reason_to_fail(self) -> None:
        self.socket.open()
        os.unlink(self.path)
        os.unlink(self.path + ".lock")
        await self.socket.close()
        self.socket.open()

    async def test_close_leaves_the_socket_of_another_umd(self) -> None:
        """The files were removed, and another umd opened its socket at the same path."""
        self.socket.open()
        os.unlink(self.path)
        os.unlink(self.path + ".lock")
        self.make().open()
        await self.socket.close()
        self.assertTrue(os.path.exists(self.path))
        self.assertTrue(os.path.exists(self.path + ".lock"))

    def test_a_second_umd_is_refused_with_the_process_of_the_first(self) -> None:
        self.socket.open()
        text = self.refused()
        self.assertIn(f"another umd serves there (process {os.getpid()})", text)
        self.assertIn("-o control.socket=", text)
        self.assertTrue(os.path.exists(self.path))

    def test_the_socket_of_a_killed_daemon_is_replaced(self) -> None:
        """A killed daemon leaves its socket and its lock file."""
        program = (
            "import sys, os\n"
            "from twisted.internet import reactor\n"
            "from umd.management.socket import ControlSocket\n"
            f"ControlSocket({self.path!r}, None, reactor, None).open()\n"
            "print('open', flush=True); sys.stdin.read()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with child:
            assert child.stdout is not None
            self.assertEqual(child.stdout.readline(), b"open\n")
            self.assertIn(f"process {child.pid}", self.refused())
            child.send_signal(signal.SIGKILL)
        self.assertTrue(os.path.exists(self.path))
        self.socket.open()

    def test_a_file_that_is_no_socket_is_not_removed(self) -> None:
        os.mkdir(os.path.dirname(self.path))
        Path(self.path).write_text("precious")
        self.assertIn("is not a socket", self.refused())
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_the_socket_of_another_program_is_not_removed(self) -> None:
        os.mkdir(os.path.dirname(self.path))
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.bind(self.path)
            stranger.listen()
            self.assertIn("another program listens there", self.refused())
            self.assertTrue(os.path.exists(self.path))

    def test_a_directory_that_others_can_write_to_is_refused(self) -> None:
        shared = self.directory / "shared"
        shared.mkdir()
        for mode in (0o1777, 0o770, 0o702):
            shared.chmod(mode)
            text = self.refused(str(shared / "control.sock"))
            self.assertIn(f"others can write to {shared}", text)
            self.assertIn("chmod go-w", text)
        shared.chmod(0o755)
        self.make(str(shared / "control.sock")).open()

    def test_a_directory_of_another_user_is_refused(self) -> None:
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        if os.getuid() == 0:
            os.chown(self.directory, 12345, -1)
        self.assertIn("belongs to another user", self.refused(str(self.directory / "c.sock")))

    def test_a_link_is_not_followed(self) -> None:
        """/tmp/umd-UID could be a link that another user made."""
        (self.directory / "link").symlink_to(self.directory)
        text = self.refused(str(self.directory / "link" / "c.sock"))
        self.assertIn("is not a directory", text)

    def test_a_path_that_cannot_be_used(self) -> None:
        text = self.refused("/nowhere/at/all/control.sock")
        self.assertIn("control.socket = '/nowhere/at/all/control.sock': No such file", text)


class AnswerTests(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.socket.open()
        self.call = self.room.control.place(ALICE, "waits")

    async def test_the_client_of_the_commands(self) -> None:
        (reply,) = await deferToThread(lambda: list(ask("calls", self.path)))
        self.assertEqual(reply["call"]["id"], self.call.id)

    async def test_a_refusal(self) -> None:
        def refused() -> Refusal:
            with self.assertRaises(Refusal) as caught:
                list(ask("trace", self.path, call="nope"))
            error: Refusal = caught.exception
            return error

        refusal = await deferToThread(refused)
        self.assertEqual(refusal.kind, "no-such-call")
        self.assertEqual(str(refusal), "no call begins with 'nope'")

    async def test_requests_on_one_connection_are_answered_in_order(self) -> None:
        client = await self.client()
        line = b'{"request": "calls"}\n'
        await deferToThread(client.socket.sendall, line + b"garbage\n" + line + line[:5])
        replies = [await deferToThread(client.read) for _ in range(5)]
        self.assertEqual([next(iter(reply)) for reply in replies],
                         ["call", "done", "error", "call", "done"])  # fmt: skip
        await deferToThread(client.socket.sendall, line[5:])
        self.assertIn("call", await deferToThread(client.read))

    async def test_a_half_closed_client_gets_its_replies(self) -> None:
        """`echo ... | socat - UNIX:...` closes its sending side at once."""
        client = await self.client()
        await deferToThread(client.socket.sendall, b'{"request": "calls"}\n' * 3)
        client.socket.shutdown(socket.SHUT_WR)
        replies = await deferToThread(client.read_all)
        self.assertEqual(len(replies), 6)

    async def test_a_line_that_is_too_long_closes_the_connection(self) -> None:
        client = await self.client()
        await deferToThread(client.socket.sendall, b"x" * (connection.MAX_REQUEST_OCTETS + 1))
        (reply,) = await deferToThread(client.read_all)
        self.assertEqual(reply["kind"], "bad-request")
        self.assertIn("longer than", reply["error"])

    async def test_too_many_clients(self) -> None:
        self.patch(connection, "MAX_CONNECTIONS", 1)
        first = await self.client()
        second = await self.client()
        (reply,) = await deferToThread(second.read_all)
        self.assertEqual(reply["kind"], "busy")
        await deferToThread(first.socket.sendall, b'{"request": "calls"}\n')
        self.assertIn("call", await deferToThread(first.read))

    async def test_an_internal_error_tells_the_client_no_details(self) -> None:
        async def broken(_: Console, request: Any) -> AsyncGenerator[Any, None]:
            yield {"fine": 1}
            raise RuntimeError("secret")

        self.patch(console, "ANSWERS", {CallsRequest: broken})
        client = await self.client()
        await deferToThread(client.socket.sendall, b'{"request": "calls"}\n')
        self.assertEqual(await deferToThread(client.read), {"fine": 1})
        reply = await deferToThread(client.read)
        self.assertEqual(reply["kind"], "internal")
        self.assertNotIn("secret", json.dumps(reply))
        self.assertIn("control.failed", self.room.logged())

    async def test_a_slow_reader_does_not_grow_the_memory(self) -> None:
        """umd makes the next replies when the client has read, and none after it disconnected."""
        made: list[int] = []
        left: Deferred[None] = Deferred()

        async def endless(_: Console, request: Any) -> AsyncGenerator[Any, None]:
            try:
                while True:
                    made.append(1)
                    yield {"x": "x" * 1000}
            finally:
                left.callback(None)

        self.patch(console, "ANSWERS", {CallsRequest: endless})
        client = await self.client()
        await deferToThread(client.socket.sendall, b'{"request": "calls"}\n')
        for _ in range(1000):
            self.assertIn("x", await deferToThread(client.read))
        client.close()
        await left
        # The buffers of the kernel and of Twisted hold the difference.
        self.assertLess(len(made), 1000 + 10_000)

    async def test_a_silent_client_is_disconnected(self) -> None:
        self.patch(connection, "IDLE_TIMEOUT", 0.01)
        client = await self.client()
        try:
            self.assertEqual(await deferToThread(client.read_all), [])
        except ConnectionResetError:
            pass  # the kernel may report the close in this way, too


class ClientTests(SocketCase):
    def unreachable(self, path: str) -> str:
        with self.assertRaises(Unreachable) as caught:
            list(ask("calls", path))
        return str(caught.exception)

    def test_no_socket(self) -> None:
        text = self.unreachable(self.path)
        self.assertIn(f"umd cannot be reached at {self.path}: there is no such socket.", text)
        self.assertIn("`umd serve`", text)
        self.assertIn("there is no such socket", self.unreachable("/etc/passwd/x"))

    def test_a_socket_without_daemon(self) -> None:
        path = str(self.directory / "c.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        self.assertIn("the umd it belonged to has ended", self.unreachable(path))

    def test_a_path_that_is_too_long(self) -> None:
        self.assertIn("path too long", self.unreachable("/" + "x" * 200))

    async def test_another_program_answers(self) -> None:
        for answer, words in ((b"HTTP/1.1 400\r\n", "cannot be reached"), (b"", "in the middle")):
            path = str(self.directory / f"c{len(answer)}.sock")
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.bind(path)
                stranger.listen()
                asked = deferToThread(self.unreachable, path)
                accepted, _ = await deferToThread(stranger.accept)
                with accepted:
                    await deferToThread(accepted.recv, 1000)
                    accepted.sendall(answer)
                self.assertIn(words, await asked)

    def test_a_socket_of_another_user(self) -> None:
        def refuse(*args: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(socket.socket, "connect", refuse)
        path = str(self.directory / "c.sock")
        owner = f"user {os.getuid()} and root" if os.getuid() else "root"
        self.assertEqual(
            self.unreachable(path),
            f"umd cannot be reached at {path}: only {owner} can connect to it.",
        )
