"""`umd journal`: the upkeep of the journal; imports nothing slow before a command runs."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from umd.cli.exits import BY_KIND, INTERRUPTED, NOT_SO, UNREACHABLE, WRONG_USAGE, tell_error
from umd.runtime import signals

if TYPE_CHECKING:
    from umd.management.upkeep import Checked

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, for programs."
)
socket_option: Callable[[Any], Any] = click.option(
    "--socket",
    "path",
    metavar="PATH",
    help="The control socket of the umd to ask; by default the one of this user or of the service.",
)
journal_option: Callable[[Any], Any] = click.option(
    "--journal",
    metavar="FILE",
    help="This journal, that no umd has open; by default that of the umd that runs, or of the "
    "service.",
)
ENDING = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 143, signal.SIGHUP: 129}


@click.group()
def journal() -> None:
    """Back up, check or compact the journal."""


@journal.command(epilog="Example: umd journal backup /backup/umd.db", no_args_is_help=True)
@click.argument("file")
@json_option
@journal_option
@socket_option
def backup(file: str, as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Copy the journal to FILE, whether a umd runs or not.

    FILE must not be there yet; only you may read it. It has every record that was acknowledged
    before, and is complete or not there at all. docs/journal.md tells how to restore it.
    """
    from umd.management import upkeep

    with _upkeep():
        checked = upkeep.backup(path, journal, file)
        _tell(checked, as_json, f"in {file}")


@journal.command(epilog="Example: umd journal check --json")
@json_option
@journal_option
@socket_option
def check(as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Check the journal: its records, its index and, if no umd has it open, the file as a whole.

    Exit status: 0 all is well, 1 something is not.
    """
    from umd.management import upkeep

    with _upkeep():
        checked = upkeep.check(path, journal)
        name = "the journal of the umd that runs" if checked.journal is None else checked.journal
        _tell(checked, as_json, f"in {name}")


@journal.command(epilog="Example: umd journal compact --journal /var/lib/umd/journal.db")
@json_option
@click.option("--journal", metavar="FILE", help="This journal; by default that of the service.")
def compact(as_json: bool, journal: str | None) -> None:
    """
    Make the file of the journal as small as what it holds; no umd may have it open.

    Records that are not kept any more leave free space, which umd uses again: this is needed only
    where the disk is wanted for something else. It takes room for a second file meanwhile.
    """
    from umd.management import upkeep

    with _upkeep():
        checked, before, after = upkeep.compact(journal)
        words = f"in {checked.journal}, {_size(before)} before and {_size(after)} now"
        _tell(checked, as_json, words, octets_before=before, octets=after)


def _tell(checked: Checked, as_json: bool, where: str, **more: int) -> None:
    from dataclasses import asdict

    from umd.trace.ladder import printable

    if as_json:
        click.echo(json.dumps({**asdict(checked), **more, "good": checked.good}))
    else:
        counts = f"{checked.records} records of {checked.calls} calls"
        click.echo(f"{counts}, {checked.live_calls} live, {printable(where)}")
        for problem in checked.problems:
            click.echo(printable(problem))
        told = len(checked.problems)
        if checked.found > told:
            click.echo(f"and {checked.found - told} more")
        click.echo("good" if checked.good else f"NOT good: {checked.found} problems")
    if not checked.good:
        sys.exit(NOT_SO)


@contextmanager
def _upkeep() -> Iterator[None]:
    """Tell what is in the way, and exit; whatever ends it, no half a file is left."""
    from umd.journal.copy import CannotCopy
    from umd.management.client import Refusal, Unreachable
    from umd.management.upkeep import Damaged, InUse

    for number, status in ENDING.items():
        signals.exit_at(number, status)
    try:
        yield
    except CannotCopy as error:
        tell_error(f"{error}.", "output")
        sys.exit(WRONG_USAGE)
    except Damaged as error:
        tell_error(f"{error}.", "damaged")
        sys.exit(NOT_SO)
    except InUse as error:
        tell_error(f"{error}.", "in-use")
        sys.exit(NOT_SO)
    except Refusal as refusal:
        tell_error(f"{refusal}.", refusal.kind)
        sys.exit(BY_KIND.get(refusal.kind, UNREACHABLE))
    except Unreachable as error:
        tell_error(str(error), "unreachable")
        sys.exit(UNREACHABLE)


def _size(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"
