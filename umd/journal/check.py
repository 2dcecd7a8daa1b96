"""
Checks a journal: its records against each other, and its index against its records.

It works in steps, between which a umd that has the journal open writes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from umd.journal.queries import JournalQueries
from umd.journal.store import Step

PROBLEMS_TOLD: Final = 100
"""Others are counted."""
ROWS_PER_STEP: Final = 2000
"""More than a commit writes, so that a check comes to an end; a step takes some milliseconds."""


class JournalCheck:
    """
    One check of one journal, which is open and from which nothing is removed meanwhile.

    Args:
        file: the journal.
        seq_of: reads the number that a record has among those of its call; raises ValueError.
        rows: how many rows a step looks at.
    """

    def __init__(
        self, file: JournalQueries, seq_of: Callable[[bytes], int], rows: int = ROWS_PER_STEP
    ) -> None:
        self.problems: list[str] = []
        self.found = 0
        """How many problems there are; more than are told, maybe."""
        self.records = 0
        self.calls = 0
        self.live_calls = 0
        self._file = file
        self._seq_of = seq_of
        self._rows = rows
        self._at = 0
        """The position of the last record that was looked at."""
        self._positions = 0
        """The sum of all of them."""
        self._live: dict[str, tuple[int, int]] = {}
        """Of each call that goes on where we are: its first position, and its last number."""
        self._homeless: dict[str, int] = {}
        """Records of calls that have no beginning before them."""
        self._steps = self._work()

    def step(self) -> bool:
        """Look at some more; returns whether there is more to look at."""
        try:
            return next(self._steps, False)
        except sqlite3.Error as error:
            self._problem(f"the file cannot be read behind position {self._at}: {error}")
            return False

    def result(self) -> dict[str, Any]:
        """What was found, as JSON."""
        return {
            "records": self.records,
            "calls": self.calls,
            "live_calls": self.live_calls,
            "found": self.found,
            "problems": self.problems,
        }

    def _work(self) -> Iterator[bool]:
        file = self._file
        while self._look_at_records():
            yield True
        file.index_all()
        indexed = yield from self._parts()
        yield from self._names(indexed[0])
        # What was written meanwhile, and what lives now: in one step, so that they belong together.
        before = self.records
        while self._look_at_records():
            pass
        file.index_all()
        self._live_calls()
        for call, position in self._homeless.items():
            self._problem(f"position {position}: call {call} has no beginning")
        if before != indexed[1]:
            self._problem(f"the index has {indexed[1]} of {before} records")
        if file.last < self._at:
            self._problem(f"position {self._at} is behind the last one, {file.last}")

    def _look_at_records(self) -> bool:
        rows = self._file.copy_of(self._at, self._rows)
        for position, call, step, _, record, _ in rows:
            self._record(position, call, step, record)
        if rows:
            self._at = rows[-1][0]
        return len(rows) == self._rows

    def _record(self, position: int, call: str, step: int, record: bytes) -> None:
        self.records += 1
        self._positions += position
        begun, last = self._live.get(call, (position, 0))
        try:
            seq = self._seq_of(record)
        except ValueError as error:
            self._problem(f"position {position}: call {call}: {error}")
            seq = last + 1
        if step == Step.BEGINS:
            self.calls += 1
            self._live[call] = (position, seq)
            self._homeless.pop(call, None)
            return
        if call not in self._live:
            self._homeless.setdefault(call, position)
            return
        if seq != last + 1:
            self._problem(f"position {position}: call {call}: record {seq} follows on {last}")
        if step == Step.ENDS:
            del self._live[call]
        else:
            self._live[call] = (begun, seq)

    def _parts(self) -> Generator[bool, None, tuple[int, int]]:
        """The index of records: returns how many calls and how many records it has."""
        calls = records = positions = after = 0
        upto = self._at
        while True:
            rows = self._file.parts(after, upto, self._rows)
            for begun, count, total, wrong in rows:
                calls += 1
                records += count
                positions += total
                if wrong:
                    self._problem(f"index: {wrong} records of the call that began at {begun}")
            if not rows:
                break
            after = rows[-1][0]
            yield True
        if records == self.records and positions != self._positions:
            self._problem("index: it has other records than the journal")
        return calls, records

    def _names(self, calls: int) -> Iterator[bool]:
        named = 0
        after = -1
        while True:
            batch = self._file.names(after, self._at)
            if batch is None:
                break
            after, count, wrong = batch
            named += count
            if wrong:
                self._problem(f"index: {wrong} names of batch {after} lead to another call")
            yield True
        if named != calls:
            self._problem(f"index: {named} names of {calls} calls")

    def _live_calls(self) -> None:
        self.live_calls = len(self._live)
        begun = sum(begun for begun, _ in self._live.values())
        if self._file.live_counts() == (len(self._live), begun):
            return
        there = self._file.live_begun()
        for call in sorted({*there, *self._live}):
            first, _ = self._live.get(call, (None, 0))
            if there.get(call) != first:
                words = "lives, and the index does not say so" if first else "is not live"
                self._problem(f"index: call {call} {words}")

    def _problem(self, text: str) -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_TOLD:
            self.problems.append(text)
