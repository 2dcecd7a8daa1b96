"""What the commands of the lab do, up to the verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from umd.backends.sim.directory import Directory, built_in_far_ends, last_digits
from umd.config import ConfigError
from umd.lab import scenario as files
from umd.lab.choices import Fate
from umd.lab.explore import Finding, Tally, Unit, explore, shrink, units_of
from umd.lab.plans import CLIENT_ACTS, FAR_ACTS, Plan, Shape, default_plans
from umd.lab.report import Progress, Status, Verdict
from umd.lab.run import Result, run
from umd.lab.scenario import JournalSection, NetworkSection, Scenario, one_call
from umd.lab.seeds import found, read_seed, seed_of, write_seed
from umd.lab.story import heading, ladder
from umd.lab.walk import Walked, walk

SEEDS: Final = 5
"""How many seed files one exploration writes at most: one mistake breaks a thousand runs."""


# -- run


def run_scenarios(paths: Sequence[str]) -> list[Verdict]:
    """
    Run scenario files.

    Raises:
        ConfigError: one of them has mistakes; none was run.
    """
    mistakes: list[str] = []
    scenarios: list[tuple[str, Scenario]] = []
    for path in paths:
        try:
            scenarios.append((path, files.load(path)))
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return [_run_one(path, scenario) for path, scenario in scenarios]


def _run_one(path: str, scenario: Scenario) -> Verdict:
    if scenario.walk is not None:
        return replay_seed(path)[0]
    began = time.monotonic()
    result = run(scenario)
    said = _said(result)
    if result.violations:
        status = Status.VIOLATED
    else:
        said += result.unmet
        said += [f"never came to: {choice}" for choice in result.not_done]
        status = Status.NOT_MET if said else Status.OK
    name = scenario.title or Path(path).stem
    took = time.monotonic() - began
    return Verdict("run", name, status, took, said, {"file": path, "virtual_s": result.seconds})


def _said(result: Result) -> list[str]:
    return [f"{each.rule} at {each.at:.4f} s: {each.said}" for each in result.violations]


# -- explore


class Bounds(NamedTuple):
    """What the command line says of an exploration."""

    scenario: str | None = None
    numbers: tuple[str, ...] = ()
    depth: int | None = None
    losses: int | None = None
    short: bool = False

    def plans(self) -> list[Plan]:
        """
        What is to be explored.

        Raises:
            ConfigError: there is no such file or far end.
        """
        for number in self.numbers:
            if last_digits(number) not in built_in_far_ends():
                raise ConfigError([f"--far-end {number}: no far end of the simulator is {number}"])
        numbers = [last_digits(number) for number in self.numbers] or None
        if self.scenario is None and self.depth is None and self.losses is None:
            return default_plans(numbers, short=self.short)
        scenarios = (
            tuple(map(one_call, numbers or built_in_far_ends()))
            if self.scenario is None
            else (files.load(self.scenario),)
        )
        depth = 1 if self.depth is None else self.depth
        losses = 1 if self.losses is None else self.losses
        fates = tuple(Fate) if losses < 2 else (Fate.LOSE, Fate.DELAY, Fate.ECHO)
        shape = Shape(depth, losses, fates, CLIENT_ACTS + FAR_ACTS)
        return [Plan(f"depth {depth}, losses {losses}", scenarios, (shape,))]


def explore_all(bounds: Bounds, jobs: int, seeds: str, total: bool) -> list[Verdict]:
    """Explore, write the seeds of what was found, and give a verdict for each plan's far end."""
    plans = bounds.plans()
    progress = Progress("runs")
    units = list(units_of(plans))
    tallies: dict[tuple[str, str], Tally] = {}
    everything = Tally()
    for number, (unit, tally) in enumerate(zip(units, explore(units, jobs), strict=True)):
        tallies.setdefault((unit.plan, _name(unit)), Tally()).add(tally)
        everything.add(tally)
        progress.tell(everything.runs, f"{number + 1:,} of {len(units):,} parts done")
    progress.done()
    written = _write_seeds(everything.findings, Path(seeds))
    verdicts = []
    for (plan, name), tally in tallies.items():
        said = [words for finding, words in written if _belongs(finding, plan, name, units)]
        if tally.violated:
            said.append(f"{tally.violated:,} runs in which something was violated")
        figures: dict[str, Any] = {"interleavings": len(tally.orders), "runs": tally.runs}
        status = Status.VIOLATED if tally.violated else Status.OK
        verdicts.append(Verdict(f"explore: {plan}", name, status, 0.0, said, figures))
    figures = {
        "interleavings": len(everything.orders),
        "runs": everything.runs,
        "violations": everything.violated,
        "took_s": progress.took,
    }
    status = Status.VIOLATED if everything.violated else Status.OK
    verdicts.append(Verdict("explore", "everything", status, progress.took, [], figures))
    return verdicts


def _name(unit: Unit) -> str:
    number = unit.scenario.step[0].number or ""
    return unit.scenario.title or f"{number} {Directory().find(number).words}"


def _belongs(finding: Finding, plan: str, name: str, units: Sequence[Unit]) -> bool:
    return any(
        unit.plan == plan and _name(unit) == name and unit.scenario is finding.scenario
        for unit in units
    )


def _write_seeds(findings: Sequence[Finding], directory: Path) -> list[tuple[Finding, str]]:
    """Make them small, and write one seed for each that is different."""
    written: list[tuple[Finding, str]] = []
    seen: set[tuple[str, ...]] = set()
    for finding in findings:
        if len(written) == SEEDS:
            break
        small = shrink(finding)
        key = (small.violation.rule, small.violation.said)
        if key not in seen:
            seen.add(key)
            again = _write_seed(seed_of(small), directory)
            written.append((finding, f"{small.violation.rule}: {small.violation.said}; {again}"))
    return written


def _write_seed(seed: Scenario, directory: Path) -> str:
    """Write a seed; how to repeat it, or why that cannot be: a violation is told all the same."""
    try:
        return f"umd lab replay {write_seed(seed, directory)}"
    except OSError as error:
        return f"no seed is written: {directory}: {error.strerror}"


# -- walk


def walk_once(
    steps: int,
    seed: int,
    calls: int,
    network: Mapping[str, Any],
    seeds: str,
    with_journal: bool = False,
) -> list[Verdict]:
    """
    Walk once, and write a seed when something was violated.

    Raises:
        ConfigError: the jitter is no duration.
    """
    try:
        section = NetworkSection(**network)
    except ValueError:
        raise ConfigError(
            [f"--jitter {network['jitter']}: expected a duration such as 80ms"]
        ) from None
    scenario = Scenario(network=section, journal=JournalSection() if with_journal else None)
    progress = Progress("steps")

    def tell(walked: Walked) -> None:
        progress.tell(walked.steps, f"{steps - walked.steps:,} left")

    walked = walk(scenario, steps=steps, seed=seed, calls=calls, tell=tell)
    progress.done()
    said: list[str] = []
    if walked.violation is not None:
        walked_to = files.Walk(steps=walked.steps, seed=seed, calls=calls)
        violated = scenario.model_copy(
            update={"walk": walked_to, "found": found(walked.violation)}
        )
        again = _write_seed(violated, Path(seeds))
        said = [f"{walked.violation.rule}: {walked.violation.said}; {again}"]
    return [_walked(walked, f"seed {seed}", said, progress.took)]


def _walked(walked: Walked, name: str, said: list[str], took: float) -> Verdict:
    figures = {
        "steps": walked.steps,
        "calls": walked.calls,
        "disconnects": walked.disconnects,
        "messages": walked.messages,
        "lost": walked.lost,
        "transactions_at_most": walked.most_transactions,
        "transactions_left": walked.left,
        "virtual_s": walked.seconds,
        "took_s": took,
    }
    if walked.commits:
        figures |= {"commits": walked.commits, "crashes": walked.crashes}
    status = Status.OK if walked.violation is None else Status.VIOLATED
    return Verdict("walk", name, status, took, said, figures)


# -- replay


def replay_seed(path: str, write_line: Callable[[str], object] | None = None) -> list[Verdict]:
    """
    Repeat the run of a seed file.

    Args:
        path: The seed file.
        write_line: Called with each line of the run's story, for a person to read.

    Raises:
        ConfigError: The file has mistakes.
    """
    seed = read_seed(path)
    if seed.walk is not None:
        return _replay_walk(path, seed, write_line)
    began = time.monotonic()
    result = run(seed)
    took = time.monotonic() - began
    if write_line is not None:
        _write_story(seed, result, write_line)
    said = _said(result)
    if not result.violations:
        said = [f"never came to: {choice}" for choice in result.not_done]
        if seed.found is not None:
            said.append(f"not violated any more: {seed.found.violated}: {seed.found.said}")
    status = Status.VIOLATED if result.violations else Status.OK
    return [Verdict("replay", path, status, took, said, {"took_s": took})]


def _replay_walk(
    path: str, seed: Scenario, write_line: Callable[[str], object] | None
) -> list[Verdict]:
    assert seed.walk is not None
    began = time.monotonic()
    walked = walk(seed, **seed.walk.model_dump(), watch=True)
    took = time.monotonic() - began
    said: list[str] = []
    if walked.violation is not None:
        leg = walked.violation.leg
        said = [f"{walked.violation.rule} at {walked.violation.at:.4f} s: {walked.violation.said}"]
        if write_line is not None and leg:
            lines = [line for line in walked.story if line.of == leg]
            result = Result([walked.violation], lines, [], [], [], walked.seconds)
            _write_story(seed, result, write_line)
    return [_walked(replace(walked, story=[]), path, said, took)]


def _write_story(seed: Scenario, result: Result, write_line: Callable[[str], object]) -> None:
    for line in (*heading(seed, seed.choices), "", *ladder(result), ""):
        write_line(line)
