"""The commands that list, place and end calls."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from umd.cli.bulk_end import end_calls
from umd.cli.errors import exit_on_daemon_errors
from umd.cli.exit_status import UNCONFIRMED
from umd.cli.leases import read_lease
from umd.cli.options import journal_option, json_option, socket_option
from umd.cli.selectors import given, selector_options


@click.group(
    epilog="Example: umd calls --label ci-run-7 --json | jq -r .id",
    invoke_without_command=True,
    subcommand_metavar="[end ...]",
)
@selector_options
@json_option
@journal_option
@socket_option
@click.pass_context
def calls(
    context: click.Context,
    /,
    as_json: bool,
    journal: str | None,
    path: str | None,
    **options: Any,
) -> None:
    """
    List the live calls; "!" marks a call that does not end, or that is older than its limit.

    The list comes from the running umd. If none runs, it comes from the journal, and shows the
    calls that the next umd will take over. All selectors that are given must fit.
    """
    from umd.cli.call_table import print_calls
    from umd.management.journal_queries import read_calls

    selectors = given(options)
    if context.invoked_subcommand is not None:
        if selectors or as_json or journal or path:
            raise click.UsageError(f"Give the options after `{context.invoked_subcommand}`.")
        return
    with exit_on_daemon_errors():
        found, running = read_calls(path, journal, selectors)
    if as_json:
        for call in found:
            click.echo(json.dumps(call))
    elif found:
        print_calls(found)
    else:
        click.echo("No live call is selected." if selectors else "No live calls.")
    if not running and not as_json:
        click.echo("No umd is running: these calls are from its journal.", err=True)


calls.add_command(end_calls)


@click.group("call")
def call_group() -> None:
    """Place, end or give up a call."""


@call_group.command(
    "end",
    epilog="Example: umd call end 77e0f3d1-71a9-4a35-8f0b-6b6bbd3d2d3c",
    no_args_is_help=True,
)
@click.argument("call")
@json_option
@socket_option
def end_call(call: str, as_json: bool, path: str | None) -> None:
    """
    End a call, and wait until it is down.

    CALL is a CallId, the name of a leg, a SIP Call-ID, another alias, or a label that only one live
    call has. It must be complete; if it is the beginning of ids, the command lists the calls.

    Exit status: 0 the far end has confirmed the end, now or earlier; 4 it has not.
    """
    from umd.cli.terminal_text import STATE_LABELS, shorten_name
    from umd.management.client import ask
    from umd.trace.ladder import printable

    with exit_on_daemon_errors():
        # The reply takes as long as the daemon's call.deadline, which is unknown here.
        (reply,) = ask("end", path, timeout=None, call=call)
    end = reply["end"]
    # Earlier versions of umd do not send `confirmed`.
    confirmed = end.get("confirmed", end["outcome"] == "ended")
    if as_json:
        click.echo(json.dumps(end))
    else:
        leg = printable(shorten_name(end["leg"]))
        note = "" if confirmed else _unconfirmed_note(end)
        click.echo(f"{leg}  {STATE_LABELS[end['was']]} -> {end['outcome']}{note}")
    if not confirmed:
        sys.exit(UNCONFIRMED)


@call_group.command(
    "forget",
    epilog='Example: umd call forget 77e0f3d1-71a9-4a35-8f0b-6b6bbd3d2d3c --reason "PBX replaced"',
    no_args_is_help=True,
)
@click.argument("call")
@click.option(
    "--reason", metavar="TEXT", required=True, help="Why; kept with the end of the call."
)
@json_option
@socket_option
def forget_call(call: str, reason: str, as_json: bool, path: str | None) -> None:
    """
    Give up a call that umd cannot end, such as one that its PBX no longer has.

    umd ends its record of the call and tells the backend nothing: a far end that still has the call
    keeps it. CALL must be complete, as for `umd call end`. `umd calls --suspect` lists the calls
    that may need this.
    """
    from umd.cli.terminal_text import STATE_LABELS, shorten_name
    from umd.management.client import ask
    from umd.trace.ladder import printable

    with exit_on_daemon_errors():
        (reply,) = ask("forget", path, call=call, reason=reason)
    forgotten = reply["forget"]
    if as_json:
        click.echo(json.dumps(forgotten))
    else:
        leg = printable(shorten_name(forgotten["leg"]))
        click.echo(f"{leg}  {STATE_LABELS[forgotten['was']]} -> forgotten")


@call_group.command("place", epilog="Example: umd call place 5550100", no_args_is_help=True)
@click.argument("number")
@click.option("--backend", metavar="NAME", help="The backend that dials. Default: the first one.")
@click.option(
    "--label",
    "labels",
    metavar="TEXT",
    multiple=True,
    help="A label of the call, such as the name of a test run. Repeatable.",
)
@click.option(
    "--lease",
    metavar="DURATION",
    callback=read_lease,
    help="umd ends the call after this time, such as 90s or 5m, unless `umd lease renew` renews "
    "the lease.",
)
@json_option
@socket_option
def place_call(
    number: str,
    backend: str | None,
    labels: tuple[str, ...],
    lease: float | None,
    as_json: bool,
    path: str | None,
) -> None:
    """
    Dial a number, and print the CallId.

    NUMBER is a telephone number, a tel: or sip: URI, user@host, or a name on the PBX. The dial plan
    does not apply: it is for clients of the web service.
    """
    from umd.management.client import ask

    with exit_on_daemon_errors():
        (reply,) = ask(
            "place", path, number=number, backend=backend, **_given(labels=labels, lease_s=lease)
        )
    call = reply["call"]
    click.echo(json.dumps(call) if as_json else call["id"])


def _given(**fields: Any) -> dict[str, Any]:
    """Leave out the fields without a value: an umd that still runs may not know them yet."""
    return {name: value for name, value in fields.items() if value}


def _unconfirmed_note(end: dict[str, Any]) -> str:
    """Tell an end that may still be confirmed from one that never will be."""
    if end["state"] == "disconnecting":
        return ", umd goes on ending it"
    return ", and the far end never confirmed it"
