"""The commands of the lab: each does its work and returns verdicts."""

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
from umd.lab.explore import Finding, Tally, WorkUnit, explore, shrink, units_of
from umd.lab.ladder import heading, ladder
from umd.lab.plans import CLIENT_ACTS, FAR_ACTS, Bound, Plan, default_plans
from umd.lab.random_walk import WalkResult, walk
from umd.lab.report import Progress, Status, Verdict
from umd.lab.run import Result, run
from umd.lab.scenario import JournalSection, NetworkSection, Scenario, one_call
from umd.lab.seeds import found, read_seed, seed_of, write_seed

MAX_SEEDS: Final = 5
"""Seed files that one exploration writes at most. One bug can cause thousands of violations."""


# -- run


def run_scenarios(paths: Sequence[str]) -> list[Verdict]:
    """
    Run scenario files.

    Raises:
        ConfigError: A file has mistakes; none was run.
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
    return [_run_file(path, scenario) for path, scenario in scenarios]


def _run_file(path: str, scenario: Scenario) -> Verdict:
    if scenario.walk is not None:
        return replay_seed(path)[0]
    began = time.monotonic()
    result = run(scenario)
    problems = _problems_of(result)
    if result.violations:
        status = Status.VIOLATED
    else:
        problems += result.unmet
        problems += [f"never reached: {choice}" for choice in result.not_done]
        status = Status.NOT_MET if problems else Status.OK
    name = scenario.title or Path(path).stem
    took = time.monotonic() - began
    return Verdict("run", name, status, took, problems, {"file": path, "virtual_s": result.seconds})


def _problems_of(result: Result) -> list[str]:
    return [f"{each.rule} at {each.at:.4f} s: {each.text}" for each in result.violations]


# -- explore


class Bounds(NamedTuple):
    """The options of `umd lab explore`."""

    scenario: str | None = None
    numbers: tuple[str, ...] = ()
    depth: int | None = None
    losses: int | None = None
    short: bool = False

    def plans(self) -> list[Plan]:
        """
        Return the plans to explore.

        Raises:
            ConfigError: The file or the far end does not exist.
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
        bound = Bound(depth, losses, fates, CLIENT_ACTS + FAR_ACTS)
        return [Plan(f"depth {depth}, losses {losses}", scenarios, (bound,))]


def explore_all(bounds: Bounds, jobs: int, seeds: str, total: bool) -> list[Verdict]:
    """Explore, write a seed for each violation, and return a verdict for each far end of a plan."""
    plans = bounds.plans()
    progress = Progress("runs")
    units = list(units_of(plans))
    tallies: dict[tuple[str, str], Tally] = {}
    everything = Tally()
    for number, (unit, tally) in enumerate(zip(units, explore(units, jobs), strict=True)):
        tallies.setdefault((unit.plan, _name(unit)), Tally()).add(tally)
        everything.add(tally)
        progress.update(everything.runs, f"{number + 1:,} of {len(units):,} parts done")
    progress.done()
    written = _write_seeds(everything.findings, Path(seeds))
    verdicts = []
    for (plan, name), tally in tallies.items():
        problems = [text for finding, text in written if _belongs(finding, plan, name, units)]
        if tally.violated:
            problems.append(f"{tally.violated:,} runs in which an invariant was violated")
        figures: dict[str, Any] = {"interleavings": len(tally.orders), "runs": tally.runs}
        status = Status.VIOLATED if tally.violated else Status.OK
        verdicts.append(Verdict(f"explore: {plan}", name, status, 0.0, problems, figures))
    figures = {
        "interleavings": len(everything.orders),
        "runs": everything.runs,
        "violations": everything.violated,
        "took_s": progress.took,
    }
    status = Status.VIOLATED if everything.violated else Status.OK
    verdicts.append(Verdict("explore", "everything", status, progress.took, [], figures))
    return verdicts


def _name(unit: WorkUnit) -> str:
    number = unit.scenario.step[0].number or ""
    return unit.scenario.title or f"{number} {Directory().find(number).words}"


def _belongs(finding: Finding, plan: str, name: str, units: Sequence[WorkUnit]) -> bool:
    return any(
        unit.plan == plan and _name(unit) == name and unit.scenario is finding.scenario
        for unit in units
    )


def _write_seeds(findings: Sequence[Finding], directory: Path) -> list[tuple[Finding, str]]:
    """Reduce the findings, and write a seed for each violation that differs from the others."""
    written: list[tuple[Finding, str]] = []
    seen: set[tuple[str, ...]] = set()
    for finding in findings:
        if len(written) == MAX_SEEDS:
            break
        small = shrink(finding)
        key = (small.violation.rule, small.violation.text)
        if key not in seen:
            seen.add(key)
            again = _write_seed(seed_of(small), directory)
            written.append((finding, f"{small.violation.rule}: {small.violation.text}; {again}"))
    return written


def _write_seed(seed: Scenario, directory: Path) -> str:
    """Write a seed; return the command that repeats it, or why the seed cannot be written."""
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
    Do one random walk, and write a seed if an invariant was violated.

    Raises:
        ConfigError: The jitter is not a duration.
    """
    try:
        section = NetworkSection(**network)
    except ValueError:
        raise ConfigError(
            [f"--jitter {network['jitter']}: expected a duration such as 80ms"]
        ) from None
    scenario = Scenario(network=section, journal=JournalSection() if with_journal else None)
    progress = Progress("steps")

    def report_progress(walked: WalkResult) -> None:
        progress.update(walked.steps, f"{steps - walked.steps:,} left")

    walked = walk(scenario, steps=steps, seed=seed, calls=calls, report_progress=report_progress)
    progress.done()
    problems: list[str] = []
    if walked.violation is not None:
        walked_to = files.Walk(steps=walked.steps, seed=seed, calls=calls)
        violated = scenario.model_copy(
            update={"walk": walked_to, "found": found(walked.violation)}
        )
        again = _write_seed(violated, Path(seeds))
        problems = [f"{walked.violation.rule}: {walked.violation.text}; {again}"]
    return [_verdict_on(walked, f"seed {seed}", problems, progress.took)]


def _verdict_on(walked: WalkResult, name: str, problems: list[str], took: float) -> Verdict:
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
    return Verdict("walk", name, status, took, problems, figures)


# -- replay


def replay_seed(path: str, write_line: Callable[[str], object] | None = None) -> list[Verdict]:
    """
    Repeat the run of a seed file.

    Args:
        path: The seed file.
        write_line: Called with each line of a drawing of the run.

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
        _write_ladder(seed, result, write_line)
    problems = _problems_of(result)
    if not result.violations:
        problems = [f"never reached: {choice}" for choice in result.not_done]
        if seed.found is not None:
            problems.append(f"not violated any more: {seed.found.violated}: {seed.found.said}")
    status = Status.VIOLATED if result.violations else Status.OK
    return [Verdict("replay", path, status, took, problems, {"took_s": took})]


def _replay_walk(
    path: str, seed: Scenario, write_line: Callable[[str], object] | None
) -> list[Verdict]:
    assert seed.walk is not None
    began = time.monotonic()
    walked = walk(seed, **seed.walk.model_dump(), watch=True)
    took = time.monotonic() - began
    problems: list[str] = []
    if walked.violation is not None:
        leg = walked.violation.leg
        violation = walked.violation
        problems = [f"{violation.rule} at {violation.at:.4f} s: {violation.text}"]
        if write_line is not None and leg:
            lines = [line for line in walked.run_log if line.leg == leg]
            result = Result([walked.violation], lines, [], [], [], walked.seconds)
            _write_ladder(seed, result, write_line)
    return [_verdict_on(replace(walked, run_log=[]), path, problems, took)]


def _write_ladder(seed: Scenario, result: Result, write_line: Callable[[str], object]) -> None:
    for line in (*heading(seed, seed.choices), "", *ladder(result), ""):
        write_line(line)
