"""
Checks a journal: the records of each call against each other, and the index against the records.

The check works in steps. A umd that has the journal open writes between them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from umd.journal.queries import JournalQueries
from umd.journal.store import Step

MAX_PROBLEMS_LISTED: Final = 100
"""Further problems are only counted."""
ROWS_PER_STEP: Final = 2000
"""
Rows read in one step, which takes some milliseconds.

More than umd writes between two steps, so that the check reaches the end of a growing journal.
"""


class JournalCheck:
    """
    One check of an open journal. Nothing may be pruned from the journal meanwhile.

    Args:
        file: the journal.
        seq_of: returns the number of a record among those of its call; raises ValueError.
        rows: how many rows to read in one step.
    """

    def __init__(
        self, file: JournalQueries, seq_of: Callable[[bytes], int], rows: int = ROWS_PER_STEP
    ) -> None:
        self.problems: list[str] = []
        """The first `MAX_PROBLEMS_LISTED` problems, in words."""
        self.found = 0
        """How many problems were found, those not listed included."""
        self.records = 0
        """How many records were read."""
        self.calls = 0
        """How many calls begin in these records."""
        self.live_calls = 0
        """How many of these calls have not ended."""
        self._file = file
        self._seq_of = seq_of
        self._rows = rows
        self._position = 0
        """The position of the last record read."""
        self._sum_of_positions = 0
        """The sum of the positions of all records read."""
        self._live: dict[str, tuple[int, int]] = {}
        """For each live call: the position of its first record, and the number of its last."""
        self._without_beginning: dict[str, int] = {}
        """The position of the first record of each call that has no beginning before it."""
        self._steps = self._check()

    def step(self) -> bool:
        """Do the next step, and return whether more are left."""
        try:
            return next(self._steps, False)
        except sqlite3.Error as error:
            self._problem(f"the file cannot be read behind position {self._position}: {error}")
            return False

    def result(self) -> dict[str, Any]:
        """Return the counts and the problems as JSON values."""
        return {
            "records": self.records,
            "calls": self.calls,
            "live_calls": self.live_calls,
            "found": self.found,
            "problems": self.problems,
        }

    def _check(self) -> Iterator[bool]:
        file = self._file
        while self._read_records():
            yield True
        file.update_index()
        calls, records = yield from self._check_indexed_calls()
        yield from self._check_names(calls)
        # The last records and the live calls in one step, so that both are of one moment.
        records_before = self.records
        while self._read_records():
            pass
        file.update_index()
        self._check_live_calls()
        for call, position in self._without_beginning.items():
            self._problem(f"position {position}: call {call} has no beginning")
        if records_before != records:
            self._problem(f"the index has {records} of {records_before} records")
        if file.last < self._position:
            self._problem(f"position {self._position} is behind the last one, {file.last}")

    def _read_records(self) -> bool:
        """Check the next rows of records, and return whether more are left."""
        rows = self._file.rows_after(self._position, self._rows)
        for position, call, step, _, record, _, begun in rows:
            self._check_begun(position, call, step, begun)
            self._check_record(position, call, step, record)
        if rows:
            self._position = rows[-1][0]
        return len(rows) == self._rows

    def _check_begun(self, position: int, call: str, step: int, begun: int | None) -> None:
        """Check where a record says that its call begins; records before schema 3 do not say it."""
        first = position if step == Step.BEGINS else self._live.get(call, (begun, 0))[0]
        if begun is not None and begun != first:
            text = f"call {call} begins at {first}, and the record says at {begun}"
            self._problem(f"position {position}: {text}")

    def _check_record(self, position: int, call: str, step: int, record: bytes) -> None:
        self.records += 1
        self._sum_of_positions += position
        first_position, last_seq = self._live.get(call, (position, 0))
        try:
            seq = self._seq_of(record)
        except ValueError as error:
            self._problem(f"position {position}: call {call}: {error}")
            seq = last_seq + 1
        if step == Step.BEGINS:
            self.calls += 1
            if call in self._live:
                self._problem(f"position {position}: call {call} begins again, and has not ended")
            self._live[call] = (position, seq)
            self._without_beginning.pop(call, None)
            return
        if call not in self._live:
            self._without_beginning.setdefault(call, position)
            return
        if seq != last_seq + 1:
            self._problem(f"position {position}: call {call}: record {seq} follows {last_seq}")
        if step == Step.ENDS:
            del self._live[call]
        else:
            self._live[call] = (first_position, seq)

    def _check_indexed_calls(self) -> Generator[bool, None, tuple[int, int]]:
        """Check the events of each call in the index; return how many calls and events it has."""
        calls = records = positions = after = 0
        upto = self._position
        while rows := self._file.indexed_calls(after, upto, self._rows):
            for begun, count, total, wrong in rows:
                calls += 1
                records += count
                positions += total
                if wrong:
                    self._problem(f"index: {wrong} records of the call that began at {begun}")
            after = rows[-1][0]
            yield True
        if records == self.records and positions != self._sum_of_positions:
            self._problem("index: it has other records than the journal")
        return calls, records

    def _check_names(self, calls: int) -> Iterator[bool]:
        """Check the call ids in the index, one for each of the `calls` that it has."""
        names = 0
        batch = -1
        while found := self._file.next_name_batch(batch, self._position):
            batch, count, wrong = found
            names += count
            if wrong:
                self._problem(f"index: {wrong} names of batch {batch} lead to another call")
            yield True
        if names != calls:
            self._problem(f"index: {names} names of {calls} calls")

    def _check_live_calls(self) -> None:
        self.live_calls = len(self._live)
        sum_of_positions = sum(first for first, _ in self._live.values())
        if self._file.live_totals() == (len(self._live), sum_of_positions):
            return
        live = {first: call for call, (first, _) in self._live.items()}
        indexed = self._file.live_positions()
        for begun in sorted(live.keys() ^ indexed.keys()):
            if begun in live:
                self._problem(f"index: call {live[begun]} is live, and the index does not say so")
            else:
                self._problem(f"index: call {indexed[begun]} is not live")

    def _problem(self, text: str) -> None:
        self.found += 1
        if len(self.problems) < MAX_PROBLEMS_LISTED:
            self.problems.append(text)
