"""The command line; what a command needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from umd import __version__
from umd.cli.exits import (
    BY_KIND,
    DONE,
    INTERRUPTED,
    NOT_SO,
    OUTPUT_LOST,
    READER_GONE,
    UNCONFIRMED,
    UNREACHABLE,
    WRONG_USAGE,
    tell_error,
)
from umd.cli.journal import journal as journal_group
from umd.cli.lab import lab
from umd.runtime import signals, streams

if TYPE_CHECKING:
    from umd.management.client import Refusal
    from umd.trace.ladder import LadderStep

LAST_POSITION = 2**63 - 1  # what SQLite counts to
FOLLOW_EVERY = 0.5  # seconds between two looks of `umd events --follow`

override_option: Callable[[Any], Any] = click.option(
    "-o",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the configuration, call.deadline=2s for example. Repeatable.",
)

socket_option: Callable[[Any], Any] = click.option(
    "--socket",
    "path",
    metavar="PATH",
    help="The control socket of the umd to ask; by default the one of this user or of the service.",
)
json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, for programs."
)


journal_option: Callable[[Any], Any] = click.option(
    "--journal",
    metavar="FILE",
    help="Read this journal, that no umd has open; by default that of the service.",
)


class CommandLine(click.Group):
    """The commands; whatever happens to one ends in an exit status of `umd.cli.exits`."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> NoReturn:
        arguments = sys.argv[1:] if args is None else list(args)
        try:
            try:
                status = super().main(arguments, *more, **{**extra, "standalone_mode": False})
                sys.stdout.flush()
            except click.ClickException as error:
                _show_usage(error, as_json="--json" in arguments)
                status = error.exit_code
            except click.Abort:  # by SIGINT, where it raises KeyboardInterrupt
                status = INTERRUPTED
        except streams.OutputLost as error:
            status = READER_GONE if error.reader_gone else OUTPUT_LOST
            if not error.reader_gone:
                click.echo(f"{error}.", err=True)
        sys.exit(status)


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The first thing to try: umd demo. Exit statuses: docs/commands.md",
)
@click.version_option(__version__, message="umd %(version)s")
def main() -> None:
    """Telephony call control: a SOAP Disconnect ends a call, and OK means that it is down."""


main.add_command(lab)
main.add_command(journal_group)


@main.command(epilog="Example: umd serve -c /etc/umd/umd.toml -o log.level=debug")
@click.option("-c", "--config", "file", metavar="FILE", help="The configuration, in TOML.")
@override_option
@json_option
def serve(file: str | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Serve until SIGTERM; SIGHUP reads the configuration again.

    The log goes to standard error. With --json it is JSON there even on a terminal.
    """
    from umd.runtime.reactor import install
    from umd.runtime.systemd import handed_over

    handed_over()  # before Twisted takes them
    install()  # before somebody's backend asks Twisted for one

    from umd.config import ConfigError, load

    if as_json:
        overrides = (*overrides, "log.format=json")
    hangups = signals.remember_hangups()
    try:
        settings = load(file, overrides)
    except ConfigError as error:
        _refuse(error.mistakes, "nothing was started")
    from umd.daemon.process import run

    sys.exit(run(lambda: load(file, overrides), settings, hangups=hangups))


@main.command(epilog="Example: umd demo -o http.listen=tcp:8081:interface=127.0.0.1")
@override_option
@json_option
def demo(overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Serve a few simulated calls on loopback, and show what happens to them.

    With --json each call and each event is an object on standard output.
    """
    from umd.runtime.systemd import handed_over

    handed_over()  # before Twisted takes them

    from umd.cli.demo import run_demo
    from umd.config import ConfigError

    try:
        sys.exit(run_demo(overrides, as_json))
    except ConfigError as error:
        _refuse(error.mistakes, "nothing was started")


@main.command("check-config", epilog="Example: umd check-config /etc/umd/umd.toml")
@click.argument("file")
@click.option(
    "--files", is_flag=True, help="Look at the files and folders that it names, too; change none."
)
@override_option
@json_option
def check_config(file: str, files: bool, overrides: tuple[str, ...], as_json: bool) -> None:
    """
    Tell every mistake in a configuration; exit status 2 when there is one.

    With --files, run it as the user that umd runs as: others may read other files.
    """
    from umd.config import ConfigError, load

    warnings: list[str] = []
    try:
        settings = load(file, overrides)
        if files:
            from umd.daemon.checks import check_files

            warnings = check_files(settings)
    except ConfigError as error:
        _refuse(error.mistakes, "it would not start")
    if as_json:
        click.echo(json.dumps({"file": file, "good": True, "warnings": warnings}))
    else:
        for warning in warnings:
            click.echo(warning, err=True)
        click.echo(f"{file}: good")


@main.command(epilog="Example: umd calls --json | jq -r .id")
@json_option
@journal_option
@socket_option
def calls(as_json: bool, journal: str | None, path: str | None) -> None:
    """
    List the live calls; "!" marks one that was asked to end and does not.

    The running umd is asked; where none runs its journal is read, which has those that the next
    one will take up.
    """
    from umd.management.history import calls as read_calls

    with _asking():
        found, running = read_calls(path, journal)
    if as_json:
        for call in found:
            click.echo(json.dumps(call))
    else:
        _show_calls(found)
    if not running and not as_json:
        click.echo("No umd runs: these are as its journal has them.", err=True)


@main.command(
    epilog="Example: umd trace 09df --pcap call.pcap && wireshark call.pcap", no_args_is_help=True
)
@click.argument("call")
@click.option(
    "--pcap",
    metavar="FILE",
    help="Write the messages for Wireshark and sngrep, draw nothing; - is standard output.",
)
@json_option
@socket_option
def trace(call: str, pcap: str | None, as_json: bool, path: str | None) -> None:
    """
    Draw the SIP messages of a call as a ladder: who sent what to whom, and when.

    CALL is a CallId, the name of a leg, a SIP Call-ID, or a beginning that no other one has. A call
    that has ended can be traced as long as its messages are among the last ones (trace.messages).
    """
    from umd.management.client import Unreachable, ask
    from umd.trace.ladder import LadderStep

    if as_json and pcap is not None:
        raise click.UsageError("--json and --pcap are two ways to give the same messages.")
    with _asking():
        replies = list(ask("trace", path, call=call, octets=pcap is not None))
        about: dict[str, Any] = next((reply["call"] for reply in replies if "call" in reply), {})
        messages = [reply["message"] for reply in replies if "message" in reply]
        try:
            steps = [LadderStep.from_json(message) for message in messages]
        except (KeyError, ValueError) as error:
            raise Unreachable(f"the umd there is of another version: no {error}") from error
    if as_json:
        for message in messages:
            click.echo(json.dumps(message))
    elif pcap is not None:
        _write_pcap(pcap, steps, [message["octets"] for message in messages])
    else:
        _show_ladder(about, steps)


@main.command(epilog="Example: umd events --follow --call 09df")
@click.option("--from", "after", metavar="N", type=click.IntRange(1, LAST_POSITION), default=1,
              help="Begin with this position; the first column shows them.")  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on as more happens, until Ctrl-C.")
@click.option("--call", metavar="ID", help="Of one call: any id of it, or a beginning of one.")
@json_option
@journal_option
@socket_option
def events(
    after: int, follow: bool, call: str | None, as_json: bool, journal: str | None, path: str | None
) -> None:
    """
    Show what the journal has on record, oldest first.

    The running umd is asked; where none runs its journal is read. With --follow a umd that is
    started again is waited for.
    """
    from umd.cli.timeline import line_of
    from umd.management.client import Unreachable
    from umd.management.history import events as read_events
    from umd.trace.ladder import printable

    last = after - 1

    def show() -> None:
        nonlocal last
        for record in read_events(path, journal, last, call):
            last = record["position"]
            click.echo(json.dumps(record) if as_json else printable(line_of(record)))

    if follow:
        signals.exit_at(signal.SIGINT, DONE)  # that is how one ends it
    with _asking():
        show()
        while follow:
            streams.check_reader(FOLLOW_EVERY)
            with suppress(Unreachable):  # it is being restarted, and may be on its way
                show()


@main.command(epilog="Example: umd status --json")
@json_option
@socket_option
def status(as_json: bool, path: str | None) -> None:
    """
    Tell how umd itself is: calls, connections, what was put off, and how late it was at most.

    Calls begun are those that ended and those that live: exit status 1 where that is not so.
    """
    from umd.management.client import ask

    with _asking():
        (reply,) = ask("status", path)
    told = reply["status"]
    if as_json:
        click.echo(json.dumps(told))
    else:
        for name, value in told.items():
            click.echo(f"{name:28}{'-' if value is None else value}")
    if not told.get("counts_agree", True):
        words = "The counts of calls do not agree: a mistake of umd's own."
        tell_error(words, "counts-disagree")
        sys.exit(NOT_SO)


@main.command(epilog="Example: umd why 09df", no_args_is_help=True)
@click.argument("call")
@json_option
@journal_option
@socket_option
def why(call: str, as_json: bool, journal: str | None, path: str | None) -> None:
    """
    Tell the whole story of a call: who asked, what came of it, and why it ended.

    CALL is a CallId, the name of a leg, a SIP Call-ID, or a beginning that no other one has.
    """
    from umd.cli.timeline import story_of
    from umd.management.history import story
    from umd.trace.ladder import printable
    from umd.trace.summary import summaries_to_json

    with _asking():
        records, crossed = story(path, journal, call)
    if as_json:
        for record in (*records, *summaries_to_json(crossed)):
            click.echo(json.dumps(record))
    else:
        for line in story_of(records, crossed):
            click.echo(printable(line))
    if not records:
        tell_error("Nothing is on record of this call (journal.keep).", "nothing-on-record")
        sys.exit(NOT_SO)


@main.group()
def call() -> None:
    """Do something with a call."""


@call.command("end", epilog="Example: umd call end 09df", no_args_is_help=True)
@click.argument("call")
@json_option
@socket_option
def end_call(call: str, as_json: bool, path: str | None) -> None:
    """
    End a call, and tell when it is down; any id of it will do, or a beginning of one.

    Exit status: 0 its end is confirmed, now or earlier; 4 the far end has not confirmed it.
    """
    from umd.cli.screen import STATES, short_name
    from umd.management.client import ask
    from umd.trace.ladder import printable

    with _asking():
        # As long as call.deadline of that umd says, which is not known here.
        (reply,) = ask("end", path, patience=None, call=call)
    end = reply["end"]
    # A umd of an earlier version does not say.
    confirmed = end.get("confirmed", end["outcome"] == "ended")
    if as_json:
        click.echo(json.dumps(end))
    else:
        doubt = "" if confirmed or "unconfirmed" in end["outcome"] else ", which was not confirmed"
        leg = printable(short_name(end["leg"]))
        click.echo(f"{leg}  {STATES[end['was']]} -> {end['outcome']}{doubt}")
    if not confirmed:
        sys.exit(UNCONFIRMED)


@call.command("place", epilog="Example: umd call place 5550100", no_args_is_help=True)
@click.argument("number")
@click.option("--backend", metavar="NAME", help="Which one dials; the first one by default.")
@json_option
@socket_option
def place_call(number: str, backend: str | None, as_json: bool, path: str | None) -> None:
    """
    Dial a number; prints the CallId.

    NUMBER is a telephone number, a tel: or sip: URI, user@host, or a name on the PBX. The dial plan
    is for clients and does not count here.
    """
    from umd.management.client import ask

    with _asking():
        (reply,) = ask("place", path, number=number, backend=backend)
    placed = reply["call"]
    click.echo(json.dumps(placed) if as_json else placed["id"])


@main.command(epilog="Example: umd version")
@json_option
def version(as_json: bool) -> None:
    """Tell which umd this is."""
    from umd.sip import compiled

    if as_json:
        click.echo(json.dumps({"version": __version__, "compiled": compiled()}))
    else:
        click.echo(f"umd {__version__}" + (", core compiled" if compiled() else ""))


@contextmanager
def _asking() -> Iterator[None]:
    """Tell what a umd did not do, or that there is none, and exit."""
    from umd.management.client import Refusal, Unreachable

    try:
        yield
    except Refusal as refusal:
        _tell_refusal(refusal)
    except Unreachable as error:
        tell_error(str(error), "unreachable")
        sys.exit(UNREACHABLE)


def _tell_refusal(refusal: Refusal) -> NoReturn:
    from umd.cli.screen import short_names, table
    from umd.trace.ladder import printable

    if click.get_current_context().params.get("as_json"):
        more = {"candidates": refusal.candidates} if refusal.candidates else {}
        tell_error(str(refusal), refusal.kind, **more)
    elif refusal.kind == "ambiguous" and refusal.candidates:
        click.echo(f"{printable(str(refusal))}; which one?", err=True)
        names = short_names([candidate["leg"] for candidate in refusal.candidates])
        rows = [
            (name, candidate.get("to", ""), candidate.get("state", ""), candidate.get("id", ""))
            for name, candidate in zip(names, refusal.candidates, strict=True)
        ]
        for line in table(rows):
            click.echo(f"  {printable(line)}", err=True)
    else:
        words = {"no-such-call": "; `umd calls` lists the live ones"}.get(refusal.kind, "")
        click.echo(f"{printable(str(refusal))}{words}", err=True)
    # What a later version says may not be known here: nothing is certain then.
    sys.exit(BY_KIND.get(refusal.kind, UNREACHABLE))


def _show_calls(found: list[dict[str, Any]]) -> None:
    from umd.cli.screen import STATES, clock, short_names, table
    from umd.trace.ladder import printable

    if not found:
        click.echo("No live calls.")
        return
    now = time.time()
    rows = [("  CALL", "OWNER", "TO", "STATE", "FOR", "BACKEND", "")]
    for name, call in zip(short_names([call["leg"] for call in found]), found, strict=True):
        note = ""
        if call["overdue"]:
            note = f"unconfirmed {clock(now - _seconds(call['asked_at']))}"
        row = (name, call["owner"] or "-", call["to"], STATES[call["state"]])
        age = clock(now - _seconds(call["began_at"]))
        mark = "!" if call["overdue"] else " "
        first, *rest = map(printable, (*row, age, call["backend"], note))
        rows.append((f"{mark} {first}", *rest))  # type: ignore[arg-type]
    head, *lines = table(rows)
    click.echo(click.style(head, bold=True))
    for line in lines:
        click.echo(click.style(line, fg="yellow") if line.startswith("!") else line)


def _show_ladder(about: dict[str, Any], steps: list[LadderStep]) -> None:
    from umd.cli.screen import STATES, ago
    from umd.trace.ladder import draw, printable

    title = click.style(printable(about["sip_call_id"]), bold=True)
    where = ""
    if "id" in about:
        title += f"   to {printable(about['to'])}   {STATES[about['state']]}"
        where = f"backend {printable(about['backend'])}, "
    click.echo(title)
    began = steps[0].to_json()["at"]
    click.echo(f"{where}first message at {began}, {ago(time.time() - steps[0].at)}")
    if steps[0].method != "INVITE" or steps[0].retransmission:
        click.echo("what crossed before it is not kept any more (trace.messages)")
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
        tell_error(f"{file} cannot be written: {error.strerror}.", "output")
        sys.exit(WRONG_USAGE)
    left_out = len(steps) - len(packets)
    more = f", {left_out} that cannot be written as octets left out" if left_out else ""
    number = "1 message" if len(packets) == 1 else f"{len(packets)} messages"
    click.echo(f"{number} in {file}{more}: wireshark {file}, or sngrep -I {file}")


def _seconds(at: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(at).timestamp()


def _refuse(mistakes: tuple[str, ...], consequence: str) -> NoReturn:
    number = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    summary = f"{number}; {consequence}."
    if click.get_current_context().params.get("as_json"):
        tell_error(summary, "configuration", mistakes=mistakes)
    else:
        for line in (*mistakes, summary):
            click.echo(line, err=True)
    sys.exit(WRONG_USAGE)


def _show_usage(error: click.ClickException, as_json: bool) -> None:
    """Tell how a command is called; one that has no arguments at all gets its help."""
    if as_json:
        click.echo(json.dumps({"error": error.format_message(), "kind": "usage"}), err=True)
    else:
        error.show()
