"""What the lab found, for eyes, for programs (JSON lines) and for CI (JUnit)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO
from xml.etree import ElementTree

import click

from umd.cli import exits

AS_EXPECTED: Final = exits.DONE
NOT_AS_EXPECTED: Final = exits.NOT_SO
VIOLATED: Final = exits.VIOLATED

WORDS: Final = {AS_EXPECTED: "ok", NOT_AS_EXPECTED: "not met", VIOLATED: "VIOLATED"}
COLOURS: Final = {AS_EXPECTED: "green", NOT_AS_EXPECTED: "yellow", VIOLATED: "red"}


@dataclass
class Verdict:
    """What is said of one scenario, or of one part of an exploration."""

    suite: str
    name: str
    status: int
    took: float
    """Seconds on the wall clock."""
    said: list[str] = field(default_factory=list)
    """What was not as it must be, one line each."""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return WORDS[self.status]

    def as_json(self) -> str:
        """One object on one line."""
        return json.dumps(
            {
                "suite": self.suite,
                "name": self.name,
                "verdict": {0: "ok", 1: "not-met", 4: "violated"}[self.status],
                "took_s": round(self.took, 3),
                "said": self.said,
                **self.figures,
            }
        )


def status_of(verdicts: Iterable[Verdict]) -> int:
    """The exit status of them all: the worst."""
    return max((verdict.status for verdict in verdicts), default=AS_EXPECTED)


def show(verdict: Verdict, width: int = 30) -> None:
    """One line for eyes, and one for each thing that was wrong."""
    word = click.style(f"{verdict.word:8}", fg=COLOURS[verdict.status])
    figures = "   ".join(_figure(key, value) for key, value in verdict.figures.items())
    click.echo(f"{word}  {verdict.name:{width}}  {figures}".rstrip())
    for words in verdict.said:
        click.echo(f"          {words}")


def _figure(key: str, value: Any) -> str:
    if key.endswith("_s"):
        return f"{key[:-2].replace('_', ' ')} {value:,.3f} s"
    return f"{value:,} {key.replace('_', ' ')}" if isinstance(value, int) else f"{key} {value}"


def write_junit(file: str, verdicts: Sequence[Verdict]) -> None:
    """
    Write JUnit's XML: an expectation that was not met is a failure, a broken invariant an error.

    Raises:
        OSError: it cannot be written.
    """
    root = ElementTree.Element("testsuites", name="umd lab")
    for suite in dict.fromkeys(verdict.suite for verdict in verdicts):
        cases = [verdict for verdict in verdicts if verdict.suite == suite]
        element = ElementTree.SubElement(
            root,
            "testsuite",
            name=suite,
            tests=str(len(cases)),
            failures=str(sum(case.status == NOT_AS_EXPECTED for case in cases)),
            errors=str(sum(case.status == VIOLATED for case in cases)),
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
    if case.status != AS_EXPECTED:
        kind = "error" if case.status == VIOLATED else "failure"
        first = case.said[0] if case.said else case.word
        told = ElementTree.SubElement(element, kind, message=first)
        told.text = "\n".join(case.said)


class Progress:
    """Says how far it is: over and over on a terminal, a line every few seconds in a log."""

    EVERY: Final = 5.0  # seconds between two lines of a log
    OFTEN: Final = 0.2  # seconds between two looks of a terminal

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._next = self._began + (self.OFTEN if self._terminal else self.EVERY)

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def tell(self, done: int, left: str) -> None:
        """
        Say it, when it is time.

        Args:
            done: how many of what it is about.
            left: what is left, in words.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (self.OFTEN if self._terminal else self.EVERY)
        rate = done / (now - self._began)
        line = f"{done:,} {self._what}, {rate:,.0f} a second, {left}"
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        self._stream.flush()

    def done(self) -> None:
        """Take it away from the terminal."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
