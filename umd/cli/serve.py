"""The commands that run the daemon, and the one that checks its configuration."""

from __future__ import annotations

import gc
import json
import sys

import click

from umd.cli.errors import exit_with_mistakes
from umd.cli.options import complete_file, json_option, override_option
from umd.runtime import signals

NOT_STARTED = "umd did not start"


@click.command(epilog="Example: umd serve -c /etc/umd/umd.toml -o log.level=debug")
@click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    shell_complete=complete_file,
    help="The configuration file, in TOML.",
)
@override_option
@json_option
def serve(file: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Run the daemon until SIGTERM; SIGHUP reloads the configuration.

    The log goes to standard error. With --json it is JSON even on a terminal.
    """
    # Imports and settings make many objects and no garbage: a collection would find nothing.
    gc.disable()
    try:
        from umd.runtime.systemd import inherited_sockets
        from umd.runtime.without_openssl import import_tcp

        inherited_sockets()  # before Twisted reads the variables of systemd
        import_tcp()  # before any other module imports Twisted

        from umd.runtime.reactor import install

        install()  # before the module of a backend imports Twisted's reactor

        from umd.config import ConfigError, load

        if as_json:
            overrides = (*overrides, "log.format=json")
        hangups = signals.remember_hangups()
        try:
            settings = load(file, overrides)
        except ConfigError as error:
            exit_with_mistakes(error.mistakes, NOT_STARTED)
        from umd.daemon.process import run
    finally:
        gc.enable()
    sys.exit(run(lambda: load(file, overrides), settings, hangups=hangups))


@click.command(epilog="Example: umd demo -o http.listen=tcp:8081:interface=127.0.0.1")
@override_option
@json_option
def demo(overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Run the daemon with simulated calls on loopback, and show what happens to them.

    With --json each call and each event is a JSON object on standard output.
    """
    from umd.runtime.systemd import inherited_sockets

    inherited_sockets()  # before Twisted reads the variables of systemd

    from umd.cli.demo import run_demo
    from umd.config import ConfigError

    try:
        sys.exit(run_demo(overrides, as_json))
    except ConfigError as error:
        exit_with_mistakes(error.mistakes, NOT_STARTED)


@click.command("check-config", epilog="Example: umd check-config /etc/umd/umd.toml")
@click.argument("file", shell_complete=complete_file)
@click.option(
    "--files",
    is_flag=True,
    help="Also check the files and directories that the configuration names. Changes none of them.",
)
@override_option
@json_option
def check_config(file: str, files: bool, overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Print every mistake in a configuration file; exit status 2 if there is one.

    Run it with --files as the user of the service, because file permissions differ by user.
    """
    from umd.config import ConfigError, load

    warnings: list[str] = []
    try:
        settings = load(file, overrides)
        if files:
            from umd.daemon.checks import check_files

            warnings = check_files(settings)
    except ConfigError as error:
        exit_with_mistakes(error.mistakes, "umd would not start")
    if as_json:
        click.echo(json.dumps({"file": file, "good": True, "warnings": warnings}))
    else:
        for warning in warnings:
            click.echo(warning, err=True)
        click.echo(f"{file}: good")
