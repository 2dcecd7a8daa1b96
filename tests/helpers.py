"""Helpers that several tests share: a captured log, `Control` on a fake backend, tshark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any, NoReturn, TypeVar

import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest

from umd.backend import LegBackend
from umd.call.call import Call
from umd.call.events import LifecycleEvent
from umd.call.principal import Principal
from umd.control.control import Control
from umd.control.held_ends import WireWitness
from umd.control.journal import MessageSummaries, NullJournal
from umd.control.settings import ControlSettings
from umd.messaging.dialplan import DialPlan, Rule
from umd.messaging.pin import PinDelivery, PinNotSent
from umd.messaging.users import Users, UserSettings
from umd.testing import FakeBackend

Result = TypeVar("Result")

ALICE = Principal("alice", "127.0.0.1")
BOB = Principal("bob", "127.0.0.2")
DEADLINE = ControlSettings().deadline
"""Seconds that a Disconnect waits by default."""


def capturing_log() -> tuple[FilteringBoundLogger, list[Any]]:
    """Return a logger, and the list to which it appends its event dicts."""
    capture = LogCapture()
    log = structlog.wrap_logger(
        BytesIO(), processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    return log, capture.entries


class ControlRoom:
    """A `Control` on a virtual clock; keeps the lifecycle events and the log lines."""

    def __init__(
        self,
        backends: Mapping[str, LegBackend] | None = None,
        settings: ControlSettings | None = None,
        clock: Clock | None = None,
        witness: WireWitness | None = None,
        summaries: MessageSummaries | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.fake = FakeBackend(clock=self.clock)
        self.log, self.lines = capturing_log()
        self.events: list[LifecycleEvent] = []
        self._names = iter(f"leg-{number}" for number in range(1, 1_000_000))
        self.control = Control(
            backends=backends or {"fake": self.fake},
            node="lab-1",
            clock=self.clock,
            wall=lambda: 1_000_000.0 + self.clock.seconds(),
            journal=NullJournal(lambda call, event: self.on_event(call, event)),
            log=self.log,
            settings=settings,
            make_leg_name=lambda: next(self._names),
            witness=witness,
            summaries=summaries,
        )

    def on_event(self, call: Call, event: LifecycleEvent) -> None:
        self.events.append(event)

    def event_names(self, call: Call | None = None) -> list[str]:
        """Return the names of the lifecycle events, of one call or of all."""
        return [type(e).__name__ for e in self.events if call is None or e.call == call.id]

    def logged(self) -> list[str]:
        return [line["event"] for line in self.lines]


def side_by_side(run: Callable[..., Result], arguments: Iterable[Iterable[Any]]) -> list[Result]:
    """
    Call a function for each tuple of arguments, on as many threads as there are processors.

    A test that starts many processes is faster if it does not wait for each before the next.

    Args:
        run: the function; it may run in several threads at once.
        arguments: the arguments of each call.

    Returns:
        The results, in the order of the arguments.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda each: run(*each), arguments))


@contextmanager
def restored_signal_handlers() -> Iterator[None]:
    """Restore the handlers of the test process after a command of umd ran in it."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def missing(program: str) -> NoReturn:
    """
    Skip a test whose program is not installed; with CI=true, fail it.

    Args:
        program: the name of the program, and how to install it.

    Raises:
        SkipTest: unless CI=true.
        AssertionError: if CI=true.
    """
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        raise AssertionError(f"with CI=true nothing may be missing: {program}")
    raise SkipTest(f"needs {program}")


def program(name: str, package: str) -> str:
    """
    Return the path of a program; if it is not installed, see `missing`.

    Args:
        name: the name of the program.
        package: the Debian package that has it.
    """
    path = shutil.which(name)
    if path is None:
        missing(f"{name}: apt-get install {package}")
    return path


def tshark(*arguments: str) -> list[list[str]]:
    """
    Run tshark, and return its lines of output, each split at tabs.

    Raises:
        SkipTest: tshark is not installed; see `missing`.
    """
    if shutil.which("tshark") is None:
        missing("tshark: apt-get install tshark")
    # By default tshark does not verify checksums; a wrong one does not change its exit status.
    checked = ("-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE")
    result = subprocess.run(
        ["tshark", *checked, *arguments], capture_output=True, text=True, check=True
    )
    return [line.split("\t") for line in result.stdout.splitlines()]


class MemoryUsers(Users):
    """Stores the settings of users in memory, without a file and a thread."""

    def __init__(self) -> None:
        self.kept: dict[str, UserSettings] = {}

    async def get(self, name: str) -> UserSettings:
        return self.kept.get(name, UserSettings())

    async def change(self, name: str, **settings: bool | str) -> None:
        self.kept[name] = replace(await self.get(name), **settings)  # type: ignore[arg-type]


class RecordingDelivery(PinDelivery):
    """Records the delivered PINs, or refuses them."""

    def __init__(self) -> None:
        self.delivered: list[tuple[str, str]] = []
        self.refuses = False
        self.slow: Deferred[None] | None = None
        """If set, a delivery waits for it."""

    async def deliver(self, address: str, pin: str) -> None:
        if self.slow is not None:
            await self.slow
        if self.refuses:
            raise PinNotSent("the test refuses")
        self.delivered.append((address, pin))


# The numbers that clients can dial, and what the fake backend does with each.
FAKE_NUMBERS = DialPlan(
    [
        Rule("1", "answers"),
        Rule("2", "rings"),
        Rule("3", "rejects"),
        Rule("4", "waits"),
        Rule("9", refuse=True),
    ]
)


class EntryPointStub:
    """An entry point that provides any object, or fails to load with an exception."""

    name, value = "any", "package:thing"

    def __init__(self, offered: object) -> None:
        self._offered = offered

    def load(self) -> object:
        if isinstance(self._offered, Exception):
            raise self._offered
        return self._offered
