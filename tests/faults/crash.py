"""
Crashes at random moments under load: kill -9, and power cuts.

Clients place and end calls while umd is crashed again and again and restarted on the same journal.
Half of the crashes come while umd starts and recovers. Half of the calls are simulated; the others
go to a far end that survives (`tests.faults.far_end`). After each crash the journal is compared
with the replies that clients got. At the end of an episode the last umd ends all calls. The next
episode begins a new journal.
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

CRASHES_PER_EPISODE: Final = 25
"""More crashes on one journal take longer to compare, and find nothing more."""


class Umd:
    """
    A umd that can be started again and again on one journal.

    Args:
        directory: the directory of its log and its control socket, which survive a power cut.
        journal: the path of the journal.
        options: further options of `umd serve`.
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
        Wait until umd serves.

        Raises:
            AssertionError: it ended, or does not serve within 60 s.
        """
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process is not None
            if self._process.poll() is not None:
                log = self.end_of_log()
                if "Address already in use" not in log:
                    raise AssertionError(f"umd ended: {log}")
                self.start()  # another process had the port for a moment
            with suppress(*BROKEN):
                list(islice(ask("calls", self.socket), 1))
                return
            time.sleep(0.01)
        raise AssertionError(f"umd does not start: {self.end_of_log()}")

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
        """Stop umd with SIGTERM, and return its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(60)

    def end_of_log(self) -> str:
        """Return the last 2,000 characters of the log."""
        return self._log.read_text()[-2000:]


def free_port(kind: socket.SocketKind) -> int:
    """Return a free loopback port below the range from which clients get theirs."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, first)
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Run:
    """
    Runs episodes, and adds up their results.

    Args:
        clients: how many clients run at once.
        seed: decides when umd is crashed, and what clients do.
        durability: the setting `journal.durability`; only "full" keeps all promises.
        keep: a directory for the journal and the logs of each episode that breaks a promise.
    """

    def __init__(
        self, *, clients: int = 8, seed: int = 1, durability: str = "full", keep: str | None = None
    ) -> None:
        self.wrong: Counter[str] = Counter()
        """Counts of broken promises; all must be 0."""
        self.seen: Counter[str] = Counter()
        """Counts of what happened."""
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
        Run episodes.

        Args:
            kills: how many times to kill umd.
            cuts: how many times to cut the power of the disk.
            tell: called after each episode.
        """
        for kind, number in (("kills", kills), ("cuts", cuts)):
            while number > 0:
                crashes = min(number, CRASHES_PER_EPISODE)
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
    Crashes on one journal under load, then ends every call.

    Args:
        directory: a directory that survives a power cut.
        disk: the disk with the journal, whose power is cut; None: the journal is in `directory`,
            and umd is killed.
        far_end: the peer of the backend "pbx".
        durability: the setting `journal.durability`.
        chance: decides when umd is crashed, and what clients do.
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
        """Crash umd, by turns while it serves and while it starts."""
        self.umd.start()
        self.umd.wait()
        with Load(self.umd, self.log, clients, self._chance, ("sim", "pbx")) as load:
            for moment in islice(self._moments(), number):
                time.sleep(moment)
                self._bring_down()
                if len(self._started) == number - 1:
                    load.stop()  # so that the last replies are known too
                self._compare()
                # Not the time of the kill: the far end may still read what umd had sent.
                self._started.append(time.monotonic())
                self.umd.start()
        self.umd.wait()

    def end(self) -> None:
        """End every live call, and compare the log of each with the journal and the far end."""
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
        outcomes_told = self.log.told.items()
        self.seen.update({f"told {outcome}": number for outcome, number in outcomes_told})

    def keep(self, directory: Path) -> None:
        """Copy the journal and the logs to a directory, for analysis."""
        directory.mkdir(parents=True, exist_ok=True)
        journal = self.umd.journal
        logs = (self._directory / "far-end", self._directory / "log")
        for file in (*journal.parent.glob(f"{journal.name}*"), *logs):
            shutil.copy(file, directory)

    def _moments(self) -> Iterator[float]:
        """Yield the seconds to wait before each crash."""
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
        """Compare the journal with the replies that clients got so far."""
        journal = Journal(self.umd.journal, self._directory)
        found = check_promises(journal, self.log)
        found["journals_set_aside"] = len(list(self.umd.journal.parent.glob("*.damaged-*")))
        for name, number in found.items():
            # Each later comparison finds the same loss again.
            self.wrong[name] = max(self.wrong[name], number)
        return journal
