"""
A journal on virtual time: group commits that take a while, fail or hang, and survive a crash.

Theory of operation. `VirtualDisk` holds the durable records and outlives umd. `VirtualStore` is the
store of one umd process and behaves as `umd.journal.sqlite` does: while one commit is on its way,
the records that follow wait for the next one. A commit has three steps, and umd can crash between
any two of them: it begins, it is durable, and in a later turn of the reactor umd acts on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from umd.journal.store import Row, Step, Store, Stored
from umd.lab.choices import CommitFate

RETRY_EVERY: Final = 0.5
"""Seconds between two attempts to write while the disk refuses, as in `umd.journal.sqlite`."""
STALL: Final = 8.0
"""Seconds that a commit takes if its sync hangs: longer than a Disconnect waits."""
DISK_FULL_FOR: Final = 33.0
"""Seconds for which a full disk refuses every commit."""


class CommitObserver(Protocol):
    """Follows the commits of a run."""

    def commit_begins(self, number: int) -> CommitFate | None:
        """Observe that a commit begins; return its fate, None: it becomes durable in time."""

    def commit_durable(self, number: int, records: Sequence[Stored]) -> None:
        """Observe that the records of a commit are durable; umd does not know yet."""

    def commit_refused(self, number: int) -> None:
        """Observe that the disk has refused a commit."""

    def commit_acted_on(self, number: int, records: Sequence[Stored]) -> None:
        """Observe that umd has acted on the records of a commit."""


Queued: TypeAlias = tuple[Row | None, Callable[[Any], object] | None, Any]
"""A record to write, None for a flush; what to call when it is durable, and with what argument."""


class VirtualDisk:
    """The durable records of all calls, in order."""

    def __init__(self) -> None:
        self.records: list[tuple[Stored, int]] = []
        """Each record, and its `Step` in the life of its call."""
        self.commits = 0
        """Commits that have begun."""
        self.full_until = 0.0
        """When the disk takes records again, on the virtual clock."""

    def write(self, rows: Sequence[Row]) -> list[Stored]:
        """Make records durable."""
        written = []
        for row in rows:
            stored = Stored(row.position, row.call, row.at, row.record, row.extra)
            self.records.append((stored, row.step))
            written.append(stored)
        return written

    def by_call(self) -> dict[str, list[tuple[Stored, int]]]:
        """Return the records of each call with their steps, in order."""
        calls = defaultdict(list)
        for stored, step in self.records:
            calls[stored.call].append((stored, step))
        return calls


class VirtualStore(Store):
    """
    The journal of one umd process.

    Args:
        disk: Holds the durable records.
        clock: The reactor of the process.
        commit_takes: Seconds from the beginning of a commit until it is durable.
        observer: Follows the commits.
        trouble_changed: Called with the reason when the disk begins to refuse, and with None when
            it takes records again.
    """

    def __init__(
        self,
        disk: VirtualDisk,
        clock: IReactorTime,
        commit_takes: float,
        observer: CommitObserver,
        trouble_changed: Callable[[str | None], object],
    ) -> None:
        self.trouble: str | None = None
        self.next_position = 1
        self.overdue = False
        """Whether a commit was refused or hangs, and is not durable yet."""
        self._disk = disk
        self._clock = clock
        self._commit_takes = commit_takes
        self._observer = observer
        self._trouble_changed = trouble_changed
        self._queue: list[Queued] = []
        self._committing = False

    def open(self) -> None:
        if self._disk.records:
            self.next_position = self._disk.records[-1][0].position + 1

    def live(self) -> Iterator[tuple[int, list[Stored]]]:
        live: dict[str, list[Stored]] = {}
        for stored, step in self._disk.records:
            live.setdefault(stored.call, []).append(stored)
            if step == Step.ENDS:
                del live[stored.call]
        for records in live.values():
            yield records[0].position, records

    def ended(self, since: float, limit: int) -> list[Stored]:
        ends = [stored for stored, step in self._disk.records if step == Step.ENDS]
        return ends[-limit:]

    def append(
        self, row: Row, then: Callable[[Any], object] | None = None, argument: Any = None
    ) -> None:
        self.next_position = row.position + 1
        self._queue.append((row, then, argument))
        self._commit_soon()

    def flush(self, then: Callable[[Any], object], argument: Any = None) -> None:
        self._queue.append((None, then, argument))
        self._commit_soon()

    def read(self, after: int, limit: int, call: str | None = None) -> Deferred[list[Stored]]:
        raise NotImplementedError

    def find(self, text: str, limit: int) -> Deferred[list[str]]:
        raise NotImplementedError

    def close(self) -> Deferred[None]:
        raise NotImplementedError

    def _commit_soon(self) -> None:
        """Begin a commit at the end of this turn of the reactor, unless one is under way."""
        if not self._committing:
            self._committing = True
            self._clock.callLater(0.0, self._begin_commit)

    def _begin_commit(self) -> None:
        disk = self._disk
        disk.commits += 1
        number = disk.commits
        fate = self._observer.commit_begins(number)
        now = self._clock.seconds()
        if fate is CommitFate.FILL:
            disk.full_until = now + DISK_FULL_FOR
        if fate is CommitFate.REFUSE or now < disk.full_until:
            self.overdue = True
            self._clock.callLater(self._commit_takes, self._refuse, number)
            return
        batch, self._queue = self._queue, []
        takes = self._commit_takes
        if fate is CommitFate.STALL:
            self.overdue = True
            takes = STALL
        self._clock.callLater(takes, self._finish_commit, number, batch)

    def _refuse(self, number: int) -> None:
        """Refuse a commit: its records wait for the next attempt."""
        self._clock.callLater(RETRY_EVERY, self._begin_commit)
        self._observer.commit_refused(number)
        if self.trouble is None:
            self.trouble = "database or disk is full"
            self._trouble_changed(self.trouble)

    def _finish_commit(self, number: int, batch: list[Queued]) -> None:
        records = self._disk.write([row for row, _, _ in batch if row is not None])
        self._observer.commit_durable(number, records)
        self._clock.callLater(0.0, self._act, number, batch, records)
        if self._queue:
            self._clock.callLater(0.0, self._begin_commit)
        else:
            self._committing = False

    def _act(self, number: int, batch: list[Queued], records: Sequence[Stored]) -> None:
        self.overdue = False
        if self.trouble is not None:
            self.trouble = None
            self._trouble_changed(None)
        for _, then, argument in batch:
            if then is not None:
                then(argument)
        self._observer.commit_acted_on(number, records)
