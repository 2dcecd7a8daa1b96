"""Socket activation: umd serves the sockets that systemd passes to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from umd.runtime.systemd import UNNAMED, read_listen_variables
from umd.testing import UmdProcess

LAUNCHER = """
import fcntl, json, os, sys
sockets, environ = json.loads(sys.argv[1])
high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in sockets]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.closerange(3 + len(high), 256)
for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
    os.environ.pop(name, None)
os.environ.update({name: value.replace("ME", str(os.getpid())) for name, value in environ.items()})
os.execv(sys.argv[2], sys.argv[2:])
"""
NO_SOCKET = "systemd has passed no such socket"


def passing(listening: Sequence[socket.socket], environ: dict[str, str]) -> list[str]:
    """Return a command that passes sockets to the next one; ME stands for its process id."""
    arguments = json.dumps([[sock.fileno() for sock in listening], environ])
    return [sys.executable, "-c", LAUNCHER, arguments]


def environ(count: str, **more: str) -> dict[str, str]:
    return {"LISTEN_PID": "ME", "LISTEN_FDS": count, **more}


class ListenVariablesTests(SynchronousTestCase):
    """Reading LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES; any open descriptor counts as a socket."""

    def names(self, **variables: str) -> list[str]:
        sockets = read_listen_variables({"LISTEN_PID": "7", **variables}, 7)
        return [found.name for found in sockets]

    def test_names_are_optional(self) -> None:
        for _ in range(4):  # at least two descriptors are open then
            self.addCleanup(os.close, os.open("/", os.O_RDONLY))
        for names, read in (
            (None, [UNNAMED, UNNAMED]),
            ("", [UNNAMED, UNNAMED]),
            ("a", ["a", UNNAMED]),
            ("a:b", ["a", "b"]),
            ("a:b:c", ["a", "b"]),
            (":b", [UNNAMED, "b"]),
            ("a:", ["a", UNNAMED]),
            (":::::", [UNNAMED, UNNAMED]),
        ):
            given = {} if names is None else {"LISTEN_FDNAMES": names}
            self.assertEqual(self.names(LISTEN_FDS="2", **given), read, names)

    def test_an_invalid_count(self) -> None:
        for count in ("", "0", "-1", "+1", " 1", "1 ", "1.0", "0x1", "one", "\u0661", "1\n"):
            self.assertEqual(self.names(LISTEN_FDS=count), [], repr(count))

    def test_a_count_larger_than_the_open_descriptors(self) -> None:
        """The list ends at the first descriptor that is not open, whatever the count."""
        there = len(self.names(LISTEN_FDS="1000"))
        for count in ("999999", "99999999999999999999", "9" * 5000):
            self.assertEqual(len(self.names(LISTEN_FDS=count)), there, count[:20])

    def test_sockets_for_another_process(self) -> None:
        for listen_pid in ("", "8", "07", " 7", "7x", "-7"):
            self.assertEqual(self.names(LISTEN_PID=listen_pid, LISTEN_FDS="1"), [], listen_pid)

    def test_the_variables_are_removed_from_the_environment(self) -> None:
        for pid in ("7", "8"):
            variables = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "HOME": "/"}
            read_listen_variables(variables, 7)
            self.assertEqual(variables, {"HOME": "/"})

    def test_children_do_not_inherit_the_descriptors(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        os.set_inheritable(writer, True)
        read_listen_variables({"LISTEN_PID": "7", "LISTEN_FDS": str(writer)}, 7)
        self.assertFalse(os.get_inheritable(writer))


class ActivationCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)

    def listener(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Any:
        taken = socket.socket(family, kind)
        self.addCleanup(taken.close)
        if family == socket.AF_UNIX:
            taken.bind(str(self.folder / "http.sock"))
        else:
            taken.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        return taken

    def serving(
        self, listen: str, taken: Sequence[socket.socket], variables: dict[str, str], *more: str
    ) -> UmdProcess:
        return UmdProcess(
            "serve", "-o", f"http.listen={listen}", *more,
            launcher=passing(taken, variables),
            pass_fds=[sock.fileno() for sock in taken],
        )  # fmt: skip

    def served(self, address: Any, family: int = socket.AF_INET) -> int:
        """Return the HTTP status of a request to an address."""
        connection = HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(family)
        with closing(connection):
            connection.sock.settimeout(30)
            connection.sock.connect(address)
            connection.request("GET", "/EWS/UM2007Legacy.asmx?wsdl")
            return connection.getresponse().status

    def refused(
        self, listen: str, taken: Sequence[socket.socket], variables: dict[str, str]
    ) -> str:
        """Return why umd does not start; it logs one line."""
        command = [*passing(taken, variables), sys.executable, "-m", "umd", "serve"]
        command += ["-o", f"http.listen={listen}", "-o", "control.socket=none"]
        ran = subprocess.run(
            command, capture_output=True, timeout=30, pass_fds=[sock.fileno() for sock in taken]
        )
        self.assertEqual((ran.returncode, ran.stdout), (1, b""), ran.stderr)
        (line,) = map(json.loads, ran.stderr.splitlines())
        self.assertEqual(line["event"], "daemon.cannot-start")
        return str(line["why"])


class ServedTests(ActivationCase):
    """umd serves sockets that it gets as sd_listen_fds(3) describes."""

    def test_without_names(self) -> None:
        taken = self.listener()
        with self.serving("systemd:domain=INET:index=0", [taken], environ("1")):
            self.assertEqual(self.served(taken.getsockname()), 200)

    def test_by_index_and_by_name(self) -> None:
        """One socket is named by its index, the other by its name; one is IPv4, the other IPv6."""
        four, six = self.listener(), self.listener(socket.AF_INET6)
        variables = environ("2", LISTEN_FDNAMES="first:second")
        for listens in (
            ["systemd:domain=INET:index=0", "systemd:domain=INET6:name=second"],
            ["systemd:INET6:1", "systemd:domain=INET:name=first"],
        ):
            with self.serving(json.dumps(listens), [four, six], variables) as process:
                self.assertEqual(self.served(four.getsockname()), 200)
                self.assertEqual(self.served(six.getsockname(), socket.AF_INET6), 200)
                self.assertEqual(process.events("http.socket-not-served"), [])

    def test_all_sockets_of_a_name(self) -> None:
        """A unit with two lines ListenStream= gives both the same name."""
        taken = [self.listener(), self.listener()]
        variables = environ("2", LISTEN_FDNAMES="umd.socket:umd.socket")
        with self.serving("systemd:domain=INET:name=umd.socket", taken, variables):
            for listening in taken:
                self.assertEqual(self.served(listening.getsockname()), 200)

    def test_a_unix_socket_stays_as_systemd_made_it(self) -> None:
        taken = self.listener(socket.AF_UNIX)
        path = taken.getsockname()
        os.chmod(path, 0o600)
        with self.serving("systemd:domain=UNIX:index=0", [taken], environ("1")):
            self.assertEqual(self.served(path, socket.AF_UNIX), 200)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        # A client that connects while umd restarts waits, and is served.
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(path)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with self.serving("systemd:domain=UNIX:index=0", [taken], environ("1")):
                client.settimeout(30)
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 "))

    def test_a_socket_that_no_endpoint_serves_is_logged(self) -> None:
        taken = [self.listener(), self.listener()]
        variables = environ("2", LISTEN_FDNAMES="umd:other")
        with self.serving("systemd:domain=INET:index=0", taken, variables) as process:
            event = process.wait_for("http.socket-not-served")
            self.assertEqual((event["index"], event["name"]), (1, "other"))

    def test_children_inherit_no_descriptor(self) -> None:
        taken = self.listener()
        listen = "systemd:domain=INET:index=0"
        with self.serving(listen, [taken], environ("1", LISTEN_FDNAMES="a")) as process:
            descriptors = Path(f"/proc/{process.process.pid}/fdinfo")
            flags = {
                int(file.name): int(file.read_text().split("flags:")[1].split()[0], 8)
                for file in descriptors.iterdir()
            }
            inherited = [number for number, flag in flags.items() if not flag & os.O_CLOEXEC]
            self.assertEqual(set(inherited) - {0, 1, 2}, set())


class RefusedTests(ActivationCase):
    """umd does not start with a socket that it cannot serve, and logs why in one line."""

    def test_no_socket_for_this_process(self) -> None:
        taken = [self.listener()]
        listen = "systemd:domain=INET:index=0"
        for variables in (
            {},
            {"LISTEN_PID": "ME"},
            {"LISTEN_FDS": "1"},
            {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
            environ("some"),
            environ("0"),
        ):
            self.assertIn(NO_SOCKET, self.refused(listen, taken, variables), variables)

    def test_an_index_or_name_that_does_not_exist(self) -> None:
        taken = [self.listener()]
        variables = environ("99999999", LISTEN_FDNAMES="umd")
        for which in ("index=1", "index=999999", "name=other"):
            why = self.refused(f"systemd:domain=INET:{which}", taken, variables)
            self.assertIn("no such socket; there is: 0 'umd'", why, which)

    def test_a_descriptor_that_is_no_listening_stream_socket(self) -> None:
        quiet = socket.socket()
        self.addCleanup(quiet.close)
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        file = socket.socket(fileno=os.dup(self.listener().fileno()))
        self.addCleanup(file.close)
        with open("/dev/null", "rb") as null:
            os.dup2(null.fileno(), file.fileno())
        for taken, domain, words in (
            (self.listener(kind=socket.SOCK_DGRAM), "INET", "needs ListenStream="),
            (quiet, "INET", "nothing listens on it; the unit needs Accept=no"),
            (near, "UNIX", "nothing listens on it"),
            (file, "INET", "is not a socket"),
            (self.listener(socket.AF_INET6), "INET", "it is of domain INET6; write domain=INET6"),
            (self.listener(socket.AF_UNIX), "INET6", "write domain=UNIX"),
        ):
            why = self.refused(f"systemd:domain={domain}:index=0", [taken], environ("1"))
            self.assertIn(words, why)

    def test_one_socket_for_two_endpoints(self) -> None:
        listen = "systemd:domain=INET:index=0"
        why = self.refused(json.dumps([listen, listen]), [self.listener()], environ("1"))
        self.assertIn("another endpoint serves this socket already", why)


class SystemdTests(ActivationCase):
    """umd under systemd-socket-activate(1), in each of its modes."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("systemd-socket-activate") is None:
            if os.environ.get("CI"):
                self.fail("systemd-socket-activate is missing; install systemd")
            raise SkipTest("systemd-socket-activate is missing; install systemd")

    def activate(self, *options: str, listen: str) -> subprocess.Popen[bytes]:
        command = ["systemd-socket-activate", *options, sys.executable, "-m", "umd", "serve"]
        command += ["-o", f"http.listen={listen}", "-o", "control.socket=none"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)  # type: ignore[union-attr]
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stderr is not None
        while b"Listening on" not in (line := process.stderr.readline()):
            self.assertTrue(line, "it does not listen")
        return process

    def free_port(self, family: int = socket.AF_INET) -> int:
        with socket.socket(family) as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def test_ports(self) -> None:
        for host, family in (("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)):
            domain = "INET6" if family == socket.AF_INET6 else "INET"
            for options, which in (
                ((), "index=0"),
                (("--fdname=umd",), "index=0"),
                (("--fdname=umd",), "name=umd"),
                (("--fdname=umd:more",), "name=umd"),
            ):
                port = self.free_port(family)
                listen = f"systemd:domain={domain}:{which}"
                process = self.activate("-l", f"{host}:{port}", *options, listen=listen)
                self.assertEqual(self.served((host.strip("[]"), port), family), 200, options)
                process.terminate()
                self.assertEqual(process.wait(30), 0)

    def test_a_unix_socket(self) -> None:
        path = str(self.folder / "activated.sock")
        self.activate("-l", path, listen="systemd:domain=UNIX:index=0")
        self.assertEqual(self.served(path, socket.AF_UNIX), 200)

    def test_datagrams_and_connections_are_refused(self) -> None:
        for option, words in (("--datagram", b"ListenStream="), ("--accept", b"Accept=no")):
            port = self.free_port()
            kind = socket.SOCK_DGRAM if option == "--datagram" else socket.SOCK_STREAM
            listen = "systemd:domain=INET:index=0"
            process = self.activate(option, "-l", f"127.0.0.1:{port}", listen=listen)
            with socket.socket(type=kind) as client:
                client.connect(("127.0.0.1", port))
                client.send(b"x")
                assert process.stderr is not None
                while b"daemon.cannot-start" not in (line := process.stderr.readline()):
                    self.assertTrue(line)
            self.assertIn(words, line)
