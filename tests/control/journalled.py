"""Control with a journal in memory, for the tests here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.helpers import ALICE, capturing_log
from umd.call.call import Call
from umd.call.events import LifecycleEvent
from umd.call.record import decode, encode, replay
from umd.control.control import Control
from umd.control.journal import CallJournal
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.testing import FakeBackend


class HandJournal:
    """A journal in memory; records become durable when the test calls `commit`."""

    durable = True

    def __init__(self) -> None:
        self.refusing: str | None = None
        self.kept: list[tuple[Call, bytes, float, bytes | None]] = []
        self.events: list[LifecycleEvent] = []
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()

    def append(
        self,
        call: Call,
        event: LifecycleEvent,
        extra: bytes | None,
        then: Callable[[Any], None] | None,
        argument: Any,
    ) -> None:
        self.events.append(event)
        self.kept.append((call, encode(call, event), event.at, extra))
        if then is not None:
            self._waiting.append((then, argument))

    def flush(self, then: Callable[[Any], None], argument: Any) -> None:
        self._waiting.append((then, argument))

    def commit(self) -> None:
        """Make everything so far durable, and call back."""
        for _ in range(len(self._waiting)):
            then, argument = self._waiting.popleft()
            then(argument)

    def settle(self) -> None:
        """Commit until no callback is left."""
        while self._waiting:
            self.commit()

    def event_names(self, call: Call) -> list[str]:
        return [type(e).__name__ for e in self.events if e.call == call.id]

    def calls(self) -> list[Call]:
        """Return the calls as a restarted umd reads them."""
        found: dict[str, Call] = {}
        for call, octets, at, _ in self.kept:
            found[call.id] = replay(found.get(call.id), decode(octets), at)
        return list(found.values())


WALL = 1_000_000.0


class JournalCase(SynchronousTestCase):
    settings = ControlSettings()

    def setUp(self) -> None:
        self.journal = HandJournal()
        self.clock = Clock()
        self.control, self.fake = self.make_control(self.journal)
        self.successResultOf(ensureDeferred(self.control.start()))

    def make_control(
        self, journal: CallJournal, wall: Callable[[], float] | None = None
    ) -> tuple[Control, FakeBackend]:
        fake = FakeBackend(clock=self.clock)
        self.log, self.lines = capturing_log()
        names = iter(f"leg-{number}" for number in range(1, 1000))
        control = Control(
            backends={"fake": fake},
            node="lab-1",
            clock=self.clock,
            wall=wall or (lambda: WALL + self.clock.seconds()),
            settings=self.settings,
            log=self.log,
            make_leg_name=lambda: next(names),
            journal=journal,
        )
        return control, fake

    def placed(self, number: str = "answers") -> Call:
        call = self.control.place(ALICE, number)
        self.journal.settle()
        return call

    def disconnect(self, call: Call) -> Deferred[Outcome]:
        return ensureDeferred(self.control.disconnect(ALICE, call.id, "r-1"))

    def assert_counts_agree(self) -> None:
        self.assertEqual(self.control.counts().miscounts, 0)
