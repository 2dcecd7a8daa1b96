"""Seed files: a scenario whose run ends in a violation, small enough to read."""

from __future__ import annotations

import re
from pathlib import Path

from umd import __version__
from umd.lab import scenario as files
from umd.lab.explore import Finding
from umd.lab.rules import Violation
from umd.lab.scenario import Found, Scenario


def seed_of(finding: Finding) -> Scenario:
    """Return the scenario of a finding, with its choices."""
    scenario = finding.scenario
    choices = [*scenario.choices, *finding.choices]
    return scenario.model_copy(update={"choices": choices, "found": found(finding.violation)})


def found(violation: Violation) -> Found:
    """Return the `[found]` section of a violation."""
    return Found(umd=__version__, violated=violation.rule, said=violation.text)


def read_seed(file: str) -> Scenario:
    """
    Read a seed.

    Raises:
        ConfigError: Each mistake has the form `file:line: what is wrong`.
    """
    return files.load(file)


def write_seed(seed: Scenario, directory: Path) -> Path:
    """Write a seed under the name of the violated rule and the first number that is free."""
    directory.mkdir(parents=True, exist_ok=True)
    assert seed.found is not None
    stem = re.sub(r"\W+", "-", str(seed.found.violated))
    number = 1
    while (path := directory / f"{stem}-{number}.toml").exists():
        number += 1
    path.write_text(f"# umd lab replay {path.name}\n{files.write(seed)}")
    return path
