"""
Crashes at random moments under load: kill -9, and power cuts.

Clients place calls and end them while umd is brought down again and again and started on the same
journal; half of the crashes come in its first moments, in the middle of recovery. Half of the calls
are simulated, half go to a far end that lives on (`tests.faults.far_end`). After each crash the
journal is compared with what clients were told until then; at the end of each episode, a new
journal being begun for the next, the umd that was started last ends every call that is left.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tests.faults.checker import Journal, check_ends, check_far_end, check_promises
from tests.faults.clients import BROKEN, DOWN, ClientLog, Load, end_all
from tests.faults.disk import Disk
from tests.faults.far_end import FarEnd
from umd.management.client import ask

EPISODE: Final = 25
"""Crashes on one journal: a longer one is read again for longer, and shows nothing else."""


class Umd:
    """
    One umd after another, on one journal.

    Args:
        directory: for its log and its control socket; those outlive a power cut.
        journal: the path of the file.
        options: of the command.
    """

    def __init__(self, directory: Path, journal: Path, *options: str) -> None:
        self.journal = journal
        self.socket = f"{directory}/control.sock"
        self.port = free_port(socket.SOCK_STREAM)
        self.crashes = 0
        self._log = directory / "log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "umd", "serve",
                    "-o", f"http.listen=tcp:{self.port}:interface=127.0.0.1",
                    "-o", f"control.socket={self.socket}",
                    "-o", f"journal.path={self.journal}",
                    "-o", "trace.messages=0", "-o", "log.level=error",
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """
        Wait until it serves.

        Raises:
            AssertionError: it does not.
        """
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                said = self.said()
                if "Address already in use" not in said:
                    raise AssertionError(f"umd ended: {said}")
                self.start()  # somebody else on this machine had the port for a moment
            with suppress(*BROKEN):
                list(islice(ask("calls", self.socket), 1))
                return
            time.sleep(0.01)
        raise AssertionError(f"umd does not start: {self.said()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self.crashes += 1
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """End it as a service is ended; gives its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-2000:]


def free_port(kind: socket.SocketKind) -> int:
    """A port of loopback that nobody has, and that no client's connection is given by chance."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, first)
        with socket.socket(socket.AF_INET, kind) as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


class Run:
    """
    Some episodes, and what came of them.

    Args:
        durability: the setting; only "full" is to be survived.
        keep: a directory to which journal and logs of an episode go that has shown something wrong.
    """

    def __init__(
        self, *, clients: int = 8, seed: int = 1, durability: str = "full", keep: str | None = None
    ) -> None:
        self.wrong: Counter[str] = Counter()
        """What must be 0."""
        self.seen: Counter[str] = Counter()
        """What happened, counted."""
        self._chance = random.Random(seed)
        self._clients = clients
        self._durability = durability
        self._keep = keep

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    def found(self) -> dict[str, Any]:
        return {"good": self.good, "wrong": dict(self.wrong), "seen": dict(self.seen)}

    def crash(
        self, kills: int = 0, cuts: int = 0, tell: Callable[[Run], None] = lambda run: None
    ) -> None:
        """
        Do it, in episodes.

        Args:
            tell: called after each episode.
        """
        for kind, number in (("kills", kills), ("cuts", cuts)):
            while number > 0:
                crashes = min(number, EPISODE)
                self._episode(crashes, kind == "cuts")
                self.seen[kind] += crashes
                number -= crashes
                tell(self)

    def _episode(self, crashes: int, cut: bool) -> None:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="umd-fault-")))
            disk = stack.enter_context(Disk(directory)) if cut else None
            far_end = stack.enter_context(FarEnd(str(directory / "far-end")))
            episode = Episode(directory, disk, far_end, self._durability, self._chance)
            try:
                episode.crash(crashes, self._clients)
                episode.end()
            finally:
                episode.umd.kill()
                self.wrong.update(episode.wrong)
                self.seen.update(episode.seen)
                if any(episode.wrong.values()) and self._keep is not None:
                    done = f"after-{self.seen['kills']}-kills-{self.seen['cuts']}-cuts"
                    episode.keep(Path(self._keep, done))


class Episode:
    """
    One journal: crashes under load, then the end of every call.

    Args:
        directory: for what outlives a power cut.
        disk: where the journal is, and whose power is cut; None: in `directory`, and umd is killed.
        durability: the setting.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk | None,
        far_end: FarEnd,
        durability: str,
        chance: random.Random,
    ) -> None:
        self.wrong: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.log = ClientLog()
        journal = (directory if disk is None else disk.path) / "journal.db"
        options = far_end.options(free_port(socket.SOCK_DGRAM))
        options += ["-o", 'backend.sim.type="sim"', "-o", f"journal.durability={durability}"]
        self.umd = Umd(directory, journal, *options)
        self._directory = directory
        self._disk = disk
        self._far_end = far_end
        self._chance = chance
        self._started: list[float] = []
        """When umd was started after each crash, by `time.monotonic`."""

    def crash(self, number: int, clients: int) -> None:
        """Bring umd down so often, by turns after it serves and in its first moments."""
        self.umd.start()
        self.umd.wait()
        with Load(self.umd, self.log, clients, self._chance, ("sim", "pbx")) as load:
            for moment in islice(self._moments(), number):
                time.sleep(moment)
                self._bring_down()
                if len(self._started) == number - 1:
                    load.stop()  # so that what the last of them were told is known too
                self._compare()
                # Not when it was killed: the far end may still read what it had sent.
                self._started.append(time.monotonic())
                self.umd.start()
        self.umd.wait()

    def end(self) -> None:
        """End every call that is left, and compare the whole story of each."""
        outcomes = Counter(end_all(self.umd, self.log))
        self.wrong["not_ended_by_the_last"] = sum(
            number for outcome, number in outcomes.items() if outcome not in DOWN
        )
        self.wrong["exit_status"] = int(self.umd.stop() != 0)
        journal = self._compare()
        self.wrong.update(check_ends(journal))
        wrong, seen = check_far_end(self._far_end.heard(), journal, self.log, self._started)
        self.wrong.update(wrong)
        self.seen.update(seen)
        self.seen.update(
            records=journal.records,
            calls=len(journal.events),
            acknowledged_calls=len(self.log.placed),
            acknowledged_ends=len(self.log.ended),
            acknowledged_unconfirmed=len(self.log.unconfirmed),
            ended_by_the_last=sum(outcomes.values()),
            asked_ten_times=len(self.log.ten_times),
            asked_ten_times_across_a_crash=sum(self.log.ten_times.values()),
        )
        told = self.log.told.items()
        self.seen.update({f"told {outcome}": number for outcome, number in told})

    def keep(self, there: Path) -> None:
        """Copy the journal and the logs, to be looked into."""
        there.mkdir(parents=True, exist_ok=True)
        journal = self.umd.journal
        logs = (self._directory / "far-end", self._directory / "log")
        for file in (*journal.parent.glob(f"{journal.name}*"), *logs):
            shutil.copy(file, there)

    def _moments(self) -> Iterator[float]:
        """How long to wait before each crash."""
        while True:
            self.umd.wait()
            yield self._chance.random() * 0.5
            yield self._chance.random() * 0.6

    def _bring_down(self) -> None:
        if self._disk is None:
            self.umd.kill()
        else:
            self._disk.cut(self.umd.pid)
            self.umd.kill()
            self._disk.restore()

    def _compare(self) -> Journal:
        """Compare the journal as it lies there with what clients were told until now."""
        journal = Journal(self.umd.journal, self._directory)
        found = check_promises(journal, self.log)
        found["journals_set_aside"] = len(list(self.umd.journal.parent.glob("*.damaged-*")))
        for name, number in found.items():
            # The same loss is seen again after each later crash.
            self.wrong[name] = max(self.wrong[name], number)
        return journal
