"""The commands do what docs/commands.md promises: exit statuses, JSON, broken streams."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tests.daemon.processes import seeds
from tests.helpers import restored_signal_handlers, side_by_side
from tests.lab.planting import PlantingCase
from umd.cli.exit_status import (
    INTERRUPTED,
    OUTPUT_LOST,
    READER_GONE,
    STATUS_BY_ERROR_KIND,
    UNREACHABLE,
)
from umd.cli.main import main
from umd.control.registry import Registry
from umd.journal.file import JournalFile
from umd.journal.paths import COMPACTING_SUFFIX
from umd.management.client import ask
from umd.sip.session import CallerSession
from umd.testing import UmdProcess

ROOT = Path(__file__).parents[2]
UMD = (sys.executable, "-m", "umd")
NOWHERE = ("--socket", "/nowhere/control.sock")
STORY = "pair witness ok-and-nothing-done appears+3 disconnect+0"
CROSSES = str(ROOT / "examples" / "lab" / "answer-crosses-cancel.toml")
DAEMONS = ("serve", "demo")

CALL = {
    "id": "aWQ=", "leg": "leg-1", "to": "5550100", "state": "disconnected", "backend": "sim",
    "owner": "", "began_at": "2026-01-01T00:00:00Z", "asked_at": None,
    "ended_at": "2026-01-01T00:00:01Z", "overdue": False,
}  # fmt: skip


def commands(group: click.Group = main, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, such as `("call", "end")`."""
    for name, command in group.commands.items():
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*before, name))


def documented() -> dict[tuple[str, int], str]:
    """Return the table of docs/commands.md: by command and status, the reason for it."""
    text = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| (`[a-z -]+`|any|any but .*?) \| (\d+) \| (.*) \|$", text, re.M)
    return {(command.strip("`"), int(status)): when for command, status, when in rows}


def run(*arguments: str, shell: str = "", **keywords: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; `shell` has redirections as `sh` writes them."""
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *UMD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **keywords)


@contextmanager
def scripted(*replies: Mapping[str, Any], end: bool = True) -> Iterator[str]:
    """
    Serve a control socket that gives the same replies to any request; yield its path.

    Args:
        end: whether it closes the connection after the replies; if not, it waits for the client.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="umd-test-"))
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"{directory}/c.sock")
        listener.listen()
        octets = b"".join(json.dumps(reply).encode() + b"\n" for reply in replies)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, connection.makefile("rb") as requests:
                    requests.readline()
                    connection.sendall(octets)
                    if not end:
                        requests.read()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{directory}/c.sock"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def end_reply(outcome: str, confirmed: bool) -> dict[str, Any]:
    return {"end": {**CALL, "was": "disconnected", "outcome": outcome, "confirmed": confirmed}}


SELECTED = {"selected": {"count": 1, "partners": 0, "protected": 0}}


def result(outcome: str, *, confirmed: bool) -> dict[str, Any]:
    return {"result": {**CALL, "outcome": outcome, "confirmed": confirmed, "why": "a reason"}}


DONE_REPLY = {"done": {"count": 1}}


class StatusTableTests(PlantingCase):
    """Each row of the table of exit statuses is true."""

    def lab(self, *arguments: str) -> int:
        """Run a command of the lab in this process, where a fault can be planted."""
        return self.here("lab", *arguments)

    def here(self, *arguments: str) -> int:
        """Run a command in this process: much cheaper than a process of its own."""
        with restored_signal_handlers():
            return CliRunner().invoke(main, arguments).exit_code

    def file(self, text: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    def asked(self, *arguments: str, replies: Sequence[Mapping[str, Any]]) -> int:
        with scripted(*replies, DONE_REPLY) as path:
            return run(*arguments, "--socket", path).returncode

    def served(self, *arguments: str, number: int) -> int:
        """Return the status of a daemon that a signal ends."""
        with UmdProcess(*arguments) as process:
            return process.stop(signal.Signals(number))

    def unused_journal(self) -> str:
        """One that no umd has open."""
        path = str(Path(self.mktemp()).absolute())
        journal = JournalFile(path)
        journal.open()
        journal.close()
        return path

    def journal_that_cannot_be_replaced(self) -> str:
        """Return a journal with a directory at the path where `compact` writes the new file."""
        path = self.unused_journal()
        Path(path + COMPACTING_SUFFIX).mkdir()
        return path

    def follow(self, path: str) -> int:
        command = [*UMD, "events", "--follow", "--socket", path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            return process.wait(30)

    def interrupted(self) -> int:
        """Return the status of `calls end` that SIGINT ends between two of its results."""
        with scripted(SELECTED, result("ended", confirmed=True), end=False) as path:
            command = [*UMD, "calls", "end", "--id", "x", "--max", "1", "--expect", "1", "--json"]
            # A test run in the background ignores SIGINT, and its children inherit that.
            command = ["env", "--default-signal=INT", *command, "--socket", path]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()
                process.send_signal(signal.SIGINT)
                return process.wait(30)

    def rows(
        self, real: UmdProcess, bare: UmdProcess, pool: ThreadPoolExecutor
    ) -> dict[tuple[str, int], list[Callable[[], int]]]:
        """
        Return the cases of each row of the table: callables that return an exit status.

        The processes are started at once, side by side on the threads of the pool; the commands in
        this process run when their case is called.
        """
        there = ("--socket", real.control_socket)
        real_journal = real.events("daemon.ready")[0]["journal"]
        without_journal = ("--socket", bare.control_socket)
        wrong = self.file("[call]\ndeadlin = 1\n")
        unmet = self.file(
            'title = "unmet"\n[[step]]\ndo = "place"\nnumber = "5550186"\n[[expect]]\nq850 = 16\n'
        )
        no_seeds = ("--seeds", str(Path(self.mktemp()).absolute()))
        gone = {"error": "backend gone", "kind": "unavailable"}
        elsewhere = {**os.environ, "STATE_DIRECTORY": "/nowhere"}  # not the journal of this machine

        def of(*arguments: str, **keywords: Any) -> Callable[[], int]:
            return pool.submit(lambda: run(*arguments, **keywords).returncode).result

        def lab(*arguments: str) -> Callable[[], int]:
            return lambda: self.lab(*arguments)

        def planted(*arguments: str) -> Callable[[], int]:
            def violated() -> int:
                with self.faults():
                    return self.lab(*arguments)

            return violated

        def asked(*arguments: str, replies: Sequence[Mapping[str, Any]]) -> Callable[[], int]:
            return pool.submit(self.asked, *arguments, replies=replies).result

        def served(command: str, number: int) -> Callable[[], int]:
            return pool.submit(self.served, command, number=number).result

        twice = self.mktemp()
        taken = f"http.listen=unix:{self.mktemp()}/no/such/folder"
        any_of_them: list[Callable[[], int]] = [
            of("status", "--no-such-option"),
            *(partial(self.here, *words, "--no-such-option") for words in commands()),
        ]
        seed = self.seed()
        return {
            ("serve", 0): [
                served("serve", signal.SIGTERM),
                served("serve", signal.SIGINT),
            ],
            ("serve", 1): [of("serve", "-o", taken, "-o", "control.socket=none")],
            ("serve", 2): [of("serve", "-c", wrong), of("serve", "-o", "nothing=1")],
            ("demo", 0): [
                served("demo", signal.SIGTERM),
                served("demo", signal.SIGINT),
            ],
            ("demo", 1): [of("demo", "-o", taken, "-o", "control.socket=none")],
            ("demo", 2): [of("demo", "-o", "nothing=1")],
            ("check-config", 0): [
                of("check-config", str(ROOT / "conf" / "umd.toml")),
                of("check-config", "--files", str(ROOT / "conf" / "umd.toml")),
            ],
            ("check-config", 2): [
                of("check-config", "--files", str(ROOT / "conf" / "umd.toml"),
                   "-o", "prompts.folder=/nowhere"),
                of("check-config", wrong), of("check-config", "/nowhere"),
                of("check-config", "/"),
            ],
            ("init", 0): [of("init", self.mktemp())],
            ("init", 2): [
                of("init", os.path.dirname(wrong), "--user", "a:b"),
                of("init", "/nowhere/at/all"), of("init", wrong),
                lambda: max(run("init", twice).returncode for _ in range(2)),
            ],
            ("calls", 0): [of("calls", *there), asked("calls", replies=[])],
            ("calls", 2): [
                of("calls", "--label", "", *there), of("calls", "--older-than", "soon", *there),
                of("calls", "--label", "x", "end", "--label", "x", "--dry-run", *there),
                of("calls", "--suspect", "--journal", self.unused_journal()),
            ],
            ("calls", 3): [
                of("calls", *NOWHERE, env=elsewhere), of("calls", "--journal", "/nowhere"),
            ],
            ("calls end", 0): [
                of("calls", "end", "--id", "seed-0", "--dry-run", *there),
                of("calls", "end", "--id", "nope", "--max", "1", "--yes", *there),
                of("calls", "end", "--id", "seed-3", "--max", "1", "--yes", *there),
                asked("calls", "end", "--id", "x", "--max", "1", "--yes",
                      replies=[SELECTED, result("changed", confirmed=False)]),
            ],
            ("calls end", 1): [
                of("calls", "end", "--id", "seed-2", "--max", "0", "--yes", *there),
                of("calls", "end", "--id", "seed-2", "--max", "1", "--expect", "2", *there),
                asked("calls", "end", "--id", "x", "--max", "1", "--yes",
                      replies=[SELECTED, result("protected", confirmed=False)]),
            ],
            ("calls end", 2): [
                of("calls", "end", *there), of("calls", "end", "--dry-run", *there),
                of("calls", "end", "--id", "seed-2", *there),
                of("calls", "end", "--id", "seed-2", "--max", "1", *there),
                of("calls", "end", "--id", "", "--max", "1", "--yes", *there),
                of("calls", "end", "--state", "over", "--dry-run", *there),
            ],
            ("calls end", 3): [
                of("calls", "end", "--id", "seed-2", "--dry-run", *NOWHERE),
                asked("calls", "end", "--id", "x", "--max", "2", "--yes",
                      replies=[SELECTED, result("backend-unavailable", confirmed=False),
                               result("ended-unconfirmed", confirmed=False)]),
            ],
            ("calls end", 4): [
                asked("calls", "end", "--id", "x", "--max", "2", "--yes",
                      replies=[SELECTED, result("ended-unconfirmed", confirmed=False),
                               result("protected", confirmed=False)]),
                asked("calls", "end", "--id", "x", "--max", "2", "--yes",
                      replies=[SELECTED, result("already-ended", confirmed=False)]),
            ],
            ("calls end", 130): [pool.submit(self.interrupted).result],
            ("trace", 0): [of("trace", "seed-0", *there)],
            ("trace", 1): [
                of("trace", "nope", *there), of("trace", "seed", *there),
                asked("trace", "x", replies=[{"error": "none is kept", "kind": "no-messages"}]),
            ],
            ("trace", 2): [of("trace", "seed-0", "--pcap", "/nowhere/file", *there)],
            ("trace", 3): [of("trace", "seed-0", *NOWHERE)],
            ("events", 0): [
                of("events", *there), pool.submit(self.follow, real.control_socket).result,
            ],
            ("events", 1): [of("events", "--call", "nope", *there), of("events", *without_journal)],
            ("events", 3): [
                of("events", *NOWHERE, env=elsewhere), of("events", "--journal", "/nowhere"),
            ],
            ("status", 0): [of("status", *there)],
            ("status", 1): [asked("status", replies=[{"status": {"counts_agree": False}}])],
            ("status", 3): [of("status", *NOWHERE)],
            ("why", 0): [of("why", "seed-0", *there)],
            ("why", 1): [of("why", "nope", *there), asked("why", "x", replies=[])],
            ("why", 3): [
                of("why", "seed-0", *NOWHERE, env=elsewhere),
                of("why", "x", "--journal", "/nowhere"),
            ],
            ("call end", 0): [
                of("call", "end", "seed-0", *there), of("call", "end", "seed-0", *there),
            ],
            ("call end", 1): [
                of("call", "end", "nope", *there), of("call", "end", "seed", *there),
            ],
            ("call end", 3): [
                of("call", "end", "seed-0", *NOWHERE), asked("call", "end", "x", replies=[gone]),
            ],
            ("call end", 4): [
                of("call", "end", "seed-2", *there),
                asked("call", "end", "x", replies=[end_reply("already-ended", confirmed=False)]),
            ],
            ("call forget", 0): [of("call", "forget", "seed-4", "--reason", "gone", *there)],
            ("call forget", 1): [
                of("call", "forget", "nope", "--reason", "gone", *there),
                of("call", "forget", "seed-0", "--reason", "gone", *there),
            ],
            ("call forget", 2): [
                of("call", "forget", "seed-1", *there),
                of("call", "forget", "seed-1", "--reason", " ", *there),
            ],
            ("call forget", 3): [of("call", "forget", "seed-1", "--reason", "x", *NOWHERE)],
            ("call place", 0): [of("call", "place", "5550100", *there)],
            ("call place", 2): [
                of("call", "place", "5550100", "--backend", "nope", *there),
                of("call", "place", "sips:bob@example.com", *there),
                of("call", "place", "", *there),
                of("call", "place", "5550100", "--lease", "soon", *there),
                of("call", "place", "5550100", "--label", "a\nb", *there),
            ],
            ("call place", 3): [
                of("call", "place", "5550100", *NOWHERE),
                asked("call", "place", "5550100", replies=[gone]),
            ],
            ("lease renew", 0): [
                asked("lease", "renew", "ci", replies=[{"renewed": {"label": "ci", "count": 1}}]),
            ],
            ("lease renew", 1): [of("lease", "renew", "seed-0", *there)],
            ("lease renew", 3): [
                of("lease", "renew", "ci", *NOWHERE), asked("lease", "renew", "ci", replies=[gone]),
            ],
            ("journal backup", 0): [of("journal", "backup", self.mktemp(), *there)],
            ("journal backup", 1): [
                of("journal", "backup", self.mktemp(), *without_journal),
                of("journal", "backup", self.mktemp(), "--journal", self.file("no journal" * 99)),
            ],
            ("journal backup", 2): [
                of("journal", "backup", wrong, *there),
                of("journal", "backup", "/", *there),
                of("journal", "backup", "/nowhere/x", *there),
                of("journal", "backup", "/dev/full", *there),
                of("journal", "backup", real_journal, *there),
            ],
            ("journal backup", 3): [
                of("journal", "backup", self.mktemp(), *NOWHERE),
                of("journal", "backup", self.mktemp(), "--journal", "/nowhere"),
            ],
            ("journal check", 0): [of("journal", "check", *there)],
            ("journal check", 1): [
                of("journal", "check", *without_journal),
                of("journal", "check", "--journal", self.file("no journal" * 99)),
            ],
            ("journal check", 3): [
                of("journal", "check", *NOWHERE), of("journal", "check", "--journal", "/nowhere"),
            ],
            ("journal compact", 0): [of("journal", "compact", "--journal", self.unused_journal())],
            ("journal compact", 1): [of("journal", "compact", "--journal", real_journal)],
            ("journal compact", 2): [
                of("journal", "compact", "--journal", self.journal_that_cannot_be_replaced()),
            ],
            ("journal compact", 3): [of("journal", "compact", "--journal", "/nowhere")],
            ("version", 0): [of("version")],
            ("lab run", 0): [lab("run", CROSSES)],
            ("lab run", 1): [lab("run", unmet)],
            ("lab run", 2): [
                lab("run", wrong), lab("run", "/nowhere"), lab("run", CROSSES, "--junit", "/no/x"),
            ],
            ("lab run", 4): [planted("run", CROSSES)],
            ("lab explore", 0): [lab("explore", "--far-end", "5550186", "--depth", "1", *no_seeds)],
            ("lab explore", 2): [
                lab("explore", "--far-end", "1"), lab("explore", "--scenario", "/nowhere"),
            ],
            ("lab explore", 4): [
                planted("explore", "--far-end", "5550101", "--depth", "0", "--losses", "0",
                        *no_seeds),
            ],
            ("lab pbx", 0): [lab("pbx", "--bound", "0"), lab("pbx", "--story", STORY)],
            ("lab pbx", 2): [lab("pbx", "--story", "none"), lab("pbx", "--bound", "none")],
            ("lab pbx", 4): [planted("pbx", "--story", STORY)],
            ("lab walk", 0): [lab("walk", "--steps", "200", *no_seeds)],
            ("lab walk", 2): [lab("walk", "--jitter", "soon"), lab("walk", "--steps", "none")],
            ("lab walk", 4): [planted("walk", "--steps", "2000", *no_seeds)],
            ("lab replay", 0): [lab("replay", seed)],
            ("lab replay", 2): [lab("replay", wrong), lab("replay", "/nowhere")],
            ("lab replay", 4): [planted("replay", seed)],
            ("backend-contract", 0): [of("backend-contract", "sim")],
            ("backend-contract", 1): [of("backend-contract", "sip", "-o", "t1=1s")],
            ("backend-contract", 2): [
                of("backend-contract", "nothing"), of("backend-contract", "sim", "-o", "x=1"),
                of("backend-contract", "sim", "--junit", "/no/x"),
            ],
            ("any", 2): any_of_them,
        }  # fmt: skip

    @contextmanager
    def faults(self) -> Iterator[None]:
        """umd acknowledges no 2xx, and does not end partners."""
        patches = [
            self.patch(CallerSession, "_send_ack", lambda *_: None),
            self.patch(Registry, "partner_of", lambda *_: None),
        ]
        try:
            yield
        finally:
            for patch in patches:
                patch.restore()

    def seed(self) -> str:
        """Write a seed file of a violation that only the planted fault causes."""
        folder = self.mktemp()
        with self.faults():
            self.lab("walk", "--steps", "2000", "--seeds", folder)
        (file,) = Path(folder).iterdir()
        return str(file)

    def test_every_row_is_true(self) -> None:
        text = seeds("5550100", "5550100", "5550199", "5550100", "5550100")
        options = ["-o", f"journal.path={Path(self.mktemp()).absolute()}"]
        options += ["-o", "call.deadline=200ms", "-o", "drain.deadline=100ms"]
        with ExitStack() as stack:
            real = stack.enter_context(UmdProcess("serve", "-c", self.file(text), *options))
            bare = stack.enter_context(UmdProcess("serve"))
            pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
            rows = self.rows(real, bare, pool)
            streams = {row for row in documented() if row[0].startswith("any but")}
            self.assertEqual(
                {status for _, status in streams}, {OUTPUT_LOST, INTERRUPTED, READER_GONE}
            )
            self.assertEqual(rows.keys(), documented().keys() - streams)
            different = [
                f"{command}: {found} instead of {status}, case {case}"
                for (command, status), cases in rows.items()
                for case, of in enumerate(cases)
                if (found := of()) != status
            ]
        self.assertEqual(different, [])

    def test_no_command_is_forgotten(self) -> None:
        there = {command for command, _ in documented() if not command.startswith("any")}
        self.assertEqual(there, {" ".join(words) for words in commands()})


class EndTests(SynchronousTestCase):
    def test_an_unconfirmed_end_says_whether_umd_goes_on(self) -> None:
        """`ended-unconfirmed` alone does not say whether the call is over."""
        for state, note in (
            ("disconnecting", "umd goes on ending it"),
            ("disconnected", "and the far end never confirmed it"),
        ):
            reply = end_reply("ended-unconfirmed", confirmed=False)
            reply["end"]["state"] = state
            with scripted(reply, DONE_REPLY) as path:
                ran = run("call", "end", "x", "--socket", path)
            self.assertEqual(ran.stdout, f"leg-1  ended -> ended-unconfirmed, {note}\n")


class HelpTests(SynchronousTestCase):
    MAX_SECONDS = 0.1

    def test_help_is_fast(self) -> None:
        """`umd --help` takes less than 100 ms of processor time; other load may disturb a run."""
        times = []
        for _ in range(20):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*UMD, "--help"], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            if used < self.MAX_SECONDS:
                return
            times.append(used)
        self.fail(f"at best {min(times):.3f} s")


class StreamTests(PlantingCase):
    """
    Every command with broken streams, odd terminals and Ctrl-C.

    A new command fails here until it is added to `ARGUMENTS`.
    """

    SOCKET = "the socket of a running umd"
    NEW = "a file that does not exist"
    CALL = "a call that was just placed"
    UNUSED = "a journal that no umd has open"
    ARGUMENTS: Mapping[tuple[str, ...], tuple[str, ...]] = {
        ("check-config",): (str(ROOT / "conf" / "umd.toml"),),
        ("init",): (NEW,),
        ("backend-contract",): ("sim",),
        ("calls",): ("--socket", SOCKET),
        ("calls", "end"): ("--id", "seed-9", "--max", "1", "--yes", "--socket", SOCKET),
        ("trace",): ("seed-0", "--socket", SOCKET),
        ("events",): ("--socket", SOCKET),
        ("status",): ("--socket", SOCKET),
        ("why",): ("seed-0", "--socket", SOCKET),
        ("call", "end"): ("seed-1", "--socket", SOCKET),
        ("call", "forget"): (CALL, "--reason", "a test", "--socket", SOCKET),
        ("call", "place"): ("5550100", "--label", "ci", "--lease", "1h", "--socket", SOCKET),
        ("lease", "renew"): ("ci", "--socket", SOCKET),
        ("journal", "backup"): (NEW, "--socket", SOCKET),
        ("journal", "check"): ("--socket", SOCKET),
        ("journal", "compact"): ("--journal", UNUSED),
        ("version",): (),
        ("lab", "run"): (CROSSES,),
        ("lab", "explore"): ("--far-end", "5550186", "--depth", "0", "--losses", "0"),
        ("lab", "pbx"): ("--bound", "0"),
        ("lab", "walk"): ("--steps", "300"),
        ("lab", "replay"): (CROSSES,),
    }
    BROKEN: Mapping[str, int] = {
        ">/dev/full": OUTPUT_LOST,
        ">/dev/full 2>&1": OUTPUT_LOST,
        ">&-": 0,
        "2>&-": 0,
        "2>/dev/full": 0,
        ">&- 2>&- <&-": 0,
    }
    ODD: Sequence[Mapping[str, str]] = (
        {
            **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            **{"PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "0", "LINES": "0"},
        },
        {"PYTHONUNBUFFERED": "1", "TERM": "", "COLUMNS": "many"},
    )

    def setUp(self) -> None:
        file = Path(self.mktemp()).absolute()
        file.write_text(seeds("5550100", "5550100"))
        process = UmdProcess("serve", "-c", str(file), "-o", f"journal.path={file}.db")
        self.umd = process.__enter__()
        self.addCleanup(self.umd.stop)
        self.in_use = f"{file}.db"
        place = ("call", "place", "5550100", "--label", "ci", "--lease", "1h")
        self.assertEqual(run(*place, "--socket", self.umd.control_socket).returncode, 0)

    def each(self) -> Iterator[list[str]]:
        for words, arguments in self.ARGUMENTS.items():
            yield [*words, *arguments]

    def fresh(self, command: Sequence[str]) -> list[str]:
        """Return the command with real paths, and files that no other command uses."""
        paths = {
            self.SOCKET: lambda: self.umd.control_socket,
            self.NEW: self.mktemp,
            self.CALL: self.placed_call,
            self.UNUSED: self.unused_journal,
        }
        return [paths[word]() if word in paths else word for word in command]

    def placed_call(self) -> str:
        (reply,) = ask("place", self.umd.control_socket, number="5550100")
        return str(reply["call"]["id"])

    def unused_journal(self) -> str:
        path = str(Path(self.mktemp()).absolute())
        journal = JournalFile(path)
        journal.open()
        journal.close()
        return path

    def test_no_command_is_forgotten(self) -> None:
        self.assertEqual(set(commands()), {*self.ARGUMENTS, *((name,) for name in DAEMONS)})

    def wrong(self, command: Sequence[str], status: int, ran: Any, *expected: int) -> list[str]:
        errors = ran.stderr if isinstance(ran.stderr, str) else ran.stderr.decode()
        if status in expected and not re.search("Traceback|Exception ignored|Error:", errors):
            return []
        return [f"{' '.join(command)}: {status} instead of {expected}: {errors}"]

    def test_broken_streams(self) -> None:
        def failures(command: list[str], redirection: str, status: int) -> list[str]:
            ran = run(*command, shell=redirection)
            return self.wrong([*command, redirection], ran.returncode, ran, status)

        found = side_by_side(
            failures,
            [
                (self.fresh(command), redirection, status)
                for command in self.each()
                for redirection, status in self.BROKEN.items()
            ],
        )
        self.assertEqual(sum(found, []), [])

    def test_a_reader_that_is_gone(self) -> None:
        """`umd calls | true` ends without a traceback, also with --json, and for errors."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.close(reader)

        def failures(command: list[str]) -> list[str]:
            ran = subprocess.run(
                [*UMD, *command], stdout=writer, stderr=subprocess.PIPE, timeout=60
            )
            return self.wrong(command, ran.returncode, ran, READER_GONE)

        found = side_by_side(
            failures,
            [
                ([*self.fresh(command), *more],)
                for command in self.each()
                for more in ([], ["--json"])
            ],
        )
        self.assertEqual(sum(found, []), [])

        def status(*command: str) -> int:
            return subprocess.run([*UMD, *command], stderr=writer, timeout=60).returncode

        mistaken = [("calls", *NOWHERE), ("check-config", "/nowhere"), ("trace",), ("nothing",)]
        self.assertEqual(side_by_side(status, mistaken), [3, 2, 2, 2])

    def test_a_full_non_blocking_pipe(self) -> None:
        """O_NONBLOCK belongs to the open file, so the reader of a pipe may have set it."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, b"x" * 4096):
                pass
        command = [*UMD, "status", "--socket", self.umd.control_socket]
        with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE) as process:
            os.close(writer)
            with open(reader, "rb") as stream:
                text = stream.read()
            self.assertEqual(process.wait(30), 0)
        self.assertIn(b"counts_agree", text)

    def test_a_follower_ends_with_its_reader(self) -> None:
        """`umd events --follow` ends when its reader does, even without a new event."""
        command = [*UMD, "events", "--follow", "--from", "1000000"]
        command += ["--socket", self.umd.control_socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            self.assertEqual(process.wait(30), READER_GONE)

    def test_odd_locales_and_terminals(self) -> None:
        def failures(command: list[str], environ: Mapping[str, str]) -> list[str]:
            ran = run(*command, env={**os.environ, **environ})
            return self.wrong(command, ran.returncode, ran, 0)

        found = side_by_side(
            failures,
            [(self.fresh(command), environ) for command in self.each() for environ in self.ODD],
        )
        self.assertEqual(sum(found, []), [])

    def test_json_is_one_object_per_line(self) -> None:
        for ran in side_by_side(run, [(*self.fresh(one), "--json") for one in self.each()]):
            command = ran.args[4:]
            self.assertEqual((ran.returncode, ran.stderr), (0, ""), command)
            lines = ran.stdout.splitlines()
            self.assertTrue(lines, command)
            for line in lines:
                self.assertIsInstance(json.loads(line), dict, command)

    def test_an_error_is_json_too_and_its_kind_determines_the_status(self) -> None:
        """The table of kinds in docs/commands.md is complete and true."""
        text = (ROOT / "docs" / "commands.md").read_text()
        rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \| (\d+) \|$", text, re.M)
        statuses = {
            kind: int(status) for kinds, status in rows for kind in re.findall("[a-z-]+", kinds)
        }
        there = ["--socket", self.umd.control_socket]
        tried: set[str] = set()
        disagree = {"status": {"counts_agree": False}}
        with ExitStack() as stack:
            bare = stack.enter_context(UmdProcess("serve"))
            no_calls = stack.enter_context(scripted(DONE_REPLY))
            wrong_counts = stack.enter_context(scripted(disagree, DONE_REPLY))
            refusing = {
                kind: stack.enter_context(scripted({"error": "x", "kind": kind}))
                for kind in (*STATUS_BY_ERROR_KIND, "of-a-later-version")
            }
            cases: list[tuple[str, list[str]]] = [
                ("no-such-call", ["call", "end", "nope", *there]),
                ("ambiguous", ["why", "seed", *there]),
                ("no-journal", ["events", "--socket", bare.control_socket]),
                ("nothing-on-record", ["why", "x", "--socket", no_calls]),
                ("counts-disagree", ["status", "--socket", wrong_counts]),
                ("usage", ["trace"]),
                ("usage", ["lab", "walk", "--steps", "none"]),
                ("configuration", ["check-config", "/nowhere"]),
                ("configuration", ["serve", "-o", "nothing=1"]),
                ("configuration", ["demo", "-o", "nothing=1"]),
                ("configuration", ["lab", "run", "/nowhere"]),
                ("bad-request", ["call", "place", "5550100", "--backend", "nope", *there]),
                ("output", ["trace", "seed-0", "--pcap", "/nowhere/x", *there]),
                ("output", ["lab", "run", CROSSES, "--junit", "/dev/full"]),
                ("damaged", ["journal", "check", "--journal", CROSSES]),
                ("in-use", ["journal", "compact", "--journal", self.in_use]),
                ("unreachable", ["status", *NOWHERE]),
                *((kind, ["call", "end", "x", "--socket", at]) for kind, at in refusing.items()),
            ]
            results = side_by_side(run, [(*command, "--json") for _, command in cases])
            for (kind, command), ran in zip(cases, results, strict=True):
                # --pcap and --json exclude each other: then it is a mistake of usage.
                kind = "usage" if "--pcap" in command else kind
                (line,) = ran.stderr.splitlines()[-1:]
                error = json.loads(line)
                status = statuses.get(kind, UNREACHABLE)
                self.assertEqual((error["kind"], ran.returncode), (kind, status), command)
                self.assertTrue(error["error"], command)
                tried.add(kind)
        self.assertEqual(tried, {*statuses, "of-a-later-version"})

    def test_arguments_that_are_not_utf8(self) -> None:
        there = ("--socket", self.umd.control_socket)
        statuses = {
            ("trace", "\udcff", *there): 1, ("why", "a\udcff", *there): 1,
            ("call", "end", "\udcff", *there): 1, ("calls", "--journal", "\udcff"): 3,
            ("check-config", "\udcff"): 2, ("lab", "run", "\udcff"): 2,
            ("serve", "-o", "\udcff=1"): 2,
        }  # fmt: skip
        for ran, (command, status) in zip(side_by_side(run, statuses), statuses.items()):
            self.assertEqual(self.wrong(command, ran.returncode, ran, status), [])

    def test_ctrl_c_at_any_moment(self) -> None:
        """At steps through the time that a command takes; it may have ended before."""
        def failures(command: list[str], delay: float) -> list[str]:
            with subprocess.Popen(
                [*UMD, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as process:
                self.wait_for_umd_to_handle_sigint(process)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(delay)
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                errors = process.stderr.read()
                status = process.wait(30)
            ran = subprocess.CompletedProcess(command, status, b"", errors)
            return self.wrong(command, status, ran, 0, -signal.SIGINT, INTERRUPTED)

        found = side_by_side(
            failures,
            [(self.fresh(command), 0.04 * step) for command in self.each() for step in range(6)],
        )
        self.assertEqual(sum(found, []), [])

    def wait_for_umd_to_handle_sigint(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the handler that Python installs at its start is replaced by umd."""
        mask = 1 << (signal.SIGINT - 1)
        was_caught = False
        while process.poll() is None:
            caught = signal_mask(process.pid, "SigCgt") & mask
            if was_caught and not caught:
                return
            was_caught = was_caught or bool(caught)
            time.sleep(0.002)

    def test_ctrl_c_ends_the_workers_of_an_exploration(self) -> None:
        """A signal to the main process ends its workers, too."""
        command = [*UMD, "lab", "explore", "--jobs", "2", "--seeds", self.mktemp()]
        for number, status in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 143)):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as it:
                children = Path(f"/proc/{it.pid}/task/{it.pid}/children")
                while len(workers := children.read_text().split()) < 2:
                    self.assertIsNone(it.poll())
                    time.sleep(0.005)
                it.send_signal(number)
                self.assertEqual(it.wait(30), status)
                for worker in workers:
                    self.gone(int(worker))
                assert it.stderr is not None
                self.assertNotIn(b"Traceback", it.stderr.read())

    def gone(self, worker: int) -> None:
        """Wait for the end of a process that is no child of this one; kill it after ten seconds."""
        try:
            descriptor = os.pidfd_open(worker)
        except ProcessLookupError:
            return
        try:
            ended = select.select([descriptor], [], [], 10)[0]
            if not ended:
                os.kill(worker, signal.SIGKILL)
            self.assertTrue(ended, "a worker is still running")
        finally:
            os.close(descriptor)


def signal_mask(pid: int, name: str) -> int:
    """Return the signals that a process ignores (SigIgn) or catches (SigCgt); see proc(5)."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s*([0-9a-f]+)$", text, re.M)
    return int(found[1], 16) if found else 0
