"""
Writes docs/truth.md: forty behaviours, and whether each holds on the backend `sip`.

    python -m tests.interop.truth
    python -m tests.interop.truth test_27 test_38

With arguments, only the tests whose names begin with one of them are run; the page keeps the
results of the others. The tests need the peers of `tests.interop.peers`. The exit status is 0 if
all tests that were run passed and none was skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import unittest
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "truth.md"
PEERS: Final = {
    "SippTruthTests": "SIPp",
    "KamailioTruthTests": "Kamailio",
    "AsteriskTruthTests": "Asterisk",
}
"""The peer that umd calls in each test case."""

BEHAVIOURS: Final = {
    1: "dialled, nothing heard yet: CANCEL only after a provisional",
    2: "only 100 heard: CANCEL, 487, ACK",
    3: "ringing: CANCEL, 487, ACK",
    4: "early media: the same",
    5: "two forks ringing: both stop",
    6: "answered, ACK not yet there: ACK, then BYE",
    7: "talking: one BYE on each leg",
    8: "on hold: BYE",
    9: "re-INVITE under way: answered or given up, BYE",
    10: "transferred: who is on the line now is down",
    11: "bridged: two legs, either one named",
    12: "ending already: the same answer, one BYE",
    13: "ended by itself a moment before: already-ended, nothing sent",
    14: "ended long ago: already-ended, nothing sent",
    15: "never existed, garbage: the fault, nothing sent",
    16: "200 to BYE: confirmed",
    17: "481 to BYE: confirmed, it is gone",
    18: "408, 500 or 503 to BYE: unconfirmed, the status on record",
    19: "BYE challenged: sent again with credentials; without them unconfirmed",
    20: "mute to BYE: reply at the deadline, BYE until 64 T1, then unconfirmed",
    21: "vanished: the same",
    22: "BYE answered after 2 s: confirmed, sent again meanwhile",
    23: "200 crosses CANCEL: ACK, BYE",
    24: "CANCEL refused with 481 although it rings: unconfirmed",
    25: "mute to CANCEL: 64 T1, unconfirmed",
    26: "487 repeated: ACK again, one end",
    27: "BYEs cross: both answered, one end, by who asked first",
    28: "hangs up by itself: the cause as it came",
    29: "refuses: status and cause on record, then already-ended",
    30: "redirects or rings out: one end, true cause",
    31: "umd killed between request and teardown: carried out once",
    32: "umd restarted with live calls: all known, each ended once",
    33: "call began while umd was down",
    34: "call ended while umd was down: one end, cause as far as it can be known",
    35: "call that umd did not place",
    36: "control connection lost with the request under way",
    37: "control connection down when asked",
    38: "PBX restarted, its calls gone: each lost once, no false confirmation",
    39: "the PBX says done and it is not: noticed, unconfirmed",
    40: "fifty clients at once, many ends at once: one teardown each",
}
NOT_HERE: Final = {
    10: "a call of a SIP trunk has one dialog, whose identifiers do not change",
    33: "every call of a SIP trunk is one that umd has placed",
    35: "every call of a SIP trunk is one that umd has placed",
    36: "there is no control connection, only SIP itself",
    37: "there is no control connection, only SIP itself",
}
"""Rows that do not apply to a SIP trunk, and the reasons."""
NOT_WITH: Final = {
    ("Kamailio", 1): "a proxy says 100 at once",
    ("SIPp", 11): "it has one leg",
    ("Kamailio", 11): "it has one leg",
    ("SIPp", 39): "it is the far end itself: rows 24 and 25",
}
"""Rows that do not apply to one peer, and the reasons."""


INTRODUCTION: Final = """\
# What is true when umd says that a call is down

Forty behaviours, on the backend `sip`. A behaviour holds with a peer if its tests passed. The tests
drive a running umd over SOAP. They compare the log of the far end, the reply to the client and the
journal of umd. They are in `tests/interop/test_truth.py`; `python -m tests.interop.truth` runs them
and writes this page.

"""


class Outcome(NamedTuple):
    """The result of one test."""

    peer: str
    rows: tuple[int, ...]
    test: str
    result: str
    """`holds`, `FAILS` or `not run`."""


class Results(unittest.TestResult):
    """Collects and prints the result of each test."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome] = []
        self._bad: dict[str, str] = {}

    def addFailure(self, test: Any, error: Any) -> None:
        super().addFailure(test, error)
        self._bad[test.id()] = "FAILS"

    def addError(self, test: Any, error: Any) -> None:
        super().addError(test, error)
        self._bad[test.id()] = "FAILS"

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._bad[test.id()] = "not run"

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        _, case, name = test.id().rsplit(".", 2)
        result = self._bad.get(test.id(), "holds")
        print(f"{PEERS[case]:10}{name:60}{result}", flush=True)
        peer = PEERS[case]
        self.outcomes.append(Outcome(peer, rows_of(peer, name), name, result))


def rows_of(peer: str, name: str) -> tuple[int, ...]:
    """Return the rows that a test shows with a peer: (7, 16) for `test_07_16_talking`."""
    match = re.match(r"test((?:_\d\d)+)_", name)
    rows = [int(row) for row in match[1].split("_")[1:]] if match else []
    return tuple(row for row in rows if (peer, row) not in NOT_WITH)


def page(outcomes: list[Outcome], header: str) -> str:
    """Return the text of the page."""
    shown: Mapping[tuple[int, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for row in outcome.rows:
            shown[row, outcome.peer].append(outcome)
    peers = list(PEERS.values())
    lines = [
        *INTRODUCTION.splitlines(),
        header,
        "",
        "| # | behaviour | " + " | ".join(peers) + " |",
        "| --- | --- |" + " --- |" * len(peers),
    ]
    for row, behaviour in BEHAVIOURS.items():
        cells = [_cell(row, peer, shown[row, peer]) for peer in peers]
        lines.append("| " + " | ".join([str(row), behaviour, *cells]) + " |")
    lines += ["", "n/a: the backend or the peer cannot have it.", ""]
    lines += [f"- {row}: {reason}." for row, reason in NOT_HERE.items()]
    lines += [f"- {row} with {peer}: {reason}." for (peer, row), reason in NOT_WITH.items()]
    lines += ["", "-: not shown with this peer.", "", "## Tests", ""]
    lines += ["| peer | # | test | last result |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        rows = ", ".join(map(str, outcome.rows))
        lines.append(f"| {outcome.peer} | {rows} | `{outcome.test}` | {outcome.result} |")
    return "\n".join(lines) + "\n"


def read_outcomes(text: str) -> list[Outcome]:
    """Return the results in the text of a page."""
    lines = re.findall(r"^\| (\w+) \| [\d, ]+ \| `(\w+)` \| ([\w ]+) \|$", text, re.MULTILINE)
    return [Outcome(peer, rows_of(peer, test), test, result) for peer, test, result in lines]


def _cell(row: int, peer: str, outcomes: list[Outcome]) -> str:
    if row in NOT_HERE or (peer, row) in NOT_WITH:
        return "n/a"
    results = {outcome.result for outcome in outcomes}
    return next((bad for bad in ("FAILS", "not run", "holds") if bad in results), "-")


def _tests(suite: Any) -> Iterator[Any]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


def main(names: tuple[str, ...]) -> int:
    from tests.interop import test_truth

    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    earlier = {(each.peer, each.test): each for each in read_outcomes(PAGE.read_text())}
    results = Results()
    loader = unittest.TestLoader()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for case in PEERS:
            for test in _tests(loader.loadTestsFromTestCase(getattr(test_truth, case))):
                name = test.id().rsplit(".", 1)[1]
                if not names or name.startswith(names):
                    test.run(results)
                elif (PEERS[case], name) in earlier:
                    results.outcomes.append(earlier[PEERS[case], name])
        os.chdir(ROOT)
    for test, text in [*results.failures, *results.errors]:
        print(f"\n{test.id()}\n{text}")
    today = datetime.now(UTC).date().isoformat()
    PAGE.write_text(page(results.outcomes, f"Last run: {today}, at commit {commit}."))
    return int(bool(results.failures or results.errors or results.skipped))


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
