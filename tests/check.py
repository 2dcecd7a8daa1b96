"""
Checks a change: format, imports, types and the tests of the core, all at the same time.

    python -m tests.check          # less than 90 seconds
    python -m tests.check --all    # with all tests
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ("umd", "tests", "examples")
TYPED: Final = ("umd", "tests", "examples/umd-loopback/umd_loopback")
CORE: Final = (
    "tests.architecture",
    "tests.backends.sim",
    "tests.call",
    "tests.config",
    "tests.control",
    "tests.http.test_front",
    "tests.http.test_reader",
    "tests.journal",
    "tests.messaging",
    "tests.sip",
    "tests.soap",
    "tests.trace",
)
"""Tests that start no processes."""
ALL: Final = ("tests", "umd_loopback")


@dataclass(frozen=True)
class Check:
    """The result of one command."""

    name: str
    status: int
    seconds: float
    output: str


def main() -> int:
    """Run the checks; return 0 if all of them passed."""
    options = argparse.ArgumentParser(prog="python -m tests.check", description=__doc__)
    options.add_argument("--all", action="store_true", help="run all tests")
    tests = ALL if options.parse_args().all else CORE
    with tempfile.TemporaryDirectory() as scratch:
        commands = {
            "flake8": ("flake8", *SOURCES),
            "isort": ("isort", "--check", "--diff", "--quiet", *SOURCES),
            "mypy": ("mypy", *TYPED),
            "tests": (
                *("twisted.trial", f"--temp-directory={scratch}/trial"),
                *(f"--jobs={os.cpu_count() or 1}", *tests),
            ),
        }
        with ThreadPoolExecutor() as pool:
            checks = list(pool.map(_run, commands, commands.values()))
    for check in checks:
        if check.status:
            print(check.output)
    for check in checks:
        print(f"{check.name:8} {'FAILED' if check.status else 'passed'} {check.seconds:6.1f} s")
    return int(any(check.status for check in checks))


def _run(name: str, command: tuple[str, ...]) -> Check:
    began = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Check(name, finished.returncode, time.monotonic() - began, finished.stdout)


if __name__ == "__main__":
    sys.exit(main())
