"""Verdicts of the lab, as JSON lines and as JUnit XML, and the progress of a long run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TextIO
from xml.etree import ElementTree


class Status(StrEnum):
    """How a scenario, or a part of an exploration, came out; the worst is the last."""

    OK = "ok"
    """Every expectation was met, and no invariant was violated."""
    NOT_MET = "not-met"
    """An expectation of the scenario was not met."""
    VIOLATED = "violated"
    """An invariant was violated."""


SEVERITY: Final = {status: number for number, status in enumerate(Status)}


@dataclass
class Verdict:
    """The verdict on one scenario, or on one part of an exploration."""

    suite: str
    name: str
    status: Status
    took: float
    """Seconds on the wall clock."""
    problems: list[str] = field(default_factory=list)
    """Unmet expectations and violations, one line each."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Counts and durations by name; a duration in seconds has a name that ends in `_s`."""

    def as_json(self) -> str:
        """Return the verdict as a JSON object on one line."""
        return json.dumps(
            {
                "suite": self.suite,
                "name": self.name,
                "verdict": self.status,
                "took_s": round(self.took, 3),
                "said": self.problems,
                **self.figures,
            }
        )


def worst_status(verdicts: Iterable[Verdict]) -> Status:
    """Return the worst status of some verdicts; `OK` where there are none."""
    statuses = (verdict.status for verdict in verdicts)
    return max(statuses, key=SEVERITY.__getitem__, default=Status.OK)


def write_junit(file: str, verdicts: Sequence[Verdict]) -> None:
    """
    Write JUnit XML: an unmet expectation is a failure, a violated invariant an error.

    Raises:
        OSError: The file cannot be written.
    """
    root = ElementTree.Element("testsuites", name="umd lab")
    for suite in dict.fromkeys(verdict.suite for verdict in verdicts):
        cases = [verdict for verdict in verdicts if verdict.suite == suite]
        element = ElementTree.SubElement(
            root,
            "testsuite",
            name=suite,
            tests=str(len(cases)),
            failures=str(sum(case.status is Status.NOT_MET for case in cases)),
            errors=str(sum(case.status is Status.VIOLATED for case in cases)),
            skipped="0",
            time=f"{sum(case.took for case in cases):.3f}",
        )
        for case in cases:
            _write_case(element, case)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _write_case(suite: ElementTree.Element, case: Verdict) -> None:
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"umd.lab.{case.suite}",
        name=case.name,
        time=f"{case.took:.3f}",
    )
    if case.status is not Status.OK:
        kind = "error" if case.status is Status.VIOLATED else "failure"
        first = case.problems[0] if case.problems else str(case.status)
        problem = ElementTree.SubElement(element, kind, message=first)
        problem.text = "\n".join(case.problems)


class Progress:
    """
    Prints how far a long run has come: over and over on a terminal, every few seconds in a log.

    Args:
        unit: What is counted, in the plural.
        stream: Where to print; standard error by default.
    """

    LOG_INTERVAL: Final = 5.0
    """Seconds between two lines of a log."""
    TERMINAL_INTERVAL: Final = 0.2
    """Seconds between two updates of a terminal."""

    def __init__(self, unit: str, stream: TextIO | None = None) -> None:
        self._unit = unit
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._interval = self.TERMINAL_INTERVAL if self._is_terminal else self.LOG_INTERVAL
        self._began = time.monotonic()
        self._next = self._began + self._interval

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def update(self, done: int, left: str) -> None:
        """
        Print the progress if it is time to.

        Args:
            done: How many are done.
            left: What is left, as text.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._interval
        rate = done / (now - self._began)
        line = f"{done:,} {self._unit}, {rate:,.0f} a second, {left}"
        self._stream.write(f"\r{line}\x1b[K" if self._is_terminal else f"{line}\n")
        self._stream.flush()

    def done(self) -> None:
        """Clear the line of the terminal."""
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
