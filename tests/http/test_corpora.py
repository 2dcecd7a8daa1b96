"""
Requests that others collected: 137 of gunicorn's, 161 of llhttp's; see the README.md beside them.

What is refused there is refused here. What is taken there is taken as the same number of requests,
or is in STRICTER with the reason why umd refuses it.
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
"""What umd refuses though others take it: with which status, and why."""


@dataclass(frozen=True)
class Case:
    """One file of a corpus, and what is expected of it."""

    file: str
    octets: bytes
    verdict: str
    """`accept`, `reject` or `upgrade`."""
    requests: int | None
    """How many there are in it, where it is taken and the corpus says so."""
    settings: str
    """Under which others refuse it; without them it is free."""


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
    def check(self, one: Case) -> None:
        readers = [read(one.octets, size) for size in SPLITS]
        outcomes = [
            (reader.refusal and reader.refusal.status, len(reader.complete), reader.part)
            for reader in readers
        ]
        self.assertEqual(len(set(outcomes)), 1, (one.file, outcomes))
        status, number, part = outcomes[0]
        stricter = STRICTER.get(one.file)
        if stricter is not None:
            self.assertEqual(status, int(stricter["status"]), one.file)
            self.assertLess(number, one.requests or 1, one.file)
        elif one.verdict == "accept" and part is Part.NONE:
            self.assertIn(status, (None, NO_MORE_REQUESTS.status), one.file)
            self.assertEqual(number, one.requests, one.file)
        elif one.verdict == "upgrade" and not status:
            # The offer is ignored: what follows the request begins the next one.
            self.assertEqual((number, part), (1, Part.HEAD), one.file)
        elif part is not Part.NONE:
            # The end does not come: 408 when its time is over.
            self.assertEqual((status, number), (None, 0), one.file)
        elif one.settings:
            self.assertEqual(number, 0 if status else 1, one.file)
        else:
            self.assertGreaterEqual(status or 0, 400, one.file)
            self.assertEqual(number, 0, one.file)

    def test_gunicorn(self) -> None:
        cases = list(gunicorn())
        self.assertEqual(len(cases), 137)
        for one in cases:
            self.check(one)

    def test_llhttp(self) -> None:
        cases = list(llhttp())
        self.assertEqual(len(cases), 161)
        for one in cases:
            self.check(one)

    def test_each_that_is_stricter_says_why(self) -> None:
        files = {one.file for one in (*gunicorn(), *llhttp()) if one.verdict == "accept"}
        for file, row in STRICTER.items():
            self.assertIn(file, files)
            self.assertTrue(row["reason"])
