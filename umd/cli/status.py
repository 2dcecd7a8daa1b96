"""`umd status` and `umd version`."""

from __future__ import annotations

import json
import sys

import click

from umd import __version__
from umd.cli.errors import exit_on_daemon_errors, print_error
from umd.cli.exit_status import NEGATIVE
from umd.cli.options import json_option, socket_option


@click.command(epilog="Example: umd status --json")
@json_option
@socket_option
def status(as_json: bool, path: str | None) -> None:
    """
    Print the figures of the running umd: calls, connections, delays, memory.

    Exit status 1 if the calls begun are not the calls ended plus the live calls.
    """
    from umd.management.client import ask

    with exit_on_daemon_errors():
        (reply,) = ask("status", path)
    figures = reply["status"]
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:28}{'-' if value is None else value}")
    if not figures.get("counts_agree", True):
        print_error("The counts of calls do not agree: an error in umd.", "counts-disagree")
        sys.exit(NEGATIVE)


@click.command(epilog="Example: umd version")
@json_option
def version(as_json: bool) -> None:
    """Print the version of umd."""
    from umd.sip import compiled

    if as_json:
        click.echo(json.dumps({"version": __version__, "compiled": compiled()}))
    else:
        click.echo(f"umd {__version__}" + (", core compiled" if compiled() else ""))
