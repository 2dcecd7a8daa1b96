"""`umd init`: writes the files of a first installation, and prints what to do next."""

from __future__ import annotations

import json
import signal
import sys

import click

from umd.cli.errors import print_error
from umd.cli.exit_status import INTERRUPTED, USAGE_ERROR
from umd.cli.options import complete_directory, json_option
from umd.runtime import signals

HIDDEN_DIRECTORIES = ("/home/", "/root/", "/tmp/", "/var/tmp/")
"""Not visible to the service: ProtectHome= and PrivateTmp= of its unit."""
STATUS_BY_SIGNAL = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 143, signal.SIGHUP: 129}


@click.command(epilog="Example: sudo /opt/umd/bin/umd init /etc/umd", no_args_is_help=True)
@click.argument("directory", metavar="DIR", shell_complete=complete_directory)
@click.option(
    "--user", metavar="NAME", default="operator", show_default=True, help="The first user."
)
@click.option(
    "--ask-password",
    is_flag=True,
    help="Ask for the password of the user. Without this option umd generates one, and shows it "
    "once.",
)
@json_option
def init(directory: str, user: str, ask_password: bool, as_json: bool) -> None:
    """
    Write a configuration, systemd units and a password file to DIR, and print what to do next.

    DIR is made if it does not exist. No existing file is overwritten. The password file has mode
    0600 and the format of htpasswd. If the command fails, it leaves no file behind.
    """
    from umd.cli.installation import CannotInstall, plan_installation, umd_command

    command = umd_command()
    password = _ask_password(user) if ask_password else _generate_password()
    shown_password = None if ask_password else password
    for number, exit_status in STATUS_BY_SIGNAL.items():
        signals.exit_on(number, exit_status)
    try:
        installation = plan_installation(directory, user, password, command)
        # If the password cannot be shown, the files must not stay.
        with installation.written():
            if as_json:
                result = {"files": installation.paths, "user": user, "password": shown_password}
                click.echo(json.dumps(result))
            else:
                click.echo(_next_steps(installation.directory, user, shown_password, command))
    except CannotInstall as error:
        print_error(f"{error}.", "output")
        sys.exit(USAGE_ERROR)


def _ask_password(user: str) -> str:
    question = f"Password of {user}"
    answer: str = click.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _generate_password() -> str:
    """Return a random password of 20 letters, digits, "-" and "_"."""
    import secrets

    return secrets.token_urlsafe(15)


def _next_steps(directory: str, user: str, shown_password: str | None, command: str) -> str:
    lines = [
        f"Written to {directory}:",
        "",
        "  umd.toml      the configuration, with a comment for each key",
        f"  passwords     the user {user}; only the owner of the file can read it",
        "  umd.service   the systemd unit of the service",
        "  umd.socket    the systemd unit of its HTTP port",
        "",
    ]
    if shown_password is not None:
        lines += [f"The password of {user}, which is not shown again: {shown_password}", ""]
    lines += [
        "What to do next:",
        "",
        f"1. Name your PBX in {directory}/umd.toml, section [backend.pbx].",
        "   Without a backend umd simulates calls, which is enough for a first try.",
        "2. Check the configuration:",
        f"     {command} check-config --files {directory}/umd.toml",
        "3. Install the service, as root:",
        f"     cp {directory}/umd.service {directory}/umd.socket /etc/systemd/system/",
        "     systemctl daemon-reload",
        "     systemctl enable --now umd.socket umd.service",
        "   or try it without systemd:",
        f"     {command} serve -c {directory}/umd.toml",
        f"4. See that it runs:  {command} status",
        f"5. Point your client at it, with the user {user}:",
        "     http://127.0.0.1:8080/EWS/UM2007Legacy.asmx",
    ]
    if directory.startswith(HIDDEN_DIRECTORIES):
        lines += [
            "",
            f"The service cannot read {directory}, because its unit hides /home, /root and /tmp.",
            "Use a directory such as /etc/umd for it.",
        ]
    return "\n".join(lines)
