"""The commands `umd lab`; the lab itself is imported only when one of them runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from umd.cli import exit_status
from umd.cli.errors import print_error
from umd.cli.exit_status import USAGE_ERROR
from umd.cli.options import complete_file

if TYPE_CHECKING:
    from umd.lab.report import Verdict

STATUSES = (
    "Exit status: 0 all as expected, 1 an expectation was not met, 2 wrong usage or a mistake in a "
    "file, 4 an invariant was violated."
)

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line instead of text."
)
junit_option: Callable[[Any], Any] = click.option(
    "--junit", metavar="FILE", help="Write the results as JUnit XML, too."
)
seeds_option: Callable[[Any], Any] = click.option(
    "--seeds",
    metavar="DIR",
    default="lab-seeds",
    show_default=True,
    help="Where the seed file of a violation is written.",
)


@click.group(epilog=STATUSES)
def lab() -> None:
    """Race lab: run calls in every order of events, on a virtual clock."""


@lab.command("run", epilog=f"Example: umd lab run examples/lab/*.toml. {STATUSES}")
@click.argument(
    "files", metavar="SCENARIO...", nargs=-1, required=True, shell_complete=complete_file
)
@json_option
@junit_option
def run_command(files: tuple[str, ...], as_json: bool, junit: str | None) -> None:
    """Run scenario files, and check what they expect."""
    from umd.lab.commands import run_scenarios

    _finish(lambda: run_scenarios(files), as_json, junit)


@lab.command(epilog=f"Example: umd lab explore --far-end 5550181 --losses 1. {STATUSES}")
@click.option("--scenario", metavar="FILE", help="Explore around this scenario.")
@click.option(
    "--far-end",
    "numbers",
    metavar="NUMBER",
    multiple=True,
    help="Only calls to this simulated far end. Repeatable.",
)
@click.option(
    "--depth",
    type=click.IntRange(0, 6),
    help="Acts in one run, at most. Replaces the default set.",
)
@click.option(
    "--losses",
    type=click.IntRange(0, 4),
    help="Messages with a fate in one run, at most. Replaces the default set.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, help="Processes; 1 by default.")
@click.option("--short", is_flag=True, help="Explore a sample of the default set.")
@seeds_option
@json_option
@junit_option
def explore(
    scenario: str | None,
    numbers: tuple[str, ...],
    depth: int | None,
    losses: int | None,
    jobs: int,
    short: bool,
    seeds: str,
    as_json: bool,
    junit: str | None,
) -> None:
    """
    Enumerate how calls can go, and check the invariants after each run.

    A violation is reduced to as few choices as possible and written to a seed file.
    """
    from umd.lab.commands import Bounds, explore_all

    bounds = Bounds(scenario, numbers, depth, losses, short)
    _finish(lambda: explore_all(bounds, jobs, seeds, total=not as_json), as_json, junit)


@lab.command(epilog=f"Example: umd lab pbx --bound 1. {STATUSES}")
@click.option(
    "--bound",
    type=click.IntRange(0, 4),
    default=2,
    show_default=True,
    help="Acts in one story besides the call that appears, at most.",
)
@click.option("--every", type=click.IntRange(1), default=1, help="Run one of so many stories.")
@click.option("--story", metavar="TEXT", help="Run only this story, as a violation shows it.")
@json_option
@junit_option
def pbx(bound: int, every: int, story: str | None, as_json: bool, junit: str | None) -> None:
    """
    Enumerate how calls of a PBX can go, and check the invariants after each story.

    The PBX is simulated and lies. Calls appear, clients end them, far ends hang up, events are
    lost, the connection breaks, lists are stale, and umd is killed.
    """
    from umd.lab.pbx_commands import explore_stories, run_story

    if story is not None:
        _finish(lambda: run_story(story), as_json, junit)
    _finish(lambda: explore_stories(bound, every), as_json, junit)


@lab.command(epilog=f"Example: umd lab walk --steps 100000 --seed 1. {STATUSES}")
@click.option("--steps", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of all random choices.")
@click.option(
    "--calls", type=click.IntRange(1), default=40, show_default=True, help="Live calls, at most."
)
@click.option("--loss", type=click.FloatRange(0, 0.9), default=0.05, show_default=True)
@click.option("--duplicate", type=click.FloatRange(0, 0.9), default=0.05, show_default=True)
@click.option(
    "--jitter", default="80ms", show_default=True, help="Longest additional delay of a message."
)
@click.option(
    "--journal", is_flag=True, help="Keep a journal whose commits can fail; crash now and then."
)
@seeds_option
@json_option
@junit_option
def walk(
    steps: int,
    seed: int,
    calls: int,
    loss: float,
    duplicate: float,
    jitter: str,
    journal: bool,
    seeds: str,
    as_json: bool,
    junit: str | None,
) -> None:
    """Run many calls at once over a bad network, with random acts of all parties."""
    from umd.lab.commands import walk_once

    network = {"loss": loss, "duplicate": duplicate, "jitter": jitter}
    _finish(lambda: walk_once(steps, seed, calls, network, seeds, journal), as_json, junit)


@lab.command(epilog=f"Example: umd lab replay lab-seeds/truthful-1.toml. {STATUSES}")
@click.argument("seed", shell_complete=complete_file)
@json_option
def replay(seed: str, as_json: bool) -> None:
    """Repeat the run of a seed file, and print it step by step."""
    from umd.lab.commands import replay_seed

    _finish(lambda: replay_seed(seed, None if as_json else click.echo), as_json, None)


EXIT_STATUS: Final = {
    "ok": exit_status.DONE,
    "not-met": exit_status.NEGATIVE,
    "violated": exit_status.VIOLATED,
}
"""The exit status for each status of the lab."""
COLUMN_OF_STATUS: Final = {
    "ok": click.style("ok      ", fg="green"),
    "not-met": click.style("not met ", fg="yellow"),
    "violated": click.style("VIOLATED", fg="red"),
}


def _finish(work: Callable[[], list[Verdict]], as_json: bool, junit: str | None) -> None:
    """Run a command of the lab, print its verdicts, and exit with the status of the worst."""
    from umd.config import ConfigError
    from umd.lab.report import worst_status, write_junit

    try:
        verdicts = work()
    except ConfigError as error:
        if as_json:
            print_error("nothing was run", "configuration", mistakes=error.mistakes)
        for mistake in () if as_json else error.mistakes:
            click.echo(mistake, err=True)
        sys.exit(USAGE_ERROR)
    if as_json:
        for verdict in verdicts:
            click.echo(verdict.as_json())
    else:
        _print_verdicts(verdicts)
    status = EXIT_STATUS[worst_status(verdicts)]
    if junit is not None:
        try:
            write_junit(junit, verdicts)
        except OSError as error:
            print_error(f"{junit}: {error.strerror}", "output")
            status = max(status, USAGE_ERROR)
    sys.exit(status)


def _print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print a line for each verdict, under the name of its suite where there are several suites."""
    width = max((len(verdict.name) for verdict in verdicts), default=0)
    suites = {verdict.suite for verdict in verdicts}
    suite = suites.pop() if len(suites) == 1 else None
    for verdict in verdicts:
        if verdict.suite != suite:
            suite = verdict.suite
            click.echo(click.style(f"{suite}:", bold=True))
        figures = "   ".join(_figure(key, value) for key, value in verdict.figures.items())
        column = COLUMN_OF_STATUS[verdict.status]
        click.echo(f"{column}  {verdict.name:{width}}  {figures}".rstrip())
        for problem in verdict.problems:
            click.echo(f"          {problem}")


def _figure(key: str, value: Any) -> str:
    if key.endswith("_s"):
        return f"{key[:-2].replace('_', ' ')} {value:,.3f} s"
    return f"{value:,} {key.replace('_', ' ')}" if isinstance(value, int) else f"{key} {value}"
