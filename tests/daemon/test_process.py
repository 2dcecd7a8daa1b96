"""The installed umd as a process, over real sockets: what a user and an operator meet."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.call.test_call_id import DOCUMENTED
from tests.helpers import tshark
from tests.soap.test_contract import canonical, disconnect
from umd.call.call_id import make_call_id
from umd.soap.namespaces import MESSAGES_PASTED
from umd.testing import UmdProcess

ROOT = Path(__file__).parents[2]
RESPONSE = (
    '<?xml version="1.0" encoding="utf-8"?><soap:Envelope'
    ' xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body>'
    '<DisconnectResponse xmlns="{}"/></soap:Body></soap:Envelope>'
)
PATH = "/EWS/UM2007Legacy.asmx"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"


def umd(*arguments: str, **keywords: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **keywords)


ACTIVATED = ("serve", "-o", "http.listen=systemd:domain=INET:index=0")


def as_systemd(taken: socket.socket) -> list[str]:
    """A command that hands a listening socket to the command after it."""
    return [
        sys.executable,
        "-c",
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='x')\n"
        "os.execv(sys.argv[2], sys.argv[2:])",
        str(taken.fileno()),
    ]


def umd_on(taken: socket.socket) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*as_systemd(taken), sys.executable, "-m", "umd", *ACTIVATED],
        capture_output=True,
        text=True,
        timeout=30,
        pass_fds=[taken.fileno()],
    )


def seeds(*numbers: str) -> str:
    """A configuration with a connected call to each number, named `seed-0`, `seed-1`, ..."""
    return "".join(
        f'[[backend.sim.seed]]\nnumber = "{number}"\ncall_id = "{seed_id(index)}"\n'
        for index, number in enumerate(numbers)
    )


def seed_id(index: int) -> str:
    return make_call_id(f"seed-{index}", "lab")


class ProcessCase(SynchronousTestCase):
    def configuration(self, text: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    @contextmanager
    def serving(self, text: str = "", *arguments: str, **keywords: Any) -> Iterator[UmdProcess]:
        file = self.configuration(text)
        with UmdProcess("serve", "-c", file, *arguments, **keywords) as process:
            yield process


class MainJobTests(ProcessCase):
    def test_the_documented_request_gets_the_documented_response(self) -> None:
        with UmdProcess("demo") as process:
            status, body, headers = process.disconnect(DOCUMENTED)
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended"))
            self.assertEqual(canonical(body), canonical(RESPONSE.format(MESSAGES).encode()))
            self.assertEqual(headers["Content-Type"], "text/xml; charset=utf-8")
            process.wait_for("soap.answered", outcome="ended", call=DOCUMENTED)
            self.assertEqual(len(process.events("call.disconnect-requested")), 1)
            ends = [e for e in process.events("call.disconnected") if e["call"] == DOCUMENTED]
            self.assertEqual([(e["confirmed"], e["sip_status"]) for e in ends], [(True, 200)])
            again = process.disconnect(DOCUMENTED)
            self.assertEqual(again[2]["X-UMD-Outcome"], "already-ended")
            self.assertEqual(again[1], body)

    def test_the_example_configuration_serves(self) -> None:
        with UmdProcess("serve", "-c", str(ROOT / "conf" / "umd.toml")) as process:
            status, body, _ = process.disconnect(DOCUMENTED, MESSAGES_PASTED)
            self.assertEqual(status, 200)
            self.assertEqual(canonical(body), canonical(RESPONSE.format(MESSAGES_PASTED).encode()))
            self.assertEqual(process.disconnect("nothing")[0], 500)

    def test_a_thousand_calls_by_fifty_clients_each_asked_three_times(self) -> None:
        """1,000 end events, 3,000 good replies; the three may come at once."""
        total = 1000
        with self.serving(seeds(*["5550100"] * total)) as process:
            asked = [seed_id(index) for index in range(total) for _ in range(3)]
            with ThreadPoolExecutor(50) as clients:
                outcomes = Counter(clients.map(self.client(process.url), asked))
            self.assertEqual(outcomes.total(), 3 * total)
            self.assertEqual(set(outcomes) - {(200, "ended"), (200, "already-ended")}, set())
            self.assertGreaterEqual(outcomes[200, "ended"], total)
            process.stop()
            ends = Counter(event["call"] for event in process.events("call.disconnected"))
            self.assertEqual(ends, Counter({seed_id(index): 1 for index in range(total)}))
            self.assertEqual(process.events("daemon.stopped")[0]["live_calls"], 0)

    def client(self, url: str) -> Any:
        """A keep-alive client for each thread, without the library's own pool of them."""
        import threading

        kept = threading.local()
        address = urlsplit(url)

        def ask(call_id: str) -> tuple[int, str | None]:
            if not hasattr(kept, "connection"):
                kept.connection = HTTPConnection(str(address.hostname), address.port, timeout=30)
            body = disconnect(call_id).encode()
            kept.connection.request("POST", address.path, body, {"Content-Type": "text/xml"})
            with kept.connection.getresponse() as reply:
                reply.read()
                return reply.status, reply.headers["X-UMD-Outcome"]

        return ask

    def test_a_far_end_that_never_answers(self) -> None:
        with self.serving(seeds("5550199"), "-o", "call.deadline=200ms") as process:
            status, body, headers = process.disconnect(seed_id(0))
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended-unconfirmed"))
            process.wait_for("call.disconnect-unconfirmed", call=seed_id(0))
            self.assertEqual(process.events("call.disconnected"), [])


class CommandTests(ProcessCase):
    def test_help_and_version(self) -> None:
        self.assertIn("umd demo", umd("--help").stdout)
        for command in ("serve", "demo", "check-config", "calls", "trace", "version"):
            self.assertIn("Example: umd " + command, umd(command, "--help").stdout)
        self.assertRegex(umd("version").stdout, r"^umd \d+\.\d+\.\d+(, core compiled)?\n$")

    def test_a_wrong_key_is_told_by_file_line_key_and_the_nearest_key(self) -> None:
        file = self.configuration('[http]\nlisen = "tcp:1"\n')
        for command in (("serve", "-c", file), ("check-config", file)):
            result = umd(*command)
            self.assertEqual(result.returncode, 2)
            first, last = result.stderr.splitlines()
            self.assertEqual(
                first, f"{file}:2: http.lisen is not a setting; did you mean http.listen?"
            )
            self.assertTrue(last.startswith("1 mistake; "), last)

    def test_a_good_file(self) -> None:
        file = str(ROOT / "conf" / "umd.toml")
        for arguments in ((file,), (file, "-o", "call.deadline=2s", "-o", "log.level=debug")):
            result = umd("check-config", *arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_an_override_that_would_not_serve(self) -> None:
        file = self.configuration('[call]\ndeadline = "1s"\n')
        digits = "1" * 5000
        for override, key in (("call.deadline=soon", "call.deadline"), (f"x={digits}", "digits")):
            for command in (("serve", "-c", file), ("check-config", file)):
                result = umd(*command, "-o", override)
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                first, last = result.stderr.splitlines()
                self.assertTrue(first.startswith(f"-o {override[:50]}"), first)
                self.assertIn(key, first)
                self.assertTrue(last.startswith("1 mistake; "), last)

    def test_a_file_without_a_name(self) -> None:
        for command in (("serve", "-c", ""), ("check-config", "")):
            result = umd(*command)
            self.assertEqual(result.returncode, 2)
            self.assertIn('"": expected the path of a configuration file\n', result.stderr)

    def test_a_socket_that_cannot_be_had(self) -> None:
        result = umd("serve", "-o", "http.listen=systemd:domain=INET:index=0")
        self.assertIn("systemd has handed over no such socket", result.stderr)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            result = umd("serve", "-o", f"http.listen={listen}")
        self.assertEqual(result.returncode, 1)
        line = json.loads(result.stderr.splitlines()[-1])
        self.assertEqual(line["event"], "daemon.cannot-start")
        self.assertIn(listen, line["why"])
        self.assertIn("in use", line["why"])
        self.assertNotIn("Traceback", result.stderr)

    def test_an_open_address_needs_to_be_asked_for(self) -> None:
        result = umd("serve", "-o", "http.listen=tcp:0")
        self.assertEqual(result.returncode, 2)
        self.assertIn("http.allow_anonymous", result.stderr)
        self.assertNotIn("daemon.ready", result.stderr)

    def test_an_open_socket_of_systemd_needs_to_be_asked_for(self) -> None:
        """What it is bound to shows only when it is there."""
        with socket.create_server(("0.0.0.0", 0)) as taken:
            result = umd_on(taken)
        self.assertEqual(result.returncode, 1)
        self.assertIn("http.allow_anonymous", result.stderr)

    def test_a_unix_socket(self) -> None:
        path = os.path.join("/tmp", f"umd-test-{os.getpid()}.sock")
        self.addCleanup(Path(path).unlink, missing_ok=True)
        with UmdProcess("serve", "-o", f"http.listen=unix:{path}"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                self.assertTrue(client.recv(100).startswith(b"HTTP/1.1 200 "))


class DemoTests(ProcessCase):
    def test_the_screen_shows_calls_and_a_command_that_works(self) -> None:
        """The printed curl line is run as it is printed."""
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        command = [sys.executable, "-m", "umd", "demo", "-o",
                   "http.listen=tcp:0:interface=127.0.0.1",
                   "-o", f"control.socket={directory.name}/c.sock"]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        screen: list[str] = []
        while not screen or screen[-1] != "X\n":
            screen.append(process.stdout.readline())
        text = "".join(screen)
        self.assertIn("09df9edc", text)
        self.assertIn("never answers BYE", text)
        at = next(index for index, line in enumerate(screen) if line.startswith("  curl "))
        ran = subprocess.run(["sh"], input="".join(screen[at:]), capture_output=True, text=True)
        self.assertIn("HTTP/1.1 200 OK", ran.stdout, ran)
        self.assertIn("DisconnectResponse", ran.stdout)
        while not (line := process.stdout.readline()).startswith("  " + sys.executable):
            self.assertTrue(line)
        ran = subprocess.run(["sh"], input=line, capture_output=True, text=True)
        self.assertIn("- BYE -", ran.stdout, ran)
        process.send_signal(signal.SIGINT)
        story = process.communicate(timeout=30)[0]
        self.assertIn("09df9edc  Disconnect asked by anonymous", story)
        self.assertRegex(story, r"09df9edc  200 after \d+ ms: ended, normal clearing \(16\)")
        self.assertEqual(process.returncode, 0)

    def test_the_screen_does_not_depend_on_the_level_of_the_log(self) -> None:
        """Finding 31: `umd demo -o log.level=warning` showed no story."""
        with Bare("demo", "-o", "log.level=warning") as demo:
            demo.ready()
            self.assertEqual(demo.disconnect(), 200)
            self.assertEqual(demo.stop(), 0)
            assert demo.process.stdout is not None and demo.process.stderr is not None
            self.assertIn(b"Disconnect asked by anonymous", demo.process.stdout.read())
            self.assertEqual(demo.process.stderr.read(), b"")

    def test_a_screen_that_nobody_looks_at_any_more(self) -> None:
        """Finding 13: `umd demo | head -1` ended with exit status 120."""
        with Bare("demo") as demo:
            assert demo.process.stdout is not None
            self.assertIn(b"umd ", demo.process.stdout.readline())
            demo.process.stdout.close()
            demo.ready()
            self.assertEqual(demo.disconnect(), 200)
            self.assertEqual(demo.stop(signal.SIGINT), 0)

    def test_a_screen_that_cannot_be_written_to(self) -> None:
        for redirection in (">/dev/full", ">&-"):
            with Bare("demo", shell=redirection) as demo:
                demo.ready()
                self.assertEqual(demo.disconnect(), 200)
                self.assertEqual(demo.stop(), 0, redirection)


class LogPipeTests(ProcessCase):
    """Whatever becomes of standard error, calls are ended and the exit status is 0."""

    def test_nobody_reads_it(self) -> None:
        """Finding 4: once the pipe was full, the reactor stood still for ever."""
        with Bare("demo") as demo:
            assert demo.process.stderr is not None
            fcntl.fcntl(demo.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
            demo.ready()
            for _ in range(100):
                self.assertEqual(demo.disconnect("x" * 300), 500)
            self.assertEqual(demo.disconnect(), 200)
            demo.process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in demo.process.stderr]
            self.assertEqual(demo.process.wait(30), 0)
            events = Counter(line["event"] for line in lines)
            self.assertEqual((events["soap.answered"], events["log.lost"]), (101, 0))
            self.assertEqual(lines[-1]["event"], "daemon.stopped")

    def test_it_is_closed_full_or_gone(self) -> None:
        """Finding 13: the flush at the end made exit status 120 of it."""
        for redirection in ("2>&-", "2>/dev/full", "2>&- >&- <&-"):
            with Bare("serve", shell=redirection) as serve:
                serve.ready()
                self.assertEqual(serve.disconnect("x"), 500)
                self.assertEqual(serve.stop(), 0, redirection)

    def test_a_refusal_that_nobody_reads(self) -> None:
        for redirection in ("2>&-", "2>/dev/full"):
            with Bare("serve", "-o", "nothing=1", shell=redirection) as serve:
                self.assertEqual(serve.process.wait(30), 2, redirection)

    def test_its_reader_goes_away(self) -> None:
        with Bare("serve") as serve:
            serve.ready()
            assert serve.process.stderr is not None
            serve.process.stderr.close()
            self.assertEqual(serve.disconnect("x"), 500)
            self.assertEqual(serve.stop(), 0)


class Bare:
    """
    A umd whose standard streams are the test's affair; it buffers as Python does by default.

    It listens on a unix socket, and tells that it is ready as it tells systemd.

    Args:
        arguments: of the command.
        shell: redirections, as `sh` writes them.
    """

    def __init__(self, *arguments: str, shell: str = "") -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="umd-test-", dir="/tmp")
        self._path = os.path.join(self._directory.name, "http")
        self._states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._states.settimeout(30)
        self._states.bind(os.path.join(self._directory.name, "notify"))
        environ = {**os.environ, "NOTIFY_SOCKET": self._states.getsockname()}
        environ.pop("PYTHONUNBUFFERED", None)
        command = [sys.executable, "-m", "umd", *arguments]
        command += ["-o", f"http.listen=unix:{self._path}", "-o", "control.socket=none"]
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {shell}', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
        )

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self._states.close()
        self._directory.cleanup()

    def ready(self) -> None:
        while not self._states.recv(1000).startswith(b"READY=1"):
            pass

    def disconnect(self, call_id: str = DOCUMENTED) -> int:
        """Ask for the end of a call; gives back the HTTP status."""
        connection = HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        with closing(connection):
            connection.sock.settimeout(30)
            connection.sock.connect(self._path)
            headers = {"Content-Type": "text/xml"}
            connection.request("POST", PATH, disconnect(call_id).encode(), headers)
            return connection.getresponse().status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


class ClientCommandTests(ProcessCase):
    """`umd calls` and `umd trace`, as a user runs them beside a daemon."""

    def ask(self, process: UmdProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
        return umd(*arguments, "--socket", process.control_socket)

    def steps(self, process: UmdProcess, call: str) -> list[dict[str, Any]]:
        lines = self.ask(process, "trace", call, "--json").stdout.splitlines()
        return [json.loads(line) for line in lines]

    def leg_to(self, process: UmdProcess, number: str) -> dict[str, Any]:
        resumed = process.wait_for("call.resumed", number=number)
        return {"id": resumed["call"], "leg": resumed["leg"]}

    def test_the_story_of_the_documented_call(self) -> None:
        with UmdProcess("demo") as process:
            listed = self.ask(process, "calls")
            self.assertEqual(listed.stdout.splitlines()[0].split()[:3], ["CALL", "OWNER", "TO"])
            self.assertIn("  09df9edc   -       +1 555 0100   connected", listed.stdout)
            as_json = self.ask(process, "calls", "--json").stdout.splitlines()
            self.assertIn(DOCUMENTED, [json.loads(line)["id"] for line in as_json])
            process.disconnect(DOCUMENTED)
            ladder = self.ask(process, "trace", "09df")
            self.assertEqual((ladder.returncode, ladder.stderr), (0, ""))
            title, began, _, ends, *arrows = ladder.stdout.splitlines()
            self.assertTrue(title.startswith("09df9edc-4e23-4709-bdaf-7be20cb0ae56   to +1 555 01"))
            self.assertRegex(began, r"^backend sim, first message at 2\S+Z, \d+s ago$")
            self.assertEqual(ends.split(), ["umd.sim:5060", "far.sim:5060"])
            self.assertEqual(
                [" ".join(arrow.strip("|<> -") for arrow in line.split()[1:] if arrow.strip("|<>-"))
                 for line in arrows],
                ["INVITE (SDP)", "200 OK (INVITE, SDP)", "ACK", "BYE", "200 OK (BYE)"],
            )  # fmt: skip
            self.assertNotIn("\x1b", ladder.stdout)
            self.assertNotIn("retransmission", ladder.stdout)
            self.assertNotIn("09df9edc", self.ask(process, "calls").stdout)

    def test_a_call_that_rings_before_it_is_answered(self) -> None:
        with UmdProcess("demo") as process:
            leg = self.leg_to(process, "+1 555 0120")["leg"]
            process.wait_for("call.connected", leg=leg)
            steps = self.steps(process, leg)
            self.assertEqual(
                [step["method"] or step["status"] for step in steps], ["INVITE", 180, 200, "ACK"]
            )

    def test_a_far_end_that_is_silent_to_bye(self) -> None:
        """The repeated BYE is marked, in the ladder and in the eyes of tshark."""
        with UmdProcess("demo", "-o", "call.deadline=50ms") as process:
            call = self.leg_to(process, "+1 555 0199")
            self.assertEqual(process.disconnect(call["id"])[0], 200)
            for _ in range(500):
                if any(step["retransmission"] for step in self.steps(process, call["leg"])):
                    break
            ladder = self.ask(process, "trace", call["leg"]).stdout.splitlines()
            byes = [line for line in ladder if "- BYE -" in line]
            self.assertNotIn("retransmission", byes[0])
            self.assertTrue(byes[1].endswith("|  retransmission 1"), byes)
            overdue = self.ask(process, "calls").stdout
            marked = f"\n! {call['leg'][:8]} .* ending .* sim       unconfirmed 0:\\d\\d\n"
            self.assertRegex(overdue, marked)
            file = str(Path(self.mktemp()).absolute())
            written = self.ask(process, "trace", call["leg"], "--pcap", file)
            self.assertIn(f"messages in {file}: wireshark {file}, or sngrep -I", written.stdout)
        fields = ("ip.src", "ip.dst", "sip.Method", "sip.Status-Code", "sip.Call-ID", "sip.resend",
                  "sdp.media", "ip.checksum.status", "udp.checksum.status")  # fmt: skip
        wanted = [argument for field in fields for argument in ("-e", field)]
        found = tshark("-r", file, "-Y", "sip", "-T", "fields", *wanted)
        us, them, leg, audio = "192.0.2.1", "192.0.2.2", call["leg"], "audio 4000 RTP/AVP 0 8 101"
        self.assertEqual(
            found[:5],
            [
                [us, them, "INVITE", "", leg, "0", audio, "1", "1"],
                [them, us, "", "200", leg, "0", audio, "1", "1"],
                [us, them, "ACK", "", leg, "0", "", "1", "1"],
                [us, them, "BYE", "", leg, "0", "", "1", "1"],
                [us, them, "BYE", "", leg, "1", "", "1", "1"],
            ],
        )

    def test_a_capture_file_through_a_pipe(self) -> None:
        with UmdProcess("demo") as process:
            command = [sys.executable, "-m", "umd", "trace", "09df", "--pcap", "-"]
            command += ["--socket", process.control_socket]
            written = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(written[:4], b"\xd4\xc3\xb2\xa1")
        self.assertIn(b"INVITE sip:5550100@far.sim SIP/2.0\r\n", written)

    def test_exit_status_and_what_to_do(self) -> None:
        with self.serving(seeds("5550100", "5550100")) as process:
            nothing = self.ask(process, "trace", "nope")
            self.assertEqual(nothing.returncode, 1)
            self.assertEqual(
                nothing.stderr, "no call begins with 'nope'; `umd calls` lists the live ones\n"
            )
            ambiguous = self.ask(process, "trace", "seed")
            self.assertEqual((ambiguous.returncode, ambiguous.stdout), (1, ""))
            first, *candidates = ambiguous.stderr.splitlines()
            self.assertEqual(first, "2 calls begin with 'seed'; which one?")
            self.assertEqual(
                [line.split() for line in candidates],
                [[f"seed-{n}", "5550100", "connected", seed_id(n)] for n in range(2)],
            )
            both = self.ask(process, "trace", "seed-1", "--json", "--pcap", "-")
            self.assertEqual(both.returncode, 2)
            unwritable = self.ask(process, "trace", "seed-1", "--pcap", "/nowhere/call.pcap")
            self.assertEqual(unwritable.returncode, 2)
            self.assertIn("/nowhere/call.pcap cannot be written: No such", unwritable.stderr)
        gone = self.ask(process, "calls")
        self.assertEqual(gone.returncode, 3)
        self.assertIn("Start one with `umd serve` or `umd demo`", gone.stderr)

    def test_nothing_is_kept_where_nothing_shall_be(self) -> None:
        with self.serving(seeds("5550100"), "-o", "trace.messages=0") as process:
            result = self.ask(process, "trace", "seed-0")
            self.assertEqual(result.returncode, 1)
            self.assertIn("trace.messages = 0", result.stderr)

    def test_what_is_not_kept_any_more_is_said(self) -> None:
        with self.serving(seeds("5550100"), "-o", "trace.messages=2") as process:
            result = self.ask(process, "trace", "seed-0")
            self.assertIn("what crossed before it is not kept any more", result.stdout)
            self.assertNotIn("INVITE (SDP)", result.stdout)

    def test_a_daemon_of_this_user_is_found_without_a_path(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="umd-test-")
        self.addCleanup(directory.cleanup)
        environ = {**os.environ, "XDG_RUNTIME_DIR": directory.name}
        with UmdProcess("demo", "-o", "control.socket=auto", environ=environ) as process:
            self.assertEqual(process.control_socket, f"{directory.name}/umd/control.sock")
            self.assertIn("09df9edc", umd("calls", env=environ).stdout)
            self.assertEqual(umd("trace", "09df", env=environ).returncode, 0)
            second = umd("demo", "-o", "http.listen=tcp:0:interface=127.0.0.1", env=environ)
            self.assertEqual(second.returncode, 1)
            holder = f"another umd serves there (process {process.process.pid})"
            self.assertIn(holder, second.stderr)
            process.stop(signal.SIGKILL)
        with UmdProcess("demo", "-o", "control.socket=auto", environ=environ):
            self.assertIn("09df9edc", umd("calls", env=environ).stdout)
        self.assertEqual(os.listdir(f"{directory.name}/umd"), [])

    def test_without_a_control_socket(self) -> None:
        with self.serving("", "-o", "control.socket=none") as process:
            self.assertEqual(process.control_socket, "")


class OperatorTests(ProcessCase):
    def test_sigterm_answers_what_was_asked_and_refuses_nothing_half_done(self) -> None:
        """A Disconnect in flight is answered while umd stops; exit status 0."""
        with self.serving(seeds("5550100"), "-o", "backend.sim.delay=1s") as process:
            with ThreadPoolExecutor(1) as client:
                asked = client.submit(process.disconnect, seed_id(0))
                process.wait_for("call.disconnect-requested")
                self.assertEqual(process.stop(), 0)
                status, _, headers = asked.result()
            self.assertEqual((status, headers["X-UMD-Outcome"]), (200, "ended"))
            self.assertEqual(headers["Connection"], "close")
            self.assertEqual(process.log[-1]["event"], "daemon.stopped")

    def test_everybody_who_asked_is_answered_by_a_stop(self) -> None:
        """Twenty Disconnects in flight: each answer leaves whole, and is the last one."""
        text = seeds(*["5550100"] * 20)
        with self.serving(text, "-o", "backend.sim.delay=500ms") as process:
            with ThreadPoolExecutor(20) as clients:
                asked = [clients.submit(process.disconnect, seed_id(n)) for n in range(20)]
                for n in range(20):
                    process.wait_for("call.disconnect-requested", call=seed_id(n))
                self.assertEqual(process.stop(), 0)
                answers = [one.result() for one in asked]
        self.assertEqual({answer[2]["X-UMD-Outcome"] for answer in answers}, {"ended"})
        self.assertEqual({answer[2]["Connection"] for answer in answers}, {"close"})

    def test_who_still_waits_at_the_deadline_is_told_to_ask_again(self) -> None:
        with self.serving(seeds("5550199"), "-o", "drain.deadline=200ms") as process:
            with ThreadPoolExecutor(1) as client:
                asked = client.submit(process.disconnect, seed_id(0))
                process.wait_for("call.disconnect-requested")
                self.assertEqual(process.stop(), 0)
                status, _, headers = asked.result()
        self.assertEqual((status, headers["X-UMD-Outcome"]), (500, "backend-unavailable"))

    def test_two_signals_at_once_are_one_clean_stop(self) -> None:
        with self.serving() as process:
            process.process.send_signal(signal.SIGTERM)
            self.assertEqual(process.stop(signal.SIGINT), 0)
            self.assertEqual(process.events("daemon.failed"), [])

    def test_the_drain_has_a_deadline_and_a_second_signal_ends_it(self) -> None:
        arguments = ("-o", "drain.deadline=300ms", "-o", "call.deadline=100ms")
        with self.serving(seeds("5550199"), *arguments) as process:
            process.disconnect(seed_id(0))
            self.assertEqual(process.stop(), 0)
            process.wait_for("daemon.drain-expired")
        with self.serving(seeds("5550199"), "-o", "call.deadline=100ms") as process:
            process.disconnect(seed_id(0))
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("daemon.stopping")
            self.assertEqual(process.stop(), 0)
            self.assertEqual(process.events("daemon.drain-expired"), [])

    def test_reload_takes_over_what_it_can_and_refuses_what_is_wrong(self) -> None:
        with self.serving('[call]\nended_is = "success"\n' + seeds("5550100")) as process:
            file = Path(process._command[process._command.index("-c") + 1])
            process.disconnect(seed_id(0))
            self.assertEqual(process.disconnect(seed_id(0))[0], 200)
            file.write_text("[call]\nended_iz = 1\n")
            process.process.send_signal(signal.SIGHUP)
            refused = process.wait_for("config.refused")
            self.assertEqual(
                refused["mistakes"],
                [f"{file}:2: call.ended_iz is not a setting; did you mean call.ended_is?"],
            )
            self.assertEqual(process.disconnect(seed_id(0))[0], 200)
            file.write_text(
                'node = "other"\n[call]\nended_is = "fault"\n[trace]\nmessages = 1\n'
            )
            process.process.send_signal(signal.SIGHUP)
            process.wait_for("config.reloaded")
            restart = process.wait_for("config.needs-restart")["keys"]
            self.assertEqual(restart, ["node", "backend", "trace"])
            self.assertEqual(process.disconnect(seed_id(0))[0], 500)

    def test_systemd_is_told_everything(self) -> None:
        """Readiness after the listener is open, the watchdog fed, reload, stopping."""
        name = f"umd-notify-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name)
            listener.settimeout(10)
            environ = {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "100000"}
            with self.serving(environ=environ) as process:
                heard = self.hear(listener, "READY=1")
                self.assertIn("STATUS=serving 127.0.0.1:", heard)
                self.assertEqual(process.disconnect("x")[0], 500)
                self.hear(listener, "WATCHDOG=1")
                process.process.send_signal(signal.SIGHUP)
                self.assertIn("MONOTONIC_USEC=", self.hear(listener, "RELOADING=1"))
                self.hear(listener, "READY=1")
                process.process.send_signal(signal.SIGTERM)
                self.hear(listener, "STOPPING=1")

    def test_a_refused_reload_looks_like_none_that_is_done(self) -> None:
        """systemd knows no reload that failed; STATUS= is what `systemctl status` shows."""
        name = f"umd-reload-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name)
            listener.settimeout(10)
            with self.serving(environ={"NOTIFY_SOCKET": "@" + name}) as process:
                self.hear(listener, "READY=1")
                file = Path(process._command[process._command.index("-c") + 1])
                for text, state, words in (
                    ("[cal]\n", "refused", f"{file}:1: cal is not a setting"),
                    ("[prompts]\nfolder = '/no\\nwhere'\n", "refused", "prompts.folder"),
                    ("", "done", "STATUS=serving 127.0.0.1:"),
                ):
                    file.write_text(text)
                    process.process.send_signal(signal.SIGHUP)
                    self.hear(listener, "RELOADING=1")
                    heard = self.hear(listener, "READY=1")
                    self.assertIn(words, heard)
                    self.assertEqual("STATUS=reload refused at" in heard, state == "refused")
                    self.assertEqual(len(heard.split("\n")), 2, heard)
                    told = umd("status", "--json", "--socket", process.control_socket).stdout
                    self.assertEqual(json.loads(told)["last_reload"], state)

    def hear(self, listener: socket.socket, state: str) -> str:
        while True:
            heard = listener.recv(1000).decode()
            if state in heard.split("\n"):
                return heard

    def test_socket_activation(self) -> None:
        """The socket is systemd's; umd serves on it and leaves it to systemd."""
        with ExitStack() as stack:
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            process = stack.enter_context(
                UmdProcess(*ACTIVATED, launcher=as_systemd(taken), pass_fds=[taken.fileno()])
            )
            self.assertIn(f":{taken.getsockname()[1]}/", process.url)
            self.assertEqual(process.disconnect("x")[0], 500)

    def test_twisted_logs_through_the_same_pipe(self) -> None:
        with self.serving("", "-o", "log.level=debug") as process:
            process.wait_for("twisted.said")
        self.assertEqual(process.events("not-json"), [])
