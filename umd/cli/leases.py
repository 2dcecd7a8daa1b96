"""The commands about leases: umd ends a call whose owner does not renew its lease."""

from __future__ import annotations

import json

import click

from umd.cli.errors import exit_on_daemon_errors
from umd.cli.options import json_option, socket_option


def read_lease(_: object, __: object, value: str | None) -> float | None:
    """
    Return the seconds of an option with a duration (a callback of click).

    Raises:
        click.BadParameter: it is none.
    """
    if value is None:
        return None
    from umd.config.values import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: expected {error}.") from None


@click.group("lease")
def lease_group() -> None:
    """Renew the leases of calls."""


@lease_group.command("renew", epilog="Example: umd lease renew ci-run-7", no_args_is_help=True)
@click.argument("label")
@json_option
@socket_option
def renew_leases(label: str, as_json: bool, path: str | None) -> None:
    """
    Let the leases of all live calls with a label count from now on.

    LABEL must be complete. Calls without a lease, and calls that are ending, stay as they are.
    """
    from umd.management.client import ask

    with exit_on_daemon_errors():
        # The reply takes as long as the journal needs, at most the daemon's call.deadline.
        for reply in ask("lease-renew", path, timeout=None, label=label):
            if as_json:
                click.echo(json.dumps(reply))
            elif "renewed" in reply:
                count = reply["renewed"]["count"]
                click.echo(f"{count} {'call' if count == 1 else 'calls'} renewed")
