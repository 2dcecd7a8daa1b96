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
    from umd.trace.ladder import printable

    if wants_json():
        more = {"candidates": refusal.candidates} if refusal.candidates else {}
        print_error(str(refusal), refusal.kind, **more)
    elif refusal.candidates:
        # A request that changes something needs a complete id; for reading a prefix is enough.
        complete = refusal.kind != "ambiguous"
        click.echo(printable(str(refusal)) + ("" if complete else "; which one?"), err=True)
        for line in _candidate_lines(refusal.candidates, complete):
            click.echo(f"  {printable(line)}", err=True)
    else:
        hint = {"no-such-call": "; `umd calls` lists the live ones"}.get(refusal.kind, "")
        click.echo(f"{printable(str(refusal))}{hint}", err=True)


def _candidate_lines(candidates: Sequence[dict[str, Any]], complete: bool) -> list[str]:
    from umd.cli.terminal_text import STATE_LABELS, align_columns, distinct_prefixes

    legs = [candidate["leg"] for candidate in candidates]
    return align_columns(
        (
            leg,
            candidate.get("to", ""),
            STATE_LABELS.get(candidate.get("state", ""), ""),
            candidate.get("id", ""),
        )
        for leg, candidate in zip(legs if complete else distinct_prefixes(legs), candidates)
    )
