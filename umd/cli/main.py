"""
The command line of umd: its group of commands, and how any failure becomes an exit status.

A command imports what it needs when it runs, so that `umd --help` is fast.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from umd import __version__
from umd.cli.backend_contract import backend_contract
from umd.cli.calls import call_group, calls
from umd.cli.exit_status import INTERRUPTED, OUTPUT_LOST, READER_GONE
from umd.cli.init import init
from umd.cli.journal import journal
from umd.cli.lab import lab
from umd.cli.leases import lease_group
from umd.cli.records import events, why
from umd.cli.serve import check_config, demo, serve
from umd.cli.status import status, version
from umd.cli.trace import trace
from umd.runtime import streams


class CommandLine(click.Group):
    """A group of commands that exits with a status of `umd.cli.exit_status` in every case."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> NoReturn:
        arguments = sys.argv[1:] if args is None else list(args)
        try:
            try:
                exit_status = super().main(arguments, *more, **{**extra, "standalone_mode": False})
                sys.stdout.flush()
            except click.ClickException as error:
                _print_usage_error(error, as_json="--json" in arguments)
                exit_status = error.exit_code
            except click.Abort:  # by SIGINT, where it raises KeyboardInterrupt
                exit_status = INTERRUPTED
        except streams.OutputLost as error:
            exit_status = READER_GONE if error.reader_gone else OUTPUT_LOST
            if not error.reader_gone:
                click.echo(f"{error}.", err=True)
        sys.exit(exit_status)


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="To begin with: umd demo. Exit statuses: docs/commands.md",
)
@click.version_option(__version__, message="umd %(version)s")
def main() -> None:
    """Telephony call control: a SOAP Disconnect ends a call, and OK means that it is down."""


main.add_command(serve)
main.add_command(demo)
main.add_command(check_config)
main.add_command(init)
main.add_command(calls)
main.add_command(call_group)
main.add_command(lease_group)
main.add_command(trace)
main.add_command(events)
main.add_command(why)
main.add_command(status)
main.add_command(journal)
main.add_command(lab)
main.add_command(backend_contract)
main.add_command(version)


def _print_usage_error(error: click.ClickException, as_json: bool) -> None:
    """Print how the command is used; a command without any arguments prints its help instead."""
    if as_json:
        click.echo(json.dumps({"error": error.format_message(), "kind": "usage"}), err=True)
    else:
        error.show()
