"""Prints the errors of commands, as text or as JSON, and exits with their status."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from umd.cli.exit_status import STATUS_BY_ERROR_KIND, UNREACHABLE, USAGE_ERROR

if TYPE_CHECKING:
    from umd.management.client import Refusal


def print_error(text: str, kind: str, **more: Any) -> None:
    """
    Write an error of the running command to standard error: as a JSON object with `--json`.

    Args:
        text: for people; may have several lines.
        kind: for programs, such as "no-such-call".
        more: further keys of the object.
    """
    if wants_json():
        text = json.dumps({"error": text, "kind": kind, **more})
    click.echo(text, err=True)


def wants_json() -> bool:
    """Return whether the running command was given `--json`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.params.get("as_json"))


def exit_with_mistakes(mistakes: Sequence[str], consequence: str) -> NoReturn:
    """
    Print the mistakes of a configuration and exit.

    Args:
        mistakes: one text each, with file, line and key.
        consequence: follows their number, such as "umd did not start".
    """
    number = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    summary = f"{number}; {consequence}."
    if wants_json():
        print_error(summary, "configuration", mistakes=mistakes)
    else:
        for line in (*mistakes, summary):
            click.echo(line, err=True)
    sys.exit(USAGE_ERROR)


@contextmanager
def exit_on_daemon_errors() -> Iterator[None]:
    """Turn a refusal of the daemon, or its absence, into an error message and an exit status."""
    from umd.management.client import Refusal, Unreachable

    try:
        yield
    except Refusal as refusal:
        _print_refusal(refusal)
        # A later version may refuse for a reason that is not known here: then nothing is certain.
        sys.exit(STATUS_BY_ERROR_KIND.get(refusal.kind, UNREACHABLE))
    except Unreachable as error:
        print_error(str(error), "unreachable")
        sys.exit(UNREACHABLE)


def _print_refusal(refusal: Refusal) -> None:
    from umd.cli.terminal_text import align_columns, distinct_prefixes
    from umd.trace.ladder import printable

    if wants_json():
        more = {"candidates": refusal.candidates} if refusal.candidates else {}
        print_error(str(refusal), refusal.kind, **more)
    elif refusal.kind == "ambiguous" and refusal.candidates:
        click.echo(f"{printable(str(refusal))}; which one?", err=True)
        names = distinct_prefixes([candidate["leg"] for candidate in refusal.candidates])
        rows = [
            (name, candidate.get("to", ""), candidate.get("state", ""), candidate.get("id", ""))
            for name, candidate in zip(names, refusal.candidates, strict=True)
        ]
        for line in align_columns(rows):
            click.echo(f"  {printable(line)}", err=True)
    else:
        hint = {"no-such-call": "; `umd calls` lists the live ones"}.get(refusal.kind, "")
        click.echo(f"{printable(str(refusal))}{hint}", err=True)
