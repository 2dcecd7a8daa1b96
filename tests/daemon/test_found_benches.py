"""The benches of found calls, with few calls: each checks what it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]


def run(*command: str) -> str:
    """Run a bench, which fails if a call is missing."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


class FoundBenchTests(SynchronousTestCase):
    def test_reconciliation_finds_every_difference(self) -> None:
        out = run("bench.reconcile", "--calls", "800", "--differences", "100")
        self.assertEqual(out.count("every difference found"), 2, out)

    def test_aliases_lead_to_their_calls(self) -> None:
        out = run("bench.aliases", "--calls", "500", "--aliases", "3")
        self.assertIn("difference: ", out)

    def test_many_clients_end_both_legs_of_bridged_calls(self) -> None:
        out = run("bench.pairs", "--calls", "50", "--clients", "40")
        self.assertIn("2000 requests: 0 faults", out)
