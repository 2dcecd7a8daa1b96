"""`umd calls end`: ends all calls that are selected, and shows how far it is."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import click

from umd.cli.errors import exit_on_daemon_errors
from umd.cli.exit_status import DONE, INTERRUPTED, NEGATIVE, UNCONFIRMED, UNREACHABLE
from umd.cli.options import json_option, socket_option
from umd.cli.selectors import given, selector_options
from umd.runtime import signals

MAX_REASONS_SHOWN: Final = 20
"""Calls that were not ended and are shown with the reason; the others are counted."""
LINE_INTERVAL: Final = 5.0
"""Seconds between two lines of progress where there is no terminal."""
REDRAW_INTERVAL: Final = 0.1
"""Seconds between two updates of the progress on a terminal."""

_FAILED: Final = ("backend-unavailable", "journal-unavailable", "internal-error")
_ENDED: Final = ("ended", "ended-unconfirmed", "already-ended")


@click.command(
    "end",
    epilog="Example: umd calls end --label ci-run-7 --max 500",
    no_args_is_help=True,
)
@selector_options
@click.option("--dry-run", is_flag=True, help="List and count the calls, and end none.")
@click.option(
    "--max",
    "maximum",
    metavar="N",
    type=click.IntRange(0),
    help="End none if more calls are selected. Required, except for a dry run.",
)
@click.option(
    "--expect",
    metavar="COUNT",
    type=click.IntRange(0),
    help="End none unless so many calls are selected: the count of a dry run.",
)
@click.option("--yes", is_flag=True, help="Do not ask; end what is selected now.")
@click.option(
    "--rate",
    metavar="R",
    type=click.FloatRange(0, min_open=True),
    help="Begin to end so many calls per second. Default: as fast as umd can.",
)
@json_option
@socket_option
def end_calls(
    dry_run: bool,
    maximum: int | None,
    expect: int | None,
    yes: bool,
    rate: float | None,
    as_json: bool,
    path: str | None,
    **options: Any,
) -> None:
    """
    End all live calls that the selectors fit, and wait until they are down.

    At least one selector is required. On a terminal the command shows the number of calls and
    asks. Elsewhere it needs --expect with the number of a dry run, or --yes. If the number has
    changed, no call is ended. A partner of a selected call ends with it and is counted. Calls with
    a label of call.protected_labels, and their partners, are left out.

    Ctrl-C stops the command: calls whose end has begun end, no others. The same command goes on
    with the rest.

    Exit status: 0 the far end of each call has confirmed its end; 4 one has not; 3 one could not be
    reached; 1 one is protected, or none was ended because the number is not as expected.
    """
    selectors = given(options)
    if not selectors:
        raise click.UsageError("Select the calls to end, for example by --label or --backend.")
    if dry_run:
        with exit_on_daemon_errors():
            _print_dry_run(path, selectors, as_json)
        return
    if maximum is None:
        raise click.UsageError("Give --max N: if more calls are selected, none is ended.")
    if expect is None and not yes and not _on_terminal():
        raise click.UsageError(
            "Without a terminal, give --expect COUNT, the count of --dry-run; or --yes."
        )
    with exit_on_daemon_errors():
        if expect is None:
            expect = _count(path, selectors)
            if not yes and 0 < expect <= maximum:
                if not click.confirm(f"End {_number(expect)}?", err=True):
                    click.echo("None was ended.", err=True)
                    sys.exit(NEGATIVE)
        signals.exit_on(signal.SIGINT, INTERRUPTED)
        run = _Run(as_json)
        try:
            run.follow(path, {**selectors, "max": maximum, "expect": expect, "rate": rate})
        except SystemExit:
            run.print_interrupted()
            raise
    sys.exit(run.exit_status)


def _on_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _count(path: str | None, selectors: Mapping[str, Any]) -> int:
    """Return how many calls are selected now."""
    from umd.management.client import ask

    # The first reply is enough; the calls themselves follow.
    selected = next(ask("end-many", path, timeout=None, dry_run=True, **selectors))["selected"]
    _print_protected(selected["protected"])
    return int(selected["count"])


def _print_dry_run(path: str | None, selectors: Mapping[str, Any], as_json: bool) -> None:
    from umd.cli.call_table import print_calls
    from umd.management.client import ask

    replies = ask("end-many", path, timeout=None, dry_run=True, **selectors)
    if as_json:
        for reply in replies:
            click.echo(json.dumps(reply))
        return
    selected = next(replies)["selected"]
    calls = [reply["call"] for reply in replies]
    if calls:
        print_calls(calls)
    click.echo(f"{_number(selected['count'])} would end; none was ended.")
    _print_protected(selected["protected"])


def _print_protected(protected: int) -> None:
    if protected:
        click.echo(f"{_number(protected)} left out: call.protected_labels", err=True)


class _Run:
    """
    The end of many calls, as its results come.

    Args:
        as_json: print each reply as a line of JSON instead of the progress.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._on_terminal = sys.stderr.isatty()
        self._began = self._shown_at = time.monotonic()
        self._outcomes: Counter[str] = Counter()
        self._unconfirmed = 0
        self._selected = 0
        self._reasons_shown = 0

    @property
    def done(self) -> int:
        """Results of calls that were to be ended."""
        return self._outcomes.total() - self._outcomes["protected"]

    @property
    def exit_status(self) -> int:
        if any(self._outcomes[outcome] for outcome in _FAILED):
            return UNREACHABLE
        if self._unconfirmed:
            return UNCONFIRMED
        return NEGATIVE if self._outcomes["protected"] or self._outcomes["unknown"] else DONE

    def follow(self, path: str | None, fields: Mapping[str, Any]) -> None:
        """Send the request, and print its replies as they come."""
        from umd.management.client import ask

        for reply in ask("end-many", path, timeout=None, **fields):
            if "selected" in reply:
                self._selected = reply["selected"]["count"]
            elif "result" in reply:
                self._count(reply["result"])
            if self._as_json:
                click.echo(json.dumps(reply))
            else:
                self._print_progress()
        if not self._as_json:
            self._clear()
            click.echo(self._summary())

    def print_interrupted(self) -> None:
        """Say what an interrupted run has done, and how to go on."""
        if self._as_json:
            return
        self._clear()
        click.echo(
            f"Interrupted after {self.done:,} of {self._selected:,}. Calls whose end has begun "
            "end; the same command goes on with the rest (with --expect: the new count).",
            err=True,
        )

    def _count(self, result: Mapping[str, Any]) -> None:
        outcome = result["outcome"]
        self._outcomes[outcome] += 1
        if outcome in _ENDED:
            self._unconfirmed += not result["confirmed"]
        elif not self._as_json and self._reasons_shown < MAX_REASONS_SHOWN:
            self._reasons_shown += 1
            self._print_reason(result)

    def _print_reason(self, result: Mapping[str, Any]) -> None:
        from umd.trace.ladder import printable

        self._clear()
        click.echo(printable(f"{result['leg']}  {result['outcome']}: {result['why']}"), err=True)
        if self._reasons_shown == MAX_REASONS_SHOWN:
            click.echo("More are counted only; --json prints each.", err=True)

    def _print_progress(self) -> None:
        now = time.monotonic()
        interval = REDRAW_INTERVAL if self._on_terminal else LINE_INTERVAL
        if now - self._shown_at < interval:
            return
        self._shown_at = now
        rate = self.done / (now - self._began)
        left = self._selected - self.done
        text = f"{self.done:,} of {self._selected:,}   {rate:,.0f}/s   {left:,} left"
        if self._unconfirmed:
            text += f"   {self._unconfirmed:,} unconfirmed"
        if self._on_terminal:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
        else:
            click.echo(text, err=True)

    def _clear(self) -> None:
        """Remove the line of progress from a terminal."""
        if self._on_terminal and not self._as_json:
            click.echo("\r\x1b[K", err=True, nl=False)

    def _summary(self) -> str:
        seconds = time.monotonic() - self._began
        outcomes = self._outcomes
        parts = [f"{outcomes['ended']:,} ended"]
        for number, words in (
            (outcomes["ended-unconfirmed"], "not confirmed"),
            (outcomes["already-ended"], "had ended already"),
            (outcomes["changed"], "had changed and were left alone"),
            (outcomes["protected"], "protected and left out"),
            (outcomes["unknown"], "not known any more"),
            (sum(outcomes[outcome] for outcome in _FAILED), "could not be ended"),
        ):
            if number:
                parts.append(f"{number:,} {words}")
        return f"{', '.join(parts)}; {seconds:.1f} s"


def _number(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"
