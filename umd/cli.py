"""The command line; what a command needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from umd import __version__

# Exit status: 0 done, 1 the thing asked for is not so, 2 wrong usage or configuration.
WRONG_CONFIGURATION = 2

override_option: Callable[[Any], Any] = click.option(
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the configuration, call.deadline=2s for example. Repeatable.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The first thing to try: umd demo",
)
@click.version_option(__version__, message="umd %(version)s")
def main() -> None:
    """Telephony call control: a SOAP Disconnect ends a call, and OK means that it is down."""


@main.command(epilog="Example: umd serve -c /etc/umd/umd.toml -o log.level=debug")
@click.option("-c", "--config", "file", metavar="FILE", help="The configuration, in TOML.")
@override_option
def serve(file: str | None, overrides: tuple[str, ...]) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration again."""
    from umd.config import ConfigError, load

    try:
        settings = load(file, overrides)
    except ConfigError as error:
        _refuse(error.mistakes, "nothing was started")
    from umd.daemon import run

    sys.exit(run(lambda: load(file, overrides), settings))


@main.command(epilog="Example: umd demo -o http.listen=tcp:8081:interface=127.0.0.1")
@override_option
def demo(overrides: tuple[str, ...]) -> None:
    """Serve a few simulated calls on loopback, and show what happens to them."""
    from umd.config import ConfigError
    from umd.demo import run_demo

    try:
        sys.exit(run_demo(overrides))
    except ConfigError as error:
        _refuse(error.mistakes, "nothing was started")


@main.command("check-config", epilog="Example: umd check-config /etc/umd/umd.toml")
@click.argument("file")
def check_config(file: str) -> None:
    """Tell every mistake in a configuration; exit status 2 when there is one."""
    from umd.config import ConfigError, load

    try:
        load(file)
    except ConfigError as error:
        _refuse(error.mistakes, "it would not start")
    click.echo(f"{file}: good")


@main.command(epilog="Example: umd version")
def version() -> None:
    """Tell which umd this is."""
    click.echo(f"umd {__version__}")


def _refuse(mistakes: tuple[str, ...], consequence: str) -> None:
    for mistake in mistakes:
        click.echo(mistake, err=True)
    number = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    click.echo(f"{number}; {consequence}.", err=True)
    sys.exit(WRONG_CONFIGURATION)
