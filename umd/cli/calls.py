"""The commands that list, place and end calls."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from umd.cli.errors import exit_on_daemon_errors
from umd.cli.exit_status import UNCONFIRMED
from umd.cli.options import journal_option, json_option, socket_option


@click.command(epilog="Example: umd calls --json | jq -r .id")
@json_option
@journal_option
@socket_option
def calls(as_json: bool, journal: str | None, path: str | None) -> None:
    """
    List the live calls; "!" marks a call that does not end although its deadline has passed.

    The list comes from the running umd. If none runs, it comes from the journal, and shows the
    calls that the next umd will take over.
    """
    from umd.management.journal_queries import read_calls

    with exit_on_daemon_errors():
        found, running = read_calls(path, journal)
    if as_json:
        for call in found:
            click.echo(json.dumps(call))
    else:
        _print_calls(found)
    if not running and not as_json:
        click.echo("No umd is running: these calls are from its journal.", err=True)


@click.group("call")
def call_group() -> None:
    """Place or end a call."""


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


@call_group.command("place", epilog="Example: umd call place 5550100", no_args_is_help=True)
@click.argument("number")
@click.option("--backend", metavar="NAME", help="The backend that dials. Default: the first one.")
@json_option
@socket_option
def place_call(number: str, backend: str | None, as_json: bool, path: str | None) -> None:
    """
    Dial a number, and print the CallId.

    NUMBER is a telephone number, a tel: or sip: URI, user@host, or a name on the PBX. The dial plan
    does not apply: it is for clients of the web service.
    """
    from umd.management.client import ask

    with exit_on_daemon_errors():
        (reply,) = ask("place", path, number=number, backend=backend)
    call = reply["call"]
    click.echo(json.dumps(call) if as_json else call["id"])


def _unconfirmed_note(end: dict[str, Any]) -> str:
    """Tell an end that may still be confirmed from one that never will be."""
    if end["state"] == "disconnecting":
        return ", umd goes on ending it"
    return ", and the far end never confirmed it"


def _print_calls(found: list[dict[str, Any]]) -> None:
    from umd.cli.terminal_text import STATE_LABELS, align_columns, distinct_prefixes
    from umd.trace.ladder import printable

    if not found:
        click.echo("No live calls.")
        return
    names = distinct_prefixes([call["leg"] for call in found])
    shown = {call["id"]: name for name, call in zip(names, found, strict=True)}
    columns: list[list[str]] = [
        ["  CALL", *(f"{'!' if call['overdue'] else ' '} {shown[call['id']]}" for call in found)],
        ["OWNER", *(call["owner"] or "-" for call in found)],
        ["TO", *(call["to"] for call in found)],
        ["STATE", *(STATE_LABELS[call["state"]] for call in found)],
        ["FOR", *(_since(call["began_at"]) for call in found)],
        ["BACKEND", *(call["backend"] for call in found)],
    ]
    # Only a PBX has bridges, and few calls have labels. An earlier umd does not send the keys.
    if any(call.get("partners") for call in found):
        columns.append(["PARTNER", *(_partners(call, shown) for call in found)])
    if any(call.get("labels") for call in found):
        columns.append(["LABELS", *(", ".join(call["labels"]) or "-" for call in found)])
    columns.append(["", *(_note(call) for call in found)])
    head, *lines = align_columns(
        [[printable(cell) for cell in row] for row in zip(*columns, strict=True)]
    )
    click.echo(click.style(head, bold=True))
    for line in lines:
        click.echo(click.style(line, fg="yellow") if line.startswith("!") else line)


def _partners(call: dict[str, Any], shown: Mapping[str, str]) -> str:
    """Return the partners of a call as the first column shows them."""
    from umd.call.record import leg_of
    from umd.cli.terminal_text import shorten_name

    names = [shown.get(partner) or shorten_name(leg_of(partner)) for partner in call["partners"]]
    return ", ".join(names) or "-"


def _note(call: dict[str, Any]) -> str:
    return f"unconfirmed {_since(call['asked_at'])}" if call["overdue"] else ""


def _since(at: str) -> str:
    from umd.cli.terminal_text import format_duration

    return format_duration(time.time() - _timestamp(at))


def _timestamp(at: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(at).timestamp()
