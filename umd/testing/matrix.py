"""Runs the contract against a backend, and gives the result of each behaviour."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final
from unittest import TestResult
from xml.etree import ElementTree

import structlog
from twisted.trial.unittest import TestCase

from umd.testing.contract import LegBackendContract
from umd.testing.contract.behaviour import Behaviour, behaviours

MAX_WHY_CHARACTERS: Final = 1000


class Result(StrEnum):
    """How a behaviour came out."""

    PASS = "pass"
    FAIL = "fail"
    NOT_OFFERED = "not-offered"
    """The backend does not offer it, or its contract cannot bring it about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one behaviour."""

    behaviour: Behaviour
    result: Result
    why: str = ""
    """Why it failed or is not offered; empty if it passed."""

    def as_json(self, backend: str) -> str:
        """Return the row as a JSON object on one line."""
        row: dict[str, str] = {
            "backend": backend,
            "id": self.behaviour.id,
            "rule": self.behaviour.rule,
            "result": self.result,
        }
        return json.dumps({**row, "why": self.why} if self.why else row)


def run_contract(
    contract: type[LegBackendContract],
    overrides: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> Iterator[Row]:
    """
    Test each behaviour of a contract, and yield its row.

    What the backend logs is dropped meanwhile.

    Args:
        contract: need not be a TestCase.
        overrides: keys that replace those of the contract's `section`.
        only: beginnings of the ids of the behaviours to test; empty: all.
    """
    with TemporaryDirectory(prefix="umd-contract-") as scratch, _silent_log():

        def mktemp(self: TestCase) -> str:
            return f"{mkdtemp(dir=scratch)}/file"

        attributes = {"overrides": dict(overrides or {}), "mktemp": mktemp}
        bases = (contract,) if issubclass(contract, TestCase) else (contract, TestCase)
        case: Any = type(contract.__name__, bases, attributes)
        for behaviour in chosen_behaviours(contract, only):
            yield _run(case(behaviour.test), behaviour)


def chosen_behaviours(contract: type, only: Sequence[str]) -> list[Behaviour]:
    """Return the behaviours whose ids begin with one of `only`; all if that is empty."""
    return [found for found in behaviours(contract) if found.id.startswith(tuple(only or [""]))]


class _Outcome(TestResult):
    """The result of one test."""

    interrupted = False
    """Whether trial has caught a KeyboardInterrupt."""

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.interrupted |= isinstance(err[1], KeyboardInterrupt)


def _run(test: Any, behaviour: Behaviour) -> Row:
    result = _Outcome()
    test.run(result)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.failures or result.errors:
        _, text = [*result.failures, *result.errors][0]
        return Row(behaviour=behaviour, result=Result.FAIL, why=_last_words(str(text)))
    left_out = result.skipped[0][1] if result.skipped else test.left_out
    if left_out is not None:
        return Row(behaviour=behaviour, result=Result.NOT_OFFERED, why=str(left_out))
    return Row(behaviour=behaviour, result=Result.PASS)


def _last_words(traceback: str) -> str:
    """Return the error at the end of a traceback, without the names of files, on one line."""
    lines = traceback.strip().splitlines()
    last_frame = max((n for n, line in enumerate(lines) if line.startswith("  File ")), default=-2)
    words = " ".join(" ".join(lines[last_frame + 2 :]).split())
    return words.removeprefix("twisted.trial.unittest.FailTest: ")[:MAX_WHY_CHARACTERS]


@contextmanager
def _silent_log() -> Iterator[None]:
    def drop(*event: object) -> Any:
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def write_junit(file: str, backend: str, rows: Sequence[Row]) -> None:
    """
    Write the rows as JUnit XML: what is not offered is a skipped test.

    Raises:
        OSError: The file cannot be written.
    """
    suite = ElementTree.Element(
        "testsuite",
        name=f"umd backend-contract {backend}",
        tests=str(len(rows)),
        failures=str(sum(row.result is Result.FAIL for row in rows)),
        errors="0",
        skipped=str(sum(row.result is Result.NOT_OFFERED for row in rows)),
    )
    tags = {Result.FAIL: "failure", Result.NOT_OFFERED: "skipped"}
    for row in rows:
        name = f"{row.behaviour.id}: {row.behaviour.rule}"
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"umd.contract.{backend}", name=name
        )
        if row.result in tags:
            ElementTree.SubElement(case, tags[row.result], message=_valid_xml(row.why))
    ElementTree.indent(suite)
    ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


def _valid_xml(text: str) -> str:
    """Return a text without the characters that XML cannot have."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
