"""
Requests from the test suites of gunicorn (137) and llhttp (161); see the README.md beside them.

umd refuses every request that they refuse. A request that they accept is accepted as the same
number of requests, or is in STRICTER with the reason why umd refuses it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.http.helpers import SPLITS, read
from umd.http.reader import NO_MORE_REQUESTS, Part

DATA = Path(__file__).parent.parent / "data"

STRICTER = {
    row["file"]: row
    for row in csv.DictReader((DATA / "http-stricter.tsv").read_text().splitlines(), delimiter="\t")
}
"""Requests that umd refuses although others accept them, with the status and the reason."""


@dataclass(frozen=True)
class Case:
    """One file of a corpus with the expected result."""

    file: str
    octets: bytes
    verdict: str
    """`accept`, `reject` or `upgrade`."""
    requests: int | None
    """Requests in the file, if it is accepted and the corpus gives the number."""
    settings: str
    """Options under which others refuse it; empty if it is refused in any case."""


def gunicorn() -> Iterator[Case]:
    for row in rows("http-gunicorn"):
        file, verdict, _, settings = row
        found = re.search(r"accept (\d+) request", verdict)
        number = int(found[1]) if found else None
        yield case("http-gunicorn", file, verdict.split()[0], number, settings)


def llhttp() -> Iterator[Case]:
    for row in rows("http-llhttp"):
        file, mode, verdict, detail, *_ = row
        if mode not in ("request", "request-finish"):
            verdict = "reject"  # a leniency flag would let it through, and none is set
        found = re.search(r"message complete x(\d+)", detail)
        yield case("http-llhttp", file, verdict.split("/")[0], int(found[1]) if found else None, "")


def rows(corpus: str) -> list[list[str]]:
    lines = (DATA / corpus / "EXPECT.tsv").read_text("utf-8").splitlines()[1:]
    return [line.split("\t") for line in lines]


def case(corpus: str, file: str, verdict: str, number: int | None, settings: str) -> Case:
    return Case(file, (DATA / corpus / file).read_bytes(), verdict, number, settings)


class CorpusTests(SynchronousTestCase):
    def check(self, case: Case) -> None:
        readers = [read(case.octets, size) for size in SPLITS]
        outcomes = [
            (reader.refusal and reader.refusal.status, len(reader.complete), reader.part)
            for reader in readers
        ]
        self.assertEqual(len(set(outcomes)), 1, (case.file, outcomes))
        status, number, part = outcomes[0]
        stricter = STRICTER.get(case.file)
        if stricter is not None:
            self.assertEqual(status, int(stricter["status"]), case.file)
            self.assertLess(number, case.requests or 1, case.file)
        elif case.verdict == "accept" and part is Part.NONE:
            self.assertIn(status, (None, NO_MORE_REQUESTS.status), case.file)
            self.assertEqual(number, case.requests, case.file)
        elif case.verdict == "upgrade" and not status:
            # The offer is ignored: what follows the request begins the next case.
            self.assertEqual((number, part), (1, Part.HEAD), case.file)
        elif part is not Part.NONE:
            # The end does not come: 408 when its time is over.
            self.assertEqual((status, number), (None, 0), case.file)
        elif case.settings:
            self.assertEqual(number, 0 if status else 1, case.file)
        else:
            self.assertGreaterEqual(status or 0, 400, case.file)
            self.assertEqual(number, 0, case.file)

    def test_gunicorn(self) -> None:
        cases = list(gunicorn())
        self.assertEqual(len(cases), 137)
        for case in cases:
            self.check(case)

    def test_llhttp(self) -> None:
        cases = list(llhttp())
        self.assertEqual(len(cases), 161)
        for case in cases:
            self.check(case)

    def test_each_stricter_check_has_a_reason(self) -> None:
        files = {case.file for case in (*gunicorn(), *llhttp()) if case.verdict == "accept"}
        for file, row in STRICTER.items():
            self.assertIn(file, files)
            self.assertTrue(row["reason"])
