"""`umd journal`: backs up, checks and compacts the journal."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from umd.cli.errors import print_error
from umd.cli.exit_status import (
    INTERRUPTED,
    NEGATIVE,
    STATUS_BY_ERROR_KIND,
    UNREACHABLE,
    USAGE_ERROR,
)
from umd.cli.options import complete_file, journal_option, json_option, socket_option
from umd.runtime import signals

if TYPE_CHECKING:
    from umd.management.journal_maintenance import CheckResult

STATUS_BY_SIGNAL = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 143, signal.SIGHUP: 129}


@click.group()
def journal() -> None:
    """Back up, check or compact the journal."""


@journal.command(epilog="Example: umd journal backup /backup/umd.db", no_args_is_help=True)
@click.argument("file", shell_complete=complete_file)
@json_option
@journal_option
@socket_option
def backup(file: str, as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Copy the journal to FILE, also while umd is running.

    FILE must not exist yet; only its owner can read it. The copy has every record that was
    acknowledged before the command began. If the command fails, there is no FILE. docs/journal.md
    tells how to restore a copy.
    """
    from umd.management import journal_maintenance

    with _exit_on_errors():
        result = journal_maintenance.backup(path, journal, file)
        _print_result(result, as_json, f"in {file}")


@journal.command(epilog="Example: umd journal check --json")
@json_option
@journal_option
@socket_option
def check(as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Check the records and the index of the journal, and the whole file if no umd has it open.

    Exit status: 0 the journal is good, 1 it has problems.
    """
    from umd.management import journal_maintenance

    with _exit_on_errors():
        result = journal_maintenance.check(path, journal)
        name = "the journal of the running umd" if result.journal is None else result.journal
        _print_result(result, as_json, f"in {name}")


@journal.command(epilog="Example: umd journal compact --journal /var/lib/umd/journal.db")
@json_option
@click.option(
    "--journal",
    metavar="FILE",
    shell_complete=complete_file,
    help="The journal file. Default: that of the service.",
)
def compact(as_json: bool, journal: str | None) -> None:
    """
    Rewrite the journal file without its free space; no umd may have it open.

    umd reuses the space of records that it no longer keeps, so this is needed only to return disk
    space to the system. Meanwhile the disk must have room for a second file.
    """
    from umd.management import journal_maintenance

    with _exit_on_errors():
        result, before, after = journal_maintenance.compact(journal)
        sizes = f"in {result.journal}, {_megabytes(before)} before and {_megabytes(after)} now"
        _print_result(result, as_json, sizes, octets_before=before, octets=after)


def _print_result(result: CheckResult, as_json: bool, where: str, **more: int) -> None:
    """Print what a check found, and exit with status 1 if it found problems."""
    from dataclasses import asdict

    from umd.trace.ladder import printable

    if as_json:
        click.echo(json.dumps({**asdict(result), **more, "good": result.good}))
    else:
        counts = f"{result.records} records of {result.calls} calls"
        click.echo(f"{counts}, {result.live_calls} live, {printable(where)}")
        for problem in result.problems:
            click.echo(printable(problem))
        not_listed = result.found - len(result.problems)
        if not_listed:
            click.echo(f"and {not_listed} more")
        click.echo("good" if result.good else f"NOT good: {result.found} problems")
    if not result.good:
        sys.exit(NEGATIVE)


@contextmanager
def _exit_on_errors() -> Iterator[None]:
    """
    Turn an error into a message and an exit status.

    A signal ends the command by SystemExit, so that a half-written file is removed.
    """
    from umd.journal.copy import CannotCopy
    from umd.management.client import Refusal, Unreachable
    from umd.management.journal_maintenance import Damaged, InUse

    for number, exit_status in STATUS_BY_SIGNAL.items():
        signals.exit_on(number, exit_status)
    try:
        yield
    except CannotCopy as error:
        print_error(f"{error}.", "output")
        sys.exit(USAGE_ERROR)
    except Damaged as error:
        print_error(f"{error}.", "damaged")
        sys.exit(NEGATIVE)
    except InUse as error:
        print_error(f"{error}.", "in-use")
        sys.exit(NEGATIVE)
    except Refusal as refusal:
        print_error(f"{refusal}.", refusal.kind)
        sys.exit(STATUS_BY_ERROR_KIND.get(refusal.kind, UNREACHABLE))
    except Unreachable as error:
        print_error(str(error), "unreachable")
        sys.exit(UNREACHABLE)


def _megabytes(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"
