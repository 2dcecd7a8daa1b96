"""`umd trace`: the SIP messages of a call as a ladder, as JSON, or as a capture file."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from umd.cli.errors import exit_on_daemon_errors, print_error
from umd.cli.exit_status import USAGE_ERROR
from umd.cli.options import complete_file, json_option, socket_option

if TYPE_CHECKING:
    from umd.trace.ladder import LadderStep


@click.command(
    epilog="Example: umd trace 09df --pcap call.pcap && wireshark call.pcap", no_args_is_help=True
)
@click.argument("call")
@click.option(
    "--pcap",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write the messages to FILE for Wireshark or sngrep instead of drawing them; - is "
    "standard output.",
)
@json_option
@socket_option
def trace(call: str, pcap: str | None, as_json: bool, path: str | None) -> None:
    """
    Draw the SIP messages of a call as a ladder diagram.

    CALL is a CallId, the name of a leg, an alias such as the SIP Call-ID, a label, or a unique
    prefix of one of them. umd keeps the last messages of all calls together (trace.messages), also
    those of calls that have ended.
    """
    from umd.management.client import Unreachable, ask
    from umd.trace.ladder import LadderStep

    if as_json and pcap is not None:
        raise click.UsageError("--json and --pcap exclude each other.")
    with exit_on_daemon_errors():
        replies = list(ask("trace", path, call=call, octets=pcap is not None))
        about: dict[str, Any] = next((reply["call"] for reply in replies if "call" in reply), {})
        messages = [reply["message"] for reply in replies if "message" in reply]
        try:
            steps = [LadderStep.from_json(message) for message in messages]
        except (KeyError, ValueError) as error:
            raise Unreachable(
                f"The running umd is of another version: its messages lack {error}"
            ) from error
    if as_json:
        for message in messages:
            click.echo(json.dumps(message))
    elif pcap is not None:
        _write_pcap(pcap, steps, [message["octets"] for message in messages])
    else:
        _print_ladder(about, steps)


def _print_ladder(about: dict[str, Any], steps: list[LadderStep]) -> None:
    from umd.cli.terminal_text import STATE_LABELS, format_age
    from umd.trace.ladder import draw, printable

    title = click.style(printable(about["sip_call_id"]), bold=True)
    backend = ""
    if "id" in about:
        title += f"   to {printable(about['to'])}   {STATE_LABELS[about['state']]}"
        backend = f"backend {printable(about['backend'])}, "
    click.echo(title)
    began = steps[0].to_json()["at"]
    click.echo(f"{backend}first message at {began}, {format_age(time.time() - steps[0].at)}")
    if steps[0].method != "INVITE" or steps[0].retransmission:
        click.echo("umd has not kept the earlier messages (trace.messages)")
    click.echo()
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for line in draw(steps, colour=colour):
        click.echo(line)


def _write_pcap(file: str, steps: list[LadderStep], octets: list[str | None]) -> None:
    from base64 import b64decode

    from umd.trace.pcap import Packet, capture_file

    packets = [
        Packet(step.at, step.source, step.target, b64decode(data))
        for step, data in zip(steps, octets, strict=True)
        if data is not None
    ]
    written = capture_file(packets)
    if file == "-":
        sys.stdout.buffer.write(written)
        return
    try:
        with open(file, "wb") as stream:
            stream.write(written)
    except OSError as error:
        print_error(f"{file} cannot be written: {error.strerror}.", "output")
        sys.exit(USAGE_ERROR)
    left_out = len(steps) - len(packets)
    more = f", without {left_out} that have no octets" if left_out else ""
    number = "1 message" if len(packets) == 1 else f"{len(packets)} messages"
    click.echo(f"{number} in {file}{more}: wireshark {file}, or sngrep -I {file}")
