"""The control socket, over real UNIX sockets: who may have it, who may come, what they may send."""

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
    """A client of its own pace, to be used in a thread."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.replies = self.socket.makefile("rb")

    def read(self) -> Any:
        line = self.replies.readline()
        return json.loads(line) if line else None

    def read_all(self) -> list[Any]:
        """Until the other side closes."""
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
        async def breathe() -> None:
            """Nobody else is waiting."""

        wall = self.room.clock.seconds
        answering = Console(self.room.control, Capture(10, wall), wall, breathe)
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
        """Why a socket cannot be opened."""
        with self.assertRaises(CannotOpen) as caught:
            self.make(path).open()
        return str(caught.exception)


class OpenTests(SocketCase):
    def test_it_is_its_owners_alone(self) -> None:
        self.socket.open()
        found = os.stat(self.path)
        self.assertTrue(stat.S_ISSOCK(found.st_mode))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.path + ".lock").st_mode), 0o600)

    async def test_closed_it_leaves_nothing_behind_and_can_be_opened_again(self) -> None:
        self.socket.open()
        await self.socket.close()
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        self.socket.open()

    async def test_a_file_that_somebody_removed_is_no_reason_to_fail(self) -> None:
        self.socket.open()
        os.unlink(self.path)
        os.unlink(self.path + ".lock")
        await self.socket.close()
        self.socket.open()

    async def test_the_socket_of_a_successor_is_left_alone(self) -> None:
        """Somebody removed our files, another umd came: our end is not the end of its socket."""
        self.socket.open()
        os.unlink(self.path)
        os.unlink(self.path + ".lock")
        self.make().open()
        await self.socket.close()
        self.assertTrue(os.path.exists(self.path))
        self.assertTrue(os.path.exists(self.path + ".lock"))

    def test_a_live_one_is_refused_by_its_process(self) -> None:
        self.socket.open()
        text = self.refused()
        self.assertIn(f"another umd serves there (process {os.getpid()})", text)
        self.assertIn("-o control.socket=", text)
        self.assertTrue(os.path.exists(self.path))

    def test_that_of_a_dead_daemon_is_taken_over(self) -> None:
        """It was killed: its socket and its lock are still there."""
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

    def test_what_is_no_socket_is_not_removed(self) -> None:
        os.mkdir(os.path.dirname(self.path))
        Path(self.path).write_text("precious")
        self.assertIn("is not a socket", self.refused())
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_a_stranger_that_listens_is_not_removed(self) -> None:
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

    def test_a_directory_of_somebody_else_is_refused(self) -> None:
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        if os.getuid() == 0:
            os.chown(self.directory, 12345, -1)
        self.assertIn("belongs to another user", self.refused(str(self.directory / "c.sock")))

    def test_a_link_is_not_followed(self) -> None:
        """/tmp/umd-UID could be somebody's link to a directory of ours."""
        (self.directory / "link").symlink_to(self.directory)
        text = self.refused(str(self.directory / "link" / "c.sock"))
        self.assertIn("is not a directory", text)

    def test_a_path_that_cannot_be_had(self) -> None:
        text = self.refused("/nowhere/at/all/control.sock")
        self.assertIn("control.socket = '/nowhere/at/all/control.sock': No such file", text)


class AnswerTests(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.socket.open()
        self.call = self.room.control.place(ALICE, "waits")

    async def test_the_client_of_the_command_line(self) -> None:
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

    async def test_several_requests_on_one_connection_answered_in_order(self) -> None:
        client = await self.client()
        line = b'{"request": "calls"}\n'
        await deferToThread(client.socket.sendall, line + b"garbage\n" + line + line[:5])
        replies = [await deferToThread(client.read) for _ in range(5)]
        self.assertEqual([next(iter(one)) for one in replies],
                         ["call", "done", "error", "call", "done"])  # fmt: skip
        await deferToThread(client.socket.sendall, line[5:])
        self.assertIn("call", await deferToThread(client.read))

    async def test_a_client_that_sends_no_more_still_gets_its_answers(self) -> None:
        """As `echo ... | socat - UNIX:...` does it."""
        client = await self.client()
        await deferToThread(client.socket.sendall, b'{"request": "calls"}\n' * 3)
        client.socket.shutdown(socket.SHUT_WR)
        replies = await deferToThread(client.read_all)
        self.assertEqual(len(replies), 6)

    async def test_a_line_that_is_too_long_is_refused_and_the_connection_closed(self) -> None:
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

    async def test_a_mistake_of_ours_tells_the_client_nothing(self) -> None:
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
        """The next replies are made when there is room for them, and not at all if it leaves."""
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
        # What the socket buffers of the kernel and Twisted hold, and no more.
        self.assertLess(len(made), 1000 + 10_000)

    async def test_a_client_that_is_silent_is_dropped(self) -> None:
        self.patch(connection, "IDLE_TIMEOUT", 0.01)
        client = await self.client()
        try:
            self.assertEqual(await deferToThread(client.read_all), [])
        except ConnectionResetError:
            pass  # the other way for the kernel to say that it is closed


class ClientTests(SocketCase):
    def why(self, path: str) -> str:
        with self.assertRaises(Unreachable) as caught:
            list(ask("calls", path))
        return str(caught.exception)

    def test_nothing_is_there(self) -> None:
        text = self.why(self.path)
        self.assertIn(f"umd cannot be reached at {self.path}: there is no such socket.", text)
        self.assertIn("`umd serve`", text)
        self.assertIn("there is no such socket", self.why("/etc/passwd/x"))

    def test_its_daemon_has_died(self) -> None:
        path = str(self.directory / "c.sock")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        self.assertIn("the umd it belonged to has ended", self.why(path))

    def test_a_path_that_is_too_long(self) -> None:
        self.assertIn("path too long", self.why("/" + "x" * 200))

    async def test_what_answers_is_no_umd(self) -> None:
        for answer, words in ((b"HTTP/1.1 400\r\n", "cannot be reached"), (b"", "in the middle")):
            path = str(self.directory / f"c{len(answer)}.sock")
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.bind(path)
                stranger.listen()
                asked = deferToThread(self.why, path)
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
            self.why(path), f"umd cannot be reached at {path}: only {owner} can connect to it."
        )
