"""`umd events` and `umd why`: what the journal has recorded, of all calls or of one."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress

import click

from umd.cli.errors import exit_on_daemon_errors, print_error
from umd.cli.exit_status import DONE, NEGATIVE
from umd.cli.options import journal_option, json_option, socket_option
from umd.runtime import signals, streams

MAX_POSITION = 2**63 - 1  # the largest row id of SQLite
FOLLOW_INTERVAL = 0.5  # seconds between two queries of `umd events --follow`


@click.command(epilog="Example: umd events --follow --call 09df")
@click.option(
    "--from",
    "first",
    metavar="N",
    type=click.IntRange(1, MAX_POSITION),
    default=1,
    help="Begin with this position. The first column shows the positions.",
)
@click.option("--follow", is_flag=True, help="Print new events until Ctrl-C.")
@click.option(
    "--call", metavar="ID", help="Print only the events of one call: any id, or a unique prefix."
)
@json_option
@journal_option
@socket_option
def events(
    first: int, follow: bool, call: str | None, as_json: bool, journal: str | None, path: str | None
) -> None:
    """
    Print the events in the journal, oldest first.

    The events come from the running umd. If none runs, they come from its journal file. With
    --follow the command goes on after a restart of umd.
    """
    from umd.management.client import Unreachable

    printer = EventPrinter(path, journal, call, first - 1, as_json)
    if follow:
        signals.exit_on(signal.SIGINT, DONE)  # the normal way to end it
    with exit_on_daemon_errors():
        printer.print_new()
        while follow:
            streams.check_reader(FOLLOW_INTERVAL)
            with suppress(Unreachable):  # umd may be restarting
                printer.print_new()


class EventPrinter:
    """
    Prints the events after a position, and remembers the position of the last one.

    Args:
        socket: the control socket to ask; None for the default one.
        journal: the journal file to read; None asks the running umd first.
        call: print only the events of this call; None for all calls.
        last: the position to begin after.
        as_json: print JSON objects instead of text.
    """

    def __init__(
        self, socket: str | None, journal: str | None, call: str | None, last: int, as_json: bool
    ) -> None:
        self._socket = socket
        self._journal = journal
        self._call = call
        self._last = last
        self._as_json = as_json

    def print_new(self) -> None:
        """Print the events since the last one printed, even if an error ends the reading."""
        from umd.cli.event_text import event_line
        from umd.management.journal_queries import read_events
        from umd.trace.ladder import printable

        for record in read_events(self._socket, self._journal, self._last, self._call):
            self._last = record["position"]
            click.echo(json.dumps(record) if self._as_json else printable(event_line(record)))


@click.command(epilog="Example: umd why 09df", no_args_is_help=True)
@click.argument("call")
@json_option
@journal_option
@socket_option
def why(call: str, as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Print everything recorded of a call: who ended it, what happened, and the cause.

    CALL is a CallId, the name of a leg, an alias such as the SIP Call-ID, a label, or a unique
    prefix of one of them.
    """
    from umd.cli.event_text import call_report
    from umd.management.journal_queries import read_call_history
    from umd.trace.ladder import printable
    from umd.trace.summary import summaries_to_json

    with exit_on_daemon_errors():
        records, summaries = read_call_history(path, journal, call)
    if as_json:
        for record in (*records, *summaries_to_json(summaries)):
            click.echo(json.dumps(record))
    else:
        for line in call_report(records, summaries):
            click.echo(printable(line))
    if not records:
        print_error("The journal has no events of this call (journal.keep).", "nothing-on-record")
        sys.exit(NEGATIVE)
